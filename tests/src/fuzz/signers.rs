//! Neighbours on a link with keys: they sign, count, and reply to challenges (RFC 8967).

use std::collections::BTreeMap;
use std::net::Ipv6Addr;
use std::sync::Arc;

use sixwire_controlplane::babel::{Authentication, Output, Unauthenticated};
use sixwire_proto::babel::{
    Destination, MacAlgorithm, MacKey, MacTlv, Packet, PseudoHeader, Signing, mac_tlvs, verify,
};
use sixwire_proto::link::LinkId;

/// All neighbours there.
pub(super) struct Signers {
    link: LinkId,
    /// The engine's address.
    engine: Ipv6Addr,
    keys: Arc<[MacKey]>,
    counter: u32,
    /// What each was asked to repeat.
    nonces: BTreeMap<Ipv6Addr, Vec<u8>>,
}

impl Signers {
    pub(super) fn new(link: LinkId, engine: Ipv6Addr) -> Self {
        let key = MacKey::new(MacAlgorithm::Blake2s128, &[7; 16]).expect("the length is right");
        Self { link, engine, keys: Arc::new([key]), counter: 0, nonces: BTreeMap::new() }
    }

    /// What the engine is given.
    pub(super) fn authentication(&self) -> Authentication {
        let keys = self.keys.to_vec();
        Authentication::new(keys, Unauthenticated::Refuse).expect("one key is enough")
    }

    /// A packet as a neighbour sends it.
    pub(super) fn sign(&mut self, mut packet: Packet, header: PseudoHeader) -> Vec<u8> {
        self.counter += 1;
        packet.append(&MacTlv::PacketCounter { counter: self.counter, index: &[1; 8] });
        if let Some(nonce) = self.nonces.remove(&header.source) {
            packet.append(&MacTlv::ChallengeReply(&nonce));
        }
        packet.signing = Some(Signing { keys: Arc::clone(&self.keys), header });
        packet.seal(0)
    }

    /// What the engine sends on the link is signed, if anything is there.
    ///
    /// # Panics
    /// When it is not.
    pub(super) fn output(&mut self, output: &Output) {
        let Output::Send { link, to, packet } = output else { return };
        let Some(signing) = packet.signing.as_ref().filter(|_| *link == self.link) else { return };
        let header = PseudoHeader { source: self.engine, destination: *to };
        assert_eq!(signing.header, header, "signed for other addresses");
        let sealed = packet.clone().seal(0);
        assert_eq!(verify(&sealed, header, &self.keys), Ok(()), "what is sent is signed");
        let Destination::Unicast(neighbour) = to else { return };
        for tlv in mac_tlvs(&sealed).expect("packets are sent") {
            if let MacTlv::ChallengeRequest(nonce) = tlv {
                self.nonces.insert(*neighbour, nonce.to_vec());
            }
        }
    }
}

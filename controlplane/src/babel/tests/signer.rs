//! A neighbour that signs, played by a test.

use std::net::Ipv6Addr;

use sixwire_proto::babel::{
    Destination, MacAlgorithm, MacKey, MacTlv, Packet, PseudoHeader, Signing, Tlv, Writer, mac_tlvs,
};

use super::super::{Authentication, Input, Output, Unauthenticated};
use super::network::secs;
use super::probe::{OWN, Probe, address, hello, ihu, link};

pub(super) fn key(octet: u8) -> MacKey {
    MacKey::new(MacAlgorithm::HmacSha256, &[octet; 32]).unwrap()
}

pub(super) fn keyed(keys: &[MacKey]) -> Authentication {
    Authentication::new(keys.to_vec(), Unauthenticated::Refuse).unwrap()
}

/// A neighbour on link 1 that holds keys.
pub(super) struct Signer {
    pub(super) address: Ipv6Addr,
    pub(super) keys: Vec<MacKey>,
    pub(super) index: &'static [u8],
    pub(super) counter: u32,
    pub(super) hellos: u16,
}

pub(super) const GROUP: Destination = Destination::Multicast;

pub(super) fn to_us() -> Destination {
    Destination::Unicast(address(OWN))
}

impl Signer {
    pub(super) fn new(number: u8) -> Self {
        let (index, keys) = (b"first" as &[u8], vec![key(1)]);
        Self { address: address(number), keys, index, counter: 10, hellos: 0 }
    }

    /// A signed packet of these TLVs, with the next counter behind them.
    pub(super) fn packet(
        &mut self,
        to: Destination,
        tlvs: &[Tlv],
        mac_tlvs: &[MacTlv<'_>],
    ) -> Vec<u8> {
        self.counter += 1;
        let counter = MacTlv::PacketCounter { counter: self.counter, index: self.index };
        self.packet_with(to, tlvs, &[mac_tlvs, &[counter]].concat())
    }

    pub(super) fn packet_with(
        &self,
        to: Destination,
        tlvs: &[Tlv],
        mac_tlvs: &[MacTlv<'_>],
    ) -> Vec<u8> {
        let mut writer = Writer::new(1400, self.address);
        tlvs.iter().for_each(|tlv| writer.push(tlv).unwrap());
        let mut packet = writer.finish().unwrap_or_else(Packet::empty);
        mac_tlvs.iter().for_each(|tlv| packet.append(tlv));
        let header = PseudoHeader { source: self.address, destination: to };
        packet.signing = Some(Signing { keys: self.keys.as_slice().into(), header });
        packet.seal(0)
    }

    pub(super) fn hello(&mut self, to: Destination) -> Vec<u8> {
        self.hellos += 1;
        let tlvs = [hello(self.hellos, 400), ihu(96)];
        self.packet(to, &tlvs, &[])
    }

    /// Becomes known: speaks, is challenged, replies.
    pub(super) fn prove(&mut self, probe: &mut Probe) {
        let first = self.hello(GROUP);
        hear(probe, self, GROUP, &first);
        let nonce = challenge(probe).expect("a challenge");
        let reply = self.packet(to_us(), &[], &[MacTlv::ChallengeReply(&nonce)]);
        hear(probe, self, to_us(), &reply);
        probe.outputs.clear();
    }
}

/// A probe whose link 1 has key 1.
pub(super) fn probe() -> Probe {
    probe_with(&keyed(&[key(1)]))
}

pub(super) fn probe_with(authentication: &Authentication) -> Probe {
    let mut probe = Probe::new();
    let authentication = Some(authentication);
    probe.input(Input::Authentication { link: link(1), authentication });
    probe.link_up(1);
    probe.wait(secs(1));
    probe.outputs.clear();
    probe
}

pub(super) fn hear(probe: &mut Probe, signer: &Signer, destination: Destination, bytes: &[u8]) {
    let source = signer.address;
    probe.input(Input::Packet { link: link(1), source, destination, bytes });
}

/// Datagrams sent on link 1 since the outputs were last cleared, sealed.
pub(super) fn sent(probe: &Probe) -> Vec<(Destination, Vec<u8>)> {
    let packet = |output: &Output| match output {
        Output::Send { to, packet, .. } => Some((*to, packet.clone().seal(0))),
        _ => None,
    };
    probe.outputs.iter().filter_map(packet).collect()
}

/// The nonce of the last challenge sent, which must have gone to one neighbour.
pub(super) fn challenge(probe: &Probe) -> Option<Vec<u8>> {
    let mut nonces = Vec::new();
    for (to, bytes) in sent(probe) {
        for tlv in mac_tlvs(&bytes).unwrap() {
            if let MacTlv::ChallengeRequest(nonce) = tlv {
                assert_ne!(to, GROUP);
                nonces.push(nonce.to_vec());
            }
        }
    }
    nonces.pop()
}

/// Nonces replied with, and to whom.
pub(super) fn replies(probe: &Probe) -> Vec<(Destination, Vec<u8>)> {
    let mut found = Vec::new();
    for (to, bytes) in sent(probe) {
        for tlv in mac_tlvs(&bytes).unwrap() {
            if let MacTlv::ChallengeReply(nonce) = tlv {
                found.push((to, nonce.to_vec()));
            }
        }
    }
    found
}

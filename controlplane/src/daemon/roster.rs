//! The certificates this node has seen and verified: whose router-id may originate which prefix.

use std::collections::BTreeMap;

use sixwire_proto::certificate::{Certificate, Chain};
use sixwire_proto::envelope::DocumentError;
use sixwire_proto::keys::PublicKey;
use sixwire_proto::router_id::RouterId;
use sixwire_proto::state::NetworkState;
use sixwire_proto::time::Timestamp;

/// Verified certificates by node, at most [`Roster::LIMIT`].
#[derive(Debug)]
pub(super) struct Roster {
    root: PublicKey,
    members: BTreeMap<RouterId, Member>,
}

/// A certificate, read and as it came.
#[derive(Clone, Debug)]
pub(super) struct Member {
    /// What it says.
    pub(super) certificate: Certificate,
    /// To pass on.
    pub(super) chain: Chain,
}

/// What a certificate changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Learnt {
    /// A new node, or another certificate of a known one.
    New,
    /// Nothing: it is known, or older than the known one.
    Nothing,
    /// Nothing: the roster is full.
    Full,
}

impl Roster {
    /// Most certificates kept; a network has about as many nodes. One takes about 2 KiB.
    pub(super) const LIMIT: usize = 10_000;

    /// A roster of the network with this root key.
    #[must_use]
    pub(super) fn new(root: PublicKey) -> Self {
        Self { root, members: BTreeMap::new() }
    }

    /// Verifies a certificate and keeps it if it is the newest of its node.
    ///
    /// # Errors
    /// [`DocumentError`] when it does not hold now, under this state.
    pub(super) fn learn(
        &mut self,
        chain: &Chain,
        state: &NetworkState,
        now: Timestamp,
    ) -> Result<(RouterId, Learnt), DocumentError> {
        let certificate = chain.certificate_at(&self.root, now)?;
        state.admits(&certificate, chain.document.signer())?;
        let node = certificate.router_id();
        let known = self.members.get(&node);
        if known.is_some_and(|known| known.certificate.serial >= certificate.serial) {
            return Ok((node, Learnt::Nothing));
        }
        if known.is_none() && self.members.len() >= Self::LIMIT {
            return Ok((node, Learnt::Full));
        }
        self.members.insert(node, Member { certificate, chain: chain.clone() });
        Ok((node, Learnt::New))
    }

    /// The certificate of a node, if it is valid at `now`.
    #[must_use]
    pub(super) fn get(&self, node: RouterId, now: Timestamp) -> Option<&Member> {
        self.members.get(&node).filter(|member| member.certificate.valid_at(now).is_ok())
    }

    /// Nodes whose certificates are in the last quarter of their life.
    #[must_use]
    pub(super) fn aging(&self, now: Timestamp) -> Vec<RouterId> {
        let is_aging = |certificate: &Certificate| {
            let life = certificate.not_before.until(certificate.not_after);
            now.until(certificate.not_after) < life / 4
        };
        let aging = self.members.iter().filter(|(_, member)| is_aging(&member.certificate));
        aging.map(|(node, _)| *node).collect()
    }

    /// Takes out every node whose certificate has expired or is not admitted by the state.
    pub(super) fn purge(
        &mut self,
        state: &NetworkState,
        now: Timestamp,
    ) -> Vec<(RouterId, DocumentError)> {
        let verdict = |member: &Member| {
            member.certificate.valid_at(now)?;
            state.admits(&member.certificate, member.chain.document.signer())
        };
        let out: Vec<_> = self
            .members
            .iter()
            .filter_map(|(node, member)| Some((*node, verdict(member).err()?)))
            .collect();
        for (node, _) in &out {
            self.members.remove(node);
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use sixwire_proto::certificate::{Issuer, NetworkId};
    use sixwire_proto::envelope::Envelope;
    use sixwire_proto::keys::SecretKey;
    use sixwire_proto::state::Parameters;

    use super::*;

    fn key(n: u8) -> SecretKey {
        SecretKey::from_octets(&[n; 32])
    }

    fn state(revoked_serials: Vec<u64>) -> NetworkState {
        NetworkState {
            version: 1,
            network: NetworkId::of(&key(1).public()),
            epoch: 1,
            issued: Timestamp(0),
            prefix: "fd00:1::/32".parse().unwrap(),
            parameters: Parameters::default(),
            issuers: vec![key(2).public()],
            revoked_serials,
            revoked_keys: Vec::new(),
        }
    }

    fn chain(serial: u64) -> Chain {
        let network = NetworkId::of(&key(1).public());
        let (not_before, not_after) = (Timestamp(0), Timestamp(100));
        let issuer = Issuer { version: 1, network, key: key(2).public(), not_before, not_after };
        let certificate = Certificate {
            version: 1,
            network,
            serial,
            name: None,
            node: key(3).public(),
            prefix: "fd00:1:2::/64".parse().unwrap(),
            extra_prefixes: Vec::new(),
            roles: Vec::new(),
            tags: Vec::new(),
            not_before,
            not_after,
        };
        Chain {
            issuer: Envelope::seal(&key(1), &issuer),
            document: Envelope::seal(&key(2), &certificate),
        }
    }

    #[test]
    fn the_newest_certificate_of_a_node_is_kept() {
        let mut roster = Roster::new(key(1).public());
        let mut learn = |serial| roster.learn(&chain(serial), &state(vec![]), Timestamp(5));
        let node = key(3).public().router_id().unwrap();
        assert_eq!(learn(2), Ok((node, Learnt::New)));
        assert_eq!(learn(1), Ok((node, Learnt::Nothing)));
        assert_eq!(learn(3), Ok((node, Learnt::New)));
        assert_eq!(roster.get(node, Timestamp(5)).unwrap().certificate.serial, 3);
        assert!(roster.get(node, Timestamp(101)).is_none());
        assert_eq!(roster.aging(Timestamp(75)), []);
        assert_eq!(roster.aging(Timestamp(76)), [node]);
    }

    #[test]
    fn revocation_takes_a_node_out_and_keeps_it_out() {
        let mut roster = Roster::new(key(1).public());
        roster.learn(&chain(2), &state(vec![]), Timestamp(5)).unwrap();
        assert!(roster.purge(&state(vec![1]), Timestamp(5)).is_empty());
        let out = roster.purge(&state(vec![2]), Timestamp(5));
        assert_eq!(out.len(), 1);
        assert!(roster.learn(&chain(2), &state(vec![2]), Timestamp(5)).is_err());
    }
}

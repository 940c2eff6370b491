//! What packets may come from where, and what may not leave by a tunnel.

use std::collections::{BTreeMap, BTreeSet};

use sixwire_proto::prefix::Prefix;

use super::{IfName, WireGuard};

/// What is guarded, whatever tunnels there are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GuardedNetwork {
    /// The network: sources within it come by its links, or from where this machine would answer them.
    pub network: Prefix,
    /// Prefixes of this node, none within another: sources that no link brings.
    pub own: BTreeSet<Prefix>,
    /// Interfaces of others that bring sources of the network.
    pub links: BTreeSet<IfName>,
}

/// All of it: the content of our nftables table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Guards {
    /// What does not change with tunnels.
    pub ground: GuardedNetwork,
    /// What tunnels bring.
    pub tunnels: BTreeMap<IfName, Sources>,
    /// UDP ports of tunnels: what leaves from them or arrives for them is no tunnel's to carry.
    pub ports: BTreeSet<u16>,
}

/// Which IPv6 sources a tunnel brings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sources {
    /// All but our own: there is a node that forwards for others behind it.
    Any,
    /// These, none within another.
    Only(BTreeSet<Prefix>),
}

/// What the kernel has of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ObservedGuards {
    /// Nothing.
    #[default]
    Absent,
    /// A table of our name that is not ours: never touched.
    Foreign,
    /// Our table, not as we make it.
    Broken,
    /// Our table.
    Intact(Guards),
}

impl GuardedNetwork {
    /// The guards of a network; prefixes within others are left out.
    #[must_use]
    pub fn new(
        network: Prefix,
        own: impl IntoIterator<Item = Prefix>,
        links: BTreeSet<IfName>,
    ) -> Self {
        Self { network, own: outermost(own), links }
    }
}

impl Guards {
    /// Guards before there are tunnels.
    #[must_use]
    pub fn of(ground: GuardedNetwork) -> Self {
        Self { ground, tunnels: BTreeMap::new(), ports: BTreeSet::new() }
    }

    /// Adds a tunnel.
    pub fn add(&mut self, name: &IfName, wireguard: &WireGuard) {
        let allowed = wireguard.peers.values().flat_map(|peer| &peer.allowed_ips);
        self.tunnels.insert(name.clone(), Sources::of(allowed));
        self.ports.insert(wireguard.port);
    }
}

impl Sources {
    /// Those that a tunnel with these allowed-ips brings.
    #[must_use]
    pub fn of<'a>(allowed: impl Iterator<Item = &'a Prefix> + Clone) -> Self {
        if allowed.clone().any(|prefix| *prefix == Prefix::V6_DEFAULT) {
            return Self::Any;
        }
        Self::Only(outermost(allowed.copied()))
    }
}

/// IPv6 prefixes that are within no other of them.
fn outermost(prefixes: impl IntoIterator<Item = Prefix>) -> BTreeSet<Prefix> {
    let all: BTreeSet<Prefix> = prefixes.into_iter().filter(|prefix| prefix.is_v6()).collect();
    let within = |one: &Prefix| all.iter().any(|other| other != one && other.contains(*one));
    all.iter().copied().filter(|one| !within(one)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(prefixes: &[&str]) -> BTreeSet<Prefix> {
        prefixes.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn a_tunnel_brings_what_its_allowed_ips_say() {
        let transit = set(&["::/0", "0.0.0.0/0"]);
        assert_eq!(Sources::of(transit.iter()), Sources::Any);
        let leaf = set(&["fd00:1::/64", "fd00:1:0:0:5::/80", "10.0.0.0/8", "fe80::/10"]);
        let only = Sources::Only(set(&["fd00:1::/64", "fe80::/10"]));
        assert_eq!(Sources::of(leaf.iter()), only);
    }
}

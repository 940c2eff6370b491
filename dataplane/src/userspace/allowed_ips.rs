//! Which peer an address belongs to: the longest allowed prefix that contains it.

use std::collections::BTreeMap;
use std::net::IpAddr;

use sixwire_proto::prefix::Prefix;

/// The allowed-ips of all peers of a device; a prefix belongs to one peer.
#[derive(Default)]
pub(super) struct AllowedIps {
    owners: BTreeMap<Prefix, usize>,
    /// Lengths in use and how many prefixes have them, by address family.
    lengths: [BTreeMap<u8, usize>; 2],
}

impl AllowedIps {
    /// Gives a prefix to a peer; whoever had it loses it.
    pub(super) fn insert(&mut self, prefix: Prefix, peer: usize) {
        if self.owners.insert(prefix, peer).is_none() {
            *self.lengths[family(prefix.is_v6())].entry(prefix.length()).or_default() += 1;
        }
    }

    /// Takes a prefix from a peer, if it is its own.
    pub(super) fn remove(&mut self, prefix: Prefix, peer: usize) {
        if self.owners.get(&prefix) == Some(&peer) {
            self.owners.remove(&prefix);
            let lengths = &mut self.lengths[family(prefix.is_v6())];
            if let Some(count) = lengths.get_mut(&prefix.length()) {
                *count -= 1;
                if *count == 0 {
                    lengths.remove(&prefix.length());
                }
            }
        }
    }

    /// Takes all prefixes from a peer.
    pub(super) fn remove_all(&mut self, peer: usize) {
        let prefixes: Vec<Prefix> = self.of(peer).collect();
        prefixes.into_iter().for_each(|prefix| self.remove(prefix, peer));
    }

    /// The prefixes of a peer.
    pub(super) fn of(&self, peer: usize) -> impl Iterator<Item = Prefix> + '_ {
        self.owners.iter().filter(move |(_, owner)| **owner == peer).map(|(prefix, _)| *prefix)
    }

    /// The peer that an address belongs to.
    pub(super) fn peer(&self, address: IpAddr) -> Option<usize> {
        let lengths = &self.lengths[family(address.is_ipv6())];
        lengths.keys().rev().find_map(|length| {
            let prefix = Prefix::containing(address, *length).ok()?;
            self.owners.get(&prefix).copied()
        })
    }
}

fn family(v6: bool) -> usize {
    usize::from(v6)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_longest_prefix_decides_and_a_prefix_has_one_owner() {
        let mut table = AllowedIps::default();
        let at = |table: &AllowedIps, text: &str| table.peer(text.parse().unwrap());
        for (prefix, peer) in [("::/0", 0), ("fd00::/16", 1), ("fd00::1/128", 2), ("10.0.0.0/8", 3)]
        {
            table.insert(prefix.parse().unwrap(), peer);
        }
        assert_eq!(at(&table, "2001:db8::1"), Some(0));
        assert_eq!(at(&table, "fd00::2"), Some(1));
        assert_eq!(at(&table, "fd00::1"), Some(2));
        assert_eq!(at(&table, "10.1.1.1"), Some(3));
        assert_eq!(at(&table, "11.1.1.1"), None, "the families are apart");
        table.insert("fd00::/16".parse().unwrap(), 2);
        assert_eq!(table.of(1).count(), 0);
        table.remove_all(2);
        assert_eq!(at(&table, "fd00::1"), Some(0));
    }

    proptest! {
        #[test]
        fn it_agrees_with_a_plain_search(
            steps in proptest::collection::vec(
                (any::<bool>(), 0u8..4, 0u8..=128, 0usize..3, 0u8..8), 0..60,
            ),
        ) {
            let mut table = AllowedIps::default();
            let mut plain: Vec<(Prefix, usize)> = Vec::new();
            for (v6, octet, length, peer, kind) in steps {
                let address = match v6 {
                    true => IpAddr::from([u16::from(octet) << 14 | u16::from(octet); 8]),
                    false => IpAddr::from([octet << 6, octet, octet, octet]),
                };
                let length = if v6 { length } else { length % 33 };
                let prefix = Prefix::containing(address, length).unwrap();
                match kind {
                    0..5 => {
                        table.insert(prefix, peer);
                        plain.retain(|(p, _)| *p != prefix);
                        plain.push((prefix, peer));
                    }
                    5..7 => {
                        table.remove(prefix, peer);
                        plain.retain(|(p, o)| (*p, *o) != (prefix, peer));
                    }
                    _ => {
                        table.remove_all(peer);
                        plain.retain(|(_, owner)| *owner != peer);
                    }
                }
                let best = plain
                    .iter()
                    .filter(|(p, _)| p.contains_address(address))
                    .max_by_key(|(p, _)| p.length());
                prop_assert_eq!(table.peer(address), best.map(|(_, peer)| *peer));
                for peer in 0..3 {
                    let of = plain.iter().filter(|(_, owner)| *owner == peer);
                    prop_assert_eq!(table.of(peer).count(), of.count());
                }
            }
        }
    }
}

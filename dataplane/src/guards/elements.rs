//! The elements of our sets, from what is guarded, and back.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv6Addr};

use sixwire_proto::prefix::Prefix;

use super::rules::{FROM, HERE, LEAF, LINK, OWN, PORTS, SOURCES, TUNNEL, TUNNELS};
use crate::model::{GuardedNetwork, Guards, IfName, Sources};
use crate::netlink::nftables::{Element, Rest, Set, SetKind, Verdict};

/// Elements of a set.
pub(super) type Elements = BTreeSet<Element>;

/// Our sets, in the order of [`of`].
pub(super) const SETS: [Set; 6] = [
    Set { name: FROM, fields: &[Set::INTERFACE], kind: SetKind::Verdicts },
    Set { name: TUNNELS, fields: &[Set::INTERFACE], kind: SetKind::Keys },
    Set { name: SOURCES, fields: &[Set::INTERFACE, Set::ADDRESS], kind: SetKind::Ranges },
    Set { name: PORTS, fields: &[Set::PORT], kind: SetKind::Keys },
    Set { name: OWN, fields: &[Set::ADDRESS], kind: SetKind::Ranges },
    Set { name: HERE, fields: &[Set::ADDRESS], kind: SetKind::Ranges },
];

/// What the sets hold.
pub(super) fn of(guards: &Guards) -> impl Iterator<Item = (Set, Elements)> {
    let names = || guards.tunnels.keys().map(|name| plain(interface(name)));
    let sources = guards.tunnels.iter().flat_map(|(name, sources)| sources_of(name, sources));
    let own = guards.ground.own.iter().flat_map(|prefix| range(*prefix));
    let here = guards.ground.here().flat_map(range);
    let elements = [
        from(guards).collect(),
        names().collect(),
        sources.collect(),
        guards.ports.iter().map(|port| plain(port.to_be_bytes().to_vec())).collect(),
        own.collect(),
        here.collect(),
    ];
    SETS.into_iter().zip(elements)
}

/// Each set with what it holds for one and for the other.
pub(super) fn pairs(
    one: &Guards,
    other: &Guards,
) -> impl Iterator<Item = (Set, Elements, Elements)> {
    of(one).zip(of(other)).map(|((set, before), (_, after))| (set, before, after))
}

/// What is guarded by sets that hold this; `None` where they are not as [`of`] says.
pub(super) fn read(network: Prefix, sets: &[Elements]) -> Option<Guards> {
    let [from, _, sources, ports, own, _] = sets else { return None };
    let own: Option<Vec<Prefix>> = starts(own).collect();
    let mut guards = Guards::of(GuardedNetwork::new(network, own?, BTreeSet::new()));
    let mut only: BTreeMap<IfName, BTreeSet<Prefix>> = BTreeMap::new();
    for Element { key, rest } in sources {
        let Rest::UpTo(last) = rest else { return None };
        let prefix = between(key.get(NAME..)?, last.get(NAME..)?)?;
        only.entry(name(key)?).or_default().insert(prefix);
    }
    for Element { key, rest } in from {
        let Rest::Verdict(_, chain) = rest else { return None };
        let name = name(key)?;
        match chain.as_str() {
            LEAF => {
                let only = Sources::Only(only.remove(&name).unwrap_or_default());
                guards.tunnels.insert(name, only);
            }
            TUNNEL => drop(guards.tunnels.insert(name, Sources::Any)),
            LINK => drop(guards.ground.links.insert(name)),
            _ => {}
        }
    }
    for Element { key, .. } in ports {
        guards.ports.insert(key.as_slice().try_into().ok().map(u16::from_be_bytes)?);
    }
    of(&guards).map(|(_, elements)| elements).eq(sets.iter().cloned()).then_some(guards)
}

fn from(guards: &Guards) -> impl Iterator<Item = Element> {
    let to = |name: &IfName, verdict: Verdict| {
        let (code, chain) = verdict.parts();
        Element { key: interface(name), rest: Rest::Verdict(code, chain.to_owned()) }
    };
    let tunnels = guards.tunnels.iter().map(move |(name, sources)| {
        let chain = match sources {
            Sources::Any => TUNNEL,
            Sources::Only(_) => LEAF,
        };
        to(name, Verdict::Goto(chain))
    });
    let links = guards.ground.links.iter().map(move |name| to(name, Verdict::Goto(LINK)));
    tunnels.chain(links).chain([to(&IfName::loopback(), Verdict::Accept)])
}

fn sources_of<'a>(name: &'a IfName, sources: &'a Sources) -> impl Iterator<Item = Element> + 'a {
    let only = match sources {
        Sources::Any => None,
        Sources::Only(prefixes) => Some(prefixes),
    };
    only.into_iter().flatten().map(move |prefix| {
        let key = |address: u128| [interface(name), octets(address)].concat();
        let (first, last) = bounds(*prefix);
        Element { key: key(first), rest: Rest::UpTo(key(last)) }
    })
}

/// A prefix as a set of one field has it: its first address, and the first behind it.
fn range(prefix: Prefix) -> impl Iterator<Item = Element> {
    let (first, last) = bounds(prefix);
    let behind = last.checked_add(1);
    let behind = behind.map(|next| Element { key: octets(next), rest: Rest::Behind });
    [plain(octets(first))].into_iter().chain(behind)
}

/// The prefixes of a set of ranges; `None` for what is none.
fn starts(elements: &Elements) -> impl Iterator<Item = Option<Prefix>> {
    let first = |element: &&Element| element.rest == Rest::Nothing;
    elements.iter().filter(first).map(|element| {
        let ends = |other: &&Element| other.rest == Rest::Behind && other.key > element.key;
        let last = match elements.iter().find(ends) {
            Some(end) => number(&end.key)?.checked_sub(1)?,
            None => u128::MAX,
        };
        between(&element.key, &octets(last))
    })
}

fn between(first: &[u8], last: &[u8]) -> Option<Prefix> {
    let (first, last) = (number(first)?, number(last)?);
    let length = u8::try_from((first ^ last).leading_zeros()).ok()?;
    let prefix = Prefix::containing(IpAddr::V6(Ipv6Addr::from(first)), length).ok()?;
    (bounds(prefix) == (first, last)).then_some(prefix)
}

fn bounds(prefix: Prefix) -> (u128, u128) {
    let first = match prefix.address() {
        IpAddr::V6(v6) => v6.to_bits(),
        IpAddr::V4(v4) => v4.to_ipv6_mapped().to_bits(),
    };
    (first, first | u128::MAX.checked_shr(prefix.length().into()).unwrap_or(0))
}

fn plain(key: Vec<u8>) -> Element {
    Element { key, rest: Rest::Nothing }
}

fn interface(name: &IfName) -> Vec<u8> {
    let mut key = name.as_str().as_bytes().to_vec();
    key.resize(NAME, 0);
    key
}

fn name(key: &[u8]) -> Option<IfName> {
    let name = key.get(..NAME)?.split(|octet| *octet == 0).next()?;
    std::str::from_utf8(name).ok()?.parse().ok()
}

fn octets(address: u128) -> Vec<u8> {
    address.to_be_bytes().to_vec()
}

fn number(octets: &[u8]) -> Option<u128> {
    octets.try_into().ok().map(u128::from_be_bytes)
}

/// The kernel's IFNAMSIZ.
const NAME: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    fn prefixes(texts: &[&str]) -> BTreeSet<Prefix> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn guards() -> Guards {
        let network = "fd00::/48".parse().unwrap();
        let own = prefixes(&["fd00:0:0:1::/64", "fd00:0:0:2::/64"]);
        let ground = GuardedNetwork::new(network, own, ["eth1".parse().unwrap()].into());
        let mut guards = Guards::of(ground);
        guards.tunnels.insert("sw-01".parse().unwrap(), Sources::Any);
        let only = Sources::Only(prefixes(&["fd00:0:0:3::/64", "fe80::/10"]));
        guards.tunnels.insert("sw-02".parse().unwrap(), only);
        guards.ports = [51820, 51821].into();
        guards
    }

    #[test]
    fn what_the_sets_hold_is_read_back() {
        let sets: Vec<_> = of(&guards()).map(|(_, elements)| elements).collect();
        assert_eq!(read("fd00::/48".parse().unwrap(), &sets), Some(guards()));
        // Neighbouring prefixes stay two, and the last of all has no end.
        assert_eq!(sets[4].len(), 4);
        assert_eq!(sets[5].len(), 7);
    }

    #[test]
    fn sets_that_lack_anything_are_not_ours() {
        let network = "fd00::/48".parse().unwrap();
        let sets: Vec<_> = of(&guards()).map(|(_, elements)| elements).collect();
        for (number, set) in sets.iter().enumerate() {
            for element in set {
                let mut less = sets.clone();
                less[number].remove(element);
                assert_ne!(read(network, &less), Some(guards()), "{element:?}");
            }
        }
        assert_eq!(read(network, &sets[1..]), None);
    }
}

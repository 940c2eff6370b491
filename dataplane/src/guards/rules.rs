//! The rules of our table. They are the same on every node of a network; what differs stands in sets.

use std::net::{IpAddr, Ipv6Addr};

use sixwire_proto::prefix::Prefix;

use crate::netlink::nftables::{Base, Held, Hook, ListedRule, Meta, Payload, Step, Verdict};

/// A rule.
pub(super) struct Rule {
    pub(super) chain: &'static str,
    pub(super) comment: &'static str,
    pub(super) steps: Vec<Step>,
}

/// Whether the kernel has all that the rules are written with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Extent {
    Full,
    /// Without what asks the routing table or connection tracking.
    Essential,
}

/// Where interfaces lead: to one of the chains, to nothing, or, by not being listed, on in the chain.
pub(super) const FROM: &str = "from";
/// Our tunnels.
pub(super) const TUNNELS: &str = "tunnels";
/// What tunnels to leaves bring.
pub(super) const SOURCES: &str = "sources";
/// UDP ports of our tunnels.
pub(super) const PORTS: &str = "ports";
/// Prefixes of this node.
pub(super) const OWN: &str = "own";
/// Those, and what is of one link only.
pub(super) const HERE: &str = "here";
/// What comes by a tunnel from a node that forwards.
pub(super) const TUNNEL: &str = "tunnel";
/// What comes by a tunnel from a leaf.
pub(super) const LEAF: &str = "leaf";
/// What comes by another link.
pub(super) const LINK: &str = "link";
const CLAIMED: &str = "claimed";

/// All chains: those that others lead to first. Every packet of the machine meets those with hooks: they are few, and
/// what leaves them soon stands first.
pub(super) const CHAINS: [(&str, Option<Hook>); 7] = [
    (TUNNEL, None),
    (LEAF, None),
    (CLAIMED, None),
    (LINK, None),
    // Before connection tracking (-200), which is not to see what is dropped or only passed on.
    (PREROUTING, Some(Hook { number: 0, priority: -300 })),
    // Where others change packets, too.
    (FORWARD, Some(Hook { number: 2, priority: -150 })),
    (OUTPUT, Some(Hook { number: 3, priority: -300 })),
];

const PREROUTING: &str = "prerouting";
const FORWARD: &str = "forward";
const OUTPUT: &str = "output";

/// The rules, in order within each chain.
pub(super) fn rules(network: Prefix, extent: Extent) -> Vec<Rule> {
    let mut rules = vec![passed_on(network, extent)];
    rules.extend(sources());
    rules.extend(nested());
    rules.extend(elsewhere(network, extent));
    if extent == Extent::Full {
        rules.push(clamped());
    }
    rules
}

/// What marks the table as ours, and says which network it guards.
pub(super) fn comment(network: Prefix) -> String {
    format!("{MARK}{network}")
}

/// The network that a table of ours guards.
pub(super) fn network_of(comment: &str) -> Option<Prefix> {
    comment.strip_prefix(MARK)?.parse().ok()
}

/// Whether all rules are listed, of either extent, and nothing else.
pub(super) fn are_listed(network: Prefix, listed: &[ListedRule]) -> bool {
    let of = |chain: &str| -> Vec<&str> {
        listed.iter().filter(|rule| rule.chain == chain).map(|r| r.comment.as_str()).collect()
    };
    [Extent::Full, Extent::Essential].into_iter().any(|extent| {
        let rules = rules(network, extent);
        let same = |(chain, _): &(&str, Option<Hook>)| {
            let ours = rules.iter().filter(|rule| rule.chain == *chain).map(|rule| rule.comment);
            of(chain).into_iter().eq(ours)
        };
        rules.len() == listed.len() && CHAINS.iter().all(same)
    })
}

/// Link-local unicast and multicast (RFC 4291 §2.5.6, §2.7).
pub(super) fn link_prefixes() -> impl Iterator<Item = Prefix> {
    let prefix = |first, length| {
        let address = IpAddr::V6(Ipv6Addr::new(first, 0, 0, 0, 0, 0, 0, 0));
        Prefix::containing(address, length).expect("both lengths are below 128")
    };
    [prefix(0xfe80, 10), prefix(0xff00, 8)].into_iter()
}

/// What comes by a tunnel and goes to another node is nobody's here to track: its way back may be another one. What
/// comes to us or goes out is tracked as ever, for the sake of firewalls that let in answers. A packet of our own may
/// come back as well, on its way round after a change of routes.
fn passed_on(network: Prefix, extent: Extent) -> Rule {
    let between = [within(network, SOURCE), within(network, DESTINATION)].concat();
    let to_others = vec![Step::Payload(DESTINATION), Step::In(OWN, Held::No)];
    let untracked = match extent {
        Extent::Full => vec![Step::Untracked],
        Extent::Essential => Vec::new(),
    };
    rule((TUNNEL, "passed on"), &[between, to_others, untracked, to(Verdict::Accept)])
}

/// Sources come from where they may.
fn sources() -> Vec<Rule> {
    let from_leaf = vec![Step::Meta(Meta::InputName), Step::PayloadBehind(SOURCE)];
    let its_own = vec![Step::In(SOURCES, Held::Yes)];
    vec![
        rule((TUNNEL, "source is ours"), &[from_own(), to_here(), dropped()]),
        rule((LEAF, "its own"), &[from_leaf, its_own, to(Verdict::Goto(TUNNEL))]),
        rule((LEAF, "source is not the leaf's"), &[dropped()]),
        // A LAN of ours may be a link as well.
        rule((LINK, "ours"), &[from_own(), to(Verdict::Goto(CLAIMED))]),
        rule((LINK, "of others"), &[to(Verdict::Goto(TUNNEL))]),
    ]
}

/// Our UDP is not carried by our tunnels.
fn nested() -> Vec<Rule> {
    let udp = |port| vec![Step::Payload(port), Step::In(PORTS, Held::Yes)];
    let outgoing = [protocol(UDP), by(Meta::OutputName, Held::Yes), udp(SOURCE_PORT), dropped()];
    let incoming = [protocol(UDP), udp(TARGET_PORT), to_here(), dropped()];
    vec![
        rule((OUTPUT, "tunnel by a tunnel"), &outgoing),
        rule((TUNNEL, "tunnel from a tunnel"), &incoming),
    ]
}

/// What no link brings comes from where this machine would answer it.
fn elsewhere(network: Prefix, extent: Extent) -> Vec<Rule> {
    let sorted = vec![Step::Meta(Meta::InputName), Step::Map(FROM)];
    let from_within = within(network, SOURCE);
    let not_ours = vec![Step::Payload(SOURCE), Step::In(OWN, Held::No)];
    let not_there = match extent {
        Extent::Full => no_way_back(),
        Extent::Essential => not_ours,
    };
    let claimed = [no_way_back(), to_here(), dropped()];
    let mut rules = vec![
        rule((PREROUTING, "where from"), &[sorted]),
        rule((PREROUTING, "source is not there"), &[from_within, not_there, dropped()]),
    ];
    if extent == Extent::Full {
        rules.push(rule((CLAIMED, "source is ours"), &claimed));
    }
    rules
}

/// Connections that enter the tunnels here, from networks of a greater MTU. Nodes themselves know the MTU of their
/// tunnels, and from tunnel to tunnel it is the same.
fn clamped() -> Rule {
    let first = [Step::Payload(TCP_FLAGS), Step::Mask(vec![SYN | RST]), Step::Is(vec![SYN])];
    let entering = [by(Meta::OutputName, Held::Yes), by(Meta::InputName, Held::No)].concat();
    let steps = [protocol(TCP), first.to_vec(), entering, vec![Step::ClampSegments]];
    rule((FORWARD, "segments that fit"), &steps)
}

fn rule((chain, comment): (&'static str, &'static str), steps: &[Vec<Step>]) -> Rule {
    Rule { chain, comment, steps: steps.concat() }
}

fn protocol(number: u8) -> Vec<Step> {
    vec![Step::Meta(Meta::Protocol), Step::Is(vec![number])]
}

fn by(interface: Meta, held: Held) -> Vec<Step> {
    vec![Step::Meta(interface), Step::In(TUNNELS, held)]
}

/// An address of the network. Whole octets are compared as they are, which is faster.
fn within(network: Prefix, Payload(base, offset, _): Payload) -> Vec<Step> {
    let octets = match network.address() {
        IpAddr::V6(v6) => v6.octets(),
        IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
    };
    let length = u32::from(network.length());
    let count = length.div_ceil(8).max(1);
    let part = |octets: [u8; 16]| octets.into_iter().take(count as usize).collect::<Vec<u8>>();
    let mut steps = vec![Step::Payload(Payload(base, offset, count))];
    if length == 0 || length % 8 != 0 {
        let mask = u128::MAX.checked_shl(128 - length).unwrap_or(0);
        steps.push(Step::Mask(part(mask.to_be_bytes())));
    }
    steps.push(Step::Is(part(octets)));
    steps
}

fn from_own() -> Vec<Step> {
    vec![Step::Payload(SOURCE), Step::In(OWN, Held::Yes)]
}

fn to_here() -> Vec<Step> {
    vec![Step::Payload(DESTINATION), Step::In(HERE, Held::Yes)]
}

fn to(verdict: Verdict) -> Vec<Step> {
    vec![Step::Verdict(verdict)]
}

fn no_way_back() -> Vec<Step> {
    vec![Step::WayBack, Step::Is(vec![0; 4])]
}

fn dropped() -> Vec<Step> {
    vec![Step::Count, Step::Verdict(Verdict::Drop)]
}

const MARK: &str = "sixwire, network ";
/// In the header of IPv6 (RFC 8200 §3).
const SOURCE: Payload = Payload(Base::Network, 8, 16);
const DESTINATION: Payload = Payload(Base::Network, 24, 16);
/// In that of UDP (RFC 768).
const SOURCE_PORT: Payload = Payload(Base::Transport, 0, 2);
const TARGET_PORT: Payload = Payload(Base::Transport, 2, 2);
/// In that of TCP (RFC 9293 §3.1).
const TCP_FLAGS: Payload = Payload(Base::Transport, 13, 1);
const SYN: u8 = 2;
const RST: u8 = 4;
/// `linux/in.h`.
const TCP: u8 = 6;
const UDP: u8 = 17;

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(rules: &[Rule]) -> Vec<ListedRule> {
        let row = |rule: &Rule| ListedRule {
            chain: rule.chain.to_owned(),
            comment: rule.comment.to_owned(),
            packets: None,
        };
        rules.iter().map(row).collect()
    }

    #[test]
    fn rules_are_known_again_unless_one_is_missing_added_or_moved() {
        let network = "fd00::/48".parse().unwrap();
        for extent in [Extent::Full, Extent::Essential] {
            let mut all = listed(&rules(network, extent));
            assert!(are_listed(network, &all));
            all.swap(0, 1);
            assert!(!are_listed(network, &all), "{extent:?}");
            all.swap(0, 1);
            let gone = all.remove(3);
            assert!(!are_listed(network, &all));
            all.insert(3, ListedRule { comment: String::new(), ..gone });
            assert!(!are_listed(network, &all));
        }
    }

    #[test]
    fn a_table_says_that_it_is_ours_and_of_which_network() {
        let network = "fd00:1:2::/48".parse().unwrap();
        assert_eq!(network_of(&comment(network)), Some(network));
        for foreign in ["", "sixwire", "fd00::/48"] {
            assert_eq!(network_of(foreign), None);
        }
    }
}

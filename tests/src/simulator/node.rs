//! Nodes: an engine, a disk, and prefixes to announce.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv6Addr};

use sixwire_controlplane::babel::{Authentication, Babel, Filter, Params};
use sixwire_proto::babel::RouteKey;
use sixwire_proto::prefix::Prefix;
use sixwire_proto::router_id::RouterId;
use sixwire_proto::seed::Seed;
use sixwire_proto::seqno::Seqno;
use sixwire_proto::time::Instant;

/// A node; without an engine it is off.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) babel: Option<Babel>,
    /// The last sequence number it announced; survives a restart.
    pub(super) disk: Seqno,
    /// Numbers of the prefixes it announces.
    pub(super) own: BTreeSet<usize>,
    pub(super) wires: Vec<usize>,
    pub(super) filters: Vec<Filter>,
    /// Of all its links.
    pub(super) authentication: Option<Authentication>,
    /// For when its deadline is among the events.
    pub(super) armed: Option<Instant>,
}

impl Node {
    pub(super) fn new(number: usize) -> Self {
        Self {
            babel: None,
            disk: Seqno(100),
            own: BTreeSet::from([number]),
            wires: Vec::new(),
            filters: Vec::new(),
            authentication: None,
            armed: None,
        }
    }

    pub(super) fn start(&mut self, number: usize, seed: u64, now: Instant) -> Params {
        let params = Params::new(id(number), self.disk.next());
        let babel = Babel::new(params, Seed::new(seed), now);
        self.babel = Some(babel.with_filters(self.filters.clone()));
        self.armed = None;
        params
    }
}

/// Router-id of a node.
///
/// # Panics
/// Beyond 65 534 nodes.
#[must_use]
pub fn id(node: usize) -> RouterId {
    let [high, low] = u16::try_from(node + 1).expect("at most 65 534 nodes").to_be_bytes();
    RouterId::new([0x02, 0, 0, 0, 0, 0, high, low]).expect("neither all zeros nor all ones")
}

/// The node with a link-local address.
pub(super) fn number(address: Ipv6Addr) -> usize {
    usize::from(address.segments()[7]) - 1
}

/// The prefix that node `number` announces at first.
///
/// # Panics
/// Beyond 65 534 nodes.
#[must_use]
pub fn key(number: usize) -> RouteKey {
    let segment = u16::try_from(number + 1).expect("at most 65 534 nodes");
    let address = IpAddr::V6(Ipv6Addr::new(0xfd00, 0, 0, segment, 0, 0, 0, 0));
    RouteKey::to(Prefix::containing(address, 64).expect("64 bits fit an IPv6 address"))
}

/// The number of a prefix.
pub(super) fn prefix(route: RouteKey) -> usize {
    match route.destination.address() {
        IpAddr::V6(address) => usize::from(address.segments()[3]) - 1,
        IpAddr::V4(_) => unreachable!("nobody here announces IPv4"),
    }
}

//! What exists: tunnels, dials on their way, neighbours on links of others, and the ports in use.

use std::collections::{BTreeMap, BTreeSet};

use sixwire_proto::router_id::RouterId;
use sixwire_proto::time::Instant;
use sixwire_proto::uplink::UplinkNumber;

use super::input::Role;
use super::lane::{Lane, Wait};
use super::ports::Ports;

/// At most one tunnel and one dial for each lane.
#[derive(Debug)]
pub(super) struct Links {
    pub(super) tunnels: BTreeMap<Lane, Tunnel>,
    pub(super) dials: BTreeMap<Lane, Dial>,
    /// Lanes that failed, of nodes that have a dial or a tunnel.
    pub(super) waits: BTreeMap<Lane, Wait>,
    /// Neighbours on links the manager did not make.
    pub(super) lan: BTreeSet<RouterId>,
    /// Lanes for which a request lost a glare once; a second request shows that its node does not hear us.
    /// Each of the nodes has a dial or a tunnel.
    pub(super) glared: BTreeSet<Lane>,
    pub(super) ports: Ports,
}

/// An interface that exists.
#[derive(Clone, Debug)]
pub(super) struct Tunnel {
    pub(super) role: Role,
    pub(super) port: u16,
    pub(super) state: State,
    pub(super) opened_at: Instant,
    /// Routes through its node, as counted last.
    pub(super) uses: usize,
    /// The node whose tunnels to close once this one has its neighbour.
    pub(super) replaces: Option<RouterId>,
}

/// What is known of a tunnel's other end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Nothing yet; given up at `until`.
    Opening {
        /// The end of patience.
        until: Instant,
    },
    /// It is a neighbour.
    Up,
    /// It is not a neighbour any more.
    Lost {
        /// The end of patience.
        until: Instant,
    },
    /// An earlier run left it; it may well carry traffic, but is not a neighbour yet.
    Adopted {
        /// The end of patience.
        until: Instant,
    },
}

/// A dial whose outcome is not known.
#[derive(Clone, Debug)]
pub(super) struct Dial {
    pub(super) port: u16,
    pub(super) started: Instant,
    pub(super) until: Instant,
    pub(super) aim: Aim,
}

/// What the outcome of a dial is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Aim {
    /// One more tunnel.
    Place,
    /// A tunnel in the place of that node's.
    Replace(RouterId),
    /// Nothing, most likely: the node's own dial was accepted meanwhile.
    Yielded,
    /// Nothing: the node is not wanted any more.
    Abandoned,
}

impl State {
    /// When patience with a tunnel that works nowhere else ends.
    pub(super) fn until(self) -> Option<Instant> {
        match self {
            Self::Opening { until } | Self::Lost { until } | Self::Adopted { until } => Some(until),
            Self::Up => None,
        }
    }
}

impl Links {
    pub(super) fn new(ports: Ports) -> Self {
        Self {
            tunnels: BTreeMap::new(),
            dials: BTreeMap::new(),
            waits: BTreeMap::new(),
            lan: BTreeSet::new(),
            glared: BTreeSet::new(),
            ports,
        }
    }

    /// A port nothing uses.
    pub(super) fn allocate_port(&mut self, now: Instant) -> Option<u16> {
        let (tunnels, dials) = (&self.tunnels, &self.dials);
        self.ports.allocate(now, |port| {
            tunnels.values().any(|t| t.port == port) || dials.values().any(|d| d.port == port)
        })
    }

    /// Ports that nothing uses; some may rest.
    pub(super) fn free_ports(&self) -> usize {
        self.ports.count().saturating_sub(self.tunnels.len() + self.dials.len())
    }

    /// Nodes with a tunnel of this role.
    pub(super) fn count(&self, role: Role) -> usize {
        let lanes = self.tunnels.iter().filter(|(_, tunnel)| tunnel.role == role);
        lanes.map(|(lane, _)| lane.node).collect::<BTreeSet<_>>().len()
    }

    /// The tunnels to a node.
    pub(super) fn tunnels_to(&self, node: RouterId) -> impl Iterator<Item = (Lane, &Tunnel)> {
        self.tunnels.range(lanes_to(node)).map(|(lane, tunnel)| (*lane, tunnel))
    }

    /// The dials of a node on their way.
    pub(super) fn dials_of(&self, node: RouterId) -> impl Iterator<Item = (Lane, &Dial)> {
        self.dials.range(lanes_to(node)).map(|(lane, dial)| (*lane, dial))
    }

    /// As [`Self::dials_of`], to change them.
    pub(super) fn dials_of_mut(&mut self, node: RouterId) -> impl Iterator<Item = &mut Dial> {
        self.dials.range_mut(lanes_to(node)).map(|(_, dial)| dial)
    }

    /// The tunnel to a node that has this port here.
    pub(super) fn tunnel_on(&self, node: RouterId, port: u16) -> Option<Lane> {
        self.tunnels_to(node).find(|(_, tunnel)| tunnel.port == port).map(|(lane, _)| lane)
    }

    /// The dial of a node that has this port here.
    pub(super) fn dial_on(&self, node: RouterId, port: u16) -> Option<Lane> {
        self.dials_of(node).find(|(_, dial)| dial.port == port).map(|(lane, _)| lane)
    }

    /// Whether a node has a tunnel of this role.
    pub(super) fn has(&self, node: RouterId, role: Role) -> bool {
        self.tunnels_to(node).any(|(_, tunnel)| tunnel.role == role)
    }

    /// Forgets what is noted of a node that has neither tunnel nor dial any more.
    pub(super) fn tidy(&mut self, node: RouterId) {
        if self.tunnels_to(node).next().is_none() && self.dials_of(node).next().is_none() {
            self.glared.retain(|lane| lane.node != node);
            self.waits.retain(|lane, _| lane.node != node);
        }
    }

    /// Whether there is a neighbour, of whatever kind.
    pub(super) fn has_neighbour(&self) -> bool {
        !self.lan.is_empty() || self.tunnels.values().any(|tunnel| tunnel.state == State::Up)
    }

    /// Whether there is a tunnel, a dial or a link of others with the node.
    pub(super) fn is_engaged(&self, node: RouterId) -> bool {
        self.tunnels_to(node).next().is_some()
            || self.dials_of(node).next().is_some()
            || self.lan.contains(&node)
    }

    /// The node that a replacement stands in for, while it has tunnels.
    pub(super) fn alive_victim(&self, replaces: Option<RouterId>) -> Option<RouterId> {
        replaces.filter(|node| self.has(*node, Role::Dialled))
    }

    /// Whether a replacement is on its way.
    pub(super) fn is_replacing(&self) -> bool {
        let dialled = self.dials.values().map(|dial| match dial.aim {
            Aim::Replace(victim) => Some(victim),
            Aim::Place | Aim::Yielded | Aim::Abandoned => None,
        });
        let open = self.tunnels.values().map(|tunnel| tunnel.replaces);
        dialled.chain(open).any(|replaces| self.alive_victim(replaces).is_some())
    }
}

fn lanes_to(node: RouterId) -> std::ops::RangeInclusive<Lane> {
    Lane::first(node)..=Lane { node, uplink: UplinkNumber::LAST }
}

/// Dials on their way at once.
pub const MAX_DIALS: usize = 16;
/// Neighbours on other links that are kept in mind.
pub const MAX_LAN: usize = 256;

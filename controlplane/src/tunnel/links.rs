//! What exists: tunnels, dials on their way, neighbours on links of others, and the ports in use.

use std::collections::{BTreeMap, BTreeSet};

use sixwire_proto::router_id::RouterId;
use sixwire_proto::time::Instant;

use super::input::Role;
use super::ports::Ports;

/// At most one tunnel and one dial for each node.
#[derive(Debug)]
pub(super) struct Links {
    pub(super) tunnels: BTreeMap<RouterId, Tunnel>,
    pub(super) dials: BTreeMap<RouterId, Dial>,
    /// Neighbours on links the manager did not make.
    pub(super) lan: BTreeSet<RouterId>,
    /// Nodes whose request lost a glare once; a second request shows that they do not hear us.
    /// Each of them has a dial or a tunnel.
    pub(super) glared: BTreeSet<RouterId>,
    pub(super) ports: Ports,
}

/// An interface that exists.
#[derive(Clone, Debug)]
pub(super) struct Tunnel {
    pub(super) role: Role,
    pub(super) port: u16,
    pub(super) state: State,
    pub(super) opened_at: Instant,
    /// Routes through it, as counted last.
    pub(super) uses: usize,
    /// The tunnel to close once this one has its neighbour.
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
    /// A tunnel in the place of that one.
    Replace(RouterId),
    /// Nothing, most likely: the node's own dial was accepted meanwhile.
    Yielded,
    /// Nothing: the node is not wanted any more.
    Abandoned,
}

impl Links {
    pub(super) fn new(ports: Ports) -> Self {
        Self {
            tunnels: BTreeMap::new(),
            dials: BTreeMap::new(),
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

    pub(super) fn count(&self, role: Role) -> usize {
        self.tunnels.values().filter(|tunnel| tunnel.role == role).count()
    }

    /// Whether there is a neighbour, of whatever kind.
    pub(super) fn has_neighbour(&self) -> bool {
        !self.lan.is_empty() || self.tunnels.values().any(|tunnel| tunnel.state == State::Up)
    }

    /// Whether there is a tunnel, a dial or a link of others with the node.
    pub(super) fn is_engaged(&self, node: RouterId) -> bool {
        self.tunnels.contains_key(&node)
            || self.dials.contains_key(&node)
            || self.lan.contains(&node)
    }

    /// The tunnel that a replacement stands in for, while it exists.
    pub(super) fn alive_victim(&self, replaces: Option<RouterId>) -> Option<RouterId> {
        let dialled = |node: &RouterId| {
            self.tunnels.get(node).is_some_and(|tunnel| tunnel.role == Role::Dialled)
        };
        replaces.filter(dialled)
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

/// Dials on their way at once.
pub const MAX_DIALS: usize = 16;
/// Neighbours on other links that are kept in mind.
pub const MAX_LAN: usize = 256;

//! What the manager shows of itself.

use std::net::SocketAddr;

use serde::Serialize;
use sixwire_proto::peer::PeerRecord;
use sixwire_proto::router_id::RouterId;
use sixwire_proto::seed::Seed;
use sixwire_proto::time::Instant;

use super::Tunnels;
use super::input::Role;
use super::lane::Lane;
use super::links::State;

/// A tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct TunnelView {
    /// The node at its other end, and the uplink.
    pub lane: Lane,
    /// Who asked for it.
    pub role: Role,
    /// The UDP port of this end.
    pub port: u16,
    /// What is known of the other end.
    pub state: TunnelState,
    /// Since when it exists; for an adopted one since the adoption.
    pub opened_at: Instant,
    /// Routes through its node, as counted last.
    pub uses: usize,
}

/// What is known of a tunnel's other end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum TunnelState {
    /// Nothing yet.
    Opening,
    /// It is a neighbour.
    Up,
    /// It was a neighbour.
    Lost,
    /// It comes from an earlier run and has not been a neighbour in this one.
    Adopted,
}

/// A dial on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct DialView {
    /// Who is dialled, and over which uplink.
    pub lane: Lane,
    /// The UDP port of this end.
    pub port: u16,
    /// Since when.
    pub started: Instant,
}

/// A known peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct PeerView<'a> {
    /// The node.
    pub node: RouterId,
    /// Its signalling addresses, best first.
    pub addresses: &'a [SocketAddr],
    /// Whether routing has a route to it.
    pub reachable: bool,
    /// Failures since the last success.
    pub failures: u32,
    /// When it may be dialled again; in the past if at once.
    pub retry_at: Instant,
}

impl Tunnels {
    /// All tunnels, by node.
    pub fn tunnels(&self) -> impl Iterator<Item = TunnelView> {
        self.links.tunnels.iter().map(|(lane, tunnel)| TunnelView {
            lane: *lane,
            role: tunnel.role,
            port: tunnel.port,
            state: match tunnel.state {
                State::Opening { .. } => TunnelState::Opening,
                State::Up => TunnelState::Up,
                State::Lost { .. } => TunnelState::Lost,
                State::Adopted { .. } => TunnelState::Adopted,
            },
            opened_at: tunnel.opened_at,
            uses: tunnel.uses,
        })
    }

    /// All dials on their way, by node.
    pub fn dials(&self) -> impl Iterator<Item = DialView> {
        self.links.dials.iter().map(|(lane, dial)| DialView {
            lane: *lane,
            port: dial.port,
            started: dial.started,
        })
    }

    /// Everybody known, by node.
    pub fn peers(&self) -> impl Iterator<Item = PeerView<'_>> {
        self.peers.iter().map(|(node, known)| PeerView {
            node,
            addresses: &known.addresses,
            reachable: known.reachable,
            failures: known.failures,
            retry_at: known.eligible_at(self.company),
        })
    }

    /// At most `limit` peers to tell `asker` about: working ones first, others at random. The same
    /// asker gets the same answer while nothing changes.
    #[must_use]
    pub fn peers_for(&self, asker: RouterId, limit: usize) -> Vec<PeerRecord> {
        let mut seed = Seed::new(u64::from_be_bytes(asker.octets()));
        let mut records = self.peers.records(&mut seed, limit.saturating_add(1));
        records.retain(|record| record.node != asker);
        records.truncate(limit);
        records
    }
}

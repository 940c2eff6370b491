//! The life of a tunnel after it was opened: neighbours come and go, patience ends, others close.

use std::time::Duration;

use sixwire_proto::router_id::RouterId;
use sixwire_proto::time::Instant;

use super::counters::DropReason;
use super::input::{Adopted, Medium, Role};
use super::lane::Lane;
use super::links::{Aim, MAX_LAN, State, Tunnel};
use super::output::{CloseReason, Event, Notify, Output};
use super::peers::Company;
use super::{Phase, Reach, Tunnels};

impl Tunnels {
    /// Takes over what an earlier run left in the kernel.
    pub(super) fn adopt(&mut self, tunnels: &[Adopted]) {
        for &Adopted { lane, role, port } in tunnels {
            if let Some(reason) = self.unwanted(lane, role) {
                // The other end of a lane beside others uses it until it knows.
                let notify = match reason {
                    CloseReason::NoUplink => Notify::Peer,
                    _ => Notify::Nobody,
                };
                self.output(Output::Close { lane, port, reason, notify });
                continue;
            }
            let state = State::Adopted { until: self.now + self.params.timers.dead };
            let tunnel = Tunnel { role, port, state, opened_at: self.now, uses: 0, replaces: None };
            self.links.tunnels.insert(lane, tunnel);
            for dial in self.links.dials_of_mut(lane.node) {
                dial.aim = Aim::Abandoned;
            }
            self.event(Event::Adopted { lane, role });
        }
    }

    /// A neighbour came.
    pub(super) fn neighbour_up(&mut self, node: RouterId, medium: Medium) {
        // Two interfaces of this node on one LAN hear each other.
        if node == self.params.own || self.peers.is_revoked(node) {
            return self.counters.drop(DropReason::Unwanted);
        }
        match medium {
            Medium::Tunnel(uplink) => self.tunnel_up(Lane { node, uplink }),
            Medium::Lan if self.links.lan.len() < MAX_LAN => {
                self.links.lan.insert(node);
            }
            Medium::Lan => self.counters.drop(DropReason::ListFull),
        }
    }

    /// A neighbour went.
    pub(super) fn neighbour_down(&mut self, node: RouterId, medium: Medium) {
        let lane = match medium {
            Medium::Tunnel(uplink) => Lane { node, uplink },
            Medium::Lan => {
                self.links.lan.remove(&node);
                return;
            }
        };
        let until = self.now + self.params.timers.dead;
        match self.links.tunnels.get_mut(&lane) {
            Some(tunnel) if tunnel.state == State::Up => {
                tunnel.state = State::Lost { until };
                self.event(Event::Down { lane });
            }
            Some(_) | None => self.counters.drop(DropReason::Stale),
        }
    }

    /// Closes what nobody answers on.
    pub(super) fn expire_tunnels(&mut self) {
        let over = self.links.tunnels.iter().filter_map(|(lane, tunnel)| {
            let until = tunnel.state.until().map(|until| self.patience(*lane, until))?;
            let reason = match tunnel.state {
                State::Opening { .. } => CloseReason::HandshakeTimeout,
                State::Lost { .. } | State::Adopted { .. } | State::Up => CloseReason::Dead,
            };
            (until <= self.now).then_some((*lane, reason))
        });
        for (lane, reason) in over.collect::<Vec<_>>() {
            self.close(lane, reason, Notify::Peer);
            self.blame_lane(lane);
        }
    }

    /// When patience with a tunnel ends, or it stops holding its place.
    pub(super) fn lifetime_deadline(&self) -> Option<Instant> {
        let ends = self.links.tunnels.iter().filter_map(|(lane, tunnel)| {
            tunnel.state.until().map(|until| self.patience(*lane, until))
        });
        let stalls = self.links.tunnels.values().filter_map(idle_from);
        let stalls = stalls.filter(|at| self.company == Company::Alone && *at > self.now);
        ends.chain(stalls).min()
    }

    /// Whether a tunnel counts among the dialled ones that are wanted. While there is no
    /// neighbour at all, only those that may still come up soon do.
    pub(super) fn tunnel_holds_place(&self, tunnel: &Tunnel) -> bool {
        tunnel.role == Role::Dialled && !self.is_idle(tunnel)
    }

    /// Closes the tunnels of this role to one node that answers on none, the oldest; `false` if there is
    /// none.
    pub(super) fn make_room(&mut self, role: Role) -> bool {
        let idle = |tunnel: &Tunnel| {
            let lost = matches!(tunnel.state, State::Lost { .. });
            tunnel.role == role && (lost || self.is_idle(tunnel))
        };
        let silent = |lane: &Lane| self.links.tunnels_to(lane.node).all(|(_, one)| idle(one));
        let tunnels = self.links.tunnels.iter().filter(|(lane, _)| silent(lane));
        let oldest = tunnels.min_by_key(|(_, tunnel)| tunnel.opened_at).map(|(lane, _)| lane.node);
        let Some(node) = oldest else { return false };
        self.close_all(node, CloseReason::Dead, Notify::Peer);
        self.blame(node);
        true
    }

    /// The peer closed its end.
    pub(super) fn close_asked(&mut self, node: RouterId, port: u16) {
        let Some(lane) = self.links.tunnel_on(node, port) else {
            return self.counters.drop(DropReason::Stale);
        };
        self.close(lane, CloseReason::PeerClosed, Notify::Nobody);
        // It has reasons; do not come back at once.
        self.hold_lane(lane, CLOSED_HOLD);
    }

    /// The port cannot be bound: the node is dialled again on another one.
    pub(super) fn port_taken(&mut self, node: RouterId, port: u16) {
        self.links.ports.rest(port, self.now);
        if let Some(lane) = self.links.tunnel_on(node, port) {
            self.close(lane, CloseReason::PortTaken, Notify::Peer);
        } else if let Some(lane) = self.links.dial_on(node, port) {
            self.links.dials.remove(&lane);
            self.links.glared.remove(&lane);
            self.links.tidy(node);
        } else {
            self.counters.drop(DropReason::Stale);
        }
    }

    /// Somebody deleted the interface.
    pub(super) fn interface_gone(&mut self, lane: Lane) {
        if !self.links.tunnels.contains_key(&lane) {
            return self.counters.drop(DropReason::Stale);
        }
        self.close(lane, CloseReason::InterfaceGone, Notify::Peer);
        self.hold_lane(lane, GONE_HOLD);
    }

    /// Hangs up on a node for good.
    pub(super) fn revoke(&mut self, node: RouterId) {
        if !self.peers.revoke(node) {
            self.counters.drop(DropReason::ListFull);
        }
        self.links.lan.remove(&node);
        for dial in self.links.dials_of_mut(node) {
            dial.aim = Aim::Abandoned;
        }
        self.close_all(node, CloseReason::Revoked, Notify::Nobody);
    }

    /// Closes everything and takes nothing new.
    pub(super) fn shut_down(&mut self) {
        if self.phase == Phase::Draining {
            return;
        }
        self.remember_now();
        self.phase = Phase::Draining;
        for dial in self.links.dials.values_mut() {
            dial.aim = Aim::Abandoned;
        }
        for lane in self.links.tunnels.keys().copied().collect::<Vec<_>>() {
            self.close(lane, CloseReason::Shutdown, Notify::Peer);
        }
    }

    /// Ends the tunnels to a node that work. The two-sided drain belongs here: raise the cost, wait until no
    /// route uses the tunnel, agree with the peer, then close.
    pub(super) fn retire(&mut self, node: RouterId, reason: CloseReason) {
        for dial in self.links.dials_of_mut(node) {
            dial.aim = Aim::Abandoned;
        }
        self.close_all(node, reason, Notify::Peer);
    }

    /// Removes a tunnel.
    pub(super) fn close(&mut self, lane: Lane, reason: CloseReason, notify: Notify) {
        let Some(tunnel) = self.links.tunnels.remove(&lane) else { return };
        self.links.tidy(lane.node);
        self.counters.closed += 1;
        self.output(Output::Close { lane, port: tunnel.port, reason, notify });
        self.event(Event::Closed { lane, role: tunnel.role, reason });
    }

    fn close_all(&mut self, node: RouterId, reason: CloseReason, notify: Notify) {
        let lanes: Vec<Lane> = self.links.tunnels_to(node).map(|(lane, _)| lane).collect();
        for lane in lanes {
            self.close(lane, reason, notify);
        }
    }

    fn tunnel_up(&mut self, lane: Lane) {
        let node = lane.node;
        let Some(tunnel) = self.links.tunnels.get_mut(&lane) else {
            return self.counters.drop(DropReason::Stale);
        };
        if tunnel.state == State::Up {
            return;
        }
        tunnel.state = State::Up;
        let (role, replaces) = (tunnel.role, tunnel.replaces.take());
        self.links.glared.retain(|other| other.node != node);
        self.links.waits.remove(&lane);
        self.peers.proved(node, self.now);
        self.event(Event::Up { lane, role });
        if role == Role::Served && self.reach == Reach::Unproven {
            self.reach = Reach::Proven;
            self.event(Event::Reached { node });
        }
        if let Some(victim) = self.links.alive_victim(replaces) {
            self.retire(victim, CloseReason::Refreshed);
            self.hold(victim, self.params.timers.refresh);
        }
    }

    /// Whether to dial the node of this tunnel again. One that never came up is not among them:
    /// it has to fail first, or the two would make new ones without end.
    pub(super) fn is_worth_redialling(&self, tunnel: &Tunnel) -> bool {
        self.is_idle(tunnel)
            && match tunnel.state {
                State::Lost { .. } | State::Adopted { .. } => true,
                State::Opening { .. } | State::Up => false,
            }
    }

    /// Whether the tunnel has been silent for so long that a node alone looks for others.
    fn is_idle(&self, tunnel: &Tunnel) -> bool {
        self.company == Company::Alone && idle_from(tunnel).is_some_and(|at| at <= self.now)
    }

    /// Why a tunnel cannot be adopted.
    fn unwanted(&self, lane: Lane, role: Role) -> Option<CloseReason> {
        let node = lane.node;
        let excludes = |(other, tunnel): (Lane, &Tunnel)| other == lane || tunnel.role != role;
        if self.phase == Phase::Draining {
            Some(CloseReason::Shutdown)
        } else if self.peers.is_revoked(node) {
            Some(CloseReason::Revoked)
        } else if node == self.params.own || self.links.tunnels_to(node).any(excludes) {
            Some(CloseReason::Duplicate)
        } else if role == Role::Dialled && lane.uplink > self.params.uplinks {
            Some(CloseReason::NoUplink)
        } else {
            None
        }
    }
}

/// From when on a node alone expects nothing of the tunnel.
fn idle_from(tunnel: &Tunnel) -> Option<Instant> {
    match tunnel.state {
        State::Up => None,
        State::Lost { .. } => Some(tunnel.opened_at),
        State::Opening { .. } => Some(tunnel.opened_at + OPENING_STALL),
        State::Adopted { .. } => Some(tunnel.opened_at + ADOPTED_STALL),
    }
}

/// A handshake and a Hello take less on any path that works.
const OPENING_STALL: Duration = Duration::from_secs(3);
/// Two Hello intervals: time for the neighbours of an adopted tunnel to say that they live.
const ADOPTED_STALL: Duration = Duration::from_secs(10);
/// How long a peer that closed its end is left alone.
const CLOSED_HOLD: Duration = Duration::from_secs(60);
/// How long to wait before an interface that somebody deleted is made again.
const GONE_HOLD: Duration = Duration::from_secs(2);

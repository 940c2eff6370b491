//! Requests of others.

use std::time::Duration;

use sixwire_proto::router_id::RouterId;

use super::input::{RequestId, Role};
use super::links::{Aim, State};
use super::output::{CloseReason, Event, Notify, Output, Verdict};
use super::params::Service;
use super::{Phase, Tunnels};
use sixwire_proto::peer::Refusal;

impl Tunnels {
    /// Answers a request, at once and once.
    pub(super) fn request(&mut self, id: RequestId, node: RouterId) {
        self.counters.requests += 1;
        match self.judge(node) {
            Ok(port) => self.accept(id, node, port),
            Err(refusal) => {
                self.output(Output::Answer { id, verdict: Verdict::Refuse(refusal) });
                self.event(Event::Refused { node, refusal });
            }
        }
    }

    /// Whether to accept, and on which port.
    fn judge(&mut self, node: RouterId) -> Result<u16, Refusal> {
        if self.phase == Phase::Draining {
            return Err(Refusal::Stopping);
        }
        if node == self.params.own {
            return Err(Refusal::OwnRequest);
        }
        if self.peers.is_revoked(node) {
            return Err(Refusal::Certificate);
        }
        if self.params.service == Service::DialOnly {
            return Err(Refusal::DialOnly);
        }
        if self.asked_a_moment_ago(node) {
            return Err(Refusal::Busy);
        }
        if self.wins_glare(node) {
            return Err(Refusal::Glare);
        }
        if !self.has_room_for(node) {
            return Err(Refusal::Full);
        }
        self.links.allocate_port(self.now).ok_or(Refusal::Busy)
    }

    /// Takes the request. An older tunnel with the node is of no use: its other end asks for a
    /// new one because it has lost the old one, or never had it.
    fn accept(&mut self, id: RequestId, node: RouterId, port: u16) {
        self.counters.requests_accepted += 1;
        if let Some(dial) = self.links.dials.get_mut(&node) {
            dial.aim = match dial.aim {
                Aim::Place | Aim::Replace(_) | Aim::Yielded => Aim::Yielded,
                Aim::Abandoned => Aim::Abandoned,
            };
        }
        if self.links.tunnels.contains_key(&node) {
            self.close(node, CloseReason::Replaced, Notify::Nobody);
        }
        self.links.glared.remove(&node);
        self.output(Output::Answer { id, verdict: Verdict::Accept { port } });
        self.open(node, Role::Served, port, None);
    }

    /// Both dial each other: the lower router-id's dial wins. It claims so once. Should the node
    /// ask again, our dial does not get through to it, and its own is the better one.
    fn wins_glare(&mut self, node: RouterId) -> bool {
        if node < self.params.own {
            return false;
        }
        let dialling = self.links.dials.get(&node).is_some_and(|dial| match dial.aim {
            Aim::Place | Aim::Replace(_) => true,
            Aim::Yielded | Aim::Abandoned => false,
        });
        // Its request may have been on the way while it accepted ours.
        let fresh = self.links.tunnels.get(&node).is_some_and(|tunnel| {
            tunnel.role == Role::Dialled && matches!(tunnel.state, State::Opening { .. })
        });
        (dialling || fresh) && self.links.glared.insert(node)
    }

    /// Whether the node has a served tunnel so new that this request can only be a repetition.
    /// It bounds how fast one node can make us create interfaces.
    fn asked_a_moment_ago(&self, node: RouterId) -> bool {
        self.links.tunnels.get(&node).is_some_and(|tunnel| {
            tunnel.role == Role::Served && tunnel.opened_at + REQUEST_SPACING > self.now
        })
    }

    fn has_room_for(&mut self, node: RouterId) -> bool {
        let replaces = self.links.tunnels.get(&node).is_some_and(|t| t.role == Role::Served);
        replaces
            || self.links.count(Role::Served) < self.params.counts.served
            || self.make_room(Role::Served)
    }
}

/// The least time between two accepted requests of one node; below the least backoff.
const REQUEST_SPACING: Duration = Duration::from_millis(500);

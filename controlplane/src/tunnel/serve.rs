//! Requests of others.

use std::time::Duration;

use super::input::{RequestId, Role};
use super::lane::Lane;
use super::links::{Aim, State};
use super::output::{Event, Output, Verdict};
use super::params::Service;
use super::{Phase, Tunnels};
use sixwire_proto::peer::Refusal;

impl Tunnels {
    /// Answers a request, at once and once.
    pub(super) fn request(&mut self, id: RequestId, lane: Lane) {
        self.counters.requests += 1;
        match self.judge(lane) {
            Ok(port) => self.accept(id, lane, port),
            Err(refusal) => {
                self.output(Output::Answer { id, verdict: Verdict::Refuse(refusal) });
                self.event(Event::Refused { lane, refusal });
            }
        }
    }

    /// Whether to accept, and on which port.
    fn judge(&mut self, lane: Lane) -> Result<u16, Refusal> {
        let node = lane.node;
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
        if self.asked_a_moment_ago(lane) {
            return Err(Refusal::Busy);
        }
        if self.counters_with_dial(lane) || self.wins_glare(lane) {
            return Err(Refusal::Glare);
        }
        if !self.has_room_for(lane) {
            return Err(Refusal::Full);
        }
        self.links.allocate_port(self.now).ok_or(Refusal::Busy)
    }

    /// Takes the request. An older tunnel on the lane, or one that we dialled, is of no use: its other end
    /// asks for a new one because it has lost the old one, or never had it.
    fn accept(&mut self, id: RequestId, lane: Lane, port: u16) {
        self.counters.requests_accepted += 1;
        for dial in self.links.dials_of_mut(lane.node) {
            dial.aim = match dial.aim {
                Aim::Place | Aim::Replace(_) | Aim::Yielded => Aim::Yielded,
                Aim::Abandoned => Aim::Abandoned,
            };
        }
        self.make_way(lane, Role::Served);
        self.links.glared.retain(|other| other.node != lane.node);
        self.output(Output::Answer { id, verdict: Verdict::Accept { port } });
        self.open(lane, Role::Served, port, None);
    }

    /// Both dial each other: the lower router-id's dial wins. It claims so once. Should the node
    /// ask again, our dial does not get through to it, and its own is the better one.
    fn wins_glare(&mut self, lane: Lane) -> bool {
        if lane.node < self.params.own {
            return false;
        }
        let dialling = self.links.dials_of(lane.node).any(|(_, dial)| match dial.aim {
            Aim::Place | Aim::Replace(_) => true,
            Aim::Yielded | Aim::Abandoned => false,
        });
        // Its request may have been on the way while it accepted ours.
        let fresh = self.links.tunnels_to(lane.node).any(|(_, tunnel)| {
            tunnel.role == Role::Dialled && matches!(tunnel.state, State::Opening { .. })
        });
        (dialling || fresh) && self.links.glared.insert(lane)
    }

    /// Whether the lane has a served tunnel so new that this request can only be a repetition.
    /// It bounds how fast one node can make us create interfaces.
    fn asked_a_moment_ago(&self, lane: Lane) -> bool {
        self.links.tunnels.get(&lane).is_some_and(|tunnel| {
            tunnel.role == Role::Served && tunnel.opened_at + REQUEST_SPACING > self.now
        })
    }

    fn has_room_for(&mut self, lane: Lane) -> bool {
        if self.links.has(lane.node, Role::Served) {
            return self.links.tunnels.contains_key(&lane) || self.has_ports_to_spare();
        }
        self.links.count(Role::Served) < self.params.counts.served || self.make_room(Role::Served)
    }
}

/// The least time between two accepted requests of one node; below the least backoff.
const REQUEST_SPACING: Duration = Duration::from_millis(500);

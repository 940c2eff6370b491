//! Lanes: the tunnels to one node side by side, one over each uplink of the node that dialled.
//!
//! A node holds one place, however many lanes lead to it. All of them have the same role: a request of the
//! other end, accepted, ends what was dialled, as it shows that the other end has lost that. What ails one
//! lane while others of the same node work is no fault of the node's, and it is waited for longer.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use serde::Serialize;
use sixwire_proto::router_id::RouterId;
use sixwire_proto::time::Instant;
use sixwire_proto::uplink::UplinkNumber;

use super::Tunnels;
use super::input::Role;
use super::links::{Aim, MAX_DIALS, State, Tunnel};
use super::output::{CloseReason, Notify};
use super::pace::{backoff, jitter};

/// One of the tunnels between this node and another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Lane {
    /// The node at the other end.
    pub node: RouterId,
    /// Which uplink of the dialler it takes.
    pub uplink: UplinkNumber,
}

/// A lane that failed while others to its node did not.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wait {
    failures: u32,
    until: Instant,
}

impl Lane {
    /// The only one of most nodes.
    #[must_use]
    pub fn first(node: RouterId) -> Self {
        Self { node, uplink: UplinkNumber::FIRST }
    }
}

impl fmt::Display for Lane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.uplink.is_first() {
            return write!(f, "{}", self.node);
        }
        write!(f, "{} (uplink {})", self.node, self.uplink)
    }
}

impl Tunnels {
    /// Dials what is missing of the lanes to nodes that have accepted one already.
    pub(super) fn widen(&mut self) {
        if self.params.uplinks.is_first() {
            return;
        }
        while self.links.dials.len() < MAX_DIALS && self.has_ports_to_spare() {
            let due = |(lane, until): (Lane, Instant)| (until <= self.now).then_some(lane);
            let Some(lane) = self.missing_lanes().find_map(due) else { return };
            if !self.dial(lane, Aim::Place) {
                return;
            }
        }
    }

    /// When the wait for a missing lane is over.
    pub(super) fn widen_deadline(&self) -> Option<Instant> {
        let may_dial = !self.params.uplinks.is_first() && self.links.dials.len() < MAX_DIALS;
        if !may_dial || !self.has_ports_to_spare() {
            return None;
        }
        self.missing_lanes().map(|(_, until)| until).filter(|until| *until > self.now).min()
    }

    /// Whether more ports are free than the places that nobody holds yet will need.
    pub(super) fn has_ports_to_spare(&self) -> bool {
        let open = |role, most: usize| most.saturating_sub(self.links.count(role));
        let reserved =
            open(Role::Dialled, self.target()) + open(Role::Served, self.params.counts.served) + 1;
        self.links.free_ports() > reserved
    }

    /// Dials a node that asks, where this node has several uplinks and the other dialled by one: only the
    /// dialler's count. Should the node ask again soon, that dial does not get through.
    pub(super) fn counters_with_dial(&mut self, lane: Lane) -> bool {
        let node = lane.node;
        let now = self.now;
        let wanted = !self.params.uplinks.is_first()
            && self.missing() > 0
            && self.links.dials.len() < MAX_DIALS
            && self.links.tunnels_to(node).next().is_none();
        let Some(known) = self.peers.get_mut(node).filter(|known| wanted && known.is_dialable())
        else {
            return false;
        };
        if known.countered.replace(now).is_some_and(|at| at + COUNTER_SPACING > now) {
            return false;
        }
        self.links.dials_of(node).next().is_some() || self.dial(Lane::first(node), Aim::Place)
    }

    /// Ends what a tunnel on this lane, of this role, cannot exist beside.
    pub(super) fn make_way(&mut self, lane: Lane, role: Role) {
        let displaced = |(other, tunnel): (Lane, &Tunnel)| {
            (other == lane || tunnel.role != role).then_some(other)
        };
        for other in self.links.tunnels_to(lane.node).filter_map(displaced).collect::<Vec<_>>() {
            self.close(other, CloseReason::Replaced, Notify::Nobody);
        }
    }

    /// One more failure: of the node, unless it has other lanes.
    pub(super) fn blame_lane(&mut self, lane: Lane) {
        if !self.has_sibling(lane) {
            return self.blame(lane.node);
        }
        let failures = self.links.waits.get(&lane).map_or(0, |wait| wait.failures);
        let failures = failures.saturating_add(1);
        let least = self.params.timers.backoff_min;
        let wait = backoff(&mut self.seed, failures, least, LANE_BACKOFF_MAX);
        self.links.waits.insert(lane, Wait { failures, until: self.now + wait });
    }

    /// Leaves a lane alone for a while, without blame; with it its node, unless that has others.
    pub(super) fn hold_lane(&mut self, lane: Lane, full: Duration) {
        if !self.has_sibling(lane) {
            return self.hold(lane.node, full);
        }
        let until = self.now + jitter(&mut self.seed, full);
        let failures = self.links.waits.get(&lane).map_or(0, |wait| wait.failures);
        self.links.waits.insert(lane, Wait { failures, until });
    }

    /// When patience with a tunnel ends that is no neighbour. An uplink may be dead for long; while
    /// another lane works, its tunnel stays, so that it is back with its uplink.
    pub(super) fn patience(&self, lane: Lane, until: Instant) -> Instant {
        let works = |(other, tunnel): (Lane, &Tunnel)| other != lane && tunnel.state == State::Up;
        if self.links.tunnels_to(lane.node).any(works) { until + LANE_PATIENCE } else { until }
    }

    fn has_sibling(&self, lane: Lane) -> bool {
        self.links.tunnels_to(lane.node).any(|(other, _)| other != lane)
    }

    /// Lanes that should exist and do not, and until when they are left alone.
    fn missing_lanes(&self) -> impl Iterator<Item = (Lane, Instant)> {
        let dialled = self.links.tunnels.iter().filter(|(_, tunnel)| tunnel.role == Role::Dialled);
        let nodes: BTreeSet<RouterId> = dialled.map(|(lane, _)| lane.node).collect();
        let lanes =
            move |node| self.params.uplinks.up_to_this().map(move |uplink| Lane { node, uplink });
        let missing = |lane: &Lane| {
            !self.links.tunnels.contains_key(lane) && !self.links.dials.contains_key(lane)
        };
        let wait = |lane| self.links.waits.get(&lane).map_or(Instant(0), |wait| wait.until);
        nodes.into_iter().flat_map(lanes).filter(missing).map(move |lane| (lane, wait(lane)))
    }
}

/// The least time between two requests of a node that are answered with a dial: beyond the waits between its
/// attempts.
const COUNTER_SPACING: Duration = Duration::from_secs(60);
/// Beyond the time a tunnel alone has: a dead uplink is noticed to be back at once, and a tunnel whose other
/// end is gone is still made anew some time.
const LANE_PATIENCE: Duration = Duration::from_secs(300);
/// The longest wait between two attempts at a lane: its node answers, so they cost little.
const LANE_BACKOFF_MAX: Duration = Duration::from_secs(60);

//! Dialling: how many places are free, whom to ask, and what an outcome changes.

use std::collections::BTreeSet;
use std::time::Duration;

use sixwire_proto::router_id::RouterId;
use sixwire_proto::time::Instant;

use super::counters::DropReason;
use super::input::{Accepted, DialFailure, Role};
use super::lane::Lane;
use super::links::{Aim, Dial, MAX_DIALS, State, Tunnel};
use super::output::{Event, Notify, Output};
use super::pace::{backoff, jitter};
use super::peers::{Company, Known};
use super::{Reach, Tunnels};
use sixwire_proto::peer::Refusal;

impl Tunnels {
    /// How many dialled nodes there should be now.
    pub(super) fn target(&self) -> usize {
        let counts = self.params.counts;
        match self.reach {
            Reach::Proven => counts.dialled,
            Reach::Unproven => counts.dialled.min(counts.unreached),
        }
    }

    /// Places that nothing holds.
    pub(super) fn missing(&self) -> usize {
        let tunnels = self.links.tunnels.iter().filter(|(_, one)| self.tunnel_holds_place(one));
        let dials = self.links.dials.iter().filter(|(_, dial)| self.dial_holds_place(dial));
        let lanes = tunnels.map(|(lane, _)| lane).chain(dials.map(|(lane, _)| lane));
        let nodes: BTreeSet<RouterId> = lanes.map(|lane| lane.node).collect();
        self.target().saturating_sub(nodes.len())
    }

    /// Dials until every place is held, or nobody is left to dial.
    pub(super) fn fill(&mut self) {
        for _ in 0..self.missing() {
            if self.links.dials.len() >= MAX_DIALS {
                return;
            }
            let Some(node) = self.pick() else { return };
            if !self.dial(Lane::first(node), Aim::Place) {
                return;
            }
        }
    }

    /// Sends a dial; `false` if there is no port for it.
    pub(super) fn dial(&mut self, lane: Lane, aim: Aim) -> bool {
        let Some(port) = self.links.allocate_port(self.now) else { return false };
        let addresses = self.peers.get(lane.node).map(|known| known.addresses.clone());
        let until = self.now + self.params.timers.dial;
        self.links.dials.insert(lane, Dial { port, started: self.now, until, aim });
        self.counters.dials += 1;
        self.output(Output::Dial { lane, addresses: addresses.unwrap_or_default(), port });
        true
    }

    /// An outcome came.
    pub(super) fn dialled(
        &mut self,
        node: RouterId,
        port: u16,
        outcome: Result<Accepted, DialFailure>,
    ) {
        let lane = self.links.dial_on(node, port);
        let Some((lane, dial)) =
            lane.and_then(|lane| Some((lane, self.links.dials.remove(&lane)?)))
        else {
            self.counters.drop(DropReason::Stale);
            if outcome.is_ok() {
                self.decline(node, port);
            }
            return;
        };
        match outcome {
            Ok(accepted) => {
                self.counters.dials_accepted += 1;
                if let Some(address) = accepted.address {
                    self.peers.answered_at(node, address);
                }
                self.accepted(lane, port, dial.aim);
            }
            Err(failure) => self.dial_failed(lane, &dial, failure),
        }
        self.links.tidy(node);
    }

    /// Gives up dials without outcome: the driver owes one, and a manager that waited for ever
    /// would leak its places.
    pub(super) fn expire_dials(&mut self) {
        let over = |dial: &Dial| dial.until <= self.now;
        let late: Vec<_> = self.links.dials.iter().filter(|(_, dial)| over(dial)).collect();
        let late: Vec<_> = late.into_iter().map(|(lane, dial)| (*lane, dial.clone())).collect();
        for (lane, dial) in late {
            self.links.dials.remove(&lane);
            self.dial_failed(lane, &dial, DialFailure::Unreachable);
            self.links.tidy(lane.node);
        }
    }

    /// When a dial ends, stops holding its place, or a candidate's wait is over.
    pub(super) fn dial_deadline(&self) -> Option<Instant> {
        let dials = self.links.dials.values();
        let ends = dials.clone().map(|dial| dial.until).min();
        let stalls =
            dials.map(|dial| dial.started + self.stall()).filter(|at| *at > self.now).min();
        let may_dial = self.missing() > 0 && self.links.dials.len() < MAX_DIALS;
        let retries = may_dial.then(|| {
            let waiting = self.candidates().map(|(_, known)| known.eligible_at(self.company));
            waiting.filter(|at| *at > self.now).min()
        });
        let ports = may_dial.then(|| self.links.ports.next_deadline(self.now));
        [ends, stalls, retries.flatten(), ports.flatten()].into_iter().flatten().min()
    }

    /// A random candidate whose wait is over: preferred ones first, then those that routing
    /// reaches, which are surely alive, then the others.
    pub(super) fn pick(&mut self) -> Option<RouterId> {
        let class = |node: RouterId, known: &Known| {
            if self.params.preferred.contains(&node) {
                0
            } else if known.reachable {
                1
            } else {
                2
            }
        };
        let ready: Vec<_> = self.ready().map(|(node, known)| (class(node, known), node)).collect();
        let best = ready.iter().map(|(class, _)| *class).min()?;
        let best: Vec<_> = ready.into_iter().filter(|(class, _)| *class == best).collect();
        Some(best[self.seed.below(best.len())].1)
    }

    /// Candidates whose wait is over.
    pub(super) fn ready(&self) -> impl Iterator<Item = (RouterId, &Known)> {
        self.candidates().filter(|(_, known)| known.eligible_at(self.company) <= self.now)
    }

    /// Whether this peer may be dialled now.
    pub(super) fn is_ready(&self, node: RouterId) -> bool {
        self.peers.get(node).is_some_and(|known| {
            self.is_candidate(node, known) && known.eligible_at(self.company) <= self.now
        })
    }

    /// Everybody who could be dialled. Neither this node nor a revoked one is ever known.
    fn candidates(&self) -> impl Iterator<Item = (RouterId, &Known)> {
        self.peers.iter().filter(|(node, known)| self.is_candidate(*node, known))
    }

    /// A direct neighbour is none. A node alone also dials those it has just lost.
    fn is_candidate(&self, node: RouterId, known: &Known) -> bool {
        known.is_dialable()
            && self.links.dials_of(node).next().is_none()
            && !self.links.lan.contains(&node)
            && self.links.tunnels_to(node).all(|(_, tunnel)| self.is_worth_redialling(tunnel))
    }

    /// The peer accepted: open the tunnel if there still is a place.
    fn accepted(&mut self, lane: Lane, port: u16, aim: Aim) {
        let node = lane.node;
        let replaces = match aim {
            Aim::Place => None,
            Aim::Replace(victim) => self.links.alive_victim(Some(victim)),
            // Both accepted the other's dial, because the first one came late. Both sides let
            // the lower router-id's dial win.
            Aim::Yielded if self.params.own < node => None,
            Aim::Yielded | Aim::Abandoned => return self.decline(node, port),
        };
        self.make_way(lane, Role::Dialled);
        if !self.links.has(node, Role::Dialled) {
            let places = self.target() + usize::from(replaces.is_some());
            if self.links.count(Role::Dialled) >= places && !self.make_room(Role::Dialled) {
                self.counters.drop(DropReason::Surplus);
                return self.decline(node, port);
            }
            self.refresh.restart(self.now + self.params.timers.refresh);
        }
        self.open(lane, Role::Dialled, port, replaces);
    }

    /// Creates the tunnel.
    pub(super) fn open(&mut self, lane: Lane, role: Role, port: u16, replaces: Option<RouterId>) {
        let state = State::Opening { until: self.now + self.params.timers.handshake };
        let tunnel = Tunnel { role, port, state, opened_at: self.now, uses: 0, replaces };
        self.links.tunnels.insert(lane, tunnel);
        self.output(Output::Open { lane, role, port });
        self.event(Event::Opened { lane, role, port });
    }

    /// Refuses what the peer just accepted. It is told, unless it has a tunnel with us anyway.
    fn decline(&mut self, node: RouterId, port: u16) {
        let has_tunnel = self.links.tunnels_to(node).next().is_some();
        let notify = if has_tunnel { Notify::Nobody } else { Notify::Peer };
        self.output(Output::Decline { node, port, notify });
    }

    fn dial_failed(&mut self, lane: Lane, dial: &Dial, failure: DialFailure) {
        if !self.links.tunnels.contains_key(&lane) {
            self.links.glared.remove(&lane);
        }
        match dial.aim {
            Aim::Place => {}
            Aim::Replace(_) => self.refresh.retry_soon(self.now),
            Aim::Yielded | Aim::Abandoned => return,
        }
        self.counters.dials_failed += 1;
        self.event(Event::DialFailed { lane, failure });
        match failure {
            // The peer's own dial is on its way, and takes about as long as ours took; if it does not come,
            // because the peer dials where this node was before, ours is the one.
            DialFailure::Refused(Refusal::Glare) => {
                let took = self.now.since(dial.started);
                self.hold_lane(lane, took.clamp(GLARE_HOLD_LEAST, GLARE_HOLD_MOST));
            }
            DialFailure::Local => self.hold_lane(lane, LOCAL_HOLD),
            DialFailure::Unreachable | DialFailure::WrongNode | DialFailure::Refused(_) => {
                self.blame_lane(lane);
            }
        }
    }

    /// One more failure of the peer: the wait doubles.
    pub(super) fn blame(&mut self, node: RouterId) {
        let Some(known) = self.peers.get_mut(node) else { return };
        known.failures = known.failures.saturating_add(1);
        let timers = &self.params.timers;
        let wait = backoff(&mut self.seed, known.failures, timers.backoff_min, timers.backoff_max);
        known.hold(self.now, wait, &mut self.seed);
    }

    /// Leaves the peer alone for half of `full` to `full`, without blame.
    pub(super) fn hold(&mut self, node: RouterId, full: Duration) {
        let Some(known) = self.peers.get_mut(node) else { return };
        let wait = jitter(&mut self.seed, full);
        known.hold(self.now, wait, &mut self.seed);
    }

    fn dial_holds_place(&self, dial: &Dial) -> bool {
        let wanted = match dial.aim {
            Aim::Place => true,
            Aim::Replace(victim) => self.links.alive_victim(Some(victim)).is_none(),
            Aim::Yielded | Aim::Abandoned => false,
        };
        wanted && dial.started + self.stall() > self.now
    }

    /// A dial that has not been answered for this long holds no place.
    fn stall(&self) -> Duration {
        match self.company {
            Company::Connected => STALL,
            Company::Alone => STALL_ALONE,
        }
    }
}

/// Several round trips of a slow path.
const STALL: Duration = Duration::from_secs(1);
/// One round trip of a slow path: a node without neighbours would rather dial one too many.
const STALL_ALONE: Duration = Duration::from_millis(250);
/// How long to wait for the peer's own dial after it won a glare.
const GLARE_HOLD_LEAST: Duration = Duration::from_millis(100);
const GLARE_HOLD_MOST: Duration = Duration::from_secs(1);
/// How long to wait after this node could not dial for reasons of its own.
const LOCAL_HOLD: Duration = Duration::from_secs(2);

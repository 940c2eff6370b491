//! Dialling: how many places are free, whom to ask, and what an outcome changes.

use std::time::Duration;

use sixwire_proto::router_id::RouterId;
use sixwire_proto::time::Instant;

use super::counters::DropReason;
use super::input::{Accepted, DialFailure, Role};
use super::links::{Aim, Dial, MAX_DIALS, State, Tunnel};
use super::output::{CloseReason, Event, Notify, Output};
use super::pace::{backoff, jitter};
use super::peers::{Company, Known};
use super::{Reach, Tunnels};
use sixwire_proto::peer::Refusal;

impl Tunnels {
    /// How many dialled tunnels there should be now.
    pub(super) fn target(&self) -> usize {
        let counts = self.params.counts;
        match self.reach {
            Reach::Proven => counts.dialled,
            Reach::Unproven => counts.dialled.min(counts.unreached),
        }
    }

    /// Places that nothing holds.
    pub(super) fn missing(&self) -> usize {
        let tunnels = self.links.tunnels.values().filter(|tunnel| self.tunnel_holds_place(tunnel));
        let dials = self.links.dials.values().filter(|dial| self.dial_holds_place(dial));
        self.target().saturating_sub(tunnels.count() + dials.count())
    }

    /// Dials until every place is held, or nobody is left to dial.
    pub(super) fn fill(&mut self) {
        for _ in 0..self.missing() {
            if self.links.dials.len() >= MAX_DIALS {
                return;
            }
            let Some(node) = self.pick() else { return };
            if !self.dial(node, Aim::Place) {
                return;
            }
        }
    }

    /// Sends a dial; `false` if there is no port for it.
    pub(super) fn dial(&mut self, node: RouterId, aim: Aim) -> bool {
        let Some(port) = self.links.allocate_port(self.now) else { return false };
        let addresses = self.peers.get(node).map(|known| known.addresses.clone());
        let until = self.now + self.params.timers.dial;
        self.links.dials.insert(node, Dial { port, started: self.now, until, aim });
        self.counters.dials += 1;
        self.output(Output::Dial { node, addresses: addresses.unwrap_or_default(), port });
        true
    }

    /// An outcome came.
    pub(super) fn dialled(
        &mut self,
        node: RouterId,
        port: u16,
        outcome: Result<Accepted, DialFailure>,
    ) {
        let current = self.links.dials.get(&node).filter(|dial| dial.port == port);
        let Some((aim, started)) = current.map(|dial| (dial.aim, dial.started)) else {
            self.counters.drop(DropReason::Stale);
            if outcome.is_ok() {
                self.decline(node, port);
            }
            return;
        };
        self.links.dials.remove(&node);
        match outcome {
            Ok(accepted) => {
                self.counters.dials_accepted += 1;
                if let Some(address) = accepted.address {
                    self.peers.answered_at(node, address);
                }
                self.accepted(node, port, aim);
            }
            Err(failure) => self.dial_failed(node, (aim, started), failure),
        }
    }

    /// Gives up dials without outcome: the driver owes one, and a manager that waited for ever
    /// would leak its places.
    pub(super) fn expire_dials(&mut self) {
        let over = |dial: &Dial| dial.until <= self.now;
        let late: Vec<_> = self.links.dials.iter().filter(|(_, dial)| over(dial)).collect();
        let late: Vec<_> =
            late.into_iter().map(|(node, dial)| (*node, (dial.aim, dial.started))).collect();
        for (node, dial) in late {
            self.links.dials.remove(&node);
            self.dial_failed(node, dial, DialFailure::Unreachable);
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
        let tunnel = self.links.tunnels.get(&node);
        known.is_dialable()
            && !self.links.dials.contains_key(&node)
            && !self.links.lan.contains(&node)
            && tunnel.is_none_or(|tunnel| self.is_worth_redialling(tunnel))
    }

    /// The peer accepted: open the tunnel if there still is a place.
    fn accepted(&mut self, node: RouterId, port: u16, aim: Aim) {
        let replaces = match aim {
            Aim::Place => None,
            Aim::Replace(victim) => self.links.alive_victim(Some(victim)),
            // Both accepted the other's dial, because the first one came late. Both sides let
            // the lower router-id's dial win.
            Aim::Yielded if self.params.own < node => None,
            Aim::Yielded | Aim::Abandoned => return self.decline(node, port),
        };
        if self.links.tunnels.contains_key(&node) {
            self.close(node, CloseReason::Replaced, Notify::Nobody);
        }
        let places = self.target() + usize::from(replaces.is_some());
        if self.links.count(Role::Dialled) >= places && !self.make_room(Role::Dialled) {
            self.counters.drop(DropReason::Surplus);
            return self.decline(node, port);
        }
        self.refresh.restart(self.now + self.params.timers.refresh);
        self.open(node, Role::Dialled, port, replaces);
    }

    /// Creates the tunnel.
    pub(super) fn open(
        &mut self,
        node: RouterId,
        role: Role,
        port: u16,
        replaces: Option<RouterId>,
    ) {
        let state = State::Opening { until: self.now + self.params.timers.handshake };
        let tunnel = Tunnel { role, port, state, opened_at: self.now, uses: 0, replaces };
        self.links.tunnels.insert(node, tunnel);
        self.output(Output::Open { node, role, port });
        self.event(Event::Opened { node, role, port });
    }

    /// Refuses what the peer just accepted. It is told, unless it has a tunnel with us anyway.
    fn decline(&mut self, node: RouterId, port: u16) {
        let notify =
            if self.links.tunnels.contains_key(&node) { Notify::Nobody } else { Notify::Peer };
        self.output(Output::Decline { node, port, notify });
    }

    fn dial_failed(
        &mut self,
        node: RouterId,
        (aim, started): (Aim, Instant),
        failure: DialFailure,
    ) {
        if !self.links.tunnels.contains_key(&node) {
            self.links.glared.remove(&node);
        }
        match aim {
            Aim::Place => {}
            Aim::Replace(_) => self.refresh.retry_soon(self.now),
            Aim::Yielded | Aim::Abandoned => return,
        }
        self.counters.dials_failed += 1;
        self.event(Event::DialFailed { node, failure });
        match failure {
            // The peer's own dial is on its way, and takes about as long as ours took; if it does not come,
            // because the peer dials where this node was before, ours is the one.
            DialFailure::Refused(Refusal::Glare) => {
                let took = self.now.since(started);
                self.hold(node, took.clamp(GLARE_HOLD_LEAST, GLARE_HOLD_MOST));
            }
            DialFailure::Local => self.hold(node, LOCAL_HOLD),
            DialFailure::Unreachable | DialFailure::WrongNode | DialFailure::Refused(_) => {
                self.blame(node);
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

//! Refresh: now and then the dialled tunnel that carries least gives way to a random one. It is
//! the only optimiser of this version; the replacement works before the old tunnel goes.

use std::time::Duration;

use sixwire_proto::router_id::RouterId;
use sixwire_proto::time::Instant;

use super::Tunnels;
use super::input::{Role, Usage};
use super::lane::Lane;
use super::links::{Aim, MAX_DIALS, State};
use super::output::{CloseReason, Output};

/// When the next refresh is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Refresh {
    state: Waiting,
    /// Not before this, however urgent.
    earliest: Instant,
}

/// What is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Waiting {
    /// The time.
    Time(Instant),
    /// The count of routes, until then.
    Uses(Instant),
}

impl Refresh {
    pub(super) fn new(at: Instant) -> Self {
        Self { state: Waiting::Time(at), earliest: Instant(0) }
    }

    /// A full interval from the last opened tunnel: a node that still fills up never drops any.
    pub(super) fn restart(&mut self, at: Instant) {
        self.state = Waiting::Time(at);
    }

    /// The replacement failed; try another one.
    pub(super) fn retry_soon(&mut self, now: Instant) {
        self.state = Waiting::Time(now + PACE);
    }
}

impl Tunnels {
    /// Asks for the uses of all tunnels when one may have to go.
    pub(super) fn refresh_if_due(&mut self) {
        if self.refresh_at() > self.now {
            return;
        }
        let interval = self.params.timers.refresh;
        let waits = matches!(self.refresh.state, Waiting::Time(_));
        let full = self.links.count(Role::Dialled) >= self.target();
        if waits && full && !self.links.is_replacing() && self.victim().is_some() {
            self.refresh.state = Waiting::Uses(self.now + PACE);
            self.refresh.earliest = self.now + PACE;
            self.output(Output::AskUses);
        } else {
            self.refresh.restart(self.now + interval);
            self.refresh.earliest = self.now + PACE;
        }
    }

    pub(super) fn refresh_deadline(&self) -> Option<Instant> {
        Some(self.refresh_at())
    }

    /// The uses of all tunnels are known.
    pub(super) fn weigh(&mut self, uses: &[Usage]) {
        for (lane, tunnel) in &mut self.links.tunnels {
            let usage = uses.iter().find(|usage| usage.node == lane.node);
            tunnel.uses = usage.map_or(0, |usage| usage.routes);
        }
        if !matches!(self.refresh.state, Waiting::Uses(_)) {
            return;
        }
        self.refresh.restart(self.now + self.params.timers.refresh);
        let Some(victim) = self.victim() else { return };
        if self.surplus() {
            self.retire(victim, CloseReason::Surplus);
            self.hold(victim, self.params.timers.refresh);
        } else if self.links.dials.len() < MAX_DIALS
            && let Some(node) = self.pick_replacement()
        {
            // Without a free port there is no replacement this time.
            let _sent = self.dial(Lane::first(node), Aim::Replace(victim));
        }
    }

    /// The time of the next refresh: soon when there are too many tunnels or a preferred node
    /// waits for a place.
    fn refresh_at(&self) -> Instant {
        match self.refresh.state {
            Waiting::Uses(until) => until,
            Waiting::Time(at) if self.is_urgent() => at.min(self.refresh.earliest),
            Waiting::Time(at) => at,
        }
    }

    fn is_urgent(&self) -> bool {
        let full = self.links.count(Role::Dialled) >= self.target();
        full && !self.links.is_replacing()
            && (self.surplus() || self.preferred_is_ready())
            && self.victim().is_some()
    }

    fn surplus(&self) -> bool {
        self.links.count(Role::Dialled) > self.target() && !self.links.is_replacing()
    }

    /// The dialled node with the fewest routes; among equals the oldest. Never a preferred one,
    /// never one that just came.
    fn victim(&self) -> Option<RouterId> {
        let settled = self.links.tunnels.iter().filter(|(lane, tunnel)| {
            let up = tunnel.role == Role::Dialled && tunnel.state == State::Up;
            up && !self.is_preferred(lane.node)
        });
        settled.min_by_key(|(_, tunnel)| (tunnel.uses, tunnel.opened_at)).map(|(lane, _)| lane.node)
    }

    /// Mostly whom [`Tunnels::pick`] would take. Sometimes one that routing does not reach: it is
    /// dead, or lives in another part of a network that fell apart, and then this mends it.
    fn pick_replacement(&mut self) -> Option<RouterId> {
        let strangers: Vec<_> =
            self.ready().filter(|(_, known)| !known.reachable).map(|(node, _)| node).collect();
        if self.preferred_is_ready() || strangers.is_empty() || self.seed.below(STRANGER_EVERY) > 0
        {
            return self.pick();
        }
        Some(strangers[self.seed.below(strangers.len())])
    }

    fn preferred_is_ready(&self) -> bool {
        self.params.preferred.iter().any(|node| self.is_ready(*node))
    }

    fn is_preferred(&self, node: RouterId) -> bool {
        self.params.preferred.contains(&node)
    }
}

/// Between two steps that are more urgent than the refresh interval, and the patience with a
/// count of routes.
const PACE: Duration = Duration::from_secs(10);
/// One in this many replacements tries a node that routing does not reach.
const STRANGER_EVERY: usize = 4;

//! Where peers are learned from: the registry, neighbours, routing, and the cache of the last run.

use std::time::Duration;

use sixwire_proto::peer::PeerRecord;
use sixwire_proto::router_id::RouterId;
use sixwire_proto::time::Instant;

use super::counters::DropReason;
use super::input::Source;
use super::links::State;
use super::output::Output;
use super::pace::Pace;
use super::peers::{Company, Known, Standing};
use super::{Phase, Tunnels};

/// When whom is asked next.
#[derive(Debug)]
pub(super) struct Sources {
    start: Instant,
    registry: Pace,
    /// A question to the registry is on its way; given up at that time.
    pending: Option<Instant>,
    neighbours: Pace,
    remembered: Option<Instant>,
    /// When the first change was seen that the cache does not have.
    changed_at: Option<Instant>,
}

impl Sources {
    pub(super) fn new(start: Instant) -> Self {
        Self {
            start,
            registry: Pace::default(),
            pending: None,
            neighbours: Pace::default(),
            remembered: None,
            changed_at: None,
        }
    }

    /// An answer of the registry came, or will not come.
    pub(super) fn registry_answered(&mut self) {
        self.pending = None;
    }

    /// Impatience starts anew.
    pub(super) fn company_changed(&mut self) {
        self.registry.reset();
        self.neighbours.reset();
    }
}

impl Tunnels {
    /// Merges what somebody told.
    pub(super) fn learn(&mut self, source: Source, records: &[PeerRecord]) {
        if source == Source::Registry {
            self.sources.registry_answered();
        }
        let before = self.peers.len();
        self.counters
            .drop_many(DropReason::TooManyRecords, records.len().saturating_sub(MAX_RECORDS));
        for record in records.iter().take(MAX_RECORDS) {
            let standing = match source {
                Source::Registry => Standing::Authoritative,
                Source::Peer(node) if node == record.node => Standing::Authoritative,
                Source::Peer(_) | Source::Cache => Standing::Hearsay,
            };
            self.learn_one(record, standing);
        }
        if self.peers.len() > before {
            self.sources.neighbours.reset();
        }
    }

    /// Routing has a route to the node.
    pub(super) fn set_reachable(&mut self, node: RouterId) {
        if node == self.params.own || self.peers.is_revoked(node) {
            return self.counters.drop(DropReason::Unwanted);
        }
        let useless = |known: &Known| known.failures > 0 || !known.is_dialable();
        if self.peers.get(node).is_none() && !self.admit(node, useless) {
            return self.counters.drop(DropReason::TableFull);
        }
        let soon = self.params.timers.backoff_min;
        self.peers.appeared(node, self.now, soon, &mut self.seed);
    }

    /// Routing has no route to the node.
    pub(super) fn set_unreachable(&mut self, node: RouterId) {
        let Some(known) = self.peers.get_mut(node) else { return };
        known.reachable = false;
        if known.addresses.is_empty() && !self.links.is_engaged(node) {
            self.peers.remove(node);
        }
    }

    /// Asks whoever is due.
    pub(super) fn ask_sources(&mut self) {
        if self.registry_at().is_some_and(|at| at <= self.now) {
            self.sources.registry.ask(self.now, &mut self.seed, REGISTRY_MAX);
            self.sources.pending = Some(self.now + REGISTRY_PATIENCE);
            self.counters.registry_asked += 1;
            self.output(Output::AskRegistry);
        }
        if self.neighbours_at().is_some_and(|at| at <= self.now) {
            self.ask_a_neighbour();
        }
    }

    /// Writes the cache when it changed, not too often.
    pub(super) fn remember_if_due(&mut self) {
        if self.peers.changed {
            self.sources.changed_at.get_or_insert(self.now);
        }
        if self.remember_at().is_some_and(|at| at <= self.now) {
            self.remember_now();
        }
    }

    /// Writes the cache if it changed.
    pub(super) fn remember_now(&mut self) {
        if !std::mem::take(&mut self.peers.changed) {
            return;
        }
        self.sources.changed_at = None;
        self.sources.remembered = Some(self.now);
        let records = self.peers.records(&mut self.seed, self.params.cache_limit);
        self.output(Output::Remember(records));
    }

    pub(super) fn sources_deadline(&self) -> Option<Instant> {
        let all = [self.registry_at(), self.neighbours_at(), self.remember_at()];
        all.into_iter().flatten().min()
    }

    fn learn_one(&mut self, record: &PeerRecord, standing: Standing) {
        let node = record.node;
        if node == self.params.own || self.peers.is_revoked(node) || self.phase == Phase::Draining {
            return self.counters.drop(DropReason::Unwanted);
        }
        if self.peers.get(node).is_none() && !self.admit(node, |_| true) {
            return self.counters.drop(DropReason::TableFull);
        }
        let left_out = self.peers.merge(node, &record.addresses, standing, self.now);
        self.counters.drop_many(DropReason::Address, left_out);
        if self.peers.get(node).is_some_and(|known| !known.is_dialable()) {
            self.peers.remove(node);
        }
    }

    /// Makes an entry for a new peer. In a full table a random one of those that `may_go` makes
    /// room, failed ones first; never a neighbour or a preferred node.
    fn admit(&mut self, node: RouterId, may_go: impl Fn(&Known) -> bool) -> bool {
        if self.peers.is_full() {
            let kept = |node| self.links.is_engaged(node) || self.params.preferred.contains(&node);
            let others: Vec<_> = self
                .peers
                .iter()
                .filter(|(node, known)| may_go(known) && !kept(*node))
                .map(|(node, known)| (known.failures > 0, node))
                .collect();
            let failed: Vec<_> = others.iter().filter(|(failed, _)| *failed).copied().collect();
            let pool = if failed.is_empty() { others } else { failed };
            let Some((_, gone)) = pool.get(self.seed.below(pool.len())) else { return false };
            self.peers.remove(*gone);
            self.counters.evicted += 1;
        }
        self.peers.insert(node, self.now);
        true
    }

    /// While alone with doubling waits; while merely short of tunnels now and then, which also
    /// finds the rest of a network that fell apart; never when all is well.
    fn registry_at(&self) -> Option<Instant> {
        if let Some(until) = self.sources.pending.filter(|until| *until > self.now) {
            return Some(until);
        }
        let (pace, start) = (&self.sources.registry, self.sources.start);
        match self.company {
            Company::Alone => Some(pace.next(start)),
            Company::Connected if self.missing() > 0 => {
                Some(pace.next_steady(start, self.params.timers.refresh))
            }
            Company::Connected => None,
        }
    }

    /// With doubling waits while short of tunnels, else once every refresh interval.
    fn neighbours_at(&self) -> Option<Instant> {
        if !self.links.has_neighbour() {
            return None;
        }
        let (pace, start) = (&self.sources.neighbours, self.sources.start);
        Some(if self.missing() > 0 {
            pace.next(start)
        } else {
            pace.next_steady(start, self.params.timers.refresh)
        })
    }

    fn ask_a_neighbour(&mut self) {
        let up = self.links.tunnels.iter().filter(|(_, tunnel)| tunnel.state == State::Up);
        let mut neighbours: Vec<_> = up.map(|(lane, _)| lane.node).collect();
        neighbours.dedup();
        neighbours.extend(&self.links.lan);
        let Some(node) = neighbours.get(self.seed.below(neighbours.len())).copied() else {
            return;
        };
        self.sources.neighbours.ask(self.now, &mut self.seed, self.params.timers.refresh);
        self.counters.peers_asked += 1;
        self.output(Output::AskPeer { node });
    }

    fn remember_at(&self) -> Option<Instant> {
        let settled = self.sources.changed_at? + REMEMBER_SETTLE;
        Some(self.sources.remembered.map_or(settled, |last| settled.max(last + REMEMBER_SPACING)))
    }
}

/// Records looked at in one input.
pub const MAX_RECORDS: usize = 256;
/// The longest wait between two questions to the registry while alone.
const REGISTRY_MAX: Duration = Duration::from_secs(60);
/// The registry's answer is given up after this.
const REGISTRY_PATIENCE: Duration = Duration::from_secs(30);
/// News come in bursts; the cache is written when one is over.
const REMEMBER_SETTLE: Duration = Duration::from_secs(5);
/// The least time between two writes of the cache.
const REMEMBER_SPACING: Duration = Duration::from_secs(60);

//! Origin check: which router-id may originate which prefixes, as certificates say.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use sixwire_proto::prefix::Prefix;
use sixwire_proto::router_id::RouterId;

use super::Babel;
use super::counter::DropReason;
use super::deadline::Timer;
use super::neighbour::NeighbourId;
use super::output::Output;
use super::params::OriginCheck;
use super::route::EntryId;

/// Known origins, and who is waited for. Empty while the check is off.
#[derive(Debug)]
pub(super) struct Origins {
    check: OriginCheck,
    /// As large as the driver makes it: one entry per valid certificate.
    known: BTreeMap<RouterId, Vec<Prefix>>,
    /// Entries with a route of this originator.
    heard: BTreeMap<RouterId, BTreeSet<EntryId>>,
    /// Originators asked for, and how often.
    wanted: BTreeMap<RouterId, u32>,
}

impl Origins {
    pub(super) fn new(check: OriginCheck) -> Self {
        let (known, heard, wanted) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        Self { check, known, heard, wanted }
    }

    /// Whether a router-id may originate a destination. Sources are not looked at: a default route for
    /// the sources of a network needs the right to the default route.
    pub(super) fn allow(&self, router_id: RouterId, destination: Prefix) -> bool {
        match self.check {
            OriginCheck::Off => true,
            OriginCheck::Required => self
                .known
                .get(&router_id)
                .is_some_and(|own| own.iter().any(|prefix| prefix.contains(destination))),
        }
    }
}

impl Babel {
    /// A route of this originator is in this entry. If nothing is known of it, it is asked for.
    pub(super) fn originator_heard(&mut self, router_id: RouterId, id: EntryId) {
        if self.origins.check == OriginCheck::Off {
            return;
        }
        self.origins.heard.entry(router_id).or_default().insert(id);
        let known = self.origins.known.contains_key(&router_id);
        if known || self.origins.wanted.contains_key(&router_id) {
            return;
        }
        if self.origins.wanted.len() >= self.params.limits.origins_wanted {
            return self.count(DropReason::TooManyOrigins);
        }
        self.origins.wanted.insert(router_id, 0);
        self.origin_due(router_id);
    }

    /// A route of this originator has left this entry.
    pub(super) fn originator_unheard(&mut self, router_id: RouterId, id: EntryId) {
        let entry = self.table.get(id);
        if entry.is_some_and(|entry| entry.routes.iter().any(|one| one.router_id == router_id)) {
            return;
        }
        let Some(entries) = self.origins.heard.get_mut(&router_id) else { return };
        entries.remove(&id);
        if entries.is_empty() {
            self.origins.heard.remove(&router_id);
            self.stop_wanting(router_id);
        }
    }

    /// Asks for an origin, each time at another neighbour that routes to it.
    pub(super) fn origin_due(&mut self, router_id: RouterId) {
        let neighbours = self.announcers(router_id);
        let Some(tries) = self.origins.wanted.get_mut(&router_id) else { return };
        let (times, count) = (*tries, neighbours.len());
        *tries = tries.saturating_add(1);
        let chosen = (times as usize).checked_rem(count).and_then(|n| neighbours.get(n));
        if let Some(neighbour) = chosen.and_then(|id| self.neighbours.get(*id)) {
            let (link, neighbour) = (neighbour.link, neighbour.address);
            self.outbox.outputs.push_back(Output::OriginWanted { router_id, link, neighbour });
        }
        let wait = FIRST_RETRY * (1 << times.min(MOST_DOUBLINGS));
        self.deadlines.set(Timer::Origin(router_id), self.now + wait);
    }

    /// Neighbours with a route of this originator: those of one entry, as an originator has few.
    fn announcers(&self, router_id: RouterId) -> Vec<NeighbourId> {
        let entries = self.origins.heard.get(&router_id);
        let first = entries.and_then(BTreeSet::first).and_then(|id| self.table.get(*id));
        let routes = first.map(|entry| entry.routes.as_slice()).unwrap_or_default();
        routes.iter().filter(|one| one.router_id == router_id).map(|one| one.neighbour).collect()
    }

    /// An origin has become known, or has changed.
    pub(super) fn origin_known(&mut self, router_id: RouterId, prefixes: &[Prefix]) {
        if self.origins.check == OriginCheck::Required {
            self.origins.known.insert(router_id, prefixes.to_vec());
            self.stop_wanting(router_id);
            self.reselect_originator(router_id);
        }
    }

    /// An origin is no longer valid. It is asked for again after a while, in case it is renewed.
    pub(super) fn origin_gone(&mut self, router_id: RouterId) {
        if self.origins.known.remove(&router_id).is_none() {
            return;
        }
        self.reselect_originator(router_id);
        if self.origins.heard.contains_key(&router_id) {
            self.origins.wanted.insert(router_id, MOST_DOUBLINGS);
            self.deadlines.set(Timer::Origin(router_id), self.now + AFTER_REVOCATION);
        }
    }

    fn reselect_originator(&mut self, router_id: RouterId) {
        let entries = self.origins.heard.get(&router_id).cloned();
        for id in entries.unwrap_or_default() {
            self.reselect(id);
        }
    }

    fn stop_wanting(&mut self, router_id: RouterId) {
        self.origins.wanted.remove(&router_id);
        self.deadlines.clear(Timer::Origin(router_id));
    }
}

/// An origin that is not known is asked for again after this, then after twice that.
const FIRST_RETRY: Duration = Duration::from_secs(2);
/// And so on up to 64 seconds.
const MOST_DOUBLINGS: u32 = 5;
/// A revoked one is asked for after this.
const AFTER_REVOCATION: Duration = Duration::from_mins(1);

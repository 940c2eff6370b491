//! Route selection (RFC 8966 §3.6) and what follows from it.

use std::time::Duration;

use sixwire_proto::metric::Metric;
use sixwire_proto::time::Instant;

use super::Babel;
use super::announcement::Audience;
use super::neighbour::NeighbourId;
use super::route::{Dropped, Entry, EntryId, Route, Selection, Via};
use super::wheel::Tick;

/// What route to use, and for how long that is certain.
enum Choice {
    /// Until something changes.
    Settled(Option<Selection>),
    /// For now: another would be better, if it stayed so.
    Restrained(Selection),
}

impl Babel {
    /// The route to use. Our own before all others; then the one in use, while it can be used and none is
    /// better by a margin, now and on average (RFC 8966 §A.3); then the lowest metric. Sequence numbers do
    /// not count.
    fn choose(&self, id: EntryId, entry: &Entry) -> Choice {
        if let Some(metric) = entry.own {
            let router_id = self.params.router_id;
            return Choice::Settled(Some(Selection { via: Via::Own, router_id, metric }));
        }
        let metric = |route: &Route| self.metric(entry.key, route);
        let usable = || entry.routes.iter().filter(|route| self.is_usable(entry, route));
        let Some(best) = usable().min_by_key(|route| (metric(route), route.neighbour)) else {
            return Choice::Settled(None);
        };
        let current = usable().find(|route| entry.is_selected(route.neighbour));
        let margin = self.params.switch_margin;
        let smoothed =
            |route: &Route| self.filtered_metric(entry.key, route, self.smoothed_metric(id, route));
        let selection = |route: &Route| Selection {
            via: Via::Neighbour(route.neighbour),
            router_id: route.router_id,
            metric: metric(route),
        };
        match current {
            Some(current) if metric(best) + margin > metric(current) => {
                Choice::Settled(Some(selection(current)))
            }
            Some(current) if smoothed(best) + margin > smoothed(current) => {
                Choice::Restrained(selection(current))
            }
            _ => Choice::Settled(Some(selection(best))),
        }
    }

    /// Never one that is retracted or not feasible (RFC 8966 §3.6), nor of unknown origin, nor denied.
    fn is_usable(&self, entry: &Entry, route: &Route) -> bool {
        self.metric(entry.key, route).is_finite()
            && entry.is_feasible(route)
            && self.may_install(entry.key, route)
            && self.origins.allow(route.router_id, entry.key.destination)
    }

    /// The cost of the link to a neighbour has changed: selects anew for every prefix it has announced, and
    /// asks for those that would now be better.
    pub(super) fn reselect_all_of(&mut self, id: NeighbourId) {
        let entries = self.neighbours.get(id).map(|neighbour| neighbour.routes.clone());
        for entry in entries.unwrap_or_default() {
            self.reselect(entry);
            let route = self.table.get(entry).and_then(|entry| entry.route(id)).copied();
            if let Some(route) = route {
                self.ask_if_unfeasible(entry, &route);
            }
        }
    }

    /// Selects anew for one prefix; tells the kernel and the neighbours what has changed, and answers
    /// requests that waited for it.
    pub(super) fn reselect(&mut self, id: EntryId) {
        let Some(entry) = self.table.get(id) else { return };
        let (key, before) = (entry.key, entry.selected);
        let (told, choice) = (entry.told, self.choose(id, entry));
        let after = match choice {
            Choice::Settled(selection) => selection,
            Choice::Restrained(selection) => {
                self.wake_by(id, self.reconsider_at());
                Some(selection)
            }
        };
        if let Some(entry) = self.table.get_mut(id) {
            entry.selected = after;
        }
        match (before, after) {
            (None, None) => {}
            (None, Some(now)) => self.found(id, now),
            (Some(lost), None) => {
                self.retract(id, key, lost);
                self.ask_all_unfeasible(id);
            }
            (Some(old), Some(new)) if old != new => self.moved(id, (old, new), told),
            (Some(_), Some(_)) => {}
        }
        self.satisfy(key);
        self.settle(id);
    }

    fn found(&mut self, id: EntryId, now: Selection) {
        let Some(key) = self.table.get(id).map(|entry| entry.key) else { return };
        let held = self.table.holds.remove(&id).is_some();
        if held || now.via != Via::Own {
            self.install(id, None);
        }
        let audience = match self.link_of(now.via) {
            Some(link) if !held => Audience::Beyond(link),
            _ => Audience::Everyone,
        };
        self.tell(key, audience, self.now);
    }

    /// The selected route is another one, or has another metric. A new router-id is urgent (RFC 8966
    /// §3.7.2); a metric waits a moment, as others may follow it; a small step waits for the next full
    /// update.
    fn moved(&mut self, id: EntryId, (old, new): (Selection, Selection), told: Metric) {
        let Some(key) = self.table.get(id).map(|entry| entry.key) else { return };
        if old.via != Via::Own || new.via != Via::Own {
            self.install(id, old.originator());
        }
        let soon = self.now + self.seed.between(SOON / 4, SOON);
        if old.router_id != new.router_id {
            self.tell(key, Audience::Everyone, self.now);
        } else if new.metric.0.abs_diff(told.0) >= SIGNIFICANT {
            self.tell(key, Audience::Everyone, soon);
        }
        if let (Some(a), Some(b)) = (self.link_of(old.via), self.link_of(new.via))
            && a != b
        {
            self.tell(key, Audience::On(a, b), self.now);
        }
    }

    /// Ends a change of an entry: sets its next deadline, or drops it if it is empty.
    pub(super) fn settle(&mut self, id: EntryId) {
        if self.table.drop_if_idle(id) == Dropped::No {
            self.schedule(id);
        }
    }

    /// Moves the deadline of an entry forward if need be. A later one is found when the earlier fires, so
    /// that a refresh costs nothing here.
    pub(super) fn schedule(&mut self, id: EntryId) {
        if let Some(due) = self.table.due(id) {
            self.wake_by(id, due.max(self.now + LEAST_DELAY));
        }
    }

    /// Looks at an entry no later than that.
    fn wake_by(&mut self, id: EntryId, at: Instant) {
        let Some(entry) = self.table.get_mut(id) else { return };
        let tick = Tick::covering(at);
        if entry.wake.is_none_or(|wake| tick < wake) {
            entry.wake = Some(tick);
            self.wheel.add(tick, id);
        }
    }
}

/// Metrics that differ by less from what was told wait for the next full update: half a wired link.
const SIGNIFICANT: u16 = 48;
/// How long a changed metric waits for others, at most.
const SOON: Duration = Duration::from_millis(20);
/// No deadline of an entry is nearer than this.
const LEAST_DELAY: Duration = Duration::from_millis(1);

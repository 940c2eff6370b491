//! The route table (RFC 8966 §3.2.6), with the source table inside: one entry per prefix holds all
//! that is known about it.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::time::Duration;

use sixwire_proto::babel::RouteKey;
use sixwire_proto::interval::Interval;
use sixwire_proto::metric::{Cost, Metric};
use sixwire_proto::router_id::RouterId;
use sixwire_proto::runs::Runs;
use sixwire_proto::seqno::Seqno;
use sixwire_proto::time::Instant;

use super::few::Few;
use super::neighbour::NeighbourId;
use super::next_hop::NextHopId;
use super::source::{self, Distance, Source};
use super::wheel::Tick;

/// Names an entry as long as it exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct EntryId(pub(super) u32);

/// All that is known about one prefix.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) key: RouteKey,
    /// The metric we originate it with.
    pub(super) own: Option<Metric>,
    pub(super) routes: Few<Route>,
    pub(super) sources: Few<Source>,
    pub(super) selected: Option<Selection>,
    /// The metric last announced to anyone.
    pub(super) told: Metric,
    /// When it is looked at.
    pub(super) wake: Option<Tick>,
}

/// What one neighbour announced for a prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Route {
    pub(super) neighbour: NeighbourId,
    pub(super) router_id: RouterId,
    pub(super) seqno: Seqno,
    /// The neighbour's metric.
    pub(super) refmetric: Metric,
    /// Among those of the neighbour.
    pub(super) next_hop: NextHopId,
    pub(super) interval: Interval,
    pub(super) refresh: Refresh,
    pub(super) expires: Instant,
}

/// Whether a route that is about to expire was asked for again (RFC 8966 §3.8.2.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refresh {
    Unasked,
    Asked,
}

/// The route in use, as it was when last selected or announced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Selection {
    pub(super) via: Via,
    pub(super) router_id: RouterId,
    pub(super) metric: Metric,
}

/// Where the selected route leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Via {
    /// It is our own.
    Own,
    /// Through a neighbour.
    Neighbour(NeighbourId),
}

/// A lost prefix that must not fall back to a shorter one yet (RFC 8966 §3.5.4).
#[derive(Debug)]
pub(super) struct Hold {
    pub(super) until: Instant,
    /// Neighbours that have not acknowledged the retraction.
    pub(super) waiting: Vec<NeighbourId>,
}

#[cfg(test)]
impl EntryId {
    pub(super) fn at(slot: usize) -> Self {
        Self(u32::try_from(slot).expect("a small number"))
    }
}

impl Entry {
    fn new(key: RouteKey) -> Self {
        Self {
            key,
            own: None,
            routes: Few::NONE,
            sources: Few::NONE,
            selected: None,
            told: Metric::INFINITY,
            wake: None,
        }
    }

    /// The route of one neighbour.
    pub(super) fn route(&self, neighbour: NeighbourId) -> Option<&Route> {
        self.routes.iter().find(|route| route.neighbour == neighbour)
    }

    /// The same, to be changed.
    pub(super) fn route_mut(&mut self, neighbour: NeighbourId) -> Option<&mut Route> {
        self.routes.iter_mut().find(|route| route.neighbour == neighbour)
    }

    /// The selected route, unless it is our own.
    pub(super) fn selected_route(&self) -> Option<&Route> {
        match self.selected?.via {
            Via::Own => None,
            Via::Neighbour(neighbour) => self.route(neighbour),
        }
    }

    /// Whether this neighbour's route is the selected one.
    pub(super) fn is_selected(&self, neighbour: NeighbourId) -> bool {
        self.selected.is_some_and(|selected| selected.via == Via::Neighbour(neighbour))
    }

    /// Whether a route passes the feasibility condition.
    pub(super) fn is_feasible(&self, route: &Route) -> bool {
        source::is_feasible(self.sources.as_slice(), route.router_id, route.distance())
    }

    /// When something here is due: refresh of the selected route, expiry, GC.
    fn due(&self) -> Option<Instant> {
        let refresh = self.selected_route().and_then(Route::refresh_at);
        let expiries = self.routes.iter().map(|route| route.expires);
        let collections = self.sources.iter().map(Source::expires);
        expiries.chain(collections).chain(refresh).min()
    }

    fn is_idle(&self) -> bool {
        self.own.is_none() && self.routes.is_empty() && self.sources.is_empty()
    }
}

impl Selection {
    /// Who originates it, unless we do.
    pub(super) fn originator(&self) -> Option<RouterId> {
        match self.via {
            Via::Own => None,
            Via::Neighbour(_) => Some(self.router_id),
        }
    }
}

impl Route {
    pub(super) fn distance(&self) -> Distance {
        Distance { seqno: self.seqno, metric: self.refmetric }
    }

    /// Our metric through a link of this cost.
    pub(super) fn metric(&self, cost: Cost) -> Metric {
        self.refmetric + cost
    }

    /// When to ask for it again, one interval before it expires; `None` once asked.
    pub(super) fn refresh_at(&self) -> Option<Instant> {
        let early = hold_time(self.interval).saturating_sub(announced(self.interval));
        let heard = Instant(self.expires.0.saturating_sub(micros(hold_time(self.interval))));
        (self.refresh == Refresh::Unasked).then(|| heard + early)
    }
}

/// How long an announcement with this interval holds (RFC 8966 appendix B).
pub(super) fn hold_time(interval: Interval) -> Duration {
    announced(interval) * 7 / 2
}

fn announced(interval: Interval) -> Duration {
    interval.duration().max(LEAST_UPDATE_INTERVAL)
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// All entries, by id and in the order of their keys.
#[derive(Debug, Default)]
pub(super) struct Table {
    /// In the order of their keys, so that neighbouring prefixes share their octets in an Update.
    index: Runs<EntryId>,
    slots: Vec<Option<Entry>>,
    free: Vec<EntryId>,
    /// What entries are held by: few ever are.
    pub(super) holds: BTreeMap<EntryId, Hold>,
    /// Routes of neighbours and of our own.
    routes: usize,
    sources: usize,
}

impl Table {
    pub(super) fn id(&self, key: RouteKey) -> Option<EntryId> {
        self.index.find(|id| self.compare(id, &key))
    }

    pub(super) fn get(&self, id: EntryId) -> Option<&Entry> {
        self.slots.get(id.slot())?.as_ref()
    }

    pub(super) fn get_mut(&mut self, id: EntryId) -> Option<&mut Entry> {
        self.slots.get_mut(id.slot())?.as_mut()
    }

    pub(super) fn of(&self, key: RouteKey) -> Option<&Entry> {
        self.get(self.id(key)?)
    }

    /// The id of an entry, made if there is none.
    pub(super) fn make(&mut self, key: RouteKey) -> EntryId {
        if let Some(id) = self.id(key) {
            return id;
        }
        let id = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            EntryId(u32::try_from(self.slots.len() - 1).expect("fewer entries than 2^32"))
        });
        self.slots[id.slot()] = Some(Entry::new(key));
        let slots = &self.slots;
        self.index.insert(id, |other| compare(slots, other, &key));
        id
    }

    /// Where the key of an entry lies from another.
    fn compare(&self, id: EntryId, key: &RouteKey) -> Ordering {
        compare(&self.slots, id, key)
    }

    /// Drops an entry that holds nothing any more.
    pub(super) fn drop_if_idle(&mut self, id: EntryId) -> Dropped {
        let idle = self.get(id).filter(|entry| entry.is_idle() && !self.is_held(id));
        let Some(entry) = idle else { return Dropped::No };
        let key = entry.key;
        let slots = &self.slots;
        self.index.remove(|other| compare(slots, other, &key));
        self.slots[id.slot()] = None;
        self.free.push(id);
        Dropped::Yes
    }

    /// Whether a prefix must not fall back to a shorter one yet.
    pub(super) fn is_held(&self, id: EntryId) -> bool {
        self.holds.contains_key(&id)
    }

    /// When something of an entry, or its hold, is due.
    pub(super) fn due(&self, id: EntryId) -> Option<Instant> {
        let entry = self.get(id).and_then(Entry::due);
        entry.into_iter().chain(self.holds.get(&id).map(|hold| hold.until)).min()
    }

    /// The first entry after a key, or the first of all.
    pub(super) fn next(&self, after: Option<RouteKey>) -> Option<EntryId> {
        match after {
            Some(key) => self.index.after(|id| self.compare(id, &key)),
            None => self.index.first(),
        }
    }

    /// Adds the route of a neighbour that has none for this entry yet.
    pub(super) fn add_route(&mut self, id: EntryId, route: Route) {
        if let Some(entry) = self.get_mut(id) {
            entry.routes.push(route);
            self.routes += 1;
        }
    }

    /// Takes out the route of a neighbour.
    pub(super) fn take_route(&mut self, id: EntryId, neighbour: NeighbourId) -> Option<Route> {
        let entry = self.get_mut(id)?;
        let position = entry.routes.iter().position(|route| route.neighbour == neighbour)?;
        let route = entry.routes.take(position);
        self.routes -= 1;
        route
    }

    /// Sets or clears the metric of a route of our own.
    pub(super) fn set_own(&mut self, id: EntryId, own: Option<Metric>) {
        let Some(entry) = self.get_mut(id) else { return };
        let before = std::mem::replace(&mut entry.own, own).is_some();
        self.routes = self.routes + usize::from(own.is_some()) - usize::from(before);
    }

    /// Enters a finite announcement about to be sent (RFC 8966 §3.7.3).
    pub(super) fn announce(&mut self, id: EntryId, source: Source) {
        let Some(entry) = self.get_mut(id) else { return };
        match entry.sources.iter_mut().find(|known| known.router_id == source.router_id) {
            Some(known) => known.announce(&source),
            None => {
                entry.sources.push(source);
                self.sources += 1;
            }
        }
    }

    /// Forgets feasibility distances that have not been used for long.
    pub(super) fn collect_sources(&mut self, id: EntryId, now: Instant) {
        let Some(entry) = self.get_mut(id) else { return };
        let before = entry.sources.len();
        entry.sources.retain(|source| source.expires() > now);
        let collected = before - entry.sources.len();
        self.sources -= collected;
    }

    pub(super) fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.index.iter().filter_map(|id| self.get(id))
    }

    /// How many prefixes there are.
    pub(super) fn len(&self) -> usize {
        self.index.len()
    }

    /// How many routes of neighbours and our own.
    pub(super) fn routes(&self) -> usize {
        self.routes
    }

    /// How many feasibility distances.
    pub(super) fn sources(&self) -> usize {
        self.sources
    }
}

/// Whether [`Table::drop_if_idle`] did so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dropped {
    Yes,
    No,
}

fn compare(slots: &[Option<Entry>], id: EntryId, key: &RouteKey) -> Ordering {
    let entry = slots.get(id.slot()).and_then(Option::as_ref);
    entry.expect("what is in the index has a slot").key.cmp(key)
}

impl EntryId {
    fn slot(self) -> usize {
        self.0 as usize
    }
}

/// A shorter promise is read as this: a peer must not set the pace of our timers.
const LEAST_UPDATE_INTERVAL: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests;

//! Route acquisition, refresh and expiry (RFC 8966 §3.5.3, §3.8.2.3).

use std::time::Duration;

use sixwire_proto::babel::{Destination, RouteKey, Tlv, Update};
use sixwire_proto::router_id::RouterId;

use super::Babel;
use super::announcement::Audience;
use super::counter::DropReason;
use super::deadline::Timer;
use super::input::Announcers;
use super::neighbour::NeighbourId;
use super::output::Event;
use super::route::{self, EntryId, Refresh, Route};
use super::wheel::Tick;

impl Babel {
    /// Takes in an update of one prefix.
    pub(super) fn acquire(&mut self, from: NeighbourId, key: RouteKey, update: &Update) {
        let (Some(router_id), Some(next_hop), true) =
            (update.router_id, update.next_hop, update.metric.is_finite())
        else {
            return self.retracted(from, key);
        };
        if !key.destination.is_routable() {
            return self.count(DropReason::UnroutablePrefix);
        }
        if router_id == self.params.router_id {
            return self.echoed(from, key, update);
        }
        if !self.may_announce(from, router_id) {
            self.count(DropReason::NotItsOwn);
            return self.retracted(from, key);
        }
        if !self.is_let_in(from, key, router_id) {
            self.count(DropReason::Filtered);
            return self.retracted(from, key);
        }
        let Some(next_hop) = self.next_hop_id(from, next_hop) else {
            return self.retracted(from, key);
        };
        let route = Route {
            neighbour: from,
            router_id,
            seqno: update.seqno,
            refmetric: update.metric,
            next_hop,
            interval: update.interval,
            refresh: Refresh::Unasked,
            expires: self.now + route::hold_time(update.interval),
        };
        let id = self.table.id(key);
        let entry = id.and_then(|id| self.table.get(id));
        let feasible = entry.is_none_or(|entry| entry.is_feasible(&route));
        let known = entry.is_some_and(|entry| entry.route(from).is_some());
        if !feasible {
            self.count(DropReason::Unfeasible);
        }
        match id {
            Some(id) if known => self.refresh(id, route),
            _ => self.learn(key, route),
        }
    }

    /// Whether routes of this originator are believed on the neighbour's link.
    fn may_announce(&self, from: NeighbourId, router_id: RouterId) -> bool {
        let link = self.neighbours.get(from).and_then(|one| self.links.get(&one.link));
        link.is_some_and(|link| match link.params.announcers {
            Announcers::Anyone => true,
            Announcers::Only(node) => node == router_id,
        })
    }

    /// A route not heard of before, within the limits. An unfeasible one is kept too: it is what can be
    /// asked for when all others fail.
    fn learn(&mut self, key: RouteKey, route: Route) {
        let limits = self.params.limits;
        let Some(neighbour) = self.neighbours.get_mut(route.neighbour) else { return };
        if neighbour.routes.len() >= limits.routes_per_neighbour {
            return self.count(DropReason::TooManyRoutesOfNeighbour);
        }
        if self.table.routes() >= limits.routes {
            return self.count(DropReason::TooManyRoutes);
        }
        let id = self.table.make(key);
        neighbour.routes.insert(id);
        self.table.add_route(id, route);
        self.originator_heard(route.router_id, id);
        self.reselect(id);
        self.ask_if_unfeasible(id, &route);
    }

    /// A route heard of again. An unfeasible update of the selected route changes nothing if the originator
    /// is the same, or else unselects it; either way a newer number is asked for.
    fn refresh(&mut self, id: EntryId, route: Route) {
        let Some(entry) = self.table.get_mut(id) else { return };
        let selected = entry.is_selected(route.neighbour);
        let feasible = entry.is_feasible(&route);
        let Some(known) = entry.route_mut(route.neighbour) else { return };
        let before = *known;
        if selected && !feasible && before.router_id == route.router_id {
            return self.ask_if_unfeasible(id, &route);
        }
        *known = route;
        self.smooth(id, &before, &route);
        if before.router_id != route.router_id {
            self.originator_unheard(before.router_id, id);
        }
        self.originator_heard(route.router_id, id);
        self.reselect(id);
        let still = self.table.get(id).is_some_and(|entry| entry.is_selected(route.neighbour));
        if selected && still && before.next_hop != route.next_hop {
            self.install(id, Some(before.router_id));
        }
        self.ask_if_unfeasible(id, &route);
    }

    /// An update under our own router-id: the neighbour routes to us by somebody else, which is no use
    /// here. If its number is ahead of ours, ours was lost: go beyond it, or nobody would believe us. Not more
    /// often than once a second: two nodes with one id would drive each other.
    fn echoed(&mut self, from: NeighbourId, key: RouteKey, update: &Update) {
        self.count(DropReason::OwnRouterId);
        self.retracted(from, key);
        let own = self.table.of(key).is_some_and(|entry| entry.own.is_some());
        let calm = self.deadlines.get(Timer::SeqnoAhead).is_none();
        if own && calm && update.seqno.is_newer_than(self.seqno) {
            self.deadlines.set(Timer::SeqnoAhead, self.now + CALM);
            self.outbox.event(Event::SeqnoAhead { heard: update.seqno });
            self.set_seqno(update.seqno.next());
            self.tell(key, Audience::Everyone, self.now);
        }
    }

    /// A neighbour has no route any more; for one we never had, this says nothing.
    fn retracted(&mut self, from: NeighbourId, key: RouteKey) {
        if let Some(id) = self.table.id(key) {
            self.forget_route(from, id);
        }
    }

    /// A neighbour has no routes any more.
    pub(super) fn retracted_everything(&mut self, from: NeighbourId) {
        let routes = self.neighbours.get_mut(from).map(|one| std::mem::take(&mut one.routes));
        for id in routes.unwrap_or_default() {
            self.drop_route(id, from);
        }
    }

    fn forget_route(&mut self, from: NeighbourId, id: EntryId) {
        if let Some(neighbour) = self.neighbours.get_mut(from) {
            neighbour.routes.remove(&id);
        }
        self.drop_route(id, from);
    }

    /// Drops the route of a neighbour from an entry, and selects anew.
    pub(super) fn drop_route(&mut self, id: EntryId, neighbour: NeighbourId) {
        if let Some(route) = self.table.take_route(id, neighbour) {
            self.unsmooth(id, neighbour);
            self.originator_unheard(route.router_id, id);
            self.reselect(id);
        }
    }

    /// Something of an entry is due, or was when the deadline was set.
    pub(super) fn entry_due(&mut self, id: EntryId, due: Tick) {
        let now = self.now;
        let Some(entry) = self.table.get_mut(id).filter(|entry| entry.wake == Some(due)) else {
            return;
        };
        entry.wake = None;
        self.ask_refresh(id);
        let Some(entry) = self.table.get(id) else { return };
        let over = self.table.holds.get(&id).is_some_and(|hold| hold.until <= now);
        let expired: Vec<NeighbourId> = entry
            .routes
            .iter()
            .filter(|route| route.expires <= now)
            .map(|route| route.neighbour)
            .collect();
        for neighbour in expired {
            self.forget_route(neighbour, id);
        }
        if over {
            self.release(id);
        }
        self.table.collect_sources(id, now);
        self.reselect(id);
    }

    /// Asks the neighbour for the selected route when it is about to expire.
    fn ask_refresh(&mut self, id: EntryId) {
        let now = self.now;
        let Some(entry) = self.table.get_mut(id) else { return };
        let key = entry.key;
        let Some(route) = entry.selected_route().copied() else { return };
        if route.refresh_at().is_none_or(|at| at > now) {
            return;
        }
        if let Some(route) = entry.route_mut(route.neighbour) {
            route.refresh = Refresh::Asked;
        }
        if let Some(neighbour) = self.neighbours.get(route.neighbour) {
            let to = Destination::Unicast(neighbour.address);
            self.outbox.control(neighbour.link, to, Tlv::RouteRequest(Some(key)));
        }
    }
}

/// Least time between two moves of our number beyond one we hear.
const CALM: Duration = Duration::from_secs(1);

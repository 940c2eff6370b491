//! Seqno requests: made, answered, passed on, satisfied (RFC 8966 §3.8.1.2, §3.8.2).

use sixwire_proto::babel::{Destination, RouteKey, SeqnoRequest, Tlv};
use sixwire_proto::link::LinkId;
use sixwire_proto::router_id::RouterId;
use sixwire_proto::seqno::Seqno;

use super::Babel;
use super::counter::{Done, DropReason};
use super::deadline::Timer;
use super::neighbour::NeighbourId;
use super::output::{Event, Output};
use super::request::{Pending, Subject};
use super::route::{Entry, EntryId, Route, Via};
use super::source;

impl Babel {
    /// All usable routes are gone: every neighbour that still announces one is asked for a newer one
    /// (RFC 8966 §3.8.2.1).
    pub(super) fn ask_all_unfeasible(&mut self, id: EntryId) {
        let Some(entry) = self.table.get(id) else { return };
        for route in entry.routes.as_slice().to_vec() {
            self.ask_if_unfeasible(id, &route);
        }
    }

    /// Asks for a newer number along a route that would be selected, or stay so, if it were feasible:
    /// without that, a distance that only ever shrinks would keep it out (RFC 8966 §3.8.2.2).
    pub(super) fn ask_if_unfeasible(&mut self, id: EntryId, route: &Route) {
        let Some(entry) = self.table.get(id) else { return };
        if entry.is_feasible(route) {
            return;
        }
        let (key, metric) = (entry.key, self.metric(entry.key, route));
        let wanted = metric.is_finite()
            && self.origins.allow(route.router_id, key.destination)
            && self.may_install(key, route)
            && entry.selected.is_none_or(|selected| {
                selected.via == Via::Neighbour(route.neighbour)
                    || metric + self.params.switch_margin <= selected.metric
            });
        let known =
            source::of(entry.sources.as_slice(), route.router_id).map(|one| one.distance.seqno);
        let starving = entry.selected.is_none();
        if let (true, Some(known)) = (wanted, known) {
            let first = self.ask((key, route.router_id), known.next(), route);
            if let (true, Asked::First) = (starving, first) {
                let (router_id, seqno) = (route.router_id, known.next());
                self.outbox.event(Event::Starved { route: key, router_id, seqno });
            }
        }
    }

    /// Sends a request of our own along a route, unless that was just done, and the number of the route has
    /// not moved since: an originator that is far behind goes up by one for each request.
    fn ask(&mut self, subject: Subject, seqno: Seqno, route: &Route) -> Asked {
        let (now, to) = (self.now, route.neighbour);
        let known = self.requests.get(subject);
        let stands = |one: &Pending| one.asked.get(&to) == Some(&Some(route.seqno));
        if known.is_some_and(|one| one.covers(seqno) && one.is_fresh(now) && stands(one)) {
            return Asked::Again;
        }
        let first = known.is_none();
        if first && self.requests.len() >= self.params.limits.requests {
            self.count(DropReason::TooManyRequests);
            return Asked::Again;
        }
        let mut pending = Pending::own(seqno, now);
        if let Some(known) = self.requests.remove(subject) {
            pending.askers = known.askers;
            pending.asked = known.asked;
            pending.seqno = if known.seqno.is_newer_than(seqno) { known.seqno } else { seqno };
        }
        pending.asked.insert(to, Some(route.seqno));
        let seqno = pending.seqno;
        self.insert_request(subject, pending);
        self.counters_mut().done(Done::RequestSent);
        self.send_request(subject, seqno, HOP_COUNT, to);
        if first { Asked::First } else { Asked::Again }
    }

    fn send_request(&mut self, subject: Subject, seqno: Seqno, hop_count: u8, to: NeighbourId) {
        if let Some(neighbour) = self.neighbours.get(to) {
            let to = Destination::Unicast(neighbour.address);
            self.outbox.control(neighbour.link, to, request(subject, seqno, hop_count));
        }
    }

    fn insert_request(&mut self, subject: Subject, pending: Pending) {
        self.requests.insert(subject, pending);
        self.deadlines.put(Timer::Requests, self.requests.next());
    }

    /// Sends again, to everyone, what is still needed; forgets the rest.
    pub(super) fn requests_due(&mut self) {
        while let Some((subject, pending)) = self.requests.pop_due(self.now) {
            let (key, _) = subject;
            let starving = self.table.of(key).is_some_and(|entry| entry.selected.is_none());
            let Some(pending) = pending.filter(|_| starving) else { continue };
            let tlv = request(subject, pending.seqno, HOP_COUNT);
            self.requests.insert(subject, pending);
            let links: Vec<LinkId> = self.links.keys().copied().collect();
            for link in links {
                self.counters_mut().done(Done::RequestSent);
                self.outbox.control(link, Destination::Multicast, tlv);
            }
        }
        self.deadlines.put(Timer::Requests, self.requests.next());
    }

    /// Somebody asks for a newer number (RFC 8966 §3.8.1.2): answered if we have it or can make it, passed
    /// on if not. Our own number goes up by one however far ahead the number asked for is.
    pub(super) fn seqno_request(&mut self, from: NeighbourId, asked: &SeqnoRequest) {
        let selected = self.table.of(asked.route).and_then(|entry| {
            let selected = entry.selected?;
            Some((selected, self.announced_seqno(entry, &selected)?))
        });
        match selected {
            Some((selected, seqno))
                if selected.router_id != asked.router_id || !asked.seqno.is_newer_than(seqno) =>
            {
                self.answer(from, asked.route);
            }
            Some((selected, _)) if selected.via == Via::Own => {
                self.set_seqno(self.seqno.next());
                self.answer(from, asked.route);
            }
            _ if asked.router_id == self.params.router_id => {
                self.count(DropReason::HopelessRequest);
            }
            _ => self.forward(from, asked),
        }
    }

    /// Passes a request on to one neighbour that is nearer to the originator.
    fn forward(&mut self, from: NeighbourId, asked: &SeqnoRequest) {
        let (now, subject) = (self.now, (asked.route, asked.router_id));
        if let Some(known) = self.requests.get_mut(subject)
            && known.covers(asked.seqno)
        {
            known.askers.insert(from);
            if known.is_fresh(now) {
                return self.count(DropReason::RepeatedRequest);
            }
        }
        let known = self.requests.get(subject);
        let entry = self.table.of(asked.route);
        let next = entry.and_then(|entry| self.nearer(entry, from, asked.router_id, known));
        let (Some(next), true) = (next, asked.hop_count >= 2) else {
            return self.count(DropReason::HopelessRequest);
        };
        if known.is_none() && self.requests.len() >= self.params.limits.requests {
            return self.count(DropReason::TooManyRequests);
        }
        let mut pending = Pending::passed_on(known, asked.seqno, now);
        pending.askers.insert(from);
        pending.asked.insert(next, None);
        self.insert_request(subject, pending);
        self.counters_mut().done(Done::RequestForwarded);
        self.send_request(subject, asked.seqno, asked.hop_count - 1, next);
    }

    /// The neighbour to pass a request on to, never the one it came from: by a feasible route if there is
    /// one, to the right originator, one not asked before, the one in use, the nearest. The answer to what
    /// follows the route in use moves the number of that route, which is the one that is announced.
    fn nearer(
        &self,
        entry: &Entry,
        from: NeighbourId,
        router_id: RouterId,
        known: Option<&Pending>,
    ) -> Option<NeighbourId> {
        let asked = |id| known.is_some_and(|known| known.asked.contains_key(&id));
        let routes = entry.routes.iter().filter(|route| route.neighbour != from);
        let metric = |route: &Route| self.metric(entry.key, route);
        let next = routes.filter(|route| metric(route).is_finite()).min_by_key(|route| {
            (
                !entry.is_feasible(route),
                route.router_id != router_id,
                asked(route.neighbour),
                !entry.is_selected(route.neighbour),
                metric(route),
                route.neighbour,
            )
        })?;
        Some(next.neighbour)
    }

    /// Answers those who asked for what is now selected.
    pub(super) fn satisfy(&mut self, key: RouteKey) {
        for router_id in self.requests.about(key) {
            let subject = (key, router_id);
            let Some(wanted) = self.requests.get(subject).map(|one| one.seqno) else { continue };
            let Some(entry) = self.table.of(key) else { return };
            let Some(selected) = entry.selected else { return };
            let Some(seqno) = self.announced_seqno(entry, &selected) else { return };
            if selected.router_id == router_id && wanted.is_newer_than(seqno) {
                continue;
            }
            let askers = self.requests.remove(subject).map(|one| one.askers);
            for asker in askers.unwrap_or_default() {
                self.answer(asker, key);
            }
        }
    }

    /// Moves our own number; it is on disk before anybody hears of it.
    pub(super) fn set_seqno(&mut self, seqno: Seqno) {
        self.seqno = seqno;
        self.outbox.outputs.push_back(Output::Seqno(seqno));
    }
}

/// Whether a request is the first about its subject.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    First,
    Again,
}

fn request((route, router_id): Subject, seqno: Seqno, hop_count: u8) -> Tlv {
    Tlv::SeqnoRequest(SeqnoRequest { route, seqno, hop_count, router_id })
}

/// Larger than the diameter of any network (RFC 8966 §3.8.2.1).
const HOP_COUNT: u8 = 64;

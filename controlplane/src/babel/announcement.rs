//! Sending updates (RFC 8966 §3.7).

use std::time::Duration;

use sixwire_proto::babel::{Destination, RouteKey, Tlv, Update, Writer};
use sixwire_proto::interval::Interval;
use sixwire_proto::link::LinkId;
use sixwire_proto::metric::Metric;
use sixwire_proto::seqno::Seqno;
use sixwire_proto::time::Instant;

use super::Babel;
use super::counter::{Done, DropReason};
use super::deadline::Timer;
use super::input::{LinkParams, SplitHorizon};
use super::neighbour::{Neighbour, NeighbourId};
use super::params::Forwarding;
use super::route::{self, Entry, EntryId, Selection, Via};
use super::sender::{
    COPIES, Carried, Content, GROUP_COPIES, Reason, Receipt, SHORT_DUMP, Sender, Waiting,
};
use super::source::{self, Distance, Source};

/// Where updates leave by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Outlet {
    /// To one neighbour, acknowledged.
    Unicast(NeighbourId),
    /// To all on a link, repeated.
    Multicast(LinkId),
}

/// What updates by an outlet have in common.
#[derive(Clone, Copy, Debug)]
struct Place {
    link: LinkId,
    to: Destination,
    /// How the link is used.
    params: LinkParams,
    /// What updates promise.
    interval: Interval,
}

/// A prefix whose turn it is.
#[derive(Clone, Copy, Debug)]
struct Turn {
    key: RouteKey,
    /// Its entry, if there is any: looked for once for all that is done with it.
    entry: Option<EntryId>,
    waiting: Waiting,
}

/// Who is to hear of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Audience {
    Everyone,
    /// All but those on a link with split horizon.
    Beyond(LinkId),
    /// Those on two links.
    On(LinkId, LinkId),
}

impl Babel {
    /// Queues a changed prefix for all it concerns; gives the neighbours among them. Those that cannot be
    /// used just now are told when they can.
    pub(super) fn tell(&mut self, key: RouteKey, to: Audience, at: Instant) -> Vec<NeighbourId> {
        let mut told = Vec::new();
        for link in self.links_of(key, to) {
            let up: Vec<NeighbourId> = self.usable_on(link).collect();
            if up.len() > MOST_UNICAST {
                self.enqueue(Outlet::Multicast(link), key, at);
            } else {
                for id in &up {
                    self.enqueue(Outlet::Unicast(*id), key, at);
                }
            }
            told.extend(up);
            self.owe_unusable(link, key);
        }
        told
    }

    fn owe_unusable(&mut self, link: LinkId, key: RouteKey) {
        let unusable = |(id, one): (NeighbourId, &Neighbour)| (!one.cost.is_finite()).then_some(id);
        let unusable: Vec<NeighbourId> = self.neighbours.on(link).filter_map(unusable).collect();
        for id in unusable {
            if let Some(neighbour) = self.neighbours.get_mut(id) {
                neighbour.sender.owe(key);
            }
        }
    }

    fn links_of(&self, key: RouteKey, audience: Audience) -> Vec<LinkId> {
        let splits = |id: LinkId| self.links.get(&id).is_some_and(splits);
        let wanted = |id: LinkId| match audience {
            Audience::Everyone => true,
            Audience::Beyond(link) => id != link || !splits(id),
            Audience::On(a, b) => id == a || id == b,
        };
        self.links.keys().copied().filter(|id| wanted(*id) && self.may_tell(key, *id)).collect()
    }

    fn usable_on(&self, link: LinkId) -> impl Iterator<Item = NeighbourId> {
        self.neighbours.on(link).filter(|(_, one)| one.cost.is_finite()).map(|(id, _)| id)
    }

    fn enqueue(&mut self, outlet: Outlet, key: RouteKey, at: Instant) {
        let entry = self.table.of(key);
        let new = entry.is_some_and(|entry| entry.selected.is_some() && !entry.told.is_finite());
        if let Some(sender) = self.sender(outlet) {
            if !(new && sender.will_reach(key)) {
                sender.enqueue(key, Reason::Change, at);
            }
            self.outbox.touched.insert(outlet);
        }
    }

    pub(super) fn touch_unicast(&mut self, id: NeighbourId) {
        self.outbox.touched.insert(Outlet::Unicast(id));
    }

    /// Begins the full update that is due on a link (RFC 8966 §3.7.1).
    ///
    /// Where every change is acknowledged, it tells nothing new: there a long table is told more rarely, and
    /// what is told promises no more. The hold time of receivers follows.
    pub(super) fn begin_periodic_update(&mut self, link: LinkId) {
        let up: Vec<NeighbourId> = self.usable_on(link).collect();
        let prefixes = self.table.len();
        let (outlets, interval) = if up.len() > MOST_UNICAST {
            (vec![Outlet::Multicast(link)], self.params.update_interval)
        } else {
            let outlets = up.into_iter().map(Outlet::Unicast).collect();
            (outlets, stretched(self.params.update_interval, prefixes))
        };
        let now = self.now;
        let receipt = if prefixes > SHORT_DUMP { Receipt::Wanted } else { Receipt::Unneeded };
        for outlet in outlets {
            if let Some(sender) = self.sender(outlet) {
                sender.begin_dump(receipt, now);
                self.outbox.touched.insert(outlet);
            }
        }
        self.expect_update(link, interval);
    }

    /// Sets the time of the next full update on a link, no later than updates promise until then.
    pub(super) fn expect_update(&mut self, id: LinkId, interval: Duration) {
        let next = self.jittered(interval);
        if let Some(link) = self.links.get_mut(&id) {
            link.update_interval = interval;
            self.deadlines.set(Timer::Update(id), next);
        }
    }

    /// A link may have become too crowded for acknowledgements: what its group is told needs to be repeated
    /// at the configured pace.
    pub(super) fn quicken_updates(&mut self, id: LinkId) {
        let interval = self.params.update_interval;
        let stretched = self.links.get(&id).is_some_and(|link| link.update_interval > interval);
        if stretched && self.usable_on(id).count() > MOST_UNICAST {
            self.expect_update(id, interval);
        }
    }

    /// Sends what is ready and allowed, and sets the time to look again.
    pub(super) fn pump(&mut self, outlet: Outlet) {
        let now = self.now;
        let place = self.place(outlet);
        while let (Some(place), Some(sender)) = (place, self.sender(outlet)) {
            sender.start_asked_dump(now);
            if !sender.is_ready(now) {
                break;
            }
            self.send_updates(outlet, place);
        }
        let timer = match outlet {
            Outlet::Unicast(id) => Timer::Unicast(id),
            Outlet::Multicast(link) => Timer::Multicast(link),
        };
        let wake = self.sender(outlet).and_then(|sender| sender.wake());
        self.deadlines.put(timer, wake);
    }

    /// Fills one packet with updates, made from what is selected at this moment.
    fn send_updates(&mut self, outlet: Outlet, place: Place) {
        let Place { link, to, params, .. } = place;
        let mut writer = self.writer(link, (params.largest_datagram, params.address));
        let receipt = self.begin_receipt(outlet, &mut writer);
        let mut carried = Vec::new();
        while let Some(turn) = self.next_turn(outlet) {
            if let Some(update) = self.announcement(&turn, &place) {
                if writer.push(&Tlv::Update(update)).is_err() {
                    break;
                }
                carried.push(self.announced(&turn, &update));
            }
            if let Some(sender) = self.sender(outlet) {
                sender.pass(turn.key);
            }
        }
        if carried.is_empty() {
            return;
        }
        if let Some(packet) = writer.finish() {
            self.launch(outlet, receipt, carried);
            self.transmit(link, to, packet);
        }
    }

    /// Asks for an acknowledgement where one is wanted; gives its number.
    fn begin_receipt(&mut self, outlet: Outlet, writer: &mut Writer) -> Option<u16> {
        let sender = self.sender(outlet)?;
        let wanted = matches!(outlet, Outlet::Unicast(_)) && sender.receipt() == Receipt::Wanted;
        wanted.then(|| {
            let opaque = sender.next_opaque();
            let interval = sender.receipt_interval();
            let request = Tlv::AckRequest { opaque, interval };
            writer.push(&request).expect("any TLV fits an empty datagram");
            opaque
        })
    }

    fn launch(&mut self, outlet: Outlet, receipt: Option<u16>, carried: Vec<Carried>) {
        let now = self.now;
        let Some(sender) = self.sender(outlet) else { return };
        match (outlet, receipt) {
            (Outlet::Unicast(_), Some(opaque)) => sender.launch(opaque, carried, now),
            (Outlet::Unicast(_), None) => {}
            (Outlet::Multicast(_), _) => sender.launch_unacknowledged(carried, now),
        }
    }

    /// What comes next: changes, then the dump. A dump at its end is ended.
    fn next_turn(&mut self, outlet: Outlet) -> Option<Turn> {
        let sender = self.sender(outlet)?;
        if let Some((key, waiting)) = sender.first() {
            return Some(Turn { key, entry: self.table.id(key), waiting });
        }
        let after = sender.dump_position()?;
        let Some(id) = self.table.next(after) else {
            self.sender(outlet)?.end_dump();
            return None;
        };
        let key = self.table.get(id)?.key;
        Some(Turn { key, entry: Some(id), waiting: Waiting { reason: Reason::Dump, sent: 0 } })
    }

    /// The update for a prefix as it stands, or `None` if there is nothing to say on this link.
    fn announcement(&mut self, turn: &Turn, place: &Place) -> Option<Update> {
        let (key, reason) = (turn.key, turn.waiting.reason);
        let Place { link, params, interval, .. } = *place;
        if !self.may_tell(key, link) {
            return (reason == Reason::Answer).then(|| self.retraction(key, interval));
        }
        let entry = turn.entry.and_then(|id| self.table.get(id));
        let Some((entry, selected)) = entry.and_then(|entry| Some((entry, entry.selected?))) else {
            let lost = turn.entry.is_some_and(|id| self.table.is_held(id));
            let wanted = lost || reason != Reason::Dump;
            return wanted.then(|| self.retraction(key, interval));
        };
        if self.params.forwarding == Forwarding::Leaf && selected.via != Via::Own {
            return (reason == Reason::Answer).then(|| self.retraction(key, interval));
        }
        if reason != Reason::Answer && self.is_behind(&selected, link) {
            return (reason == Reason::Change).then(|| self.retraction(key, interval));
        }
        let metric = self.told_metric(entry, &selected, link);
        if !metric.is_finite() {
            return (reason != Reason::Dump).then(|| self.retraction(key, interval));
        }
        if !self.has_room_for_source(entry, &selected) {
            self.count(DropReason::TooManySources);
            return None;
        }
        Some(Update {
            route: Some(key),
            router_id: Some(selected.router_id),
            next_hop: Some(params.next_hop(key.destination)),
            seqno: self.announced_seqno(entry, &selected)?,
            metric,
            interval,
        })
    }

    fn retraction(&self, key: RouteKey, interval: Interval) -> Update {
        Update {
            route: Some(key),
            // Ours goes with our number; another's in force would not.
            router_id: Some(self.params.router_id),
            next_hop: None,
            seqno: self.seqno,
            metric: Metric::INFINITY,
            interval,
        }
    }

    /// Whether the selected route leads through a link with split horizon (RFC 8966 §3.7.4).
    pub(super) fn is_behind(&self, selected: &Selection, link: LinkId) -> bool {
        self.link_of(selected.via) == Some(link) && self.links.get(&link).is_some_and(splits)
    }

    /// The link a route leads through; `None` for our own.
    pub(super) fn link_of(&self, via: Via) -> Option<LinkId> {
        match via {
            Via::Own => None,
            Via::Neighbour(id) => self.neighbours.get(id).map(|neighbour| neighbour.link),
        }
    }

    fn has_room_for_source(&self, entry: &Entry, selected: &Selection) -> bool {
        selected.via == Via::Own
            || source::of(entry.sources.as_slice(), selected.router_id).is_some()
            || self.table.sources() < self.params.limits.sources
    }

    /// The sequence number to announce the selected route with.
    pub(super) fn announced_seqno(&self, entry: &Entry, selected: &Selection) -> Option<Seqno> {
        match selected.via {
            Via::Own => Some(self.seqno),
            Via::Neighbour(id) => entry.route(id).map(|route| route.seqno),
        }
    }

    /// Enters an update that is about to leave: the feasibility distance of a route that is not our own
    /// (RFC 8966 §3.7.3), and what was told last.
    fn announced(&mut self, turn: &Turn, update: &Update) -> Carried {
        self.counters_mut().done(Done::UpdateSent);
        let Turn { key, entry, waiting } = *turn;
        let (own, now) = (self.params.router_id, self.now);
        let held = route::hold_time(update.interval);
        let Some(router_id) = update.router_id.filter(|_| update.metric.is_finite()) else {
            return Carried { key, waiting, content: Content::Retracted };
        };
        if let Some(id) = entry {
            if router_id != own {
                let distance = Distance { seqno: update.seqno, metric: update.metric };
                self.table.announce(id, Source::new(router_id, distance, now, held));
                self.schedule(id);
            }
            if let Some(entry) = self.table.get_mut(id) {
                // Before output rules, which are each link's own.
                entry.told = entry.selected.map_or(update.metric, |selected| selected.metric);
            }
        }
        Carried { key, waiting, content: Content::Reachable }
    }

    /// A neighbour has received a packet of ours.
    pub(super) fn acknowledged(&mut self, from: NeighbourId, opaque: u16) {
        let now = self.now;
        let Some(neighbour) = self.neighbours.get_mut(from) else { return };
        let mut carried = neighbour.sender.acknowledge(opaque, now);
        // A retraction that has another word behind it says nothing any more.
        carried.retain(|one| one.content == Content::Retracted);
        carried.retain(|one| !neighbour.sender.is_waiting(one.key));
        self.touch_unicast(from);
        for one in carried {
            self.retraction_received(from, one.key);
        }
    }

    /// Queues again what a neighbour has not acknowledged.
    pub(super) fn unicast_due(&mut self, id: NeighbourId) {
        let now = self.now;
        let Some(neighbour) = self.neighbours.get_mut(id) else { return };
        let (given_up, again) = neighbour.sender.resend_overdue(COPIES, now);
        for _ in 0..given_up {
            self.count(DropReason::Unacknowledged);
        }
        for _ in 0..again {
            self.counters_mut().done(Done::UpdateResent);
        }
        self.touch_unicast(id);
    }

    /// Repeats changes that were sent to a group once.
    pub(super) fn multicast_due(&mut self, id: LinkId) {
        let now = self.now;
        let Some(link) = self.links.get_mut(&id) else { return };
        for one in link.sender.retire(now) {
            if one.waiting.reason == Reason::Change && one.waiting.sent + 1 < GROUP_COPIES {
                link.sender.repeat(&one, now + GROUP_REPEAT);
            }
        }
        self.outbox.touched.insert(Outlet::Multicast(id));
    }

    /// A neighbour cannot be used for now: it is sent nothing, and nobody waits for its receipts.
    pub(super) fn stop_sending(&mut self, id: NeighbourId) {
        if let Some(neighbour) = self.neighbours.get_mut(id) {
            neighbour.sender.suspend();
        }
        self.deadlines.clear(Timer::Unicast(id));
        self.stop_waiting_for(id);
    }

    fn sender(&mut self, outlet: Outlet) -> Option<&mut Sender> {
        match outlet {
            Outlet::Unicast(id) => self.neighbours.get_mut(id).map(|one| &mut one.sender),
            Outlet::Multicast(link) => self.links.get_mut(&link).map(|link| &mut link.sender),
        }
    }

    fn place(&self, outlet: Outlet) -> Option<Place> {
        let (id, to) = match outlet {
            Outlet::Unicast(id) => {
                let neighbour = self.neighbours.get(id)?;
                (neighbour.link, Destination::Unicast(neighbour.address))
            }
            Outlet::Multicast(link) => (link, Destination::Multicast),
        };
        let link = self.links.get(&id)?;
        let interval = Interval::from_duration(match outlet {
            Outlet::Unicast(_) => link.update_interval,
            Outlet::Multicast(_) => self.params.update_interval,
        });
        Some(Place { link: id, to, params: link.params, interval })
    }

    /// The longest that our updates promise on any link.
    pub(super) fn longest_interval(&self) -> Interval {
        let stretched = self.links.values().map(|link| link.update_interval).max();
        Interval::from_duration(stretched.unwrap_or(self.params.update_interval))
    }
}

/// Time between two full updates of so many prefixes where every change is acknowledged: in proportion to
/// their number within bounds, so that a node at rest spends a fixed share of its time on them.
fn stretched(configured: Duration, prefixes: usize) -> Duration {
    let prefixes = u32::try_from(prefixes).unwrap_or(u32::MAX);
    let prefixes = prefixes.clamp(UNSTRETCHED, UNSTRETCHED * GREATEST_STRETCH);
    (configured * prefixes / UNSTRETCHED).min(LONGEST_STRETCHED).max(configured)
}

fn splits(link: &super::link::Link) -> bool {
    link.params.split_horizon == SplitHorizon::On
}

/// On a link with more usable neighbours, updates go to the group, unacknowledged: single copies
/// would cost more than the repetitions.
pub(super) const MOST_UNICAST: usize = 8;
/// Up to so many prefixes the interval of full updates is the configured one.
const UNSTRETCHED: u32 = 1250;
/// The interval of full updates grows no more than this many times,
const GREATEST_STRETCH: u32 = 8;
/// and not beyond this: what nobody tells any more is held for 3.5 times as long.
const LONGEST_STRETCHED: Duration = Duration::from_secs(150);
/// Delay of the second copy of a change to a group.
const GROUP_REPEAT: Duration = Duration::from_millis(100);

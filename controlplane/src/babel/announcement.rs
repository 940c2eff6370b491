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
use super::route::{Entry, Selection, Via};
use super::sender::{COPIES, Carried, Content, GROUP_COPIES, Reason, Receipt, Sender, Waiting};
use super::source::{self, Distance, Source};

/// Where updates leave by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Outlet {
    /// To one neighbour, acknowledged.
    Unicast(NeighbourId),
    /// To all on a link, repeated.
    Multicast(LinkId),
}

/// Link, destination on it, and how the link is used.
type Place = (LinkId, Destination, LinkParams);

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
    pub(super) fn begin_periodic_update(&mut self, link: LinkId) {
        let up: Vec<NeighbourId> = self.usable_on(link).collect();
        let outlets = if up.len() > MOST_UNICAST {
            vec![Outlet::Multicast(link)]
        } else {
            up.into_iter().map(Outlet::Unicast).collect()
        };
        let (now, prefixes) = (self.now, self.table.len());
        let receipt = if prefixes > SHORT_TABLE { Receipt::Wanted } else { Receipt::Unneeded };
        for outlet in outlets {
            if let Some(sender) = self.sender(outlet) {
                sender.begin_dump(receipt, now);
                self.outbox.touched.insert(outlet);
            }
        }
        let next = self.jittered(self.params.update_interval);
        self.deadlines.set(Timer::Update(link), next);
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
    fn send_updates(&mut self, outlet: Outlet, (link, to, params): Place) {
        let mut writer = self.writer(link, (params.largest_datagram, params.address));
        let receipt = self.begin_receipt(outlet, &mut writer);
        let mut carried = Vec::new();
        while let Some((key, waiting)) = self.next_waiting(outlet) {
            if let Some(update) = self.announcement(key, waiting.reason, link, params) {
                if writer.push(&Tlv::Update(update)).is_err() {
                    break;
                }
                carried.push(self.announced(key, waiting, &update));
            }
            if let Some(sender) = self.sender(outlet) {
                sender.pass(key);
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
    fn next_waiting(&mut self, outlet: Outlet) -> Option<(RouteKey, Waiting)> {
        let sender = self.sender(outlet)?;
        if let Some(first) = sender.first() {
            return Some(first);
        }
        let after = sender.dump_position()?;
        let next = self.table.next_key(after);
        if next.is_none() {
            self.sender(outlet)?.end_dump();
        }
        next.map(|key| (key, Waiting { reason: Reason::Dump, sent: 0 }))
    }

    /// The update for a prefix as it stands, or `None` if there is nothing to say on this link.
    fn announcement(
        &mut self,
        key: RouteKey,
        reason: Reason,
        link: LinkId,
        params: LinkParams,
    ) -> Option<Update> {
        if !self.may_tell(key, link) {
            return (reason == Reason::Answer).then(|| self.retraction(key));
        }
        let entry = self.table.of(key);
        let Some((entry, selected)) = entry.and_then(|entry| Some((entry, entry.selected?))) else {
            let lost = entry.is_some_and(|entry| entry.hold.is_some());
            let wanted = lost || reason != Reason::Dump;
            return wanted.then(|| self.retraction(key));
        };
        if self.params.forwarding == Forwarding::Leaf && selected.via != Via::Own {
            return (reason == Reason::Answer).then(|| self.retraction(key));
        }
        if reason != Reason::Answer && self.is_behind(&selected, link, params) {
            return (reason == Reason::Change).then(|| self.retraction(key));
        }
        let metric = self.told_metric(entry, &selected, link);
        if !metric.is_finite() {
            return (reason != Reason::Dump).then(|| self.retraction(key));
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
            interval: self.advertised_interval(),
        })
    }

    fn retraction(&self, key: RouteKey) -> Update {
        Update {
            route: Some(key),
            router_id: None,
            next_hop: None,
            seqno: self.seqno,
            metric: Metric::INFINITY,
            interval: self.advertised_interval(),
        }
    }

    /// Whether the selected route leads through a link with split horizon (RFC 8966 §3.7.4).
    fn is_behind(&self, selected: &Selection, link: LinkId, params: LinkParams) -> bool {
        params.split_horizon == SplitHorizon::On && self.link_of(selected.via) == Some(link)
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
    fn announced(&mut self, key: RouteKey, waiting: Waiting, update: &Update) -> Carried {
        self.counters_mut().done(Done::UpdateSent);
        let (own, now) = (self.params.router_id, self.now);
        let told = self.untold_metric(update);
        let Some(router_id) = update.router_id else {
            return Carried { key, waiting, content: Content::Retracted };
        };
        if let Some(id) = self.table.id(key) {
            if router_id != own {
                let distance = Distance { seqno: update.seqno, metric: update.metric };
                self.table.announce(id, Source::new(router_id, distance, now), now);
                self.schedule(id);
            }
            if let Some(entry) = self.table.get_mut(id) {
                entry.told = told;
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
        let (link, to) = match outlet {
            Outlet::Unicast(id) => {
                let neighbour = self.neighbours.get(id)?;
                (neighbour.link, Destination::Unicast(neighbour.address))
            }
            Outlet::Multicast(link) => (link, Destination::Multicast),
        };
        Some((link, to, self.links.get(&link)?.params))
    }

    /// What our updates promise.
    pub(super) fn advertised_interval(&self) -> Interval {
        Interval::from_duration(self.params.update_interval)
    }
}

fn splits(link: &super::link::Link) -> bool {
    link.params.split_horizon == SplitHorizon::On
}

/// On a link with more usable neighbours, updates go to the group, unacknowledged: single copies
/// would cost more than the repetitions.
pub(super) const MOST_UNICAST: usize = 8;
/// A periodic update of so few prefixes fits a packet or two and is not acknowledged: the next one
/// comes long before anything expires.
const SHORT_TABLE: usize = 32;
/// Delay of the second copy of a change to a group.
const GROUP_REPEAT: Duration = Duration::from_millis(100);

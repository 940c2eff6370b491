//! Links and neighbours coming and going (RFC 8966 §3.4).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use sixwire_proto::babel::{Destination, Hello, HelloKind, Ihu, RouteKey, Tlv, Update};
use sixwire_proto::interval::Interval;
use sixwire_proto::link::LinkId;
use sixwire_proto::metric::{Cost, Metric};
use sixwire_proto::seqno::Seqno;

use super::Babel;
use super::announcement::Audience;
use super::counter::DropReason;
use super::deadline::Timer;
use super::hello::{Continuity, History};
use super::input::{LinkParams, LinkStart};
use super::link::Link;
use super::neighbour::{Greeting, Neighbour, NeighbourId, Told};
use super::output::{DownCause, Event, Output};
use super::params::LinkQuality;
use super::pulse::{Silence, Verdict};
use super::route::Entry;
use super::rtt::{Delay, Sample};

impl Babel {
    /// Says Hello at once and again shortly, and on a fresh link withdraws whatever we may have announced
    /// there in an earlier life.
    pub(super) fn link_up(&mut self, id: LinkId, params: LinkParams) {
        self.link_down(id);
        let [.., high, low] = self.seed.next_u64().to_be_bytes();
        let seqno = Seqno(u16::from_be_bytes([high, low]));
        let defaults = (self.params.link_sensing, self.params.update_interval);
        self.links.insert(id, Link::new(params, seqno, defaults));
        self.send_hello(id);
        if params.start == LinkStart::Fresh {
            self.outbox.control(id, Destination::Multicast, self.wildcard_retraction());
        }
        let again = self.now + self.hello_gap();
        self.deadlines.set_by(Timer::Hello(id), again);
        self.expect_update(id, self.params.update_interval);
    }

    pub(super) fn link_down(&mut self, id: LinkId) {
        for neighbour in self.neighbours_on(id) {
            self.forget(neighbour, DownCause::LinkDown);
        }
        for timer in [Timer::Hello(id), Timer::Update(id), Timer::Multicast(id)] {
            self.deadlines.clear(timer);
        }
        self.forget_peers(id);
        self.links.remove(&id);
    }

    /// Changes the extra cost of a link, and tells its neighbours.
    pub(super) fn link_extra(&mut self, id: LinkId, extra: Cost) {
        let Some(link) = self.links.get_mut(&id) else { return };
        link.extra = extra;
        for neighbour in self.neighbours_on(id) {
            self.neighbour_changed(neighbour);
            if let Some(neighbour) = self.neighbours.get_mut(neighbour) {
                neighbour.smoothing.forget_cost();
            }
        }
    }

    /// Notes another IPv4 address of ours, and tells its neighbours of their new next hop.
    pub(super) fn link_v4(&mut self, id: LinkId, v4: Option<Ipv4Addr>) {
        let Some(link) = self.links.get_mut(&id) else { return };
        if std::mem::replace(&mut link.params.v4, v4) == v4 {
            return;
        }
        let by_v4 = |entry: &&Entry| !entry.key.destination.is_v6();
        let told = |entry: &Entry| match entry.selected {
            Some(selected) if !self.is_behind(&selected, id) => Some(entry.key),
            Some(_) | None => None,
        };
        let keys: Vec<RouteKey> = self.table.entries().filter(by_v4).filter_map(told).collect();
        for key in keys {
            self.tell(key, Audience::On(id, id), self.now);
        }
    }

    /// Sends a scheduled Hello with the IHUs that are due, and sets the time of the next.
    pub(super) fn send_hello(&mut self, id: LinkId) {
        let now = self.now;
        let Some(link) = self.links.get_mut(&id) else { return };
        let hello = Tlv::Hello(Hello {
            kind: HelloKind::Multicast,
            seqno: link.take_hello_seqno(now),
            interval: Interval::from_duration(self.params.hello_interval),
            // The driver fills it in.
            timestamp: (link.params.delay != Delay::Ignored).then_some(0),
        });
        self.outbox.control(id, Destination::Multicast, hello);
        for neighbour in self.neighbours_on(id) {
            self.send_ihu_if_due(neighbour);
        }
        let next = self.jittered(self.params.hello_interval);
        self.deadlines.set(Timer::Hello(id), next);
    }

    fn send_ihu_if_due(&mut self, id: NeighbourId) {
        let Some(neighbour) = self.neighbours.get_mut(id) else { return };
        let Some(link) = self.links.get(&neighbour.link) else { return };
        neighbour.told.hellos_ago = neighbour.told.hellos_ago.saturating_add(1);
        if neighbour.told.hellos_ago >= HELLOS_PER_IHU || neighbour.is_unsettled(link) {
            self.send_ihu(id, Destination::Multicast);
            self.introduce_kernel(id);
        }
    }

    /// Tells a neighbour what receiving from it costs. The address is always said, so that the TLV means
    /// the same in unicast and multicast. Only an IHU to the group has a Hello beside it, without which its
    /// times would be of no use (RFC 9616).
    fn send_ihu(&mut self, id: NeighbourId, to: Destination) {
        let now = self.now;
        let Some(neighbour) = self.neighbours.get_mut(id) else { return };
        let Some(link) = self.links.get(&neighbour.link) else { return };
        let rxcost = neighbour.rxcost(link, now);
        let timed = to == Destination::Multicast && link.params.delay != Delay::Ignored;
        neighbour.told = Told { rxcost, hellos_ago: 0 };
        let ihu = Tlv::Ihu(Ihu {
            address: Some(IpAddr::V6(neighbour.address)),
            rxcost,
            interval: Interval::from_duration(
                self.params.hello_interval * u32::from(HELLOS_PER_IHU),
            ),
            timestamps: neighbour.rtt.echo(now).filter(|_| timed),
        });
        self.outbox.control(neighbour.link, to, ihu);
    }

    /// Whether a Hello of a known neighbour goes on from its last ones.
    pub(super) fn continues(&mut self, id: NeighbourId, hello: &Hello) -> bool {
        self.neighbours.get_mut(id).is_some_and(|neighbour| {
            neighbour.history(hello.kind).continuity(hello.seqno) == Continuity::Kept
        })
    }

    /// Makes a neighbour, if there is room. One that cannot be used gives way: forged ones displace each
    /// other, not those in use.
    pub(super) fn make(&mut self, link: LinkId, address: Ipv6Addr) -> Option<NeighbourId> {
        if self.neighbours.on(link).count() >= self.params.limits.neighbours_per_link {
            self.count(DropReason::TooManyNeighbours);
            let unusable = self.neighbours.on(link).find(|(_, one)| !one.cost.is_finite());
            let (id, _) = unusable?;
            self.forget(id, DownCause::Unheard);
        }
        Some(self.neighbours.insert(Neighbour::new(link, address, self.now)))
    }

    /// A node is heard for the first time: it learns of us at once, so that the adjacency takes one round
    /// trip and not a Hello interval.
    pub(super) fn meet(&mut self, link_id: LinkId, address: Ipv6Addr, hello: &Hello) {
        let Some(id) = self.make(link_id, address) else { return };
        self.hear_hello(id, hello);
        self.greet(link_id);
    }

    /// A neighbour counts its Hellos anew: its program has restarted, while its kernel may well forward
    /// as before. Unlike RFC 8966 §A.1 has it, its routes stay: if they are gone, it retracts them. What
    /// it has forgotten of us, it is told at once.
    pub(super) fn restarted(&mut self, id: NeighbourId, hello: &Hello) {
        let Some(neighbour) = self.neighbours.get_mut(id) else { return };
        neighbour.multicast = History::default();
        neighbour.unicast = History::default();
        neighbour.rtt.restart();
        neighbour.told = Told { rxcost: Cost::INFINITY, hellos_ago: u8::MAX };
        neighbour.sender.restart();
        let (link, address) = (neighbour.link, neighbour.address);
        self.outbox.event(Event::NeighbourRestarted { link, neighbour: address });
        self.hear_hello(id, hello);
        self.introduce(id);
        self.greet(link);
    }

    /// Says Hello ahead of its time, for a neighbour that does not know us yet.
    pub(super) fn greet(&mut self, link_id: LinkId) {
        let (now, gap) = (self.now, self.hello_gap());
        let Some(link) = self.links.get(&link_id) else { return };
        let earliest = link.earliest_hello(now, gap);
        if earliest <= now {
            self.send_hello(link_id);
        }
        // Once more, for those who believe in a link only after two.
        self.deadlines.set_by(Timer::Hello(link_id), earliest.max(now + gap));
    }

    /// Enters a Hello of a known neighbour. One that was not to be heard any more hears from us at once, so
    /// that a repaired line takes one Hello and a round trip.
    pub(super) fn hear_again(&mut self, id: NeighbourId, hello: &Hello) {
        let Some(neighbour) = self.neighbours.get(id) else { return };
        let (link_id, gone) = (neighbour.link, neighbour.pulse.is_gone());
        let lost = self.links.get(&link_id).is_some_and(|link| !neighbour.is_heard(link));
        self.hear_hello(id, hello);
        if lost || gone {
            self.greet(link_id);
        }
    }

    /// Enters a Hello.
    pub(super) fn hear_hello(&mut self, id: NeighbourId, hello: &Hello) {
        let now = self.now;
        let Some(neighbour) = self.neighbours.get_mut(id) else { return };
        neighbour.hear_hello(hello, now);
        self.neighbour_changed(id);
    }

    /// Counts what a neighbour has missed; forgets it if that is everything.
    pub(super) fn neighbour_due(&mut self, id: NeighbourId) {
        let now = self.now;
        let Some(neighbour) = self.neighbours.get_mut(id) else { return };
        let unscheduled = neighbour.due().is_none();
        neighbour.expire(now);
        if unscheduled || neighbour.is_forgotten(now) {
            return self.forget(id, DownCause::Unheard);
        }
        let quality = self.links.get(&neighbour.link).map(|link| link.quality);
        let silence = quality.map_or(Silence::Decides, LinkQuality::silence);
        match neighbour.look((self.params.probing, silence), now) {
            Verdict::Ask => self.ask_kernel(id),
            Verdict::Wait | Verdict::Gone => {}
        }
        self.neighbour_changed(id);
    }

    fn ask_kernel(&mut self, id: NeighbourId) {
        let Some(neighbour) = self.neighbours.get(id) else { return };
        let (link, neighbour) = (neighbour.link, neighbour.address);
        self.outbox.outputs.push_back(Output::Probe { link, neighbour });
    }

    /// Asks the kernel of a usable neighbour once, to know whether it would answer.
    fn introduce_kernel(&mut self, id: NeighbourId) {
        let now = self.now;
        let Some(neighbour) = self.neighbours.get_mut(id) else { return };
        if neighbour.cost.is_finite() && neighbour.pulse.introduce(now) == Verdict::Ask {
            self.ask_kernel(id);
        }
    }

    /// The packet of a neighbour is read: what its stamps say counts now.
    pub(super) fn end_packet(&mut self, link: LinkId, source: Ipv6Addr) {
        let Some(id) = self.neighbours.at(link, source) else { return };
        let now = self.now;
        let Some(neighbour) = self.neighbours.get_mut(id) else { return };
        if neighbour.rtt.end_packet(now) == Sample::Taken {
            self.neighbour_changed(id);
        }
    }

    /// A neighbour's kernel answered a probe.
    pub(super) fn answered(&mut self, link: LinkId, address: Ipv6Addr) {
        let Some(id) = self.neighbours.at(link, address) else { return };
        let now = self.now;
        if let Some(neighbour) = self.neighbours.get_mut(id) {
            neighbour.answered(now);
        }
    }

    /// Computes the cost of the link to a neighbour anew, with all that hangs on it.
    pub(super) fn neighbour_changed(&mut self, id: NeighbourId) {
        let (probing, at) = (self.params.probing, self.moment());
        let now = self.now;
        let Some(neighbour) = self.neighbours.get_mut(id) else { return };
        let Some(link) = self.links.get(&neighbour.link) else { return };
        let (link_id, address) = (neighbour.link, neighbour.address);
        let rxcost = neighbour.rxcost(link, now);
        let cost = neighbour.link_cost(link, now) + neighbour.rtt.charge(link.params.delay);
        let before = std::mem::replace(&mut neighbour.cost, cost);
        let told = neighbour.told.rxcost;
        let counted = neighbour.due().unwrap_or(now + UNSCHEDULED_LIFE);
        let due = neighbour.look_at(probing).map_or(counted, |look| look.min(counted));
        self.deadlines.set(Timer::Neighbour(id), due.max(now + Duration::from_millis(1)));
        if rxcost != told {
            self.send_ihu(id, Destination::Unicast(address));
        }
        if cost == before {
            return;
        }
        if let Some(neighbour) = self.neighbours.get_mut(id) {
            neighbour.smoothing.cost_changed(before, cost, at);
        }
        match (before.is_finite(), cost.is_finite()) {
            (false, _) => self.neighbour_up(id, link_id, address, cost),
            (true, true) => {
                self.outbox.event(Event::NeighbourCost { link: link_id, neighbour: address, cost });
            }
            (true, false) => {
                let cause = self.down_cause(id, rxcost);
                self.outbox.event(Event::NeighbourDown {
                    link: link_id,
                    neighbour: address,
                    cause,
                });
                self.stop_sending(id);
            }
        }
        self.reselect_all_of(id);
    }

    fn down_cause(&self, id: NeighbourId, rxcost: Cost) -> DownCause {
        let gone = self.neighbours.get(id).is_some_and(|neighbour| neighbour.pulse.is_gone());
        match (gone, rxcost.is_finite()) {
            (true, _) => DownCause::Unanswering,
            (false, true) => DownCause::Unhearing,
            (false, false) => DownCause::Unheard,
        }
    }

    fn neighbour_up(&mut self, id: NeighbourId, link: LinkId, address: Ipv6Addr, cost: Cost) {
        self.outbox.event(Event::NeighbourUp { link, neighbour: address, cost });
        self.introduce(id);
        self.introduce_kernel(id);
        self.quicken_updates(link);
    }

    /// Tells a usable neighbour our whole table, and waits for its own. One that restarts or comes and goes
    /// again and again is told no more often than one that asks.
    fn introduce(&mut self, id: NeighbourId) {
        let now = self.now;
        let Some(neighbour) = self.neighbours.get_mut(id) else { return };
        if !neighbour.cost.is_finite() {
            return;
        }
        neighbour.greeting = Greeting::Silent;
        neighbour.sender.ask_dump(now);
        self.touch_unicast(id);
        self.deadlines.set(Timer::Ask(id), now + GREETING_TIME);
    }

    /// Asks a neighbour for its table if it has not begun to tell it by itself.
    pub(super) fn ask_if_silent(&mut self, id: NeighbourId) {
        let Some(neighbour) = self.neighbours.get(id) else { return };
        if neighbour.greeting == Greeting::Silent && neighbour.cost.is_finite() {
            let to = Destination::Unicast(neighbour.address);
            self.outbox.control(neighbour.link, to, Tlv::RouteRequest(None));
        }
    }

    /// Drops a neighbour with all its routes.
    pub(super) fn forget(&mut self, id: NeighbourId, cause: DownCause) {
        let Some(neighbour) = self.neighbours.remove(id) else { return };
        for timer in [Timer::Neighbour(id), Timer::Ask(id), Timer::Unicast(id)] {
            self.deadlines.clear(timer);
        }
        if neighbour.cost.is_finite() {
            let (link, address) = (neighbour.link, neighbour.address);
            self.outbox.event(Event::NeighbourDown { link, neighbour: address, cause });
        }
        self.stop_waiting_for(id);
        for entry in neighbour.routes {
            self.drop_route(entry, id);
        }
    }

    /// Retracts all we have announced, on all links: to the group, and once more to each neighbour.
    pub(super) fn retract_everything(&mut self) {
        let retraction = self.wildcard_retraction();
        let links: Vec<LinkId> = self.links.keys().copied().collect();
        for link in links {
            self.outbox.control(link, Destination::Multicast, retraction);
        }
        for (_, neighbour) in self.neighbours.iter() {
            let to = Destination::Unicast(neighbour.address);
            self.outbox.control(neighbour.link, to, retraction);
        }
    }

    pub(super) fn wildcard_retraction(&self) -> Tlv {
        Tlv::Update(Update {
            route: None,
            router_id: None,
            next_hop: None,
            seqno: self.seqno,
            metric: Metric::INFINITY,
            interval: Interval::from_duration(self.params.update_interval),
        })
    }

    pub(super) fn neighbours_on(&self, link: LinkId) -> Vec<NeighbourId> {
        self.neighbours.on(link).map(|(id, _)| id).collect()
    }

    /// Least time between two Hellos on a link.
    fn hello_gap(&self) -> Duration {
        self.params.hello_interval / 40
    }
}

/// An IHU goes with every third Hello, and promises so (RFC 8966 appendix B).
const HELLOS_PER_IHU: u8 = 3;
/// A new neighbour that speaks of no route within this time is asked.
const GREETING_TIME: Duration = Duration::from_millis(100);
/// A neighbour that never promised a Hello is forgotten this long after the last thing heard.
const UNSCHEDULED_LIFE: Duration = Duration::from_mins(1);

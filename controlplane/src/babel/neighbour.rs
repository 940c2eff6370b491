//! The neighbour table (RFC 8966 §3.2.4).

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv6Addr;
use std::time::Duration;

use sixwire_proto::babel::{Hello, HelloKind, Ihu};
use sixwire_proto::link::LinkId;
use sixwire_proto::metric::Cost;
use sixwire_proto::time::Instant;

use super::etx;
use super::hello::History;
use super::link::Link;
use super::next_hop::NextHops;
use super::params::LinkQuality;
use super::pulse::{Probing, Pulse, Silence, Verdict};
use super::route::EntryId;
use super::rtt::Rtt;
use super::sender::Sender;
use super::smoothing::Smoothing;

/// Names one life of a neighbour; never used again after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct NeighbourId(u32);

/// A node heard on a link.
#[derive(Debug)]
pub(super) struct Neighbour {
    pub(super) link: LinkId,
    pub(super) address: Ipv6Addr,
    pub(super) multicast: History,
    pub(super) unicast: History,
    /// What it says receiving from us costs.
    pub(super) txcost: Cost,
    /// When that is no longer believed.
    pub(super) txcost_expires: Option<Instant>,
    /// Cost of the link to it, as used for all its routes.
    pub(super) cost: Cost,
    pub(super) pulse: Pulse,
    pub(super) rtt: Rtt,
    pub(super) smoothing: Smoothing,
    /// The rxcost it was last told, and how many of our Hellos ago.
    pub(super) told: Told,
    pub(super) greeting: Greeting,
    /// Prefixes it has announced.
    pub(super) routes: BTreeSet<EntryId>,
    pub(super) next_hops: NextHops,
    pub(super) sender: Sender,
}

/// The last IHU sent to a neighbour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Told {
    pub(super) rxcost: Cost,
    pub(super) hellos_ago: u8,
}

/// Whether a neighbour has spoken of routes yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Greeting {
    /// It has not; it will be asked.
    Silent,
    /// It has.
    Spoken,
}

impl Neighbour {
    /// A neighbour of which nothing is known.
    pub(super) fn new(link: LinkId, address: Ipv6Addr, now: Instant) -> Self {
        Self {
            link,
            address,
            multicast: History::default(),
            unicast: History::default(),
            txcost: Cost::INFINITY,
            txcost_expires: None,
            cost: Cost::INFINITY,
            pulse: Pulse::new(now),
            rtt: Rtt::UNKNOWN,
            smoothing: Smoothing::default(),
            told: Told { rxcost: Cost::INFINITY, hellos_ago: u8::MAX },
            greeting: Greeting::Silent,
            routes: BTreeSet::new(),
            next_hops: NextHops::default(),
            sender: Sender::default(),
        }
    }

    /// The history a Hello of this kind belongs to.
    pub(super) fn history(&mut self, kind: HelloKind) -> &mut History {
        match kind {
            HelloKind::Multicast => &mut self.multicast,
            HelloKind::Unicast => &mut self.unicast,
        }
    }

    /// Cost of receiving from it. While its kernel answers in its stead, its link is as it was.
    pub(super) fn rxcost(&self, link: &Link, now: Instant) -> Cost {
        if self.pulse.is_gone() {
            return Cost::INFINITY;
        }
        match link.quality {
            LinkQuality::Etx => etx::rxcost(&self.multicast, link.cost()).min(self.held_cost(now)),
            LinkQuality::KOutOfJ(_) if self.is_heard(link) || self.is_held(now) => link.cost(),
            LinkQuality::KOutOfJ(_) => Cost::INFINITY,
        }
    }

    /// What it was told last, while its kernel answers.
    fn held_cost(&self, now: Instant) -> Cost {
        if self.is_held(now) { self.told.rxcost } else { Cost::INFINITY }
    }

    /// Whether its own Hellos have the link up, those of either kind. Unlike RFC 8966 §A.2.1 has it,
    /// unscheduled ones of one kind prove nothing about a node that promises the other kind: they never
    /// run out.
    pub(super) fn is_heard(&self, link: &Link) -> bool {
        let LinkQuality::KOutOfJ(sensing) = link.quality else {
            return !self.multicast.is_empty();
        };
        let promised = self.multicast.is_scheduled() || self.unicast.is_scheduled();
        let is_up = |one: &History| one.is_up(sensing) && (one.is_scheduled() || !promised);
        is_up(&self.multicast) || is_up(&self.unicast)
    }

    /// Cost of the link, without what its delay adds: the dearer direction, so that both ends agree and a
    /// drain by either end is a drain of both; or both directions, by ETX. Infinite until an IHU was
    /// received (RFC 8966 §3.4.3).
    pub(super) fn link_cost(&self, link: &Link, now: Instant) -> Cost {
        let rxcost = self.rxcost(link, now);
        match link.quality {
            LinkQuality::KOutOfJ(_) => rxcost.max(self.txcost),
            LinkQuality::Etx => etx::cost(rxcost, self.txcost, link.cost()),
        }
    }

    /// Enters a Hello.
    pub(super) fn hear_hello(&mut self, hello: &Hello, now: Instant) {
        self.rtt.hear_hello(hello.timestamp);
        self.history(hello.kind).receive(hello.seqno, hello.interval, now);
        self.pulse.hear_hello(self.interval(), now);
    }

    /// Its kernel answered: the link carries packets. That keeps a usable neighbour usable while its
    /// program restarts, but not for ever, and makes none.
    pub(super) fn answered(&mut self, now: Instant) {
        if self.cost.is_finite() {
            self.pulse.answered(self.interval(), now);
        }
    }

    /// Whether its kernel speaks for it.
    pub(super) fn is_held(&self, now: Instant) -> bool {
        self.pulse.is_held(now)
    }

    /// Looks whether a usable neighbour has missed its time to speak.
    pub(super) fn look(&mut self, probing: (Probing, Silence), now: Instant) -> Verdict {
        let interval = self.interval();
        if self.cost.is_finite() { self.pulse.look(interval, probing, now) } else { Verdict::Wait }
    }

    /// Time between two of its Hellos; zero if it promises none. A kind that does not come any more promises
    /// nothing, unless there is no other: promises of the past never lapse.
    fn interval(&self) -> Duration {
        let kinds =
            || [&self.multicast, &self.unicast].into_iter().filter(|one| one.is_scheduled());
        let alive = kinds().filter(|one| !one.is_empty()).map(History::interval).min();
        alive.or_else(|| kinds().map(History::interval).min()).unwrap_or_default()
    }

    /// Whether any of its last Hellos is missing, or it may not have heard of us: it gets every IHU.
    pub(super) fn is_unsettled(&self, link: &Link) -> bool {
        let of = match link.quality {
            LinkQuality::KOutOfJ(sensing) => sensing.heard_of,
            LinkQuality::Etx => LAST_FEW,
        };
        !self.txcost.is_finite() || self.multicast.is_lossy(of) || self.unicast.is_lossy(of)
    }

    /// Enters an IHU for us. Its interval is stretched to the least that is honoured.
    pub(super) fn hear_ihu(&mut self, ihu: &Ihu, now: Instant) {
        let interval = ihu.interval.duration().max(LEAST_IHU_INTERVAL);
        self.txcost = ihu.rxcost.max(Cost(1));
        self.txcost_expires = Some(now + interval * 7 / 2);
        self.rtt.hear_ihu(ihu.timestamps);
    }

    /// Counts what did not come until now: Hellos of either kind, the IHU.
    pub(super) fn expire(&mut self, now: Instant) {
        self.multicast.expire(now);
        self.unicast.expire(now);
        if self.txcost_expires.is_some_and(|at| at.max(self.pulse.held_until()) <= now) {
            self.txcost = Cost::INFINITY;
            self.txcost_expires = None;
        }
    }

    /// Whether nothing at all was heard for long.
    pub(super) fn is_forgotten(&self, now: Instant) -> bool {
        self.multicast.is_empty() && self.unicast.is_empty() && !self.is_held(now)
    }

    /// When to count next, if there is anything to count.
    pub(super) fn due(&self) -> Option<Instant> {
        let txcost_expires = self.txcost_expires.map(|at| at.max(self.pulse.held_until()));
        [self.multicast.due(), self.unicast.due(), txcost_expires].into_iter().flatten().min()
    }

    /// When to look next whether it is late.
    pub(super) fn look_at(&self, probing: Probing) -> Option<Instant> {
        let due = self.pulse.due(self.interval(), probing);
        due.filter(|_| self.cost.is_finite())
    }
}

/// All neighbours, by id and by address.
#[derive(Debug, Default)]
pub(super) struct Neighbours {
    by_id: BTreeMap<NeighbourId, Neighbour>,
    by_address: BTreeMap<(LinkId, Ipv6Addr), NeighbourId>,
    made: u32,
}

impl Neighbours {
    /// Adds one.
    pub(super) fn insert(&mut self, neighbour: Neighbour) -> NeighbourId {
        self.made = self.made.wrapping_add(1);
        let id = NeighbourId(self.made);
        self.by_address.insert((neighbour.link, neighbour.address), id);
        self.by_id.insert(id, neighbour);
        id
    }

    /// Takes one out.
    pub(super) fn remove(&mut self, id: NeighbourId) -> Option<Neighbour> {
        let neighbour = self.by_id.remove(&id)?;
        self.by_address.remove(&(neighbour.link, neighbour.address));
        Some(neighbour)
    }

    /// The neighbour with this address on this link.
    pub(super) fn at(&self, link: LinkId, address: Ipv6Addr) -> Option<NeighbourId> {
        self.by_address.get(&(link, address)).copied()
    }

    pub(super) fn get(&self, id: NeighbourId) -> Option<&Neighbour> {
        self.by_id.get(&id)
    }

    pub(super) fn get_mut(&mut self, id: NeighbourId) -> Option<&mut Neighbour> {
        self.by_id.get_mut(&id)
    }

    /// The cost of the link to a neighbour; infinite for one that is gone.
    pub(super) fn cost(&self, id: NeighbourId) -> Cost {
        self.get(id).map_or(Cost::INFINITY, |neighbour| neighbour.cost)
    }

    /// All on one link, by address.
    pub(super) fn on(&self, link: LinkId) -> impl Iterator<Item = (NeighbourId, &Neighbour)> {
        let all = (link, Ipv6Addr::UNSPECIFIED)..=(link, Ipv6Addr::from(u128::MAX));
        self.by_address.range(all).filter_map(|(_, id)| Some((*id, self.get(*id)?)))
    }

    /// All of them, by link and address.
    pub(super) fn iter(&self) -> impl Iterator<Item = (NeighbourId, &Neighbour)> {
        self.by_address.values().filter_map(|id| Some((*id, self.get(*id)?)))
    }
}

/// A shorter promise is read as this: a peer must not set the pace of our timers.
const LEAST_IHU_INTERVAL: Duration = Duration::from_millis(150);
/// Hellos on a lossy link that are looked at for news.
const LAST_FEW: u8 = 3;

#[cfg(test)]
mod tests {
    use sixwire_proto::interval::Interval;
    use sixwire_proto::seqno::Seqno;

    use super::*;

    fn hello(kind: HelloKind, seqno: u16, interval: u16) -> Hello {
        Hello { kind, seqno: Seqno(seqno), interval: Interval(interval), timestamp: None }
    }

    #[test]
    fn it_is_late_by_the_shortest_promise_of_a_kind_that_still_comes() {
        let mut one = Neighbour::new(LinkId(1), Ipv6Addr::LOCALHOST, Instant(0));
        assert_eq!(one.interval(), Duration::ZERO);
        one.hear_hello(&hello(HelloKind::Unicast, 1, 6000), Instant(0));
        assert_eq!(one.interval(), Duration::from_mins(1));
        one.hear_hello(&hello(HelloKind::Multicast, 1, 400), Instant(0));
        assert_eq!(one.interval(), Duration::from_secs(4), "the other is no excuse");
        one.hear_hello(&hello(HelloKind::Unicast, 2, 100), Instant(0));
        assert_eq!(one.interval(), Duration::from_secs(1));
        for second in 1..40 {
            one.expire(Instant(second * 1_000_000));
            if second % 4 == 0 {
                let seqno = u16::try_from(1 + second / 4).unwrap();
                one.hear_hello(
                    &hello(HelloKind::Multicast, seqno, 400),
                    Instant(second * 1_000_000),
                );
            }
        }
        assert_eq!(one.interval(), Duration::from_secs(4), "it has stopped");
        for second in 40..200 {
            one.expire(Instant(second * 1_000_000));
        }
        assert_eq!(one.interval(), Duration::from_secs(1), "neither comes");
    }
}

//! The neighbour table (RFC 8966 §3.2.4).

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv6Addr;

use sixwire_proto::babel::{Hello, HelloKind, Ihu};
use sixwire_proto::link::LinkId;
use sixwire_proto::metric::Cost;
use sixwire_proto::time::Instant;

use super::hello::History;
use super::link::Link;
use super::params::LinkSensing;
use super::route::EntryId;
use super::sender::Sender;

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
    /// When anything was heard from it last.
    heard: Instant,
    /// Until when its kernel's answers speak for it while it is silent itself.
    held_until: Instant,
    /// The rxcost it was last told, and how many of our Hellos ago.
    pub(super) told: Told,
    pub(super) greeting: Greeting,
    /// Prefixes it has announced.
    pub(super) routes: BTreeSet<EntryId>,
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
            heard: now,
            held_until: now,
            told: Told { rxcost: Cost::INFINITY, hellos_ago: u8::MAX },
            greeting: Greeting::Silent,
            routes: BTreeSet::new(),
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

    /// Cost of receiving from it: nominal and extra cost of the link while either history has it up
    /// (RFC 8966 §A.2.1), or its kernel answers in its stead.
    pub(super) fn rxcost(&self, link: &Link, sensing: LinkSensing, now: Instant) -> Cost {
        if self.multicast.is_up(sensing) || self.unicast.is_up(sensing) || self.is_held(now) {
            link.cost()
        } else {
            Cost::INFINITY
        }
    }

    /// Cost of the link: the dearer direction, so that both ends agree and a drain by either end is
    /// a drain of both. Infinite until an IHU was received (RFC 8966 §3.4.3).
    pub(super) fn link_cost(&self, link: &Link, sensing: LinkSensing, now: Instant) -> Cost {
        self.rxcost(link, sensing, now).max(self.txcost)
    }

    /// Enters a Hello.
    pub(super) fn hear_hello(&mut self, hello: &Hello, now: Instant) {
        self.heard = now;
        self.history(hello.kind).receive(hello.seqno, hello.interval, now);
    }

    /// Its kernel answered: the link carries packets. That keeps a usable neighbour usable while its
    /// program restarts, but not for ever, and makes none.
    pub(super) fn answered(&mut self, now: Instant) {
        if self.cost.is_finite() {
            let next_look = now + self.multicast.interval().max(self.unicast.interval()) * 2;
            self.held_until = next_look.min(self.heard + PATIENCE);
        }
    }

    /// Whether its kernel speaks for it.
    pub(super) fn is_held(&self, now: Instant) -> bool {
        now < self.held_until
    }

    /// Whether a usable neighbour has missed its time to speak.
    pub(super) fn is_silent(&self, now: Instant) -> bool {
        let interval = self.multicast.interval().max(self.unicast.interval());
        self.cost.is_finite() && self.heard + interval < now
    }

    /// Whether any of its last Hellos is missing, or it may not have heard of us: it gets every IHU.
    pub(super) fn is_unsettled(&self, sensing: LinkSensing) -> bool {
        !self.txcost.is_finite()
            || self.multicast.is_lossy(sensing)
            || self.unicast.is_lossy(sensing)
    }

    /// Enters an IHU for us. Its interval is stretched to the least that is honoured.
    pub(super) fn hear_ihu(&mut self, ihu: &Ihu, now: Instant) {
        let interval = ihu.interval.duration().max(LEAST_IHU_INTERVAL);
        self.txcost = ihu.rxcost.max(Cost(1));
        self.txcost_expires = Some(now + interval * 7 / 2);
    }

    /// Counts what did not come until now: Hellos of either kind, the IHU.
    pub(super) fn expire(&mut self, now: Instant) {
        self.multicast.expire(now);
        self.unicast.expire(now);
        if self.txcost_expires.is_some_and(|at| at.max(self.held_until) <= now) {
            self.txcost = Cost::INFINITY;
            self.txcost_expires = None;
        }
    }

    /// Whether nothing at all was heard for long.
    pub(super) fn is_forgotten(&self, now: Instant) -> bool {
        self.multicast.is_empty() && self.unicast.is_empty() && !self.is_held(now)
    }

    /// When to count next.
    pub(super) fn due(&self) -> Option<Instant> {
        let txcost_expires = self.txcost_expires.map(|at| at.max(self.held_until));
        [self.multicast.due(), self.unicast.due(), txcost_expires].into_iter().flatten().min()
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
const LEAST_IHU_INTERVAL: std::time::Duration = std::time::Duration::from_millis(150);
/// A neighbour may be silent that long while its kernel answers: the restart of a program, or of a
/// machine's control plane. Its routes expire at about the same time (RFC 8966 appendix B).
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(45);

//! What is to be told to one neighbour, or to all on a link: changed prefixes, full dumps, and what
//! awaits its acknowledgement. Only keys wait here; an update is made when its packet is, so that a
//! prefix that changed twice is sent once.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use sixwire_proto::babel::RouteKey;
use sixwire_proto::interval::Interval;
use sixwire_proto::time::Instant;

/// Updates waiting for, or on their way to, one destination.
#[derive(Debug)]
pub(super) struct Sender {
    queue: BTreeMap<RouteKey, Waiting>,
    /// When the queue may be sent; unset while it is empty.
    due: Option<Instant>,
    dump: Option<Dump>,
    last_dump: Option<Instant>,
    /// When another dump begins, as asked for by the neighbour.
    next_dump: Option<Instant>,
    /// Changes that could not be told; they go with the next dump.
    owed: BTreeSet<RouteKey>,
    in_flight: Vec<InFlight>,
    /// How many packets may be in flight.
    window: usize,
    round_trip: Option<Duration>,
    opaque: u16,
}

/// A prefix to be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Waiting {
    pub(super) reason: Reason,
    /// How often it was sent in vain.
    pub(super) sent: u8,
}

/// Why a prefix is told; the later the stronger.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Reason {
    /// It is its turn in a dump.
    Dump,
    /// It has changed.
    Change,
    /// It was asked for.
    Answer,
}

/// A walk through the table in the order of its keys.
#[derive(Clone, Copy, Debug)]
struct Dump {
    after: Option<RouteKey>,
    /// How many prefixes it has passed.
    passed: usize,
    receipt: Receipt,
}

/// Whether packets are to be acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Receipt {
    /// No: it is repeated anyway.
    Unneeded,
    /// Yes.
    Wanted,
}

/// A packet on its way.
#[derive(Debug)]
struct InFlight {
    opaque: u16,
    sent: Instant,
    due: Instant,
    carried: Vec<Carried>,
}

/// One update in such a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Carried {
    pub(super) key: RouteKey,
    pub(super) waiting: Waiting,
    pub(super) content: Content,
}

/// What an update said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Content {
    Reachable,
    Retracted,
}

impl Default for Sender {
    fn default() -> Self {
        Self {
            queue: BTreeMap::new(),
            due: None,
            dump: None,
            last_dump: None,
            next_dump: None,
            owed: BTreeSet::new(),
            in_flight: Vec::new(),
            window: FIRST_WINDOW,
            round_trip: None,
            opaque: 0,
        }
    }
}

impl Sender {
    /// Adds a prefix to be told at `at`, or with what leaves earlier.
    pub(super) fn enqueue(&mut self, key: RouteKey, reason: Reason, at: Instant) {
        let waiting = self.queue.entry(key).or_insert(Waiting { reason, sent: 0 });
        *waiting = Waiting { reason: reason.max(waiting.reason), sent: 0 };
        self.due = Some(self.due.map_or(at, |due| due.min(at)));
    }

    /// How many prefixes wait, dumps aside.
    pub(super) fn len(&self) -> usize {
        self.queue.len()
    }

    /// Begins a dump, unless one is under way, together with what is owed.
    pub(super) fn begin_dump(&mut self, receipt: Receipt, now: Instant) {
        if self.dump.is_none() {
            self.dump = Some(Dump { after: None, passed: 0, receipt });
            self.last_dump = Some(now);
            for key in std::mem::take(&mut self.owed) {
                self.enqueue(key, Reason::Change, now);
            }
        }
    }

    /// Keeps a change for the next dump: a dump alone does not speak of prefixes that are gone. To one who
    /// was never told anything, nothing is owed.
    pub(super) fn owe(&mut self, key: RouteKey) {
        if self.last_dump.is_some() && self.owed.len() < MOST_OWED {
            self.owed.insert(key);
        }
    }

    /// Stops sending until the next dump; what was not acknowledged is owed.
    pub(super) fn suspend(&mut self) {
        let before = std::mem::take(self);
        (self.last_dump, self.opaque, self.owed) = (before.last_dump, before.opaque, before.owed);
        let in_flight = before.in_flight.iter().flat_map(|packet| &packet.carried);
        for key in before.queue.keys().chain(in_flight.map(|one| &one.key)) {
            self.owe(*key);
        }
    }

    /// Forgets what the other end has forgotten; when it was told all, and packets' numbers, stay.
    pub(super) fn restart(&mut self) {
        let (last_dump, opaque) = (self.last_dump, self.opaque);
        *self = Self { last_dump, opaque, ..Self::default() };
    }

    /// Begins a dump that was asked for: now, or when the last one is long enough ago.
    pub(super) fn ask_dump(&mut self, now: Instant) {
        let earliest = self.last_dump.map_or(now, |last| (last + DUMP_SPACING).max(now));
        self.next_dump = Some(earliest);
    }

    /// Begins the dump asked for when its time has come.
    pub(super) fn start_asked_dump(&mut self, now: Instant) {
        if self.dump.is_none() && self.next_dump.is_some_and(|at| at <= now) {
            self.next_dump = None;
            self.begin_dump(Receipt::Wanted, now);
        }
    }

    /// Whether a packet may leave now.
    pub(super) fn is_ready(&self, now: Instant) -> bool {
        let due = self.due.is_some_and(|due| due <= now) && !self.queue.is_empty();
        let dump = self.dump.is_some() && self.in_flight.len() < self.window;
        dump || (due && self.has_room_for_changes())
    }

    /// Changes may overtake what is in flight: a lost acknowledgement must not hold up a retraction.
    fn has_room_for_changes(&self) -> bool {
        self.in_flight.len() < self.window + RESERVE
    }

    /// Whether the next packet needs an acknowledgement.
    pub(super) fn receipt(&self) -> Receipt {
        match self.dump {
            _ if !self.queue.is_empty() => Receipt::Wanted,
            Some(dump) => dump.receipt,
            None => Receipt::Wanted,
        }
    }

    /// The first prefix that waits.
    pub(super) fn first(&self) -> Option<(RouteKey, Waiting)> {
        self.queue.first_key_value().map(|(key, waiting)| (*key, *waiting))
    }

    /// Where the dump stands, if there is one.
    pub(super) fn dump_position(&self) -> Option<Option<RouteKey>> {
        self.dump.map(|dump| dump.after)
    }

    /// Whether the dump has yet to come to a prefix, and is acknowledged: one not told before is told then.
    pub(super) fn will_reach(&self, key: RouteKey) -> bool {
        self.dump.is_some_and(|dump| {
            dump.receipt == Receipt::Wanted && dump.after.is_none_or(|after| after < key)
        })
    }

    /// What comes next has been seen to: it leaves the queue, or the dump goes past it. One that has become
    /// long on its way is acknowledged from there on, or nothing would set its pace.
    pub(super) fn pass(&mut self, key: RouteKey) {
        if self.queue.remove(&key).is_none()
            && let Some(dump) = &mut self.dump
        {
            dump.after = Some(key);
            dump.passed += 1;
            if dump.passed > SHORT_DUMP {
                dump.receipt = Receipt::Wanted;
            }
        }
        if self.queue.is_empty() {
            self.due = None;
        }
    }

    /// Whether a prefix is to be told anew, whatever is in flight.
    pub(super) fn is_waiting(&self, key: RouteKey) -> bool {
        self.queue.contains_key(&key)
    }

    /// The dump has reached its end.
    pub(super) fn end_dump(&mut self) {
        self.dump = None;
    }

    /// The number for the next packet that wants an acknowledgement.
    pub(super) fn next_opaque(&mut self) -> u16 {
        self.opaque = self.opaque.wrapping_add(1);
        self.opaque
    }

    /// How long an acknowledgement may take: half of what we wait, the rest is for the way.
    pub(super) fn receipt_interval(&self) -> Interval {
        Interval::from_duration(self.patience() / 2)
    }

    /// A packet left that wants an acknowledgement.
    pub(super) fn launch(&mut self, opaque: u16, carried: Vec<Carried>, now: Instant) {
        let tries = carried.iter().map(|one| one.waiting.sent).max().unwrap_or(0);
        let wait = self.patience() * 4_u32.pow(u32::from(tries.min(COPIES)));
        let due = now + wait.min(GREATEST_WAIT);
        self.in_flight.push(InFlight { opaque, sent: now, due, carried });
    }

    /// A packet left to a group that acknowledges nothing: it is out of the way after a moment.
    pub(super) fn launch_unacknowledged(&mut self, carried: Vec<Carried>, now: Instant) {
        let opaque = self.next_opaque();
        self.in_flight.push(InFlight { opaque, sent: now, due: now + GROUP_PACE, carried });
    }

    /// An acknowledgement came; gives what it stands for.
    pub(super) fn acknowledge(&mut self, opaque: u16, now: Instant) -> Vec<Carried> {
        let Some(position) = self.in_flight.iter().position(|packet| packet.opaque == opaque)
        else {
            return Vec::new();
        };
        let packet = self.in_flight.remove(position);
        if packet.carried.iter().all(|one| one.waiting.sent == 0) {
            let sample = now.since(packet.sent);
            self.round_trip = Some(self.round_trip.map_or(sample, |old| (old * 7 + sample) / 8));
        }
        self.window = (self.window + 1).min(GREATEST_WINDOW);
        packet.carried
    }

    /// Queues again what was not acknowledged in time, and has more patience from now on: the receiver may
    /// only be busy. Gives how many prefixes are given up and how many are tried again.
    pub(super) fn resend_overdue(&mut self, copies: u8, now: Instant) -> (usize, usize) {
        let (mut given_up, mut again) = (0, 0);
        let overdue = self.take_overdue(now);
        if !overdue.is_empty() {
            self.window = (self.window / 2).max(1);
            self.round_trip = self.round_trip.map(|rtt| (rtt * 2).min(GREATEST_PATIENCE));
        }
        for one in overdue.into_iter().flat_map(|packet| packet.carried) {
            let sent = one.waiting.sent + 1;
            if sent >= copies {
                given_up += 1;
                if one.waiting.reason != Reason::Dump || one.content == Content::Retracted {
                    self.owe(one.key);
                }
            } else if let Entry::Vacant(vacant) = self.queue.entry(one.key) {
                again += 1;
                vacant.insert(Waiting { reason: one.waiting.reason, sent });
                self.due = Some(now);
            }
        }
        (given_up, again)
    }

    /// Takes packets to a group off the way; they are repeated by the next change or dump.
    pub(super) fn retire(&mut self, now: Instant) -> Vec<Carried> {
        self.take_overdue(now).into_iter().flat_map(|packet| packet.carried).collect()
    }

    fn take_overdue(&mut self, now: Instant) -> Vec<InFlight> {
        let in_flight = std::mem::take(&mut self.in_flight);
        let (overdue, rest) = in_flight.into_iter().partition(|packet| packet.due <= now);
        self.in_flight = rest;
        overdue
    }

    /// Queues a second copy for a group.
    pub(super) fn repeat(&mut self, one: &Carried, at: Instant) {
        let sent = one.waiting.sent + 1;
        self.queue.entry(one.key).or_insert(Waiting { reason: one.waiting.reason, sent });
        self.due = Some(self.due.map_or(at, |due| due.min(at)));
    }

    /// When to look here again.
    pub(super) fn wake(&self) -> Option<Instant> {
        let in_flight = self.in_flight.iter().map(|packet| packet.due).min();
        let queue = self.due.filter(|_| self.has_room_for_changes());
        let dump = self.next_dump.filter(|_| self.dump.is_none());
        [in_flight, queue, dump].into_iter().flatten().min()
    }

    /// How long to wait for an acknowledgement of a first copy: the receiver has to see to all that is on its
    /// way before it, and may hand a hundred routes of each packet to its kernel.
    fn patience(&self) -> Duration {
        let before = u32::try_from(self.in_flight.len()).unwrap_or(u32::MAX);
        let busy = LEAST_PATIENCE + PATIENCE_PER_PACKET * before;
        let measured = self.round_trip.map_or(FIRST_PATIENCE, |rtt| rtt * 3 + busy);
        measured.clamp(LEAST_PATIENCE, GREATEST_PATIENCE)
    }
}

/// Changes kept for one neighbour; what lies beyond expires over there (RFC 8966 §3.5.3).
const MOST_OWED: usize = 10_000;
/// A periodic update of so few prefixes fits a packet or two and is not acknowledged: the next one
/// comes long before anything expires.
pub(super) const SHORT_DUMP: usize = 32;
/// How often an urgent update is sent at most (RFC 8966 §3.7.2).
pub(super) const COPIES: u8 = 5;
/// The same to a group, which acknowledges nothing (RFC 8966 §3.7.2: 2 on wired links).
pub(super) const GROUP_COPIES: u8 = 2;
/// Packets in flight to begin with; grows with every acknowledgement, halves with every loss.
const FIRST_WINDOW: usize = 4;
/// About two thirds of what a default receive buffer holds (208 KiB, 90 full datagrams).
const GREATEST_WINDOW: usize = 64;
/// Packets beyond the window for changes and answers.
const RESERVE: usize = 4;
/// Time between two windows of packets to a group.
const GROUP_PACE: Duration = Duration::from_millis(50);
/// A dump asked for begins no sooner after the last one.
const DUMP_SPACING: Duration = Duration::from_secs(1);
/// Waiting time for acknowledgements before anything was measured.
const FIRST_PATIENCE: Duration = Duration::from_millis(500);
const LEAST_PATIENCE: Duration = Duration::from_millis(60);
const PATIENCE_PER_PACKET: Duration = Duration::from_millis(5);
const GREATEST_PATIENCE: Duration = Duration::from_secs(2);
/// Each further copy waits four times as long, up to this: five copies outlast a short outage, and a
/// longer one is the business of the Hellos.
const GREATEST_WAIT: Duration = Duration::from_secs(4);

#[cfg(test)]
mod tests;

//! What will happen, in order.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;
use std::net::Ipv6Addr;
use std::rc::Rc;

use sixwire_proto::babel::Destination;
use sixwire_proto::link::LinkId;
use sixwire_proto::time::Instant;

/// Future events; of those at the same time, packets first, then in the order they were added.
#[derive(Debug, Default)]
pub(super) struct Events {
    heap: BinaryHeap<Reverse<Event>>,
    added: u64,
}

/// Something that happens to one node.
#[derive(Debug)]
pub(super) enum What {
    /// It starts.
    Start(usize),
    /// It receives a packet.
    Arrival(usize, Arrival),
    /// A neighbour's kernel answers it.
    Answer(usize, LinkId, Ipv6Addr),
    /// Its engine may have something to do.
    Deadline(usize),
    /// A prefix's loops are no longer excused.
    ClearUp(usize),
}

/// A packet.
#[derive(Debug)]
pub(super) struct Arrival {
    pub(super) link: LinkId,
    pub(super) source: Ipv6Addr,
    pub(super) destination: Destination,
    pub(super) bytes: Rc<Vec<u8>>,
}

#[derive(Debug)]
struct Event {
    at: Instant,
    rank: (u8, u64),
    what: What,
}

impl Events {
    pub(super) fn push(&mut self, at: Instant, what: What) {
        self.added += 1;
        let class = u8::from(!matches!(what, What::Arrival(..)));
        self.heap.push(Reverse(Event { at, rank: (class, self.added), what }));
    }

    /// The next one not after `end`.
    pub(super) fn pop_before(&mut self, end: Instant) -> Option<(Instant, What)> {
        if self.heap.peek()?.0.at > end {
            return None;
        }
        self.heap.pop().map(|Reverse(event)| (event.at, event.what))
    }
}

impl Ord for Event {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.at, self.rank).cmp(&(other.at, other.rank))
    }
}

impl PartialOrd for Event {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Event {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Event {}

//! The index of all deadlines. Each timer has at most one; a fired one is gone until set again.

use std::collections::{BTreeMap, BTreeSet};

use sixwire_proto::link::LinkId;
use sixwire_proto::router_id::RouterId;
use sixwire_proto::time::Instant;

use super::neighbour::NeighbourId;

/// What is to be done at a deadline.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Timer {
    /// Send a Hello and the IHUs that are due.
    Hello(LinkId),
    /// Begin the periodic full update (RFC 8966 §3.7.1).
    Update(LinkId),
    /// Look at the Hello histories and the IHU of a neighbour.
    Neighbour(NeighbourId),
    /// Ask a new neighbour for its table, if it is still silent.
    Ask(NeighbourId),
    /// Send updates that waited, or resend what was not acknowledged.
    Unicast(NeighbourId),
    /// The same for the updates sent to everyone on a link.
    Multicast(LinkId),
    /// Resend or forget seqno requests.
    Requests,
    /// Ask again for the origin of a router-id.
    Origin(RouterId),
    /// Our number may be moved beyond one we hear from now on.
    SeqnoAhead,
}

/// Timers by time and times by timer.
#[derive(Debug, Default)]
pub(super) struct Deadlines {
    by_time: BTreeSet<(Instant, Timer)>,
    by_timer: BTreeMap<Timer, Instant>,
}

impl Deadlines {
    /// Sets the only deadline of a timer.
    pub(super) fn set(&mut self, timer: Timer, at: Instant) {
        if let Some(old) = self.by_timer.insert(timer, at) {
            self.by_time.remove(&(old, timer));
        }
        self.by_time.insert((at, timer));
    }

    /// Moves a deadline forward, or sets it; a later one is left for when the earlier fires.
    pub(super) fn set_by(&mut self, timer: Timer, at: Instant) {
        if self.get(timer).is_none_or(|old| at < old) {
            self.set(timer, at);
        }
    }

    /// Sets or clears.
    pub(super) fn put(&mut self, timer: Timer, at: Option<Instant>) {
        match at {
            Some(at) => self.set(timer, at),
            None => self.clear(timer),
        }
    }

    /// Forgets a timer.
    pub(super) fn clear(&mut self, timer: Timer) {
        if let Some(old) = self.by_timer.remove(&timer) {
            self.by_time.remove(&(old, timer));
        }
    }

    /// When a timer fires.
    pub(super) fn get(&self, timer: Timer) -> Option<Instant> {
        self.by_timer.get(&timer).copied()
    }

    /// The earliest deadline.
    pub(super) fn next(&self) -> Option<Instant> {
        self.by_time.first().map(|(at, _)| *at)
    }

    /// Takes the earliest timer that is due.
    pub(super) fn pop_due(&mut self, now: Instant) -> Option<Timer> {
        let (at, timer) = *self.by_time.first()?;
        if at > now {
            return None;
        }
        self.clear(timer);
        Some(timer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timer_has_one_deadline_and_fires_once() {
        let mut deadlines = Deadlines::default();
        let (a, b) = (Timer::Hello(LinkId(1)), Timer::Update(LinkId(1)));
        deadlines.set(a, Instant(10));
        deadlines.set(b, Instant(5));
        deadlines.set(a, Instant(3));
        assert_eq!(deadlines.next(), Some(Instant(3)));
        assert_eq!(deadlines.pop_due(Instant(7)), Some(a));
        assert_eq!(deadlines.pop_due(Instant(7)), Some(b));
        assert_eq!(deadlines.pop_due(Instant(70)), None);
    }

    #[test]
    fn setting_by_a_time_never_delays() {
        let mut deadlines = Deadlines::default();
        deadlines.set_by(Timer::Requests, Instant(10));
        deadlines.set_by(Timer::Requests, Instant(20));
        assert_eq!(deadlines.next(), Some(Instant(10)));
        deadlines.set_by(Timer::Requests, Instant(5));
        assert_eq!(deadlines.next(), Some(Instant(5)));
        deadlines.put(Timer::Requests, None);
        assert_eq!(deadlines.next(), None);
    }
}

//! Hello history of one kind from one neighbour (RFC 8966 §A.1).

use std::time::Duration;

use sixwire_proto::interval::Interval;
use sixwire_proto::seqno::Seqno;
use sixwire_proto::time::Instant;

use super::params::LinkSensing;

/// The last 16 Hellos of one kind, newest in the lowest bit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct History {
    /// A set bit is a Hello received.
    heard: u16,
    /// How many bits mean anything: Hellos expected since the first one.
    known: u8,
    expected: Seqno,
    /// Promise of the last scheduled Hello.
    interval: Duration,
    due: Option<Instant>,
}

/// What a received Hello says about its sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Continuity {
    /// It goes on from what was heard before.
    Kept,
    /// Its number is far off: the sender has restarted, and this history is of no use.
    Broken,
}

impl History {
    /// Whether a Hello with this number continues the history (RFC 8966 §A.1).
    pub(super) fn continuity(&self, seqno: Seqno) -> Continuity {
        let distance = seqno.distance_from(self.expected).unsigned_abs();
        if self.known > 0 && distance > WINDOW { Continuity::Broken } else { Continuity::Kept }
    }

    /// Enters a Hello that came now; one without interval moves no timer.
    pub(super) fn receive(&mut self, seqno: Seqno, interval: Interval, now: Instant) {
        if self.known > 0 {
            let gap = seqno.distance_from(self.expected);
            if gap >= 0 { self.lose(gap.unsigned_abs()) } else { self.undo(gap.unsigned_abs()) }
        }
        self.append(1);
        self.expected = seqno.next();
        if !interval.is_zero() {
            self.interval = interval.duration().max(LEAST_INTERVAL);
            self.due = Some(now + self.interval * 3 / 2);
        }
    }

    /// Counts a Hello that did not come in time. However late the call, it is one: a stall of our own
    /// is no proof of more. The expected number moves on, so that the gap is not counted again.
    pub(super) fn expire(&mut self, now: Instant) {
        if self.due.is_some_and(|due| due <= now) {
            self.append(0);
            self.expected = self.expected.next();
            self.due = Some(now + self.interval);
        }
    }

    /// Time between two Hellos, as promised last; zero before the first.
    pub(super) fn interval(&self) -> Duration {
        self.interval
    }

    /// When the next Hello is counted as lost.
    pub(super) fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Whether none of the last 16 was heard.
    pub(super) fn is_empty(&self) -> bool {
        self.heard == 0
    }

    /// Whether Hellos of this kind were ever promised.
    pub(super) fn is_scheduled(&self) -> bool {
        !self.interval.is_zero()
    }

    /// How many of the last `most` Hellos were heard, and of how many that are known of.
    pub(super) fn heard_of_last(&self, most: u8) -> (u8, u8) {
        let of = most.min(self.known);
        (of - self.missed(of), of)
    }

    /// Whether any of the last so many is missing.
    pub(super) fn is_lossy(&self, of: u8) -> bool {
        self.missed(of) > 0
    }

    /// The verdict of k-out-of-j.
    pub(super) fn is_up(&self, sensing: LinkSensing) -> bool {
        let tolerated = sensing.heard_of.saturating_sub(sensing.least_heard);
        !self.is_empty() && self.missed(sensing.heard_of) <= tolerated
    }

    /// The bits, newest lowest, and how many of them are known.
    pub(super) fn bits(&self) -> (u16, u8) {
        (self.heard, self.known)
    }

    /// How many of the last `of` Hellos are missing.
    fn missed(&self, of: u8) -> u8 {
        (0..of.min(self.known)).map(|age| u8::from((self.heard >> age) & 1 == 0)).sum()
    }

    fn append(&mut self, bit: u16) {
        self.heard = (self.heard << 1) | bit;
        self.known = (self.known + 1).min(16);
    }

    fn lose(&mut self, count: u16) {
        for _ in 0..count.min(WINDOW) {
            self.append(0);
        }
    }

    fn undo(&mut self, count: u16) {
        self.heard = self.heard.checked_shr(u32::from(count)).unwrap_or(0);
        self.known = self.known.saturating_sub(u8::try_from(count).unwrap_or(u8::MAX));
    }
}

/// Numbers further apart than this come from another life (RFC 8966 §A.1).
const WINDOW: u16 = 16;
/// A shorter promise is read as this: a peer must not set the pace of our timers.
const LEAST_INTERVAL: Duration = Duration::from_millis(50);

#[cfg(test)]
mod tests;

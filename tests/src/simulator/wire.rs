//! Wires: how they carry packets, and how much.

use std::time::Duration;

use sixwire_proto::metric::Cost;
use sixwire_proto::seed::Seed;
use sixwire_proto::time::Instant;

/// How a wire carries packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quality {
    /// What it costs.
    pub cost: Cost,
    /// The least time a packet takes.
    pub delay: Duration,
    /// It takes up to so much longer, in order.
    pub jitter: Duration,
    /// Packets lost, in a thousand.
    pub loss: usize,
    /// Packets that come twice, in a thousand.
    pub duplication: usize,
    /// Packets that are overtaken by what is sent up to ten delays later, in a thousand.
    pub reordering: usize,
}

/// A wire between two nodes, or a LAN of more.
#[derive(Debug)]
pub(super) struct Wire {
    pub(super) ends: Vec<usize>,
    pub(super) quality: Quality,
    pub(super) carrier: Carrier,
    pub(super) load: Load,
    /// For each end, when the last packet it sent comes.
    last: Vec<Instant>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Carrier {
    Up,
    /// Everything is lost, and nobody is told.
    Cut,
    /// Both ends know.
    Down,
}

/// Octets by second.
#[derive(Debug, Default)]
pub(super) struct Load {
    second: u64,
    octets: usize,
    peak: usize,
}

impl Quality {
    /// Nominal cost, a millisecond, nothing lost.
    pub const GOOD: Self = Self {
        cost: Cost::WIRED,
        delay: Duration::from_millis(1),
        jitter: Duration::ZERO,
        loss: 0,
        duplication: 0,
        reordering: 0,
    };
    /// A bad path through the internet: one packet in twenty lost, some twice, some late.
    pub const BAD: Self = Self {
        cost: Cost::WIRED,
        delay: Duration::from_millis(20),
        jitter: Duration::from_millis(30),
        loss: 50,
        duplication: 20,
        reordering: 50,
    };
}

impl Wire {
    pub(super) fn new(ends: Vec<usize>) -> Self {
        let last = vec![Instant(0); ends.len()];
        let (quality, load) = (Quality::GOOD, Load::default());
        Self { ends, quality, carrier: Carrier::Up, load, last }
    }

    /// When a packet that `node` sends now comes: never, once or twice.
    pub(super) fn arrivals(&mut self, node: usize, now: Instant, seed: &mut Seed) -> Vec<Instant> {
        let Quality { delay, jitter, loss, duplication, reordering, .. } = self.quality;
        let happens = |in_a_thousand: usize, seed: &mut Seed| {
            in_a_thousand > 0 && seed.below(1000) < in_a_thousand
        };
        if self.carrier != Carrier::Up || happens(loss, seed) {
            return Vec::new();
        }
        let mut at = now + delay + seed.between(Duration::ZERO, jitter);
        if happens(reordering, seed) {
            at += seed.between(Duration::ZERO, delay * 10);
        } else if let Some(end) = self.ends.iter().position(|end| *end == node) {
            at = at.max(self.last[end]);
            self.last[end] = at;
        }
        let mut arrivals = vec![at];
        if happens(duplication, seed) {
            arrivals.push(at + seed.between(Duration::ZERO, delay * 2));
        }
        arrivals
    }
}

impl Load {
    pub(super) fn carry(&mut self, now: Instant, octets: usize) {
        let second = now.0 / 1_000_000;
        if second != self.second {
            (self.second, self.octets) = (second, 0);
        }
        self.octets += octets;
        self.peak = self.peak.max(self.octets);
    }

    /// The greatest sum in one second since the last call.
    pub(super) fn take_peak(&mut self) -> usize {
        std::mem::take(&mut self.peak)
    }
}

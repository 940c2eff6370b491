//! Round-trip times from stamps in Hellos and IHUs, and what they cost (RFC 9616).

use std::time::Duration;

use serde::{Deserialize, Serialize};
use sixwire_proto::babel::EchoedTimes;
use sixwire_proto::metric::Cost;
use sixwire_proto::time::Instant;

/// What is done about the delay of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Delay {
    /// Hellos are not stamped, and nothing is measured.
    Ignored,
    /// It is measured, for neighbours and people to know.
    Measured,
    /// It is measured and adds to the cost of the link.
    Charged(RttCost),
}

/// What a round-trip time adds to the cost of a link: nothing up to `least`, `penalty` from `most` on,
/// and linearly more between. Bounded and monotone, as RFC 9616 asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RttCost {
    /// Delays up to this are free.
    pub least: Duration,
    /// Delays beyond this cost no more.
    pub most: Duration,
    /// What those cost.
    pub penalty: Cost,
}

impl RttCost {
    /// The bounds of RFC 9616 with the penalty of babeld's and BIRD's tunnels.
    pub const RECOMMENDED: Self = Self {
        least: Duration::from_millis(10),
        most: Duration::from_millis(120),
        penalty: Cost(96),
    };
    /// For tunnels around the world: 2 a millisecond, so that a detour by one more node (96) is worth
    /// its while when it saves 48 ms.
    pub const WORLDWIDE: Self = Self {
        least: Duration::from_millis(10),
        most: Duration::from_millis(510),
        penalty: Cost(1000),
    };

    /// What this delay costs.
    #[must_use]
    pub fn of(self, rtt: Duration) -> Cost {
        if rtt <= self.least {
            return Cost(0);
        }
        if rtt >= self.most {
            return self.penalty;
        }
        let (part, whole) = (rtt - self.least, self.most - self.least);
        let share = part.as_micros() * u128::from(self.penalty.0) / whole.as_micros();
        Cost(u16::try_from(share).unwrap_or(self.penalty.0))
    }

    /// A charge moves by no less than this: smaller steps would only make work for all routes.
    fn step(self) -> u16 {
        (self.penalty.0 / STEPS).max(1)
    }
}

/// What is known of the delay of the way to a neighbour and back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rtt {
    last: Option<Stamped>,
    /// Stamp of the Hello in the packet being read.
    hello: Option<u32>,
    /// Times of the IHU about us in the packet being read.
    ihu: Option<EchoedTimes>,
    /// The smoothed round-trip time, microseconds.
    smoothed: Option<u32>,
    charged: Cost,
}

/// The last stamped Hello.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamped {
    /// When it left, by the clock of its sender.
    transmit: u32,
    /// When it came.
    came: Instant,
}

/// Whether a packet gave a new round-trip time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sample {
    None,
    Taken,
}

impl Rtt {
    /// Nothing.
    pub(super) const UNKNOWN: Self =
        Self { last: None, hello: None, ihu: None, smoothed: None, charged: Cost(0) };

    /// A stamped Hello is in the packet being read.
    pub(super) fn hear_hello(&mut self, timestamp: Option<u32>) {
        self.hello = timestamp;
    }

    /// An IHU about us is in the packet being read.
    pub(super) fn hear_ihu(&mut self, times: Option<EchoedTimes>) {
        self.ihu = times;
    }

    /// The packet is read, whatever the order of its TLVs: keeps its stamp for our next IHU, and takes a
    /// sample if it has all four times and they make sense.
    pub(super) fn end_packet(&mut self, now: Instant) -> Sample {
        let (hello, ihu) = (self.hello.take(), self.ihu.take());
        let Some(transmit) = hello else { return Sample::None };
        let sample = ihu.and_then(|times| self.sample(transmit, times, now));
        self.last = Some(Stamped { transmit, came: now });
        match sample {
            Some(sample) => {
                self.smoothed = Some(self.smoothed.map_or(sample, |old| smooth(old, sample)));
                Sample::Taken
            }
            None => Sample::None,
        }
    }

    /// Time since our Hello left, less the time it lay over there. Clocks wrap every 71.6 minutes, may be
    /// set, and packets may overtake each other: what is not plainly right is no sample.
    fn sample(&self, transmit: u32, times: EchoedTimes, now: Instant) -> Option<u32> {
        let away = plausible(wire_time(now).wrapping_sub(times.origin))?;
        let kept = plausible(transmit.wrapping_sub(times.receive))?;
        if let Some(last) = self.last {
            plausible(transmit.wrapping_sub(last.transmit))?;
        }
        away.checked_sub(kept)
    }

    /// What an IHU to the neighbour says of its last stamped Hello, while that is not too old to be of
    /// use.
    pub(super) fn echo(&self, now: Instant) -> Option<EchoedTimes> {
        let last = self.last.filter(|last| now.since(last.came) <= GREATEST_AGE)?;
        Some(EchoedTimes { origin: last.transmit, receive: wire_time(last.came) })
    }

    /// The smoothed round-trip time.
    pub(super) fn smoothed(&self) -> Option<Duration> {
        self.smoothed.map(|micros| Duration::from_micros(u64::from(micros)))
    }

    /// What it adds to the cost of the link, in steps.
    pub(super) fn charge(&mut self, delay: Delay) -> Cost {
        let (Delay::Charged(rule), Some(rtt)) = (delay, self.smoothed()) else {
            self.charged = Cost(0);
            return self.charged;
        };
        let cost = rule.of(rtt);
        let at_an_end = cost == Cost(0) || cost == rule.penalty;
        if at_an_end || cost.0.abs_diff(self.charged.0) >= rule.step() {
            self.charged = cost;
        }
        self.charged
    }

    /// The charge in force.
    pub(super) fn charged(&self) -> Cost {
        self.charged
    }

    /// Its sender has restarted, and its clock may have: stamps of before say nothing any more.
    pub(super) fn restart(&mut self) {
        self.last = None;
    }
}

/// A time of our clock as it travels: microseconds modulo 2^32 (RFC 9616).
#[must_use]
pub fn wire_time(at: Instant) -> u32 {
    u32::try_from(at.0 & u64::from(u32::MAX)).unwrap_or_default()
}

/// A time span modulo 2^32, unless it is longer than 3 minutes; negative ones look so too.
fn plausible(span: u32) -> Option<u32> {
    (u128::from(span) <= GREATEST_AGE.as_micros()).then_some(span)
}

/// Exponential smoothing as babeld and BIRD have it.
fn smooth(old: u32, sample: u32) -> u32 {
    let sum = u64::from(old) * (256 - WEIGHT) + u64::from(sample) * WEIGHT;
    u32::try_from(sum / 256).unwrap_or(u32::MAX)
}

/// Stamps older than this are not used (RFC 9616).
const GREATEST_AGE: Duration = Duration::from_mins(3);
/// Weight of a new sample, of 256.
const WEIGHT: u64 = 42;
/// Steps from no charge to the full penalty.
const STEPS: u16 = 32;

#[cfg(test)]
mod tests;

//! The calendar, as far as it can be trusted. A wrong clock must not cut a node off: times that
//! came from the registry or from a signed document are a floor, and the registry's word corrects
//! the system's clock.

use std::time::Duration;

use nix::time::{ClockId, clock_gettime};
use sixwire_proto::time::Timestamp;

/// What is known about the time.
#[derive(Clone, Debug)]
pub struct Clock {
    /// The last time that was certain, and when since boot that was.
    floor: Reading,
    /// Whether the registry found the system's clock wrong.
    corrected: bool,
}

/// A point of the calendar beside a point of the boot clock, which nobody sets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    /// Calendar time.
    pub time: Timestamp,
    /// Time since boot, suspend included.
    pub since_boot: Duration,
}

/// What the registry's time says about the system's clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// They agree.
    Right,
    /// They do not; the registry's time holds from now on.
    Wrong,
}

/// How far the system's clock may be from the registry's before the registry's is taken instead:
/// well within what signed calls tolerate.
const TOLERANCE: Duration = Duration::from_secs(60);

impl Reading {
    /// Reads both clocks of the system.
    #[must_use]
    pub fn take() -> Self {
        let since = |clock| clock_gettime(clock).map_or(Duration::ZERO, Duration::from);
        let time = Timestamp(since(ClockId::CLOCK_REALTIME).as_secs());
        Self { time, since_boot: since(ClockId::CLOCK_BOOTTIME) }
    }

    /// What the calendar must show at `now` if it showed this then.
    fn carried_to(self, now: Self) -> Timestamp {
        self.time + now.since_boot.saturating_sub(self.since_boot)
    }
}

impl Clock {
    /// A clock that never shows less than `floor`, known since `now`.
    #[must_use]
    pub fn new(floor: Timestamp, now: Reading) -> Self {
        Self { floor: Reading { time: floor, ..now }, corrected: false }
    }

    /// The time at `now`.
    #[must_use]
    pub fn time_at(&self, now: Reading) -> Timestamp {
        let certain = self.floor.carried_to(now);
        if self.corrected { certain } else { certain.max(now.time) }
    }

    /// The time.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.time_at(Reading::take())
    }

    /// Takes the registry's word, also where it lies before the floor: the registry is who could
    /// have set that floor.
    pub fn learn(&mut self, registry: Timestamp, now: Reading) -> Verdict {
        self.floor = Reading { time: registry, ..now };
        let (low, high) = (registry.min(now.time), registry.max(now.time));
        self.corrected = low.until(high) > TOLERANCE;
        if self.corrected { Verdict::Wrong } else { Verdict::Right }
    }

    /// Takes the date of a signed document: it is not earlier than that.
    pub fn raise(&mut self, signed: Timestamp, now: Reading) {
        if signed > self.time_at(now) {
            self.floor = Reading { time: signed, ..now };
        }
    }

    /// The last time that was certain, for the disk. The system's clock does not count: had it once
    /// shown a far future, the node would live there for ever.
    #[must_use]
    pub fn floor(&self) -> Timestamp {
        self.floor.time
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(time: u64, since_boot: u64) -> Reading {
        Reading { time: Timestamp(time), since_boot: Duration::from_secs(since_boot) }
    }

    #[test]
    fn a_right_clock_is_believed() {
        let clock = Clock::new(Timestamp(1000), at(2000, 5));
        assert_eq!(clock.time_at(at(2010, 15)), Timestamp(2010));
    }

    #[test]
    fn a_clock_behind_the_floor_is_not_and_time_passes_all_the_same() {
        let clock = Clock::new(Timestamp(1000), at(0, 5));
        assert_eq!(clock.time_at(at(10, 15)), Timestamp(1010));
        assert_eq!(clock.time_at(at(5000, 20)), Timestamp(5000), "once it was set");
    }

    #[test]
    fn the_registry_corrects_a_clock_on_either_side() {
        for wrong in [0, 90_000] {
            let mut clock = Clock::new(Timestamp(1000), at(wrong, 5));
            assert_eq!(clock.learn(Timestamp(2000), at(wrong, 6)), Verdict::Wrong);
            assert_eq!(clock.time_at(at(wrong + 10, 16)), Timestamp(2010));
            assert_eq!(clock.time_at(at(2010, 16)), Timestamp(2010), "once it was set");
            assert_eq!(clock.floor(), Timestamp(2000));
        }
    }

    #[test]
    fn a_clock_that_was_set_right_is_believed_again() {
        let mut clock = Clock::new(Timestamp(0), at(0, 0));
        assert_eq!(clock.learn(Timestamp(2000), at(0, 0)), Verdict::Wrong);
        assert_eq!(clock.learn(Timestamp(2100), at(2102, 100)), Verdict::Right);
        assert_eq!(clock.time_at(at(2112, 110)), Timestamp(2112));
    }

    #[test]
    fn signed_dates_raise_the_floor_and_never_lower_it() {
        let mut clock = Clock::new(Timestamp(0), at(100, 0));
        clock.raise(Timestamp(50), at(100, 0));
        assert_eq!(clock.floor(), Timestamp(0));
        clock.raise(Timestamp(500), at(100, 0));
        assert_eq!(clock.time_at(at(101, 1)), Timestamp(501));
    }

    #[test]
    fn the_system_has_both_clocks() {
        let reading = Reading::take();
        assert!(reading.time > Timestamp(1_700_000_000) && reading.since_boot > Duration::ZERO);
    }
}

//! Babel intervals: centiseconds in 16 bits (RFC 8966 §4.1.1).

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A time between two messages, in hundredths of a second. Zero has its own meaning in each TLV.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Interval(pub u16);

impl Interval {
    /// No interval: an unscheduled Hello.
    pub const ZERO: Self = Self(0);

    /// The interval nearest below `duration`, at least one and at most 65 535 centiseconds.
    #[must_use]
    pub fn from_duration(duration: Duration) -> Self {
        let centiseconds = (duration.as_millis() / 10).clamp(1, u128::from(u16::MAX));
        Self(u16::try_from(centiseconds).unwrap_or(u16::MAX))
    }

    /// The same as a duration.
    #[must_use]
    pub fn duration(self) -> Duration {
        Duration::from_millis(u64::from(self.0) * 10)
    }

    /// Whether it is zero.
    #[must_use]
    pub fn is_zero(self) -> bool {
        self.0 == 0
    }
}

impl fmt::Display for Interval {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:02}s", self.0 / 100, self.0 % 100)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conversion_clamps_at_both_ends() {
        assert_eq!(Interval::from_duration(Duration::from_secs(4)), Interval(400));
        assert_eq!(Interval::from_duration(Duration::from_millis(1)), Interval(1));
        assert_eq!(Interval::from_duration(Duration::from_secs(1000)), Interval(65_535));
        assert_eq!(Interval(400).duration(), Duration::from_secs(4));
    }
}

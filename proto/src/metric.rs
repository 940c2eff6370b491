//! Route metrics and link costs (RFC 8966 §2.1, §3.5.2).

use std::fmt;
use std::ops::Add;

use serde::{Deserialize, Serialize};

/// The distance to a destination. Infinity means unreachable; sums stop there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Metric(pub u16);

/// The cost of one link. Infinity means unusable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Cost(pub u16);

impl Metric {
    /// Unreachable (RFC 8966 §4.6.9).
    pub const INFINITY: Self = Self(0xffff);
    /// A destination of our own.
    pub const ZERO: Self = Self(0);

    /// Whether the destination is reachable.
    #[must_use]
    pub fn is_finite(self) -> bool {
        self != Self::INFINITY
    }
}

impl Cost {
    /// Unusable.
    pub const INFINITY: Self = Self(0xffff);
    /// A link that works: 96, as babeld and BIRD have it for wired links.
    pub const WIRED: Self = Self(96);

    /// Whether the link can be used.
    #[must_use]
    pub fn is_finite(self) -> bool {
        self != Self::INFINITY
    }
}

impl Add<Cost> for Metric {
    type Output = Self;

    /// The metric through a link: strictly greater than `self` for any cost above zero, infinite as
    /// soon as either side is, or the sum reaches infinity (RFC 8966 §3.5.2).
    fn add(self, cost: Cost) -> Self {
        Self(self.0.saturating_add(cost.0))
    }
}

impl Add for Cost {
    type Output = Self;

    fn add(self, more: Self) -> Self {
        Self(self.0.saturating_add(more.0))
    }
}

fn number_or_infinity(value: u16, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    if value == u16::MAX { f.pad("infinity") } else { fmt::Display::fmt(&value, f) }
}

impl fmt::Display for Metric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        number_or_infinity(self.0, f)
    }
}

impl fmt::Display for Cost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        number_or_infinity(self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn infinity_is_reached_and_never_crossed() {
        assert_eq!(Metric(0xfff0) + Cost(0x20), Metric::INFINITY);
        assert_eq!(Metric::INFINITY + Cost(1), Metric::INFINITY);
        assert_eq!(Metric(1) + Cost::INFINITY, Metric::INFINITY);
        assert_eq!(Metric(100) + Cost(96), Metric(196));
    }
}

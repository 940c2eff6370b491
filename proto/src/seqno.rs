//! Babel sequence numbers, which wrap (RFC 8966 §3.2.1).

use std::fmt;

use serde::{Deserialize, Serialize};

/// A 16-bit sequence number, compared modulo 2^16. It has no `Ord`: the order is not transitive.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Seqno(pub u16);

impl Seqno {
    /// The number `n` steps later.
    #[must_use]
    pub fn plus(self, n: u16) -> Self {
        Self(self.0.wrapping_add(n))
    }

    /// The next number.
    #[must_use]
    pub fn next(self) -> Self {
        self.plus(1)
    }

    /// Whether `self` comes after `other` (RFC 8966 §3.2.1: half the number space lies ahead).
    #[must_use]
    pub fn is_newer_than(self, other: Self) -> bool {
        self != other && self.0.wrapping_sub(other.0) < 0x8000
    }

    /// How far ahead of `other` this number is; negative when it is behind.
    #[must_use]
    pub fn distance_from(self, other: Self) -> i16 {
        self.0.wrapping_sub(other.0).cast_signed()
    }
}

impl fmt::Display for Seqno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_wraps_at_two_to_the_sixteen() {
        for (a, b, newer) in [
            (1, 0, true),
            (0, 0xffff, true),
            (0x7fff, 0, true),
            (0x8000, 0, false),
            (0, 1, false),
            (5, 5, false),
            (10, 0xfff0, true),
        ] {
            assert_eq!(Seqno(a).is_newer_than(Seqno(b)), newer, "{a} after {b}");
        }
    }

    #[test]
    fn distance_is_signed() {
        assert_eq!(Seqno(3).distance_from(Seqno(0xffff)), 4);
        assert_eq!(Seqno(0xffff).distance_from(Seqno(3)), -4);
    }
}

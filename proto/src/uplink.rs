//! Which of its uplinks a node dials by: it may have a tunnel to the same node over each.

use std::fmt;
use std::num::NonZeroU8;

use serde::{Deserialize, Serialize};

/// The number of an uplink of the node that dials, from one to [`UplinkNumber::LAST`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "u8", into = "u8")]
pub struct UplinkNumber(NonZeroU8);

/// Not the number of an uplink.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("uplink {0}: want 1 to 8")]
pub struct UplinkNumberError(u8);

impl UplinkNumber {
    /// The only one of most nodes.
    pub const FIRST: Self = Self(NonZeroU8::MIN);
    /// As many providers as one machine has, and more. Bounds what one node can ask of another.
    pub const LAST: Self = Self(NonZeroU8::new(8).expect("eight is not zero"));

    /// As a number.
    #[must_use]
    pub fn get(self) -> NonZeroU8 {
        self.0
    }

    /// Whether it is the first.
    #[must_use]
    pub fn is_first(&self) -> bool {
        *self == Self::FIRST
    }

    /// All numbers up to this one.
    pub fn up_to_this(self) -> impl Iterator<Item = Self> {
        (1..=self.0.get()).filter_map(NonZeroU8::new).map(Self)
    }
}

impl Default for UplinkNumber {
    fn default() -> Self {
        Self::FIRST
    }
}

impl TryFrom<u8> for UplinkNumber {
    type Error = UplinkNumberError;

    fn try_from(number: u8) -> Result<Self, UplinkNumberError> {
        let number_of = NonZeroU8::new(number).map(Self).filter(|number| *number <= Self::LAST);
        number_of.ok_or(UplinkNumberError(number))
    }
}

impl From<UplinkNumber> for u8 {
    fn from(number: UplinkNumber) -> Self {
        number.0.get()
    }
}

impl fmt::Display for UplinkNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for UplinkNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uplinks_are_counted_from_one_to_eight() {
        let read = |text: &str| serde_json::from_str::<UplinkNumber>(text);
        assert_eq!(read("1").unwrap(), UplinkNumber::FIRST);
        assert_eq!(read("8").unwrap(), UplinkNumber::LAST);
        for bad in ["0", "9", "256", "-1"] {
            assert!(read(bad).is_err(), "{bad}");
        }
        let all: Vec<u8> = UplinkNumber::LAST.up_to_this().map(u8::from).collect();
        assert_eq!(all, [1, 2, 3, 4, 5, 6, 7, 8]);
    }
}

//! When entries are to be looked at: coarsely, as there are very many and none is in a hurry. An entry
//! knows its time itself; here it is only remembered who looks when, and who has another time by then is
//! passed over.

use std::collections::{BTreeMap, VecDeque};
use std::num::NonZeroU32;

use sixwire_proto::time::Instant;

use super::route::EntryId;

/// A moment, to a fifteenth of a second.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Tick(NonZeroU32);

impl Tick {
    /// The first at or after `at`. The last of all is eight years away.
    pub(super) fn covering(at: Instant) -> Self {
        let ticks = u32::try_from(at.0.div_ceil(LENGTH)).unwrap_or(u32::MAX);
        Self(NonZeroU32::new(ticks).unwrap_or(NonZeroU32::MIN))
    }

    pub(super) fn instant(self) -> Instant {
        Instant(u64::from(self.0.get()) * LENGTH)
    }
}

/// Who is looked at when.
#[derive(Debug, Default)]
pub(super) struct Wheel(BTreeMap<Tick, VecDeque<EntryId>>);

impl Wheel {
    pub(super) fn add(&mut self, at: Tick, id: EntryId) {
        self.0.entry(at).or_default().push_back(id);
    }

    /// The next time somebody is looked at.
    pub(super) fn next(&self) -> Option<Instant> {
        self.0.first_key_value().map(|(at, _)| at.instant())
    }

    /// Takes one that is due, with the time it was due.
    pub(super) fn pop_due(&mut self, now: Instant) -> Option<(Tick, EntryId)> {
        let mut first = self.0.first_entry().filter(|first| first.key().instant() <= now)?;
        let (at, id) = (*first.key(), first.get_mut().pop_front());
        if first.get().is_empty() {
            first.remove();
        }
        id.map(|id| (at, id))
    }
}

/// Microseconds.
const LENGTH: u64 = 1 << 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tick_is_never_early_and_late_by_less_than_its_length() {
        for at in [0, 1, LENGTH - 1, LENGTH, LENGTH + 1, 5_000_000] {
            let tick = Tick::covering(Instant(at)).instant().0;
            assert!(tick >= at && tick - at <= LENGTH, "{at} {tick}");
        }
    }

    #[test]
    fn those_that_are_due_come_in_the_order_of_time_and_entry() {
        let mut wheel = Wheel::default();
        let tick = |seconds: u64| Tick::covering(Instant(seconds * 1_000_000));
        for (seconds, id) in [(2, 1), (1, 2), (2, 3)] {
            wheel.add(tick(seconds), EntryId(id));
        }
        assert_eq!(wheel.next(), Some(tick(1).instant()));
        let later = tick(2).instant();
        let due: Vec<_> = std::iter::from_fn(|| wheel.pop_due(later)).collect();
        assert_eq!(due, [(tick(1), EntryId(2)), (tick(2), EntryId(1)), (tick(2), EntryId(3))]);
        assert_eq!((wheel.next(), wheel.pop_due(later)), (None, None));
    }
}

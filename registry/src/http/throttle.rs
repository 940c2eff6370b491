//! The throttle: how many joins may fail from one place.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use sixwire_proto::prefix::Prefix;
use sixwire_proto::time::Timestamp;

use crate::listener::place_of;
use crate::refusal::Refusal;

/// Failed joins of each place within the last minutes.
#[derive(Debug, Default)]
pub(super) struct Throttle {
    places: BTreeMap<Prefix, Failures>,
}

#[derive(Clone, Copy, Debug)]
struct Failures {
    since: Timestamp,
    count: u32,
}

/// Joins that may fail from one place within [`WINDOW`].
pub(super) const FAILURE_LIMIT: u32 = 30;
/// After this time a place starts anew.
pub(super) const WINDOW: Duration = Duration::from_secs(60);
/// Most places remembered; at the limit the one that failed longest ago is forgotten.
const PLACE_LIMIT: usize = 4096;

impl Throttle {
    /// Whether the place may try to join.
    pub(super) fn check(&mut self, source: IpAddr, now: Timestamp) -> Result<(), Refusal> {
        let place = place_of(source);
        let Some(failures) = self.places.get(&place).copied() else { return Ok(()) };
        if now >= failures.since + WINDOW || now < failures.since {
            self.places.remove(&place);
            return Ok(());
        }
        if failures.count >= FAILURE_LIMIT {
            return Err(Refusal::Busy(now.until(failures.since + WINDOW)));
        }
        Ok(())
    }

    /// Counts a failed join.
    pub(super) fn fail(&mut self, source: IpAddr, now: Timestamp) {
        let place = place_of(source);
        if self.places.len() >= PLACE_LIMIT && !self.places.contains_key(&place) {
            let oldest = self.places.iter().min_by_key(|(_, failures)| failures.since);
            if let Some(oldest) = oldest.map(|(place, _)| *place) {
                self.places.remove(&oldest);
            }
        }
        let failures = self.places.entry(place).or_insert(Failures { since: now, count: 0 });
        failures.count = failures.count.saturating_add(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(1000);

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_place_that_fails_too_often_waits_and_others_do_not() {
        let mut throttle = Throttle::default();
        let (bad, neighbour) = (address("2001:db8::1"), address("2001:db8::2"));
        for _ in 0..FAILURE_LIMIT {
            assert_eq!(throttle.check(bad, NOW), Ok(()));
            throttle.fail(bad, NOW);
        }
        assert_eq!(throttle.check(bad, NOW), Err(Refusal::Busy(WINDOW)));
        assert!(throttle.check(neighbour, NOW).is_err(), "the same /64");
        assert_eq!(throttle.check(address("2001:db8:0:1::1"), NOW), Ok(()));
        assert_eq!(throttle.check(bad, NOW + WINDOW), Ok(()));
    }

    #[test]
    fn many_places_do_not_fill_the_memory() {
        let mut throttle = Throttle::default();
        for n in 0..PLACE_LIMIT + 10 {
            let [.., a, b] = n.to_be_bytes();
            throttle.fail(IpAddr::from([192, 0, a, b]), NOW);
        }
        assert_eq!(throttle.places.len(), PLACE_LIMIT);
    }
}

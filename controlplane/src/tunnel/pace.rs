//! Waiting times that double.

use std::time::Duration;

use sixwire_proto::seed::Seed;
use sixwire_proto::time::Instant;

/// `least` doubled `failures - 1` times, at most `most`, shortened at random by up to a half so
/// that nodes that failed together do not retry together.
pub(super) fn backoff(seed: &mut Seed, failures: u32, least: Duration, most: Duration) -> Duration {
    let doublings = failures.saturating_sub(1).min(31);
    let full = least.saturating_mul(1 << doublings).min(most);
    jitter(seed, full)
}

/// A time between half of `full` and `full`.
pub(super) fn jitter(seed: &mut Seed, full: Duration) -> Duration {
    seed.between(full / 2, full)
}

/// When a question was asked last, and how long to wait before it is asked again.
#[derive(Debug, Default)]
pub(super) struct Pace {
    asked: Option<Instant>,
    rounds: u32,
    wait: Duration,
}

impl Pace {
    /// When to ask again after the doubling wait. `start` if it never was.
    pub(super) fn next(&self, start: Instant) -> Instant {
        self.asked.map_or(start, |asked| asked + self.wait)
    }

    /// When to ask again with the steady `interval`. `start` if it never was.
    pub(super) fn next_steady(&self, start: Instant, interval: Duration) -> Instant {
        self.asked.map_or(start, |asked| asked + interval)
    }

    /// Notes a question; the next wait is twice this one, at most `most`.
    pub(super) fn ask(&mut self, now: Instant, seed: &mut Seed, most: Duration) {
        self.asked = Some(now);
        self.rounds = self.rounds.saturating_add(1);
        self.wait = backoff(seed, self.rounds, FIRST_WAIT, most);
    }

    /// Starts the doubling anew.
    pub(super) fn reset(&mut self) {
        self.rounds = 0;
        self.wait = self.wait.min(FIRST_WAIT);
    }
}

/// The wait after the first question.
const FIRST_WAIT: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backoff_doubles_with_jitter_up_to_its_bound() {
        let mut seed = Seed::new(3);
        let (least, most) = (Duration::from_secs(2), Duration::from_secs(60));
        for (failures, full) in [(0, 2), (1, 2), (2, 4), (3, 8), (5, 32), (6, 60), (u32::MAX, 60)] {
            let full = Duration::from_secs(full);
            for _ in 0..50 {
                let wait = backoff(&mut seed, failures, least, most);
                assert!(wait >= full / 2 && wait <= full, "{failures}: {wait:?}");
            }
        }
    }
}

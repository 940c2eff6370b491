//! When routes that the kernel has refused are tried again.

use std::time::Duration;

use tokio::time::Instant;

/// The time of the next attempt.
#[derive(Clone, Copy, Debug)]
pub(super) struct Retries {
    due: Instant,
    pause: Duration,
}

impl Retries {
    pub(super) fn new(now: Instant) -> Self {
        Self { due: now + LEAST, pause: LEAST }
    }

    /// Routes were refused where none was before.
    pub(super) fn begin(&mut self, now: Instant) {
        *self = Self::new(now);
    }

    pub(super) fn due(&self) -> Instant {
        self.due
    }

    /// So many of a batch were accepted, so many refused again.
    pub(super) fn tried(&mut self, now: Instant, (accepted, refused): (usize, usize)) {
        self.pause = match (accepted, refused) {
            // There is room: the rest at once, but others get their turn.
            (1.., 0) => BREATH,
            (1.., _) => LEAST,
            (0, _) => (self.pause * 2).clamp(LEAST, MOST),
        };
        self.due = now + self.pause;
    }
}

const BREATH: Duration = Duration::from_millis(50);
/// The first pause, and what it grows to while the kernel accepts nothing.
const LEAST: Duration = Duration::from_secs(2);
const MOST: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attempts_grow_rare_while_nothing_is_accepted_and_frequent_when_there_is_room() {
        let now = Instant::now();
        let mut retries = Retries::new(now);
        let mut after = |outcome| {
            retries.tried(now, outcome);
            (retries.due() - now).as_millis()
        };
        let pauses = [(0, 9); 5].map(&mut after);
        assert_eq!(pauses, [4_000, 8_000, 16_000, 30_000, 30_000]);
        assert_eq!([(128, 0), (1, 127), (0, 3)].map(&mut after), [50, 2_000, 4_000]);
        retries.begin(now);
        assert_eq!(retries.due(), now + LEAST);
    }
}

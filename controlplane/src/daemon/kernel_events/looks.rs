//! When everything is looked at anew. A look costs more the more there is, and a storm that lasts must not become one
//! look after the other.

use std::time::Duration;

use tokio::time::Instant;

/// Looks that are asked for, and the time of the next.
#[derive(Clone, Copy, Debug)]
pub(super) struct Looks {
    not_before: Instant,
    pause: Duration,
    /// Bursts of events that asked for a look since the last.
    asked: u32,
}

impl Looks {
    pub(super) fn new(now: Instant) -> Self {
        Self { not_before: now, pause: Duration::ZERO, asked: 0 }
    }

    pub(super) fn ask(&mut self) {
        self.asked = self.asked.saturating_add(1);
    }

    /// When to look, if there is anything to look for.
    pub(super) fn due(&self) -> Option<Instant> {
        (self.asked > 0).then_some(self.not_before)
    }

    /// A look was taken.
    pub(super) fn looked(&mut self, begin: Instant, end: Instant) {
        let least = LEAST.max((end - begin) * SHARE);
        // Asked for once a second or more all the while: a storm that lasts.
        let lasts = self.asked >= 2 && u64::from(self.asked) >= self.pause.as_secs();
        self.pause = if lasts { least.max(MOST.min(self.pause * 2)) } else { least };
        self.not_before = end + self.pause;
        self.asked = 0;
    }
}

/// Between two looks, at least, and in a storm at most; but looks never take more than a tenth of the time.
const LEAST: Duration = Duration::from_secs(1);
const MOST: Duration = Duration::from_secs(30);
const SHARE: u32 = 10;

#[cfg(test)]
mod tests {
    use super::*;

    /// The pauses between looks that take so long, while a look is asked for so often.
    fn pauses(looks: &mut Looks, (took, every): (Duration, Duration), count: usize) -> Vec<u64> {
        let mut now = looks.not_before;
        let mut pauses = Vec::new();
        for _ in 0..count {
            looks.ask();
            while looks.due().is_some_and(|due| due > now + every) {
                now += every;
                looks.ask();
            }
            let begin = looks.not_before.max(now);
            looks.looked(begin, begin + took);
            pauses.push((looks.not_before - begin - took).as_secs());
            now = begin + took;
        }
        pauses
    }

    #[test]
    fn a_storm_that_lasts_is_looked_at_ever_more_rarely() {
        let (quick, often) = (Duration::from_millis(10), Duration::from_millis(500));
        let mut looks = Looks::new(Instant::now());
        assert_eq!(looks.due(), None);
        assert_eq!(pauses(&mut looks, (quick, often), 8), [1, 2, 4, 8, 16, 30, 30, 30]);
        // One change after the other, each once the one before was seen to.
        let seldom = Duration::from_secs(3600);
        assert_eq!(pauses(&mut looks, (quick, seldom), 3), [1, 1, 1]);
        let slow = Duration::from_millis(700);
        assert_eq!(pauses(&mut looks, (slow, seldom), 2), [7, 7]);
    }
}

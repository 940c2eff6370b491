//! How often the helper ended by itself, and when it is started again.

use std::time::Duration;

use tokio::time::Instant;

/// The count of its ends.
#[derive(Debug, Default)]
pub(super) struct Losses {
    restarts: u64,
    last_restart: Option<Instant>,
    /// Failed starts, and ends soon after a start.
    in_a_row: u32,
    last_end: Option<Instant>,
    not_before: Option<Instant>,
    /// What is known of the last end.
    reason: Option<String>,
}

/// How the helper of the embedded WireGuard fares.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HelperHealth {
    /// Times it ended by itself, was started again and carried its tunnels on.
    pub restarts: u64,
    /// Time since the last of them.
    pub since_restart: Option<Duration>,
    /// What is wrong with it now, in a sentence.
    pub trouble: Option<String>,
}

impl Losses {
    /// It ended, or could not be started.
    pub(super) fn ended(&mut self, reason: Option<String>, now: Instant) {
        let soon = self.last_end.is_some_and(|end| match self.last_restart {
            Some(start) if start >= end => now.duration_since(start) < SHORT_LIFE,
            _ => now.duration_since(end) < CALM,
        });
        self.in_a_row = if soon { self.in_a_row.saturating_add(1) } else { 1 };
        self.last_end = Some(now);
        self.reason = reason;
        self.not_before = Some(now + pause(self.in_a_row));
    }

    /// What is known of the last end by now.
    pub(super) fn explain(&mut self, reason: String) {
        self.reason = Some(reason);
    }

    /// It carries its tunnels again.
    pub(super) fn restarted(&mut self, now: Instant) {
        self.restarts += 1;
        self.last_restart = Some(now);
        self.not_before = None;
    }

    /// When it may be started.
    pub(super) fn not_before(&self) -> Option<Instant> {
        self.not_before
    }

    pub(super) fn health(&self, now: Instant) -> HelperHealth {
        HelperHealth {
            restarts: self.restarts,
            since_restart: self.last_restart.map(|then| now.duration_since(then)),
            trouble: self.trouble(now),
        }
    }

    /// What is wrong now: it waits for its next start, or it ends again and again.
    pub(super) fn trouble(&self, now: Instant) -> Option<String> {
        let recent = self.last_end.is_some_and(|last| now.duration_since(last) < CALM);
        let waits = self.not_before.and_then(|then| then.checked_duration_since(now));
        if waits.is_none() && !(recent && self.in_a_row >= REPEATED) {
            return None;
        }
        let times = self.in_a_row;
        let mut text = format!("the embedded WireGuard ended {times} times in a row");
        if let Some(reason) = &self.reason {
            text.push_str(&format!(", the last time {reason}"));
        }
        if let Some(wait) = waits {
            text.push_str(&format!("; it is started again in {} s", wait.as_secs() + 1));
        }
        Some(text)
    }
}

/// The first time at once; then twice as long each time, but never so long that nobody notices its
/// recovery.
fn pause(in_a_row: u32) -> Duration {
    match in_a_row {
        0 | 1 => Duration::ZERO,
        more => LEAST.saturating_mul(1u32.checked_shl(more - 2).unwrap_or(u32::MAX)).min(MOST),
    }
}

/// After so long without an end, the next one is the first again.
const CALM: Duration = Duration::from_secs(60);
/// One that carried tunnels for so long works, whatever ended it.
const SHORT_LIFE: Duration = Duration::from_secs(5);
const LEAST: Duration = Duration::from_millis(200);
const MOST: Duration = Duration::from_secs(30);
/// Ends in a row that are worth a word even when it runs again.
const REPEATED: u32 = 3;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_started_again_at_once_and_then_ever_later() {
        let (mut losses, start) = (Losses::default(), Instant::now());
        let mut pauses = Vec::new();
        let mut now = start;
        for _ in 0..12 {
            losses.ended(None, now);
            let next = losses.not_before().unwrap();
            pauses.push((next - now).as_millis());
            now = next;
            losses.restarted(now);
        }
        let wanted = [0, 200, 400, 800, 1600, 3200, 6400, 12800, 25600, 30000, 30000, 30000];
        assert_eq!(pauses, wanted);
        assert_eq!(losses.health(now).restarts, 12);
        losses.ended(None, now + CALM);
        assert_eq!(losses.not_before(), Some(now + CALM), "the first of a new row");
    }

    #[test]
    fn one_that_has_worked_for_some_seconds_is_started_again_at_once() {
        let (mut losses, mut now) = (Losses::default(), Instant::now());
        for _ in 0..8 {
            losses.ended(None, now);
            assert_eq!(losses.not_before(), Some(now));
            losses.restarted(now);
            now += SHORT_LIFE;
        }
        losses.ended(None, now);
        losses.ended(None, now);
        assert!(losses.not_before() > Some(now), "a failed start");
    }

    #[test]
    fn what_is_wrong_is_said_while_it_is() {
        let (mut losses, now) = (Losses::default(), Instant::now());
        assert_eq!(losses.health(now), HelperHealth::default());
        for _ in 0..2 {
            losses.ended(Some("by signal 9".to_owned()), now);
        }
        let wanted = "the embedded WireGuard ended 2 times in a row, the last time by signal 9; it is \
                      started again in 1 s";
        assert_eq!(losses.trouble(now).as_deref(), Some(wanted));
        losses.restarted(now);
        assert_eq!(losses.trouble(now), None);
        losses.ended(None, now);
        losses.restarted(now);
        assert!(losses.trouble(now).is_some(), "three times is worth a word");
        assert_eq!(losses.trouble(now + CALM), None);
    }
}

//! Counts what others can cause at will, and bounds how often it is told in words.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::babel;

/// Counters by label.
pub(super) struct Tally {
    values: Mutex<BTreeMap<&'static str, u64>>,
    lines: LineBudget,
}

/// So many log lines a minute, for what others can cause at will.
pub(super) struct LineBudget {
    per_minute: u32,
    spent: Mutex<Spent>,
}

struct Spent {
    since: Instant,
    lines: u32,
}

impl Tally {
    /// Nothing has happened.
    #[must_use]
    pub(super) fn new() -> Self {
        Self { values: Mutex::default(), lines: LineBudget::new(REFUSALS_PER_MINUTE) }
    }

    /// Counts an event.
    pub(super) fn add(&self, label: &'static str) {
        self.add_many(label, 1);
    }

    /// Counts so many.
    pub(super) fn add_many(&self, label: &'static str, number: usize) {
        let mut values = self.values.lock().unwrap_or_else(PoisonError::into_inner);
        *values.entry(label).or_default() += u64::try_from(number).unwrap_or(u64::MAX);
    }

    /// Counts a refusal, and says whether it may be told in a line.
    #[must_use]
    pub(super) fn refuse(&self, label: &'static str) -> bool {
        self.add(label);
        let may = self.lines.take();
        if !may {
            self.add(LINES_SUPPRESSED);
        }
        may
    }

    /// What happened since the start.
    #[must_use]
    pub(super) fn read(&self) -> Vec<(&'static str, u64)> {
        let values = self.values.lock().unwrap_or_else(PoisonError::into_inner);
        values.iter().map(|(label, value)| (*label, *value)).collect()
    }
}

impl LineBudget {
    /// A whole budget.
    #[must_use]
    pub(super) fn new(per_minute: u32) -> Self {
        let spent = Mutex::new(Spent { since: Instant::now(), lines: 0 });
        Self { per_minute, spent }
    }

    /// Whether a line may be logged now; takes it off the budget.
    #[must_use]
    pub(super) fn take(&self) -> bool {
        let mut spent = self.spent.lock().unwrap_or_else(PoisonError::into_inner);
        if spent.since.elapsed() >= Duration::from_secs(60) {
            *spent = Spent { since: Instant::now(), lines: 0 };
        }
        spent.lines = spent.lines.saturating_add(1);
        spent.lines <= self.per_minute
    }
}

/// Whether a counter of any part of the daemon says how often a limit was reached.
#[must_use]
pub(super) fn is_limit(label: &str) -> bool {
    babel::is_limit(label) || LIMITS.contains(&label)
}

/// Label of the log lines that were not written.
pub(super) const LINES_SUPPRESSED: &str = "log_lines_suppressed";
const LIMITS: [&str; 8] = [
    LINES_SUPPRESSED,
    "handshakes_over_limit",
    "refused_full",
    "requests_busy",
    // Of the embedded WireGuard.
    "cookie_asked",
    "handshake_rate",
    "receive_queue_full",
    "send_queue_full",
];
/// Most log lines about refusals in a minute, of each part of the daemon.
pub(super) const REFUSALS_PER_MINUTE: u32 = 30;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_of_refusals_is_counted_whole_and_told_in_part() {
        let tally = Tally::new();
        let told = (0..100).filter(|_| tally.refuse("states_refused")).count();
        assert_eq!(told, REFUSALS_PER_MINUTE as usize);
        assert_eq!(tally.read(), [("log_lines_suppressed", 70), ("states_refused", 100)]);
    }

    #[test]
    fn a_limit_that_was_reached_is_told_from_what_was_dropped() {
        for limit in ["dropped: too many routes", LINES_SUPPRESSED, "refused_full"] {
            assert!(is_limit(limit), "{limit}");
        }
        for other in ["dropped: bad tlv", "requests", "routes"] {
            assert!(!is_limit(other), "{other}");
        }
    }
}

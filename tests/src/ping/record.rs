//! What became of every probe of a flow.

use std::time::Duration;

/// One echo request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Probe {
    /// When it left, on [`crate::clock`].
    pub sent: Duration,
    /// What became of it.
    pub outcome: Outcome,
}

/// What became of a probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Answered after this long.
    Answered(Duration),
    /// No answer, so far.
    Unanswered,
    /// The kernel did not send it: no route, or no such neighbour.
    Refused,
}

impl Probe {
    /// The round-trip time, if an answer came.
    #[must_use]
    pub fn round_trip(&self) -> Option<Duration> {
        match self.outcome {
            Outcome::Answered(time) => Some(time),
            Outcome::Unanswered | Outcome::Refused => None,
        }
    }
}

/// All probes of a flow, in the order they were sent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record {
    /// The probes.
    pub probes: Vec<Probe>,
}

impl Record {
    /// How many probes were not answered.
    #[must_use]
    pub fn lost(&self) -> usize {
        self.probes.iter().filter(|probe| probe.round_trip().is_none()).count()
    }

    /// How many were answered.
    #[must_use]
    pub fn answered(&self) -> usize {
        self.probes.len() - self.lost()
    }

    /// The longest time from the first to the last of consecutive unanswered probes, counted from the answered
    /// probe before them to the answered one after them (or to the record's end); zero if all were answered.
    #[must_use]
    pub fn longest_gap(&self) -> Duration {
        let mut longest = Duration::ZERO;
        let mut gap_start = None;
        let mut last_answered = None;
        for probe in &self.probes {
            if probe.round_trip().is_some() {
                if let Some(start) = gap_start.take() {
                    longest = longest.max(probe.sent.saturating_sub(start));
                }
                last_answered = Some(probe.sent);
            } else if gap_start.is_none() {
                gap_start = Some(last_answered.unwrap_or(probe.sent));
            }
        }
        match (gap_start, self.probes.last()) {
            (Some(start), Some(last)) => longest.max(last.sent.saturating_sub(start)),
            _ => longest,
        }
    }

    /// Round-trip times, shortest first.
    #[must_use]
    pub fn round_trips(&self) -> Vec<Duration> {
        let mut times: Vec<_> = self.probes.iter().filter_map(Probe::round_trip).collect();
        times.sort_unstable();
        times
    }

    /// When the first answer arrived.
    #[must_use]
    pub fn first_answer(&self) -> Option<Duration> {
        let answer = |probe: &Probe| Some(probe.sent + probe.round_trip()?);
        self.probes.iter().filter_map(answer).min()
    }

    /// How many of the last probes were answered, one after the other.
    #[must_use]
    pub fn run_of_answers(&self) -> usize {
        let settled =
            self.probes.iter().rev().skip_while(|probe| probe.outcome == Outcome::Unanswered);
        settled.take_while(|probe| probe.round_trip().is_some()).count()
    }

    /// The same record without what was sent before `time`.
    #[must_use]
    pub fn since(&self, time: Duration) -> Self {
        let probes = self.probes.iter().filter(|probe| probe.sent >= time);
        Self { probes: probes.copied().collect() }
    }

    /// Whether a probe sent at or after `time` was answered.
    #[must_use]
    pub fn answered_since(&self, time: Duration) -> bool {
        self.probes
            .iter()
            .rev()
            .take_while(|probe| probe.sent >= time)
            .any(|probe| probe.round_trip().is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(pattern: &str) -> Record {
        let probe = |(index, letter): (u64, char)| Probe {
            sent: Duration::from_millis(100 * index),
            outcome: match letter {
                '!' => Outcome::Answered(Duration::from_millis(1)),
                '.' => Outcome::Unanswered,
                _ => Outcome::Refused,
            },
        };
        Record { probes: (1..).zip(pattern.chars()).map(probe).collect() }
    }

    #[test]
    fn gaps_reach_from_answer_to_answer() {
        for (pattern, lost, gap) in [
            ("", 0, 0),
            ("!!!!", 0, 0),
            ("!.!", 1, 200),
            ("!..x!!.!", 4, 400),
            ("..!", 2, 200),
            ("!!..", 2, 200),
            ("....", 4, 300),
        ] {
            let record = record(pattern);
            assert_eq!(record.lost(), lost, "{pattern}");
            assert_eq!(record.longest_gap(), Duration::from_millis(gap), "{pattern}");
        }
    }

    #[test]
    fn an_answer_counts_from_when_its_probe_was_sent() {
        let record = record("!!..!.");
        assert!(record.answered_since(Duration::from_millis(500)));
        assert!(!record.answered_since(Duration::from_millis(501)));
    }
}

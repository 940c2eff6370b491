//! Whether a neighbour that is late with its Hello is still there. Its kernel is asked; a few questions
//! cost less than more Hellos for ever, and tell a dead link from a busy program.
//!
//! A kernel that answers speaks for its neighbour for a while. One that has answered before and now does
//! not, although asked several times, is gone, and the link with it. About one that never answered,
//! silence says nothing: there the Hellos alone count, as they do where a link is set to bear many lost ones.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use sixwire_proto::time::Instant;

/// How a late neighbour is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Probing {
    /// Time between two questions.
    pub spacing: Duration,
    /// Questions without an answer after which it is gone.
    pub count: u8,
}

/// What is known of the life of a neighbour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pulse {
    /// When its last Hello came.
    heard: Instant,
    /// Its last sign of life, or the end of questions that told nothing.
    quiet_since: Instant,
    /// Until when its kernel speaks for it.
    held_until: Instant,
    kernel: Kernel,
    questions: Option<Questions>,
    state: State,
}

/// What is known of its kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kernel {
    /// It has not answered yet.
    Unknown {
        /// When it was asked first, of those times that are unanswered.
        asked: Option<Instant>,
        tries: u8,
    },
    /// It answers, within this time.
    Answers { within: Duration },
}

/// Unanswered questions to a late neighbour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Questions {
    first: Instant,
    last: Instant,
    sent: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Alive,
    Gone,
}

/// What a kernel says that has answered before and now does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Silence {
    /// Its neighbour is gone.
    Decides,
    /// Nothing: the history of Hellos decides.
    SaysNothing,
}

/// What a look at a neighbour leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Nothing.
    Wait,
    /// Its kernel is to be asked.
    Ask,
    /// It is gone.
    Gone,
}

impl Pulse {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            heard: now,
            quiet_since: now,
            held_until: now,
            kernel: Kernel::Unknown { asked: None, tries: 0 },
            questions: None,
            state: State::Alive,
        }
    }

    /// A Hello came, the next one in `interval`. A held neighbour is held until then: the Hellos lost before
    /// do not count against it now. Of one that was gone it has to be learnt anew whether its kernel
    /// answers: if that is filtered now, one lost Hello must not be the loss of a link again and again.
    pub(super) fn hear_hello(&mut self, interval: Duration, now: Instant) {
        if self.is_gone() {
            self.kernel = Kernel::Unknown { asked: None, tries: 0 };
        }
        if self.is_held(now) {
            self.held_until = self.held_until.max(now + interval * 2);
        }
        self.heard = now;
        self.quiet_since = now;
        self.questions = None;
        self.state = State::Alive;
    }

    /// Whether a kernel that is not known to answer is to be asked, though nobody is late.
    pub(super) fn introduce(&mut self, now: Instant) -> Verdict {
        match &mut self.kernel {
            Kernel::Unknown { asked, tries } if *tries < MOST_TRIES => {
                asked.get_or_insert(now);
                *tries += 1;
                Verdict::Ask
            }
            Kernel::Unknown { .. } | Kernel::Answers { .. } => Verdict::Wait,
        }
    }

    /// The kernel answered. Which of several questions is unknown: the first, to be safe. It holds a
    /// neighbour whose Hellos come at `interval`, but not for ever.
    pub(super) fn answered(&mut self, interval: Duration, now: Instant) {
        let questions = self.questions.take();
        let before = match self.kernel {
            Kernel::Unknown { asked, .. } => questions.map(|one| one.first).or(asked),
            Kernel::Answers { .. } => questions.map(|one| one.first),
        };
        let Some(first) = before else { return };
        let sample = now.since(first).min(GREATEST_ROUND_TRIP);
        let within = match self.kernel {
            Kernel::Answers { within } => sample.max(within * 7 / 8),
            Kernel::Unknown { .. } => sample,
        };
        self.kernel = Kernel::Answers { within };
        self.quiet_since = now;
        self.held_until = (now + interval * 2).min(self.heard + PATIENCE);
    }

    /// Whether its kernel speaks for it.
    pub(super) fn is_held(&self, now: Instant) -> bool {
        now < self.held_until && !self.is_gone()
    }

    /// Until when it does.
    pub(super) fn held_until(&self) -> Instant {
        self.held_until
    }

    /// Whether neither it nor its kernel says anything any more.
    pub(super) fn is_gone(&self) -> bool {
        self.state == State::Gone
    }

    /// When to look next at a neighbour whose Hellos come at `interval`; zero if they come as they like.
    pub(super) fn due(&self, interval: Duration, probing: Probing) -> Option<Instant> {
        if self.is_gone() || interval.is_zero() {
            return None;
        }
        Some(match self.questions {
            None => self.quiet_since + interval * 17 / 16,
            Some(questions) if questions.sent < probing.count => questions.last + probing.spacing,
            Some(questions) => questions.last + self.patience(probing),
        })
    }

    /// Looks whether it is late, or has not answered.
    pub(super) fn look(
        &mut self,
        interval: Duration,
        (probing, silence): (Probing, Silence),
        now: Instant,
    ) -> Verdict {
        if self.due(interval, probing).is_none_or(|due| due > now) {
            return Verdict::Wait;
        }
        match (&mut self.questions, self.kernel) {
            (None, _) => {
                self.questions = Some(Questions { first: now, last: now, sent: 1 });
                Verdict::Ask
            }
            (Some(questions), _) if questions.sent < probing.count => {
                questions.last = now;
                questions.sent += 1;
                Verdict::Ask
            }
            (Some(_), Kernel::Answers { .. }) if silence == Silence::Decides => {
                self.questions = None;
                self.state = State::Gone;
                Verdict::Gone
            }
            (Some(_), Kernel::Unknown { .. } | Kernel::Answers { .. }) => {
                self.questions = None;
                self.quiet_since = now;
                Verdict::Wait
            }
        }
    }

    /// How long to wait for an answer to the last question: twice as long as any took lately.
    fn patience(&self, probing: Probing) -> Duration {
        match self.kernel {
            Kernel::Answers { within } => probing.spacing.max(within * 2),
            Kernel::Unknown { .. } => probing.spacing,
        }
    }
}

/// A neighbour may be silent that long while its kernel answers: the restart of a program, or of a
/// machine's control plane. Its routes expire at about the same time (RFC 8966 appendix B).
const PATIENCE: Duration = Duration::from_secs(45);
/// How often a kernel is asked before it counts as one that answers nobody.
const MOST_TRIES: u8 = 5;
/// An answer that takes longer is not waited for.
const GREATEST_ROUND_TRIP: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests;

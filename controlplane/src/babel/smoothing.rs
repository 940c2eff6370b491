//! Hysteresis against metrics that go to and fro (RFC 8966 §A.3): a smoothed copy of what changes, which
//! route selection asks beside the true value before it leaves a working route.
//!
//! A metric that changes once, or goes one way, has changed for good: its smoothed copy follows at once.
//! After some turns it is noise, and the copy follows with the half-life.

use std::collections::BTreeMap;
use std::time::Duration;

use sixwire_proto::metric::{Cost, Metric};
use sixwire_proto::time::Instant;

use super::Babel;
use super::neighbour::NeighbourId;
use super::route::{EntryId, Route};

/// Smoothed copies of the cost of a neighbour's link, and of those of its metrics that change.
#[derive(Debug, Default)]
pub(super) struct Smoothing {
    cost: Option<Trend>,
    metrics: BTreeMap<EntryId, Trend>,
}

impl Smoothing {
    /// The cost has changed.
    pub(super) fn cost_changed(&mut self, from: Cost, to: Cost, at: Moment) {
        if !from.is_finite() || !to.is_finite() {
            self.cost = None;
            return;
        }
        self.cost.get_or_insert_with(|| Trend::new(from.0, at)).follow(to.0, at);
    }

    /// A metric has changed. Beyond [`MOST_TRENDS`], it is not smoothed.
    pub(super) fn metric_changed(&mut self, id: EntryId, (from, to): (Metric, Metric), at: Moment) {
        if from == to {
            return;
        }
        if self.metrics.len() >= MOST_TRENDS && !self.metrics.contains_key(&id) {
            self.metrics.retain(|_, trend| !trend.is_over(at));
            if self.metrics.len() >= MOST_TRENDS {
                return;
            }
        }
        self.metrics.entry(id).or_insert_with(|| Trend::new(from.0, at)).follow(to.0, at);
    }

    /// A route is gone: another one for the prefix starts anew.
    pub(super) fn forget(&mut self, id: EntryId) {
        self.metrics.remove(&id);
    }

    /// The cost has changed for good: it is wanted so.
    pub(super) fn forget_cost(&mut self) {
        self.cost = None;
    }

    /// The smoothed metric by a route of this neighbour.
    fn metric(&self, (id, route): (EntryId, &Route), cost: Cost, at: Moment) -> Metric {
        let refmetric = self.metrics.get(&id).map_or(route.refmetric, |one| Metric(one.value(at)));
        refmetric + self.cost.map_or(cost, |one| Cost(one.value(at)))
    }
}

/// A value that changes, and its smoothed copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Trend {
    value: u16,
    since: Instant,
    /// The copy at that time.
    smoothed: u16,
    course: Course,
    /// How often the course has turned.
    turns: u8,
}

/// Where a value went last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Course {
    Up,
    Down,
    Nowhere,
}

/// A time, and how fast copies follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Moment {
    pub(super) now: Instant,
    pub(super) half_life: Duration,
}

impl Trend {
    fn new(value: u16, at: Moment) -> Self {
        Self { value, since: at.now, smoothed: value, course: Course::Nowhere, turns: 0 }
    }

    /// The value has changed.
    fn follow(&mut self, value: u16, at: Moment) {
        let course = match value.cmp(&self.value) {
            std::cmp::Ordering::Less => Course::Down,
            std::cmp::Ordering::Equal => return,
            std::cmp::Ordering::Greater => Course::Up,
        };
        let turned = self.course != Course::Nowhere && self.course != course;
        let before = if self.is_over(at) { 0 } else { self.turns };
        let turns = before.saturating_add(u8::from(turned));
        let smoothed = if turns < TOLERATED_TURNS { value } else { self.value(at) };
        *self = Self { value, since: at.now, smoothed, course, turns };
    }

    /// The smoothed copy: its distance to the value halves with every half-life.
    fn value(&self, at: Moment) -> u16 {
        let half_life = at.half_life.as_micros().max(1);
        let elapsed = at.now.since(self.since).as_micros();
        let halvings = u32::try_from(elapsed / half_life).unwrap_or(u32::MAX);
        let distance = i64::from(self.smoothed) - i64::from(self.value);
        let left = distance / (1 << halvings.min(32));
        // Between two halvings, straight from one to the next.
        let part = i64::try_from((elapsed % half_life) * 256 / half_life).unwrap_or_default();
        let left = left - left * part / 512;
        u16::try_from(i64::from(self.value) + left).unwrap_or(self.value)
    }

    /// Whether it has been quiet long enough for the past to be forgotten.
    fn is_over(&self, at: Moment) -> bool {
        at.now.since(self.since) >= at.half_life * MEMORY
    }
}

impl Babel {
    /// The metric by a route as it has been on average.
    pub(super) fn smoothed_metric(&self, id: EntryId, route: &Route) -> Metric {
        let Some(neighbour) = self.neighbours.get(route.neighbour) else {
            return Metric::INFINITY;
        };
        neighbour.smoothing.metric((id, route), neighbour.cost, self.moment())
    }

    /// Notes that a neighbour announces a route with another metric than before.
    pub(super) fn smooth(&mut self, id: EntryId, before: &Route, after: &Route) {
        let at = self.moment();
        if let Some(neighbour) = self.neighbours.get_mut(after.neighbour) {
            let metrics = (before.refmetric, after.refmetric);
            neighbour.smoothing.metric_changed(id, metrics, at);
        }
    }

    /// Notes that a route is gone.
    pub(super) fn unsmooth(&mut self, id: EntryId, neighbour: NeighbourId) {
        if let Some(neighbour) = self.neighbours.get_mut(neighbour) {
            neighbour.smoothing.forget(id);
        }
    }

    /// When a route that only its past speaks against is looked at again.
    pub(super) fn reconsider_at(&self) -> Instant {
        self.now + self.params.hello_interval / 2
    }

    pub(super) fn moment(&self) -> Moment {
        let half_life = self.params.hello_interval * HELLOS_PER_HALF_LIFE;
        Moment { now: self.now, half_life }
    }
}

/// A time constant of three Hello intervals (RFC 8966 §A.3) is a half-life of about two.
const HELLOS_PER_HALF_LIFE: u32 = 2;
/// Turns a value may take and still be followed at once: three failures and their repairs.
const TOLERATED_TURNS: u8 = 6;
/// Half-lives without a change after which the past is forgotten.
const MEMORY: u32 = 4;
/// Metrics of one neighbour that are smoothed.
const MOST_TRENDS: usize = 10_000;

#[cfg(test)]
mod tests;

//! Feasibility distances (RFC 8966 §3.5.1, §3.7.3).

use std::time::Duration;

use sixwire_proto::metric::Metric;
use sixwire_proto::router_id::RouterId;
use sixwire_proto::seqno::Seqno;
use sixwire_proto::time::Instant;

use super::wheel::Tick;

/// A pair compared by seqno first, newer being better, then by metric, smaller being better.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Distance {
    pub(super) seqno: Seqno,
    pub(super) metric: Metric,
}

impl Distance {
    /// Strictly better (RFC 8966 §3.5.1).
    pub(super) fn is_better_than(self, other: Self) -> bool {
        self.seqno.is_newer_than(other.seqno)
            || (self.seqno == other.seqno && self.metric < other.metric)
    }
}

/// The best distance ever announced for one prefix under one router-id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Source {
    pub(super) router_id: RouterId,
    pub(super) distance: Distance,
    /// When it may be forgotten.
    expires: Tick,
}

impl Source {
    /// A new entry for an announcement sent now, which others hold for so long.
    pub(super) fn new(
        router_id: RouterId,
        distance: Distance,
        now: Instant,
        held: Duration,
    ) -> Self {
        Self { router_id, distance, expires: Tick::covering(now + held.max(GC_TIME)) }
    }

    /// Enters a finite announcement that is newer (RFC 8966 §3.7.3). What was announced for longer before
    /// keeps its time.
    pub(super) fn announce(&mut self, newer: &Self) {
        if newer.distance.is_better_than(self.distance) {
            self.distance = newer.distance;
        }
        self.expires = self.expires.max(newer.expires);
    }

    /// When it may be forgotten.
    pub(super) fn expires(&self) -> Instant {
        self.expires.instant()
    }
}

/// The entry of a router-id among the sources of a prefix.
pub(super) fn of(sources: &[Source], router_id: RouterId) -> Option<&Source> {
    sources.iter().find(|source| source.router_id == router_id)
}

/// The feasibility condition for a finite distance (RFC 8966 §3.5.1).
pub(super) fn is_feasible(sources: &[Source], router_id: RouterId, distance: Distance) -> bool {
    of(sources, router_id).is_none_or(|source| distance.is_better_than(source.distance))
}

/// Source GC time (RFC 8966 appendix B), at the least: a neighbour may use a route for as long as it holds
/// it, and without our distance we could choose a way that leads back through it.
const GC_TIME: Duration = Duration::from_mins(3);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn distance(seqno: u16, metric: u16) -> Distance {
        Distance { seqno: Seqno(seqno), metric: Metric(metric) }
    }

    fn source(distance: Distance, micros: u64) -> Source {
        Source::new(id(1), distance, Instant(micros), Duration::ZERO)
    }

    fn id(last: u8) -> RouterId {
        RouterId::new([1, 1, 1, 1, 1, 1, 1, last]).unwrap()
    }

    #[test]
    fn only_a_newer_seqno_or_an_equal_one_with_a_smaller_metric_is_feasible() {
        let sources = [source(distance(10, 300), 0)];
        for (seqno, metric, feasible) in [
            (10, 299, true),
            (10, 300, false),
            (10, 301, false),
            (11, 60_000, true),
            (9, 1, false),
            (10 + 0x7fff, 60_000, true),
            (10 + 0x8000, 1, false),
        ] {
            assert_eq!(is_feasible(&sources, id(1), distance(seqno, metric)), feasible, "{seqno}");
        }
        assert!(is_feasible(&sources, id(2), distance(0, 60_000)), "no distance, no condition");
    }

    #[test]
    fn an_announcement_only_ever_improves_the_distance() {
        let mut known = source(distance(0xffff, 300), 0);
        known.announce(&source(distance(0xffff, 400), 1));
        assert_eq!(known.distance, distance(0xffff, 300));
        known.announce(&source(distance(0, 400), 2));
        assert_eq!(known.distance, distance(0, 400));
        known.announce(&source(distance(0xffff, 1), 3));
        assert_eq!(known.distance, distance(0, 400));
        assert!(known.expires() >= Instant(3) + GC_TIME);
    }

    #[test]
    fn a_distance_is_kept_as_long_as_anybody_may_hold_what_was_announced() {
        let announced = |seconds: u64, held| {
            let now = Instant(seconds * 1_000_000);
            Source::new(id(1), distance(10, 300), now, Duration::from_secs(held))
        };
        let lives = |source: &Source| source.expires().since(Instant(0)).as_secs();
        assert_eq!(lives(&announced(0, 1)), 180);
        let mut source = announced(0, 1050);
        assert_eq!(lives(&source), 1050);
        source.announce(&announced(100, 70));
        assert_eq!(lives(&source), 1050);
        source.announce(&announced(1000, 70));
        assert_eq!(lives(&source), 1180);
    }

    proptest! {
        #[test]
        fn nothing_announced_is_feasible_afterwards(
            start in any::<u16>(),
            sent in proptest::collection::vec((0_u16..8, 0_u16..1000), 1..20),
        ) {
            let at = |(seqno, metric): (u16, u16)| distance(start.wrapping_add(seqno), metric);
            let mut known = source(at(sent[0]), 0);
            for pair in &sent {
                known.announce(&source(at(*pair), 0));
            }
            let best = sent.iter().copied().min_by_key(|(s, m)| (u16::MAX - s, *m)).unwrap();
            prop_assert_eq!(known.distance, at(best));
            for pair in sent {
                prop_assert!(!is_feasible(&[known], id(1), at(pair)));
            }
        }
    }
}

//! What happened, in numbers, and a bound on how often it is told in words.

use std::sync::atomic::{AtomicU64, Ordering};

use sixwire_proto::peer::Refusal;

use crate::daemon::tally::{LineBudget, REFUSALS_PER_MINUTE};

/// An event that is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Count {
    Accepted,
    Dialled,
    HandshakeFailed,
    HandshakeTimedOut,
    HandshakeOverLimit,
    RetrySent,
    RefusedNoHello,
    RefusedMalformed,
    RefusedProtocol,
    RefusedCertificate,
    RefusedOwnKey,
    RefusedFull,
    UnexpectedNode,
    RejectedByUs,
    RefusedByPeer,
    Replaced,
    Evicted,
    NoLongerAdmitted,
    Stale,
    Request,
    RequestMalformed,
    RequestBusy,
    RequestUnanswered,
    Call,
    CallFailed,
    EventDropped,
    LineSuppressed,
}

/// Counters and the budget of log lines.
pub(super) struct Counters {
    values: [AtomicU64; LABELS.len()],
    lines: LineBudget,
}

impl Counters {
    pub(super) fn new() -> Self {
        Self {
            values: std::array::from_fn(|_| AtomicU64::new(0)),
            lines: LineBudget::new(REFUSALS_PER_MINUTE),
        }
    }

    pub(super) fn add(&self, count: Count) {
        self.values[count as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn read(&self) -> Vec<(&'static str, u64)> {
        LABELS.iter().zip(&self.values).map(|(l, v)| (*l, v.load(Ordering::Relaxed))).collect()
    }

    /// Whether a line may be logged now. A stranger can cause refusals at will, lines only up to
    /// [`REFUSALS_PER_MINUTE`].
    pub(super) fn may_log(&self) -> bool {
        let may = self.lines.take();
        if !may {
            self.add(Count::LineSuppressed);
        }
        may
    }
}

impl Count {
    /// The counter of peers refused for this reason.
    pub(super) fn of(refusal: Refusal) -> Self {
        match refusal {
            Refusal::NoHello => Self::RefusedNoHello,
            Refusal::Protocol => Self::RefusedProtocol,
            Refusal::Certificate => Self::RefusedCertificate,
            Refusal::OwnRequest => Self::RefusedOwnKey,
            Refusal::Busy => Self::RefusedFull,
            Refusal::Malformed
            | Refusal::Full
            | Refusal::Glare
            | Refusal::DialOnly
            | Refusal::Stopping
            | Refusal::Other => Self::RefusedMalformed,
        }
    }
}

/// In the order of [`Count`].
const LABELS: [&str; Count::LineSuppressed as usize + 1] = [
    "connections_accepted",
    "connections_dialled",
    "handshakes_failed",
    "handshakes_timed_out",
    "handshakes_over_limit",
    "retries_sent",
    "refused_no_hello",
    "refused_malformed",
    "refused_protocol",
    "refused_certificate",
    "refused_own_key",
    "refused_full",
    "dialled_unexpected_node",
    "dialled_rejected",
    "dialled_refused_by_peer",
    "connections_replaced",
    "connections_evicted",
    "connections_no_longer_admitted",
    "connections_stale",
    "requests",
    "requests_malformed",
    "requests_busy",
    "requests_unanswered",
    "calls",
    "calls_failed",
    "events_dropped",
    "log_lines_suppressed",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_of_refusals_writes_a_bounded_number_of_lines() {
        let counters = Counters::new();
        let logged = (0..100).filter(|_| counters.may_log()).count();
        assert_eq!(logged, REFUSALS_PER_MINUTE as usize);
        assert!(counters.read().contains(&("log_lines_suppressed", 70)));
    }
}

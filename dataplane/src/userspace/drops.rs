//! What does not get through, counted by reason.

use std::sync::atomic::{AtomicU64, Ordering};

/// Why a packet or a datagram went no further.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Loss {
    /// A packet to an address that no peer has.
    NoPeer,
    /// A datagram of our own that was to go into the tunnel that it came from.
    Loop,
    /// A packet to a peer of whom nobody knows where it is.
    NoEndpoint,
    /// A packet that waited for a session in vain, or had no place to wait in.
    NoSession,
    /// What the kernel handed over does not fit what it said about it.
    Malformed,
    /// The kernel took no more datagrams for the moment.
    SendQueueFull,
    /// The kernel refused a datagram: no route, too long, no address to send from.
    SendRefused,
    /// Datagrams that came faster than they were taken.
    ReceiveQueueFull,
    /// A datagram that no peer can have sent, or whose peer has no key here.
    Stranger,
    /// A handshake that was answered with a cookie, for there were too many.
    CookieAsked,
    /// A handshake of a source that starts too many.
    HandshakeRate,
    /// A datagram that its sender's keys do not open.
    NotAuthentic,
    /// A datagram of a session that is over, or not known.
    UnknownSession,
    /// A datagram that came before, or much too late.
    Replayed,
    /// A packet from an address that its sender may not use.
    ForeignSource,
    /// A packet that the interface refused: it is switched off, or it is no packet.
    DeliveryRefused,
}

/// How many, by reason.
#[derive(Debug, Default)]
pub(super) struct Drops([AtomicU64; REASONS.len()]);

impl Drops {
    /// Counts one.
    pub(super) fn one(&self, loss: Loss) {
        self.many(loss, 1);
    }

    /// Counts so many.
    pub(super) fn many(&self, loss: Loss, count: u64) {
        if let Some(place) = REASONS.iter().position(|(reason, _)| *reason == loss) {
            // Read for people only; the order does not matter.
            self.0[place].fetch_add(count, Ordering::Relaxed);
        }
    }

    /// Those that happened, with their names.
    pub(super) fn counts(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let counts = REASONS.iter().zip(&self.0);
        counts
            .map(|((_, name), count)| (*name, count.load(Ordering::Relaxed)))
            .filter(|(_, count)| *count > 0)
    }
}

/// All reasons, and what they are called.
const REASONS: [(Loss, &str); 16] = [
    (Loss::NoPeer, "no_peer"),
    (Loss::Loop, "loop"),
    (Loss::NoEndpoint, "no_endpoint"),
    (Loss::NoSession, "no_session"),
    (Loss::Malformed, "malformed"),
    (Loss::SendQueueFull, "send_queue_full"),
    (Loss::SendRefused, "send_refused"),
    (Loss::ReceiveQueueFull, "receive_queue_full"),
    (Loss::Stranger, "stranger"),
    (Loss::CookieAsked, "cookie_asked"),
    (Loss::HandshakeRate, "handshake_rate"),
    (Loss::NotAuthentic, "not_authentic"),
    (Loss::UnknownSession, "unknown_session"),
    (Loss::Replayed, "replayed"),
    (Loss::ForeignSource, "foreign_source"),
    (Loss::DeliveryRefused, "delivery_refused"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_its_own_count() {
        let drops = Drops::default();
        for (count, (loss, _)) in (1..).zip(REASONS) {
            drops.many(loss, count);
        }
        drops.one(Loss::NoPeer);
        let counts: Vec<_> = drops.counts().map(|(_, count)| count).collect();
        let others: Vec<u64> = (2..).take(REASONS.len() - 1).collect();
        assert_eq!(counts, [[2].as_slice(), &others].concat());
    }
}

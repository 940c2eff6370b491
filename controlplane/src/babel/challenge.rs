//! Challenges: how a neighbour proves that what it says was not said before (RFC 8967 §4.3.1).

use std::time::Duration;

use sixwire_proto::seed::Seed;
use sixwire_proto::time::Instant;

/// Eight octets that no other challenge of ours has. They need not be secret, only new: nobody without
/// a key can put them into a reply (RFC 8967 §7). The seed gives none twice.
pub(super) type Nonce = [u8; 8];

/// The challenges between us and one neighbour.
#[derive(Clone, Copy, Debug)]
pub(super) struct Challenges {
    /// Ours that waits for its reply, and until when that counts.
    pending: Option<(Nonce, Instant)>,
    /// Before this, it is not challenged again.
    next_request: Instant,
    /// Before this, its challenges are not replied to again.
    next_reply: Instant,
}

impl Challenges {
    /// None so far.
    pub(super) fn none(now: Instant) -> Self {
        Self { pending: None, next_request: now, next_reply: now }
    }

    /// The nonce to challenge the neighbour with, unless that was done just now. A challenge that still
    /// counts is repeated: with a new nonce each time, a link slower than the rate limit would never
    /// see its reply in time.
    pub(super) fn request(&mut self, now: Instant, seed: &mut Seed) -> Option<Nonce> {
        if now < self.next_request {
            return None;
        }
        self.next_request = now + CHALLENGE_GAP;
        let pending = self.pending.filter(|(_, expires)| now < *expires);
        let (nonce, _) = *self.pending.insert(
            pending.unwrap_or_else(|| (seed.next_u64().to_be_bytes(), now + CHALLENGE_LIFE)),
        );
        Some(nonce)
    }

    /// Whether a challenge of the neighbour is to be replied to; then not again for a while.
    pub(super) fn take_reply(&mut self, now: Instant) -> bool {
        let free = now >= self.next_reply;
        if free {
            self.next_reply = now + CHALLENGE_GAP;
        }
        free
    }

    /// Whether a reply is the one that was waited for; if so, none is any more (RFC 8967 §4.3.1.3).
    pub(super) fn is_passed_by(&mut self, reply: &[u8], now: Instant) -> bool {
        let passed = self.pending.is_some_and(|(nonce, expires)| now < expires && nonce == *reply);
        if passed {
            self.pending = None;
        }
        passed
    }

    /// Whether a reply is waited for.
    pub(super) fn is_pending(&self, now: Instant) -> bool {
        self.pending.is_some_and(|(_, expires)| now < expires)
    }
}

/// Time between two challenges, and between two replies, to one neighbour (RFC 8967 §4.3.1.1,
/// §4.3.1.2).
const CHALLENGE_GAP: Duration = Duration::from_millis(300);
/// How long a reply counts (RFC 8967 §4.3.1.1).
const CHALLENGE_LIFE: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use super::*;

    const START: Instant = Instant(1_000_000);

    fn at(millis: u64) -> Instant {
        START + Duration::from_millis(millis)
    }

    #[test]
    fn requests_are_limited_and_repeat_a_nonce_while_it_counts() {
        let (mut challenges, mut seed) = (Challenges::none(START), Seed::new(1));
        let first = challenges.request(at(0), &mut seed).unwrap();
        assert_eq!(challenges.request(at(299), &mut seed), None);
        assert_eq!(challenges.request(at(300), &mut seed), Some(first));
        let later = challenges.request(at(30_000), &mut seed).unwrap();
        assert_ne!(later, first);
        assert!(!challenges.is_passed_by(&first, at(30_001)));
        assert!(challenges.is_passed_by(&later, at(30_001)));
    }

    #[test]
    fn a_reply_passes_once_and_within_thirty_seconds() {
        let (mut challenges, mut seed) = (Challenges::none(START), Seed::new(1));
        assert!(!challenges.is_passed_by(&[], at(0)), "nothing is waited for");
        let nonce = challenges.request(at(0), &mut seed).unwrap();
        assert!(!challenges.is_passed_by(&nonce[1..], at(1)));
        assert!(!challenges.is_passed_by(&[&nonce[..], &[0]].concat(), at(1)));
        assert!(challenges.is_pending(at(29_999)));
        assert!(!challenges.is_passed_by(&nonce, at(30_000)));
        assert!(challenges.is_passed_by(&nonce, at(29_999)));
        assert!(!challenges.is_passed_by(&nonce, at(29_999)));
    }

    #[test]
    fn replies_are_limited() {
        let mut challenges = Challenges::none(START);
        assert!(challenges.take_reply(at(0)));
        assert!(!challenges.take_reply(at(299)));
        assert!(challenges.take_reply(at(300)));
    }
}

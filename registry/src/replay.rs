//! Replays: a signed call counts once.
//!
//! Remembered in memory only. After a restart a call of the last minutes could be made again by
//! whoever saw it inside TLS; every call is harmless to repeat.

use std::collections::BTreeMap;
use std::time::Duration;

use sixwire_proto::keys::PublicKey;
use sixwire_proto::registry::{CLOCK_TOLERANCE_S, CallSignature};
use sixwire_proto::time::Timestamp;

use crate::refusal::Refusal;

/// Nonces of the calls that could still be repeated.
#[derive(Debug, Default)]
pub struct Replays {
    nodes: BTreeMap<PublicKey, BTreeMap<[u8; 16], Timestamp>>,
}

/// Most calls of one node whose time is within the tolerance: one a second or so.
pub const CALL_LIMIT: usize = 600;
/// Most nodes remembered at once.
pub const NODE_LIMIT: usize = 65_536;

impl Replays {
    /// Whether a call of this time may be looked at, by the clock alone.
    ///
    /// # Errors
    /// [`Refusal::Clock`].
    pub fn check_clock(call: &CallSignature, now: Timestamp) -> Result<(), Refusal> {
        if call.time.0.abs_diff(now.0) > CLOCK_TOLERANCE_S {
            return Err(Refusal::Clock { call: call.time, now });
        }
        Ok(())
    }

    /// Remembers a call whose signature holds and whose node is certified.
    ///
    /// # Errors
    /// [`Refusal::Clock`], [`Refusal::Replayed`], and [`Refusal::Busy`] at a limit.
    pub fn admit(&mut self, call: &CallSignature, now: Timestamp) -> Result<(), Refusal> {
        Self::check_clock(call, now)?;
        let oldest = now.0.saturating_sub(CLOCK_TOLERANCE_S);
        if self.nodes.len() >= NODE_LIMIT && !self.nodes.contains_key(&call.key) {
            self.nodes.retain(|_, calls| calls.values().any(|time| time.0 >= oldest));
            if self.nodes.len() >= NODE_LIMIT {
                return Err(BUSY);
            }
        }
        let calls = self.nodes.entry(call.key).or_default();
        if calls.get(&call.nonce).is_some_and(|time| time.0 >= oldest) {
            return Err(Refusal::Replayed);
        }
        if calls.len() >= CALL_LIMIT {
            calls.retain(|_, time| time.0 >= oldest);
            if calls.len() >= CALL_LIMIT {
                return Err(BUSY);
            }
        }
        calls.insert(call.nonce, call.time);
        Ok(())
    }
}

const BUSY: Refusal = Refusal::Busy(Duration::from_secs(CLOCK_TOLERANCE_S));

#[cfg(test)]
mod tests {
    use super::*;
    use sixwire_proto::keys::SecretKey;
    use sixwire_proto::registry::Call;

    const NOW: Timestamp = Timestamp(1_000_000);

    fn call(node: u8, time: u64, nonce: u64) -> CallSignature {
        let mut octets = [0; 16];
        octets[..8].copy_from_slice(&nonce.to_be_bytes());
        Call { method: "GET", path: "/", body: b"" }.sign(
            &SecretKey::from_octets(&[node; 32]),
            Timestamp(time),
            octets,
        )
    }

    #[test]
    fn a_call_counts_once_for_each_node() {
        let mut replays = Replays::default();
        assert_eq!(replays.admit(&call(1, NOW.0, 7), NOW), Ok(()));
        assert_eq!(replays.admit(&call(1, NOW.0, 7), NOW), Err(Refusal::Replayed));
        assert_eq!(replays.admit(&call(1, NOW.0, 8), NOW), Ok(()));
        assert_eq!(replays.admit(&call(2, NOW.0, 7), NOW), Ok(()));
    }

    #[test]
    fn a_call_too_far_from_now_is_refused_in_both_directions() {
        for (time, fits) in [
            (NOW.0 - CLOCK_TOLERANCE_S, true),
            (NOW.0 + CLOCK_TOLERANCE_S, true),
            (NOW.0 - CLOCK_TOLERANCE_S - 1, false),
            (NOW.0 + CLOCK_TOLERANCE_S + 1, false),
        ] {
            let verdict = Replays::default().admit(&call(1, time, 1), NOW);
            assert_eq!(verdict.is_ok(), fits, "{time}: {verdict:?}");
        }
    }

    #[test]
    fn one_node_cannot_fill_the_memory_and_is_served_again_later() {
        let mut replays = Replays::default();
        let first = call(1, NOW.0, 0);
        let signed = |nonce: u64| {
            let mut other = first.clone();
            other.nonce[..8].copy_from_slice(&nonce.to_be_bytes());
            other
        };
        for nonce in 0..CALL_LIMIT as u64 {
            assert_eq!(replays.admit(&signed(nonce), NOW), Ok(()));
        }
        assert_eq!(replays.admit(&signed(u64::MAX), NOW), Err(BUSY));
        assert_eq!(replays.admit(&call(2, NOW.0, 0), NOW), Ok(()));
        let later = Timestamp(NOW.0 + CLOCK_TOLERANCE_S + 1);
        assert_eq!(replays.admit(&call(1, later.0, 1), later), Ok(()));
    }
}

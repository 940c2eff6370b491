//! Sessions that outlive the keys they were made with. As the kernel has it, a new preshared key holds
//! from the next handshake on and the session goes on until then; a new private key ends sending at
//! once, but what is under way still arrives.

use std::time::Duration;

use defguard_boringtun::noise::{Tunn, TunnResult};
use tokio::time::Instant;

/// Which key has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum KeyChange {
    Private,
    Preshared,
}

/// Sessions of before a change of keys. No handshake is made with them any more.
pub(super) struct Former {
    tunnel: Tunn,
    change: KeyChange,
    until: Instant,
}

impl Former {
    /// What is left of `before`; if it has no session, of what was `earlier` left already.
    pub(super) fn of(
        before: Option<Tunn>,
        earlier: Option<Self>,
        change: KeyChange,
    ) -> Option<Self> {
        let session = before.and_then(|tunnel| Some((tunnel.time_since_last_handshake()?, tunnel)));
        let Some((age, tunnel)) = session else {
            let also = |earlier: Self| match change {
                KeyChange::Private => Self { change, ..earlier },
                KeyChange::Preshared => earlier,
            };
            return earlier.map(also);
        };
        Some(Self { tunnel, change, until: Instant::now() + LIFETIME.saturating_sub(age) })
    }

    /// Whether it is of use any more.
    pub(super) fn lives(&self, now: Instant) -> bool {
        now < self.until
    }

    /// Whether another session is to be made while this one still carries packets.
    pub(super) fn wants_successor(&self) -> bool {
        self.change == KeyChange::Preshared
    }

    /// What to send with as long as `successor` has no session.
    pub(super) fn sender(&mut self, successor: &Tunn, now: Instant) -> Option<&mut Tunn> {
        let sends = self.change == KeyChange::Preshared
            && self.lives(now)
            && self.tunnel.time_since_last_handshake().is_some()
            && successor.time_since_last_handshake().is_none();
        sends.then_some(&mut self.tunnel)
    }

    /// Opens a data datagram; the length of the packet in it, 0 for a keepalive.
    pub(super) fn open(
        &mut self,
        datagram: &[u8],
        buffer: &mut [u8],
        now: Instant,
    ) -> Option<usize> {
        if !self.lives(now) || datagram.first() != Some(&4) {
            return None;
        }
        match self.tunnel.decapsulate(None, datagram, buffer) {
            TunnResult::Done => Some(0),
            TunnResult::WriteToTunnelV4(packet, _) | TunnResult::WriteToTunnelV6(packet, _) => {
                Some(packet.len())
            }
            TunnResult::WriteToNetwork(_) | TunnResult::Err(_) => None,
        }
    }
}

/// Of a session (the WireGuard paper's Reject-After-Time).
const LIFETIME: Duration = Duration::from_secs(180);

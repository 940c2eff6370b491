//! A peer of a device: its configuration, its sessions, its counters.

use std::sync::Arc;
use std::time::Duration;

use defguard_boringtun::noise::errors::WireGuardError;
use defguard_boringtun::noise::rate_limiter::RateLimiter;
use defguard_boringtun::noise::{Tunn, TunnResult};
use defguard_boringtun::x25519::{PublicKey, StaticSecret};
use sixwire_proto::keys::{PresharedKey, WgPublicKey};
use tokio::time::Instant;

use super::drops::{Drops, Loss};
use super::ecn;
use super::endpoint::Endpoint;
use super::former::{Former, KeyChange};
use super::outbox::Outbox;

/// A peer. Without a private key of the device it has no session, and nothing passes.
pub(super) struct Peer {
    pub(super) key: WgPublicKey,
    pub(super) preshared_key: Option<PresharedKey>,
    pub(super) endpoint: Option<Endpoint>,
    /// Seconds; 0 for none.
    pub(super) keepalive: u16,
    pub(super) rx_bytes: u64,
    pub(super) tx_bytes: u64,
    tunnel: Option<Tunn>,
    /// Sessions of before the last change of keys.
    former: Option<Former>,
    last_handshake: Option<Duration>,
    /// When the last packet passed, either way; `None` asks for one at once.
    last_packet: Option<Instant>,
    /// Packets that wait for a session.
    waiting: usize,
    /// A handshake was asked for, and nothing has come since.
    asked: bool,
    /// Its endpoint changed by itself.
    has_moved: bool,
    drops: Arc<Drops>,
}

/// What a device gives each of its peers.
pub(super) struct Identity {
    pub(super) secret: StaticSecret,
    pub(super) public: PublicKey,
    pub(super) limiter: Arc<RateLimiter>,
}

/// What a datagram was.
pub(super) enum Opened {
    /// A packet of that many octets.
    Packet(usize),
    /// Something of WireGuard's own, and it was the peer who sent it.
    Authentic,
    /// Nothing that proves its sender.
    Nothing,
}

impl Peer {
    pub(super) fn new(key: WgPublicKey, drops: Arc<Drops>) -> Self {
        Self {
            key,
            preshared_key: None,
            endpoint: None,
            keepalive: 0,
            rx_bytes: 0,
            tx_bytes: 0,
            tunnel: None,
            former: None,
            last_handshake: None,
            last_packet: None,
            waiting: 0,
            asked: false,
            has_moved: false,
            drops,
        }
    }

    /// Works with other keys from the next handshake on.
    pub(super) fn renew(&mut self, identity: Option<&Identity>, slot: u32, change: KeyChange) {
        self.last_handshake = self.last_handshake();
        self.lose_waiting();
        let successor = identity.map(|identity| {
            Tunn::new(
                identity.secret.clone(),
                PublicKey::from(self.key.0),
                self.preshared_key.as_ref().map(|key| *key.octets()),
                // The library could not change it later: we keep it.
                None,
                slot,
                Some(Arc::clone(&identity.limiter)),
            )
        });
        let before = std::mem::replace(&mut self.tunnel, successor);
        self.former = Former::of(before, self.former.take(), change);
    }

    /// Sends a keepalive soon.
    pub(super) fn speak_up(&mut self) {
        self.last_packet = None;
    }

    /// Lets the kernel choose what to send from.
    pub(super) fn forget_source(&mut self) {
        self.endpoint = self.endpoint.map(|endpoint| Endpoint { from: None, ..endpoint });
    }

    /// Whether it was seen elsewhere since the last time this was asked.
    pub(super) fn has_moved(&mut self) -> bool {
        std::mem::take(&mut self.has_moved)
    }

    /// Encrypts a packet; without a session it waits for one.
    pub(super) fn seal(&mut self, packet: &[u8], outbox: &mut Outbox, now: Instant) {
        let (Some(tunnel), Some(to)) = (&mut self.tunnel, self.endpoint) else {
            return self.drops.one(Loss::NoEndpoint);
        };
        let former = self.former.as_mut().and_then(|former| former.sender(tunnel, now));
        let result = former.unwrap_or(tunnel).encapsulate(packet, outbox.space());
        let (is_data, length) = match &result {
            TunnResult::WriteToNetwork(datagram) => (is_data(datagram), datagram.len()),
            _ => (false, 0),
        };
        if !is_data {
            self.waiting += 1;
            if self.waiting > WAITING {
                self.waiting = WAITING;
                self.drops.one(Loss::NoSession);
            }
        }
        if length > 0 {
            let class = if is_data { ecn::outer(packet) } else { ecn::HANDSHAKE };
            self.sent(length, now);
            outbox.commit(to, length, class);
        }
    }

    /// Opens a datagram; a packet lies at the start of `buffer` then.
    pub(super) fn open(
        &mut self,
        (from, datagram): (Endpoint, &[u8]),
        buffer: &mut [u8],
        outbox: &mut Outbox,
        now: Instant,
    ) -> Opened {
        let Some(tunnel) = &mut self.tunnel else {
            return match self.former.as_mut().and_then(|f| f.open(datagram, buffer, now)) {
                Some(length) => self.authentic(from, datagram, Opened::of(length), now),
                None => self.refused(Loss::UnknownSession),
            };
        };
        let opened = match tunnel.decapsulate(Some(from.to.ip()), datagram, buffer) {
            TunnResult::Done if is_cookie(datagram) => return Opened::Nothing,
            TunnResult::Done => Opened::Authentic,
            TunnResult::WriteToTunnelV4(packet, _) | TunnResult::WriteToTunnelV6(packet, _) => {
                Opened::Packet(packet.len())
            }
            TunnResult::WriteToNetwork(reply) => {
                outbox.push(from, reply, ecn::HANDSHAKE);
                if is_cookie(reply) {
                    return self.refused(Loss::CookieAsked);
                }
                self.tx_bytes += reply.len() as u64;
                Opened::Authentic
            }
            TunnResult::Err(error) => {
                let former = self.former.as_mut().filter(|_| is_data(datagram));
                match former.and_then(|former| former.open(datagram, buffer, now)) {
                    Some(length) => Opened::of(length),
                    None => return self.refused(reason(&error)),
                }
            }
        };
        let opened = self.authentic(from, datagram, opened, now);
        if self.waiting > 0 {
            self.send_waiting(outbox, now);
        }
        opened
    }

    /// Does what is due: handshakes, keepalives.
    pub(super) fn tick(&mut self, outbox: &mut Outbox, now: Instant) {
        self.former = self.former.take().filter(|former| former.lives(now));
        let (Some(tunnel), Some(mut to)) = (&mut self.tunnel, self.endpoint) else { return };
        match tunnel.update_timers(outbox.space()) {
            TunnResult::WriteToNetwork(datagram) => {
                let (length, class) = (datagram.len(), class(datagram));
                if is_initiation(datagram) && std::mem::replace(&mut self.asked, true) {
                    // Perhaps the way has changed, and what it was sent from is wrong there.
                    to.from = None;
                    self.endpoint = Some(to);
                }
                self.sent(length, now);
                outbox.commit(to, length, class);
            }
            // It has given up on the handshake that they waited for.
            TunnResult::Err(_) => self.lose_waiting(),
            _ => {}
        }
        self.last_handshake = self.last_handshake();
        let interval = Duration::from_secs(self.keepalive.into());
        let due = self.last_packet.is_none_or(|last| now.duration_since(last) >= interval);
        if self.keepalive != 0 && due {
            self.keep_alive(to, outbox, now);
        } else if self.former.as_ref().is_some_and(Former::wants_successor) {
            self.initiate(outbox, now);
        }
    }

    /// When the last handshake was, since 1970.
    pub(super) fn last_handshake(&self) -> Option<Duration> {
        let current = self.tunnel.as_ref().and_then(Tunn::last_handshake_time);
        current.or(self.last_handshake)
    }

    /// Asks for a session unless it has one, or has asked.
    pub(super) fn initiate(&mut self, outbox: &mut Outbox, now: Instant) {
        let (Some(tunnel), Some(to)) = (&mut self.tunnel, self.endpoint) else { return };
        if tunnel.time_since_last_handshake().is_some() {
            return;
        }
        if let TunnResult::WriteToNetwork(datagram) =
            tunnel.format_handshake_initiation(outbox.space(), false)
        {
            let length = datagram.len();
            self.sent(length, now);
            outbox.commit(to, length, ecn::HANDSHAKE);
        }
    }

    /// Asks for a session, whether one is under way or not.
    #[cfg(test)]
    pub(super) fn ask_again(&mut self, outbox: &mut Outbox) {
        let (Some(tunnel), Some(to)) = (&mut self.tunnel, self.endpoint) else { return };
        if let TunnResult::WriteToNetwork(datagram) =
            tunnel.format_handshake_initiation(outbox.space(), true)
        {
            let length = datagram.len();
            outbox.commit(to, length, ecn::HANDSHAKE);
        }
    }

    #[cfg(test)]
    pub(super) fn has_own_session(&self) -> bool {
        self.tunnel.as_ref().is_some_and(|tunnel| tunnel.time_since_last_handshake().is_some())
    }

    fn authentic(
        &mut self,
        from: Endpoint,
        datagram: &[u8],
        opened: Opened,
        now: Instant,
    ) -> Opened {
        self.has_moved |= self.endpoint.is_none_or(|known| known.to != from.to);
        self.endpoint = Some(from);
        self.asked = false;
        self.rx_bytes += datagram.len() as u64;
        self.last_packet = Some(now);
        opened
    }

    fn refused(&self, loss: Loss) -> Opened {
        self.drops.one(loss);
        Opened::Nothing
    }

    fn keep_alive(&mut self, to: Endpoint, outbox: &mut Outbox, now: Instant) {
        let Some(tunnel) = &mut self.tunnel else { return };
        self.last_packet = Some(now);
        // Without a session a keepalive would wait for it, and with it all those after.
        if tunnel.time_since_last_handshake().is_none() {
            return self.initiate(outbox, now);
        }
        if let TunnResult::WriteToNetwork(datagram) = tunnel.encapsulate(&[], outbox.space()) {
            let (length, class) = (datagram.len(), class(datagram));
            self.sent(length, now);
            outbox.commit(to, length, class);
        }
    }

    /// Sends what waited, once there is a session.
    fn send_waiting(&mut self, outbox: &mut Outbox, now: Instant) {
        let (Some(tunnel), Some(to)) = (&mut self.tunnel, self.endpoint) else { return };
        if tunnel.time_since_last_handshake().is_none() {
            return;
        }
        let mut lengths = 0;
        while !outbox.is_full() {
            match tunnel.decapsulate(None, &[], outbox.space()) {
                TunnResult::WriteToNetwork(datagram) => {
                    let length = datagram.len();
                    lengths += length;
                    outbox.commit(to, length, 0);
                }
                _ => {
                    self.waiting = 0;
                    break;
                }
            }
        }
        self.sent(lengths, now);
    }

    fn lose_waiting(&mut self) {
        let lost = std::mem::take(&mut self.waiting);
        self.drops.many(Loss::NoSession, lost as u64);
    }

    fn sent(&mut self, octets: usize, now: Instant) {
        self.tx_bytes += octets as u64;
        self.last_packet = Some(now);
    }
}

impl Opened {
    fn of(length: usize) -> Self {
        if length == 0 { Self::Authentic } else { Self::Packet(length) }
    }
}

fn reason(error: &WireGuardError) -> Loss {
    match error {
        WireGuardError::InvalidCounter | WireGuardError::DuplicateCounter => Loss::Replayed,
        WireGuardError::NoCurrentSession | WireGuardError::WrongIndex => Loss::UnknownSession,
        WireGuardError::WrongTai64nTimestamp => Loss::Replayed,
        WireGuardError::UnderLoad => Loss::CookieAsked,
        _ => Loss::NotAuthentic,
    }
}

fn is_data(datagram: &[u8]) -> bool {
    datagram.first() == Some(&4)
}

fn is_initiation(datagram: &[u8]) -> bool {
    datagram.first() == Some(&1)
}

fn is_cookie(datagram: &[u8]) -> bool {
    datagram.first() == Some(&3)
}

/// Keepalives are as unmarked as data can be.
fn class(datagram: &[u8]) -> u8 {
    if is_data(datagram) { 0 } else { ecn::HANDSHAKE }
}

/// Packets that the library lets wait for a session (`MAX_QUEUE_DEPTH`).
const WAITING: usize = 256;

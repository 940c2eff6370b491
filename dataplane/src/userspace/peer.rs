//! A peer of a device: its configuration, its session, its counters.

use std::sync::Arc;
use std::time::Duration;

use defguard_boringtun::noise::rate_limiter::RateLimiter;
use defguard_boringtun::noise::{Tunn, TunnResult};
use defguard_boringtun::x25519::{PublicKey, StaticSecret};
use sixwire_proto::keys::{PresharedKey, WgPublicKey};
use tokio::time::Instant;

use super::endpoint::Endpoint;
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
    last_handshake: Option<Duration>,
    /// When the last packet passed, either way; `None` asks for one at once.
    last_packet: Option<Instant>,
    /// Packets wait for a session.
    waiting: bool,
    /// A handshake was asked for, and nothing has come since.
    asked: bool,
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
    pub(super) fn new(key: WgPublicKey) -> Self {
        Self {
            key,
            preshared_key: None,
            endpoint: None,
            keepalive: 0,
            rx_bytes: 0,
            tx_bytes: 0,
            tunnel: None,
            last_handshake: None,
            last_packet: None,
            waiting: false,
            asked: false,
        }
    }

    /// Starts without a session, for the keys have changed.
    pub(super) fn renew(&mut self, identity: Option<&Identity>, slot: u32) {
        self.waiting = false;
        self.tunnel = identity.map(|identity| {
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
    }

    /// Sends a keepalive soon.
    pub(super) fn speak_up(&mut self) {
        self.last_packet = None;
    }

    /// Encrypts a packet; without a session it waits for one.
    pub(super) fn seal(&mut self, packet: &[u8], outbox: &mut Outbox, now: Instant) {
        let (Some(tunnel), Some(to)) = (&mut self.tunnel, self.endpoint) else { return };
        match tunnel.encapsulate(packet, outbox.space()) {
            TunnResult::WriteToNetwork(datagram) => {
                self.waiting |= !is_data(datagram);
                let length = datagram.len();
                self.sent(length, now);
                outbox.commit(to, length);
            }
            _ => self.waiting = true,
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
        let Some(tunnel) = &mut self.tunnel else { return Opened::Nothing };
        let opened = match tunnel.decapsulate(Some(from.to.ip()), datagram, buffer) {
            TunnResult::Done if is_cookie(datagram) => return Opened::Nothing,
            TunnResult::Done => Opened::Authentic,
            TunnResult::WriteToTunnelV4(packet, _) | TunnResult::WriteToTunnelV6(packet, _) => {
                Opened::Packet(packet.len())
            }
            TunnResult::WriteToNetwork(reply) => {
                outbox.push(from, reply);
                if is_cookie(reply) {
                    return Opened::Nothing;
                }
                self.tx_bytes += reply.len() as u64;
                Opened::Authentic
            }
            TunnResult::Err(error) => {
                tracing::trace!("datagram from {} dropped: {error:?}", from.to);
                return Opened::Nothing;
            }
        };
        self.endpoint = Some(from);
        self.asked = false;
        self.rx_bytes += datagram.len() as u64;
        self.last_packet = Some(now);
        if self.waiting {
            self.send_waiting(outbox, now);
        }
        opened
    }

    /// Does what is due: handshakes, keepalives.
    pub(super) fn tick(&mut self, outbox: &mut Outbox, now: Instant) {
        let (Some(tunnel), Some(mut to)) = (&mut self.tunnel, self.endpoint) else { return };
        if let TunnResult::WriteToNetwork(datagram) = tunnel.update_timers(outbox.space()) {
            let length = datagram.len();
            if is_initiation(datagram) && std::mem::replace(&mut self.asked, true) {
                // Perhaps the way has changed, and what it was sent from is wrong there.
                to.from = None;
                self.endpoint = Some(to);
            }
            self.sent(length, now);
            outbox.commit(to, length);
        }
        self.last_handshake = self.handshake_time().or(self.last_handshake);
        let interval = Duration::from_secs(self.keepalive.into());
        let due = self.last_packet.is_none_or(|last| now.duration_since(last) >= interval);
        if self.keepalive != 0 && due {
            self.keep_alive(to, outbox, now);
        }
    }

    /// When the last handshake was, since 1970.
    pub(super) fn last_handshake(&self) -> Option<Duration> {
        self.handshake_time().or(self.last_handshake)
    }

    /// Asks for a session, whether one is under way or not.
    #[cfg(test)]
    pub(super) fn initiate(&mut self, outbox: &mut Outbox) {
        let (Some(tunnel), Some(to)) = (&mut self.tunnel, self.endpoint) else { return };
        if let TunnResult::WriteToNetwork(datagram) =
            tunnel.format_handshake_initiation(outbox.space(), true)
        {
            let length = datagram.len();
            outbox.commit(to, length);
        }
    }

    fn handshake_time(&self) -> Option<Duration> {
        self.tunnel.as_ref()?.last_handshake_time()
    }

    fn keep_alive(&mut self, to: Endpoint, outbox: &mut Outbox, now: Instant) {
        let Some(tunnel) = &mut self.tunnel else { return };
        self.last_packet = Some(now);
        // Without a session a keepalive would wait for it, and with it all those after.
        let result = match tunnel.time_since_last_handshake() {
            Some(_) => tunnel.encapsulate(&[], outbox.space()),
            None => tunnel.format_handshake_initiation(outbox.space(), false),
        };
        if let TunnResult::WriteToNetwork(datagram) = result {
            let length = datagram.len();
            self.sent(length, now);
            outbox.commit(to, length);
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
                    outbox.commit(to, length);
                }
                _ => {
                    self.waiting = false;
                    break;
                }
            }
        }
        self.sent(lengths, now);
    }

    fn sent(&mut self, octets: usize, now: Instant) {
        self.tx_bytes += octets as u64;
        self.last_packet = Some(now);
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

//! What a device is without its sockets: keys, peers, and what makes datagrams of packets and packets
//! of datagrams. Its cryptography, handshakes and timers are the library's.

use std::collections::BTreeMap;
use std::sync::Arc;

use defguard_boringtun::noise::handshake::parse_handshake_anon;
use defguard_boringtun::noise::rate_limiter::RateLimiter;
use defguard_boringtun::noise::{Packet, TunnResult};
use defguard_boringtun::x25519::{PublicKey, StaticSecret};
use nix::errno::Errno;
use sixwire_proto::keys::{WgPrivateKey, WgPublicKey};
use tokio::time::Instant;

use super::allowed_ips::AllowedIps;
use super::drops::{Drops, Loss};
use super::ecn;
use super::endpoint::Endpoint;
use super::former::KeyChange;
use super::outbox::Outbox;
use super::packet::{destination, source, udp_ports};
use super::peer::{Identity, Opened, Peer};
use super::throttle::Throttle;
use super::uapi::{self, Allowed, PeerUpdate, Update};

/// Keys and peers of a device.
#[derive(Default)]
pub(super) struct Noise {
    private_key: Option<WgPrivateKey>,
    identity: Option<Identity>,
    /// The place of a peer here is what its datagrams carry.
    peers: Vec<Option<Peer>>,
    by_key: BTreeMap<WgPublicKey, usize>,
    allowed_ips: AllowedIps,
    throttle: Throttle,
    drops: Arc<Drops>,
}

impl Noise {
    /// Without keys and peers.
    pub(super) fn new(drops: Arc<Drops>) -> Self {
        Self { drops, ..Self::default() }
    }

    /// The peer that a packet goes to.
    pub(super) fn route(&self, packet: &[u8]) -> Option<usize> {
        let peer = destination(packet).and_then(|address| self.allowed_ips.peer(address));
        if peer.is_none() {
            self.drops.one(Loss::NoPeer);
        }
        peer
    }

    /// Whether a packet for a peer is a datagram that we have sent it: it would go round for ever.
    pub(super) fn is_own(&self, peer: usize, packet: &[u8], port: u16) -> bool {
        let Some(ports) = udp_ports(packet) else { return false };
        let peer = self.peers.get(peer).and_then(Option::as_ref);
        peer.and_then(|peer| peer.endpoint).is_some_and(|endpoint| {
            ports == [port, endpoint.to.port()] && destination(packet) == Some(endpoint.to.ip())
        })
    }

    /// Encrypts a packet for a peer that [`Self::route`] gave.
    pub(super) fn seal(&mut self, peer: usize, packet: &[u8], outbox: &mut Outbox, now: Instant) {
        if let Some(Some(peer)) = self.peers.get_mut(peer) {
            peer.seal(packet, outbox, now);
        }
    }

    /// Opens a datagram. A packet that its sender may send lies at the start of `buffer` then, and has
    /// the length given. `buffer` is at least as long as the datagram and a handshake.
    pub(super) fn open(
        &mut self,
        (from, datagram): (Endpoint, &[u8]),
        buffer: &mut [u8],
        outbox: &mut Outbox,
        now: Instant,
    ) -> Option<usize> {
        let sender = self.sender(from, datagram, outbox, now).and_then(|place| {
            let peer = self.peers.get_mut(place).and_then(Option::as_mut);
            peer.map(|peer| (place, peer)).ok_or(Loss::Stranger)
        });
        let (place, peer) = sender.inspect_err(|loss| self.drops.one(*loss)).ok()?;
        match peer.open((from, datagram), buffer, outbox, now) {
            Opened::Packet(length) => {
                let packet = &buffer[..length];
                let owner = source(packet).and_then(|address| self.allowed_ips.peer(address));
                if owner != Some(place) {
                    // Nothing that was received for us.
                    peer.rx_bytes -= datagram.len() as u64;
                    self.drops.one(Loss::ForeignSource);
                    return None;
                }
                Some(length)
            }
            Opened::Authentic | Opened::Nothing => None,
        }
    }

    /// Does what is due.
    pub(super) fn tick(&mut self, outbox: &mut Outbox, now: Instant) {
        if let Some(identity) = &self.identity {
            identity.limiter.reset_count();
        }
        self.throttle.tick(now);
        for peer in self.peers.iter_mut().flatten() {
            if outbox.is_full() {
                // The rest has its turn a moment later.
                break;
            }
            peer.tick(outbox, now);
        }
    }

    /// Lets every peer that is kept alive hear of us: the port has changed.
    pub(super) fn speak_up(&mut self) {
        self.peers.iter_mut().flatten().for_each(Peer::speak_up);
    }

    /// Datagrams leave another way now: what they were sent from may be wrong there.
    pub(super) fn forget_sources(&mut self) {
        self.peers.iter_mut().flatten().for_each(Peer::forget_source);
    }

    /// Asks every peer for a session that has none.
    pub(super) fn greet(&mut self, outbox: &mut Outbox, now: Instant) {
        for peer in self.peers.iter_mut().flatten() {
            if outbox.is_full() {
                break;
            }
            peer.initiate(outbox, now);
        }
    }

    /// Whether a peer was seen elsewhere since the last time this was asked.
    pub(super) fn has_moved(&mut self) -> bool {
        self.peers.iter_mut().flatten().fold(false, |moved, peer| peer.has_moved() | moved)
    }

    /// Whether a change can be made.
    ///
    /// # Errors
    /// `ENOSPC` when there would be too many peers.
    pub(super) fn check(&self, update: &Update) -> Result<(), Errno> {
        let new = |peer: &&PeerUpdate| !self.by_key.contains_key(&peer.key);
        let kept = if update.replace_peers { 0 } else { self.by_key.len() };
        let added = update.peers.iter().filter(new).count();
        if kept + added > PEERS { Err(Errno::ENOSPC) } else { Ok(()) }
    }

    /// Changes keys and peers. A peer keeps its session unless a key changes.
    pub(super) fn set(&mut self, update: Update) {
        if let Some(key) = update.private_key {
            self.set_private_key(key);
        }
        if update.replace_peers {
            let keys: Vec<_> = self.by_key.keys().copied().collect();
            keys.into_iter().for_each(|key| self.remove(key));
        }
        update.peers.into_iter().for_each(|peer| self.set_peer(peer));
    }

    /// Keys and peers as they are.
    pub(super) fn describe(&self) -> uapi::Device {
        let peers = self.by_key.values().filter_map(|place| {
            let peer = self.peers[*place].as_ref()?;
            Some(uapi::Peer {
                key: peer.key,
                preshared_key: peer.preshared_key.clone(),
                endpoint: peer.endpoint.map(|endpoint| endpoint.to),
                keepalive: peer.keepalive,
                allowed_ips: self.allowed_ips.of(*place).collect(),
                last_handshake: peer.last_handshake(),
                rx_bytes: peer.rx_bytes,
                tx_bytes: peer.tx_bytes,
            })
        });
        let peers = peers.collect();
        uapi::Device { private_key: self.private_key.clone(), peers, ..uapi::Device::default() }
    }

    /// The place of the peer that a datagram says it is from. Handshakes are looked at only as far
    /// as the sender's address has proved itself, when there are many.
    fn sender(
        &mut self,
        from: Endpoint,
        datagram: &[u8],
        outbox: &mut Outbox,
        now: Instant,
    ) -> Result<usize, Loss> {
        if let [4, 0, 0, 0, a, b, c, d, ..] = *datagram {
            return place(u32::from_le_bytes([a, b, c, d]));
        }
        let identity = self.identity.as_ref().ok_or(Loss::Stranger)?;
        let mut cookie = [0; 64];
        match identity.limiter.verify_packet(Some(from.to.ip()), datagram, &mut cookie) {
            Ok(Packet::HandshakeInit(init)) => {
                if !self.throttle.admits(from.to.ip(), now) {
                    return Err(Loss::HandshakeRate);
                }
                let half = parse_handshake_anon(&identity.secret, &identity.public, &init);
                let key = half.map_err(|_| Loss::Stranger)?.peer_static_public;
                self.by_key.get(&WgPublicKey(key)).copied().ok_or(Loss::Stranger)
            }
            Ok(Packet::HandshakeResponse(response)) => place(response.receiver_idx),
            Ok(Packet::PacketCookieReply(reply)) => place(reply.receiver_idx),
            Ok(Packet::PacketData(data)) => place(data.receiver_idx),
            Err(TunnResult::WriteToNetwork(cookie)) => {
                outbox.push(from, cookie, ecn::HANDSHAKE);
                Err(Loss::CookieAsked)
            }
            Err(_) => Err(Loss::Stranger),
        }
    }

    fn set_private_key(&mut self, key: Option<WgPrivateKey>) {
        if key == self.private_key {
            return;
        }
        self.identity = key.as_ref().map(|key| {
            let secret = StaticSecret::from(*key.octets());
            let public = PublicKey::from(&secret);
            let limiter = Arc::new(RateLimiter::new(&public, HANDSHAKES_PER_SECOND));
            Identity { secret, public, limiter }
        });
        self.private_key = key;
        // We cannot be our own peer.
        if let Some(key) = &self.private_key {
            self.remove(key.public());
        }
        for (slot, peer) in (0..).zip(&mut self.peers) {
            if let Some(peer) = peer {
                peer.renew(self.identity.as_ref(), slot, KeyChange::Private);
            }
        }
    }

    fn set_peer(&mut self, update: PeerUpdate) {
        if update.remove {
            self.remove(update.key);
            return;
        }
        let ourselves = self.private_key.as_ref().is_some_and(|key| key.public() == update.key);
        let place = match self.by_key.get(&update.key) {
            Some(place) => *place,
            None if update.update_only || ourselves => return,
            None => self.add(update.key),
        };
        if update.replace_allowed_ips {
            self.allowed_ips.remove_all(place);
        }
        for (prefix, what) in update.allowed_ips {
            match what {
                Allowed::Added => self.allowed_ips.insert(prefix, place),
                Allowed::Removed => self.allowed_ips.remove(prefix, place),
            }
        }
        let Some(Some(peer)) = self.peers.get_mut(place) else { return };
        if let Some(endpoint) = update.endpoint.map(Endpoint::from)
            && peer.endpoint.is_none_or(|known| known.to != endpoint.to)
        {
            peer.endpoint = Some(endpoint);
        }
        if let Some(key) = update.preshared_key
            && key != peer.preshared_key
        {
            peer.preshared_key = key;
            let slot = u32::try_from(place).unwrap_or(u32::MAX);
            peer.renew(self.identity.as_ref(), slot, KeyChange::Preshared);
        }
        if let Some(keepalive) = update.keepalive {
            if peer.keepalive == 0 {
                peer.speak_up();
            }
            peer.keepalive = keepalive;
        }
    }

    fn add(&mut self, key: WgPublicKey) -> usize {
        let place = self.peers.iter().position(Option::is_none).unwrap_or(self.peers.len());
        let mut peer = Peer::new(key, Arc::clone(&self.drops));
        let slot = u32::try_from(place).unwrap_or(u32::MAX);
        peer.renew(self.identity.as_ref(), slot, KeyChange::Private);
        match self.peers.get_mut(place) {
            Some(free) => *free = Some(peer),
            None => self.peers.push(Some(peer)),
        }
        self.by_key.insert(key, place);
        place
    }

    fn remove(&mut self, key: WgPublicKey) {
        if let Some(place) = self.by_key.remove(&key) {
            self.allowed_ips.remove_all(place);
            self.peers[place] = None;
        }
    }
}

/// The peer that an index of a session stands for; the library counts sessions in the last octet.
fn place(index: u32) -> Result<usize, Loss> {
    usize::try_from(index >> 8).map_err(|_| Loss::Stranger)
}

/// Peers of a device: one per tunnel is the rule.
const PEERS: usize = 1 << 16;
/// Handshakes beyond it must show a cookie. Each counts twice: here and in the library.
const HANDSHAKES_PER_SECOND: u64 = 200;

#[cfg(test)]
mod tests;

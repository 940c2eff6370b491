//! Two devices and a wire between them that loses, repeats, mixes and damages.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use sixwire_proto::keys::{PresharedKey, WgPrivateKey};
use tokio::time::Instant;

use super::Octets;
use crate::userspace::noise::Noise;
use crate::userspace::outbox::Outbox;
use crate::userspace::packet::{Layout, short};
use crate::userspace::uapi::{Allowed, PeerUpdate, Update};

/// Any octets: each step takes its kind and its values from the next ones. What arrives was sent by the
/// other side, and arrives once.
///
/// # Panics
/// When it was not.
pub fn session(octets: &[u8]) {
    let mut octets = Octets(octets);
    let mut world = World::new();
    for _ in 0..STEPS {
        if octets.0.is_empty() {
            break;
        }
        world.step(&mut octets);
    }
}

struct World {
    sides: [Side; 2],
    /// Datagrams, and whom they are for.
    wire: Vec<(usize, Vec<u8>)>,
    outbox: Outbox,
    now: Instant,
    sent: u32,
}

struct Side {
    noise: Noise,
    key: u8,
    /// Packets on their way to it, by number.
    expected: BTreeSet<u32>,
}

impl World {
    fn new() -> Self {
        let side =
            |number| Side { noise: Noise::default(), key: number, expected: BTreeSet::new() };
        let mut world = Self {
            sides: [side(1), side(2)],
            wire: Vec::new(),
            outbox: Outbox::default(),
            now: Instant::now(),
            sent: 0,
        };
        (0..2).for_each(|side| world.configure(side, PeerUpdate::of));
        world
    }

    fn step(&mut self, octets: &mut Octets<'_>) {
        let (kind, choice) = (octets.next(), octets.next());
        let side = usize::from(choice & 1);
        let place = usize::from(choice).checked_rem(self.wire.len()).unwrap_or(0);
        match kind % 16 {
            0..=3 => self.send(side),
            4..=7 if !self.wire.is_empty() => self.deliver(place, choice),
            8 if !self.wire.is_empty() => self.wire.push(self.wire[place].clone()),
            9 if !self.wire.is_empty() => {
                let (at, value) = (octets.next(), octets.next());
                let datagram = &mut self.wire[place].1;
                if let Some(octet) = datagram.get_mut(usize::from(at)) {
                    *octet ^= value;
                }
            }
            10 if !self.wire.is_empty() => drop(self.wire.remove(place)),
            11 => {
                let mut junk = vec![choice % 6, 0, 0, 0];
                junk.extend_from_slice(octets.take(usize::from(choice)));
                self.wire.push((side, junk));
            }
            12 => self.tick(Duration::from_millis(u64::from(choice) * 200)),
            13 => self.configure(side, |key| PeerUpdate {
                preshared_key: Some((choice & 2 != 0).then(|| PresharedKey::from_octets([7; 32]))),
                keepalive: Some(u16::from(choice & 4)),
                ..PeerUpdate::of(key)
            }),
            14 => {
                self.sides[side].key = 1 + choice % 4;
                self.configure(side, PeerUpdate::of);
                self.configure(1 - side, PeerUpdate::of);
            }
            15 => self.configure(side, |key| PeerUpdate {
                remove: choice & 2 != 0,
                update_only: choice & 4 != 0,
                replace_allowed_ips: choice & 8 != 0,
                ..PeerUpdate::of(key)
            }),
            _ => {}
        }
        let bound = self.wire.len().min(WIRE);
        self.wire.truncate(bound);
    }

    /// Gives a side its key, and the other side as its peer.
    fn configure(
        &mut self,
        side: usize,
        peer: impl FnOnce(sixwire_proto::keys::WgPublicKey) -> PeerUpdate,
    ) {
        let other = &self.sides[1 - side];
        let prefix = format!("10.0.0.{}/32", 1 - side).parse().expect("written here");
        let peer = PeerUpdate {
            endpoint: Some(address(1 - side)),
            allowed_ips: vec![(prefix, Allowed::Added)],
            ..peer(key(other.key).public())
        };
        let side = &mut self.sides[side];
        let update = Update {
            private_key: Some(Some(key(side.key))),
            peers: vec![peer],
            ..Update::default()
        };
        side.noise.check(&update).expect("there is room for two peers");
        side.noise.set(update);
    }

    fn send(&mut self, side: usize) {
        self.sent += 1;
        let packet = packet(side, self.sent);
        let noise = &mut self.sides[side].noise;
        if let Some(peer) = noise.route(&packet) {
            noise.seal(peer, &packet, &mut self.outbox, self.now);
            self.sides[1 - side].expected.insert(self.sent);
        }
        self.post();
    }

    /// Hands a datagram over, from where its sender is, or from elsewhere.
    fn deliver(&mut self, place: usize, choice: u8) {
        let (to, datagram) = self.wire.remove(place);
        let from = if choice < 200 { address(1 - to) } else { ([192, 0, 2, choice], 9).into() };
        let mut buffer = vec![0; datagram.len() + 200];
        let side = &mut self.sides[to];
        let opened =
            side.noise.open((from.into(), &datagram), &mut buffer, &mut self.outbox, self.now);
        if let Some(length) = opened {
            let number = number(&buffer[..length]).expect("nobody sends anything else");
            assert_eq!(buffer[..length], packet(1 - to, number), "it was changed on the way");
            assert!(side.expected.remove(&number), "it arrived already, or was never sent");
        }
        self.post();
    }

    fn tick(&mut self, time: Duration) {
        self.now += time;
        for side in &mut self.sides {
            side.noise.tick(&mut self.outbox, self.now);
            let _ = side.noise.has_moved();
        }
        self.post();
    }

    /// Puts what is to be sent on the wire. What goes to a place where neither side is gets lost.
    fn post(&mut self) {
        for (train, octets) in self.outbox.trains() {
            let to = (0..2).find(|side| address(*side) == train.endpoint.to);
            let datagrams = octets.chunks(train.size).map(<[u8]>::to_vec);
            self.wire.extend(to.into_iter().flat_map(|to| datagrams.clone().map(move |d| (to, d))));
        }
        self.outbox.clear();
    }
}

fn key(number: u8) -> WgPrivateKey {
    WgPrivateKey::from_octets([number; 32])
}

fn address(side: usize) -> SocketAddr {
    ([198, 51, 100, u8::from(side == 1)], 51820).into()
}

/// An IPv4 packet with a number in it.
fn packet(from: usize, number: u32) -> Vec<u8> {
    let mut packet = vec![0; 48];
    packet[0] = 0x45;
    packet[12..16].copy_from_slice(&[10, 0, 0, u8::from(from == 1)]);
    packet[16..20].copy_from_slice(&[10, 0, 0, u8::from(from == 0)]);
    packet[40..44].copy_from_slice(&number.to_be_bytes());
    let length = short(packet.len());
    if let Some(layout) = Layout::of(&packet) {
        layout.set_length(&mut packet, length);
    }
    packet
}

fn number(packet: &[u8]) -> Option<u32> {
    packet.get(40..44)?.first_chunk().map(|octets| u32::from_be_bytes(*octets))
}

/// A step may be a handshake, which takes a while.
const STEPS: usize = 60;
/// Datagrams on the wire; more are lost.
const WIRE: usize = 64;

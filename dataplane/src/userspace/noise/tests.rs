use std::net::SocketAddr;
use std::time::Duration;

use super::*;
use crate::userspace::ecn;
use crate::userspace::packet::short;

const A: u8 = 1;
const B: u8 = 2;

fn key(number: u8) -> WgPrivateKey {
    WgPrivateKey::from_octets([number; 32])
}

fn place_of(number: u8) -> SocketAddr {
    ([192, 0, 2, number], 51820).into()
}

fn peer(number: u8) -> PeerUpdate {
    PeerUpdate {
        endpoint: Some(place_of(number)),
        allowed_ips: vec![(format!("10.0.0.{number}/32").parse().unwrap(), Allowed::Added)],
        ..PeerUpdate::of(key(number).public())
    }
}

fn side(own: u8, other: u8) -> Noise {
    let mut noise = Noise::default();
    let private_key = Some(Some(key(own)));
    noise.set(Update { private_key, peers: vec![peer(other)], ..Update::default() });
    noise
}

/// An IPv4 packet with a number in it.
fn packet(from: u8, to: u8, number: u8) -> Vec<u8> {
    let mut packet = vec![0; 40];
    packet[0] = 0x45;
    packet[12..16].copy_from_slice(&[10, 0, 0, from]);
    packet[16..20].copy_from_slice(&[10, 0, 0, to]);
    packet[39] = number;
    let length = short(packet.len());
    crate::userspace::packet::Layout::of(&packet).unwrap().set_length(&mut packet, length);
    packet
}

fn datagrams(outbox: &mut Outbox) -> Vec<(SocketAddr, Vec<u8>)> {
    let all = outbox
        .trains()
        .flat_map(|(train, octets)| {
            octets.chunks(train.size).map(|d| (train.endpoint.to, d.to_vec()))
        })
        .collect();
    outbox.clear();
    all
}

/// Two devices and a wire between them.
struct Pair {
    a: Noise,
    b: Noise,
    outbox: Outbox,
    now: Instant,
}

impl Pair {
    fn new() -> Self {
        Self { a: side(A, B), b: side(B, A), outbox: Outbox::default(), now: Instant::now() }
    }

    fn send(&mut self, number: u8) {
        let packet = packet(A, B, number);
        let peer = self.a.route(&packet).expect("it is allowed");
        self.a.seal(peer, &packet, &mut self.outbox, self.now);
    }

    /// Carries datagrams until there are none; a's come from `from`. Gives the packets that b got.
    fn settle(&mut self, from: SocketAddr) -> Vec<Vec<u8>> {
        let (mut got, mut buffer) = (Vec::new(), vec![0; 2000]);
        let mut wire = datagrams(&mut self.outbox);
        while !wire.is_empty() {
            let mut next = Vec::new();
            for (to, datagram) in wire {
                let (noise, from) = if to == place_of(B) {
                    (&mut self.b, from)
                } else {
                    (&mut self.a, place_of(B))
                };
                let opened =
                    noise.open((from.into(), &datagram), &mut buffer, &mut self.outbox, self.now);
                got.extend(opened.map(|length| buffer[..length].to_vec()));
                next.append(&mut datagrams(&mut self.outbox));
            }
            wire = next;
        }
        got
    }

    fn carries(&mut self, number: u8) -> bool {
        self.send(number);
        let sent = datagrams(&mut self.outbox);
        // One datagram of data and nothing else: it is the session of before.
        let at_once = matches!(&sent[..], [(_, datagram)] if datagram[0] == 4);
        for (to, datagram) in sent {
            self.outbox.push(to.into(), &datagram, 0);
        }
        self.settle(place_of(A)) == [packet(A, B, number)] && at_once
    }
}

#[test]
fn packets_wait_for_the_handshake_and_then_pass_in_order() {
    let mut pair = Pair::new();
    for number in 0..5 {
        pair.send(number);
    }
    let wanted: Vec<_> = (0..5).map(|number| packet(A, B, number)).collect();
    assert_eq!(pair.settle(place_of(A)), wanted);
    assert!(pair.carries(9));
    let device = pair.b.describe();
    assert!(device.peers[0].rx_bytes > 0 && device.peers[0].tx_bytes > 0);
    assert!(pair.a.describe().peers[0].last_handshake.is_some());
}

#[test]
fn a_peer_is_followed_to_where_it_speaks_from() {
    let mut pair = Pair::new();
    pair.send(0);
    pair.settle(place_of(A));
    let moved: SocketAddr = "[2001:db8::7]:9".parse().unwrap();
    pair.send(1);
    assert_eq!(pair.settle(moved), [packet(A, B, 1)]);
    assert_eq!(pair.b.describe().peers[0].endpoint, Some(moved));
    // Nobody else can move it.
    let stray: SocketAddr = "192.0.2.66:1".parse().unwrap();
    pair.send(2);
    let [(_, mut datagram)] = datagrams(&mut pair.outbox).try_into().unwrap();
    *datagram.last_mut().unwrap() ^= 1;
    let opened = pair.b.open((stray.into(), &datagram), &mut [0; 2000], &mut pair.outbox, pair.now);
    assert_eq!(opened, None);
    assert_eq!(pair.b.describe().peers[0].endpoint, Some(moved));
}

#[test]
fn answers_leave_from_where_the_peer_sent_to_until_it_is_set_elsewhere() {
    let mut pair = Pair::new();
    let ours = Some([192, 0, 2, 77].into());
    pair.send(0);
    let [(_, init)] = datagrams(&mut pair.outbox).try_into().unwrap();
    let from = Endpoint { from: ours, ..place_of(A).into() };
    pair.b.open((from, &init), &mut [0; 2000], &mut pair.outbox, pair.now);
    assert_eq!(pair.outbox.trains().next().unwrap().0.endpoint, from);
    pair.outbox.clear();
    let place = pair.b.by_key[&key(A).public()];
    let elsewhere: SocketAddr = "192.0.2.9:9".parse().unwrap();
    let moved = PeerUpdate { endpoint: Some(elsewhere), ..peer(A) };
    for (update, wanted) in [(peer(A), from), (moved, elsewhere.into())] {
        pair.b.set(Update { peers: vec![update], ..Update::default() });
        pair.b.peers[place].as_mut().unwrap().ask_again(&mut pair.outbox);
        assert_eq!(pair.outbox.trains().next().unwrap().0.endpoint, wanted);
        pair.outbox.clear();
    }
}

#[test]
fn a_change_of_anything_but_keys_keeps_the_session() {
    let mut pair = Pair::new();
    pair.send(0);
    pair.settle(place_of(A));
    let changes = [
        PeerUpdate { endpoint: Some("192.0.2.9:9".parse().unwrap()), ..peer(B) },
        PeerUpdate { keepalive: Some(25), ..peer(B) },
        PeerUpdate { replace_allowed_ips: true, ..peer(B) },
        PeerUpdate { preshared_key: Some(None), ..peer(B) },
    ];
    for change in changes {
        let update = Update {
            private_key: Some(Some(key(A))),
            peers: vec![change, peer(B)],
            ..Update::default()
        };
        pair.a.set(update);
        assert!(pair.carries(1));
    }
}

/// Gives the only peer of each of these another preshared key.
fn share(noises: [&mut Noise; 2]) {
    for noise in noises {
        let known = noise.describe().peers[0].key;
        let shared = Some(Some(sixwire_proto::keys::PresharedKey::from_octets([7; 32])));
        let peers = vec![PeerUpdate { preshared_key: shared, ..PeerUpdate::of(known) }];
        noise.set(Update { peers, ..Update::default() });
    }
}

#[test]
fn a_preshared_key_holds_from_the_next_handshake_on_and_loses_nothing() {
    let mut pair = Pair::new();
    pair.send(0);
    pair.settle(place_of(A));
    share([&mut pair.a, &mut pair.b]);
    assert!(pair.carries(1), "by the session of before");
    pair.a.tick(&mut pair.outbox, pair.now);
    let sent = datagrams(&mut pair.outbox);
    assert!(matches!(&sent[..], [(_, init)] if init[0] == 1), "a new one is asked for at once");
    for (to, datagram) in sent {
        pair.outbox.push(to.into(), &datagram, 0);
    }
    // On its way while the handshake is.
    pair.send(2);
    assert_eq!(pair.settle(place_of(A)), [packet(A, B, 2)]);
    let place = pair.a.by_key[&key(B).public()];
    assert!(pair.a.peers[place].as_ref().unwrap().has_own_session());
    assert!(pair.carries(3));
    pair.a.tick(&mut pair.outbox, pair.now + Duration::from_secs(180));
    assert!(pair.carries(4));
}

#[test]
fn a_preshared_key_that_only_one_side_has_ends_no_session_either() {
    let mut pair = Pair::new();
    pair.send(0);
    pair.settle(place_of(A));
    let shared = Some(Some(sixwire_proto::keys::PresharedKey::from_octets([7; 32])));
    let peers = vec![PeerUpdate { preshared_key: shared, ..PeerUpdate::of(key(B).public()) }];
    pair.a.set(Update { peers, ..Update::default() });
    pair.a.tick(&mut pair.outbox, pair.now);
    assert!(pair.settle(place_of(A)).is_empty());
    assert!(pair.carries(1));
    pair.a.tick(&mut pair.outbox, pair.now + Duration::from_secs(180));
    datagrams(&mut pair.outbox);
    assert!(!pair.carries(2), "as long as it lives");
}

#[test]
fn a_new_private_key_ends_sending_and_what_is_under_way_arrives() {
    let mut pair = Pair::new();
    pair.send(0);
    pair.settle(place_of(A));
    pair.send(1);
    let under_way = datagrams(&mut pair.outbox);
    pair.b.set(Update { private_key: Some(Some(key(3))), ..Update::default() });
    for (to, datagram) in under_way {
        pair.outbox.push(to.into(), &datagram, 0);
    }
    assert_eq!(pair.settle(place_of(A)), [packet(A, B, 1)]);
    let back = packet(B, A, 0);
    let peer = pair.b.route(&back).unwrap();
    pair.b.seal(peer, &back, &mut pair.outbox, pair.now);
    assert!(datagrams(&mut pair.outbox).iter().all(|(_, datagram)| datagram[0] == 1), "it waits");
    // Once a knows the new key, they find each other again.
    let update = Update { replace_peers: true, peers: vec![peer_with(3)], ..Update::default() };
    pair.a.set(update);
    pair.send(2);
    assert_eq!(pair.settle(place_of(A)), [packet(A, B, 2), back], "and what waited gets through");
}

/// b, with another key.
fn peer_with(number: u8) -> PeerUpdate {
    PeerUpdate { key: key(number).public(), ..peer(B) }
}

#[test]
fn we_are_never_our_own_peer() {
    let mut noise = side(A, B);
    noise.set(Update { private_key: Some(Some(key(B))), ..Update::default() });
    assert!(noise.describe().peers.is_empty());
    assert_eq!(noise.route(&packet(A, B, 0)), None);
}

#[test]
fn a_restored_device_asks_for_sessions_at_once_and_forgets_where_it_sent_from_with_its_port() {
    let mut pair = Pair::new();
    let mut text = pair.a.describe().text();
    text.push_str("persistent_keepalive_interval=25\n");
    pair.a = Noise::default();
    let update = Update::restoring(&text).unwrap();
    pair.a.set(update);
    pair.a.greet(&mut pair.outbox, pair.now);
    pair.a.greet(&mut pair.outbox, pair.now);
    assert_eq!(pair.outbox.trains().count(), 1, "once");
    pair.settle(place_of(A));
    assert!(pair.carries(1));
    assert_eq!(pair.a.describe().peers[0].keepalive, 25);
    let place = pair.a.by_key[&key(B).public()];
    let peer = |pair: &mut Pair| pair.a.peers[place].as_mut().unwrap().endpoint;
    let ours = Endpoint { from: Some([192, 0, 2, 77].into()), ..place_of(B).into() };
    pair.a.peers[place].as_mut().unwrap().endpoint = Some(ours);
    pair.a.forget_sources();
    assert_eq!(peer(&mut pair), Some(place_of(B).into()));
}

#[test]
fn congestion_marks_go_out_with_the_packet_and_handshakes_are_of_their_own_class() {
    let mut pair = Pair::new();
    let classes =
        |pair: &Pair| pair.outbox.trains().map(|(train, _)| train.class).collect::<Vec<_>>();
    pair.send(0);
    assert_eq!(classes(&pair), [ecn::HANDSHAKE]);
    pair.settle(place_of(A));
    for class in [0, 0xb8, 0xb9, 0x02, 0x03] {
        let mut packet = packet(A, B, 1);
        packet[1] = class;
        let peer = pair.a.route(&packet).unwrap();
        pair.a.seal(peer, &packet, &mut pair.outbox, pair.now);
    }
    assert_eq!(classes(&pair), [0, 1, 2], "two and two go together");
}

#[test]
fn every_drop_has_its_reason() {
    let drops = Arc::new(Drops::default());
    let mut pair = Pair::new();
    pair.b = Noise::new(Arc::clone(&drops));
    pair.b.set(Update {
        private_key: Some(Some(key(B))),
        peers: vec![peer(A)],
        ..Update::default()
    });
    pair.send(0);
    pair.settle(place_of(A));
    pair.send(1);
    let [(_, data)] = datagrams(&mut pair.outbox).try_into().unwrap();
    let mut open = |datagram: &[u8], expected: &str, count: u64| {
        let from = place_of(A).into();
        pair.b.open((from, datagram), &mut [0; 2000], &mut Outbox::default(), pair.now);
        let found = drops.counts().find(|(name, _)| *name == expected);
        assert_eq!(found, Some((expected, count)));
    };
    let mut damaged = data.clone();
    *damaged.last_mut().unwrap() ^= 1;
    open(&damaged, "not_authentic", 1);
    open(b"hello", "stranger", 1);
    open(&[4, 0, 0, 0, 0, 9, 9, 9], "stranger", 2);
    let mut other = data.clone();
    other[4] = other[4].wrapping_add(1);
    open(&other, "unknown_session", 1);
    pair.b.open((place_of(A).into(), &data), &mut [0; 2000], &mut Outbox::default(), pair.now);
    let mut again = |expected: &str| {
        pair.b.open((place_of(A).into(), &data), &mut [0; 2000], &mut Outbox::default(), pair.now);
        assert!(drops.counts().any(|count| count == (expected, 1)), "{expected}");
    };
    again("replayed");
    assert_eq!(pair.b.route(&packet(B, 9, 0)), None);
    assert!(drops.counts().any(|count| count == ("no_peer", 1)));
    // Nobody answers the handshake, and only so many packets may wait for it.
    let mut lonely = Noise::new(Arc::default());
    lonely.set(Update {
        private_key: Some(Some(key(A))),
        peers: vec![peer(B)],
        ..Update::default()
    });
    let place = lonely.route(&packet(A, B, 0)).unwrap();
    for _ in 0..300 {
        lonely.seal(place, &packet(A, B, 0), &mut pair.outbox, pair.now);
    }
    assert!(lonely.drops.counts().any(|count| count == ("no_session", 44)));
}

#[test]
fn a_packet_from_an_address_that_is_not_the_peers_is_dropped() {
    let mut pair = Pair::new();
    pair.send(0);
    pair.settle(place_of(A));
    let forged = packet(3, B, 0);
    let peer = pair.a.route(&forged).unwrap();
    pair.a.seal(peer, &forged, &mut pair.outbox, pair.now);
    assert!(pair.settle(place_of(A)).is_empty());
    assert_eq!(pair.a.route(&packet(A, 9, 0)), None, "nobody has this address");
}

#[test]
fn a_keepalive_starts_a_session_at_once_and_stays_quiet_while_packets_pass() {
    let mut pair = Pair::new();
    let peers = vec![PeerUpdate { keepalive: Some(5), ..PeerUpdate::of(key(B).public()) }];
    pair.a.set(Update { peers, ..Update::default() });
    pair.a.tick(&mut pair.outbox, pair.now);
    pair.settle(place_of(A));
    assert!(pair.carries(1));
    pair.a.tick(&mut pair.outbox, pair.now + Duration::from_secs(4));
    assert!(datagrams(&mut pair.outbox).is_empty());
    pair.a.tick(&mut pair.outbox, pair.now + Duration::from_secs(5));
    let sent = datagrams(&mut pair.outbox);
    assert!(matches!(&sent[..], [(_, datagram)] if datagram.len() == 32), "{sent:?}");
}

#[test]
fn a_peer_that_is_removed_is_gone_and_its_place_is_used_again() {
    let mut pair = Pair::new();
    pair.send(0);
    pair.settle(place_of(A));
    let gone = PeerUpdate { remove: true, ..PeerUpdate::of(key(B).public()) };
    pair.a.set(Update { peers: vec![gone, peer(3)], ..Update::default() });
    assert_eq!(pair.a.route(&packet(A, B, 0)), None);
    assert_eq!(pair.a.describe().peers.len(), 1);
    assert_eq!(pair.a.peers.len(), 1);
    let unknown = PeerUpdate { update_only: true, ..PeerUpdate::of(key(4).public()) };
    pair.a.set(Update { peers: vec![unknown, peer(A)], ..Update::default() });
    assert_eq!(pair.a.describe().peers.len(), 1, "neither the unknown nor ourselves");
    pair.a.set(Update { replace_peers: true, peers: vec![peer(5)], ..Update::default() });
    assert_eq!(pair.a.describe().peers[0].key, key(5).public());
}

#[test]
fn handshakes_beyond_the_limit_are_asked_for_a_cookie_and_a_cookie_helps() {
    let mut pair = Pair::new();
    pair.send(0);
    let [(_, init)] = datagrams(&mut pair.outbox).try_into().unwrap();
    let mut cookies = 0;
    for _ in 0..HANDSHAKES_PER_SECOND {
        pair.b.open((place_of(A).into(), &init), &mut [0; 2000], &mut pair.outbox, pair.now);
        cookies += datagrams(&mut pair.outbox).iter().filter(|(_, d)| d[0] == 3).count();
    }
    assert!(cookies > 0);
    // It carries a cookie from now on.
    pair.b.open((place_of(A).into(), &init), &mut [0; 2000], &mut pair.outbox, pair.now);
    let [(_, reply)] = datagrams(&mut pair.outbox).try_into().unwrap();
    pair.a.open((place_of(B).into(), &reply), &mut [0; 2000], &mut pair.outbox, pair.now);
    let place = pair.a.by_key[&key(B).public()];
    pair.a.peers[place].as_mut().unwrap().ask_again(&mut pair.outbox);
    let [(_, init)] = datagrams(&mut pair.outbox).try_into().unwrap();
    // A source has only so many; then it waits.
    pair.b.open((place_of(A).into(), &init), &mut [0; 2000], &mut pair.outbox, pair.now);
    assert!(datagrams(&mut pair.outbox).is_empty());
    let later = pair.now + Duration::from_secs(1);
    pair.b.open((place_of(A).into(), &init), &mut [0; 2000], &mut pair.outbox, later);
    let [(_, response)] = datagrams(&mut pair.outbox).try_into().unwrap();
    assert_eq!(response[0], 2, "a response");
}

proptest::proptest! {
    #[test]
    fn no_datagram_panics(
        kind in 0u8..6, mut datagram in proptest::collection::vec(proptest::num::u8::ANY, 0..200),
    ) {
        if let Some(head) = datagram.first_chunk_mut::<4>() {
            *head = [kind, 0, 0, 0];
        }
        let (mut noise, mut outbox) = (side(A, B), Outbox::default());
        let opened = noise.open((place_of(B).into(), &datagram), &mut [0; 300], &mut outbox, Instant::now());
        proptest::prop_assert_eq!(opened, None);
    }
}

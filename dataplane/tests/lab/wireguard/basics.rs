//! What passes through a tunnel.

use std::net::IpAddr;

use sixwire_proto::keys::PresharedKey;

use super::ground::{End, FAMILIES, Family, cabled, two, until};

/// Two ends with a preshared key.
fn keyed(octets: [u8; 2]) -> [End; 2] {
    let [mut a, mut b] = octets.map(End::start);
    cabled(&a, &b);
    let key = Some(PresharedKey::from_octets([7; 32]));
    a.wants(&b, Some(b.endpoint(Family::V4)));
    b.wants(&a, Some(a.endpoint(Family::V4)));
    for end in [&mut a, &mut b] {
        let peers = end.desired.tunnels.values_mut().flat_map(|t| t.wireguard.peers.values_mut());
        peers.for_each(|peer| peer.preshared_key = key.clone());
    }
    a.up();
    b.up();
    [a, b]
}

#[test]
fn both_families_pass_inside_both_families() {
    let [a, b] = keyed([71, 72]);
    for outer in FAMILIES {
        a.change_peer(|peer| peer.endpoint = Some(b.endpoint(outer)));
        b.change_peer(|peer| peer.endpoint = Some(a.endpoint(outer)));
        for inner in FAMILIES {
            for (from, to) in [(&a, &b), (&b, &a)] {
                from.reaches(to.inner(inner));
                let flood = format!("ping -n -f -c 100 -W 5 {}", to.inner(inner));
                let said = from.sh(&flood);
                assert!(said.contains(" 0% packet loss"), "{inner:?} over {outer:?}: {said}");
            }
            a.streams(&b, inner, STREAM);
        }
        for (one, other) in [(&a, &b), (&b, &a)] {
            assert_eq!(one.seen(other).endpoint, Some(other.endpoint(outer)));
        }
    }
    let (a_sees, b_sees) = (a.seen(&b), b.seen(&a));
    for seen in [a_sees, b_sees] {
        assert!(seen.rx_bytes > 4 * STREAM as u64 && seen.tx_bytes > 4 * STREAM as u64, "{seen:?}");
    }
    a.down();
    b.down();
}

#[test]
fn many_streams_pass_each_other() {
    let [a, b] = two([73, 74]);
    let streams: Vec<_> = (0..6)
        .flat_map(|number| {
            let family = FAMILIES[number % 2];
            [a.stream(&b, family, STREAM), b.stream(&a, family, STREAM)]
        })
        .collect();
    for stream in streams {
        stream.join().unwrap();
    }
    a.down();
    b.down();
}

#[test]
fn a_keepalive_makes_a_session_before_any_packet() {
    let [a, b] = two([75, 76]);
    assert_eq!(a.seen(&b).handshake_age, None, "nobody has said anything");
    a.change_peer(|peer| peer.keepalive = Some(1));
    until("a session", || a.seen(&b).handshake_age);
    until("a keepalive", || (b.seen(&a).rx_bytes > 0).then_some(()));
    assert!(a.pings(b.inner(Family::V6), 0).status.success(), "no octets at all");
    a.down();
    b.down();
}

#[test]
fn a_device_without_peers_drops_what_it_gets_and_takes_peers_later() {
    let [mut a, b] = two([77, 78]);
    b.reaches_peerless(&mut a);
    a.reaches_both(&b);
    a.down();
    b.down();
}

impl End {
    /// Takes the peers of `other` away, sends in vain, and gives them back.
    fn reaches_peerless(&self, other: &mut Self) {
        let peers = other.tunnel().wireguard.peers.clone();
        other.update(|update| update.wireguard.removed = peers.keys().copied().collect());
        let observed = other.observe().tunnels.remove(&other.name()).unwrap();
        assert!(observed.wireguard.unwrap().peers.is_empty());
        let of_self: [IpAddr; 2] = FAMILIES.map(|family| self.inner(family));
        for to in of_self {
            assert!(!other.hears(to, 100, 5), "nobody to send to");
        }
        assert!(!self.hears(other.inner(Family::V6), 100, 5), "nobody is who we are");
        assert_eq!(self.seen(other).handshake_age, None);
        other.update(|update| update.wireguard.peers = peers);
        assert_eq!(other.node.planned(&other.data, &other.desired), []);
    }
}

/// Octets.
const STREAM: usize = 1 << 20;

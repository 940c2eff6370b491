//! Ends that are not there yet, or not for a while.

use std::net::UdpSocket;
use std::time::Duration;

use super::ground::{End, FAMILIES, Family, cabled, host_address, two};
use crate::node::PORT;

#[test]
fn what_is_sent_before_the_other_end_is_there_arrives_when_it_is() {
    let [mut a, mut b] = [141, 142].map(End::start);
    cabled(&a, &b);
    a.wants(&b, Some(b.endpoint(Family::V4)));
    b.wants(&a, None);
    a.up();
    let to = b.inner(Family::V6);
    let inbox = b.node.run(move || async move { UdpSocket::bind((to, 9)).unwrap() });
    inbox.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    a.node.run(move || async move {
        let socket = UdpSocket::bind("[::]:0").unwrap();
        for number in 0..20u8 {
            socket.send_to(&[number], (to, 9)).unwrap();
        }
    });
    b.up();
    for number in 0..20 {
        let mut octet = [0];
        inbox.recv(&mut octet).unwrap();
        assert_eq!(octet, [number], "in its order");
    }
    a.down();
    b.down();
}

#[test]
fn an_endpoint_without_a_route_is_reached_once_there_is_one() {
    let [a, b] = two([143, 144]);
    for (outer, ip, bits) in [(Family::V4, "198.51.100.7", 32), (Family::V6, "2001:db8:51::7", 128)]
    {
        a.reaches_both(&b);
        a.change_peer(|peer| {
            peer.endpoint = Some((ip.parse::<std::net::IpAddr>().unwrap(), PORT).into())
        });
        b.forget_place();
        assert!(!a.hears(b.inner(Family::V6), 10, 5), "there is no route");
        host_address(&b.node, ip.parse().unwrap());
        assert!(!a.hears(b.inner(Family::V6), 10, 5), "there is still none");
        a.sh(&format!("ip route add {ip}/{bits} via {}", b.outer(outer)));
        a.reaches_both(&b);
        assert_eq!(a.seen(&b).endpoint.map(|place| place.ip().to_string()).as_deref(), Some(ip));
    }
    a.down();
    b.down();
}

#[test]
fn a_wire_that_was_cut_carries_on_when_it_is_mended() {
    let [a, b] = two([145, 146]);
    for outer in FAMILIES {
        a.change_peer(|peer| peer.endpoint = Some(b.endpoint(outer)));
        a.reaches_both(&b);
        let sessions = a.seen(&b).handshake_age;
        b.sh("ip link set cable down");
        assert!(!a.hears(b.inner(Family::V6), 10, 10));
        b.sh("ip link set cable up");
        // The kernel takes IPv6 addresses away with the carrier.
        b.output(&format!("ip addr add {}/64 dev cable nodad", b.outer(Family::V6)));
        a.reaches_both(&b);
        assert!(sessions.is_some());
    }
    a.down();
    b.down();
}

#[test]
fn both_ends_may_begin_at_once() {
    let [a, b] = two([147, 148]);
    for _ in 0..3 {
        let (one, other) = (a.inner(Family::V6), b.inner(Family::V6));
        std::thread::scope(|scope| {
            let ends = [(&a, other), (&b, one)];
            for (end, to) in ends {
                scope.spawn(move || end.reaches(to));
            }
        });
        // Sessions go with their peers, at both ends.
        for end in [&a, &b] {
            let peers = end.tunnel().wireguard.peers.clone();
            end.update(|update| {
                update.wireguard.removed = peers.keys().copied().collect();
                update.wireguard.peers = peers;
            });
        }
    }
    a.reaches_both(&b);
    a.down();
    b.down();
}

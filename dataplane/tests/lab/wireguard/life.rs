//! Tunnels that come and go, and the places they are in.

use std::net::{Ipv6Addr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use sixwire_dataplane::Error;
use sixwire_dataplane::model::Change;

use super::ground::{End, FAMILIES, Family, cabled, host_address, is_kernel, pause, two, until};
use crate::node::{Node, PORT};

#[test]
fn a_tunnel_switched_off_is_silent_and_works_again_once_on() {
    let [mut a, b] = two([151, 152]);
    a.reaches_both(&b);
    let (name, link) = (a.name(), a.observe().tunnels[&a.name()].link);
    a.sh(&format!("ip link set {name} down"));
    assert!(!b.hears(a.inner(Family::V6), 10, 5));
    // The kernel's does not hold its port meanwhile.
    let port = a.node.run(|| async { UdpSocket::bind((Ipv6Addr::UNSPECIFIED, PORT)) });
    assert_eq!(port.is_ok(), is_kernel());
    if is_kernel() {
        let mut update = sixwire_dataplane::model::TunnelUpdate::default();
        (update.bring_up, update.wireguard.port) = (true, Some(PORT));
        let refused = a.apply(Change::UpdateTunnel(name.clone(), update));
        assert!(matches!(refused, Err(Error::PortTaken { port: PORT, .. })), "{refused:?}");
    }
    drop(port);
    a.up();
    assert_eq!(a.observe().tunnels[&name].link, link);
    a.reaches_both(&b);
    b.reaches_both(&a);
    a.down();
    b.down();
}

#[test]
fn tunnels_are_deleted_and_made_under_traffic() {
    let [mut a, b] = two([153, 154]);
    a.reaches_both(&b);
    let stop = Arc::new(AtomicBool::new(false));
    let floods = [(&a, &b), (&b, &a)].map(|(from, to)| {
        let (stop, to) = (Arc::clone(&stop), FAMILIES.map(|family| to.inner(family)));
        from.node.run(move || async move {
            let sockets = ["0.0.0.0:0", "[::]:0"].map(|any| UdpSocket::bind(any).unwrap());
            std::thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    for (socket, to) in sockets.iter().zip(to) {
                        // It is unreachable for a while: that is the subject.
                        let _ = socket.send_to(&[7; 1000], (to, 7));
                    }
                    pause(Duration::from_micros(100));
                }
            })
        })
    });
    let wanted = a.desired.tunnels.clone();
    for _ in 0..5 {
        a.reaches_both(&b);
        a.clear();
        assert!(!a.sh("ip -o link").contains("sw-"));
        a.desired.tunnels = wanted.clone();
        a.up();
    }
    a.reaches_both(&b);
    b.reaches_both(&a);
    stop.store(true, Ordering::Relaxed);
    for flood in floods {
        flood.join().unwrap();
    }
    a.down();
    b.down();
}

#[test]
fn many_tunnels_come_and_go_and_free_their_ports() {
    let mut a = End::start(155);
    for _ in 0..3 {
        for octet in 210..=240 {
            let (name, mut tunnel) = a.node.tunnel_to_stranger(octet);
            tunnel.wireguard.port = PORT + u16::from(octet);
            a.desired.tunnels.insert(name, tunnel);
        }
        a.up();
        let bound = |a: &End| {
            a.node.run(|| async {
                let free =
                    |octet: &u16| UdpSocket::bind((Ipv6Addr::UNSPECIFIED, PORT + octet)).is_ok();
                (210..=240).filter(|octet| !free(octet)).count()
            })
        };
        assert_eq!((a.observe().tunnels.len(), bound(&a)), (31, 31));
        a.clear();
        assert!(!a.sh("ip -o link").contains("sw-"));
        assert_eq!(bound(&a), 0);
    }
    a.down();
}

#[test]
fn a_port_is_of_one_tunnel() {
    let [mut a, b] = two([156, 157]);
    a.reaches_both(&b);
    let (name, tunnel) = a.node.tunnel_to_stranger(199);
    let refused = a.apply(Change::CreateTunnel(name.clone(), tunnel.clone()));
    assert!(matches!(refused, Err(Error::PortTaken { port: PORT, .. })), "{refused:?}");
    a.reaches_both(&b);
    let mut other = tunnel;
    other.wireguard.port = PORT + 1;
    a.desired.tunnels.insert(name, other);
    a.up();
    a.reaches_both(&b);
    a.down();
    b.down();
}

#[test]
fn a_tunnel_moved_elsewhere_carries_on_there_and_is_ours_again_when_it_returns() {
    let [mut a, b] = two([158, 159]);
    a.reaches_both(&b);
    let (name, away) = (a.name(), Node::start(204));
    a.sh(&format!("ip link set {name} netns {}", away.tid));
    away.sh("ip link set lo up");
    host_address(&away, a.node.address());
    away.sh(&format!("ip link set {name} up"));
    away.sh(&format!("ip -6 route add {} dev {name} src {}", b.node.prefix(), a.node.address()));
    // Its datagrams still go where it was made.
    away.sh(&format!("ping -n -c 1 -W 10 {}", b.node.address()));
    assert_eq!(a.observe().tunnels.len(), 0, "it is not here");
    if is_kernel() {
        let again = a.apply(Change::CreateTunnel(name.clone(), a.tunnel().clone()));
        assert!(matches!(again, Err(Error::PortTaken { port: PORT, .. })), "{again:?}");
        a.settle();
        assert!(!a.sh("ip -o link").contains("sw-"), "what was made of it goes again");
        away.sh(&format!("ip link set {name} netns {}", a.node.tid));
    }
    a.up();
    a.reaches_both(&b);
    a.down();
    b.down();
}

#[test]
fn a_namespace_that_dies_takes_its_tunnels_and_nobody_elses() {
    let [a, mut b] = two([160, 161]);
    a.reaches_both(&b);
    drop(a);
    until("the other end of the cable to go", || {
        (!b.sh("ip -o link").contains("cable")).then_some(())
    });
    assert!(!b.hears("fd00:0:0:a0::1".parse().unwrap(), 10, 3));
    // It returns, with the same key.
    let mut a = End::start(160);
    cabled(&a, &b);
    a.wants(&b, Some(b.endpoint(Family::V4)));
    a.up();
    a.reaches_both(&b);
    b.up();
    b.reaches_both(&a);
    a.down();
    b.down();
}

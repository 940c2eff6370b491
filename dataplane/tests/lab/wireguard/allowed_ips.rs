//! Which packets go to which peer, and whose sources are believed.

use std::net::{IpAddr, UdpSocket};
use std::time::Duration;

use sixwire_dataplane::model::{Peer, RouteKey};
use sixwire_proto::keys::WgPublicKey;
use sixwire_proto::prefix::Prefix;

use super::ground::{End, Family, address, cabled, host_address, prefixes, two, until, wire};
use crate::node::PORT;

#[test]
fn sources_that_are_not_allowed_are_dropped_and_destinations_that_are_not_are_not_sent() {
    let [a, b] = two([101, 102]);
    let good = a.inner(Family::V6);
    let bad: IpAddr = "2001:db8:bad::1".parse().unwrap();
    host_address(&a.node, bad);
    b.change_peer(|peer| peer.allowed_ips = prefixes(&["fd00:0:0:65::/64"]));
    let to = b.inner(Family::V6);
    let inbox = b.node.run(move || async move { UdpSocket::bind((to, 8)).unwrap() });
    inbox.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let send = |from: IpAddr| {
        a.node.run(move || async move {
            UdpSocket::bind((from, 0)).unwrap().send_to(b"hello", (to, 8)).unwrap();
        });
    };
    let receive = || inbox.recv_from(&mut [0; 10]).unwrap().1.ip();
    a.reaches(to);
    for _ in 0..5 {
        send(bad);
    }
    send(good);
    assert_eq!(receive(), good, "what one peer says arrives in its order");
    b.change_peer(|peer| peer.allowed_ips = prefixes(&["::/0"]));
    send(bad);
    assert_eq!(receive(), bad);
    // And the other way round.
    a.change_peer(|peer| peer.allowed_ips = prefixes(&["fd00:0:0:66::1/128"]));
    let before = a.seen(&b).tx_bytes;
    assert!(!a.hears(b.inner(Family::V4), 1000, 3));
    assert!(a.seen(&b).tx_bytes < before + 1000, "nothing for others is sent to it");
    a.reaches(to);
    a.down();
    b.down();
}

#[test]
fn prefixes_move_from_peer_to_peer_and_the_longest_counts() {
    let [mut a, mut b, mut c] = [103, 104, 105].map(End::start);
    cabled(&a, &b);
    wire([(&a.node, "second"), (&c.node, "cable")]);
    address(&a.node, "second", [198, 51, 100, 1].into());
    address(&c.node, "cable", [198, 51, 100, 2].into());
    let of_both: IpAddr = "fd00:0:0:77::7".parse().unwrap();
    for end in [&b, &c] {
        host_address(&end.node, of_both);
        end.serve(of_both);
    }
    let to_c = Peer {
        endpoint: Some(([198, 51, 100, 2], PORT).into()),
        allowed_ips: prefixes(&["fd00:0:0:69::/64"]),
        ..Peer::default()
    };
    let of_c = c.node.key().public();
    let tunnel = a.wants(&b, Some(b.endpoint(Family::V4)));
    tunnel.wireguard.peers.insert(of_c, to_c.clone());
    b.wants(&a, None);
    c.wants(&a, None);
    for end in [&mut a, &mut b, &mut c] {
        end.up();
    }
    let by_b = a.desired.routes[&RouteKey::to(b.node.prefix())];
    a.desired.routes.insert(RouteKey::to("fd00:0:0:77::/64".parse().unwrap()), by_b);
    a.node.reconcile(&a.data, &a.desired);
    let give = |key: WgPublicKey, peer: &Peer| {
        a.update(|update| update.wireguard.peers = [(key, peer.clone())].into());
    };
    let goes_to = || {
        let before = [a.seen(&b).rx_bytes, a.seen(&c).rx_bytes];
        assert!(a.hears(of_both, 1000, 400));
        let after = [a.seen(&b).rx_bytes, a.seen(&c).rx_bytes];
        assert!((after[0] > before[0] + 1000) != (after[1] > before[1] + 1000), "one of them");
        if after[0] > before[0] + 1000 { 'b' } else { 'c' }
    };
    assert_eq!(goes_to(), 'b', "it has ::/0");
    let mut more = to_c.clone();
    more.allowed_ips.insert("fd00:0:0:77::/64".parse().unwrap());
    give(of_c, &more);
    assert_eq!(goes_to(), 'c', "it has the longer prefix");
    let mut to_b = a.tunnel().wireguard.peers[&b.node.key().public()].clone();
    to_b.allowed_ips.insert("fd00:0:0:77::/64".parse().unwrap());
    give(b.node.key().public(), &to_b);
    assert_eq!(goes_to(), 'b', "a prefix has one owner, the last");
    let device = a.observe().tunnels[&a.name()].wireguard.clone().unwrap();
    assert_eq!(device.peers[&of_c].allowed_ips, to_c.allowed_ips, "and the other has it no more");
    give(of_c, &more);
    assert_eq!(goes_to(), 'c');
    give(of_c, &to_c);
    assert!(!a.hears(of_both, 1000, 3) || goes_to() == 'b', "what is left of b's");
    for end in [&a, &b, &c] {
        end.down();
    }
}

#[test]
fn very_many_peers_and_prefixes_are_set_and_read_back_whole() {
    let mut a = End::start(106);
    let stranger = End::start(107);
    let many = |peer: u16| {
        let key =
            WgPublicKey(std::array::from_fn(
                |at| if at == 0 { 9 } else { peer.to_be_bytes()[at % 2] },
            ));
        let allowed = (0..3).map(|n| format!("fd00:1:{peer:x}:{n}::/64").parse().unwrap());
        let peer = Peer {
            allowed_ips: allowed.collect(),
            endpoint: Some(([192, 0, 2, 9], peer + 1).into()),
            keepalive: Some(peer % 7 * 100 + 100),
            ..Peer::default()
        };
        (key, peer)
    };
    let tunnel = a.wants(&stranger, None);
    let first = tunnel.wireguard.peers.values_mut().next().unwrap();
    first
        .allowed_ips
        .extend((0..1000).map(|n| format!("fd00:2:{n:x}::/48").parse::<Prefix>().unwrap()));
    tunnel.wireguard.peers.extend((0..300).map(many));
    a.up();
    let name = a.name();
    let wanted = |a: &End| a.desired.tunnels[&name].wireguard.peers.len();
    let there = |a: &End| a.observe().tunnels[&name].wireguard.clone().unwrap().peers.len();
    assert_eq!(there(&a), 301);
    // In place, all in one change: some go, some come, some are others.
    let tunnel = a.desired.tunnels.get_mut(&name).unwrap();
    tunnel.wireguard.peers.retain(|key, _| key.0[2] % 2 == 0 || key.0[0] != 9);
    tunnel.wireguard.peers.extend((300..400).map(many));
    let first = tunnel.wireguard.peers.get_mut(&stranger.node.key().public()).unwrap();
    first.allowed_ips.retain(|prefix| prefix.length() == 48);
    let link = a.observe().tunnels[&name].link;
    a.node.reconcile(&a.data, &a.desired);
    assert_eq!(a.node.planned(&a.data, &a.desired), []);
    assert_eq!((there(&a), a.observe().tunnels[&name].link), (wanted(&a), link));
    a.down();
    stranger.down();
}

#[test]
fn a_leaf_sends_what_is_its_own_and_its_link_local_address() {
    let [a, b] = two([108, 109]);
    b.change_peer(|peer| {
        peer.allowed_ips = prefixes(&["fd00:0:0:6c::/64", "fe80::/10", "ff00::/8"])
    });
    a.reaches(b.inner(Family::V6));
    let to = format!("{}%{}", b.node.id.link_local(), a.name());
    until("an answer on the link", || {
        a.output(&format!("ping -n -c 1 -W 1 {to}")).status.success().then_some(())
    });
    assert!(!a.hears(b.inner(Family::V4), 10, 3), "its IPv4 address is not among them");
    b.change_peer(|peer| peer.allowed_ips.extend(prefixes(&["10.99.0.108/32"])));
    a.reaches_both(&b);
    a.down();
    b.down();
}

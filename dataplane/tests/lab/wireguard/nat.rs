//! An end behind a gateway that gives it another address.

use std::sync::Arc;
use std::time::Duration;

use super::ground::{End, Family, address, pause, until, wire};
use crate::node::Node;

/// a behind a gateway that forgets after two silent seconds, b outside.
struct Masqueraded {
    a: End,
    b: End,
    gateway: Arc<Node>,
}

impl Masqueraded {
    fn start(octets: [u8; 2]) -> Self {
        let [mut a, mut b] = octets.map(End::start);
        let gateway = Node::start(203);
        wire([(&a.node, "cable"), (&gateway, "inside")]);
        wire([(&b.node, "cable"), (&gateway, "outside")]);
        for (node, interface, ip) in [
            (&a.node, "cable", [10, 9, 0, 2]),
            (&gateway, "inside", [10, 9, 0, 1]),
            (&gateway, "outside", [192, 0, 2, 1]),
            (&b.node, "cable", [192, 0, 2, b.octet()]),
        ] {
            address(node, interface, ip.into());
        }
        a.sh("ip route add default via 10.9.0.1");
        gateway.sh("sysctl -qw net.ipv4.ip_forward=1");
        gateway.sh("nft add table ip t");
        gateway.sh("nft add chain ip t f { type filter hook forward priority 0 ; }");
        gateway.sh("nft add rule ip t f iifname outside ct state new drop");
        gateway.sh("nft add chain ip t n { type nat hook postrouting priority 100 ; }");
        gateway
            .sh("nft add rule ip t n oifname outside udp sport 1-65535 masquerade to :5000-5009");
        for timeout in ["udp_timeout", "udp_timeout_stream"] {
            gateway.sh(&format!("sysctl -qw net.netfilter.nf_conntrack_{timeout}=2"));
        }
        a.wants(&b, Some(b.endpoint(Family::V4)));
        b.wants(&a, None);
        a.up();
        b.up();
        Self { a, b, gateway }
    }
}

#[test]
fn an_end_behind_a_gateway_is_reached_as_long_as_it_keeps_its_mapping_alive() {
    let Masqueraded { a, b, gateway } = Masqueraded::start([131, 132]);
    a.change_peer(|peer| peer.keepalive = Some(1));
    a.reaches_both(&b);
    let place = b.seen(&a).endpoint.unwrap();
    assert_eq!(place.ip().to_string(), "192.0.2.1");
    assert!((5000..=5009).contains(&place.port()), "{place}");
    for _ in 0..2 {
        pause(SILENCE);
        assert!(b.hears(a.inner(Family::V6), 10, 10), "its keepalives keep the way open");
    }
    a.change_peer(|peer| peer.keepalive = None);
    pause(SILENCE);
    assert!(!b.hears(a.inner(Family::V6), 10, 5), "the gateway has forgotten it");
    a.reaches_both(&b);
    assert!(b.hears(a.inner(Family::V6), 10, 10));
    a.down();
    b.down();
    drop(gateway);
}

#[test]
fn a_mapping_that_changes_is_followed() {
    let Masqueraded { a, b, gateway } = Masqueraded::start([133, 134]);
    a.change_peer(|peer| peer.keepalive = Some(1));
    a.reaches_both(&b);
    let before = b.seen(&a).endpoint.unwrap();
    // As when a provider gives it another address.
    gateway.sh("nft flush chain ip t n");
    gateway.sh("nft add rule ip t n oifname outside udp sport 1-65535 masquerade to :6000-6009");
    gateway.sh("ip addr del 192.0.2.1/24 dev outside");
    address(&gateway, "outside", [192, 0, 2, 101].into());
    let place = until("another place", || b.seen(&a).endpoint.filter(|place| *place != before));
    assert_eq!(place.ip().to_string(), "192.0.2.101");
    assert!((6000..=6009).contains(&place.port()), "{place}");
    assert!(b.hears(a.inner(Family::V6), 10, 10), "nobody but the keepalive has spoken");
    a.reaches_both(&b);
    a.down();
    b.down();
}

/// Longer than the gateway remembers.
const SILENCE: Duration = Duration::from_secs(5);

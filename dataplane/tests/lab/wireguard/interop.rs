//! The embedded WireGuard against the kernel's, or, on a kernel that has none, `wireguard-go`: configured by `wg`.

use std::time::Duration;

use sixwire_dataplane::Choice;
use sixwire_proto::keys::PresharedKey;

use super::ground::{End, FAMILIES, Family, cabled, is_kernel, pause, until};
use crate::node::{Node, PORT};

/// The embedded one at `ours`, the other at `stock`.
struct Foreign {
    ours: End,
    stock: End,
}

impl Foreign {
    fn start(octets: [u8; 2]) -> Self {
        let ours = End::on(Node::start(octets[0]), Choice::Embedded);
        let stock = End::start(octets[1]);
        cabled(&ours, &stock);
        if !stock.output("ip link add wg0 type wireguard").status.success() {
            assert!(!is_kernel(), "the kernel has no WireGuard");
            stock.sh("wireguard-go wg0");
        }
        let mut foreign = Self { ours, stock };
        foreign.write("private", foreign.stock.node.key().octets());
        foreign.write("preshared", &[7; 32]);
        let private = foreign.file("private");
        foreign.stock.sh(&format!("wg set wg0 listen-port {PORT} private-key {private}"));
        foreign.stock.sh("ip link set wg0 mtu 1400 up");
        let (v6, v4) = (foreign.ours.node.prefix(), foreign.ours.inner(Family::V4));
        for (prefix, family) in [(v6.to_string(), Family::V6), (v4.to_string(), Family::V4)] {
            let source = foreign.stock.inner(family);
            foreign.stock.sh(&format!("ip route add {prefix} dev wg0 src {source}"));
        }
        let tunnel = foreign.ours.wants(&foreign.stock, None);
        let peer = tunnel.wireguard.peers.values_mut().next().unwrap();
        peer.preshared_key = Some(PresharedKey::from_octets([7; 32]));
        foreign.ours.up();
        foreign.introduce();
        foreign
    }

    fn file(&self, name: &str) -> String {
        self.stock.node.run_dir().join(name).display().to_string()
    }

    /// Writes a key as `wg` reads it.
    fn write(&self, name: &str, key: &[u8; 32]) {
        std::fs::write(self.file("octets"), key).unwrap();
        let text = self.stock.sh(&format!("base64 {}", self.file("octets")));
        std::fs::write(self.file(name), text).unwrap();
    }

    /// Makes ours a peer of the stock one, which forgets what it knew of it.
    fn introduce(&self) {
        self.write("public", &self.ours.node.key().public().0);
        let key = std::fs::read_to_string(self.file("public")).unwrap();
        let key = key.trim();
        self.stock.sh(&format!("wg set wg0 peer {key} remove"));
        let preshared = self.file("preshared");
        self.stock.sh(&format!(
            "wg set wg0 peer {key} preshared-key {preshared} allowed-ips ::/0,0.0.0.0/0"
        ));
    }

    /// Tells the stock one where ours is.
    fn locate(&self) {
        let key = std::fs::read_to_string(self.file("public")).unwrap();
        let place = self.ours.endpoint(Family::V4);
        self.stock.sh(&format!("wg set wg0 peer {} endpoint {place}", key.trim()));
    }

    /// Has ours forget the session.
    fn forget(&self) {
        let peers = self.ours.tunnel().wireguard.peers.clone();
        self.ours.update(|update| {
            update.wireguard.removed = peers.keys().copied().collect();
            update.wireguard.peers = peers;
        });
    }

    fn end(self) {
        self.stock.sh("ip link del wg0");
        self.ours.down();
        self.stock.down();
    }
}

#[test]
fn either_side_may_begin() {
    let foreign = Foreign::start([171, 172]);
    let Foreign { ours, stock } = &foreign;
    for outer in FAMILIES {
        ours.change_peer(|peer| peer.endpoint = Some(stock.endpoint(outer)));
        ours.reaches_both(stock);
        stock.reaches_both(ours);
    }
    // The stock one forgets; it knows no place until ours has spoken, and ours has a session that is none any more.
    foreign.introduce();
    foreign.locate();
    stock.reaches_both(ours);
    ours.reaches_both(stock);
    foreign.forget();
    stock.reaches_both(ours);
    ours.reaches_both(stock);
    foreign.end();
}

#[test]
fn streams_pass_whole_both_ways_with_all_offloads() {
    let foreign = Foreign::start([173, 174]);
    let Foreign { ours, stock } = &foreign;
    for outer in FAMILIES {
        ours.change_peer(|peer| peer.endpoint = Some(stock.endpoint(outer)));
        ours.reaches_both(stock);
        for inner in FAMILIES {
            ours.streams(stock, inner, STREAM);
            for octets in [1400 - 48, 1400 - 28, 20_000, 65_000] {
                assert!(ours.hears(stock.inner(inner), octets, 50), "{octets} octets");
                assert!(stock.hears(ours.inner(inner), octets, 50), "{octets} octets");
            }
        }
    }
    foreign.end();
}

#[test]
fn sessions_are_renewed_under_traffic_without_a_loss() {
    if std::env::var_os("SIXWIRE_FULL").is_none() {
        println!("SKIP takes minutes: scripts/test --full runs it, or SIXWIRE_FULL=1");
        return;
    }
    for first in 0..2 {
        let foreign = Foreign::start([175 + 2 * first, 176 + 2 * first]);
        let Foreign { ours, stock } = &foreign;
        ours.change_peer(|peer| peer.endpoint = Some(stock.endpoint(Family::V4)));
        foreign.locate();
        // Whoever asked for the session renews it.
        let (from, to) = if first == 0 { (ours, stock) } else { (stock, ours) };
        from.reaches_both(to);
        let mut age = Duration::ZERO;
        until("a session of a minute", || (ours.seen(stock).handshake_age? > MINUTE).then_some(()));
        let renewed = |age: &mut Duration| {
            let last = std::mem::replace(age, ours.seen(stock).handshake_age.unwrap());
            *age < last
        };
        while !renewed(&mut age) {
            assert!(age < 3 * MINUTE, "{age:?}");
            assert!(from.loses_nothing(to.inner(Family::V6)), "at an age of {age:?}");
            pause(Duration::from_millis(20));
        }
        for _ in 0..100 {
            assert!(from.loses_nothing(to.inner(Family::V6)));
        }
        foreign.end();
    }
}

/// Octets.
const STREAM: usize = 8 << 20;
const MINUTE: Duration = Duration::from_secs(60);

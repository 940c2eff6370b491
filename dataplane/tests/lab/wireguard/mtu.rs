//! Packets of every size, and links that are smaller.

use sixwire_dataplane::model::{RouteKey, RouteTarget};

use super::ground::{End, FAMILIES, Family, address, cabled, two, wire};
use crate::node::{Node, PORT};

/// Octets before those of a datagram, or of an echo request.
fn headers(family: Family) -> usize {
    match family {
        Family::V4 => 28,
        Family::V6 => 48,
    }
}

/// How many packets an end has cut into fragments.
fn fragmented(end: &End) -> u64 {
    let [v4, v6] = ["/proc/thread-self/net/snmp", "/proc/thread-self/net/snmp6"]
        .map(|path| end.node.run(move || async move { std::fs::read_to_string(path).unwrap() }));
    let mut rows = v4.lines().filter_map(|line| line.strip_prefix("Ip: "));
    let names = rows.next().unwrap().split(' ');
    let (_, v4) =
        names.zip(rows.next().unwrap().split(' ')).find(|(n, _)| *n == "FragOKs").unwrap();
    let v6 = v6.lines().find_map(|line| line.strip_prefix("Ip6FragOKs")).unwrap();
    [v4, v6].iter().map(|number| number.trim().parse::<u64>().unwrap()).sum()
}

#[test]
fn packets_of_every_size_near_the_limits_pass_whole() {
    let [a, b] = two([121, 122]);
    for outer in FAMILIES {
        let around = headers(outer) + 32;
        a.change_peer(|peer| peer.endpoint = Some(b.endpoint(outer)));
        for mtu in [1280, 1281, 1295, 1420, 1440, 8913, 34_816] {
            for end in [&a, &b] {
                // Exactly what is needed: a padding beyond the MTU would have to be cut.
                end.sh(&format!("ip link set cable mtu {}", mtu + around));
                end.update(|update| update.mtu = u32::try_from(mtu).ok());
            }
            for inner in FAMILIES {
                a.reaches(b.inner(inner));
                let before = fragmented(&a) + fragmented(&b);
                let largest = mtu - headers(inner);
                for octets in [0, 1, 15, 16, 17, 255].into_iter().chain(largest - 34..=largest) {
                    let what = || format!("{octets} octets of {inner:?} of {mtu} over {outer:?}");
                    assert!(a.hears(b.inner(inner), octets, 50), "{}", what());
                }
                assert_eq!(
                    fragmented(&a) + fragmented(&b),
                    before,
                    "{inner:?} of {mtu} over {outer:?}"
                );
                for octets in [largest + 1, 2 * largest, 65_000].map(|n| n.min(65_000)) {
                    assert!(
                        a.hears(b.inner(inner), octets, 50),
                        "{octets} of {mtu} over {outer:?}"
                    );
                }
                let ping = |octets| a.pings(b.inner(inner), octets);
                assert!(ping(largest).status.success());
                let refused = ping(largest + 1);
                let said = String::from_utf8_lossy(&refused.stderr).into_owned();
                assert!(
                    said.contains(&format!("mtu: {mtu}")) || said.contains(&format!("mtu={mtu}")),
                    "{said}"
                );
            }
        }
    }
    a.down();
    b.down();
}

#[test]
fn an_underlay_that_is_too_small_carries_it_in_fragments() {
    let [a, b] = two([123, 124]);
    for end in [&a, &b] {
        end.sh("ip link set cable mtu 1280");
    }
    for outer in FAMILIES {
        a.change_peer(|peer| peer.endpoint = Some(b.endpoint(outer)));
        for inner in FAMILIES {
            a.reaches(b.inner(inner));
            for octets in [1400 - headers(inner), 20_000, 65_000] {
                assert!(
                    a.hears(b.inner(inner), octets, 50),
                    "{octets} of {inner:?} over {outer:?}"
                );
            }
            a.streams(&b, inner, STREAM);
        }
    }
    a.down();
    b.down();
}

/// A router between two ends, with a link of 1300 octets to the second, of which it says nothing.
fn narrow(octets: [u8; 2]) -> ([End; 2], std::sync::Arc<Node>) {
    let [mut a, mut b] = octets.map(End::start);
    let router = Node::start(202);
    wire([(&a.node, "cable"), (&router, "near")]);
    wire([(&b.node, "cable"), (&router, "far")]);
    router.sh("ip link set far mtu 1300");
    b.sh("ip link set cable mtu 1300");
    router.sh("sysctl -qw net.ipv4.ip_forward=1");
    for (node, interface, ip) in [
        (&a.node, "cable", [10, 9, 0, 2]),
        (&router, "near", [10, 9, 0, 1]),
        (&router, "far", [192, 0, 2, 1]),
        (&b.node, "cable", [192, 0, 2, b.octet()]),
    ] {
        address(node, interface, ip.into());
    }
    a.sh("ip route add 192.0.2.0/24 via 10.9.0.1");
    b.sh("ip route add 10.9.0.0/24 via 192.0.2.1");
    router.sh("nft add table ip t");
    router.sh("nft add chain ip t c { type filter hook output priority 0 ; }");
    router.sh("nft add rule ip t c ip protocol icmp drop");
    a.wants(&b, Some(b.endpoint(Family::V4)));
    b.wants(&a, Some(([10, 9, 0, 2], PORT).into()));
    a.up();
    b.up();
    ([a, b], router)
}

#[test]
fn a_router_that_is_too_small_and_does_not_say_so_is_passed() {
    let ([a, b], _router) = narrow([125, 126]);
    a.reaches_both(&b);
    for inner in FAMILIES {
        for octets in [1400 - headers(inner), 20_000] {
            assert!(a.hears(b.inner(inner), octets, 50), "{octets} octets of {inner:?}");
            assert!(b.hears(a.inner(inner), octets, 50), "{octets} octets of {inner:?}");
        }
        a.streams(&b, inner, STREAM);
    }
    a.down();
    b.down();
}

#[test]
fn a_smaller_tunnel_further_on_is_found_out() {
    let [mut a, mut m, mut b] = [127, 128, 129].map(End::start);
    cabled(&a, &m);
    wire([(&m.node, "second"), (&b.node, "cable")]);
    address(&m.node, "second", [198, 51, 100, 1].into());
    address(&b.node, "cable", [198, 51, 100, 2].into());
    m.sh("sysctl -qw net.ipv4.ip_forward=1");
    m.sh("sysctl -qw net.ipv6.conf.all.forwarding=1");
    a.wants(&m, Some(m.endpoint(Family::V4)));
    m.wants(&a, None);
    let narrow = m.wants(&b, Some(([198, 51, 100, 2], PORT).into()));
    narrow.wireguard.port = PORT + 1;
    narrow.mtu = 1280;
    b.wants(&m, None).mtu = 1280;
    for end in [&mut a, &mut m, &mut b] {
        end.up();
    }
    for (end, other) in [(&mut a, 129), (&mut b, 127)] {
        let by: Vec<RouteTarget> = end.desired.routes.values().copied().collect();
        let [v4, v6] = by[..] else { panic!("{by:?}") };
        let key = |prefix: String| RouteKey::to(prefix.parse().unwrap());
        end.desired.routes.insert(key(format!("10.99.0.{other}/32")), v4);
        end.desired.routes.insert(key(format!("fd00:0:0:{other:x}::/64")), v6);
        end.node.reconcile(&end.data, &end.desired);
    }
    for inner in FAMILIES {
        a.reaches(b.inner(inner));
        let too_long = a.pings(b.inner(inner), 1400 - headers(inner));
        assert!(!too_long.status.success());
        a.streams(&b, inner, STREAM);
        let fits = a.pings(b.inner(inner), 1280 - headers(inner));
        assert!(fits.status.success());
        let route = a.sh(&format!("ip route get {}", b.inner(inner)));
        assert!(route.contains("mtu 1280"), "{route}");
    }
    for end in [&a, &m, &b] {
        end.down();
    }
}

/// Octets.
const STREAM: usize = 1 << 19;

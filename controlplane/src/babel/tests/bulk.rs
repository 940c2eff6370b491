//! Many prefixes.

use std::time::Duration;

use sixwire_proto::babel::RouteKey;

use super::network::{Network, secs};

fn many(n: usize) -> RouteKey {
    RouteKey::to(format!("fd01:0:{:x}:{:x}::/64", n >> 16, n & 0xffff).parse().unwrap())
}

/// How many of the first `count` a node has.
fn have(network: &Network, node: usize, count: usize) -> usize {
    (0..count).filter(|n| network.metric(node, many(*n)).is_some()).count()
}

#[test]
fn ten_thousand_prefixes_cross_a_line_and_leave_again() {
    const COUNT: usize = 10_000;
    let mut network = Network::line(50, 3);
    (0..COUNT).for_each(|n| network.originate(0, many(n)));
    let last = |network: &Network| network.nodes[2].kernel.len() >= COUNT;
    let took = network.run_until("all at the far end", secs(5), last);
    assert!(took <= secs(1), "{took:?}");
    assert_eq!(have(&network, 2, COUNT), COUNT);
    let octets = network.wire_mut(0).octets;
    assert!(octets < COUNT * 40, "{octets} octets");
    network.run(secs(60));
    assert_eq!(have(&network, 2, COUNT), COUNT, "refreshed");
    for node in 0..3 {
        assert_eq!(network.count(node, "updates resent"), 0);
    }
    (0..COUNT).for_each(|n| network.withdraw(0, many(n)));
    let none = |network: &Network| network.nodes[2].kernel.len() < 10;
    let took = network.run_until("none at the far end", secs(5), none);
    assert!(took <= secs(1), "{took:?}");
}

#[test]
fn a_prefix_that_appears_while_a_dump_is_under_way_is_told_once() {
    const COUNT: usize = 10_000;
    let mut network = Network::line(53, 2);
    network.wire_mut(0).delay = Duration::from_millis(20);
    (0..COUNT).filter(|n| n % 2 == 0).for_each(|n| network.originate(0, many(n)));
    let some = |network: &Network| network.nodes[1].kernel.len() > 100;
    network.run_until("the dump has begun", secs(2), some);
    (0..COUNT).filter(|n| n % 2 == 1).for_each(|n| network.originate(0, many(n)));
    network.run_until("all there", secs(5), |network| have(network, 1, COUNT) == COUNT);
    let sent = network.count(0, "updates sent");
    assert!(sent < (COUNT + COUNT / 50) as u64, "{sent} for {COUNT}");
}

#[test]
fn a_dump_survives_loss_without_waiting_for_the_next() {
    const COUNT: usize = 2_000;
    let mut network = Network::line(51, 2);
    network.run(secs(3));
    network.wire_mut(0).loss = 20;
    (0..COUNT).for_each(|n| network.originate(0, many(n)));
    network.run_until("all there", secs(6), |network| have(network, 1, COUNT) == COUNT);
}

#[test]
fn a_prefix_that_flaps_while_it_waits_is_told_once() {
    let mut network = Network::line(52, 2);
    network.converge(secs(1));
    network.run(secs(1));
    network.wire_mut(0).delay = Duration::from_millis(500);
    let before = network.count(0, "updates sent");
    for _ in 0..100 {
        network.originate(0, many(1));
        network.withdraw(0, many(1));
    }
    network.originate(0, many(1));
    network.run(secs(3));
    let sent = network.count(0, "updates sent") - before;
    assert!(sent < 30, "{sent} for 201 changes");
    assert_eq!(have(&network, 1, 2), 1);
}

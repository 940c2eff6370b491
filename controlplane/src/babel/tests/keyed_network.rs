//! Whole networks whose wires have keys.

use std::time::Duration;

use sixwire_proto::babel::Destination;

use super::super::{Authenticity, Event, Input, Unauthenticated};
use super::network::{Arrival, Cut, Network, Oracle, id, key as prefix, link, secs};
use super::signer::{key, keyed};

/// A line of nodes whose wires have key 1.
fn line(seed: u64, count: usize) -> Network {
    let mut network = Network::new(seed).nodes(count);
    network.authentication = Some(keyed(&[key(1)]));
    (1..count).for_each(|node| {
        network.wire(&[node - 1, node]);
    });
    network
}

fn losses(network: &Network) -> usize {
    let events = network.nodes.iter().flat_map(|node| &node.events);
    events.filter(|event| matches!(event, Event::NeighbourDown { .. })).count()
}

#[test]
fn a_keyed_link_comes_up_within_a_hello_gap_and_four_round_trips() {
    for delay in [1, 50, 400] {
        let mut network = line(1, 2);
        network.wire_mut(0).delay = Duration::from_millis(delay);
        network.run(secs(1));
        network.carrier_down(0);
        network.run(secs(1));
        network.carrier_up(0);
        let took = network.converge(secs(20));
        assert!(
            took <= Duration::from_millis(delay * 8 + 105),
            "{took:?} at a delay of {delay} ms"
        );
    }
    let mut network = line(1, 6);
    let took = network.converge(secs(20));
    assert!(took < Duration::from_millis(500), "{took:?}");
}

#[test]
fn all_that_was_ever_said_is_refused_when_said_again() {
    let mut network = line(2, 3);
    network.tap = Some(Vec::new());
    network.converge(secs(20));
    network.run(secs(40));
    let heard = network.tap.take().unwrap();
    let before: Vec<_> = network.nodes.iter().map(|node| node.kernel.clone()).collect();
    let refused =
        |network: &Network| (0..3).map(|n| network.count(n, "dropped: stale packet counter")).sum();
    let base: u64 = refused(&network);
    heard.iter().for_each(|arrival| network.deliver(arrival));
    let after: Vec<_> = network.nodes.iter().map(|node| node.kernel.clone()).collect();
    assert_eq!(before, after);
    assert_eq!(refused(&network) - base, u64::try_from(heard.len()).unwrap());
}

#[test]
fn a_dead_node_is_not_revived_by_what_it_said() {
    let mut network = line(3, 3);
    network.tap = Some(Vec::new());
    network.converge(secs(20));
    network.run(secs(20));
    let heard = network.tap.take().unwrap();
    network.kill(2);
    network.run_until("the dead node is noticed", secs(60), |network| {
        network.metric(0, prefix(2)).is_none()
    });
    // With the counters in mind, and, much later, without.
    for pause in [0, 400] {
        network.run(secs(pause));
        for arrival in heard.iter().filter(|arrival| arrival.source == id(2).link_local()) {
            network.deliver(arrival);
            network.run(Duration::from_millis(100));
        }
        assert_eq!(network.metric(0, prefix(2)), None);
        let babel = network.nodes[1].babel.as_ref().unwrap();
        assert!(babel.neighbours().all(|one| one.link != link(1) || !one.cost.is_finite()));
    }
    let sent = network.count(1, "challenges sent");
    assert!(sent > 0, "a replay cannot be told from a restart");
    network.start(2);
    network.oracle = Oracle::Blind;
    network.converge(secs(20));
}

#[test]
fn a_restarted_node_with_new_counters_is_back_at_once() {
    let mut network = line(4, 3);
    network.oracle = Oracle::Blind;
    network.converge(secs(20));
    network.run(secs(20));
    for _ in 0..5 {
        network.kill(1);
        network.run(secs(2));
        network.start(1);
        let took = network.converge(secs(20));
        assert!(took < secs(2), "{took:?}");
    }
}

#[test]
fn reordering_on_the_way_costs_no_adjacency() {
    let mut network = line(5, 3);
    network.converge(secs(20));
    network.run(secs(10));
    for wire in 0..2 {
        network.wire_mut(wire).jitter = Duration::from_millis(200);
    }
    for n in 10..60 {
        network.originate(n % 3, prefix(n));
        network.run(secs(1));
    }
    assert_eq!(losses(&network), 0);
    let stale: u64 = (0..3).map(|n| network.count(n, "dropped: stale packet counter")).sum();
    assert_eq!(stale, 0, "the window is wide enough");
}

#[test]
fn keys_are_rotated_node_by_node_without_losing_a_neighbour() {
    let mut network = line(6, 3);
    network.converge(secs(20));
    network.run(secs(20));
    for keys in [&[key(1), key(2)][..], &[key(2)]] {
        for (node, wires) in [(0, &[0][..]), (1, &[0, 1]), (2, &[1])] {
            for wire in wires {
                network.rekey(node, *wire, &keyed(keys));
            }
            network.run(secs(30));
            assert!(network.is_converged());
        }
    }
    assert_eq!(losses(&network), 0);
    for node in 0..3 {
        assert_eq!(network.count(node, "dropped: wrong mac"), 0);
        let babel = network.nodes[node].babel.as_ref().unwrap();
        assert!(babel.neighbours().all(|one| one.authenticity == Authenticity::Authenticated));
    }
}

#[test]
fn keys_are_rolled_out_and_enforced_without_losing_a_neighbour() {
    let mut network = Network::line(7, 3);
    network.converge(secs(20));
    let rolling = super::super::Authentication::new(vec![key(1)], Unauthenticated::Accept).unwrap();
    for authentication in [rolling, keyed(&[key(1)])] {
        for (node, wires) in [(0, &[0][..]), (1, &[0, 1]), (2, &[1])] {
            for wire in wires {
                network.rekey(node, *wire, &authentication);
            }
            network.run(secs(30));
            assert!(network.is_converged());
        }
    }
    assert_eq!(losses(&network), 0);
}

#[test]
fn a_node_with_a_wrong_key_stays_outside() {
    let mut network = line(8, 2);
    network.authentication = Some(keyed(&[key(1)]));
    network.rekey(1, 0, &keyed(&[key(9)]));
    network.run(secs(100));
    assert_eq!(network.metric(0, prefix(1)), None);
    assert!(network.count(0, "dropped: wrong mac") > 10);
    assert!(network.nodes[0].babel.as_ref().unwrap().neighbours().next().is_none());
    network.rekey(1, 0, &keyed(&[key(1)]));
    network.converge(secs(20));
}

#[test]
fn a_flood_of_forgeries_changes_nothing_and_fills_nothing() {
    let mut network = line(9, 2);
    network.tap = Some(Vec::new());
    network.converge(secs(20));
    network.run(secs(10));
    let sample: Vec<Arrival> = network.tap.take().unwrap();
    let before = network.nodes[0].kernel.clone();
    let sent = network.count(0, "packets sent");
    for round in 0..100_000_usize {
        let mut forged = sample[round % sample.len()].clone();
        forged.node = 0;
        forged.source = id(round % 5000 + 1).link_local();
        let last = forged.bytes.len() - 1;
        forged.bytes[last] ^= u8::try_from(round % 255 + 1).unwrap();
        network.deliver(&forged);
    }
    assert_eq!(network.nodes[0].kernel, before);
    assert_eq!(network.nodes[0].babel.as_ref().unwrap().neighbours().count(), 1);
    assert_eq!(network.count(0, "dropped: wrong mac"), 100_000);
    assert_eq!(network.count(0, "packets sent"), sent, "and is answered by nothing");
    assert!(network.is_converged());
}

#[test]
fn loss_and_cuts_heal_on_keyed_wires_too() {
    for seed in 30..36 {
        let mut network = line(seed, 5);
        let last = network.wire(&[4, 0]);
        for wire in 0..=last {
            network.wire_mut(wire).loss = 20;
            network.wire_mut(wire).jitter = Duration::from_millis(30);
        }
        network.run(secs(60));
        network.wire_mut(0).cut = Cut::Silent;
        network.run(secs(60));
        network.wire_mut(0).cut = Cut::Whole;
        (0..=last).for_each(|wire| network.wire_mut(wire).loss = 0);
        network.converge(secs(40));
    }
}

#[test]
fn the_same_seed_gives_the_same_trace_and_no_key() {
    let run = || {
        let mut network = line(11, 3);
        network.converge(secs(20));
        network.run(secs(60));
        network.trace
    };
    let trace = run();
    assert!(trace == run(), "two runs differ");
    assert!(trace.contains("MacKey(hmac-sha256, secret)"));
    assert!(!trace.contains("1, 1, 1, 1, 1, 1, 1, 1"), "the key is thirty-two ones");
}

#[test]
fn an_unsigned_packet_on_a_keyed_link_is_complained_of() {
    let mut network = line(12, 2);
    network.run(secs(5));
    let (source, destination) = (id(1).link_local(), Destination::Multicast);
    let bytes = &[42, 2, 0, 0];
    network.input(0, Input::Packet { link: link(0), source, destination, bytes });
    let said = network.nodes[0].events.iter().any(|event| {
        event.to_string().ends_with("refused: it is not signed, and the link has keys")
    });
    assert!(said, "{:?}", network.nodes[0].events);
}

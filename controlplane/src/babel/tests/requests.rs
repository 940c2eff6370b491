//! Seqno requests and starvation (RFC 8966 §2.5, §3.8).

use std::time::Duration;

use sixwire_proto::metric::Cost;
use sixwire_proto::seqno::Seqno;

use super::super::{Event, Input, Output, Target};
use super::network::{Network, key, link as wire_link, secs};
use super::probe::{OWN, Probe, link, prefix, router};

const P: &str = "fd00:1::/64";

#[test]
fn our_number_goes_up_by_one_however_far_ahead_the_request_is() {
    let mut probe = Probe::among(1);
    probe.originate(P, 0);
    for (asked, seqno) in [(100, 100), (101, 101), (30_000, 102), (30_000, 103), (99, 103)] {
        probe.acknowledge(1);
        probe.outputs.clear();
        probe.ask(1, P, (OWN, asked, 1));
        assert_eq!(probe.babel.seqno(), Seqno(seqno), "asked for {asked}");
        assert_eq!(probe.told(1), [(P.to_string(), seqno, 0)]);
    }
    probe.ask(1, "fd00:2::/64", (OWN, 500, 64));
    assert_eq!(probe.babel.seqno(), Seqno(103), "not a prefix of ours");
}

#[test]
fn our_number_is_on_disk_before_it_is_announced() {
    let mut probe = Probe::among(1);
    probe.originate(P, 0);
    probe.acknowledge(1);
    probe.outputs.clear();
    probe.ask(1, P, (OWN, 101, 1));
    assert!(matches!(probe.outputs[..], [Output::Seqno(Seqno(101)), Output::Send { .. }]));
}

#[test]
fn a_request_that_our_route_satisfies_is_answered() {
    for (origin, seqno) in [(9, 5), (9, 4), (9, 0xfff0), (7, 5), (7, 500)] {
        let mut probe = Probe::among(2);
        probe.update(1, P, (9, 5, 10));
        probe.acknowledge(2);
        probe.outputs.clear();
        probe.ask(2, P, (origin, seqno, 64));
        assert_eq!(probe.told(2), [(P.to_string(), 5, 106)], "{origin} {seqno}");
        assert!(probe.asked(1).is_empty());
    }
}

#[test]
fn a_request_is_passed_on_towards_the_originator_once() {
    let mut probe = Probe::among(3);
    probe.update(1, P, (9, 5, 10));
    probe.ask(2, P, (9, 6, 64));
    assert_eq!(probe.asked(1), [(router(9), 6, 63)]);
    assert!(probe.asked(2).is_empty() && probe.asked(3).is_empty());
    probe.outputs.clear();
    probe.ask(3, P, (9, 6, 64));
    probe.ask(2, P, (9, 6, 64));
    assert!(probe.asked(1).is_empty(), "duplicates");
    assert_eq!(probe.count("dropped: repeated seqno request"), 2);
    probe.outputs.clear();
    probe.update(1, P, (9, 6, 10));
    for n in [2, 3] {
        assert_eq!(probe.told(n), [(P.to_string(), 6, 106)], "all who asked are told at once");
    }
}

#[test]
fn a_resent_request_is_passed_on_again_to_another_neighbour() {
    let mut probe = Probe::among(3);
    probe.update(1, P, (9, 5, 10));
    probe.update(3, P, (9, 5, 20));
    probe.ask(2, P, (9, 6, 64));
    assert_eq!((probe.asked(1).len(), probe.asked(3).len()), (1, 0));
    probe.wait(secs(2));
    probe.outputs.clear();
    probe.ask(2, P, (9, 6, 64));
    assert_eq!((probe.asked(1).len(), probe.asked(3).len()), (0, 1));
}

#[test]
fn a_request_never_goes_back_and_ends_with_its_hops() {
    let mut probe = Probe::among(2);
    probe.update(1, P, (9, 5, 10));
    probe.ask(1, P, (9, 6, 64));
    assert!(probe.asked(1).is_empty() && probe.asked(2).is_empty());
    probe.ask(2, P, (9, 6, 1));
    assert!(probe.asked(1).is_empty());
    assert_eq!(probe.count("dropped: hopeless seqno request"), 2);
    probe.ask(2, P, (9, 6, 2));
    assert_eq!(probe.asked(1), [(router(9), 6, 1)]);
}

#[test]
fn two_originators_of_a_prefix_are_asked_apart() {
    let mut probe = Probe::among(3);
    probe.update(1, P, (9, 5, 10));
    probe.ask(2, P, (9, 6, 64));
    probe.ask(3, P, (9, 7, 64));
    assert_eq!(probe.asked(1), [(router(9), 6, 63), (router(9), 7, 63)], "a newer one goes on");
}

#[test]
fn losing_the_last_usable_route_asks_along_those_that_are_left() {
    let mut probe = Probe::among(3);
    probe.update(1, P, (9, 5, 10));
    probe.update(2, P, (9, 5, 400));
    probe.update(3, P, (9, 5, 500));
    assert!(probe.asked(2).is_empty(), "unfeasible, but not better");
    probe.outputs.clear();
    probe.retract(1, P);
    assert_eq!(probe.kernel(P), Some(Target::Unreachable));
    assert_eq!(probe.asked(2), [(router(9), 6, 64)]);
    assert_eq!(probe.asked(3), [(router(9), 6, 64)]);
    let starved = Event::Starved { route: prefix(P), router_id: router(9), seqno: Seqno(6) };
    assert_eq!(probe.events(), [starved]);
    probe.update(2, P, (9, 6, 400));
    assert_eq!(probe.via(P), Some(2));
    probe.outputs.clear();
    probe.live(3, secs(10));
    assert_eq!(probe.asked(3), [], "satisfied");
}

#[test]
fn an_unanswered_request_is_resent_three_times() {
    let mut probe = Probe::among(2);
    probe.update(1, P, (9, 5, 10));
    probe.update(2, P, (9, 5, 400));
    probe.outputs.clear();
    probe.retract(1, P);
    assert_eq!(probe.asked(2).len(), 1);
    probe.live(2, secs(40));
    assert_eq!(probe.asked(2).len(), 4);
    assert_eq!(probe.asked(1).len(), 3, "to everyone");
}

#[test]
fn a_better_route_that_is_not_feasible_is_asked_for() {
    let mut probe = Probe::among(2);
    probe.update(1, P, (9, 5, 300));
    probe.update(1, P, (9, 6, 900));
    probe.wait(Duration::from_millis(100));
    probe.outputs.clear();
    probe.update(2, P, (9, 5, 100));
    assert_eq!(probe.via(P), Some(1));
    assert_eq!(probe.asked(2), [(router(9), 7, 64)]);
    assert!(probe.asked(1).is_empty());
    probe.update(2, P, (9, 7, 100));
    assert_eq!(probe.via(P), Some(2));
}

#[test]
fn pending_requests_are_bounded() {
    let mut probe = Probe::with(|params| {
        let limits = super::super::Limits { requests: 3, ..params.limits };
        super::super::Params { limits, ..params }
    })
    .join(2);
    for n in 0..5 {
        probe.update(1, &format!("fd00:{n}::/64"), (9, 5, 10));
        probe.ask(2, &format!("fd00:{n}::/64"), (9, 6, 64));
    }
    assert_eq!(probe.asked(1).len(), 3);
    assert_eq!(probe.count("dropped: too many seqno requests"), 2);
    assert_ne!(link(1), link(2));
}

/// The diagram of RFC 8966 §2.5: S has two neighbours, A (near) and B; A loses its link to S.
#[test]
fn a_starved_node_recovers_in_one_request_round_trip() {
    let mut network = Network::new(40).nodes(3);
    let (s_a, s_b, _) = (network.wire(&[0, 1]), network.wire(&[0, 2]), network.wire(&[1, 2]));
    for node in [0, 2] {
        network.input(node, Input::LinkCost { link: wire_link(s_b), extra: Cost(50) });
    }
    network.run(secs(30));
    assert_eq!(network.metric(2, key(0)), Some(146));
    network.carrier_down(s_a);
    let took = network
        .run_until("A reaches S by B", secs(5), |network| network.metric(1, key(0)) == Some(242));
    assert!(took <= Duration::from_millis(20), "{took:?}");
    assert_eq!(network.nodes[0].disk, Seqno(101), "one number, for one request");
}

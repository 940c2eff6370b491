//! Whom to dial, how many, and what an outcome changes.

use super::*;

#[test]
fn the_first_candidates_are_dialled_at_once_and_in_parallel() {
    let mut bench = Bench::new(10);
    assert_eq!(bench.learn(1..=40).len(), 10);
    let mut few = Bench::new(10);
    assert_eq!(few.learn(1..=4), [1, 2, 3, 4]);
    assert_eq!(few.learn(1..=6), [5, 6], "the missing ones follow");
}

#[test]
fn dials_go_on_until_every_place_is_held_and_no_further() {
    let mut bench = Bench::new(3);
    bench.learn(1..=40);
    for _ in 0..3 {
        let node = bench.core.dials().next().unwrap().lane.node;
        let n = u64::from_be_bytes(node.octets());
        bench.accept(n);
        bench.up(n);
    }
    assert_eq!(bench.count(Role::Dialled), 3);
    bench.pass(secs(60));
    assert_eq!(bench.dialled(), NOBODY);
    assert_eq!(bench.core.dials().count(), 0);
}

#[test]
fn a_node_nobody_dialled_keeps_two_until_somebody_does() {
    let mut bench = Bench::with(Params::new(id(OWN)));
    bench.learn(1..=40);
    assert_eq!(bench.dialled().len(), 2);
    let both = bench.dialled();
    for n in &both {
        bench.accept(*n);
        bench.up(*n);
    }
    bench.pass(secs(60));
    assert_eq!(bench.count(Role::Dialled), 2);
    assert!(matches!(bench.request(99), Verdict::Accept { .. }));
    assert_eq!(bench.dialled(), NOBODY, "a request alone proves nothing");
    bench.up(99);
    assert_eq!(bench.said(&Output::Event(Event::Reached { node: id(99) })), 1);
    assert_eq!(bench.dialled().len(), 8);
}

#[test]
fn preferred_nodes_come_first_then_those_that_routing_reaches() {
    let mut preferring = params(2);
    preferring.preferred = vec![id(30), id(31)];
    let mut bench = Bench::with(preferring);
    assert_eq!(bench.learn(1..=40), [30, 31]);

    let mut bench = Bench::new(2);
    bench.join(1..=1);
    for n in [77, 78, 79] {
        bench.core.handle(bench.now, Input::Reachable { node: id(n) });
    }
    assert_eq!(bench.core.dials().count(), 1);
    let other = bench.core.dials().next().unwrap();
    assert_eq!(other.lane, first(77), "the first one reached is dialled through the overlay");
    bench.learn(2..=40);
    let refused = DialFailure::Refused(Refusal::Full);
    bench.outcome(77, Err(refused));
    let next = bench.dialled();
    assert!([78, 79].contains(&next[0]), "{next:?} is not known to be alive");
}

#[test]
fn neighbours_are_never_dialled() {
    let mut bench = Bench::new(10);
    bench.serve(1);
    bench.handle(Input::NeighbourUp { node: id(2), medium: Medium::Lan });
    assert_eq!(bench.learn(1..=3), [3]);
    bench.handle(Input::NeighbourDown { node: id(2), medium: Medium::Lan });
    assert_eq!(bench.dialled(), [2]);
    bench.learn(OWN..=OWN);
    assert_eq!(bench.dialled(), NOBODY, "nor is the node itself");
}

#[test]
fn a_dial_without_answer_stops_holding_its_place() {
    let mut bench = Bench::new(2);
    bench.learn(1..=40);
    bench.pass(millis(240));
    assert_eq!(bench.dialled().len(), 0);
    bench.pass(millis(20));
    assert_eq!(bench.dialled().len(), 2, "alone: soon");
    bench.pass(secs(2));
    assert_eq!(bench.core.dials().count(), MAX_DIALS, "but bounded");
    assert_eq!(bench.core.counters().dials, 16);
}

#[test]
fn a_late_answer_takes_a_free_place_or_is_declined() {
    let mut bench = Bench::new(1);
    bench.learn(1..=3);
    bench.pass(millis(600));
    assert_eq!(bench.core.dials().count(), 3);
    bench.accept(2);
    bench.up(2);
    let port = bench.core.dials().find(|dial| dial.lane == first(1)).unwrap().port;
    bench.accept(1);
    assert_eq!(bench.said(&Output::Decline { node: id(1), port, notify: Notify::Peer }), 1);
    assert_eq!(bench.count(Role::Dialled), 1);
    assert_eq!(bench.dropped(DropReason::Surplus), 1);
}

#[test]
fn failures_double_the_wait_and_success_ends_it() {
    let mut bench = Bench::new(10);
    bench.join(1..=1);
    bench.learn(2..=2);
    let mut waits = Vec::new();
    for _ in 0..14 {
        bench.outcome(2, Err(DialFailure::Unreachable));
        waits.push(bench.until_dialled(2));
    }
    assert!(waits[0] >= secs(1) && waits[0] <= secs(2), "{waits:?}");
    assert!(waits[4] >= secs(16) && waits[4] <= secs(32), "{waits:?}");
    assert!(waits[13] >= secs(450) && waits[13] <= secs(900), "{waits:?}");
    bench.accept(2);
    bench.up(2);
    assert_eq!(bench.core.peers().find(|peer| peer.node == id(2)).unwrap().failures, 0);
}

#[test]
fn a_node_alone_never_waits_long_for_anyone() {
    let mut bench = Bench::new(10);
    bench.learn(1..=1);
    for _ in 0..20 {
        bench.outcome(1, Err(DialFailure::Unreachable));
        assert!(bench.until_dialled(1) <= secs(30));
    }
}

#[test]
fn news_from_the_peer_itself_or_the_underlay_end_the_wait() {
    let mut bench = Bench::new(10);
    bench.join(1..=1);
    let fail = |bench: &mut Bench| {
        for _ in 0..8 {
            bench.until_dialled(2);
            bench.outcome(2, Err(DialFailure::Unreachable));
        }
    };
    bench.learn(2..=2);
    fail(&mut bench);
    let moved = [PeerRecord { node: id(2), addresses: vec![address(99)] }];
    bench.handle(Input::Learned { source: Source::Peer(id(1)), peers: &moved });
    assert_eq!(bench.dialled(), NOBODY, "hearsay does not");
    let moved = [PeerRecord { node: id(2), addresses: vec![address(98)] }];
    bench.handle(Input::Learned { source: Source::Peer(id(2)), peers: &moved });
    assert_eq!(bench.dialled(), [2]);
    bench.outcome(2, Err(DialFailure::Unreachable));
    fail(&mut bench);
    bench.handle(Input::UnderlayChanged);
    assert_eq!(bench.dialled(), [2]);
}

#[test]
fn a_peer_that_routing_reaches_again_is_tried_soon() {
    let mut bench = Bench::new(10);
    bench.join(1..=1);
    bench.learn(2..=2);
    for _ in 0..9 {
        bench.until_dialled(2);
        bench.outcome(2, Err(DialFailure::Unreachable));
    }
    bench.handle(Input::Reachable { node: id(2) });
    assert!(bench.until_dialled(2) <= secs(2));
    bench.outcome(2, Err(DialFailure::Unreachable));
    assert!(bench.until_dialled(2) >= secs(400), "once");
}

#[test]
fn a_driver_that_never_answers_costs_nothing_for_ever() {
    let mut bench = Bench::new(10);
    bench.learn(1..=200);
    let said = bench.pass(secs(24 * 3600)).len();
    assert!(bench.core.dials().count() <= MAX_DIALS);
    // Every peer every 15 to 30 s at most, and 16 of them every 10 s at most.
    assert!(said < 24 * 360 * 16 * 3, "{said} outputs in a day");
    assert_eq!(bench.core.tunnels().count(), 0);
}

#[test]
fn an_outcome_of_another_dial_changes_nothing() {
    let mut bench = Bench::new(1);
    bench.learn(1..=1);
    let port = bench.core.dials().next().unwrap().port;
    let outcome = Ok(Accepted { address: None });
    bench.handle(Input::Dialled { node: id(1), port: port ^ 1, outcome });
    bench.handle(Input::Dialled { node: id(2), port, outcome: Err(DialFailure::Local) });
    assert_eq!(bench.core.tunnels().count(), 0);
    assert_eq!(bench.core.dials().count(), 1);
    assert_eq!(bench.dropped(DropReason::Stale), 2);
    // An accepted dial that was given up: the peer has opened something, and hears about it.
    bench.pass(secs(10));
    let given_up = Input::Dialled { node: id(1), port, outcome };
    bench.handle(given_up);
    assert_eq!(bench.said(&Output::Decline { node: id(1), port, notify: Notify::Peer }), 1);
}

#[test]
fn the_address_that_answered_is_tried_first_the_next_time() {
    let mut bench = Bench::new(1);
    let both = [PeerRecord { node: id(1), addresses: vec![address(7), address(8)] }];
    bench.handle(Input::Learned { source: Source::Registry, peers: &both });
    bench.outcome(1, Ok(Accepted { address: Some(address(8)) }));
    assert_eq!(bench.core.peers().next().unwrap().addresses, [address(8), address(7)]);
    // Somebody else's word does not displace it.
    let rumour = [PeerRecord { node: id(1), addresses: (20..40).map(address).collect() }];
    bench.handle(Input::Learned { source: Source::Peer(id(5)), peers: &rumour });
    let addresses = bench.core.peers().next().unwrap().addresses.to_vec();
    assert_eq!(addresses[..2], [address(8), address(7)]);
    assert_eq!(addresses.len(), MAX_ADDRESSES);
    assert!(bench.dropped(DropReason::Address) > 0);
}

#[test]
fn without_a_free_port_nothing_is_dialled_and_nothing_spins() {
    let mut narrow = params(10);
    narrow.ports = 500..=501;
    let mut bench = Bench::with(narrow);
    assert_eq!(bench.learn(1..=9).len(), 2);
    assert_eq!(bench.request(50), Verdict::Refuse(Refusal::Busy));
    bench.pass(secs(5));
    assert_eq!(bench.core.dials().count(), 2);
}

#[test]
fn a_taken_port_rests_and_the_node_is_dialled_on_another() {
    let mut bench = Bench::new(1);
    bench.learn(1..=1);
    let first = bench.core.dials().next().unwrap().port;
    bench.handle(Input::PortTaken { node: id(1), port: first });
    assert_eq!(bench.dialled(), [1]);
    let second = bench.core.dials().next().unwrap().port;
    assert_ne!(first, second);
    bench.accept(1);
    bench.handle(Input::PortTaken { node: id(1), port: second });
    assert_eq!(bench.closed(), [(1, CloseReason::PortTaken, Notify::Peer)]);
    assert_eq!(bench.dialled(), [1]);
    let third = bench.core.dials().next().unwrap().port;
    assert!(third != first && third != second);
}

//! The tunnel that carries least gives way.

use super::*;

fn uses(bench: &mut Bench, routes: &[(u64, usize)]) {
    let uses: Vec<_> =
        routes.iter().map(|(n, routes)| Usage { node: id(*n), routes: *routes }).collect();
    bench.handle(Input::Uses(&uses));
}

/// Three tunnels, all places held.
fn full() -> Bench {
    let mut bench = Bench::new(3);
    bench.join(1..=3);
    bench
}

#[test]
fn the_replacement_works_before_the_least_used_tunnel_goes() {
    let mut bench = full();
    bench.learn(4..=4);
    bench.pass(secs(299));
    assert_eq!(bench.said(&Output::AskUses), 0);
    bench.pass(secs(1));
    assert_eq!(bench.said(&Output::AskUses), 1);
    uses(&mut bench, &[(1, 5), (2, 1), (3, 2)]);
    assert_eq!(bench.dialled(), [4]);
    bench.accept(4);
    assert_eq!((bench.closed(), bench.count(Role::Dialled)), (vec![], 4));
    bench.up(4);
    assert_eq!(bench.closed(), [(2, CloseReason::Refreshed, Notify::Peer)]);
    assert_eq!(bench.count(Role::Dialled), 3);
    bench.pass(secs(100));
    assert_eq!(bench.dialled(), NOBODY, "the one that went is not dialled back");
}

#[test]
fn without_a_candidate_nothing_is_dropped() {
    let mut bench = full();
    for _ in 0..5 {
        bench.pass(secs(300));
        uses(&mut bench, &[]);
        assert_eq!((bench.closed(), bench.dialled()), (vec![], vec![]));
    }
}

#[test]
fn a_failed_replacement_costs_nothing_and_another_is_tried_soon() {
    let mut bench = full();
    bench.learn(4..=5);
    bench.pass(secs(300));
    uses(&mut bench, &[]);
    let first = bench.dialled();
    bench.outcome(first[0], Err(DialFailure::Unreachable));
    assert_eq!(bench.count(Role::Dialled), 3);
    bench.pass(secs(10));
    assert_eq!(bench.said(&Output::AskUses), 1);
    uses(&mut bench, &[]);
    assert_eq!(bench.dialled().len(), 1);
}

#[test]
fn a_replacement_that_never_comes_up_leaves_the_old_tunnel() {
    let mut bench = full();
    bench.learn(4..=4);
    bench.pass(secs(300));
    uses(&mut bench, &[]);
    bench.accept(4);
    bench.pass(secs(20));
    assert_eq!(bench.closed(), [(4, CloseReason::HandshakeTimeout, Notify::Peer)]);
    assert_eq!(bench.count(Role::Dialled), 3);
}

#[test]
fn a_replacement_whose_victim_died_takes_its_place() {
    let mut bench = full();
    bench.learn(4..=5);
    bench.pass(secs(300));
    uses(&mut bench, &[(1, 9), (2, 9), (3, 0)]);
    let new = bench.dialled()[0];
    bench.handle(Input::InterfaceGone { lane: first(3) });
    assert_eq!(bench.dialled(), NOBODY, "the replacement on its way holds the place");
    bench.accept(new);
    bench.up(new);
    assert_eq!((bench.closed(), bench.count(Role::Dialled)), (vec![], 3));
}

#[test]
fn now_and_then_a_refresh_tries_a_node_that_routing_does_not_reach() {
    let mut bench = full();
    bench.learn(10..=29);
    for n in 10..=19 {
        bench.handle(Input::Reachable { node: id(n) });
    }
    let mut strangers = 0;
    for _ in 0..200 {
        while bench.dialled().is_empty() {
            bench.now = bench.core.next_deadline().unwrap();
            bench.handle(Input::Deadline);
            if bench.said(&Output::AskUses) > 0 {
                uses(&mut bench, &[]);
            }
        }
        let n = bench.dialled()[0];
        strangers += usize::from(n >= 20);
        bench.outcome(n, Err(DialFailure::Local));
    }
    assert!((25..=75).contains(&strangers), "{strangers} of 200");
}

#[test]
fn preferred_tunnels_stay_and_preferred_candidates_do_not_wait() {
    let mut preferring = params(2);
    preferring.preferred = vec![id(1), id(4)];
    let mut bench = Bench::with(preferring);
    bench.join(1..=2);
    bench.learn(3..=3);
    bench.pass(secs(60));
    assert_eq!(bench.said(&Output::AskUses), 0);
    bench.learn(4..=4);
    assert_eq!(bench.said(&Output::AskUses), 1, "a preferred node waits for a place");
    uses(&mut bench, &[(1, 0), (2, 7)]);
    assert_eq!(bench.dialled(), [4]);
    bench.accept(4);
    bench.up(4);
    assert_eq!(bench.closed(), [(2, CloseReason::Refreshed, Notify::Peer)]);
    for _ in 0..5 {
        bench.pass(secs(300));
        assert_eq!(bench.said(&Output::AskUses), 0, "all are preferred");
    }
}

#[test]
fn a_node_still_filling_up_never_prunes() {
    let mut bench = Bench::new(5);
    bench.join(1..=3);
    for _ in 0..5 {
        bench.pass(secs(300));
        assert_eq!(bench.said(&Output::AskUses), 0);
    }
    assert_eq!(bench.count(Role::Dialled), 3);
}

#[test]
fn lowered_counts_shed_the_least_used_one_after_the_other() {
    let mut bench = Bench::new(5);
    bench.join(1..=5);
    let counts = Counts { dialled: 3, served: 20, unreached: 3 };
    bench.handle(Input::Parameters { counts, refresh: secs(300) });
    assert_eq!(bench.said(&Output::AskUses), 1);
    let routes = [(1, 1), (2, 5), (3, 4), (4, 3), (5, 2)];
    uses(&mut bench, &routes);
    assert_eq!(bench.closed(), [(1, CloseReason::Surplus, Notify::Peer)]);
    bench.pass(secs(10));
    assert_eq!(bench.said(&Output::AskUses), 1);
    uses(&mut bench, &routes);
    assert_eq!(bench.closed(), [(5, CloseReason::Surplus, Notify::Peer)]);
    bench.pass(secs(60));
    assert_eq!((bench.closed(), bench.count(Role::Dialled)), (vec![], 3));
}

#[test]
fn raised_counts_are_filled_at_once() {
    let mut bench = full();
    bench.learn(4..=9);
    let counts = Counts { dialled: 5, served: 20, unreached: 5 };
    bench.handle(Input::Parameters { counts, refresh: secs(300) });
    assert_eq!(bench.dialled().len(), 2);
}

#[test]
fn unanswered_questions_about_uses_are_asked_rarely() {
    let mut bench = full();
    bench.learn(4..=4);
    bench.pass(secs(24 * 3600));
    let asked = bench.said(&Output::AskUses);
    assert!((200..=290).contains(&asked), "{asked}");
}

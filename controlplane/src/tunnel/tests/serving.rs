//! Requests of others, and two nodes that dial each other.

use super::*;

/// Ids on both sides of the node under test.
const LOWER: u64 = 5;
const HIGHER: u64 = 2000;

#[test]
fn requests_are_served_up_to_the_limit() {
    let mut bench = Bench::new(0);
    for n in 1..=20 {
        bench.serve(n);
    }
    assert_eq!(bench.request(21), Verdict::Refuse(Refusal::Full));
    assert_eq!(bench.count(Role::Served), 20);
    bench.pass(secs(1));
    bench.serve(3);
    assert_eq!(bench.count(Role::Served), 20, "one that comes again is not counted twice");
}

#[test]
fn a_dead_served_tunnel_makes_room() {
    let mut bench = Bench::new(0);
    for n in 1..=20 {
        bench.serve(n);
    }
    bench.down(7);
    assert!(matches!(bench.request(21), Verdict::Accept { .. }));
    assert!(bench.closed().contains(&(7, CloseReason::Dead, Notify::Peer)));
}

#[test]
fn refusals_say_why() {
    let mut bench = Bench::new(0);
    assert_eq!(bench.request(OWN), Verdict::Refuse(Refusal::OwnRequest));
    bench.handle(Input::Revoked { node: id(3) });
    assert_eq!(bench.request(3), Verdict::Refuse(Refusal::Certificate));
    bench.handle(Input::Reinstated { node: id(3) });
    bench.serve(3);
    assert_eq!(bench.request(3), Verdict::Refuse(Refusal::Busy), "a moment later");
    bench.handle(Input::Shutdown);
    assert_eq!(bench.request(4), Verdict::Refuse(Refusal::Stopping));

    let mut shy = params(0);
    shy.service = Service::DialOnly;
    assert_eq!(Bench::with(shy).request(4), Verdict::Refuse(Refusal::DialOnly));
}

#[test]
fn an_accepted_request_is_answered_before_it_is_opened() {
    let mut bench = Bench::new(0);
    let Verdict::Accept { port } = bench.request(4) else { panic!("{:?}", bench.said) };
    let open = Output::Open { lane: first(4), role: Role::Served, port };
    let at = |wanted: &dyn Fn(&Output) -> bool| bench.said.iter().position(wanted).unwrap();
    assert!(at(&|o| matches!(o, Output::Answer { .. })) < at(&|o| *o == open));
}

#[test]
fn a_repeated_request_replaces_the_tunnel_of_either_role() {
    let mut bench = Bench::new(1);
    bench.serve(9);
    bench.join(LOWER..=LOWER);
    bench.pass(secs(1));
    for n in [9, LOWER] {
        let before = bench.tunnel(n).unwrap();
        assert!(matches!(bench.request(n), Verdict::Accept { .. }));
        assert_eq!(bench.closed(), [(n, CloseReason::Replaced, Notify::Nobody)]);
        let after = bench.tunnel(n).unwrap();
        assert_eq!((after.role, after.state), (Role::Served, TunnelState::Opening));
        assert_ne!(after.port, before.port);
    }
    assert_eq!(bench.core.tunnels().count(), 2);
}

#[test]
fn in_a_glare_the_lower_router_id_keeps_its_dial() {
    let mut bench = Bench::new(1);
    bench.learn(HIGHER..=HIGHER);
    assert_eq!(bench.request(HIGHER), Verdict::Refuse(Refusal::Glare));
    bench.accept(HIGHER);
    assert_eq!(bench.tunnel(HIGHER).unwrap().role, Role::Dialled);
    bench.up(HIGHER);
    assert_eq!(bench.core.tunnels().count(), 1);
}

#[test]
fn in_a_glare_the_higher_router_id_yields() {
    let mut bench = Bench::new(1);
    bench.learn(LOWER..=LOWER);
    assert!(matches!(bench.request(LOWER), Verdict::Accept { .. }));
    assert_eq!(bench.tunnel(LOWER).unwrap().role, Role::Served);
    bench.outcome(LOWER, Err(DialFailure::Refused(Refusal::Glare)));
    assert_eq!(bench.core.peers().next().unwrap().failures, 0);
    bench.up(LOWER);
    assert_eq!(bench.core.tunnels().count(), 1);
    assert_eq!(bench.core.dials().count(), 0);
}

#[test]
fn a_glare_is_claimed_once_then_the_dial_that_gets_through_wins() {
    let mut bench = Bench::new(1);
    bench.learn(HIGHER..=HIGHER);
    assert_eq!(bench.request(HIGHER), Verdict::Refuse(Refusal::Glare));
    assert!(matches!(bench.request(HIGHER), Verdict::Accept { .. }));
    bench.up(HIGHER);
    bench.outcome(HIGHER, Err(DialFailure::Unreachable));
    assert_eq!(bench.tunnel(HIGHER).unwrap().state, TunnelState::Up);
    assert_eq!(bench.core.peers().next().unwrap().failures, 0, "a yielded dial is no failure");
}

#[test]
fn when_both_dials_are_accepted_both_sides_keep_the_one_of_the_lower() {
    let mut lower = Bench::new(1);
    lower.learn(HIGHER..=HIGHER);
    lower.request(HIGHER);
    lower.request(HIGHER);
    lower.accept(HIGHER);
    assert_eq!(lower.closed(), [(HIGHER, CloseReason::Replaced, Notify::Nobody)]);
    assert_eq!(lower.tunnel(HIGHER).unwrap().role, Role::Dialled);

    let mut higher = Bench::new(1);
    higher.learn(LOWER..=LOWER);
    higher.request(LOWER);
    let port = higher.core.dials().next().unwrap().port;
    higher.accept(LOWER);
    assert_eq!(higher.closed(), []);
    let silently = Output::Decline { node: id(LOWER), port, notify: Notify::Nobody };
    assert_eq!(higher.said(&silently), 1);
    assert_eq!(higher.tunnel(LOWER).unwrap().role, Role::Served);
}

#[test]
fn a_request_that_crossed_our_accepted_dial_is_a_glare_too() {
    let mut bench = Bench::new(1);
    bench.learn(HIGHER..=HIGHER);
    bench.accept(HIGHER);
    assert_eq!(bench.request(HIGHER), Verdict::Refuse(Refusal::Glare));
    assert_eq!(bench.tunnel(HIGHER).unwrap().role, Role::Dialled);
    assert!(matches!(bench.request(HIGHER), Verdict::Accept { .. }), "but it did restart");
}

#[test]
fn the_loser_of_a_glare_dials_again_when_nothing_comes() {
    let mut bench = Bench::new(1);
    bench.learn(LOWER..=LOWER);
    bench.outcome(LOWER, Err(DialFailure::Refused(Refusal::Glare)));
    assert_eq!(bench.dialled(), NOBODY);
    bench.pass(secs(1));
    assert_eq!(bench.dialled(), [LOWER]);
}

//! When tunnels end, and how.

use super::*;

#[test]
fn a_tunnel_without_neighbour_is_closed_and_its_node_left_alone_for_a_while() {
    let mut bench = Bench::new(2);
    bench.join(1..=1);
    bench.learn(2..=2);
    bench.accept(2);
    bench.pass(secs(19));
    assert_eq!(bench.closed(), []);
    bench.pass(secs(1));
    assert_eq!(bench.closed(), [(2, CloseReason::HandshakeTimeout, Notify::Peer)]);
    assert_eq!(bench.dialled(), NOBODY);
    bench.pass(secs(2));
    assert_eq!(bench.dialled(), [2]);
}

#[test]
fn a_lost_neighbour_has_until_the_dead_interval_to_return() {
    let mut bench = Bench::new(2);
    bench.join(1..=2);
    bench.down(2);
    bench.pass(secs(29));
    bench.up(2);
    bench.pass(secs(60));
    assert!(bench.tunnel(2).is_some());
    bench.down(2);
    bench.learn(3..=3);
    bench.pass(secs(30));
    assert_eq!(bench.closed(), [(2, CloseReason::Dead, Notify::Peer)]);
    assert_eq!(bench.dialled(), [3], "replaced at once");
}

#[test]
fn a_node_that_lost_everybody_acts_at_once() {
    let mut bench = Bench::new(2);
    bench.join(1..=2);
    bench.learn(3..=9);
    bench.pass(secs(60));
    bench.down(1);
    assert_eq!(bench.dialled(), NOBODY);
    bench.down(2);
    assert_eq!(bench.said(&Output::Event(Event::Disconnected)), 1);
    assert_eq!(bench.dialled().len(), 2);
    assert_eq!(bench.said(&Output::AskRegistry), 1);
    assert!(!bench.core.is_connected());
    // Places are taken from the dead.
    let node = bench.core.dials().next().unwrap().lane.node;
    bench.accept(u64::from_be_bytes(node.octets()));
    assert_eq!(bench.closed().len(), usize::from(bench.count(Role::Dialled) == 2));
    assert!(bench.count(Role::Dialled) <= 2);
}

#[test]
fn a_node_alone_dials_even_the_peer_it_just_lost() {
    let mut bench = Bench::new(2);
    bench.join(1..=1);
    bench.down(1);
    assert_eq!(bench.dialled(), [1]);
    bench.accept(1);
    assert_eq!(bench.closed(), [(1, CloseReason::Replaced, Notify::Nobody)]);
    assert_eq!(bench.tunnel(1).unwrap().state, TunnelState::Opening);
}

#[test]
fn a_peer_that_closes_is_not_dialled_back_at_once() {
    let mut bench = Bench::new(2);
    bench.join(1..=2);
    let port = bench.tunnel(2).unwrap().port;
    bench.handle(Input::CloseAsked { node: id(2), port: port ^ 1 });
    assert!(bench.tunnel(2).is_some(), "a late close of an older tunnel");
    bench.handle(Input::CloseAsked { node: id(2), port });
    assert_eq!(bench.closed(), [(2, CloseReason::PeerClosed, Notify::Nobody)]);
    bench.pass(secs(29));
    assert_eq!(bench.dialled(), NOBODY);
    bench.pass(secs(31));
    assert_eq!(bench.dialled(), [2]);
}

#[test]
fn a_deleted_interface_is_made_again() {
    let mut bench = Bench::new(1);
    bench.join(1..=1);
    bench.handle(Input::InterfaceGone { lane: first(1) });
    assert_eq!(bench.closed(), [(1, CloseReason::InterfaceGone, Notify::Peer)]);
    bench.pass(secs(2));
    assert_eq!(bench.dialled(), [1]);
}

#[test]
fn a_revoked_node_is_hung_up_and_never_met_again() {
    let mut bench = Bench::new(3);
    bench.join(1..=1);
    bench.learn(2..=2);
    bench.handle(Input::Revoked { node: id(1) });
    assert_eq!(bench.closed(), [(1, CloseReason::Revoked, Notify::Nobody)]);
    bench.handle(Input::Revoked { node: id(2) });
    bench.accept(2);
    assert!(matches!(bench.said[..], [Output::Decline { notify: Notify::Peer, .. }]));
    bench.learn(1..=2);
    for n in 1..=2 {
        bench.handle(Input::Reachable { node: id(n) });
    }
    bench.pass(secs(3600));
    assert_eq!(bench.dialled(), NOBODY);
    bench.handle(Input::Reinstated { node: id(1) });
    assert_eq!(bench.learn(1..=2), [1]);
}

#[test]
fn adopted_tunnels_hold_their_places_and_live_when_a_neighbour_shows_up() {
    let adopted: Vec<_> = (1..=3)
        .map(|n| Adopted {
            lane: first(n),
            role: Role::Dialled,
            port: 51_820 + u16::try_from(n).unwrap(),
        })
        .chain([Adopted { lane: first(9), role: Role::Served, port: 51_840 }])
        .collect();
    let mut bench = Bench::new(3);
    bench.handle(Input::Adopt { tunnels: &adopted });
    assert_eq!(bench.closed(), []);
    assert_eq!(bench.learn(1..=20), NOBODY, "their places are held");
    bench.pass(secs(5));
    assert_eq!(bench.dialled(), NOBODY);
    bench.up(1);
    bench.up(9);
    bench.pass(secs(24));
    assert_eq!(bench.dialled(), NOBODY);
    bench.pass(secs(1));
    let mut closed = bench.closed();
    closed.sort_unstable_by_key(|(n, _, _)| *n);
    let dead = |n| (n, CloseReason::Dead, Notify::Peer);
    assert_eq!(closed, [dead(2), dead(3)]);
    assert_eq!(bench.dialled().len(), 2);
    let ports: Vec<_> = bench.core.tunnels().map(|tunnel| tunnel.port).collect();
    assert_eq!(ports, [51_821, 51_840]);
}

#[test]
fn dead_adopted_tunnels_do_not_keep_a_node_alone() {
    let adopted = [Adopted { lane: first(1), role: Role::Dialled, port: 51_821 }];
    let mut bench = Bench::new(1);
    bench.handle(Input::Adopt { tunnels: &adopted });
    assert_eq!(bench.said(&Output::AskRegistry), 1);
    bench.learn(2..=2);
    bench.pass(secs(10));
    assert_eq!(bench.dialled(), [2]);
    bench.accept(2);
    assert_eq!(bench.closed(), [(1, CloseReason::Dead, Notify::Peer)]);
}

#[test]
fn what_cannot_be_adopted_is_closed() {
    let twice = Adopted { lane: first(1), role: Role::Served, port: 51_821 };
    let own = Adopted { lane: first(OWN), role: Role::Dialled, port: 51_822 };
    let mut bench = Bench::new(1);
    bench.handle(Input::Adopt { tunnels: &[twice, Adopted { port: 51_823, ..twice }, own] });
    assert_eq!(
        bench.closed(),
        [
            (1, CloseReason::Duplicate, Notify::Nobody),
            (OWN, CloseReason::Duplicate, Notify::Nobody)
        ]
    );
    assert_eq!(bench.core.tunnels().count(), 1);
}

#[test]
fn shutdown_closes_everything_and_nothing_follows() {
    let mut bench = Bench::new(5);
    bench.join(1..=2);
    bench.serve(3);
    bench.learn(4..=4);
    bench.handle(Input::Shutdown);
    assert_eq!(bench.closed().len(), 3);
    assert!(bench.closed().iter().all(|(_, reason, notify)| {
        *reason == CloseReason::Shutdown && *notify == Notify::Peer
    }));
    assert!(matches!(bench.said.first(), Some(Output::Remember(_))));
    assert_eq!(bench.core.next_deadline(), None);
    bench.accept(4);
    assert!(matches!(bench.said[..], [Output::Decline { notify: Notify::Peer, .. }]));
    bench.learn(5..=50);
    bench.handle(Input::Shutdown);
    assert_eq!(bench.pass(secs(3600)), []);
}

#[test]
fn events_read_as_one_line_with_the_reason() {
    let (lane, role) = (first(0xabc), Role::Dialled);
    for (event, line) in [
        (
            Event::Closed { lane, role, reason: CloseReason::Dead },
            "dialled tunnel to 0000000000000abc closed: neighbour gone for too long",
        ),
        (
            Event::DialFailed { lane, failure: DialFailure::Refused(Refusal::Full) },
            "dial of 0000000000000abc failed: refused: it serves as many tunnels as it may",
        ),
        (
            Event::Refused { lane, refusal: Refusal::Busy },
            "request of 0000000000000abc refused: it is busy",
        ),
    ] {
        assert_eq!(event.to_string(), line);
    }
}

#[test]
fn a_refusal_of_a_later_version_is_understood_as_other() {
    let read = |text: &str| serde_json::from_str::<Refusal>(text).unwrap();
    assert_eq!(read("\"own_request\""), Refusal::OwnRequest);
    assert_eq!(read("\"too_windy\""), Refusal::Other);
}

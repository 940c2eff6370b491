//! Several tunnels to one node, one over each uplink.

use super::*;

fn lane(n: u64, uplink: u8) -> Lane {
    Lane { node: id(n), uplink: UplinkNumber::try_from(uplink).unwrap() }
}

/// A node with two uplinks.
fn bench(dialled: usize) -> Bench {
    Bench::with(Params { uplinks: lane(1, 2).uplink, ..params(dialled) })
}

impl Bench {
    fn on(&mut self, lane: Lane, outcome: Result<Accepted, DialFailure>) -> &[Output] {
        let dial = self.core.dials().find(|dial| dial.lane == lane);
        let port = dial.unwrap_or_else(|| panic!("{lane} is not dialled")).port;
        self.handle(Input::Dialled { node: lane.node, port, outcome })
    }

    fn raise(&mut self, lane: Lane) {
        self.handle(Input::NeighbourUp { node: lane.node, medium: Medium::Tunnel(lane.uplink) });
    }

    fn lose(&mut self, lane: Lane) {
        self.handle(Input::NeighbourDown { node: lane.node, medium: Medium::Tunnel(lane.uplink) });
    }

    /// Dials a node and brings up both of its lanes.
    fn pair(&mut self, n: u64) {
        self.learn(n..=n);
        for lane in [lane(n, 1), lane(n, 2)] {
            self.on(lane, Ok(Accepted { address: None }));
            self.raise(lane);
        }
    }

    fn ask(&mut self, lane: Lane) -> Verdict {
        self.requests += 1;
        let id = RequestId(self.requests);
        self.handle(Input::Request { id, lane });
        let verdict = self.said.iter().find_map(|output| match output {
            Output::Answer { verdict, .. } => Some(*verdict),
            _ => None,
        });
        verdict.expect("every request is answered")
    }

    fn lanes(&self) -> Vec<Lane> {
        self.core.tunnels().map(|tunnel| tunnel.lane).collect()
    }

    fn shut(&self) -> Vec<(Lane, CloseReason)> {
        let close = |output: &Output| match output {
            Output::Close { lane, reason, .. } => Some((*lane, *reason)),
            _ => None,
        };
        self.said.iter().filter_map(close).collect()
    }
}

#[test]
fn a_node_that_accepts_is_dialled_over_every_uplink_and_holds_one_place() {
    let mut bench = bench(2);
    assert_eq!(bench.learn(1..=3).len(), 2);
    let dials = |bench: &Bench| bench.core.dials().map(|dial| dial.lane).collect::<Vec<_>>();
    let firsts = dials(&bench);
    assert!(firsts.iter().all(|lane| lane.uplink.is_first()), "{firsts:?}");
    for first in firsts.clone() {
        bench.on(first, Ok(Accepted { address: None }));
        bench.raise(first);
    }
    let seconds: Vec<_> = firsts.iter().map(|l| Lane { uplink: lane(1, 2).uplink, ..*l }).collect();
    assert_eq!(dials(&bench), seconds, "and no third node");
    for second in seconds {
        bench.on(second, Ok(Accepted { address: None }));
        bench.raise(second);
    }
    assert_eq!((bench.lanes().len(), dials(&bench).len()), (4, 0));
    let ports: std::collections::BTreeSet<_> = bench.core.tunnels().map(|t| t.port).collect();
    assert_eq!(ports.len(), 4, "a port each");
    bench.pass(secs(60));
    assert_eq!(bench.dialled(), NOBODY);
}

#[test]
fn an_uplink_that_never_worked_costs_neither_the_node_nor_the_other_uplink() {
    for (dead, living) in [(1, 2), (2, 1)] {
        let mut bench = bench(1);
        bench.learn(1..=1);
        for uplink in [1, 2] {
            bench.on(lane(1, uplink), Ok(Accepted { address: None }));
        }
        bench.raise(lane(1, living));
        bench.pass(secs(310));
        assert_eq!(bench.shut(), [], "patience");
        bench.pass(secs(11));
        assert_eq!(bench.shut(), [(lane(1, dead), CloseReason::HandshakeTimeout)]);
        assert_eq!(bench.core.peers().next().unwrap().failures, 0);
        bench.pass(secs(2));
        assert_eq!(bench.dialled(), [1], "once more");
    }
}

#[test]
fn a_lost_lane_waits_for_its_uplink_while_another_works() {
    let mut bench = bench(1);
    bench.pair(1);
    bench.lose(lane(1, 2));
    bench.pass(secs(299));
    assert_eq!((bench.shut(), bench.dialled()), (vec![], vec![]));
    bench.raise(lane(1, 2));
    bench.pass(secs(900));
    assert_eq!((bench.shut(), bench.lanes().len()), (vec![], 2));
    // With the last lane, the node is lost, and nobody waits longer for it than for others.
    bench.lose(lane(1, 2));
    bench.pass(secs(60));
    bench.lose(lane(1, 1));
    bench.pass(secs(30));
    let dead = |uplink| (lane(1, uplink), CloseReason::Dead);
    assert!(bench.shut().contains(&dead(1)), "{:?}", bench.said);
    assert!(
        !bench.lanes().iter().any(|open| bench
            .core
            .tunnels()
            .any(|t| t.lane == *open && t.state == TunnelState::Lost))
    );
}

#[test]
fn a_lane_that_fails_is_tried_again_ever_more_slowly_but_within_a_minute() {
    let mut bench = bench(1);
    bench.learn(1..=1);
    bench.on(lane(1, 1), Ok(Accepted { address: None }));
    bench.raise(lane(1, 1));
    let refused = DialFailure::Refused(Refusal::Malformed);
    let mut waits = Vec::new();
    for _ in 0..10 {
        bench.on(lane(1, 2), Err(refused));
        waits.push(bench.until_dialled(1));
    }
    assert!(waits[0] >= secs(1) && waits[0] <= secs(2), "{waits:?}");
    assert!(waits[9] >= secs(30) && waits[9] <= secs(60), "{waits:?}");
    assert_eq!(bench.core.peers().next().unwrap().failures, 0);
    assert_eq!(bench.lanes(), [lane(1, 1)]);
}

#[test]
fn all_lanes_of_the_node_that_gives_way_go() {
    let mut bench = bench(1);
    bench.pair(1);
    bench.learn(2..=2);
    bench.pass(secs(300));
    bench.handle(Input::Uses(&[Usage { node: id(1), routes: 3 }]));
    bench.on(lane(2, 1), Ok(Accepted { address: None }));
    bench.raise(lane(2, 1));
    let refreshed = |uplink| (lane(1, uplink), CloseReason::Refreshed);
    assert_eq!(bench.shut(), [refreshed(1), refreshed(2)]);
    bench.on(lane(2, 2), Ok(Accepted { address: None }));
    assert_eq!(bench.lanes(), [lane(2, 1), lane(2, 2)]);
}

#[test]
fn requests_for_further_lanes_stand_beside_the_first_and_count_once() {
    let mut bench =
        Bench::with(Params { counts: Counts { dialled: 0, served: 1, unreached: 0 }, ..params(0) });
    for uplink in 1..=8 {
        assert!(matches!(bench.ask(lane(5, uplink)), Verdict::Accept { .. }), "{uplink}");
        bench.raise(lane(5, uplink));
    }
    assert_eq!((bench.lanes().len(), bench.shut()), (8, vec![]));
    assert_eq!(bench.request(6), Verdict::Refuse(Refusal::Full), "one node is served");
    bench.pass(secs(1));
    assert!(matches!(bench.ask(lane(5, 3)), Verdict::Accept { .. }));
    assert_eq!(bench.shut(), [(lane(5, 3), CloseReason::Replaced)], "the same one again");
    assert_eq!(bench.dialled(), NOBODY, "what is served is not widened");
}

#[test]
fn further_lanes_leave_a_port_for_every_node_that_may_come() {
    let mut tight = params(0);
    (tight.ports, tight.counts.served) = (500..=505, 4);
    let mut bench = Bench::with(tight);
    for uplink in [1, 2] {
        assert!(matches!(bench.ask(lane(1, uplink)), Verdict::Accept { .. }));
    }
    assert_eq!(bench.ask(lane(1, 3)), Verdict::Refuse(Refusal::Full));
    for n in 2..=4 {
        assert!(matches!(bench.ask(lane(n, 1)), Verdict::Accept { .. }));
    }
}

#[test]
fn a_node_that_dials_us_back_has_lost_what_we_dialled() {
    let mut bench = bench(1);
    bench.pair(5);
    assert!(matches!(bench.ask(lane(5, 2)), Verdict::Accept { .. }));
    let replaced = |uplink| (lane(5, uplink), CloseReason::Replaced);
    assert_eq!(bench.shut(), [replaced(1), replaced(2)]);
    assert_eq!(bench.lanes(), [lane(5, 2)]);
    assert_eq!(bench.dialled(), NOBODY, "its lanes are its business");
}

#[test]
fn in_a_glare_of_lanes_the_lower_router_id_keeps_all_of_its_own() {
    let higher = 2000;
    let mut bench = bench(1);
    bench.learn(higher..=higher);
    for uplink in 1..=2 {
        assert_eq!(bench.ask(lane(higher, uplink)), Verdict::Refuse(Refusal::Glare));
    }
    bench.on(lane(higher, 1), Ok(Accepted { address: None }));
    bench.raise(lane(higher, 1));
    bench.on(lane(higher, 2), Ok(Accepted { address: None }));
    bench.raise(lane(higher, 2));
    assert_eq!((bench.lanes().len(), bench.count(Role::Dialled)), (2, 2));
}

#[test]
fn a_node_with_several_uplinks_dials_back_once_who_dials_it() {
    let mut bench = bench(2);
    bench.learn(9..=9);
    bench.outcome(9, Err(DialFailure::Unreachable));
    assert_eq!(bench.request(9), Verdict::Refuse(Refusal::Glare));
    assert_eq!(bench.dialled(), [9]);
    bench.outcome(9, Err(DialFailure::Unreachable));
    assert!(matches!(bench.request(9), Verdict::Accept { .. }), "our dial does not get through");
    // Nobody has told where this one is.
    assert!(matches!(bench.request(10), Verdict::Accept { .. }));
    // All places are held: who else comes is served.
    let mut full = self::bench(0);
    full.learn(11..=11);
    assert!(matches!(full.request(11), Verdict::Accept { .. }));
}

#[test]
fn adopted_lanes_are_kept_apart_and_those_without_an_uplink_go() {
    let adopt = |lane, role, port| Adopted { lane, role, port };
    let found = [
        adopt(lane(1, 1), Role::Dialled, 51_821),
        adopt(lane(1, 2), Role::Dialled, 51_822),
        adopt(lane(1, 3), Role::Dialled, 51_823),
        adopt(lane(2, 1), Role::Served, 51_824),
        adopt(lane(2, 7), Role::Served, 51_825),
        adopt(lane(2, 2), Role::Dialled, 51_826),
    ];
    let mut bench = bench(3);
    bench.handle(Input::Adopt { tunnels: &found });
    let gone = [(lane(1, 3), CloseReason::NoUplink), (lane(2, 2), CloseReason::Duplicate)];
    assert_eq!(bench.shut(), gone);
    assert_eq!(bench.lanes(), [lane(1, 1), lane(1, 2), lane(2, 1), lane(2, 7)]);
}

#[test]
fn an_adopted_tunnel_of_the_only_uplink_is_widened_when_there_are_more() {
    let found = [Adopted { lane: lane(1, 1), role: Role::Dialled, port: 51_821 }];
    let mut bench = bench(1);
    bench.learn(1..=1);
    bench.handle(Input::Adopt { tunnels: &found });
    let dials: Vec<_> = bench.core.dials().map(|dial| dial.lane).collect();
    assert!(dials.contains(&lane(1, 2)), "{dials:?}");
}

#[test]
fn a_peer_that_closes_one_lane_keeps_the_others() {
    let mut bench = bench(1);
    bench.pair(1);
    let second = bench.core.tunnels().find(|tunnel| tunnel.lane == lane(1, 2)).unwrap();
    bench.handle(Input::CloseAsked { node: id(1), port: second.port });
    assert_eq!(bench.shut(), [(lane(1, 2), CloseReason::PeerClosed)]);
    bench.pass(secs(29));
    assert_eq!(bench.dialled(), NOBODY);
    bench.pass(secs(31));
    assert_eq!((bench.dialled(), bench.lanes()), (vec![1], vec![lane(1, 1)]));
}

//! One rule of RFC 8966 a test, by hand-made packets.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use sixwire_proto::babel::{Destination, Hello, HelloKind, Ihu, Tlv, Update};
use sixwire_proto::interval::Interval;
use sixwire_proto::metric::{Cost, Metric};
use sixwire_proto::seqno::Seqno;

use super::super::{Input, LinkParams, Output, RouteState, SplitHorizon, Target};
use super::network::secs;
use super::probe::{OWN, Probe, address, hello, ihu, link, prefix, retraction, router};

const P: &str = "fd00:1::/64";

#[test]
fn a_link_begins_with_hello_and_wildcard_retraction_and_says_hello_again_shortly() {
    let mut probe = Probe::new();
    probe.link_up(1);
    let sent = probe.take(1);
    assert!(matches!(sent[0], Tlv::Hello(Hello { kind: HelloKind::Multicast, interval, .. })
        if interval == Interval(400)));
    assert!(matches!(sent[1], Tlv::Update(Update { route: None, metric: Metric::INFINITY, .. })));
    probe.wait(Duration::from_millis(100));
    assert!(matches!(probe.take(1)[..], [Tlv::Hello(_)]));
    probe.wait(secs(2));
    assert!(probe.take(1).is_empty(), "then at the promised pace");
    probe.wait(secs(2));
    assert!(matches!(probe.take(1)[..], [Tlv::Hello(_)]));
}

#[test]
fn hellos_sent_are_numbered_without_gap_and_never_late() {
    let mut probe = Probe::new();
    probe.link_up(1);
    let (mut last, mut at) = (None, probe.now);
    for _ in 0..10_000 {
        probe.wait(Duration::from_millis(20));
        for tlv in probe.take(1) {
            let Tlv::Hello(hello) = tlv else { continue };
            if let Some(last) = last {
                assert_eq!(hello.seqno, Seqno::next(last));
                assert!(probe.now.since(at) <= secs(4));
            }
            (last, at) = (Some(hello.seqno), probe.now);
        }
    }
    assert!(last.is_some());
}

#[test]
fn a_new_neighbour_gets_hello_and_ihu_at_once() {
    let mut probe = Probe::new();
    probe.link_up(1);
    probe.wait(secs(1));
    probe.outputs.clear();
    let hello = probe.hello_tlv(1, 400);
    probe.hear(1, &[hello]);
    let sent = probe.take(1);
    assert!(sent.iter().any(|tlv| matches!(tlv, Tlv::Hello(_))), "{sent:?}");
    assert!(sent.iter().any(|tlv| matches!(tlv, Tlv::Ihu(Ihu { rxcost: Cost(96), interval, .. })
        if *interval == Interval(1200))));
    assert_eq!(probe.cost(1), Cost::INFINITY, "no IHU of it yet");
    probe.hear(1, &[ihu(96)]);
    assert_eq!(probe.cost(1), Cost(96));
}

#[test]
fn an_ihu_counts_if_it_is_about_us() {
    let about = |address| {
        Tlv::Ihu(Ihu { address, rxcost: Cost(96), interval: Interval(1200), timestamps: None })
    };
    for (who, counts) in [
        (None, true),
        (Some(IpAddr::V6(address(OWN))), true),
        (Some(IpAddr::V6(address(9))), false),
        (Some(IpAddr::V4(Ipv4Addr::LOCALHOST)), false),
    ] {
        let mut probe = Probe::new();
        probe.link_up(1);
        let hello = probe.hello_tlv(1, 400);
        probe.hear(1, &[hello, about(who)]);
        assert_eq!(probe.cost(1).is_finite(), counts, "{who:?}");
    }
}

#[test]
fn an_ihu_may_come_before_the_first_hello() {
    let mut probe = Probe::new();
    probe.link_up(1);
    probe.hear(1, &[ihu(96)]);
    assert_eq!(probe.babel.neighbours().count(), 1);
    assert!(!probe.cost(1).is_finite(), "nothing heard yet");
    probe.wait(secs(3));
    let hello = probe.hello_tlv(1, 400);
    probe.hear(1, &[hello]);
    assert!(probe.cost(1).is_finite());
    probe.link_up(2);
    probe.hear(2, &[ihu(96)]);
    probe.wait(secs(43));
    assert_eq!(probe.babel.neighbours().count(), 1, "an IHU alone is forgotten when it expires");
}

#[test]
fn a_nameless_ihu_to_many_counts_only_where_there_is_nobody_else() {
    let mut probe = Probe::new();
    probe.link_up(1);
    let nameless = Tlv::Ihu(Ihu {
        address: None,
        rxcost: Cost(96),
        interval: Interval(1200),
        timestamps: None,
    });
    probe.hear_on(link(1), address(1), &[hello(1, 400)]);
    probe.hear_on(link(1), address(2), &[hello(1, 400), nameless]);
    assert!(probe.babel.neighbours().all(|one| !one.cost.is_finite()));
}

#[test]
fn the_cost_is_that_of_the_dearer_direction() {
    for (txcost, cost) in [(96, 96), (50, 96), (200, 200), (0, 96), (0xffff, 0xffff)] {
        let mut probe = Probe::among(1);
        probe.hear(1, &[ihu(txcost)]);
        assert_eq!(probe.cost(1), Cost(cost), "txcost {txcost}");
    }
}

#[test]
fn a_silent_neighbour_is_dropped_after_two_misses_and_forgotten_after_sixteen() {
    let mut probe = Probe::among(1);
    probe.live(1, secs(20));
    probe.wait(secs(8));
    assert!(probe.cost(1).is_finite());
    probe.outputs.clear();
    probe.wait(secs(3));
    assert!(!probe.cost(1).is_finite());
    let told = probe.take(1);
    assert!(told.iter().any(|tlv| matches!(tlv, Tlv::Ihu(ihu) if !ihu.rxcost.is_finite())));
    assert_eq!(probe.babel.neighbours().count(), 1);
    probe.wait(secs(60));
    assert_eq!(probe.babel.neighbours().count(), 0);
}

#[test]
fn a_neighbour_that_stops_hearing_us_is_dropped_when_its_ihu_expires() {
    let mut probe = Probe::among(1);
    for _ in 0..41 {
        let hello = probe.hello_tlv(1, 400);
        probe.hear(1, &[hello]);
        probe.wait(secs(1));
    }
    assert!(probe.cost(1).is_finite(), "3.5 intervals of 12 s are 42 s");
    probe.wait(secs(1));
    assert!(!probe.cost(1).is_finite());
}

#[test]
fn an_unscheduled_hello_moves_no_timer() {
    let mut probe = Probe::among(1);
    for round in 0..4 {
        let hello = probe.hello_tlv(1, 0);
        probe.hear(1, &[hello]);
        assert!(probe.cost(1).is_finite(), "after {round} s");
        probe.wait(secs(1));
    }
    let before = probe.babel.neighbours().next().unwrap().multicast;
    assert_eq!(before.heard & 0xf, 0xf);
    probe.wait(secs(3));
    let after = probe.babel.neighbours().next().unwrap().multicast;
    assert_eq!(after.heard & 1, 0, "the promise of the last scheduled one still holds");
}

#[test]
fn a_neighbour_that_only_says_unscheduled_hellos_is_forgotten_in_the_end() {
    let mut probe = Probe::new();
    probe.link_up(1);
    probe.hear(1, &[hello(1, 0), ihu(96)]);
    assert!(probe.cost(1).is_finite());
    probe.wait(secs(200));
    assert_eq!(probe.babel.neighbours().count(), 0);
}

#[test]
fn a_jump_of_the_hello_number_is_a_restart() {
    let mut probe = Probe::among(1);
    probe.update(1, P, (1, 5, 0));
    assert_eq!(probe.via(P), Some(1));
    probe.hear(1, &[hello(20_000, 400)]);
    assert_eq!(probe.via(P), None);
    assert_eq!(probe.babel.neighbours().count(), 1);
    assert!(!probe.cost(1).is_finite());
}

#[test]
fn unicast_and_multicast_hellos_are_counted_apart() {
    let mut probe = Probe::among(1);
    let unicast = |seqno| {
        let interval = Interval(400);
        Tlv::Hello(Hello {
            kind: HelloKind::Unicast,
            seqno: Seqno(seqno),
            interval,
            timestamp: None,
        })
    };
    probe.hear(1, &[unicast(30_000)]);
    assert!(probe.cost(1).is_finite(), "no jump: another history");
    for seqno in 30_001..30_020 {
        probe.wait(secs(4));
        probe.hear(1, &[unicast(seqno), ihu(96)]);
    }
    let view = probe.babel.neighbours().next().unwrap();
    assert_eq!((view.multicast.heard, view.unicast.heard), (0, 0xffff));
    assert!(probe.cost(1).is_finite(), "one of the two suffices");
}

#[test]
fn an_acknowledgement_is_sent_at_once_by_unicast() {
    let mut probe = Probe::among(1);
    probe.hear(1, &[Tlv::AckRequest { opaque: 77, interval: Interval(10) }]);
    let to = Destination::Unicast(address(1));
    assert_eq!(probe.sent_on(link(1)), [(to, Tlv::Ack { opaque: 77 })]);
}

#[test]
fn a_route_goes_through_the_cheapest_neighbour_and_changes_for_a_margin_only() {
    let mut probe = Probe::among(3);
    probe.update(1, P, (9, 5, 200));
    probe.update(2, P, (9, 5, 190));
    assert_eq!(probe.via(P), Some(1), "ten are not worth a change");
    probe.update(3, P, (9, 5, 100));
    assert_eq!(probe.via(P), Some(3));
    probe.retract(3, P);
    assert_eq!(probe.via(P), Some(2), "the lowest, at once");
    let Some(Target::Via { metric, next_hop, router_id, .. }) = probe.kernel(P) else { panic!() };
    assert_eq!((metric, next_hop, router_id), (Metric(286), IpAddr::V6(address(2)), router(9)));
}

#[test]
fn a_newer_number_alone_is_no_reason_to_change() {
    let mut probe = Probe::among(2);
    probe.update(1, P, (9, 5, 100));
    probe.update(2, P, (9, 60, 100));
    assert_eq!(probe.via(P), Some(1));
}

#[test]
fn an_unfeasible_update_of_the_selected_route_changes_nothing_but_is_asked_about() {
    let mut probe = Probe::among(2);
    probe.update(1, P, (9, 5, 100));
    assert_eq!(probe.told(2), [(P.to_string(), 5, 196)], "which sets the feasibility distance");
    probe.acknowledge(2);
    probe.outputs.clear();
    probe.update(1, P, (9, 5, 500));
    assert_eq!(probe.via(P), Some(1));
    let route = probe.babel.routes().next().unwrap();
    assert_eq!((route.refmetric, route.state), (Metric(100), RouteState::Selected));
    assert_eq!(probe.asked(1), [(router(9), 6, 64)]);
    assert!(probe.told(2).is_empty());
    probe.update(1, P, (9, 6, 500));
    probe.wait(Duration::from_millis(50));
    assert_eq!(probe.told(2), [(P.to_string(), 6, 596)]);
}

#[test]
fn an_unfeasible_update_under_another_router_id_unselects_at_once() {
    let mut probe = Probe::among(3);
    probe.update(1, P, (8, 5, 100));
    probe.update(1, P, (9, 5, 100));
    probe.outputs.clear();
    probe.update(1, P, (8, 5, 300));
    assert_eq!(probe.via(P), None);
    assert_eq!(probe.kernel(P), Some(Target::Unreachable));
    assert_eq!(probe.told(2), [(P.to_string(), 100, 0xffff)], "retracted at once");
    assert_eq!(probe.asked(1), [(router(8), 6, 64)]);
}

#[test]
fn a_change_of_router_id_is_told_at_once() {
    let mut probe = Probe::among(2);
    probe.update(1, P, (8, 5, 100));
    probe.outputs.clear();
    probe.update(1, P, (9, 1, 100));
    assert_eq!(probe.told(2), [(P.to_string(), 1, 196)]);
}

#[test]
fn a_small_step_of_the_metric_waits_and_a_large_one_does_not() {
    let mut probe = Probe::among(2);
    probe.update(1, P, (9, 5, 300));
    probe.acknowledge(2);
    probe.outputs.clear();
    probe.update(1, P, (9, 6, 310));
    probe.wait(Duration::from_millis(200));
    assert!(probe.told(2).is_empty());
    probe.update(1, P, (9, 6, 350));
    probe.wait(Duration::from_millis(20));
    assert_eq!(probe.told(2), [(P.to_string(), 6, 446)], "both steps together");
}

#[test]
fn routes_are_not_told_where_they_came_from_unless_so_configured_or_asked() {
    let mut probe = Probe::among(1);
    probe.update(1, P, (9, 5, 100));
    probe.wait(secs(2));
    assert!(probe.told(1).is_empty());
    probe.hear(1, &[Tlv::RouteRequest(Some(prefix(P)))]);
    assert_eq!(probe.told(1), [(P.to_string(), 5, 196)]);

    let mut probe = Probe::new();
    let params = LinkParams { split_horizon: SplitHorizon::Off, ..LinkParams::wired(address(OWN)) };
    probe.input(Input::LinkUp { link: link(1), params });
    probe.greet(1);
    probe.outputs.clear();
    probe.update(1, P, (9, 5, 100));
    assert_eq!(probe.told(1), [(P.to_string(), 5, 196)]);
}

#[test]
fn a_route_that_turns_around_is_retracted_where_it_now_leads() {
    let mut probe = Probe::among(2);
    probe.update(1, P, (9, 5, 300));
    probe.acknowledge(2);
    probe.outputs.clear();
    probe.update(2, P, (9, 5, 100));
    assert_eq!(probe.told(2), [(P.to_string(), 100, 0xffff)]);
    assert_eq!(probe.told(1), [(P.to_string(), 5, 196)]);
}

#[test]
fn a_lost_prefix_is_unreachable_until_all_have_acknowledged() {
    let mut probe = Probe::among(3);
    probe.update(1, P, (9, 5, 100));
    probe.acknowledge(2);
    probe.acknowledge(3);
    probe.outputs.clear();
    probe.retract(1, P);
    assert_eq!(probe.kernel(P), Some(Target::Unreachable));
    assert_eq!(probe.babel.held().count(), 1);
    probe.acknowledge(2);
    assert_eq!(probe.kernel(P), Some(Target::Unreachable));
    probe.acknowledge(3);
    assert_eq!(probe.kernel(P), Some(Target::Gone));
    assert_eq!(probe.babel.held().count(), 0);
}

#[test]
fn a_lost_prefix_is_unreachable_for_the_hold_time_if_nobody_acknowledges() {
    let mut probe = Probe::among(2);
    probe.update(1, P, (9, 5, 100));
    probe.retract(1, P);
    for _ in 0..55 {
        probe.greet(2);
        probe.wait(secs(1));
    }
    assert_eq!(probe.kernel(P), Some(Target::Unreachable));
    probe.wait(secs(2));
    assert_eq!(probe.kernel(P), Some(Target::Gone));
}

#[test]
fn a_lost_prefix_is_gone_when_those_who_used_us_are() {
    let mut probe = Probe::among(2);
    probe.update(1, P, (9, 5, 100));
    probe.retract(1, P);
    assert_eq!(probe.kernel(P), Some(Target::Unreachable));
    probe.input(Input::LinkDown { link: link(2) });
    assert_eq!(probe.kernel(P), Some(Target::Gone));
}

#[test]
fn a_default_route_is_never_made_unreachable() {
    let mut probe = Probe::among(2);
    probe.update(1, "::/0", (9, 5, 100));
    probe.retract(1, "::/0");
    assert_eq!(probe.kernel("::/0"), Some(Target::Gone));
    let retracted = probe.told(2).contains(&("::/0".to_string(), 100, 0xffff));
    assert!(retracted);
}

#[test]
fn a_retraction_is_repeated_until_acknowledged_and_no_more_than_five_times() {
    let mut probe = Probe::among(2);
    probe.update(1, P, (9, 5, 100));
    probe.acknowledge(2);
    probe.outputs.clear();
    probe.retract(1, P);
    for _ in 0..10 {
        probe.greet(2);
        probe.wait(secs(1));
    }
    let retractions = |probe: &Probe| probe.told(2).iter().filter(|told| told.2 == 0xffff).count();
    assert_eq!(retractions(&probe), 5);
    assert_eq!(probe.count("dropped: unacknowledged updates"), 1);
    probe.outputs.clear();
    for _ in 0..6 {
        probe.greet(2);
        probe.wait(secs(1));
    }
    assert!(retractions(&probe) > 0, "again with the next full update");
    probe.acknowledge(2);
    probe.outputs.clear();
    probe.update(1, P, (9, 6, 100));
    probe.acknowledge(2);
    probe.outputs.clear();
    probe.wait(secs(1));
    assert!(probe.told(2).is_empty(), "acknowledged");
}

#[test]
fn a_neighbour_that_returns_is_told_what_was_lost_meanwhile() {
    let mut probe = Probe::among(2);
    probe.update(1, P, (9, 5, 100));
    probe.acknowledge(2);
    for _ in 0..12 {
        probe.greet(1);
        probe.wait(secs(1));
    }
    assert!(!probe.cost(2).is_finite());
    probe.retract(1, P);
    assert_eq!(probe.kernel(P), Some(Target::Gone), "nobody to wait for");
    probe.outputs.clear();
    probe.greet(2);
    // Two of three: more than one Hello has been missed.
    probe.greet(2);
    assert!(probe.cost(2).is_finite());
    assert_eq!(probe.told(2), [(P.to_string(), 100, 0xffff)]);
}

#[test]
fn on_a_crowded_link_changes_go_to_the_group_twice() {
    let mut probe = Probe::among(2);
    for n in 10..20 {
        probe.hear_on(link(2), address(n), &[hello(1, 400), ihu(96)]);
    }
    probe.wait(secs(1));
    probe.outputs.clear();
    probe.update(1, P, (9, 5, 100));
    probe.wait(secs(2));
    let sent = probe.sent_on(link(2)).into_iter().filter(|(_, tlv)| matches!(tlv, Tlv::Update(_)));
    let to: Vec<Destination> = sent.map(|(to, _)| to).collect();
    assert_eq!(to, [Destination::Multicast, Destination::Multicast]);
    assert!(!probe.sent_on(link(2)).iter().any(|(_, tlv)| matches!(tlv, Tlv::AckRequest { .. })));
}

#[test]
fn a_wildcard_retraction_retracts_everything_of_that_neighbour() {
    let mut probe = Probe::among(2);
    probe.update(1, P, (9, 5, 100));
    probe.update(1, "fd00:2::/64", (9, 5, 100));
    probe.update(2, "fd00:3::/64", (9, 5, 100));
    probe.hear(1, &[retraction(None)]);
    assert_eq!((probe.via(P), probe.via("fd00:2::/64")), (None, None));
    assert_eq!(probe.via("fd00:3::/64"), Some(2));
}

#[test]
fn a_request_for_a_prefix_is_answered_always() {
    let mut probe = Probe::among(2);
    probe.originate(P, 7);
    probe.outputs.clear();
    probe.hear(1, &[Tlv::RouteRequest(Some(prefix(P)))]);
    assert_eq!(probe.told(1), [(P.to_string(), 100, 7)]);
    probe.outputs.clear();
    probe.hear(1, &[Tlv::RouteRequest(Some(prefix("fd00:99::/64")))]);
    assert_eq!(probe.told(1), [("fd00:99::/64".to_string(), 100, 0xffff)]);
}

#[test]
fn a_request_for_everything_is_answered_but_not_more_than_once_a_second() {
    let mut probe = Probe::among(1);
    probe.originate(P, 0);
    probe.acknowledge(1);
    probe.wait(secs(1));
    probe.outputs.clear();
    for _ in 0..10 {
        probe.hear(1, &[Tlv::RouteRequest(None)]);
    }
    assert_eq!(probe.told(1).len(), 1);
    probe.acknowledge(1);
    probe.outputs.clear();
    probe.wait(Duration::from_millis(900));
    assert!(probe.told(1).is_empty());
    probe.wait(Duration::from_millis(110));
    assert_eq!(probe.told(1).len(), 1);
}

#[test]
fn a_silent_neighbour_is_asked_for_its_table_and_a_talking_one_is_not() {
    let asked = |probe: &Probe| {
        probe.sent_on(link(1)).iter().any(|(_, tlv)| *tlv == Tlv::RouteRequest(None))
    };
    let mut probe = Probe::new();
    probe.link_up(1);
    probe.greet(1);
    probe.wait(Duration::from_millis(200));
    assert!(asked(&probe));
    let mut probe = Probe::new();
    probe.link_up(1);
    probe.greet(1);
    probe.update(1, P, (9, 5, 0));
    probe.wait(Duration::from_millis(200));
    assert!(!asked(&probe));
}

#[test]
fn all_is_told_again_within_every_update_interval() {
    let mut probe = Probe::among(2);
    probe.originate(P, 0);
    probe.update(1, "fd00:2::/64", (9, 5, 100));
    for round in 0..10 {
        probe.outputs.clear();
        for _ in 0..16 {
            probe.wait(secs(1));
            probe.greet(1);
            probe.greet(2);
            probe.update(1, "fd00:2::/64", (9, 5, 100));
        }
        let told = probe.told(2);
        assert!(told.iter().any(|one| one.0 == P), "round {round}");
        assert!(told.iter().any(|one| one.0 == "fd00:2::/64"), "round {round}");
    }
}

#[test]
fn a_route_is_asked_for_before_it_expires_and_then_lost() {
    let mut probe = Probe::among(2);
    probe.update(1, P, (9, 5, 100));
    let wanted = Tlv::RouteRequest(Some(prefix(P)));
    let live = |probe: &mut Probe, seconds: u64| {
        probe.outputs.clear();
        for _ in 0..seconds {
            probe.greet(1);
            probe.wait(secs(1));
        }
        probe.sent_on(link(1)).into_iter().filter(|(_, tlv)| *tlv == wanted).count()
    };
    assert_eq!(live(&mut probe, 39), 0);
    assert_eq!(live(&mut probe, 3), 1, "2.5 intervals of 16 s");
    assert_eq!(live(&mut probe, 13), 0);
    assert_eq!(probe.via(P), Some(1));
    live(&mut probe, 2);
    assert_eq!(probe.via(P), None, "3.5 intervals");
}

#[test]
fn our_own_prefix_is_ours_whatever_others_say() {
    let mut probe = Probe::among(2);
    probe.update(1, P, (9, 5, 10));
    probe.outputs.clear();
    probe.originate(P, 300);
    assert_eq!(probe.kernel(P), Some(Target::Gone));
    assert_eq!(probe.told(2), [(P.to_string(), 100, 300)]);
    probe.outputs.clear();
    probe.input(Input::Withdraw { route: prefix(P) });
    assert_eq!(probe.via(P), Some(1));
    assert_eq!(probe.told(2), [(P.to_string(), 5, 106)]);
}

#[test]
fn our_own_announcements_bind_no_feasibility() {
    let mut probe = Probe::among(2);
    probe.originate(P, 0);
    probe.wait(secs(1));
    probe.input(Input::Withdraw { route: prefix(P) });
    probe.update(1, P, (9, 0, 1000));
    assert_eq!(probe.via(P), Some(1));
}

#[test]
fn an_echo_of_our_own_router_id_is_no_route() {
    let mut probe = Probe::among(1);
    probe.update(1, P, (9, 5, 10));
    probe.update(1, P, (OWN, 5, 10));
    assert_eq!(probe.via(P), None);
    assert_eq!(probe.count("dropped: own router-id"), 1);
}

#[test]
fn an_echo_that_is_ahead_of_us_moves_our_number_beyond_it() {
    let mut probe = Probe::among(2);
    probe.originate(P, 0);
    probe.outputs.clear();
    probe.update(1, P, (OWN, 300, 96));
    assert_eq!(probe.babel.seqno(), Seqno(301));
    let saved = probe.outputs.iter().position(|output| *output == Output::Seqno(Seqno(301)));
    let sent = probe.outputs.iter().position(|output| matches!(output, Output::Send { .. }));
    assert!(saved.unwrap() < sent.unwrap(), "on disk before it is announced");
    assert_eq!(probe.told(2), [(P.to_string(), 301, 0)]);
    probe.update(1, P, (OWN, 400, 96));
    assert_eq!(probe.babel.seqno(), Seqno(301), "not twice in a second");
    probe.wait(secs(1));
    probe.update(1, P, (OWN, 400, 96));
    assert_eq!(probe.babel.seqno(), Seqno(401));
}

#[test]
fn ipv4_is_announced_through_our_ipv6_address() {
    let mut probe = Probe::among(1);
    probe.originate("10.1.0.0/16", 0);
    let told = probe.take(1);
    let hop = Some(IpAddr::V6(address(OWN)));
    assert!(told.iter().any(|tlv| matches!(tlv, Tlv::Update(one) if one.next_hop == hop)));
}

#[test]
fn strangers_and_wrong_sources_are_dropped_and_counted() {
    let mut probe = Probe::among(1);
    probe.hear_on(link(1), address(3), &[Tlv::RouteRequest(None)]);
    assert_eq!(probe.count("dropped: unknown neighbour"), 1);
    for source in ["fd00::1".parse().unwrap(), "::".parse().unwrap(), address(OWN)] {
        probe.hear_on(link(1), source, &[hello(1, 400)]);
    }
    assert_eq!(probe.count("dropped: bad source address"), 3);
    assert_eq!(probe.babel.neighbours().count(), 1);
}

#[test]
fn tables_have_their_limits() {
    let mut probe = Probe::with(|params| {
        let limits = super::super::Limits {
            neighbours_per_link: 3,
            routes_per_neighbour: 5,
            routes: 9,
            ..params.limits
        };
        super::super::Params { limits, ..params }
    })
    .join(2);
    for n in 0..10 {
        probe.hear_on(link(1), address(100 + n), &[hello(1, 400)]);
    }
    assert_eq!(probe.babel.neighbours().count(), 4);
    assert_eq!(probe.count("dropped: too many neighbours"), 8);
    for n in 0..7 {
        probe.update(1, &format!("fd00:1:{n}::/64"), (9, 5, 10));
        probe.update(2, &format!("fd00:2:{n}::/64"), (9, 5, 10));
    }
    assert_eq!(probe.babel.routes().count(), 9);
    assert_eq!(probe.count("dropped: too many routes of a neighbour"), 2);
    assert_eq!(probe.count("dropped: too many routes"), 3);
}

#[test]
fn forged_neighbours_displace_each_other_and_not_those_in_use() {
    let mut probe = Probe::with(|params| {
        let limits = super::super::Limits { neighbours_per_link: 2, ..params.limits };
        super::super::Params { limits, ..params }
    })
    .join(1);
    probe.update(1, P, (9, 5, 10));
    for n in 10..200 {
        probe.hear_on(link(1), address(n), &[hello(1, u16::MAX)]);
    }
    assert_eq!(probe.via(P), Some(1));
    probe.hear_on(link(1), address(2), &[hello(1, 400), ihu(96)]);
    assert_eq!(probe.babel.neighbours().filter(|one| one.cost.is_finite()).count(), 2);
    probe.hear_on(link(1), address(3), &[hello(1, 400), ihu(96)]);
    assert_eq!(probe.count("dropped: unknown neighbour"), 1, "all are in use");
}

#[test]
fn without_room_for_its_distance_a_route_is_used_but_not_announced() {
    let mut probe = Probe::with(|params| {
        let limits = super::super::Limits { sources: 1, ..params.limits };
        super::super::Params { limits, ..params }
    })
    .join(2);
    probe.update(1, P, (9, 5, 10));
    probe.update(1, "fd00:2::/64", (9, 5, 10));
    assert_eq!(probe.via("fd00:2::/64"), Some(1));
    assert_eq!(probe.told(2), [(P.to_string(), 5, 106)]);
    assert_eq!(probe.count("dropped: too many sources"), 1);
}

#[test]
fn after_shutdown_nothing_happens() {
    let mut probe = Probe::among(2);
    probe.originate(P, 0);
    probe.outputs.clear();
    probe.input(Input::Shutdown);
    for n in [1, 2] {
        let sent = probe.sent_on(link(n));
        let wildcards =
            sent.iter().filter(|(_, tlv)| matches!(tlv, Tlv::Update(Update { route: None, .. })));
        assert_eq!(wildcards.count(), 2);
    }
    probe.outputs.clear();
    probe.greet(1);
    probe.wait(secs(100));
    assert_eq!(probe.outputs, []);
    assert_eq!(probe.babel.next_deadline(), None);
}

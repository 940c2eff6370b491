//! Updates, selection and retraction (RFC 8966 §3.5 to §3.8), one rule a test, by hand-made packets.

use std::net::IpAddr;
use std::time::Duration;

use sixwire_proto::babel::{Destination, Tlv};
use sixwire_proto::metric::Metric;
use sixwire_proto::seqno::Seqno;

use super::super::{Input, LinkParams, Output, RouteState, SplitHorizon, Target};
use super::network::secs;
use super::probe::{OWN, Probe, address, hello, ihu, link, prefix, retraction, router};

const P: &str = "fd00:1::/64";

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

//! Rules for what is believed, told and used.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use sixwire_proto::babel::{RouteKey, Tlv};
use sixwire_proto::metric::{Cost, Metric};

use super::super::{
    Action, Direction, Filter, Input, LinkParams, LinkTag, MetricChange, RouteState, SourceMatch,
    Target,
};
use super::probe::{OWN, Probe, address, link, prefix, router};

const P: &str = "fd00:1::/64";
const RETRACTED: u16 = 0xffff;

fn rule(direction: Direction, action: Action) -> Filter {
    Filter {
        direction,
        prefix: None,
        length: None,
        source: None,
        link: None,
        neighbour: None,
        router_id: None,
        action,
    }
}

fn add(more: u16) -> Action {
    Action::Allow(MetricChange::Add(Cost(more)))
}

fn set(metric: u16) -> Action {
    Action::Allow(MetricChange::Set(Metric(metric)))
}

/// Neighbours 1 to 3, each on a link of its own number and tag.
fn among_three(rules: Vec<Filter>) -> Probe {
    let mut probe = Probe::new();
    probe.babel = probe.babel.with_filters(rules);
    for n in 1..=3 {
        let tag = Some(LinkTag(n.into()));
        let params = LinkParams { tag, ..LinkParams::wired(address(OWN)) };
        probe.input(Input::LinkUp { link: link(n), params });
        probe.greet(n);
    }
    probe.wait(Duration::from_millis(300));
    for n in 1..=3 {
        probe.acknowledge(n);
    }
    probe.outputs.clear();
    probe
}

#[test]
fn the_first_rule_that_matches_decides_and_without_one_all_is_allowed() {
    let inside = Some("fd00:1::/32".parse().unwrap());
    let mut probe = among_three(vec![
        Filter { prefix: inside, length: Some(64..=64), ..rule(Direction::In, add(0)) },
        Filter { prefix: inside, ..rule(Direction::In, Action::Deny) },
    ]);
    for (key, known) in [(P, true), ("fd00:1::/48", false), ("fd00:2::/48", true)] {
        probe.update(1, key, (9, 5, 100));
        assert_eq!(probe.via(key).is_some(), known, "{key}");
    }
    assert_eq!(probe.count("dropped: filtered update"), 1);
}

#[test]
fn an_update_that_is_denied_takes_the_route_away_that_was_allowed() {
    let denied = Filter { router_id: Some(router(9)), ..rule(Direction::In, Action::Deny) };
    let mut probe = among_three(vec![denied]);
    probe.update(1, P, (8, 5, 100));
    assert_eq!(probe.via(P), Some(1));
    probe.update(1, P, (9, 5, 100));
    assert_eq!(probe.via(P), None);
    assert_eq!(probe.told(2).last(), Some(&(P.to_owned(), 100, RETRACTED)));
    assert_eq!(probe.babel.routes().count(), 0);
}

#[test]
fn a_neighbour_or_link_can_be_made_dearer_without_being_less_feasible() {
    let neighbour = Some(address(1));
    let mut probe = among_three(vec![
        Filter { neighbour, ..rule(Direction::In, add(300)) },
        Filter { link: Some(LinkTag(2)), ..rule(Direction::In, add(100)) },
    ]);
    probe.update(1, P, (9, 5, 100));
    assert_eq!(probe.told(3), [(P.to_owned(), 5, 496)]);
    probe.update(2, P, (9, 5, 495));
    assert_eq!(probe.via(P), Some(1), "feasible, as 495 is less than was told, but dearer");
    probe.retract(1, P);
    assert_eq!(probe.via(P), Some(2));
    let Some(Target::Via { metric, .. }) = probe.kernel(P) else { panic!() };
    assert_eq!(metric, Metric(495 + 96 + 100));
}

#[test]
fn a_metric_that_is_set_stays_above_that_of_the_next_router() {
    let mut probe = among_three(vec![
        Filter { link: Some(LinkTag(1)), ..rule(Direction::In, set(50)) },
        Filter { link: Some(LinkTag(2)), ..rule(Direction::Out, set(10)) },
        Filter { link: Some(LinkTag(3)), ..rule(Direction::Out, set(700)) },
    ]);
    probe.update(1, P, (9, 5, 20));
    assert_eq!(probe.told(2), [(P.to_owned(), 5, 21)]);
    assert_eq!(probe.told(3), [(P.to_owned(), 5, 700)]);
    probe.update(1, "fd00:2::/64", (9, 5, 200));
    let Some(Target::Via { metric, .. }) = probe.kernel("fd00:2::/64") else { panic!() };
    assert_eq!(metric, Metric(201), "a link is never free");
    probe.originate("fd00:3::/64", 0);
    assert_eq!(probe.told(2).last(), Some(&("fd00:3::/64".to_owned(), 100, 10)));
}

#[test]
fn the_feasibility_distance_is_what_was_told() {
    let mut probe = among_three(vec![
        Filter { link: Some(LinkTag(2)), ..rule(Direction::Out, add(100)) },
        Filter { link: Some(LinkTag(3)), ..rule(Direction::Out, Action::Deny) },
    ]);
    probe.update(1, P, (9, 5, 100));
    assert_eq!(probe.told(2), [(P.to_owned(), 5, 296)]);
    probe.update(3, P, (9, 5, 296));
    let state = |probe: &Probe| {
        let routes = probe.babel.routes();
        routes.filter(|one| one.neighbour == Some((link(3), address(3)))).map(|r| r.state).next()
    };
    assert_eq!(state(&probe), Some(RouteState::Unfeasible));
    probe.update(3, P, (9, 5, 295));
    assert_eq!(state(&probe), Some(RouteState::Feasible));
}

#[test]
fn a_small_step_behind_an_output_rule_still_waits() {
    let mut probe = among_three(vec![rule(Direction::Out, add(1000))]);
    probe.update(1, P, (9, 5, 300));
    probe.acknowledge(2);
    probe.acknowledge(3);
    probe.outputs.clear();
    probe.update(1, P, (9, 6, 310));
    probe.wait(Duration::from_millis(200));
    assert!(probe.told(2).is_empty());
}

#[test]
fn a_link_never_hears_of_what_is_not_for_it_not_even_its_loss() {
    let mut probe = among_three(vec![Filter {
        prefix: Some(P.parse().unwrap()),
        link: Some(LinkTag(2)),
        ..rule(Direction::Out, Action::Deny)
    }]);
    probe.update(1, P, (9, 5, 100));
    assert_eq!(probe.told(3), [(P.to_owned(), 5, 196)]);
    probe.acknowledge(3);
    probe.retract(1, P);
    assert_eq!(probe.kernel(P), Some(Target::Unreachable));
    probe.acknowledge(3);
    assert_eq!(probe.kernel(P), Some(Target::Gone), "nobody waits for who was not told");
    assert!(probe.told(2).is_empty());
    probe.hear(2, &[Tlv::RouteRequest(Some(prefix(P)))]);
    assert_eq!(probe.told(2), [(P.to_owned(), 100, RETRACTED)], "a question has its answer");
}

#[test]
fn what_was_told_is_retracted_when_its_new_originator_is_denied() {
    let denied = Filter { router_id: Some(router(8)), ..rule(Direction::Out, Action::Deny) };
    let mut probe = among_three(vec![denied]);
    probe.update(1, P, (9, 5, 100));
    assert_eq!(probe.told(2), [(P.to_owned(), 5, 196)]);
    probe.acknowledge(2);
    probe.outputs.clear();
    probe.update(1, P, (8, 5, 100));
    assert_eq!(probe.told(2), [(P.to_owned(), 100, RETRACTED)]);
    assert_eq!(probe.via(P), Some(1), "it is used all the same");
}

#[test]
fn a_route_that_may_not_be_installed_is_kept_but_neither_used_nor_told() {
    let denied = Filter { neighbour: Some(address(1)), ..rule(Direction::Install, Action::Deny) };
    let mut probe = among_three(vec![denied]);
    probe.update(1, P, (9, 5, 100));
    assert_eq!((probe.via(P), probe.kernel(P)), (None, None));
    assert!(probe.told(3).is_empty());
    assert_eq!(probe.babel.routes().next().unwrap().state, RouteState::Denied);
    probe.update(2, P, (9, 5, 900));
    assert_eq!(probe.via(P), Some(2));
}

#[test]
fn rules_tell_source_specific_routes_from_others() {
    let source = Some(SourceMatch::Within("::/0".parse().unwrap()));
    let install = Filter { source, ..rule(Direction::Install, Action::Deny) };
    let unspecific = Some(SourceMatch::Unspecific);
    let out = Filter { source: unspecific, ..rule(Direction::Out, Action::Deny) };
    let mut probe = among_three(vec![install, out]);
    probe.update(1, P, (9, 5, 100));
    let specific = RouteKey { source: Some("fd00:2::/48".parse().unwrap()), ..prefix(P) };
    probe.input(Input::Originate { route: specific, metric: Metric::ZERO });
    assert_eq!(probe.told(3), [(format!("{P} from fd00:2::/48"), 100, 0)]);
    assert_eq!(probe.via(P), Some(1));
}

#[test]
fn ipv4_goes_by_our_ipv4_address_where_we_have_one_and_by_ipv6_elsewhere() {
    const V4: &str = "10.1.0.0/16";
    let mut probe = among_three(Vec::new());
    let ours = Ipv4Addr::new(192, 0, 2, 1);
    probe.input(Input::LinkV4 { link: link(2), address: Some(ours) });
    probe.originate(V4, 0);
    let next_hop = |probe: &Probe, n: u8| {
        probe.sent_on(link(n)).into_iter().rev().find_map(|(_, tlv)| match tlv {
            Tlv::Update(update) if update.route == Some(prefix(V4)) => update.next_hop,
            _ => None,
        })
    };
    assert_eq!(next_hop(&probe, 1), Some(IpAddr::V6(address(OWN))));
    assert_eq!(next_hop(&probe, 2), Some(IpAddr::V4(ours)));
    for n in 1..=3 {
        probe.acknowledge(n);
    }
    probe.outputs.clear();
    probe.input(Input::LinkV4 { link: link(2), address: None });
    assert_eq!(next_hop(&probe, 2), Some(IpAddr::V6(address(OWN))), "told anew at once");
    assert_eq!(next_hop(&probe, 1), None);
}

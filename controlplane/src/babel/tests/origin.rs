//! The origin check.

use sixwire_proto::link::LinkId;
use sixwire_proto::prefix::Prefix;
use sixwire_proto::router_id::RouterId;

use super::super::{
    Announcers, Forwarding, Input, LinkParams, OriginCheck, Output, Params, RouteState, Target,
};
use super::network::{Network, id, key, secs};
use super::probe::{OWN, Probe, address, link, prefix, router};

const P: &str = "fd00:1:2::/64";

fn required(params: Params) -> Params {
    Params { origin_check: OriginCheck::Required, ..params }
}

fn know(probe: &mut Probe, origin: u8, prefixes: &[&str]) {
    let prefixes: Vec<Prefix> = prefixes.iter().map(|text| text.parse().unwrap()).collect();
    probe.input(Input::Origin { router_id: router(origin), prefixes: &prefixes });
}

fn wanted(probe: &Probe) -> Vec<(RouterId, LinkId)> {
    let wanted = |output: &Output| match output {
        Output::OriginWanted { router_id, link, .. } => Some((*router_id, *link)),
        _ => None,
    };
    probe.outputs.iter().filter_map(wanted).collect()
}

#[test]
fn a_route_is_used_once_its_origin_is_known_and_covers_it() {
    for (prefixes, used) in [
        (vec![P], true),
        (vec!["fd00:1::/32"], true),
        (vec!["fd00:9::/64", "fd00:1:2::/63"], true),
        (vec!["fd00:1:2:0:8000::/65"], false),
        (vec!["fd00:9::/64"], false),
        (vec![], false),
    ] {
        let mut probe = Probe::with(required).join(2);
        probe.update(1, P, (9, 5, 10));
        assert_eq!(probe.via(P), None);
        assert_eq!(wanted(&probe), [(router(9), link(1))]);
        assert!(probe.told(2).is_empty());
        know(&mut probe, 9, &prefixes);
        assert_eq!(probe.via(P).is_some(), used, "{prefixes:?}");
        assert_eq!(matches!(probe.kernel(P), Some(Target::Via { .. })), used);
    }
}

#[test]
fn a_leaf_is_believed_about_itself_only() {
    let mut probe = Probe::new();
    let leaf = Announcers::Only(router(1));
    let params = LinkParams { announcers: leaf, ..LinkParams::wired(address(OWN)) };
    probe.input(Input::LinkUp { link: link(1), params });
    probe.greet(1);
    probe.update(1, P, (1, 5, 0));
    probe.update(1, "fd00:1:3::/64", (9, 5, 10));
    assert_eq!(probe.via(P), Some(1));
    assert_eq!(probe.via("fd00:1:3::/64"), None);
}

#[test]
fn a_leaf_announces_nothing_but_its_own() {
    let leaf = |params| Params { forwarding: Forwarding::Leaf, ..params };
    let mut probe = Probe::with(leaf).join(2);
    probe.originate("fd00:ee::/64", 0);
    probe.update(1, P, (9, 5, 10));
    probe.live(2, secs(20));
    assert_eq!(probe.via(P), Some(1), "it uses what it hears");
    let told = probe.told(2);
    assert!(told.iter().any(|(prefix, ..)| prefix == "fd00:ee::/64"), "{told:?}");
    assert!(!told.iter().any(|(prefix, _, metric)| prefix == P && *metric != 0xffff), "{told:?}");
}

#[test]
fn an_origin_known_before_is_not_asked_for() {
    let mut probe = Probe::with(required).join(1);
    know(&mut probe, 9, &[P]);
    probe.update(1, P, (9, 5, 10));
    assert_eq!(probe.via(P), Some(1));
    assert_eq!(wanted(&probe), []);
}

#[test]
fn an_origin_is_asked_for_once_and_again_elsewhere_after_a_while() {
    let mut probe = Probe::with(required).join(2);
    for n in [1, 2] {
        probe.update(n, P, (9, 5, 10));
        probe.update(n, "fd00:1:3::/64", (9, 5, 10));
    }
    assert_eq!(wanted(&probe), [(router(9), link(1))]);
    probe.wait(secs(2));
    assert_eq!(wanted(&probe), [(router(9), link(1)), (router(9), link(2))]);
    probe.retract(1, P);
    probe.retract(2, P);
    probe.retract(1, "fd00:1:3::/64");
    probe.retract(2, "fd00:1:3::/64");
    probe.outputs.clear();
    probe.wait(secs(100));
    assert_eq!(wanted(&probe), [], "nobody speaks of it any more");
}

#[test]
fn a_revoked_origin_loses_its_routes_at_once() {
    let mut probe = Probe::with(required).join(2);
    know(&mut probe, 9, &["fd00::/16"]);
    know(&mut probe, 8, &["fd00::/16"]);
    probe.update(1, P, (9, 5, 10));
    probe.update(1, "fd00:8::/64", (8, 5, 10));
    probe.acknowledge(2);
    probe.outputs.clear();
    probe.input(Input::OriginGone { router_id: router(9) });
    assert_eq!(probe.via(P), None);
    assert_eq!(probe.told(2), [(P.to_string(), 100, 0xffff)]);
    assert_eq!(probe.via("fd00:8::/64"), Some(1));
    assert_eq!(wanted(&probe), []);
    let state = probe.babel.routes().find(|one| one.route == prefix(P)).unwrap().state;
    assert_eq!(state, RouteState::UnknownOrigin);
}

#[test]
fn a_forged_route_does_not_displace_the_true_one() {
    let mut probe = Probe::with(required).join(2);
    know(&mut probe, 9, &[P]);
    know(&mut probe, 8, &["fd00:8::/64"]);
    probe.update(1, P, (9, 5, 500));
    probe.update(2, P, (8, 5, 0));
    assert_eq!(probe.via(P), Some(1));
    probe.update(1, P, (8, 5, 0));
    assert_eq!(probe.via(P), None);
}

#[test]
fn our_own_prefixes_need_no_origin() {
    let mut probe = Probe::with(required).join(1);
    probe.originate(P, 0);
    assert_eq!(probe.told(1), [(P.to_string(), 100, 0)]);
    assert_eq!(wanted(&probe), []);
    assert_ne!(router(OWN), router(9));
}

#[test]
fn questions_are_bounded_and_those_turned_away_come_back() {
    let mut probe = Probe::with(|params| {
        let limits = super::super::Limits { origins_wanted: 2, ..params.limits };
        Params { limits, ..required(params) }
    })
    .join(1);
    for origin in 1..=4 {
        probe.update(1, &format!("fd00:{origin}::/64"), (origin, 5, 10));
    }
    assert_eq!(wanted(&probe).len(), 2);
    assert_eq!(probe.count("dropped: too many origins wanted"), 2);
    know(&mut probe, 1, &["fd00:1::/64"]);
    probe.outputs.clear();
    probe.update(1, "fd00:3::/64", (3, 5, 10));
    assert_eq!(wanted(&probe), [(router(3), link(1))]);
}

#[test]
fn a_network_converges_when_origins_are_learnt_from_whoever_selected_the_route() {
    let mut network = Network::with(30, required).nodes(5);
    for node in 1..5 {
        network.wire(&[node - 1, node]);
    }
    // The driver's part: whoever selected a route can vouch for its originator, and is asked.
    for _ in 0..200 {
        network.run(std::time::Duration::from_millis(50));
        for node in 0..5 {
            for (router_id, _, _) in std::mem::take(&mut network.nodes[node].wanted) {
                let origin = (0..5).find(|origin| id(*origin) == router_id).unwrap();
                let prefixes = [key(origin).destination];
                network.input(node, Input::Origin { router_id, prefixes: &prefixes });
            }
        }
    }
    assert!(network.is_converged(), "{}", network.state());
    for node in 0..4 {
        network.input(node, Input::OriginGone { router_id: id(4) });
    }
    network.run(secs(1));
    assert!((0..4).all(|node| network.metric(node, key(4)).is_none()));
}

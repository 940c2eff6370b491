//! What is refused, and what ends.

use sixwire_proto::babel::{Destination, Tlv, Update};
use sixwire_proto::interval::Interval;

use super::super::Input;
use super::network::secs;
use super::probe::{OWN, Probe, address, hello, ihu, link};

const P: &str = "fd00:1::/64";

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
fn a_stranger_gets_its_acknowledgement() {
    let mut probe = Probe::among(1);
    let request = Tlv::AckRequest { opaque: 77, interval: Interval(100) };
    probe.hear_on(link(1), address(3), &[request]);
    let ack = (Destination::Unicast(address(3)), Tlv::Ack { opaque: 77 });
    assert!(probe.sent_on(link(1)).contains(&ack));
    assert_eq!(probe.babel.neighbours().count(), 1, "it is no neighbour for that");
}

#[test]
fn prefixes_that_nobody_routes_are_refused() {
    let mut probe = Probe::among(1);
    for key in ["fe80::/64", "::1/128", "ff00::/8", "127.0.0.0/8", "224.0.0.0/4"] {
        probe.update(1, key, (9, 5, 10));
    }
    assert_eq!(probe.babel.routes().count(), 0);
    assert_eq!(probe.count("dropped: unroutable prefix"), 5);
}

#[test]
fn a_next_hop_is_another_nodes_address() {
    let mut probe = Probe::among(1);
    let v4 = Some("10.0.0.1".parse().unwrap());
    probe.input(Input::LinkV4 { link: link(1), address: v4 });
    let own = address(OWN).to_string();
    let bad_v6 = ["::", "::1", "ff02::1", &own].map(|hop| ("fd00:1::/64", hop));
    let bad_v4 = ["0.0.0.0", "127.0.0.1", "224.0.0.1", "255.255.255.255", "10.0.0.1"];
    let bad_v4 = bad_v4.map(|hop| ("10.1.0.0/16", hop));
    for (key, hop) in bad_v6.into_iter().chain(bad_v4) {
        probe.update_by(1, key, hop.parse().unwrap(), (9, 5, 10));
        assert_eq!(probe.babel.routes().count(), 0, "{key} by {hop}");
    }
    assert_eq!(probe.count("dropped: bad next hop"), 9);
    probe.update_by(1, "10.1.0.0/16", "10.0.0.2".parse().unwrap(), (9, 5, 10));
    probe.update_by(1, "fd00:1::/64", address(2).into(), (9, 5, 10));
    assert_eq!(probe.babel.routes().count(), 2);
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

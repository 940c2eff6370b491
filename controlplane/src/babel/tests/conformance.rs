//! Requirements of the RFCs that no other test is about; the tables of all of them are in `tests/conformance`.

use std::collections::BTreeSet;
use std::time::Duration;

use proptest::prelude::*;
use sixwire_proto::babel::{
    Destination, Hello, Ihu, RouteKey, SeqnoRequest, Tlv, Update, Writer, read,
};
use sixwire_proto::interval::Interval;
use sixwire_proto::link::LinkId;
use sixwire_proto::metric::{Cost, Metric};
use sixwire_proto::seqno::Seqno;

use super::super::{Input, LinkParams, Output};
use super::probe::{OWN, Probe, address, hello, link, prefix, retraction, router};

const P: &str = "fd00:1::/64";

/// Every packet sent on a link: where to, its octets, its TLVs.
fn packets(probe: &Probe, on: LinkId) -> Vec<(Destination, usize, Vec<Tlv>)> {
    let sent = probe.outputs.iter().filter_map(|output| match output {
        Output::Send { link, to, packet } if *link == on => Some((*to, packet)),
        _ => None,
    });
    let tlvs = |bytes: &[u8]| read(bytes, address(OWN)).unwrap().map(Result::unwrap).collect();
    sent.map(|(to, packet)| (to, packet.bytes.len(), tlvs(&packet.bytes))).collect()
}

fn hellos(tlvs: &[Tlv]) -> Vec<Hello> {
    let of = |tlv: &Tlv| if let Tlv::Hello(hello) = tlv { Some(*hello) } else { None };
    tlvs.iter().filter_map(of).collect()
}

fn ihus(tlvs: &[Tlv]) -> Vec<Ihu> {
    let ihu = |tlv: &Tlv| if let Tlv::Ihu(ihu) = tlv { Some(*ihu) } else { None };
    tlvs.iter().filter_map(ihu).collect()
}

/// A minute with two neighbours who are heard and hear us.
fn minute() -> Probe {
    let mut probe = Probe::among(2);
    probe.originate(P, 0);
    probe.live(2, Duration::from_mins(1));
    probe
}

fn from(source: &str) -> RouteKey {
    RouteKey { source: Some(source.parse().unwrap()), ..prefix(P) }
}

fn update(route: RouteKey, metric: u16) -> Tlv {
    Tlv::Update(Update {
        route: Some(route),
        router_id: Some(router(9)),
        next_hop: Some(address(1).into()),
        seqno: Seqno(5),
        metric: Metric(metric),
        interval: Interval(1600),
    })
}

fn written(tlv: &Tlv) -> Vec<u8> {
    let mut writer = Writer::new(1400, address(OWN));
    writer.push(tlv).unwrap();
    writer.finish().unwrap().bytes
}

#[test]
fn a_request_follows_the_route_in_use() {
    let mut probe = Probe::among(3);
    probe.update(2, P, (9, 5, 10));
    probe.update(1, P, (9, 5, 10));
    assert_eq!(probe.via(P), Some(2), "as good, and there first");
    probe.ask(3, P, (9, 6, 64));
    assert_eq!(probe.asked(2), [(router(9), 6, 63)]);
    assert!(probe.asked(1).is_empty(), "its newer number would not be announced");
}

#[test]
fn a_request_goes_by_an_unfeasible_route_if_there_is_no_other() {
    let mut probe = Probe::among(3);
    probe.update(1, P, (9, 5, 10));
    probe.update(2, P, (9, 5, 500));
    probe.outputs.clear();
    // The feasible one leads back to the asker.
    probe.ask(1, P, (9, 6, 64));
    assert_eq!(probe.asked(2), [(router(9), 6, 63)]);
    assert!(probe.asked(1).is_empty() && probe.asked(3).is_empty());
}

#[test]
fn a_request_is_passed_on_to_one_neighbour_by_unicast() {
    let mut probe = Probe::among(4);
    (1..=3).for_each(|n| probe.update(n, P, (9, 5, 10 * u16::from(n))));
    probe.outputs.clear();
    probe.ask(4, P, (9, 6, 64));
    let all = (1..=4).flat_map(|n| probe.sent_on(link(n)));
    let requests: Vec<_> =
        all.filter(|(_, tlv)| matches!(tlv, Tlv::SeqnoRequest(_))).map(|(to, _)| to).collect();
    assert_eq!(requests, [Destination::Unicast(address(1))]);
}

#[test]
fn hellos_go_to_the_group_one_a_packet_and_ihus_with_them() {
    let probe = minute();
    let packets = packets(&probe, link(1));
    let greetings = packets.iter().filter(|(.., tlvs)| !hellos(tlvs).is_empty());
    for (to, _, tlvs) in greetings.clone() {
        assert_eq!(hellos(tlvs).len(), 1);
        assert_eq!(*to, Destination::Multicast);
    }
    assert!(greetings.count() > 10);
    assert!(packets.iter().any(|(.., tlvs)| !ihus(tlvs).is_empty()));
}

#[test]
fn ihus_are_rarer_than_hellos() {
    let packets = packets(&minute(), link(1));
    let hellos: usize = packets.iter().map(|(.., tlvs)| hellos(tlvs).len()).sum();
    let ihus: usize = packets.iter().map(|(.., tlvs)| ihus(tlvs).len()).sum();
    assert!(0 < ihus && ihus < hellos, "{ihus} IHUs, {hellos} Hellos");
}

#[test]
fn the_promised_intervals_never_change() {
    let packets = packets(&minute(), link(1));
    let tlvs: Vec<Tlv> = packets.into_iter().flat_map(|(.., tlvs)| tlvs).collect();
    let scheduled = hellos(&tlvs).into_iter().map(|hello| hello.interval);
    let hellos: BTreeSet<_> = scheduled.filter(|interval| !interval.is_zero()).collect();
    let ihus: BTreeSet<_> = ihus(&tlvs).into_iter().map(|ihu| ihu.interval).collect();
    assert_eq!((hellos.len(), ihus.len()), (1, 1), "{hellos:?} {ihus:?}");
}

#[test]
fn a_link_of_cost_zero_costs_one() {
    let mut probe = Probe::new();
    let params = LinkParams { cost: Cost(0), ..LinkParams::wired(address(OWN)) };
    probe.input(Input::LinkUp { link: link(1), params });
    let hello = probe.hello_tlv(1, 400);
    let own = Some(address(OWN).into());
    let ihu = Ihu { address: own, rxcost: Cost(0), interval: Interval(1200), timestamps: None };
    probe.hear(1, &[hello, Tlv::Ihu(ihu)]);
    assert_eq!(probe.cost(1), Cost(1));
}

#[test]
fn every_packet_keeps_to_the_links_limit() {
    let mut probe = Probe::new();
    let params = LinkParams { largest_datagram: 512, ..LinkParams::wired(address(OWN)) };
    probe.input(Input::LinkUp { link: link(1), params });
    probe.greet(1);
    (0..300).for_each(|n| probe.originate(&format!("fd00:0:{n:x}::/48"), 0));
    probe.live(1, Duration::from_secs(20));
    let sizes: Vec<usize> = packets(&probe, link(1)).into_iter().map(|(_, size, _)| size).collect();
    assert!(sizes.iter().all(|size| *size <= 512), "{sizes:?}");
    assert!(sizes.iter().filter(|size| **size > 480).count() > 3, "bulk fills its packets");
}

#[test]
fn reserved_fields_and_flags_are_sent_as_zero() {
    let own = Some(address(OWN).into());
    let key = prefix(P);
    let (opaque, interval) = (7, Interval(100));
    // Header, type and length take six octets.
    for (tlv, reserved) in [
        (Tlv::AckRequest { opaque, interval }, 6..8),
        (hello(7, 400), 6..8),
        (Tlv::Ihu(Ihu { address: own, rxcost: Cost(9), interval, timestamps: None }), 7..8),
        // Its Router-Id TLV comes first.
        (update(key, 5), 6..8),
        (
            Tlv::SeqnoRequest(SeqnoRequest {
                route: key,
                seqno: Seqno(1),
                hop_count: 2,
                router_id: router(9),
            }),
            11..12,
        ),
    ] {
        let octets = written(&tlv);
        assert!(octets[reserved].iter().all(|octet| *octet == 0), "{tlv:?}: {octets:02x?}");
    }
    let octets = written(&update(key, 5));
    let at = octets.windows(2).rposition(|pair| pair[0] == 8 && usize::from(pair[1]) > 10).unwrap();
    assert_eq!(octets[at + 3] & 0x3f, 0, "flags of an Update: {octets:02x?}");
}

#[test]
fn a_wildcard_retraction_covers_routes_for_some_sources() {
    let mut probe = Probe::among(1);
    probe.hear(1, &[update(from("fd00::/16"), 10), update(prefix(P), 10)]);
    assert_eq!(probe.babel.routes().count(), 2);
    probe.hear(1, &[retraction(None)]);
    assert_eq!(probe.babel.routes().count(), 0);
}

#[test]
fn a_dump_has_routes_for_some_sources() {
    let mut probe = Probe::among(2);
    probe.hear(1, &[update(from("fd00::/16"), 10), update(prefix(P), 10)]);
    probe.live(2, Duration::from_secs(3));
    probe.outputs.clear();
    probe.hear(2, &[Tlv::RouteRequest(None)]);
    probe.wait(Duration::from_secs(1));
    let told: Vec<_> = probe.told(2).into_iter().map(|(key, ..)| key).collect();
    assert!(told.contains(&from("fd00::/16").to_string()), "{told:?}");
    assert!(told.contains(&prefix(P).to_string()), "{told:?}");
}

#[test]
fn wildcards_have_no_source_prefix() {
    // Header; type, length, AE 0, length of the prefix.
    assert_eq!(written(&Tlv::RouteRequest(None))[4..], [9, 2, 0, 0]);
    let octets = written(&retraction(None));
    assert_eq!((octets[4], octets[5], octets[6]), (8, 10, 0), "ten octets and no sub-TLV");
    let specific = written(&update(from("fd00::/16"), 10));
    let sub_tlvs = specific.windows(2).filter(|pair| *pair == [128, 3]).count();
    assert_eq!(sub_tlvs, 1, "{specific:02x?}");
}

#[test]
fn requests_for_ipv4_are_written_as_plain_ipv4() {
    let key = prefix("10.1.0.0/16");
    assert_eq!(written(&Tlv::RouteRequest(Some(key)))[4..], [9, 4, 1, 16, 10, 1]);
    let (seqno, hop_count, router_id) = (Seqno(1), 2, router(9));
    let request = SeqnoRequest { route: key, seqno, hop_count, router_id };
    assert_eq!(written(&Tlv::SeqnoRequest(request))[4..8], [10, 16, 1, 16]);
}

proptest! {
    #[test]
    fn metrics_grow_over_every_link_and_keep_their_order(
        one in any::<u16>(),
        other in any::<u16>(),
        cost in 1..=u16::MAX,
    ) {
        let (one, other, cost) = (Metric(one.min(other)), Metric(one.max(other)), Cost(cost));
        prop_assert!(one + cost > one || !one.is_finite());
        prop_assert!(one + cost <= other + cost);
    }
}

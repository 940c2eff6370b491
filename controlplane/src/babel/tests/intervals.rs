//! How often all is told, for how long it is held, and what follows from it.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use sixwire_proto::babel::{Tlv, Update};
use sixwire_proto::interval::Interval;
use sixwire_proto::metric::{Cost, Metric};
use sixwire_proto::seqno::Seqno;

use super::super::{
    Input, LinkParams, LinkQuality, LinkSensing, Output, Params, Target, wire_time,
};
use super::network::secs;
use super::probe::{OWN, Probe, address, hello, ihu, link, prefix, router};

const P: &str = "fd00:1::/64";

#[test]
fn a_distance_outlives_what_neighbours_hold_by_it() {
    let mut probe = Probe::with(|params| Params { update_interval: secs(300), ..params }).join(2);
    probe.update(1, P, (9, 5, 100));
    assert_eq!(probe.told(2), [(P.to_string(), 5, 196)]);
    probe.live(2, secs(1));
    probe.retract(1, P);
    probe.live(2, secs(1020));
    probe.update(2, P, (9, 5, 500));
    assert_eq!(probe.via(P), None, "3.5 intervals of 5 min are 1050 s");
    probe.retract(2, P);
    probe.live(2, secs(40));
    probe.update(2, P, (9, 5, 500));
    assert_eq!(probe.via(P), Some(2));
}

#[test]
fn what_was_promised_rarely_is_held_for_long_but_not_from_a_lost_neighbour() {
    let rarely = |route: &str| {
        Tlv::Update(Update {
            route: Some(prefix(route)),
            router_id: Some(router(9)),
            next_hop: Some(IpAddr::V6(address(1))),
            seqno: Seqno(5),
            metric: Metric(100),
            interval: Interval(15_000),
        })
    };
    let mut probe = Probe::among(1);
    probe.hear(1, &[rarely(P)]);
    probe.live(1, secs(524));
    assert_eq!(probe.via(P), Some(1), "3.5 intervals of 150 s are 525 s");
    probe.live(1, secs(2));
    assert_eq!(probe.via(P), None);
    probe.hear(1, &[rarely(P)]);
    assert_eq!(probe.via(P), Some(1));
    probe.wait(secs(12));
    assert_eq!(probe.via(P), None, "silent");
    assert_eq!(probe.kernel(P), Some(Target::Gone));
}

#[test]
fn another_ipv4_next_hop_is_told_until_it_is_acknowledged() {
    let mut probe = Probe::among(2);
    probe.originate("10.1.0.0/16", 0);
    probe.originate(P, 0);
    probe.update(1, "10.2.0.0/16", (9, 5, 100));
    probe.live(2, secs(2));
    probe.outputs.clear();
    let ours = Ipv4Addr::new(192, 0, 2, 1);
    probe.input(Input::LinkV4 { link: link(1), address: Some(ours) });
    let told = |probe: &Probe| -> Vec<_> {
        let updates = probe.sent_on(link(1)).into_iter().filter_map(|(_, tlv)| match tlv {
            Tlv::Update(update) => update.route.map(|key| (key.to_string(), update.next_hop)),
            _ => None,
        });
        updates.collect()
    };
    let expected = vec![("10.1.0.0/16".to_string(), Some(IpAddr::V4(ours)))];
    assert_eq!(told(&probe), expected, "and no retraction where the other leads");
    assert!(probe.told(2).is_empty());
    probe.outputs.clear();
    probe.wait(secs(1));
    assert_eq!(told(&probe), expected, "not acknowledged");
    probe.acknowledge(1);
    probe.outputs.clear();
    probe.wait(secs(3));
    assert!(told(&probe).is_empty());
}

#[test]
fn one_that_restarts_all_the_time_is_told_all_once_a_second() {
    let mut probe = Probe::among(1);
    probe.originate(P, 0);
    probe.live(1, secs(3));
    probe.outputs.clear();
    for n in 0..30_u16 {
        probe.hear(1, &[hello(1000 * (n + 1), 400), ihu(96)]);
        probe.wait(Duration::from_millis(100));
        probe.acknowledge(1);
    }
    let told = probe.told(1).len();
    assert!((3..=5).contains(&told), "{told} in 3 s");
}

#[test]
fn an_ihu_that_goes_by_a_packet_without_hello_has_no_times() {
    let mut probe = Probe::new();
    probe.link_up(1);
    let (mut split, mut timed) = (0, 0);
    for round in 0..6_u16 {
        for n in 1..=90 {
            let Tlv::Hello(hello) = hello(round, 400) else { panic!("a hello") };
            let timestamp = Some(wire_time(probe.now));
            let stamped = Tlv::Hello(sixwire_proto::babel::Hello { timestamp, ..hello });
            probe.hear_on(link(1), address(n), &[stamped, ihu(96)]);
        }
        probe.wait(secs(4));
        for output in std::mem::take(&mut probe.outputs) {
            let Output::Send { packet, .. } = output else { continue };
            let tlvs = sixwire_proto::babel::read(&packet.bytes, address(OWN)).unwrap();
            let tlvs: Vec<Tlv> = tlvs.map(Result::unwrap).collect();
            let ihus = tlvs.iter().filter(|tlv| matches!(tlv, Tlv::Ihu(_))).count();
            let hello = tlvs.iter().any(|tlv| matches!(tlv, Tlv::Hello(_)));
            let times =
                tlvs.iter().any(|tlv| matches!(tlv, Tlv::Ihu(ihu) if ihu.timestamps.is_some()));
            assert!(hello || !times, "{tlvs:?}");
            split += usize::from(!hello && ihus > 1);
            timed += usize::from(times);
        }
    }
    assert!(split > 0 && timed > 0, "{split} {timed}");
}

#[test]
fn where_the_hellos_are_to_decide_a_silent_kernel_loses_no_link() {
    for (quality, lost) in [
        (None, true),
        (LinkSensing::new(1, 16).map(LinkQuality::KOutOfJ), false),
        (Some(LinkQuality::Etx), false),
    ] {
        let mut probe = Probe::new();
        let params = LinkParams { quality, ..LinkParams::wired(address(OWN)) };
        probe.input(Input::LinkUp { link: link(1), params });
        probe.greet(1);
        probe.input(Input::Answered { link: link(1), neighbour: address(1) });
        probe.live(1, secs(20));
        // Held until two intervals after the answer.
        probe.wait(secs(6));
        assert_eq!(probe.cost(1) == Cost::INFINITY, lost, "{quality:?}");
    }
}

//! How often all is told, for how long it is held, and what follows from it.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use sixwire_proto::babel::{Destination, Tlv, Update};
use sixwire_proto::interval::Interval;
use sixwire_proto::metric::{Cost, Metric};
use sixwire_proto::seqno::Seqno;
use sixwire_proto::time::Instant;

use super::super::{
    Input, LinkParams, LinkQuality, LinkSensing, Output, Params, Target, wire_time,
};
use super::network::secs;
use super::probe::{OWN, Probe, address, hello, ihu, link, prefix, router};

const P: &str = "fd00:1::/64";

/// Lets time pass while neighbours 1 to `count` live and acknowledge; when neighbour `of` was told of [`P`],
/// and what was promised.
fn refreshed(probe: &mut Probe, count: u8, of: u8, time: Duration) -> Vec<(Instant, Interval)> {
    let (end, mut told, mut greet) = (probe.now + time, Vec::new(), probe.now);
    while probe.now < end {
        probe.wait(Duration::from_millis(100));
        let now = probe.now;
        let sent: Vec<_> = (1..=count).map(|n| (n, probe.sent_on(link(n)))).collect();
        // What an acknowledgement sets free is looked at in the next round.
        probe.outputs.clear();
        for (n, (to, tlv)) in
            sent.into_iter().flat_map(|(n, all)| all.into_iter().map(move |one| (n, one)))
        {
            match tlv {
                Tlv::AckRequest { opaque, .. } if to != Destination::Multicast => {
                    probe.hear(n, &[Tlv::Ack { opaque }]);
                }
                Tlv::Update(one) if n == of && one.route == Some(prefix(P)) => {
                    told.push((now, one.interval));
                }
                _ => {}
            }
        }
        if probe.now >= greet {
            (1..=count).for_each(|n| probe.greet(n));
            greet = probe.now + secs(4);
        }
    }
    told
}

fn originate_many(probe: &mut Probe, count: usize) {
    probe.originate(P, 0);
    for n in 1..count {
        probe.originate(&format!("fd02:0:{:x}:{:x}::/64", n >> 8, n & 0xff), 0);
    }
}

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
fn a_long_table_is_told_more_rarely_and_promises_no_more() {
    for (count, least, most) in [(2, 14, 16), (2500, 28, 32), (10_000, 112, 128)] {
        let mut probe = Probe::among(1);
        originate_many(&mut probe, count);
        refreshed(&mut probe, 1, 1, secs(40));
        let told = refreshed(&mut probe, 1, 1, secs(3 * most));
        assert!((2..=4).contains(&told.len()), "{count}: {told:?}");
        for pair in told.windows(2) {
            let took = pair[1].0.since(pair[0].0);
            assert!(took >= secs(least) - secs(1) && took <= secs(most), "{count}: {took:?}");
        }
        let promise = Interval::from_duration(secs(most));
        assert!(told.iter().all(|(_, interval)| *interval == promise), "{count}: {told:?}");
    }
}

#[test]
fn a_stretched_interval_stays_within_bounds_and_never_below_the_configured_one() {
    for (configured, most) in [(20, 150), (200, 200), (600, 600)] {
        let change: fn(Params) -> Params = match configured {
            20 => |params| Params { update_interval: secs(20), ..params },
            200 => |params| Params { update_interval: secs(200), ..params },
            _ => |params| Params { update_interval: secs(600), ..params },
        };
        let mut probe = Probe::with(change).join(1);
        originate_many(&mut probe, 12_000);
        let told = refreshed(&mut probe, 1, 1, secs(configured + 20));
        assert_eq!(told.last().unwrap().1, Interval::from_duration(secs(most)));
    }
}

#[test]
fn a_crowded_link_is_told_at_the_configured_pace_from_when_it_is() {
    let mut probe = Probe::among(1);
    originate_many(&mut probe, 10_000);
    let told = refreshed(&mut probe, 1, 1, secs(40));
    assert_eq!(told.last().unwrap().1, Interval::from_duration(secs(128)));
    let mut promised = None;
    for step in 0..160_u16 {
        if step % 40 == 0 {
            for n in 10..20 {
                probe.hear_on(link(1), address(n), &[hello(1 + step / 40, 400), ihu(96)]);
            }
        }
        probe.outputs.clear();
        probe.wait(Duration::from_millis(100));
        let multicast = |(to, tlv): (Destination, Tlv)| match tlv {
            Tlv::Update(update) if to == Destination::Multicast => Some(update.interval),
            _ => None,
        };
        promised = promised.or(probe.sent_on(link(1)).into_iter().find_map(multicast));
    }
    assert_eq!(promised, Some(Interval::from_duration(secs(16))));
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

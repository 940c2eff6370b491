//! What links cost, how soon a silent one is noticed, and that nothing flaps.

use std::time::Duration;

use sixwire_proto::babel::{Hello, HelloKind, Tlv};
use sixwire_proto::metric::Cost;

use super::super::{
    Delay, DownCause, Event, Input, LinkParams, LinkQuality, LinkSensing, Output, Params, RttCost,
    wire_time,
};
use super::network::{Cut, Kernels, Network, key, secs};
use super::probe::{OWN, Probe, address, ihu, link};

const CHARGED: Delay = Delay::Charged(RttCost { penalty: Cost(1100), ..RttCost::RECOMMENDED });

fn grid(params: fn(Params) -> Params) -> Network {
    let mut network = Network::grid_with(6, 5, params).answering();
    network.converge(secs(1));
    network.run(secs(40));
    network
}

/// The default timers, not those other tests count on.
fn default(params: Params) -> Params {
    Params::new(params.router_id, params.seqno)
}

fn fast(params: Params) -> Params {
    Params::fast(params.router_id, params.seqno)
}

/// Octets a second on a wire of a network at rest.
fn rate(network: &mut Network) -> usize {
    let carried = |network: &Network| -> usize {
        (0..network.wires()).map(|wire| network.octets(wire)).sum()
    };
    let before = carried(network);
    network.run(secs(100));
    (carried(network) - before) / network.wires() / 100
}

#[test]
fn a_silent_cut_is_gone_around_in_time_at_any_moment() {
    for (params, bound) in [(default as fn(Params) -> Params, 3500), (fast, 800)] {
        let mut network = grid(params);
        let wire = network.between(12, 13);
        for moment in 0..20 {
            network.run(Duration::from_millis(3000 + moment * 97));
            network.wire_mut(wire).cut = Cut::Silent;
            let took = network.converge(secs(10));
            assert!(took < Duration::from_millis(bound), "{took:?}");
            network.run(secs(3));
            network.wire_mut(wire).cut = Cut::Whole;
            network.converge(secs(3));
        }
    }
}

#[test]
fn traffic_at_rest_is_within_its_bounds_and_asks_nobody() {
    for (params, bound) in [(default as fn(Params) -> Params, 230), (fast, 828)] {
        // 50 nodes of degree 10.
        let mut network = Network::with(7, params).nodes(50).answering();
        for node in 0..50 {
            for step in 1..=5 {
                network.wire(&[node, (node + step) % 50]);
            }
        }
        network.run(secs(60));
        let before = network.probes;
        let rate = rate(&mut network);
        assert!(rate < bound, "{rate} octets a second");
        assert_eq!(network.probes, before);
    }
}

#[test]
fn a_repaired_line_takes_one_hello_and_a_round_trip() {
    for outage in [5, 30, 100] {
        let mut network = Network::with(3, default).nodes(3).answering();
        network.wire(&[0, 1]);
        let wire = network.wire(&[1, 2]);
        network.converge(secs(1));
        network.run(secs(20));
        network.wire_mut(wire).cut = Cut::Silent;
        network.run(secs(outage));
        network.wire_mut(wire).cut = Cut::Whole;
        let took = network.converge(secs(5));
        assert!(took < Duration::from_millis(2600), "after {outage} s: {took:?}");
    }
}

#[test]
fn loss_of_packets_is_no_loss_of_a_link() {
    for (params, loss) in [(default as fn(Params) -> Params, 10), (fast, 5)] {
        let mut network = Network::with(8, params).nodes(2).answering();
        let wire = network.wire(&[0, 1]);
        network.converge(secs(1));
        network.wire_mut(wire).loss = loss;
        network.run(secs(1000));
        let down = |event: &&Event| matches!(event, Event::NeighbourDown { .. });
        let lost: usize =
            network.nodes.iter().map(|node| node.events.iter().filter(down).count()).sum();
        assert_eq!(lost, 0, "{loss} in a hundred");
    }
}

#[test]
fn where_kernels_answer_nobody_the_hellos_alone_count() {
    let mut network = Network::with(9, default).nodes(2);
    assert!(network.kernels == Kernels::Silent);
    let wire = network.wire(&[0, 1]);
    network.converge(secs(1));
    network.run(secs(20));
    network.wire_mut(wire).cut = Cut::Silent;
    let took = network.converge(secs(6));
    assert!(took > Duration::from_millis(2900), "{took:?}");
    let cause = network.nodes[0].events.iter().find_map(|event| match event {
        Event::NeighbourDown { cause, .. } => Some(*cause),
        _ => None,
    });
    assert!(matches!(cause, Some(DownCause::Unheard | DownCause::Unhearing)), "{cause:?}");
}

#[test]
fn a_link_that_carries_one_way_only_is_lost_both_ways() {
    let mut probe = Probe::among(1);
    probe.input(Input::Answered { link: link(1), neighbour: address(1) });
    probe.wait(secs(4) + secs(2));
    assert!(!probe.cost(1).is_finite());
    let told = probe.take(1);
    assert!(told.iter().any(|tlv| matches!(tlv, Tlv::Ihu(ihu) if !ihu.rxcost.is_finite())));
}

#[test]
fn every_way_of_a_new_neighbour_is_asked_about_once() {
    let mut probe = Probe::new();
    probe.link_up(1);
    probe.greet(1);
    let asked = |probe: &Probe| {
        probe.outputs.iter().filter(|output| matches!(output, Output::Probe { .. })).count()
    };
    assert_eq!(asked(&probe), 1);
    probe.input(Input::Answered { link: link(1), neighbour: address(1) });
    probe.live(1, secs(60));
    assert_eq!(asked(&probe), 1);
}

#[test]
fn both_ends_measure_the_delay_of_their_wire() {
    let mut network = Network::with(4, |params| params).nodes(2);
    let wire = network.wire(&[0, 1]);
    network.wire_mut(wire).delay = Duration::from_millis(30);
    network.run(secs(60));
    for node in &network.nodes {
        let view = node.babel.as_ref().unwrap().neighbours().next().unwrap();
        assert_eq!((view.rtt_us, view.rtt_cost), (Some(60_000), Cost(0)), "measured, not charged");
    }
}

#[test]
fn stamps_survive_the_wrap_of_both_clocks() {
    let mut network = Network::with(4, |params| params).nodes(2);
    let wire = network.wire(&[0, 1]);
    network.wire_mut(wire).delay = Duration::from_millis(30);
    network.run(secs(4280));
    for _ in 0..60 {
        network.run(secs(1));
        let view = network.nodes[0].babel.as_ref().unwrap().neighbours().next().unwrap();
        assert_eq!(view.rtt_us, Some(60_000));
    }
    assert!(network.now.0 > u64::from(u32::MAX));
}

#[test]
fn an_ihu_with_times_always_has_a_stamped_hello_beside_it() {
    let mut probe = Probe::new();
    let params = LinkParams { delay: CHARGED, ..LinkParams::wired(address(OWN)) };
    probe.input(Input::LinkUp { link: link(1), params });
    let mut timed = 0;
    for _ in 0..30 {
        let Tlv::Hello(hello) = probe.hello_tlv(1, 400) else { panic!("a hello") };
        let stamped = Tlv::Hello(Hello { timestamp: Some(wire_time(probe.now)), ..hello });
        probe.hear(1, &[stamped, ihu(96)]);
        probe.wait(secs(4));
        for output in std::mem::take(&mut probe.outputs) {
            let Output::Send { packet, .. } = output else { continue };
            let tlvs: Vec<Tlv> = sixwire_proto::babel::read(&packet.bytes, address(OWN))
                .unwrap()
                .map(Result::unwrap)
                .collect();
            let echoes =
                tlvs.iter().any(|tlv| matches!(tlv, Tlv::Ihu(ihu) if ihu.timestamps.is_some()));
            let stamped = tlvs
                .iter()
                .any(|tlv| matches!(tlv, Tlv::Hello(hello) if hello.timestamp.is_some()));
            assert!(stamped || !echoes, "{tlvs:?}");
            timed += usize::from(echoes);
        }
    }
    assert!(timed >= 10, "{timed}");
}

#[test]
fn the_quicker_way_is_used_where_delay_is_charged() {
    let mut network = Network::with(5, |params| params)
        .on_links(|params| LinkParams { delay: CHARGED, ..params })
        .nodes(3);
    let direct = network.wire(&[0, 2]);
    network.wire(&[0, 1]);
    network.wire(&[1, 2]);
    network.converge(secs(1));
    assert_eq!(network.metric(0, key(2)), Some(96));
    network.wire_mut(direct).delay = Duration::from_millis(30);
    network.run(secs(60));
    assert_eq!(network.metric(0, key(2)), Some(192), "60 ms cost 500 more than one hop");
    network.wire_mut(direct).delay = Duration::from_millis(1);
    network.run(secs(200));
    assert_eq!(network.metric(0, key(2)), Some(96));
}

/// Changes of the way to node 2 in five minutes in which the direct wire swings between two delays.
fn flaps(low: u64, high: u64) -> usize {
    let mut network = Network::with(5, |params| Params::new(params.router_id, params.seqno))
        .on_links(|params| LinkParams { delay: CHARGED, ..params })
        .nodes(3);
    let direct = network.wire(&[0, 2]);
    network.wire(&[0, 1]);
    network.wire(&[1, 2]);
    network.run(secs(60));
    let (mut last, mut changes) = (network.metric(0, key(2)), 0);
    for round in 0..100 {
        let delay = if round % 2 == 0 { low } else { high };
        network.wire_mut(direct).delay = Duration::from_millis(delay);
        for _ in 0..30 {
            network.run(Duration::from_millis(100));
            let direct = |metric: Option<u16>| metric == Some(192);
            let now = network.metric(0, key(2));
            changes += usize::from(direct(now) != direct(last));
            last = now;
        }
    }
    changes
}

#[test]
fn a_delay_that_swings_around_the_threshold_does_not_flap() {
    // One hop more is worth 9.6 ms: the threshold lies at a delay of 19.6 ms, half of it each way.
    for (low, high) in [(8, 12), (5, 15), (1, 20), (1, 40)] {
        let changes = flaps(low, high);
        assert!(changes <= 8, "{low}..{high} ms: {changes} changes");
    }
}

#[test]
fn a_metric_that_swings_far_away_does_not_flap_and_a_retraction_is_followed_at_once() {
    let mut probe = Probe::among(2);
    let mut changes = 0;
    let mut last = None;
    for round in 0..200_u16 {
        let far = if round % 2 == 0 { 100 } else { 300 };
        probe.update(1, "fd00:1::/64", (9, round, 200));
        probe.update(2, "fd00:1::/64", (9, round, far));
        probe.live(2, secs(1));
        let via = probe.via("fd00:1::/64");
        changes += usize::from(via != last);
        last = via;
    }
    assert!(changes <= 8, "{changes} changes");
    let via = last.unwrap();
    probe.retract(via, "fd00:1::/64");
    assert_eq!(probe.via("fd00:1::/64"), Some(3 - via), "at once");
}

#[test]
fn a_restrained_switch_is_made_when_the_better_route_stays_better() {
    let mut probe = Probe::among(2);
    for (seqno, far) in (5..).zip([300, 100, 300, 100, 300, 100, 300, 100, 300, 50]) {
        probe.update(1, "fd00:1::/64", (9, seqno, 200));
        probe.update(2, "fd00:1::/64", (9, seqno, far));
        probe.live(2, secs(1));
    }
    assert_eq!(probe.via("fd00:1::/64"), Some(1), "not at once");
    probe.live(2, secs(50));
    assert_eq!(probe.via("fd00:1::/64"), Some(2), "without another word");
}

#[test]
fn each_link_has_its_own_sensing() {
    for (quality, losses) in [
        (None, 1),
        (LinkSensing::new(12, 16).map(LinkQuality::KOutOfJ), 4),
        (LinkSensing::new(1, 1).map(LinkQuality::KOutOfJ), 0),
        (LinkSensing::new(1, 16).map(LinkQuality::KOutOfJ), 15),
    ] {
        let mut probe = Probe::new();
        let params = LinkParams { quality, ..LinkParams::wired(address(OWN)) };
        probe.input(Input::LinkUp { link: link(1), params });
        for _ in 0..20 {
            probe.greet(1);
            probe.wait(secs(4));
        }
        for loss in 0..=losses {
            assert!(probe.cost(1).is_finite(), "{quality:?} after {loss} losses");
            // The next Hello says how many are missing; its IHU keeps the other direction alive.
            probe.hello_tlv(1, 400);
            probe.hear(1, &[ihu(96)]);
            probe.wait(secs(4));
        }
        probe.wait(secs(3));
        assert!(!probe.cost(1).is_finite(), "{quality:?}");
    }
    assert_eq!(LinkSensing::new(0, 3), None);
    assert_eq!(LinkSensing::new(4, 3), None);
    assert_eq!(LinkSensing::new(1, 17), None);
}

#[test]
fn etx_multiplies_both_directions_and_tells_its_own() {
    let mut probe = Probe::new();
    let quality = Some(LinkQuality::Etx);
    let params = LinkParams { quality, cost: Cost(256), ..LinkParams::wired(address(OWN)) };
    probe.input(Input::LinkUp { link: link(1), params });
    for _ in 0..8 {
        probe.hello_tlv(1, 400);
        probe.greet(1);
        probe.wait(secs(1));
    }
    assert_eq!(probe.cost(1), Cost(512), "every other Hello is heard");
    probe.hear(1, &[ihu(512)]);
    assert_eq!(probe.cost(1), Cost(1024));
    let told = probe.take(1);
    let last = told.iter().rev().find_map(|tlv| match tlv {
        Tlv::Ihu(ihu) => Some(ihu.rxcost),
        _ => None,
    });
    assert_eq!(last, Some(Cost(512)));
}

#[test]
fn under_etx_unicast_hellos_count_for_nothing() {
    let mut probe = Probe::new();
    let params = LinkParams { quality: Some(LinkQuality::Etx), ..LinkParams::wired(address(OWN)) };
    probe.input(Input::LinkUp { link: link(1), params });
    for _ in 0..5 {
        let Tlv::Hello(hello) = probe.hello_tlv(1, 400) else { panic!("a hello") };
        probe.hear(1, &[Tlv::Hello(Hello { kind: HelloKind::Unicast, ..hello }), ihu(96)]);
    }
    assert!(!probe.cost(1).is_finite());
}

#[test]
fn unscheduled_unicast_hellos_do_not_keep_a_silent_neighbour() {
    let mut probe = Probe::among(1);
    let Tlv::Hello(hello) = probe.hello_tlv(1, 0) else { panic!("a hello") };
    probe.hear(1, &[Tlv::Hello(Hello { kind: HelloKind::Unicast, ..hello })]);
    assert!(probe.cost(1).is_finite());
    probe.wait(secs(11));
    assert!(!probe.cost(1).is_finite());
}

#[test]
fn the_faster_kind_of_hello_suffices_and_either_may_fail() {
    for kind in [HelloKind::Unicast, HelloKind::Multicast] {
        let mut probe = Probe::among(1);
        for _ in 0..10 {
            let Tlv::Hello(hello) = probe.hello_tlv(1, 400) else { panic!("a hello") };
            let hello = Hello { kind, ..hello };
            probe.hear(1, &[Tlv::Hello(hello), ihu(96)]);
            probe.wait(secs(3));
            assert!(probe.cost(1).is_finite(), "{kind:?}");
        }
        probe.wait(secs(12));
        assert!(!probe.cost(1).is_finite(), "{kind:?}");
    }
}

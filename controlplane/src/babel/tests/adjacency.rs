//! Links, Hellos, IHUs and neighbours (RFC 8966 §3.4), one rule a test, by hand-made packets.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use sixwire_proto::babel::{Destination, Hello, HelloKind, Ihu, Tlv, Update};
use sixwire_proto::interval::Interval;
use sixwire_proto::metric::{Cost, Metric};
use sixwire_proto::seqno::Seqno;

use super::super::{Input, LinkParams, LinkStart, Output};
use super::network::secs;
use super::probe::{OWN, Probe, address, hello, ihu, link};

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

/// Lets time pass while only the kernel of neighbour 1 answers.
fn wait_answered(probe: &mut Probe, seconds: u64) {
    for _ in 0..seconds {
        probe.wait(secs(1));
        let asked = |output: &Output| matches!(output, Output::Probe { neighbour, .. } if *neighbour == address(1));
        if probe.outputs.iter().any(asked) {
            probe.outputs.clear();
            probe.input(Input::Answered { link: link(1), neighbour: address(1) });
        }
    }
}

#[test]
fn a_silent_neighbour_whose_kernel_answers_is_kept_for_a_while_and_no_longer() {
    let mut probe = Probe::among(1);
    probe.live(1, secs(20));
    probe.outputs.clear();
    wait_answered(&mut probe, 40);
    assert!(probe.cost(1).is_finite(), "its program restarts");
    wait_answered(&mut probe, 15);
    assert!(!probe.cost(1).is_finite(), "its program is gone");
}

#[test]
fn a_kernel_that_stops_answering_speaks_for_nobody() {
    let mut probe = Probe::among(1);
    probe.live(1, secs(20));
    probe.outputs.clear();
    wait_answered(&mut probe, 15);
    assert!(probe.cost(1).is_finite());
    probe.wait(secs(9));
    assert!(!probe.cost(1).is_finite());
}

#[test]
fn an_answer_of_its_kernel_makes_nobody_a_neighbour() {
    let mut probe = Probe::among(1);
    probe.wait(secs(30));
    probe.input(Input::Answered { link: link(1), neighbour: address(1) });
    probe.input(Input::Answered { link: link(1), neighbour: address(9) });
    assert!(probe.babel.neighbours().all(|one| !one.cost.is_finite()));
}

#[test]
fn a_restarted_neighbour_keeps_its_routes_and_hears_from_us_at_once() {
    let mut probe = Probe::among(1);
    probe.update(1, "fd00:1::/64", (1, 5, 0));
    probe.outputs.clear();
    probe.hear(1, &[hello(30_000, 400)]);
    assert!(probe.cost(1).is_finite());
    assert!(!probe.outputs.iter().any(|output| matches!(output, Output::Route { .. })));
    probe.wait(Duration::from_millis(200));
    let told = probe.take(1);
    assert!(told.iter().any(|tlv| matches!(tlv, Tlv::Ihu(ihu) if ihu.rxcost == Cost(96))));
    assert!(told.iter().any(|tlv| matches!(tlv, Tlv::RouteRequest(None))));
}

#[test]
fn a_resumed_link_begins_without_a_retraction() {
    let mut probe = Probe::new();
    let params = LinkParams { start: LinkStart::Resumed, ..LinkParams::wired(address(OWN)) };
    probe.input(Input::LinkUp { link: link(1), params });
    probe.wait(Duration::from_millis(300));
    let told = probe.take(1);
    assert!(told.iter().any(|tlv| matches!(tlv, Tlv::Hello(_))));
    assert!(!told.iter().any(|tlv| matches!(tlv, Tlv::Update(_))));
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

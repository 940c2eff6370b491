use super::*;

const MS: u32 = 1000;

fn at(micros: u64) -> Instant {
    Instant(micros)
}

/// Reads one packet: a Hello sent at `transmit` of their clock, an IHU with `(origin, receive)`.
fn hear(rtt: &mut Rtt, now: u64, transmit: u32, times: Option<(u32, u32)>) -> Sample {
    rtt.hear_hello(Some(transmit));
    rtt.hear_ihu(times.map(|(origin, receive)| EchoedTimes { origin, receive }));
    rtt.end_packet(at(now))
}

#[test]
fn the_round_trip_is_the_time_away_less_the_time_kept() {
    // now, origin by our clock; receive and transmit by theirs; round trip.
    for (now, origin, receive, transmit, expected) in [
        (1_000_000, 900_000, 5_000, 55_000, Some(50_000)),
        (1_000_000, 1_000_000, 7, 7, Some(0)),
        // Both clocks wrap.
        (0x1_0000_0064, 0xffff_fff0, 0xffff_fffa, 20, Some(116 - 26)),
        // A zero stamp is a stamp.
        (5_000, 0, 0, 1_000, Some(4_000)),
        // Kept longer than away: clocks of different speed, or one that was set.
        (1_000_000, 900_000, 0, 100_001, None),
        // The origin lies in the future.
        (1_000_000, 1_000_001, 5, 5, None),
        // The origin is older than three minutes, or the time kept longer.
        (200_000_000, 19_999_999, 5, 180_000_000, None),
        (200_000_000, 20_000_000, 5, 180_000_000, Some(5)),
        (200_000_000, 20_000_000, 5, 180_000_006, None),
        (200_000_000, 20_000_000, 6, 5, None),
    ] {
        let mut rtt = Rtt::UNKNOWN;
        let sample = hear(&mut rtt, now, transmit, Some((origin, receive)));
        assert_eq!(sample == Sample::Taken, expected.is_some(), "{now} {origin}");
        assert_eq!(rtt.smoothed, expected, "{now} {origin}");
    }
}

#[test]
fn a_packet_without_all_four_times_gives_no_sample_but_its_stamp_is_kept() {
    let mut rtt = Rtt::UNKNOWN;
    assert_eq!(rtt.echo(at(0)), None);
    rtt.hear_ihu(Some(EchoedTimes { origin: 1, receive: 2 }));
    assert_eq!(rtt.end_packet(at(10)), Sample::None, "no stamped hello in the packet");
    assert_eq!(rtt.echo(at(10)), None);
    assert_eq!(hear(&mut rtt, 10, 77, None), Sample::None, "no ihu");
    assert_eq!(rtt.echo(at(20)), Some(EchoedTimes { origin: 77, receive: 10 }));
    rtt.hear_hello(None);
    rtt.end_packet(at(30));
    assert_eq!(rtt.echo(at(30)), Some(EchoedTimes { origin: 77, receive: 10 }), "an unstamped one");
}

#[test]
fn times_of_one_packet_do_not_count_for_the_next() {
    let mut rtt = Rtt::UNKNOWN;
    rtt.hear_ihu(Some(EchoedTimes { origin: 0, receive: 0 }));
    rtt.end_packet(at(10));
    rtt.hear_hello(Some(5));
    assert_eq!(rtt.end_packet(at(20)), Sample::None);
}

#[test]
fn the_stamp_of_a_refused_sample_is_recorded_all_the_same() {
    let mut rtt = Rtt::UNKNOWN;
    assert_eq!(hear(&mut rtt, 1000, 5, Some((2000, 5))), Sample::None);
    assert_eq!(rtt.echo(at(1000)), Some(EchoedTimes { origin: 5, receive: 1000 }));
}

#[test]
fn a_hello_older_than_the_last_one_or_three_minutes_newer_gives_no_sample() {
    for (transmit, taken) in [
        (100_000, true),
        (100_001, true),
        (99_999, false),
        (180_100_000, true),
        (180_100_001, false),
    ] {
        let mut rtt = Rtt::UNKNOWN;
        hear(&mut rtt, 500_000, 100_000, None);
        let sample = hear(&mut rtt, 600_000, transmit, Some((600_000, transmit)));
        assert_eq!(sample == Sample::Taken, taken, "{transmit}");
    }
}

#[test]
fn a_stamp_older_than_three_minutes_is_not_echoed() {
    let mut rtt = Rtt::UNKNOWN;
    hear(&mut rtt, 0, 9, None);
    assert!(rtt.echo(at(180_000_000)).is_some());
    assert_eq!(rtt.echo(at(180_000_001)), None);
}

#[test]
fn after_a_restart_the_clock_may_have_jumped() {
    let mut rtt = Rtt::UNKNOWN;
    hear(&mut rtt, 0, 3_000_000_000, None);
    rtt.restart();
    assert_eq!(rtt.echo(at(1)), None);
    assert_eq!(hear(&mut rtt, 100, 10, Some((0, 0))), Sample::Taken);
}

#[test]
fn the_first_sample_counts_as_it_is_and_later_ones_by_a_sixth() {
    let mut rtt = Rtt::UNKNOWN;
    let mut sample = |micros: u32| {
        hear(&mut rtt, u64::from(micros), 0, Some((0, 0)));
        rtt.smoothed.unwrap()
    };
    assert_eq!(sample(100 * MS), 100 * MS);
    assert_eq!(sample(200 * MS), 116_406);
    assert_eq!(sample(0), 97_308);
    assert_eq!(smooth(u32::MAX, u32::MAX), u32::MAX);
}

#[test]
fn cost_grows_linearly_between_its_bounds_and_not_beyond() {
    let rule = RttCost { penalty: Cost(1100), ..RttCost::RECOMMENDED };
    for (ms, cost) in [(0, 0), (10, 0), (11, 10), (65, 550), (120, 1100), (100_000, 1100)] {
        assert_eq!(rule.of(Duration::from_millis(ms)), Cost(cost), "{ms} ms");
    }
    let dear = RttCost { penalty: Cost(u16::MAX - 1), ..RttCost::RECOMMENDED };
    assert_eq!(dear.of(Duration::from_micros(119_999)), Cost(65_533), "no overflow");
    let step = RttCost { least: dear.most, ..dear };
    assert_eq!(step.of(dear.most), Cost(0));
    assert_eq!(step.of(dear.most + Duration::from_micros(1)), dear.penalty);
}

#[test]
fn the_charge_moves_in_steps_and_reaches_both_ends() {
    let rule = RttCost { penalty: Cost(320), ..RttCost::RECOMMENDED };
    let mut rtt = Rtt::UNKNOWN;
    let mut charge = |ms: u32| {
        rtt.smoothed = Some(ms * MS);
        rtt.charge(Delay::Charged(rule)).0
    };
    assert_eq!([charge(65), charge(68), charge(62)], [160, 160, 160], "less than a step of 10");
    assert_eq!([charge(69), charge(10), charge(11), charge(500)], [171, 0, 0, 320]);
    assert_eq!(rtt.charge(Delay::Measured), Cost(0));
}

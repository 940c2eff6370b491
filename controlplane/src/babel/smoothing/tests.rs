use super::*;

const HALF_LIFE: Duration = Duration::from_secs(8);

fn at(seconds: u64) -> Moment {
    Moment { now: Instant(seconds * 1_000_000), half_life: HALF_LIFE }
}

/// A trend that took these values, one each second.
fn trend(values: &[u16]) -> Trend {
    let mut trend = Trend::new(values[0], at(0));
    (1..).zip(&values[1..]).for_each(|(second, value)| trend.follow(*value, at(second)));
    trend
}

#[test]
fn a_value_that_changes_once_or_one_way_is_followed_at_once() {
    for values in [&[100, 500][..], &[500, 100], &[900, 700, 500, 300], &[100, 200, 300]] {
        let last = u64::try_from(values.len()).unwrap() - 1;
        assert_eq!(trend(values).value(at(last)), *values.last().unwrap(), "{values:?}");
    }
}

#[test]
fn a_failure_and_its_repair_are_followed_at_once() {
    assert_eq!(trend(&[100, 500, 100]).value(at(2)), 100);
}

#[test]
fn from_the_second_turn_on_the_copy_lags_by_the_half_life() {
    let swinging = trend(&[100, 500, 100, 500]);
    for (after, value) in [(0, 100), (4, 200), (8, 300), (16, 400), (24, 450), (400, 500)] {
        assert_eq!(swinging.value(at(3 + after)), value, "after {after} s");
    }
}

#[test]
fn a_value_that_swings_for_ever_is_its_mean() {
    let mut trend = Trend::new(100, at(0));
    for second in 1..600 {
        trend.follow(if second % 2 == 0 { 100 } else { 300 }, at(second));
        if second > 100 {
            assert!((180..=220).contains(&trend.value(at(second))), "{trend:?}");
        }
    }
}

#[test]
fn what_was_long_ago_is_forgotten() {
    let mut trend = trend(&[100, 500, 100, 500]);
    trend.follow(100, at(3 + 8 * 8));
    assert_eq!(trend.value(at(3 + 8 * 8)), 100);
}

#[test]
fn infinity_is_neither_smoothed_nor_remembered() {
    let mut smoothing = Smoothing::default();
    for (second, cost) in (1..).zip([100, 500, 100, 500]) {
        smoothing.cost_changed(Cost(100), Cost(cost), at(second));
    }
    assert!(smoothing.cost.is_some());
    smoothing.cost_changed(Cost(500), Cost::INFINITY, at(9));
    assert_eq!(smoothing.cost, None);
    smoothing.cost_changed(Cost::INFINITY, Cost(96), at(9));
    assert_eq!(smoothing.cost, None);
}

#[test]
fn only_so_many_metrics_are_smoothed_and_old_ones_give_way() {
    let mut smoothing = Smoothing::default();
    let ids = |from: usize| (from..).map(EntryId::at);
    for id in ids(0).take(MOST_TRENDS + 5) {
        smoothing.metric_changed(id, (Metric(1), Metric(2)), at(0));
    }
    assert_eq!(smoothing.metrics.len(), MOST_TRENDS);
    for id in ids(MOST_TRENDS).take(5) {
        smoothing.metric_changed(id, (Metric(1), Metric(2)), at(8 * 8));
    }
    assert_eq!(smoothing.metrics.len(), 5);
}

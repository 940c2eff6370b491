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

/// Swings between 100 and 500 that end, after so many turns, at the last value.
fn swings(turns: u8) -> Vec<u16> {
    (0..turns + 2).map(|step| if step % 2 == 0 { 100 } else { 500 }).collect()
}

#[test]
fn three_failures_and_their_repairs_are_followed_at_once() {
    let values = swings(TOLERATED_TURNS - 1);
    let last = u64::try_from(values.len()).unwrap() - 1;
    assert_eq!(trend(&values).value(at(last)), *values.last().unwrap());
}

#[test]
fn after_more_turns_the_copy_lags_by_the_half_life() {
    let values = swings(TOLERATED_TURNS);
    let last = u64::try_from(values.len()).unwrap() - 1;
    assert_eq!(values.last(), Some(&500));
    let swinging = trend(&values);
    for (after, value) in [(0, 100), (4, 200), (8, 300), (16, 400), (24, 450), (400, 500)] {
        assert_eq!(swinging.value(at(last + after)), value, "after {after} s");
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
    let values = swings(TOLERATED_TURNS);
    let mut trend = trend(&values);
    let later = at(u64::try_from(values.len()).unwrap() - 1 + 8 * u64::from(MEMORY));
    trend.follow(100, later);
    assert_eq!(trend.value(later), 100);
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
        smoothing.metric_changed(id, (Metric(1), Metric(2)), at(8 * u64::from(MEMORY)));
    }
    assert_eq!(smoothing.metrics.len(), 5);
}

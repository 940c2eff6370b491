use proptest::prelude::*;

use super::*;

const WIRED: LinkSensing = LinkSensing { least_heard: 2, heard_of: 3 };
const INTERVAL: Interval = Interval(400);

fn at(seconds: u64) -> Instant {
    Instant(seconds * 1_000_000)
}

/// A history that heard `seqnos`, all at second 0.
fn heard(seqnos: &[u16]) -> History {
    let mut history = History::default();
    seqnos.iter().for_each(|seqno| history.receive(Seqno(*seqno), INTERVAL, at(0)));
    history
}

#[test]
fn hellos_are_entered_by_their_numbers() {
    for (seqnos, bits, known) in [
        (&[5][..], 0b1, 1),
        (&[5, 6, 7], 0b111, 3),
        (&[5, 7], 0b101, 3),
        (&[5, 9], 0b1_0001, 5),
        (&[0xfffe, 0xffff, 0, 2], 0b1_1101, 5),
        (&[5, 6, 6], 0b11, 2),
        (&[5, 6, 7, 8, 6], 0b11, 2),
        (&[5, 6, 7, 5, 6, 7], 0b111, 3),
    ] {
        assert_eq!(heard(seqnos).bits(), (bits, known), "{seqnos:?}");
    }
}

#[test]
fn only_a_number_more_than_sixteen_away_breaks_a_history() {
    let history = heard(&[100]);
    for (seqno, continuity) in [
        (101, Continuity::Kept),
        (117, Continuity::Kept),
        (118, Continuity::Broken),
        (85, Continuity::Kept),
        (84, Continuity::Broken),
        (40_000, Continuity::Broken),
    ] {
        assert_eq!(history.continuity(Seqno(seqno)), continuity, "{seqno}");
    }
    assert_eq!(History::default().continuity(Seqno(40_000)), Continuity::Kept);
}

#[test]
fn two_out_of_three_with_the_unknown_counted_as_heard() {
    for (seqnos, up) in [
        (&[5][..], true),
        (&[5, 7], true),
        (&[5, 8], false),
        (&[5, 6, 8], true),
        (&[5, 8, 9], true),
        (&[5, 6, 7, 10], false),
    ] {
        assert_eq!(heard(seqnos).is_up(WIRED), up, "{seqnos:?}");
    }
    assert!(!History::default().is_up(WIRED));
}

#[test]
fn silence_is_noticed_after_one_and_a_half_intervals_and_then_after_each() {
    let mut history = heard(&[1, 2, 3]);
    assert_eq!(history.due(), Some(at(6)));
    history.expire(at(5));
    assert_eq!(history.bits().0, 0b111);
    history.expire(at(6));
    assert_eq!((history.bits().0, history.due()), (0b1110, Some(at(10))));
    assert!(history.is_up(WIRED) && history.is_lossy(3));
    history.expire(at(10));
    assert!(!history.is_up(WIRED));
    (4..18).for_each(|miss| history.expire(at(miss * 4 + 2)));
    assert!(history.is_empty());
}

#[test]
fn a_lost_hello_is_counted_once_by_timer_or_by_number() {
    let mut history = heard(&[1, 2, 3]);
    history.expire(at(6));
    history.expire(at(10));
    history.receive(Seqno(6), INTERVAL, at(12));
    assert_eq!(history.bits().0, 0b11_1001);
    history.receive(Seqno(7), INTERVAL, at(16));
    assert!(history.is_up(WIRED), "two hellos repair the line");
}

#[test]
fn a_stall_of_our_own_costs_one_miss_and_the_next_number_takes_it_back() {
    let mut history = heard(&[1, 2, 3]);
    history.expire(at(100));
    assert_eq!(history.bits().0, 0b1110);
    history.receive(Seqno(4), INTERVAL, at(100));
    assert_eq!(history.bits().0, 0b1111);
}

#[test]
fn an_interval_of_zero_moves_no_timer_and_the_shortest_are_stretched() {
    let mut history = History::default();
    history.receive(Seqno(1), Interval::ZERO, at(0));
    assert_eq!(history.due(), None);
    history.receive(Seqno(2), INTERVAL, at(0));
    history.receive(Seqno(3), Interval::ZERO, at(3));
    assert_eq!(history.due(), Some(at(6)));
    history.receive(Seqno(4), Interval(1), at(7));
    assert_eq!(history.due(), Some(Instant(7_075_000)));
    history.receive(Seqno(5), Interval(u16::MAX), at(7));
    assert_eq!(history.due(), Some(Instant(7_000_000 + 983_025_000)));
}

/// A history as a plain list of what became of each number, oldest first.
#[derive(Default)]
struct Model {
    slots: Vec<bool>,
    expected: u16,
}

impl Model {
    fn hear(&mut self, seqno: u16) {
        let gap = i32::from(seqno.wrapping_sub(self.expected).cast_signed());
        if !self.slots.is_empty() {
            if gap >= 0 {
                self.slots.extend(std::iter::repeat_n(false, usize::try_from(gap).unwrap()));
            } else {
                let kept = i32::try_from(self.slots.len()).unwrap() + gap;
                self.slots.truncate(usize::try_from(kept).unwrap_or(0));
            }
        }
        self.slots.push(true);
        self.trim();
        self.expected = seqno.wrapping_add(1);
    }

    fn miss(&mut self) {
        self.slots.push(false);
        self.trim();
        self.expected = self.expected.wrapping_add(1);
    }

    fn trim(&mut self) {
        let over = self.slots.len().saturating_sub(16);
        self.slots.drain(..over);
    }

    fn bits(&self) -> u16 {
        self.slots.iter().fold(0, |bits, heard| (bits << 1) | u16::from(*heard))
    }
}

proptest! {
    #[test]
    fn a_history_is_what_became_of_each_number(
        start in any::<u16>(),
        steps in proptest::collection::vec(proptest::option::of(-16_i16..=16), 1..60),
    ) {
        let (mut history, mut model) = (History::default(), Model::default());
        history.receive(Seqno(start), INTERVAL, at(0));
        model.hear(start);
        for (time, step) in steps.iter().enumerate() {
            let now = at(u64::try_from(time).unwrap() * 100);
            match step {
                Some(distance) => {
                    let seqno = model.expected.wrapping_add(distance.cast_unsigned());
                    prop_assert_eq!(history.continuity(Seqno(seqno)), Continuity::Kept);
                    history.receive(Seqno(seqno), INTERVAL, now);
                    model.hear(seqno);
                }
                None => {
                    if history.due().is_some_and(|due| due <= now) {
                        model.miss();
                    }
                    history.expire(now);
                }
            }
            prop_assert_eq!(history.bits().0, model.bits());
            prop_assert_eq!(usize::from(history.bits().1), model.slots.len());
            let last = &model.slots[model.slots.len().saturating_sub(3)..];
            let up = model.bits() != 0 && last.iter().filter(|heard| !**heard).count() <= 1;
            prop_assert_eq!(history.is_up(WIRED), up);
        }
    }
}

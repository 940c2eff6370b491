use super::*;

const PROBING: Probing = Probing { spacing: Duration::from_millis(200), count: 3 };
const INTERVAL: Duration = Duration::from_secs(2);

fn at(millis: u64) -> Instant {
    Instant(millis * 1000)
}

/// Looks whenever it is due, until `end`; what came of it, and when.
fn watch(pulse: &mut Pulse, end: Instant) -> Vec<(u64, Verdict)> {
    let mut verdicts = Vec::new();
    while let Some(due) = pulse.due(INTERVAL, PROBING).filter(|due| *due <= end) {
        verdicts.push((due.0 / 1000, pulse.look(INTERVAL, (PROBING, Silence::Decides), due)));
    }
    verdicts
}

/// One whose kernel has answered within a time.
fn answering(within: Duration) -> Pulse {
    let mut pulse = Pulse::new(at(0));
    assert_eq!(pulse.introduce(at(0)), Verdict::Ask);
    pulse.answered(INTERVAL, at(0) + within);
    pulse.hear_hello(INTERVAL, at(1000));
    pulse
}

#[test]
fn a_kernel_that_answered_and_does_not_any_more_is_gone() {
    let mut pulse = answering(Duration::ZERO);
    let asked = [3125, 3325, 3525].map(|time| (time, Verdict::Ask));
    assert_eq!(watch(&mut pulse, at(3724)), asked);
    assert!(!pulse.is_gone());
    assert_eq!(watch(&mut pulse, at(9999)), [(3725, Verdict::Gone)]);
    assert!(pulse.is_gone());
    pulse.hear_hello(INTERVAL, at(9999));
    assert!(!pulse.is_gone());
}

#[test]
fn after_the_return_of_one_that_was_gone_silence_says_nothing_until_its_kernel_answers() {
    let mut pulse = answering(Duration::ZERO);
    watch(&mut pulse, at(9999));
    assert!(pulse.is_gone());
    pulse.hear_hello(INTERVAL, at(10_000));
    let verdicts = watch(&mut pulse, at(20_000));
    assert!(verdicts.iter().all(|(_, one)| *one != Verdict::Gone), "{verdicts:?}");
    pulse.hear_hello(INTERVAL, at(20_000));
    assert_eq!(pulse.introduce(at(20_000)), Verdict::Ask);
    pulse.answered(INTERVAL, at(20_001));
    assert_eq!(watch(&mut pulse, at(30_000)).last().map(|one| one.1), Some(Verdict::Gone));
}

#[test]
fn where_the_hellos_decide_the_silence_of_a_kernel_says_nothing() {
    let mut pulse = answering(Duration::ZERO);
    let mut asked = 0;
    while let Some(due) = pulse.due(INTERVAL, PROBING).filter(|due| *due <= at(60_000)) {
        let verdict = pulse.look(INTERVAL, (PROBING, Silence::SaysNothing), due);
        assert_ne!(verdict, Verdict::Gone);
        asked += usize::from(verdict == Verdict::Ask);
    }
    assert!(asked > 60, "{asked}");
}

#[test]
fn a_kernel_that_never_answered_is_never_gone() {
    let mut pulse = Pulse::new(at(0));
    let verdicts = watch(&mut pulse, at(60_000));
    assert!(verdicts.len() > 60 && verdicts.iter().all(|(_, one)| *one != Verdict::Gone));
    assert!(!pulse.is_gone());
}

#[test]
fn nobody_is_asked_who_is_in_time() {
    let mut pulse = answering(Duration::ZERO);
    for second in 0..30 {
        pulse.hear_hello(INTERVAL, at(second * 2000));
        assert_eq!(watch(&mut pulse, at(second * 2000 + 2000)), []);
    }
}

#[test]
fn one_answer_ends_the_questions_and_holds_the_neighbour_but_not_for_ever() {
    let mut pulse = answering(Duration::ZERO);
    let mut now = at(1000);
    for _ in 0..40 {
        let due = pulse.due(INTERVAL, PROBING).unwrap();
        now = now.max(due);
        assert_eq!(pulse.look(INTERVAL, (PROBING, Silence::Decides), now), Verdict::Ask);
        pulse.answered(INTERVAL, now);
        assert_eq!(pulse.is_held(now), now < at(1000) + PATIENCE);
    }
    assert!(now > at(46_000));
}

#[test]
fn a_slow_kernel_is_given_twice_the_time_it_took() {
    let mut pulse = answering(Duration::from_millis(900));
    let verdicts = watch(&mut pulse, at(20_000));
    assert_eq!(verdicts.last(), Some(&(3525 + 1800, Verdict::Gone)));
}

#[test]
fn a_late_look_sends_one_question_and_waits_its_full_time() {
    let mut pulse = answering(Duration::ZERO);
    for stall in [10_000, 20_000, 30_000] {
        assert_eq!(pulse.look(INTERVAL, (PROBING, Silence::Decides), at(stall)), Verdict::Ask);
        assert_eq!(pulse.due(INTERVAL, PROBING), Some(at(stall + 200)));
    }
    assert_eq!(pulse.look(INTERVAL, (PROBING, Silence::Decides), at(30_199)), Verdict::Wait);
}

#[test]
fn a_kernel_is_introduced_a_few_times_and_no_more_once_it_answers() {
    let mut pulse = Pulse::new(at(0));
    for _ in 0..MOST_TRIES {
        assert_eq!(pulse.introduce(at(5)), Verdict::Ask);
    }
    assert_eq!(pulse.introduce(at(5)), Verdict::Wait);
    pulse.answered(INTERVAL, at(7));
    assert_eq!(pulse.kernel, Kernel::Answers { within: Duration::from_millis(2) });
    assert_eq!(pulse.introduce(at(8)), Verdict::Wait);
}

#[test]
fn an_answer_nobody_asked_for_means_nothing() {
    let mut pulse = Pulse::new(at(0));
    pulse.answered(INTERVAL, at(7));
    assert_eq!(pulse.kernel, Kernel::Unknown { asked: None, tries: 0 });
    assert!(!pulse.is_held(at(7)));
}

#[test]
fn one_without_promises_is_never_late() {
    assert_eq!(Pulse::new(at(0)).due(Duration::ZERO, PROBING), None);
}

use super::*;

fn key(n: u8) -> RouteKey {
    RouteKey::to(format!("fd00:{n:x}::/64").parse().unwrap())
}

fn ms(milliseconds: u64) -> Instant {
    Instant(milliseconds * 1000)
}

/// Sends what waits, as one packet.
fn send(sender: &mut Sender, now: Instant) -> Vec<Carried> {
    let mut carried = Vec::new();
    while let Some((key, waiting)) = sender.first() {
        sender.pass(key);
        carried.push(Carried { key, waiting, content: Content::Reachable });
    }
    let opaque = sender.next_opaque();
    sender.launch(opaque, carried.clone(), now);
    carried
}

#[test]
fn a_prefix_waits_once_and_the_stronger_reason_and_earlier_time_hold() {
    let mut sender = Sender::default();
    sender.enqueue(key(1), Reason::Change, ms(20));
    sender.enqueue(key(1), Reason::Answer, ms(10));
    sender.enqueue(key(1), Reason::Change, ms(30));
    assert_eq!((sender.len(), sender.wake()), (1, Some(ms(10))));
    assert!(!sender.is_ready(ms(9)) && sender.is_ready(ms(10)));
    assert_eq!(sender.first().unwrap().1.reason, Reason::Answer);
}

#[test]
fn an_acknowledgement_ends_it_and_opens_the_window() {
    let mut sender = Sender::default();
    sender.enqueue(key(1), Reason::Change, ms(0));
    send(&mut sender, ms(0));
    assert!(sender.acknowledge(99, ms(1)).is_empty());
    assert_eq!(sender.acknowledge(1, ms(10)).len(), 1);
    assert!(sender.acknowledge(1, ms(11)).is_empty());
    assert_eq!((sender.wake(), sender.window), (None, FIRST_WINDOW + 1));
    assert_eq!(sender.patience(), Duration::from_millis(90));
}

#[test]
fn what_is_not_acknowledged_is_sent_five_times_with_growing_waits() {
    let mut sender = Sender::default();
    sender.enqueue(key(1), Reason::Change, ms(0));
    let (mut now, mut waits) = (ms(0), Vec::new());
    loop {
        send(&mut sender, now);
        let wake = sender.wake().unwrap();
        waits.push(wake.since(now).as_millis());
        now = wake;
        if let (1, 0) = sender.resend_overdue(COPIES, now) {
            break;
        }
    }
    assert_eq!(waits, [500, 2000, 4000, 4000, 4000]);
    assert_eq!((sender.wake(), sender.window), (None, 1));
}

#[test]
fn a_prefix_that_changed_meanwhile_is_not_resent_for_its_old_state() {
    let mut sender = Sender::default();
    sender.enqueue(key(1), Reason::Change, ms(0));
    send(&mut sender, ms(0));
    sender.enqueue(key(1), Reason::Change, ms(500));
    assert_eq!(sender.resend_overdue(COPIES, ms(500)), (0, 0));
    assert_eq!(sender.first().unwrap().1.sent, 0, "a fresh count");
}

#[test]
fn a_dump_stops_at_the_window_and_changes_overtake_it() {
    let mut sender = Sender::default();
    sender.begin_dump(Receipt::Wanted, ms(0));
    for _ in 0..FIRST_WINDOW {
        assert!(sender.is_ready(ms(0)));
        send(&mut sender, ms(0));
    }
    assert!(!sender.is_ready(ms(0)));
    sender.enqueue(key(1), Reason::Change, ms(0));
    assert!(sender.is_ready(ms(0)));
    for _ in 0..RESERVE {
        send(&mut sender, ms(0));
    }
    sender.enqueue(key(1), Reason::Change, ms(0));
    assert!(!sender.is_ready(ms(0)), "within bounds");
    sender.acknowledge(1, ms(1));
    assert!(sender.is_ready(ms(1)));
}

#[test]
fn dumps_asked_for_are_spaced() {
    let mut sender = Sender::default();
    sender.ask_dump(ms(5000));
    sender.start_asked_dump(ms(5000));
    assert_eq!(sender.dump_position(), Some(None));
    sender.end_dump();
    sender.ask_dump(ms(5100));
    sender.start_asked_dump(ms(5100));
    assert_eq!((sender.dump_position(), sender.wake()), (None, Some(ms(6000))));
    sender.start_asked_dump(ms(6000));
    assert!(sender.dump_position().is_some());
}

#[test]
fn what_is_resent_from_an_old_dump_does_not_move_a_new_one() {
    let mut sender = Sender::default();
    sender.begin_dump(Receipt::Wanted, ms(0));
    sender.pass(key(5));
    let waiting = Waiting { reason: Reason::Dump, sent: 0 };
    let opaque = sender.next_opaque();
    let carried = vec![Carried { key: key(5), waiting, content: Content::Reachable }];
    sender.launch(opaque, carried, ms(0));
    sender.end_dump();
    sender.begin_dump(Receipt::Wanted, ms(400));
    assert_eq!(sender.resend_overdue(COPIES, ms(500)), (0, 1));
    assert_eq!(sender.first(), Some((key(5), Waiting { reason: Reason::Dump, sent: 1 })));
    sender.pass(key(5));
    assert_eq!(sender.dump_position(), Some(None));
}

#[test]
fn what_could_not_be_told_goes_with_the_next_dump() {
    let mut sender = Sender::default();
    sender.owe(key(9));
    assert!(sender.owed.is_empty(), "nothing was told yet");
    sender.begin_dump(Receipt::Wanted, ms(0));
    sender.end_dump();
    sender.enqueue(key(1), Reason::Change, ms(0));
    send(&mut sender, ms(0));
    sender.enqueue(key(2), Reason::Change, ms(0));
    sender.suspend();
    sender.owe(key(3));
    assert_eq!((sender.wake(), sender.len()), (None, 0));
    sender.begin_dump(Receipt::Wanted, ms(9000));
    assert_eq!(sender.queue.keys().copied().collect::<Vec<_>>(), [key(1), key(2), key(3)]);
}

#[test]
fn what_was_given_up_is_owed() {
    let mut sender = Sender::default();
    sender.begin_dump(Receipt::Wanted, ms(0));
    sender.end_dump();
    sender.enqueue(key(1), Reason::Change, ms(0));
    let mut now = ms(0);
    loop {
        send(&mut sender, now);
        now = sender.wake().unwrap();
        if let (1, 0) = sender.resend_overdue(COPIES, now) {
            break;
        }
    }
    assert_eq!(sender.len(), 0);
    sender.begin_dump(Receipt::Unneeded, now);
    assert_eq!(sender.len(), 1);
}

#[test]
fn a_dump_that_becomes_long_on_its_way_is_acknowledged_from_there_on() {
    let mut sender = Sender::default();
    sender.begin_dump(Receipt::Unneeded, ms(0));
    for n in 0..32 {
        sender.pass(key(n));
        assert_eq!(sender.receipt(), Receipt::Unneeded);
    }
    sender.pass(key(32));
    assert_eq!(sender.receipt(), Receipt::Wanted);
}

#[test]
fn one_that_restarts_is_told_all_no_more_often_than_one_that_asks() {
    let mut sender = Sender::default();
    sender.begin_dump(Receipt::Wanted, ms(5000));
    sender.enqueue(key(1), Reason::Change, ms(5000));
    send(&mut sender, ms(5000));
    sender.restart();
    assert_eq!((sender.len(), sender.dump_position()), (0, None));
    assert!(sender.acknowledge(1, ms(5001)).is_empty());
    assert_eq!(sender.next_opaque(), 2, "a late acknowledgement means nothing new");
    sender.ask_dump(ms(5100));
    assert_eq!(sender.wake(), Some(ms(6000)));
}

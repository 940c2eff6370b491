//! The table of pending seqno requests (RFC 8966 §3.2.7).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use sixwire_proto::babel::RouteKey;
use sixwire_proto::router_id::RouterId;
use sixwire_proto::seqno::Seqno;
use sixwire_proto::time::Instant;

use super::neighbour::NeighbourId;

/// What is asked about: each originator of a prefix apart.
pub(super) type Subject = (RouteKey, RouterId);

/// A request that has not been satisfied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pending {
    pub(super) seqno: Seqno,
    /// Neighbours to be told of the answer.
    pub(super) askers: BTreeSet<NeighbourId>,
    /// Neighbours it was sent to, and the number each had then, if known.
    pub(super) asked: BTreeMap<NeighbourId, Option<Seqno>>,
    pub(super) sent: Instant,
    /// When it is sent again, or forgotten.
    due: Instant,
    pub(super) resends: Resends,
}

/// How it goes on when no answer comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Resends {
    /// Our own: sent again so many times, each wait twice the last.
    Left { times: u8, wait: Duration },
    /// Somebody else's: it is for them to send it again.
    Never,
}

impl Pending {
    /// A request of our own, sent now.
    pub(super) fn own(seqno: Seqno, now: Instant) -> Self {
        let resends = Resends::Left { times: RESENDS, wait: FIRST_WAIT };
        Self::new(seqno, resends, now + FIRST_WAIT, now)
    }

    /// A request passed on now, perhaps not for the first time; one of our own stays so.
    pub(super) fn passed_on(known: Option<&Self>, seqno: Seqno, now: Instant) -> Self {
        let mut pending = Self::new(seqno, Resends::Never, now + FORWARDED_LIFE, now);
        if let Some(known) = known {
            if known.covers(seqno) {
                pending.seqno = known.seqno;
            }
            if known.resends != Resends::Never {
                (pending.resends, pending.due) = (known.resends, known.due);
            }
            pending.askers.clone_from(&known.askers);
            pending.asked.clone_from(&known.asked);
        }
        pending
    }

    fn new(seqno: Seqno, resends: Resends, due: Instant, now: Instant) -> Self {
        let (askers, asked) = (BTreeSet::new(), BTreeMap::new());
        Self { seqno, askers, asked, sent: now, due, resends }
    }

    /// Whether a request for `seqno` is answered by the answer to this one.
    pub(super) fn covers(&self, seqno: Seqno) -> bool {
        !seqno.is_newer_than(self.seqno)
    }

    /// Whether it was sent so recently that another copy is a duplicate, not a retransmission.
    pub(super) fn is_fresh(&self, now: Instant) -> bool {
        now < self.sent + DUPLICATE_TIME
    }
}

/// All pending requests, by subject and by time.
#[derive(Debug, Default)]
pub(super) struct Requests {
    pending: BTreeMap<Subject, Pending>,
    by_time: BTreeSet<(Instant, Subject)>,
}

impl Requests {
    pub(super) fn get(&self, subject: Subject) -> Option<&Pending> {
        self.pending.get(&subject)
    }

    /// The same, to be changed in all but its time.
    pub(super) fn get_mut(&mut self, subject: Subject) -> Option<&mut Pending> {
        self.pending.get_mut(&subject)
    }

    /// Adds or replaces.
    pub(super) fn insert(&mut self, subject: Subject, pending: Pending) {
        self.remove(subject);
        self.by_time.insert((pending.due, subject));
        self.pending.insert(subject, pending);
    }

    pub(super) fn remove(&mut self, subject: Subject) -> Option<Pending> {
        let pending = self.pending.remove(&subject)?;
        self.by_time.remove(&(pending.due, subject));
        Some(pending)
    }

    /// The router-ids asked for under one prefix.
    pub(super) fn about(&self, key: RouteKey) -> Vec<RouterId> {
        let least = RouterId::new([0, 0, 0, 0, 0, 0, 0, 1]).expect("not reserved");
        let subjects = self.pending.range((key, least)..);
        subjects.map(|(subject, _)| *subject).take_while(|(k, _)| *k == key).map(|s| s.1).collect()
    }

    /// When the next one is due.
    pub(super) fn next(&self) -> Option<Instant> {
        self.by_time.first().map(|(due, _)| *due)
    }

    /// Takes out a request that is due. If it is to be sent again, it is given with one resend less
    /// and its next time, to be put back.
    pub(super) fn pop_due(&mut self, now: Instant) -> Option<(Subject, Option<Pending>)> {
        let (due, subject) = *self.by_time.first()?;
        if due > now {
            return None;
        }
        let mut pending = self.remove(subject)?;
        match pending.resends {
            Resends::Never | Resends::Left { times: 0, .. } => Some((subject, None)),
            Resends::Left { times, wait } => {
                let wait = wait * 2;
                pending.resends = Resends::Left { times: times - 1, wait };
                (pending.sent, pending.due) = (now, now + wait);
                Some((subject, Some(pending)))
            }
        }
    }

    pub(super) fn len(&self) -> usize {
        self.pending.len()
    }
}

/// Wait for the first answer (RFC 8966 appendix B).
const FIRST_WAIT: Duration = Duration::from_secs(2);
/// How often it is sent again (RFC 8966 appendix B).
const RESENDS: u8 = 3;
/// A forwarded request is forgotten after this; the answer takes a round trip.
const FORWARDED_LIFE: Duration = Duration::from_secs(10);
/// Copies within this time are duplicates: shorter than any wait for an answer.
const DUPLICATE_TIME: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    fn subject(last: u8) -> Subject {
        let id = RouterId::new([2, 0, 0, 0, 0, 0, 0, last]).unwrap();
        (RouteKey::to("fd00:1::/64".parse().unwrap()), id)
    }

    #[test]
    fn a_request_is_sent_four_times_with_doubling_waits() {
        let mut requests = Requests::default();
        requests.insert(subject(1), Pending::own(Seqno(5), Instant(0)));
        let mut waits = Vec::new();
        let mut now = Instant(0);
        while let Some(due) = requests.next() {
            waits.push(due.since(now).as_secs());
            now = due;
            if let Some((subject, Some(pending))) = requests.pop_due(now) {
                requests.insert(subject, pending);
            }
        }
        assert_eq!(waits, [2, 4, 8, 16]);
    }

    #[test]
    fn two_originators_of_a_prefix_are_asked_apart() {
        let mut requests = Requests::default();
        requests.insert(subject(1), Pending::own(Seqno(5), Instant(0)));
        requests.insert(subject(2), Pending::passed_on(None, Seqno(9), Instant(0)));
        assert_eq!(requests.about(subject(1).0), [subject(1).1, subject(2).1]);
        requests.remove(subject(1));
        assert_eq!(requests.about(subject(1).0), [subject(2).1]);
    }

    #[test]
    fn a_forwarded_request_is_forgotten_not_resent() {
        let mut requests = Requests::default();
        requests.insert(subject(1), Pending::passed_on(None, Seqno(5), Instant(0)));
        assert_eq!(requests.pop_due(Instant(9_000_000)), None);
        assert_eq!(requests.pop_due(Instant(10_000_000)), Some((subject(1), None)));
        assert_eq!(requests.len(), 0);
    }

    #[test]
    fn a_newer_number_is_not_covered_by_an_older_request() {
        let pending = Pending::own(Seqno(0), Instant(0));
        assert!(pending.covers(Seqno(0)) && pending.covers(Seqno(0xffff)));
        assert!(!pending.covers(Seqno(1)));
    }
}

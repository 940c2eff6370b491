//! Ports for tunnels: each is used once, and one that turned out taken rests for a while.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::time::Duration;

use sixwire_proto::time::Instant;

/// Hands out ports of a range, round robin, so that a port rests before it is used again.
#[derive(Debug)]
pub(super) struct Ports {
    range: RangeInclusive<u16>,
    next: u16,
    taken: BTreeMap<u16, Instant>,
}

impl Ports {
    /// Starts `offset` ports into the range, wrapping: a restart meets other ports than before.
    pub(super) fn new(range: RangeInclusive<u16>, offset: usize) -> Self {
        let step = offset % range.len().max(1);
        let next = range.clone().nth(step).unwrap_or(*range.start());
        Self { range, next, taken: BTreeMap::new() }
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.range.len()
    }

    /// The next port that is not `in_use` and does not rest.
    pub(super) fn allocate(&mut self, now: Instant, in_use: impl Fn(u16) -> bool) -> Option<u16> {
        self.taken.retain(|_, until| *until > now);
        let ahead = self.next..=*self.range.end();
        let behind = *self.range.start()..=self.next;
        let port = ahead.chain(behind).find(|port| {
            self.range.contains(port) && !self.taken.contains_key(port) && !in_use(*port)
        })?;
        self.next = if port == *self.range.end() { *self.range.start() } else { port + 1 };
        Some(port)
    }

    /// Somebody else has this port: let it rest. Bounded by the range.
    pub(super) fn rest(&mut self, port: u16, now: Instant) {
        if self.range.contains(&port) {
            self.taken.insert(port, now + REST);
        }
    }

    /// When the first resting port may be tried again, after `now`.
    pub(super) fn next_deadline(&self, now: Instant) -> Option<Instant> {
        self.taken.values().copied().filter(|until| *until > now).min()
    }
}

/// How long a taken port rests: whoever has it keeps it for longer than a retry.
const REST: Duration = Duration::from_secs(600);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_go_round_and_skip_what_is_used_or_rests() {
        let mut ports = Ports::new(10..=13, 2);
        let now = Instant(0);
        let free = |_: u16| false;
        let take = |ports: &mut Ports| ports.allocate(now, free).unwrap();
        assert_eq!([take(&mut ports), take(&mut ports), take(&mut ports)], [12, 13, 10]);
        ports.rest(11, now);
        assert_eq!(ports.allocate(now, |p| p == 12), Some(13));
        assert_eq!(ports.allocate(now, |p| p != 11), None);
        assert_eq!(ports.next_deadline(now), Some(now + REST));
        assert_eq!(ports.allocate(now + REST, |p| p != 11), Some(11));
    }

    #[test]
    fn an_empty_range_has_no_port() {
        #[expect(clippy::reversed_empty_ranges, reason = "the point of the test")]
        let range = 5..=4;
        assert_eq!(Ports::new(range, 7).allocate(Instant(0), |_| false), None);
    }
}

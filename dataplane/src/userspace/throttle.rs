//! How many handshakes a source may start: each costs a computation, however honest its address.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use tokio::time::Instant;

/// Handshakes by source; a source is an IPv4 address, or an IPv6 network of 64 bits.
#[derive(Default)]
pub(super) struct Throttle {
    sources: BTreeMap<u64, Bucket>,
}

struct Bucket {
    full: Instant,
}

impl Throttle {
    /// Whether a handshake from there is looked at.
    pub(super) fn admits(&mut self, from: IpAddr, now: Instant) -> bool {
        let source = source(from);
        if let Some(bucket) = self.sources.get_mut(&source) {
            let full = bucket.full.max(now) + EACH;
            let admits = full <= now + BURST;
            if admits {
                bucket.full = full;
            }
            return admits;
        }
        let has_room = self.sources.len() < SOURCES;
        if has_room {
            self.sources.insert(source, Bucket { full: now + EACH });
        }
        has_room
    }

    /// Forgets sources that were quiet.
    pub(super) fn tick(&mut self, now: Instant) {
        self.sources.retain(|_, bucket| bucket.full > now);
    }
}

fn source(address: IpAddr) -> u64 {
    match address {
        IpAddr::V4(v4) => u64::from(v4.to_bits()),
        IpAddr::V6(v6) => {
            let [a, b, c, d, e, f, g, h, ..] = v6.octets();
            u64::from_be_bytes([a, b, c, d, e, f, g, h])
        }
    }
}

/// One for each such time, in the long run: 20 in a second, as the kernel has it.
const EACH: Duration = Duration::from_millis(50);
/// And as many at once as fit this.
const BURST: Duration = Duration::from_secs(1);
/// Sources at a time; when there are more, new ones wait until others are quiet.
const SOURCES: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_gets_twenty_at_once_and_then_twenty_in_a_second() {
        let (mut throttle, start) = (Throttle::default(), Instant::now());
        let from = |text: &str| text.parse::<IpAddr>().unwrap();
        let mut admitted = |from, at| (0..1000).filter(|_| throttle.admits(from, at)).count();
        assert_eq!(admitted(from("192.0.2.1"), start), 20);
        assert_eq!(admitted(from("192.0.2.2"), start), 20, "others are apart");
        assert_eq!(admitted(from("2001:db8::1"), start), 20);
        assert_eq!(admitted(from("2001:db8::2"), start), 0, "of the same network");
        let later = start + Duration::from_millis(500);
        assert_eq!(admitted(from("192.0.2.1"), later), 10);
        throttle.tick(later);
        assert_eq!(throttle.sources.len(), 3);
        throttle.tick(later + BURST);
        assert!(throttle.sources.is_empty());
    }

    #[test]
    fn sources_beyond_the_limit_wait_for_others_to_be_quiet() {
        let (mut throttle, start) = (Throttle::default(), Instant::now());
        let admitted =
            (0..5000u32).filter(|n| throttle.admits(IpAddr::from(n.to_be_bytes()), start));
        assert_eq!(admitted.count(), SOURCES);
        throttle.tick(start + EACH);
        assert!(throttle.admits([9, 9, 9, 9].into(), start + EACH));
    }
}

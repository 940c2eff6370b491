//! Datagrams on their way out, as many as possible for each system call.

use std::ops::Range;

use super::endpoint::Endpoint;

/// Datagrams in one buffer, in order.
pub(super) struct Outbox {
    buffer: Box<[u8]>,
    used: usize,
    runs: Vec<Train>,
}

/// Datagrams to one place that the kernel takes in one call: all of one size, but for a shorter last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Train {
    pub(super) endpoint: Endpoint,
    pub(super) octets: Range<usize>,
    /// Octets of each.
    pub(super) size: usize,
    /// Traffic class of each.
    pub(super) class: u8,
    count: usize,
}

impl Default for Outbox {
    fn default() -> Self {
        Self { buffer: vec![0; SIZE].into(), used: 0, runs: Vec::new() }
    }
}

impl Outbox {
    /// Where the next datagram is to be written; at least [`LARGEST`] octets unless it [is
    /// full](Self::is_full).
    pub(super) fn space(&mut self) -> &mut [u8] {
        &mut self.buffer[self.used..]
    }

    /// Takes the first `length` octets of the space as a datagram of a traffic class.
    pub(super) fn commit(&mut self, to: Endpoint, length: usize, class: u8) {
        let octets = self.used..self.used + length;
        self.used = octets.end;
        match self.runs.last_mut().filter(|train| train.takes(to, length, class)) {
            Some(train) => {
                train.octets.end = octets.end;
                train.count += 1;
            }
            None => {
                self.runs.push(Train { endpoint: to, octets, size: length, class, count: 1 });
            }
        }
    }

    /// Takes a copy of a datagram; drops it if there is no room.
    pub(super) fn push(&mut self, to: Endpoint, datagram: &[u8], class: u8) {
        if let Some(space) = self.space().get_mut(..datagram.len()) {
            space.copy_from_slice(datagram);
            self.commit(to, datagram.len(), class);
        }
    }

    /// Whether the largest packet might not fit any more.
    pub(super) fn is_full(&self) -> bool {
        self.buffer.len() - self.used < LARGEST
    }

    /// What there is to send.
    pub(super) fn trains(&self) -> impl Iterator<Item = (&Train, &[u8])> {
        self.runs.iter().map(|train| (train, &self.buffer[train.octets.clone()]))
    }

    /// Forgets all.
    pub(super) fn clear(&mut self) {
        self.used = 0;
        self.runs.clear();
    }
}

impl Train {
    /// How many they are.
    pub(super) fn count(&self) -> u64 {
        self.count as u64
    }

    /// Whether a further datagram can go with it.
    fn takes(&self, to: Endpoint, length: usize, class: u8) -> bool {
        let is_even = self.octets.len() == self.size * self.count;
        self.endpoint == to
            && self.class == class
            && is_even
            && length <= self.size
            && self.count < TRAIN_DATAGRAMS
            && self.octets.len() + length <= TRAIN_OCTETS
    }
}

/// Octets held back at most: three of the largest packets the kernel hands over, encrypted.
const SIZE: usize = 4 * LARGEST;
/// Octets that one packet of the kernel takes at most, cut to segments and encrypted.
pub(super) const LARGEST: usize = 80 << 10;
/// The kernel takes no more (`UDP_MAX_SEGMENTS`).
const TRAIN_DATAGRAMS: usize = 64;
/// The largest UDP payload over IPv4 with every option; IPv6 has a little more.
const TRAIN_OCTETS: usize = 65_535 - 60 - 8;

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(text: &str) -> Endpoint {
        text.parse::<std::net::SocketAddr>().unwrap().into()
    }

    #[test]
    fn datagrams_of_one_size_and_place_go_together() {
        let mut outbox = Outbox::default();
        let [a, b] = ["192.0.2.1:1", "[2001:db8::1]:1"].map(endpoint);
        for (to, length) in [(a, 100), (a, 100), (a, 60), (a, 100), (a, 101), (b, 101), (b, 101)] {
            outbox.push(to, &vec![7; length], 0);
        }
        outbox.push(b, &[7; 101], 2);
        let trains: Vec<_> =
            outbox.trains().map(|(t, octets)| (t.endpoint, octets.len(), t.size)).collect();
        let wanted = [(a, 260, 100), (a, 100, 100), (a, 101, 101), (b, 202, 101), (b, 101, 101)];
        assert_eq!(
            trains, wanted,
            "a shorter one ends a train, a longer one or one of another class starts its own"
        );
        outbox.clear();
        assert_eq!(outbox.trains().count(), 0);
    }

    #[test]
    fn a_train_is_never_longer_than_the_kernel_takes() {
        let mut outbox = Outbox::default();
        let to = endpoint("192.0.2.1:1");
        for (length, count) in [(1452, 45), (10, 64)] {
            outbox.clear();
            while outbox.trains().count() < 2 && !outbox.is_full() {
                outbox.push(to, &vec![0; length], 0);
            }
            let first = outbox.trains().next().unwrap().0.clone();
            assert_eq!((first.count, first.octets.len()), (count, length * count));
        }
    }

    #[test]
    fn what_does_not_fit_is_dropped() {
        let mut outbox = Outbox::default();
        let to = endpoint("192.0.2.1:1");
        for _ in 0..10 {
            outbox.push(to, &vec![0; LARGEST], 0);
        }
        assert!(outbox.is_full());
        assert_eq!(outbox.trains().count(), 4);
    }
}

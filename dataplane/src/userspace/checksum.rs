//! The Internet checksum (RFC 1071).

/// A ones' complement sum under way, in the machine's byte order.
#[derive(Clone, Copy, Default)]
pub(super) struct Sum(u64);

impl Sum {
    /// Adds octets; all but the last piece of what is summed must be even in number.
    pub(super) fn octets(self, octets: &[u8]) -> Self {
        let (words, rest) = octets.as_chunks::<4>();
        let sum: u64 = words.iter().map(|word| u64::from(u32::from_ne_bytes(*word))).sum();
        let mut last = [0; 4];
        last[..rest.len()].copy_from_slice(rest);
        // A packet has at most 2^14 words of 32 bits, so nothing is lost.
        Self(self.0 + sum + u64::from(u32::from_ne_bytes(last)))
    }

    /// Adds a number of 16 bits.
    pub(super) fn number(self, number: u16) -> Self {
        Self(self.0 + u64::from(u16::from_ne_bytes(number.to_be_bytes())))
    }

    /// The sum as it goes into a packet whose checksum somebody else completes.
    pub(super) fn partial(self) -> [u8; 2] {
        self.folded().to_ne_bytes()
    }

    /// The checksum.
    pub(super) fn checksum(self) -> [u8; 2] {
        (!self.folded()).to_ne_bytes()
    }

    /// Whether what was summed, its checksum included, is whole.
    pub(super) fn is_valid(self) -> bool {
        self.folded() == u16::MAX
    }

    fn folded(self) -> u16 {
        let sum = (self.0 >> 32) + (self.0 & 0xffff_ffff);
        let sum = (sum >> 32) + (sum & 0xffff_ffff);
        let sum = (sum >> 16) + (sum & 0xffff);
        let sum = (sum >> 16) + (sum & 0xffff);
        let [low, high, ..] = ((sum >> 16) + (sum & 0xffff)).to_le_bytes();
        u16::from_le_bytes([low, high])
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn by_the_book(octets: &[u8]) -> u16 {
        let mut sum = 0u32;
        for pair in octets.chunks(2) {
            sum += u32::from(u16::from_be_bytes([pair[0], *pair.get(1).unwrap_or(&0)]));
            sum = (sum >> 16) + (sum & 0xffff);
        }
        !u16::try_from(sum).unwrap()
    }

    proptest! {
        #[test]
        fn it_is_what_the_rfc_says_however_it_is_cut(
            octets in proptest::collection::vec(any::<u8>(), 0..3000), cut in 0usize..1500, n: u16,
        ) {
            let (head, tail) = octets.split_at((2 * cut).min(octets.len() & !1));
            let sum = Sum::default().octets(head).number(n).octets(tail).checksum();
            let whole = [n.to_be_bytes().as_slice(), &octets].concat();
            prop_assert_eq!(u16::from_be_bytes(sum), by_the_book(&whole));
        }

        #[test]
        fn a_changed_bit_shows(
            mut octets in proptest::collection::vec(any::<u8>(), 2..2000), bit in 0usize..16000,
        ) {
            octets[..2].fill(0);
            let checksum = Sum::default().octets(&octets).checksum();
            octets[..2].copy_from_slice(&checksum);
            prop_assert!(Sum::default().octets(&octets).is_valid());
            let at = bit / 8 % octets.len();
            octets[at] ^= 1 << (bit % 8);
            prop_assert!(!Sum::default().octets(&octets).is_valid());
        }
    }
}

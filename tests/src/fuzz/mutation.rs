//! Mutations of known inputs, fixed by a seed: what a fuzzer does without feedback.

use sixwire_proto::seed::Seed;

/// A source of inputs that never ends.
#[derive(Clone, Debug)]
pub struct Mutator {
    corpus: Vec<Vec<u8>>,
    seed: Seed,
}

impl Mutator {
    /// Inputs that come from these.
    ///
    /// # Panics
    /// On an empty corpus.
    #[must_use]
    pub fn new(corpus: Vec<Vec<u8>>, seed: u64) -> Self {
        assert!(!corpus.is_empty(), "nothing to mutate");
        Self { corpus, seed: Seed::new(seed) }
    }

    /// The next input.
    pub fn input(&mut self) -> Vec<u8> {
        let mut input = self.any().clone();
        for _ in 0..=self.seed.below(6) {
            self.mutate(&mut input);
        }
        input.truncate(LONGEST);
        input
    }

    fn any(&mut self) -> &Vec<u8> {
        let index = self.seed.below(self.corpus.len());
        &self.corpus[index]
    }

    fn octet(&mut self) -> u8 {
        self.seed.next_u64().to_le_bytes()[0]
    }

    fn mutate(&mut self, input: &mut Vec<u8>) {
        let at = self.seed.below(input.len() + 1);
        let end = (at + self.seed.below(16)).min(input.len());
        match (self.seed.below(8), input.get_mut(at)) {
            (0, Some(octet)) => *octet ^= 1 << self.seed.below(8),
            (1, Some(octet)) => *octet = INTERESTING[self.seed.below(INTERESTING.len())],
            (2, Some(octet)) => *octet = octet.wrapping_add(1),
            (3, Some(octet)) => *octet = self.octet(),
            (4, _) => drop(input.drain(at..end)),
            (5, _) => {
                let octets: Vec<u8> = (0..self.seed.below(16)).map(|_| self.octet()).collect();
                input.splice(at..at, octets);
            }
            (6, _) => {
                let copy = input[at..end].to_vec();
                input.splice(at..at, copy);
            }
            _ => {
                let other = self.any().clone();
                let from = self.seed.below(other.len() + 1);
                input.truncate(at);
                input.extend_from_slice(&other[from..]);
            }
        }
    }
}

const INTERESTING: [u8; 12] = [0, 1, 2, 4, 16, 32, 64, 0x7f, 0x80, 0xc0, 0xfe, 0xff];
/// Octets of an input: the largest packet, and most documents.
const LONGEST: usize = 4096;

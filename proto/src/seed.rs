//! Deterministic choice for the cores: jitter and picks, never secrets.

use std::time::Duration;

/// A stream of numbers fixed by its start (the splitmix64 sequence). Same seed, same run.
#[derive(Clone, Debug)]
pub struct Seed(u64);

impl Seed {
    /// A stream that starts at `start`.
    #[must_use]
    pub fn new(start: u64) -> Self {
        Self(start)
    }

    /// The next 64 bits.
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`; zero when `bound` is zero.
    pub fn below(&mut self, bound: usize) -> usize {
        let wide = u128::from(self.next_u64()) * bound as u128;
        usize::try_from(wide >> 64).unwrap_or(0)
    }

    /// A duration from `least` up to, not including, `most`.
    pub fn between(&mut self, least: Duration, most: Duration) -> Duration {
        let span = most.saturating_sub(least).as_micros();
        let offset = (u128::from(self.next_u64()) * span) >> 64;
        least + Duration::from_micros(u64::try_from(offset).unwrap_or(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_stream() {
        let (mut a, mut b) = (Seed::new(7), Seed::new(7));
        assert!((0..100).all(|_| a.next_u64() == b.next_u64()));
    }

    #[test]
    fn values_stay_in_their_range() {
        let mut seed = Seed::new(1);
        for _ in 0..1000 {
            assert!(seed.below(10) < 10);
            let d = seed.between(Duration::from_millis(5), Duration::from_millis(9));
            assert!(d >= Duration::from_millis(5) && d < Duration::from_millis(9));
        }
        assert_eq!(seed.below(0), 0);
    }
}

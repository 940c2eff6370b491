//! Packet counters of a neighbour (RFC 8967 §4.3, RFC 9467 §3.2).

/// The counters accepted so far in one kind of packet: the greatest, and which of those just below it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct CounterWindow {
    greatest: u32,
    /// A set bit is a counter that is not acceptable any more; the lowest bit is the greatest's own.
    spent: u64,
}

/// The counter was accepted before, or is too far behind to tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stale;

impl CounterWindow {
    /// Only what lies above `counter` is acceptable.
    pub(super) fn above(counter: u32) -> Self {
        Self { greatest: counter, spent: u64::MAX }
    }

    /// Accepts a counter, once.
    pub(super) fn accept(&mut self, counter: u32) -> Result<(), Stale> {
        if let Some(ahead) = counter.checked_sub(self.greatest).filter(|ahead| *ahead > 0) {
            self.spent = self.spent.checked_shl(ahead).unwrap_or(0) | 1;
            self.greatest = counter;
            return Ok(());
        }
        let bit = 1_u64.checked_shl(self.greatest - counter).ok_or(Stale)?;
        if self.spent & bit != 0 {
            return Err(Stale);
        }
        self.spent |= bit;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_counter_is_accepted_once_and_late_ones_within_the_window() {
        let mut window = CounterWindow::above(100);
        for (counter, outcome) in [
            (100, Err(Stale)),
            (99, Err(Stale)),
            (101, Ok(())),
            (101, Err(Stale)),
            (105, Ok(())),
            (103, Ok(())),
            (103, Err(Stale)),
            (100, Err(Stale)),
            (105 + 64, Ok(())),
            (105 + 1, Ok(())),
            (105, Err(Stale)),
            (104, Err(Stale)),
            (u32::MAX, Ok(())),
            (169, Err(Stale)),
            (u32::MAX - 63, Ok(())),
            (u32::MAX - 64, Err(Stale)),
            (0, Err(Stale)),
        ] {
            assert_eq!(window.accept(counter), outcome, "{counter}");
        }
    }
}

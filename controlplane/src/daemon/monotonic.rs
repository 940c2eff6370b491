//! The monotonic clock behind the cores' [`Instant`].

#![expect(clippy::disallowed_types, reason = "the driver is where the clock is read")]

use std::time::Duration;

use sixwire_proto::time::Instant;

/// Counts microseconds from its making.
#[derive(Clone, Copy, Debug)]
pub(super) struct Monotonic(std::time::Instant);

impl Monotonic {
    /// A clock that starts now.
    #[must_use]
    pub(super) fn start() -> Self {
        Self(std::time::Instant::now())
    }

    /// The time now.
    #[must_use]
    pub(super) fn now(self) -> Instant {
        Instant(u64::try_from(self.0.elapsed().as_micros()).unwrap_or(u64::MAX))
    }

    /// How long until `deadline`; zero if it has passed.
    #[must_use]
    pub(super) fn until(self, deadline: Instant) -> Duration {
        deadline.since(self.now())
    }

    /// Waits for a deadline; for ever if there is none.
    pub(super) async fn sleep_until(self, deadline: Option<Instant>) {
        match deadline {
            Some(deadline) => tokio::time::sleep(self.until(deadline)).await,
            None => std::future::pending().await,
        }
    }
}

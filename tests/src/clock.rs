//! The laboratory's clock, and the one place where it waits.

use std::time::Duration;

use anyhow::{Result, bail};
use nix::time::{ClockId, clock_gettime};

/// Time since the machine started.
#[must_use]
pub fn now() -> Duration {
    clock_gettime(ClockId::CLOCK_MONOTONIC).expect("Linux has a monotonic clock").into()
}

/// Asks `condition` every 15 ms until it holds; what it returns meanwhile as `Err` is its present state.
///
/// # Errors
/// After `patience`: names `what` was waited for and the last state.
pub fn wait_for<T>(
    what: &str,
    patience: Duration,
    mut condition: impl FnMut() -> Result<T, String>,
) -> Result<T> {
    let deadline = now() + patience;
    loop {
        match condition() {
            Ok(value) => return Ok(value),
            Err(state) if now() >= deadline => {
                bail!("{what}: not within {:.1} s; {state}", patience.as_secs_f64())
            }
            Err(_) => pause(POLL),
        }
    }
}

/// Lets time pass where time itself is the subject (traffic for two seconds), never to wait for an event.
#[expect(clippy::disallowed_methods, reason = "the one place where the laboratory waits")]
pub fn pause(duration: Duration) {
    std::thread::sleep(duration);
}

const POLL: Duration = Duration::from_millis(15);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_condition_that_never_holds_reports_its_last_state() {
        let mut asked = 0;
        let answer = wait_for("rain", Duration::from_millis(40), || {
            asked += 1;
            Err::<(), _>(format!("dry, asked {asked} times"))
        });
        let text = answer.unwrap_err().to_string();
        assert!(asked >= 2 && text.ends_with(&format!("dry, asked {asked} times")), "{text}");
    }

    #[test]
    fn a_condition_is_asked_until_it_holds() {
        let mut left = 3;
        let value = wait_for("three", Duration::from_secs(5), || {
            left -= 1;
            if left == 0 { Ok("now") } else { Err(String::new()) }
        });
        assert_eq!((value.unwrap(), left), ("now", 0));
    }
}

//! `sixwire down`.

use anyhow::bail;

use super::Place;
use super::output::print;
use crate::daemon::api::{Client, DownReport, Request};
use crate::daemon::config::Keys;
use crate::daemon::store::Lock;

/// Has the daemon take everything down, and waits until its process has ended.
pub(super) fn run(place: Place) -> anyhow::Result<()> {
    let config = place.config(Keys::default())?;
    let report: DownReport = Client::new(&config.run_dir).ask(Request::Down)?;
    Lock::wait_until_free(&config.run_dir)?;
    if !report.left_behind.is_empty() {
        bail!("stopped, but not all of it could be removed: {}", report.left_behind.join("; "));
    }
    Ok(print("stopped: routes retracted, tunnels drained and removed\n")?)
}

//! `sixwire up`.

use super::{Place, log};
use crate::daemon::config::Keys;

/// Runs the daemon until it is told to stop.
pub(super) fn run(place: Place, keys: Keys) -> anyhow::Result<()> {
    let config = place.config(keys)?;
    log::start(config.log);
    crate::daemon::run(&config)
}

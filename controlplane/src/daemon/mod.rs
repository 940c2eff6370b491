//! Drivers: sockets, clock, kernel writer, registry client, local API.

use std::path::Path;

pub mod api;
pub mod clock;
pub mod config;
pub mod join;
pub mod registry_client;
pub mod store;

/// Runs the daemon until it is told to stop.
///
/// # Errors
/// What kept it from starting, or ended it.
pub fn run(config: config::Config) -> anyhow::Result<()> {
    anyhow::bail!("cannot run on {}: the daemon is not there yet", config.run_dir.display())
}

/// Runs the embedded WireGuard, which has its control socket in `run_dir`.
///
/// # Errors
/// What kept it from starting.
pub fn wireguard_helper(run_dir: &Path) -> anyhow::Result<()> {
    anyhow::bail!("cannot serve {}: the embedded WireGuard is not there yet", run_dir.display())
}

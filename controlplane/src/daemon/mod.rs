//! Drivers: sockets, clock, kernel writer, registry client, local API.

pub mod api;
mod assembly;
mod babel_socket;
pub mod clock;
pub mod config;
mod echo;
pub mod join;
mod kernel_events;
mod kernel_routes;
mod mac_key;
mod mailbox;
mod members;
mod monotonic;
mod native;
mod neighbourhood;
mod node;
mod offer;
mod recorder;
mod registry;
pub mod registry_client;
mod reporter;
mod requests;
mod roster;
mod routing;
pub mod signalling;
pub mod standalone;
mod startup;
pub mod store;
mod tally;
mod tunnels;
mod underlay;
mod unopened;
mod uplinks;
mod watchers;

/// Runs a node until it is told to end.
///
/// # Errors
/// What keeps it from running, and what to do about it.
pub fn run(config: &config::Config) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async { node::Node::start(config).await?.run().await })
}

/// Runs the embedded WireGuard, which has its control socket in `run_dir`.
///
/// # Errors
/// What kept it from starting.
pub fn wireguard_helper(run_dir: &std::path::Path) -> anyhow::Result<()> {
    Ok(sixwire_dataplane::helper_main(run_dir)?)
}

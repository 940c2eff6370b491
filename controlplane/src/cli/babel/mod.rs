//! `sixwire babel`: the routing engine alone.

mod counters;
mod monitor;
mod neighbours;
mod routes;

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};

use super::log;
use crate::daemon::standalone::{self, Config, Keys};

/// What to do with a routing engine.
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Run in the foreground; SIGTERM retracts the routes and ends it
    Run(Box<Keys>),
    /// The neighbours
    Neighbours(Question),
    /// All routes, the selected and the others
    Routes(Question),
    /// What was done and what was dropped, since the start
    Counters(Question),
    /// What there is, then every change of neighbours and selected routes
    Monitor(Question),
}

/// What is asked of a running engine.
#[derive(Debug, Args)]
pub(super) struct Question {
    /// Socket that the engine was started with
    #[arg(long, value_name = "PATH")]
    socket: PathBuf,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Runs an engine or asks one.
pub(super) fn run(file: Option<&Path>, command: Command) -> anyhow::Result<()> {
    match command {
        Command::Run(keys) => {
            let load = || Config::load(file, Keys::clone(&keys));
            let config = load()?;
            log::start(config.log);
            standalone::run(&config, &load)
        }
        Command::Neighbours(question) => neighbours::run(&question),
        Command::Routes(question) => routes::run(&question),
        Command::Counters(question) => counters::run(&question),
        Command::Monitor(question) => monitor::run(&question),
    }
}

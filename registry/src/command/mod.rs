//! The command line of the operator, one command a file.

mod init;
mod node;
mod parameters;
mod serve;
mod token;
mod ttl;

use std::path::PathBuf;

use clap::{Parser, Subcommand};
use serde::Serialize;
use tracing_subscriber::fmt;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::Error;
use crate::config::{Config, LogFormat, Settings};

/// The registry of a sixwire network: certifies nodes and introduces them to each other.
#[derive(Debug, Parser)]
#[command(name = "sixwire-registry", version)]
pub struct CommandLine {
    /// Configuration file [default: /etc/sixwire/registry.toml, if it is there]
    #[arg(long, global = true, env = "SIXWIRE_REGISTRY_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    settings: Settings,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make a new network: its keys, its database and a TLS certificate
    Init(init::Init),
    /// Serve the nodes
    Serve,
    /// Make, list and revoke join tokens
    #[command(subcommand)]
    Token(token::TokenCommand),
    /// List and revoke nodes
    #[command(subcommand)]
    Node(node::NodeCommand),
    /// Show and change what all nodes agree on
    #[command(subcommand)]
    Parameters(parameters::ParametersCommand),
}

/// Does what the command line says.
///
/// # Errors
/// [`Error`].
pub fn run(line: CommandLine) -> Result<(), Error> {
    let below = Settings::read(line.config.as_deref())?;
    let config = line.settings.over(below).validate()?;
    match line.command {
        Command::Init(init) => init.run(&config.directory),
        Command::Serve => serve::run(config),
        Command::Token(command) => command.run(&config.directory),
        Command::Node(command) => command.run(&config.directory),
        Command::Parameters(command) => command.run(&config.directory),
    }
}

fn start_log(config: Config) -> Config {
    let Config { log, log_format, .. } = config;
    let writer = fmt().with_env_filter(log.clone()).with_writer(std::io::stderr).with_ansi(false);
    // A log that someone else already started stays.
    let _ = match log_format {
        LogFormat::Text => writer.finish().try_init(),
        LogFormat::Json => writer.json().flatten_event(true).finish().try_init(),
    };
    Config { log, ..config }
}

fn print_json(value: &impl Serialize) {
    let text = serde_json::to_string_pretty(value).expect("answers have text keys only");
    println!("{text}");
}

//! The command line. Every command talks to the daemon by its socket, but `join` and `up`.
//!
//! Exit codes: 0 done, 1 failed, 2 wrong usage; `status` has its own: 0 healthy, 1 degraded, 2 down.

mod babel;
mod down;
mod join;
mod log;
mod output;
mod peers;
mod quantity;
mod replay;
mod routes;
mod status;
mod up;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::error::ContextKind;
use clap::{Args, Parser, Subcommand};

use crate::daemon::api::Client;
use crate::daemon::config::{Config, ConfigError, Keys};

/// A stable IPv6 prefix for every machine, over whatever network it has
#[derive(Debug, Parser)]
#[command(name = "sixwire", version, max_term_width = 100)]
struct Cli {
    #[command(flatten)]
    place: Place,
    #[command(subcommand)]
    command: Command,
}

/// Which node of this machine is meant.
#[derive(Clone, Debug, Args)]
struct Place {
    /// Configuration file [default: /etc/sixwire/node.toml, if it is there; with `babel`, none]
    #[arg(long, global = true, env = "SIXWIRE_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where the key, the certificate and the caches lie [default: /var/lib/sixwire]
    #[arg(long, global = true, env = "SIXWIRE_STATE_DIR", value_name = "DIR", help_heading = NODE)]
    state_dir: Option<PathBuf>,
    /// Where the socket of the local API lies [default: /run/sixwire]
    #[arg(long, global = true, env = "SIXWIRE_RUN_DIR", value_name = "DIR", help_heading = NODE)]
    run_dir: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Join a network, with a string from `sixwire-registry token create`
    Join(join::JoinArgs),
    /// Run the daemon in the foreground
    Up(Box<Keys>),
    /// Retract the routes, drain and remove the tunnels, stop the daemon
    Down,
    /// Health at a glance; exit code 0 healthy, 1 degraded, 2 down
    Status(Form),
    /// The links to other nodes
    Peers(Form),
    /// The routing table
    Routes(Form),
    /// The routing engine alone, on given interfaces, without a network to join
    #[command(subcommand)]
    Babel(babel::Command),
    /// Tell a routing engine what a recorded one was told; exit code 1 if it says something else
    Replay {
        /// What `--record` or `--babel-record` wrote.
        file: PathBuf,
    },
    /// Carries packets where the kernel has no WireGuard; started by the daemon
    #[command(hide = true)]
    WireguardHelper {
        /// Where its control socket lies.
        run_dir: PathBuf,
    },
}

/// For whom a report is written.
#[derive(Clone, Copy, Debug, Args)]
struct Form {
    /// Print the report as JSON
    #[arg(long)]
    json: bool,
}

impl Place {
    /// The configuration, with the keys of the command laid over it.
    fn config(self, keys: Keys) -> Result<Config, ConfigError> {
        let over = Keys { state_dir: self.state_dir, run_dir: self.run_dir, ..keys };
        Config::load(self.config.as_deref(), over)
    }

    /// The daemon that runs there.
    fn client(self) -> Result<Client, ConfigError> {
        Ok(Client::new(&self.config(Keys::default())?.run_dir))
    }
}

/// Does what the arguments of this process say.
#[must_use]
pub fn run() -> ExitCode {
    let cli = Cli::try_parse().unwrap_or_else(|usage| {
        let origin = usage.get(ContextKind::InvalidArg).and_then(|argument| {
            variable_of(&argument.to_string(), &std::env::args().collect::<Vec<_>>())
        });
        if let Some(variable) = origin.filter(|name| std::env::var_os(name).is_some()) {
            eprintln!("sixwire: the variable {variable} is wrong:");
        }
        usage.exit()
    });
    execute(cli).unwrap_or_else(|error| {
        output::complain(&error);
        ExitCode::FAILURE
    })
}

/// The variable that stands for a flag, described as clap does, unless the flag itself was given.
fn variable_of(flag: &str, given: &[String]) -> Option<String> {
    let name = flag.strip_prefix("--")?.split(['=', ' ', '[']).next()?;
    let itself = |argument: &String| argument.split('=').next() == Some(&format!("--{name}"));
    let variable = format!("SIXWIRE_{}", name.replace('-', "_").to_uppercase());
    (!given.iter().any(itself)).then_some(variable)
}

fn execute(Cli { place, command }: Cli) -> anyhow::Result<ExitCode> {
    match command {
        Command::Join(arguments) => join::run(place, &arguments)?,
        Command::Up(keys) => up::run(place, *keys)?,
        Command::Down => down::run(place)?,
        Command::Status(form) => return Ok(status::run(place, form)),
        Command::Peers(form) => peers::run(place, form)?,
        Command::Routes(form) => routes::run(place, form)?,
        Command::Babel(command) => babel::run(place.config.as_deref(), command)?,
        Command::Replay { file } => return replay::run(&file),
        Command::WireguardHelper { run_dir } => crate::daemon::wireguard_helper(&run_dir)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Over the options that mean nothing to a routing engine alone.
const NODE: &str = "Places of a node (not with `babel`)";

#[cfg(test)]
mod tests;

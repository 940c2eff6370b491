//! `sixwire-registry`: the registry and its command line.

use std::process::ExitCode;

use clap::Parser as _;
use sixwire_registry::command::{self, CommandLine};

fn main() -> ExitCode {
    match command::run(CommandLine::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("sixwire-registry: {error}");
            ExitCode::FAILURE
        }
    }
}

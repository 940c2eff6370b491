//! `sixwire-demo`: see `scripts/demo`.

use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;
use sixwire_tests::demo::{Afterwards, Format, Options, run};
use sixwire_tests::lab::{self, Plane};

/// Shows a network of sixwire nodes on this machine, and checks what it shows
#[derive(Parser)]
#[command(name = "demo")]
struct Arguments {
    /// How many nodes; two of them are behind NAT
    #[arg(long, default_value_t = 6, value_name = "N")]
    nodes: usize,
    /// Leave the network running, and say how to look inside
    #[arg(long)]
    keep: bool,
    /// Use the kernel's WireGuard
    #[arg(long)]
    kernel: bool,
    /// Print one JSON document instead
    #[arg(long)]
    json: bool,
    /// Only remove what --keep or a killed run left
    #[arg(long)]
    clean: bool,
}

fn main() -> ExitCode {
    match show(&Arguments::parse()) {
        Ok(status) => status,
        Err(error) => {
            eprintln!("demo: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn show(arguments: &Arguments) -> Result<ExitCode> {
    if arguments.clean {
        for tag in lab::clean()? {
            println!("removed {tag}");
        }
        return Ok(ExitCode::SUCCESS);
    }
    lab::remove_on_interrupt()?;
    let report = run(Options {
        nodes: arguments.nodes,
        plane: if arguments.kernel { Plane::Kernel } else { Plane::Auto },
        afterwards: if arguments.keep { Afterwards::Keep } else { Afterwards::Remove },
        format: if arguments.json { Format::Json } else { Format::People },
    })?;
    Ok(if report.held { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

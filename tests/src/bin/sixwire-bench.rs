//! `sixwire-bench`: see `scripts/bench`.

use anyhow::{Context, Result};
use clap::Parser;
use sixwire_tests::bench::{ALL, Beside, Options, publish};
use sixwire_tests::lab::{self, Plane};

/// Measures sixwire against a baseline; without a name, lists what can be measured
#[derive(Parser)]
#[command(name = "bench")]
struct Arguments {
    /// Use the kernel's WireGuard
    #[arg(long)]
    kernel: bool,
    /// How often; the median counts
    #[arg(long, default_value_t = 1)]
    runs: usize,
    /// Ours only, without those it is compared with
    #[arg(long)]
    alone: bool,
    /// Which benchmark
    name: Vec<String>,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    if arguments.name.is_empty() {
        for (name, what, _) in ALL {
            println!("{name:10} {what}");
        }
        return Ok(());
    }
    let name = arguments.name.join(" ");
    let benchmark = ALL.iter().find(|(known, _, _)| *known == name);
    let (_, _, run) = benchmark.with_context(|| format!("there is no benchmark {name}"))?;
    lab::remove_on_interrupt()?;
    let plane = if arguments.kernel { Plane::Kernel } else { Plane::Auto };
    let beside = if arguments.alone { Beside::Nobody } else { Beside::Anchors };
    let path = publish(&name, &run(&Options { plane, runs: arguments.runs.max(1), beside })?)?;
    println!("{}", path.display());
    Ok(())
}

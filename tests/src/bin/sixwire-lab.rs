//! `sixwire-lab`: enters a lab's namespace and becomes a program; removes labs.

use std::convert::Infallible;
use std::ffi::OsString;
use std::path::PathBuf;

use anyhow::Result;
use clap::Parser;
use nix::sys::signal::Signal;
use sixwire_tests::lab;

#[derive(Parser)]
#[command(about = "The laboratory's launcher")]
enum Command {
    /// Become a program inside a network namespace, with another directory as /run
    Enter {
        /// File of the network namespace
        namespace: PathBuf,
        /// Directory to take as /run
        run: PathBuf,
        /// End when the thread that started this ends
        #[arg(long)]
        die_with_parent: bool,
        /// The program and its arguments
        #[arg(last = true, required = true)]
        program: Vec<OsString>,
    },
    /// Remove every lab whose owner is gone, kept ones too
    Clean,
}

fn main() -> Result<()> {
    match Command::parse() {
        Command::Enter { namespace, run, die_with_parent, program } => {
            let die_with = die_with_parent.then_some(Signal::SIGKILL);
            let never: Infallible = lab::enter(&namespace, &run, die_with, &program)?;
            match never {}
        }
        Command::Clean => {
            for tag in lab::clean()? {
                println!("removed {tag}");
            }
            Ok(())
        }
    }
}

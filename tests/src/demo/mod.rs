//! The demonstration: a network is made, measured, damaged and healed, and every claim is checked.

mod acts;
mod report;
mod screen;

use anyhow::{Result, ensure};

use crate::lab::{Lab, Plane, target_directory};
use crate::network::Plan;

use self::acts::Stage;
pub use report::{Check, NodeRow, Report};
pub use screen::{Format, Screen};

/// What to show.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Nodes, two of them behind NAT.
    pub nodes: usize,
    /// What carries the tunnels.
    pub plane: Plane,
    /// What becomes of the network afterwards.
    pub afterwards: Afterwards,
    /// How to print.
    pub format: Format,
}

/// What becomes of the network after the demonstration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Afterwards {
    /// It is removed.
    Remove,
    /// It runs on, until `scripts/demo --clean`.
    Keep,
}

/// Runs the demonstration. A claim that does not hold ends it; the report says which.
///
/// # Errors
/// When the laboratory itself fails, or no network comes about to show anything on.
pub fn run(options: Options) -> Result<Report> {
    ensure!((MINIMUM..=MAXIMUM).contains(&options.nodes), "between {MINIMUM} and {MAXIMUM} nodes");
    let mut lab = Lab::new()?;
    if options.afterwards == Afterwards::Keep {
        lab.keep()?;
    }
    let screen = Screen::new(options.format);
    screen.title(options.nodes);
    let (logs, directory) = (target_directory().join("demo"), lab.directory().to_owned());
    let plan = Plan { nodes: options.nodes, behind_nat: BEHIND_NAT, plane: options.plane };
    let mut stage = Stage::open(lab, plan, screen)?;
    let report = stage.play();
    stage.network.lab.save_logs(&logs)?;
    screen.verdict(&report, &logs);
    match options.afterwards {
        Afterwards::Keep => {
            screen.kept(&stage.network);
            stage.network.release();
        }
        Afterwards::Remove => {
            drop(stage);
            ensure!(!directory.exists(), "the lab was not removed: {}", directory.display());
        }
    }
    Ok(report)
}

/// Two behind NAT, and two ways between the others.
const MINIMUM: usize = 5;
/// All pairs are pinged, and the pinger has a limit.
const MAXIMUM: usize = 40;
/// Nodes behind the masquerading gateway.
const BEHIND_NAT: usize = 2;

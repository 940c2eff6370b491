//! How fast a network comes up, heals, and what it costs, against the same mesh made by hand.

use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::baseline::{Baseline, NAME};
use super::{Measurement, Options};
use crate::clock::{now, wait_for};
use crate::lab::{Lab, Plane};
use crate::network::{Network, Plan};
use crate::ping::{Flow, Pinger};

/// What one run of either contestant gave.
#[derive(Clone, Copy, Debug)]
pub(super) struct Figures {
    pub(super) reach: f64,
    pub(super) reroute: f64,
    pub(super) lost: f64,
    /// Of one node, mean, all its processes, MiB.
    pub(super) memory: f64,
}

pub(super) fn run(options: &Options) -> Result<Vec<Measurement>> {
    let plane = options.plane;
    let (ours, theirs) = (ours(plane)?, Baseline::new(plane)?.measure()?);
    Ok(vec![
        Measurement::against("all pairs reachable", "s", ours.reach, (NAME, theirs.reach)),
        Measurement::against("reroute", "s", ours.reroute, (NAME, theirs.reroute)),
        Measurement::against("pings lost, of 50 a second", "pings", ours.lost, (NAME, theirs.lost)),
        Measurement::against("memory of a node", "MiB", ours.memory, (NAME, theirs.memory)),
    ])
}

fn ours(plane: Plane) -> Result<Figures> {
    let plan = Plan { nodes: NODES, behind_nat: 2, plane };
    let mut network = Network::join(Lab::new()?, plan)?;
    let started = network.up()?;
    let reach = network.wait_reachable(PATIENCE)?.saturating_sub(started);
    let spaces: Vec<_> = network.nodes.iter().map(|node| node.host.namespace.clone()).collect();
    let memory = super::baseline::memory(&spaces)?;
    let link = network.link_in_use()?;
    let [from, to] = [link.from, link.to].map(|index| network.nodes.get(index));
    let (from, to) = from.zip(to).context("a link has two nodes")?;
    let flow = network.flow(link.from, link.to).context("both ends are up")?;
    let (reroute, lost) = interrupt(flow, || network.underlay.cut(&from.host, &to.host))?;
    Ok(Figures { reach: reach.as_secs_f64(), reroute, lost, memory })
}

/// Pings 50 times a second while `cut` happens: seconds without answers, and pings lost.
pub(super) fn interrupt(flow: Flow, cut: impl FnOnce() -> Result<()>) -> Result<(f64, f64)> {
    let pinger = Pinger::start(&[flow], Duration::from_millis(20))?;
    let steady = |from: Duration| {
        wait_for("pings to flow", PATIENCE, || {
            let records = pinger.records();
            let run = records.first().map_or(0, |record| record.since(from).run_of_answers());
            if run >= 50 { Ok(()) } else { Err(format!("{run} answers in a row")) }
        })
    };
    steady(Duration::ZERO)?;
    cut()?;
    let from = now();
    steady(from)?;
    let record = pinger.stop().remove(0).since(from);
    ensure!(record.lost() > 0, "the cut tunnel was not in use");
    let lost = u32::try_from(record.lost()).context("a short run")?;
    Ok((record.longest_gap().as_secs_f64(), f64::from(lost)))
}

pub(super) const NODES: usize = 6;
/// Stock timers are slow.
pub(super) const PATIENCE: Duration = Duration::from_secs(120);

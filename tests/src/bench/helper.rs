//! The process of the embedded WireGuard is killed, over and over: how long until packets pass again, and until
//! `status` says what happened.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};

use super::{Figure, Measurement, Options, compare};
use crate::clock::{now, pause, wait_for};
use crate::lab::{Lab, Node, Plane};
use crate::network::{Network, Plan};
use crate::ping::Pinger;

pub(super) fn run(options: &Options) -> Result<Vec<Measurement>> {
    // The kernel's WireGuard has no process to kill.
    let plan = Plan { nodes: 2, behind_nat: 0, plane: Plane::Embedded };
    let mut network = Network::join(Lab::new()?, plan)?;
    network.up()?;
    network.wait_reachable(PATIENCE)?;
    let mut runs = Vec::new();
    for time in 1..=TIMES * options.runs {
        let figures = once(&mut network, u64::try_from(time)?)?;
        for Figure { metric, unit, value, load } in &figures {
            eprintln!("{time}: {metric}: {value:.3} {unit} (load {load})");
        }
        runs.push(figures);
    }
    let mut longest = Vec::new();
    for Figure { metric, .. } in runs.first().context("it was done")? {
        let all = runs.iter().flatten().filter(|figure| figure.metric == *metric);
        let most = all.map(|figure| figure.value).fold(0.0, f64::max);
        longest.push(Measurement::alone(&format!("{metric}, longest"), "s", most));
    }
    let mut rows = compare(&[("sixwire", runs)])?;
    rows.extend(longest);
    Ok(rows)
}

/// Kills it for the so-manieth time.
fn once(network: &mut Network, time: u64) -> Result<Vec<Figure>> {
    let flow = network.flow(0, 1).context("both nodes are up")?;
    let pinger = Pinger::start(&[flow], PACE)?;
    flows(&pinger, Duration::ZERO)?;
    // One that ends soon after its start is started again ever later.
    pause(LIFE);
    let node = network.node(0)?;
    let killed = now();
    kill_helper(node)?;
    let told = wait_for("`status` to say so", PATIENCE, || {
        let status = node.status().map_err(|error| format!("{error:#}"))?;
        match status.tunnels.helper {
            Some(helper) if helper.restarts == time && helper.last_restart_s.is_some() => Ok(now()),
            other => Err(format!("{other:?}")),
        }
    })?;
    flows(&pinger, killed)?;
    let first = pinger.stop().remove(0).since(killed).first_answer();
    let first = first.context("pings flow")?;
    let figure = |what: &str, at: Duration| {
        Figure::taken(&format!("helper killed: {what}"), "s", (at - killed).as_secs_f64())
    };
    Ok(vec![figure("a ping passes", first), figure("`status` says so", told)])
}

/// Waits for a quarter of a second of answers in a row to pings sent after `from`.
fn flows(pinger: &Pinger, from: Duration) -> Result<()> {
    wait_for("pings to flow", PATIENCE, || {
        let run = pinger.records().first().map_or(0, |record| record.since(from).run_of_answers());
        if run >= 25 { Ok(()) } else { Err(format!("{run} answers in a row")) }
    })
}

fn kill_helper(node: &Node) -> Result<()> {
    for pid in node.host.namespace.processes()? {
        // It may be one that has just ended.
        let words = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        if words.split(|octet| *octet == 0).any(|word| word == b"wireguard-helper") {
            return Ok(kill(pid, Signal::SIGKILL)?);
        }
    }
    bail!("{} has no helper", node.name)
}

const TIMES: usize = 10;
/// More than the five seconds after which an end counts as the first again.
const LIFE: Duration = Duration::from_secs(6);
const PACE: Duration = Duration::from_millis(10);
const PATIENCE: Duration = Duration::from_secs(60);

//! Three nodes in a row: the daemon of the one that forwards is stopped, killed, restarted and upgraded, and the
//! network's parameters change.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::Value;

use super::{Outcome, PATIENCE, TIMES, under_load};
use crate::bench::chain::Members;
use crate::clock::{pause, wait_for};
use crate::lab::{Lab, Node, Plane, binary, run as run_command};

pub(super) fn run(lab: &mut Lab, plane: Plane) -> Result<Vec<Outcome>> {
    let mut members = Members::join(lab, "d", plane)?;
    set(&members, &[format!("refresh_interval_s={LEAST_REFRESH}")])?;
    members.up()?;
    let flows = members.flows()?;
    let mut outcomes = Vec::new();
    let mut event = |name, times, happen: &mut dyn FnMut(usize) -> Result<()>| -> Result<()> {
        outcomes.push(under_load(&flows[1..], (name, times), happen)?);
        Ok(())
    };
    event("daemon stopped, then started", TIMES, &mut |time| {
        members.middle().stop()?;
        // Nobody is there for as long as a service manager waits.
        pause(ABSENCE);
        back(&mut members)?;
        settle(time);
        Ok(())
    })?;
    event("daemon killed, then started", TIMES, &mut |time| {
        members.middle().kill()?;
        pause(ABSENCE);
        back(&mut members)?;
        settle(time);
        Ok(())
    })?;
    event("daemon restarted", TIMES, &mut |_| {
        members.middle().stop()?;
        back(&mut members)
    })?;
    let copies = [lab.directory().join("sixwire.1"), lab.directory().join("sixwire.2")];
    event("daemon upgraded", TIMES, &mut |time| {
        let copy = &copies[time % 2];
        // A new file, as a package manager puts it in the place of the old one.
        let fresh = copy.with_extension("new");
        fs::copy(binary("sixwire"), &fresh)?;
        fs::rename(&fresh, copy)?;
        members.middle().install(copy.clone());
        members.middle().stop()?;
        back(&mut members)
    })?;
    event("parameters change", PARAMETER_TIMES, &mut |time| {
        let (dialled, hello) = if time % 2 == 0 { (9, 900) } else { (10, 1000) };
        let changes = [format!("dialled_tunnels={dialled}"), format!("hello_interval_ms={hello}")];
        set(&members, &changes)?;
        wait_epoch(&members)
    })?;
    Ok(outcomes)
}

/// Starts the middle daemon, and waits until it has its neighbours again.
fn back(members: &mut Members) -> Result<()> {
    members.middle().up()?;
    members.wait_neighbours(1).map(drop)
}

/// The last time, watches for as long as a daemon may take to make up its mind about what it has adopted.
fn settle(time: usize) {
    if time + 1 == TIMES {
        pause(AFTERMATH);
    }
}

fn set(members: &Members, changes: &[String]) -> Result<()> {
    let mut command = members.registry.command(&["parameters", "set"]);
    run_command(command.args(changes)).map(drop)
}

/// Waits until every node has the registry's newest state.
fn wait_epoch(members: &Members) -> Result<()> {
    let shown = run_command(&mut members.registry.command(&["parameters", "show", "--json"]))?;
    let shown: Value = serde_json::from_str(&shown)?;
    let newest = shown.get("epoch").and_then(Value::as_u64).context("an epoch")?;
    for node in &members.chain.nodes {
        wait_for("the network's new state", PATIENCE, || {
            let epoch = epoch(node).map_err(|error| format!("{error:#}"))?;
            if epoch >= newest { Ok(()) } else { Err(format!("epoch {epoch}, not {newest}")) }
        })?;
    }
    Ok(())
}

fn epoch(node: &Node) -> Result<u64> {
    let output = node.command(&["status", "--json", "--run-dir", "/run/sixwire"]).output()?;
    let status: Value = serde_json::from_slice(&output.stdout)?;
    let epoch = status.pointer("/network/epoch").and_then(Value::as_u64);
    epoch.with_context(|| format!("no epoch in {status}"))
}

/// How long nobody is there.
const ABSENCE: Duration = Duration::from_millis(500);
const AFTERMATH: Duration = Duration::from_secs(20);
/// Seconds between two questions to the registry, the least allowed.
const LEAST_REFRESH: u32 = 10;
/// Each takes up to that long.
const PARAMETER_TIMES: usize = 5;

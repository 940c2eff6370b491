//! From `sixwire up` on a node that has joined to its first ping: to a neighbour, and through it to another.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};

use super::chain::{Members, PATIENCE};
use super::{Figure, Measurement, Options, compare_within_runs};
use crate::clock::{now, wait_for};
use crate::lab::{Lab, Node, run as run_command};
use crate::ping::{Flow, Pinger, Record};

pub(super) fn run(options: &Options) -> Result<Vec<Measurement>> {
    let mut lab = Lab::new()?;
    let mut members = Members::join(&mut lab, "u", options.plane)?;
    members.up()?;
    let flows = members.flows()?.map(|flow| Flow { source: None, ..flow });
    let mut runs = Vec::new();
    for time in 0..TIMES * options.runs {
        let mut run = Vec::new();
        for (title, cache) in [("first up", Cache::Lost), ("up again", Cache::Kept)] {
            members.wait_neighbours(0)?;
            let node = &mut members.chain.nodes[0];
            down(node)?;
            if cache == Cache::Lost {
                // It may not have been written yet.
                let _ = fs::remove_file(node.state_directory().join("peers.json"));
            }
            let answers = answers(node, &flows)?;
            for (what, took) in ["direct", "through a transit node"].iter().zip(answers) {
                let metric = format!("{title}: first ping, {what}");
                eprintln!("{time}: {metric}: {took:.3} s");
                run.push(Figure::taken(&metric, "s", took));
            }
        }
        runs.push(run);
    }
    let mut longest = Vec::new();
    for Figure { metric, .. } in runs.first().context("it was done")? {
        let all = runs.iter().flatten().filter(|figure| figure.metric == *metric);
        let most = all.map(|figure| figure.value).fold(0.0, f64::max);
        longest.push(Measurement::alone(&format!("{metric}, longest"), "s", most));
    }
    let mut rows = compare_within_runs(&[("sixwire", runs)])?;
    rows.extend(longest);
    Ok(rows)
}

/// Whether the node knows its peers from an earlier run.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Cache {
    Kept,
    Lost,
}

/// Starts a node, and says after how many seconds each flow had its first answer.
fn answers(node: &mut Node, flows: &[Flow]) -> Result<Vec<f64>> {
    let pinger = Pinger::start(flows, PACE)?;
    let begin = now();
    node.up()?;
    let answered = wait_for("the first pings", PATIENCE, || {
        let records = pinger.records();
        let first: Option<Vec<_>> = records.iter().map(Record::first_answer).collect();
        first.ok_or_else(|| "not all were answered".to_owned())
    });
    let _ = pinger.stop();
    Ok(answered?.iter().map(|at| at.saturating_sub(begin).as_secs_f64()).collect())
}

/// Takes a node out of the network.
fn down(node: &mut Node) -> Result<()> {
    run_command(&mut node.command(&["down", "--run-dir", "/run/sixwire"]))?;
    node.daemon()?.wait(PATIENCE)?;
    // It has ended; this forgets it.
    node.kill()?;
    wait_for("tunnels to vanish", PATIENCE, || match node.tunnel_interfaces() {
        Ok(left) if left.is_empty() => Ok(()),
        left => Err(format!("{left:?}")),
    })
}

const TIMES: usize = 10;
const PACE: Duration = Duration::from_millis(5);

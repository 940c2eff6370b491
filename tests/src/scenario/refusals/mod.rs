//! What must be refused: with a reason in words, a counter, a line in the log, and nothing changed.

mod noise;
mod papers;
mod start;
mod states;
mod strangers;

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::PATIENCE;
use crate::clock::wait_for;
use crate::lab::{Node, Peer, Route};
use crate::network::Network;

pub use noise::{hostile_babel_neighbour_changes_nothing, noise_on_the_signalling_port_is_ignored};
pub use start::{
    joins_that_cannot_be_say_what_to_do, machines_that_lack_something_say_so_and_work,
    starts_that_cannot_be_say_what_to_do,
};
pub use states::{
    revocation_ends_the_tunnel_of_the_revoked_alone, states_that_do_not_hold_change_nothing,
};
pub use strangers::strangers_are_refused_by_reason;

/// What a daemon said of itself at one moment, to be compared with later.
pub(super) struct Witness {
    log: PathBuf,
    log_length: usize,
    counters: BTreeMap<String, u64>,
    standing: Standing,
}

/// What nothing hostile may change.
#[derive(Debug, PartialEq, Eq)]
struct Standing {
    epoch: u64,
    routes: Vec<(String, String, String)>,
    tunnels: Vec<(String, String, String)>,
}

impl Witness {
    /// Asks the first node.
    pub(super) fn call(network: &Network) -> Result<Self> {
        let node = network.nodes.first().context("there is a first node")?;
        let log = network.lab.directory().join(format!("{}.log", node.name));
        let log_length = std::fs::read(&log)?.len();
        let (counters, standing) = (counters(node)?, Standing::of(node)?);
        Ok(Self { log, log_length, counters, standing })
    }

    /// Waits until `counter` has grown and a new line of the log has `reason`, and compares the rest.
    pub(super) fn saw(&self, network: &Network, counter: &str, reason: &str) -> Result<()> {
        self.counted(network, counter)?;
        wait_for(&format!("a line with {reason:?}"), PATIENCE, || {
            let lines = self.new_lines().map_err(|error| format!("{error:#}"))?;
            if lines.iter().any(|line| line.contains(reason)) {
                return Ok(());
            }
            Err(lines.join("\n"))
        })?;
        self.unchanged(network)
    }

    /// Waits until `counter` has grown.
    pub(super) fn counted(&self, network: &Network, counter: &str) -> Result<()> {
        let node = network.nodes.first().context("there is a first node")?;
        let before = self.counters.get(counter).copied().unwrap_or(0);
        wait_for(&format!("counter {counter} beyond {before}"), PATIENCE, || {
            let counters = counters(node).map_err(|error| format!("{error:#}"))?;
            let grown = counters.get(counter).is_some_and(|now| *now > before);
            if grown { Ok(()) } else { Err(format!("{counters:?}")) }
        })
    }

    /// Compares epoch, routes and tunnels.
    pub(super) fn unchanged(&self, network: &Network) -> Result<()> {
        let node = network.nodes.first().context("there is a first node")?;
        let now = Standing::of(node)?;
        ensure!(now == self.standing, "before: {:#?}\nnow: {now:#?}", self.standing);
        Ok(())
    }

    /// Compares the tunnels alone.
    pub(super) fn same_tunnels(&self, network: &Network) -> Result<()> {
        let node = network.nodes.first().context("there is a first node")?;
        let now = Standing::of(node)?.tunnels;
        let (before, now) = (interfaces(&self.standing.tunnels), interfaces(&now));
        ensure!(before == now, "before: {before:?}, now: {now:?}");
        let text = std::fs::read_to_string(&self.log)?;
        ensure!(!text.contains("revoked"), "an innocent was revoked: {text}");
        Ok(())
    }

    /// What was logged since.
    pub(super) fn new_lines(&self) -> Result<Vec<String>> {
        let text = std::fs::read(&self.log)?;
        let text = String::from_utf8_lossy(text.get(self.log_length..).unwrap_or_default());
        Ok(text.lines().map(str::to_owned).collect())
    }
}

impl Standing {
    fn of(node: &Node) -> Result<Self> {
        let status = status(node)?;
        let epoch = status["network"]["epoch"].as_u64().context("a status tells the epoch")?;
        let route = |r: Route| (r.destination, r.router_id, r.interface);
        let tunnel = |p: Peer| (p.router_id, p.interface, p.state);
        let mut routes: Vec<_> = node.routes()?.into_iter().map(route).collect();
        let tunnels = node.peers()?.into_iter().filter(|peer| peer.role != "native");
        let mut tunnels: Vec<_> = tunnels.map(tunnel).collect();
        routes.sort();
        tunnels.sort();
        Ok(Self { epoch, routes, tunnels })
    }
}

fn interfaces(tunnels: &[(String, String, String)]) -> Vec<&str> {
    tunnels.iter().map(|(_, interface, _)| interface.as_str()).collect()
}

fn status(node: &Node) -> Result<Value> {
    let output = node.command(&["status", "--json", "--run-dir", "/run/sixwire"]).output()?;
    serde_json::from_slice(&output.stdout)
        .with_context(|| String::from_utf8_lossy(&output.stderr).into_owned())
}

/// The counters of `status`, by name.
pub(super) fn counters(node: &Node) -> Result<BTreeMap<String, u64>> {
    let status = status(node)?;
    let counters = status["counters"].as_array().context("a status has counters")?;
    let pair = |one: &Value| Some((one["label"].as_str()?.to_owned(), one["value"].as_u64()?));
    Ok(counters.iter().filter_map(pair).collect())
}

/// Starts the nodes, and waits until each has its tunnels up and its routes.
fn settle(network: &mut Network) -> Result<()> {
    super::reach(network)?;
    let others = network.nodes.len() - 1;
    for node in &network.nodes {
        wait_for(&format!("{} to settle", node.name), PATIENCE, || {
            let peers = node.peers().map_err(|error| format!("{error:#}"))?;
            let routes = node.routes().map_err(|error| format!("{error:#}"))?;
            let up = peers.iter().filter(|peer| peer.state == "up").count();
            if up == others && routes.len() == others {
                return Ok(());
            }
            Err(format!("{peers:?} {routes:?}"))
        })?;
    }
    Ok(())
}

//! What the demonstration found.

use serde::Serialize;

/// Everything the demonstration found, for machines.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    /// The shape of this document: 1.
    pub schema: u32,
    /// Whether every check held.
    pub held: bool,
    /// The claims, in the order they were checked.
    pub checks: Vec<Check>,
    /// The nodes.
    pub nodes: Vec<NodeRow>,
    /// Round-trip times, rows from, columns to.
    pub round_trip_ms: Vec<Vec<Option<f64>>>,
}

/// A claim and what came of it.
#[derive(Clone, Debug, Serialize)]
pub struct Check {
    /// The claim.
    pub claim: String,
    /// Whether it held.
    pub held: bool,
    /// The figures, or why it did not hold.
    pub detail: String,
    /// The main figure.
    pub seconds: Option<f64>,
    /// Pings lost meanwhile.
    pub lost: Option<usize>,
}

/// A node as the tables show it.
#[derive(Clone, Debug, Serialize)]
pub struct NodeRow {
    /// Its name.
    pub name: String,
    /// Its address on the underlay, and the gateway's where that is another.
    pub underlay: String,
    /// Its address in the network.
    pub address: String,
    /// What carries its tunnels.
    pub wireguard: String,
    /// Tunnels it dialled.
    pub dialled: usize,
    /// Tunnels it served.
    pub served: usize,
    /// Routes in its kernel.
    pub routes: usize,
    /// The agent's resident memory, MiB.
    pub memory_mib: f64,
}

impl Check {
    /// A claim that held.
    #[must_use]
    pub fn held(claim: &str, detail: String) -> Self {
        Self { claim: claim.to_owned(), held: true, detail, seconds: None, lost: None }
    }

    /// A claim that did not hold.
    #[must_use]
    pub fn failed(claim: &str, why: &anyhow::Error) -> Self {
        let detail = format!("{why:#}");
        Self { claim: claim.to_owned(), held: false, detail, seconds: None, lost: None }
    }
}

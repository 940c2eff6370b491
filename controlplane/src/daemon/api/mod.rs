//! The local API: `RUN_DIR/api.sock`, mode 0600. A client writes one line of JSON, gets one line of
//! JSON, and the connection ends.
//!
//! ```text
//! {"schema":1,"request":"status"}
//! {"schema":1,"health":"healthy", ...}
//! ```
//!
//! A line that is not understood gets `{"schema":1,"error":"..."}`.

pub mod client;
pub mod report;
pub mod server;

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

pub use client::{Client, ClientError};
pub use report::{DownReport, PeersReport, Report, RoutesReport, Schema, StatusReport};
pub use server::{Query, Server};

/// What a client may ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Request {
    /// Health at a glance: a [`StatusReport`].
    Status,
    /// The tunnels and other links: a [`PeersReport`].
    Peers,
    /// The routing table: a [`RoutesReport`].
    Routes,
    /// Retract, drain, remove and end: a [`DownReport`] once all of it is done.
    Down,
}

/// The line of a client.
#[derive(Debug, Serialize, Deserialize)]
struct RequestLine {
    schema: Schema,
    request: Request,
}

/// The line that is not a report.
#[derive(Debug, Serialize, Deserialize)]
struct ErrorLine {
    schema: Schema,
    error: String,
}

/// Longest request, in octets.
const REQUEST_LIMIT: u64 = 4096;
/// Longest answer, in octets: a hundred thousand routes, with room.
const ANSWER_LIMIT: u64 = 64 * 1024 * 1024;

/// Where the socket lies.
#[must_use]
pub fn socket_path(run_dir: &Path) -> PathBuf {
    run_dir.join("api.sock")
}

#[cfg(test)]
mod tests;

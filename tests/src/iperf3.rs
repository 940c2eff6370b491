//! What `iperf3` sends to.

use std::fs;
use std::time::Duration;

use anyhow::Result;

use crate::clock::wait_for;
use crate::lab::{Lab, Namespace, Process};

/// A server on `at` that listens, and serves one measurement: one that serves on is busy with the last for a moment.
///
/// # Errors
/// When it does not start, or does not listen within two minutes.
pub fn serve(lab: &Lab, at: &Namespace) -> Result<Process> {
    let log = lab.directory().join("iperf3.log");
    let server = Process::start(at.command("iperf3").args(["--server", "--one-off"]), &log)?;
    wait_for("iperf3 to listen", PATIENCE, || {
        let read = || {
            let read = |table| fs::read_to_string(format!("/proc/thread-self/net/{table}"));
            read("tcp6").and_then(|more| Ok(read("tcp")? + &more))
        };
        let table = at.within(read).map_err(|error| format!("{error:#}"))?;
        let table = table.map_err(|error| error.to_string())?;
        // Local port and the state LISTEN.
        let listens = |line: &str| {
            let mut fields = line.split_whitespace();
            let local = fields.nth(1).unwrap_or_default().to_owned();
            local.ends_with(PORT) && fields.nth(1) == Some("0A")
        };
        if table.lines().any(listens) { Ok(()) } else { Err("it does not".to_owned()) }
    })?;
    Ok(server)
}

/// 5201, as `/proc/net/tcp` writes it.
const PORT: &str = ":1451";
const PATIENCE: Duration = Duration::from_secs(120);

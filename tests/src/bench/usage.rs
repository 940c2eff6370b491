//! What processes use.

use std::fs;

use anyhow::{Context, Result};
use nix::unistd::Pid;

/// Processor time of a process, seconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Processor {
    /// In its own code.
    pub(super) user: f64,
    /// In the kernel, on its behalf.
    pub(super) kernel: f64,
}

impl Processor {
    /// All of it.
    pub(super) fn sum(self) -> f64 {
        self.user + self.kernel
    }
}

/// What a process has used since its start.
pub(super) fn processor(pid: Pid) -> Result<Processor> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The name in brackets may hold anything; utime and stime are the 12th and 13th field behind it.
    let (_, fields) = stat.rsplit_once(')').context("a process has a name")?;
    let mut ticks = fields.split_whitespace().skip(11).map(str::parse::<f64>);
    let mut next =
        || -> Result<f64> { Ok(ticks.next().context("a process has times")?? / TICKS_PER_SECOND) };
    Ok(Processor { user: next()?, kernel: next()? })
}

/// Resident memory of a process, MiB.
pub(super) fn resident(pid: Pid) -> Result<f64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let row = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let size = row.and_then(|row| row.split_whitespace().next()).context("it has memory")?;
    Ok(size.parse::<f64>()? / 1024.0)
}

/// `USER_HZ`, the same on every Linux.
pub(super) const TICKS_PER_SECOND: f64 = 100.0;

//! Loads a path with packets, and says what came through and what it cost.

use std::fs;
use std::net::IpAddr;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::bench::usage::TICKS_PER_SECOND;
use crate::iperf3;
use crate::lab::{Lab, Namespace, run};

/// From one machine to an address of another, by way of a contestant's tunnels.
pub(super) struct Path<'a> {
    pub(super) from: &'a Namespace,
    pub(super) to: &'a Namespace,
    pub(super) address: IpAddr,
}

/// What a load is.
#[derive(Clone, Copy, Debug)]
pub(super) enum Load {
    /// As many TCP connections.
    Tcp(usize),
    /// Datagrams of this many octets, as fast as one sender can.
    Udp(usize),
}

/// What came through.
#[derive(Clone, Copy, Debug)]
pub(super) struct Carried {
    pub(super) mbit_per_second: f64,
    /// Processor seconds for each gigabit.
    pub(super) cost: f64,
}

/// Whose processor time counts.
#[derive(Clone, Debug)]
pub(super) enum Meter {
    /// All that happens on the machine: kernel threads encrypt, too, and nothing else runs.
    Machine,
    /// All processes of these namespaces that are no part of the measurement.
    Processes(Vec<Namespace>),
}

impl Path<'_> {
    /// Sends for some seconds.
    pub(super) fn carry(&self, lab: &Lab, load: Load, meter: &Meter) -> Result<Carried> {
        let mut server = iperf3::serve(lab, self.to)?;
        let mut client = self.from.command("iperf3");
        client.args(["--json", "--time", SECONDS, "--client", &self.address.to_string()]);
        match load {
            Load::Tcp(flows) => client.args(["--parallel", &flows.to_string()]),
            Load::Udp(size) => {
                client.args(["--udp", "--bitrate", "0", "--length", &size.to_string()])
            }
        };
        let before = meter.seconds()?;
        let report = run(&mut client)?;
        let used = meter.seconds()? - before;
        // Its socket is free before the next begins.
        server.wait(PATIENCE)?;
        let report: Value = serde_json::from_str(&report).context("a report of iperf3")?;
        let (rate, octets) = received(&report).context("iperf3 reports what was received")?;
        ensure!(octets > 0.0, "nothing came through");
        Ok(Carried { mbit_per_second: rate / 1e6, cost: used / (octets * 8.0 / 1e9) })
    }

    /// Small packets there and back, as many a second as get through with 32 under way.
    pub(super) fn echoes(&self) -> Result<f64> {
        let address = self.address.to_string();
        let said = run(self.from.command("ping").args([
            "-n",
            "-q",
            "-f",
            "-l",
            "32",
            "-s",
            "16",
            "-w",
            ECHO_SECONDS,
            &address,
        ]))?;
        let answered = number_before(&said, " received").context("ping counts answers")?;
        Ok(answered / ECHO_SECONDS.parse::<f64>()?)
    }

    /// Round-trip times of a quiet path, median and 99th percentile, milliseconds.
    pub(super) fn round_trips(&self) -> Result<(f64, f64)> {
        let address = self.address.to_string();
        let said = run(self.from.command("ping").args([
            "-n",
            "-i",
            "0.004",
            "-c",
            ROUND_TRIPS,
            "-W",
            "1",
            &address,
        ]))?;
        let mut times: Vec<f64> = said
            .lines()
            .filter_map(|line| line.split_once("time=")?.1.split(' ').next()?.parse().ok())
            .collect();
        times.sort_by(f64::total_cmp);
        let at = |percent: usize| times.get((times.len() * percent / 100).min(times.len() - 1));
        let median = at(50).copied().context("no ping was answered")?;
        Ok((median, at(99).copied().unwrap_or(median)))
    }
}

impl Meter {
    /// Processor time used so far.
    pub(super) fn seconds(&self) -> Result<f64> {
        let ticks = match self {
            Self::Machine => machine_ticks()?,
            Self::Processes(spaces) => {
                let mut sum = 0.0;
                for space in spaces {
                    sum += process_ticks(space)?;
                }
                sum
            }
        };
        Ok(ticks / TICKS_PER_SECOND)
    }
}

/// All time that was not idle.
fn machine_ticks() -> Result<f64> {
    let table = fs::read_to_string("/proc/stat")?;
    let row = table.lines().next().context("/proc/stat begins with all processors")?;
    let ticks = row.split_whitespace().skip(1).map(str::parse);
    let ticks: Vec<f64> = ticks.collect::<Result<_, _>>().context("ticks are numbers")?;
    // user, nice, system, idle, iowait, irq, softirq, steal; what follows is counted in user already.
    let busy = [0, 1, 2, 5, 6, 7].map(|field| ticks.get(field).copied().unwrap_or_default());
    Ok(busy.iter().sum())
}

fn process_ticks(space: &Namespace) -> Result<f64> {
    let mut sum = 0.0;
    for pid in space.processes()? {
        // A process that has just ended costs nothing any more.
        let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else { continue };
        let Some((name, fields)) = stat.rsplit_once(')') else { continue };
        if MEASURING.iter().any(|one| name.ends_with(&format!("({one}"))) {
            continue;
        }
        let ticks = fields.split_whitespace().skip(11).take(2);
        sum += ticks.filter_map(|field| field.parse::<f64>().ok()).sum::<f64>();
    }
    Ok(sum)
}

/// Bits a second and octets that arrived.
fn received(report: &Value) -> Option<(f64, f64)> {
    let end = report.get("end")?;
    let field = |sum: &Value, name: &str| sum.get(name)?.as_f64();
    if let Some(sum) = end.get("sum_received") {
        let rate = field(sum, "bits_per_second")?;
        if rate > 0.0 {
            return Some((rate, field(sum, "bytes")?));
        }
    }
    let sum = end.get("sum")?;
    let share = 1.0 - field(sum, "lost_percent").unwrap_or_default() / 100.0;
    Some((field(sum, "bits_per_second")? * share, field(sum, "bytes")? * share))
}

fn number_before(text: &str, word: &str) -> Option<f64> {
    text.split_once(word)?.0.rsplit(' ').next()?.parse().ok()
}

/// Runs a command and forgets what it printed.
pub(super) fn quietly(command: &mut Command) -> Result<()> {
    run(command).map(drop)
}

const SECONDS: &str = "3";
const ECHO_SECONDS: &str = "2";
const ROUND_TRIPS: &str = "500";
/// Programs that measure.
const MEASURING: [&str; 2] = ["iperf3", "ping"];
const PATIENCE: Duration = Duration::from_secs(120);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_are_read() {
        let said = "1234 packets transmitted, 1200 received, 2% packet loss";
        assert_eq!(number_before(said, " received"), Some(1200.0));
        let udp = r#"{"end":{"sum":{"bits_per_second":100.0,"bytes":10,"lost_percent":25}}}"#;
        assert_eq!(received(&serde_json::from_str(udp).unwrap()), Some((75.0, 7.5)));
    }
}

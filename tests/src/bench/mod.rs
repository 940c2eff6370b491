//! Measurements against a stated baseline.

mod adopt;
mod babel;
mod baseline;
mod chain;
mod dataplane;
mod grid;
mod hitless;
mod idle;
mod moves;
mod seat;
mod simulate;
mod start;
mod strangers;
mod up;
mod uplinks;
mod usage;

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};
use comfy_table::presets::UTF8_FULL_CONDENSED;
use comfy_table::{CellAlignment, Table};
use serde::Serialize;

use crate::lab::{Plane, target_directory};
use crate::line::Speaker;

/// One figure beside the one it is compared with.
#[derive(Clone, Debug, Serialize)]
pub struct Measurement {
    /// What was measured.
    pub metric: String,
    /// Our figure.
    pub value: f64,
    /// Its unit.
    pub unit: &'static str,
    /// The other figure.
    pub baseline: Option<f64>,
    /// Whose it is.
    pub baseline_name: Option<&'static str>,
    /// Ours divided by the other.
    pub ratio: Option<f64>,
}

/// What one contestant did in one run.
#[derive(Clone, Debug)]
pub struct Figure {
    /// What was measured.
    pub metric: String,
    /// Its unit.
    pub unit: &'static str,
    /// The figure.
    pub value: f64,
}

/// How to measure.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Who carries the packets.
    pub plane: Plane,
    /// How often; the median counts.
    pub runs: usize,
    /// Whether others are measured beside ours.
    pub beside: Beside,
}

/// Who is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Beside {
    /// Ours and the anchors.
    Anchors,
    /// Ours alone.
    Nobody,
}

/// A benchmark: its name, what it measures, and how.
pub type Benchmark = (&'static str, &'static str, fn(&Options) -> Result<Vec<Measurement>>);

/// All benchmarks.
pub const ALL: [Benchmark; 11] = [
    ("start", "from the start of the last of six nodes to all pairs; reroute; memory", start::run),
    ("babel", "1 000 to 100 000 routes over a line of three, beside babeld and BIRD", babel::run),
    ("babel grid", "start, rest, silent cut and repair of 25 routers, beside the same", grid::run),
    ("dataplane", "what packets cost, beside WireGuard by hand and others", dataplane::run),
    ("hitless", "packets lost through every change of a living network", hitless::run),
    ("up", "from `sixwire up` to the first ping, direct and through a transit node", up::run),
    ("adopt", "start with 100 tunnels and 10 000 routes in the kernel; first start", adopt::run),
    ("moves", "10 000 routes change their neighbour", moves::run),
    ("idle", "memory and processor of 100 embedded interfaces, and of an agent", idle::run),
    (
        "simulate",
        "1 000 engines in virtual time, watched for loops, through ten changes",
        simulate::run,
    ),
    (
        "uplinks",
        "flows over two uplinks of 20 Mbit/s to one neighbour; one goes silent",
        uplinks::run,
    ),
];

impl Measurement {
    /// A figure by itself.
    #[must_use]
    pub fn alone(metric: &str, unit: &'static str, value: f64) -> Self {
        let metric = metric.to_owned();
        Self { metric, value, unit, baseline: None, baseline_name: None, ratio: None }
    }

    /// A figure and a baseline's.
    #[must_use]
    pub fn against(
        metric: &str,
        unit: &'static str,
        value: f64,
        (baseline_name, baseline): (&'static str, f64),
    ) -> Self {
        let ratio = (baseline > 0.0).then(|| value / baseline);
        let (metric, baseline) = (metric.to_owned(), Some(baseline));
        Self { metric, value, unit, baseline, baseline_name: Some(baseline_name), ratio }
    }
}

impl Options {
    /// Ours first, then the anchors.
    fn contestants(&self) -> Vec<(&'static str, Speaker)> {
        let all =
            [("sixwire", Speaker::Sixwire), ("babeld", Speaker::Babeld), ("BIRD", Speaker::Bird)];
        let count = if self.beside == Beside::Anchors { all.len() } else { 1 };
        all.into_iter().take(count).collect()
    }
}

/// Medians of all runs of the first contestant, which ours is, beside those of the others. What a
/// contestant did not achieve in every run is absent.
fn compare(contestants: &[(&'static str, Vec<Vec<Figure>>)]) -> Result<Vec<Measurement>> {
    let ((_, ours), others) = contestants.split_first().context("somebody was measured")?;
    let first = ours.first().context("ours was measured")?;
    let mut rows = Vec::new();
    for Figure { metric, unit, .. } in first {
        let value = median(ours, metric).with_context(|| format!("ours failed: {metric}"))?;
        let mut row = |baseline_name: Option<&'static str>, baseline: Option<f64>| {
            let ratio = baseline.map(|baseline| value / baseline);
            let metric = metric.clone();
            rows.push(Measurement { metric, value, unit, baseline, baseline_name, ratio });
        };
        if others.is_empty() {
            row(None, None);
        }
        for (name, runs) in others {
            row(Some(name), median(runs, metric));
        }
    }
    Ok(rows)
}

/// Medians of the first contestant, which ours is, beside those of the others; the ratio is the median of those
/// within each run, in which all had the same machine. Runs that somebody took no part in do not count for him.
fn compare_within_runs(
    contestants: &[(&'static str, Vec<Vec<Figure>>)],
) -> Result<Vec<Measurement>> {
    let ((_, ours), others) = contestants.split_first().context("somebody was measured")?;
    let first = ours.first().context("ours was measured")?;
    let of = |run: &Vec<Figure>, metric: &str| {
        run.iter().find(|one| one.metric == metric).map(|one| one.value)
    };
    let mut rows = Vec::new();
    for Figure { metric, unit, .. } in first {
        let values = ours.iter().filter_map(|run| of(run, metric));
        let value = middle(values).with_context(|| format!("ours failed: {metric}"))?;
        if others.is_empty() {
            rows.push(Measurement::alone(metric, unit, value));
        }
        for (name, runs) in others {
            let pairs = ours.iter().zip(runs);
            let pairs =
                pairs.filter_map(|(one, other)| Some((of(one, metric)?, of(other, metric)?)));
            let pairs: Vec<_> = pairs.collect();
            let ratio = middle(pairs.iter().map(|(one, other)| one / other));
            let baseline = middle(pairs.iter().map(|(_, other)| *other));
            let (metric, baseline_name) = (metric.clone(), Some(*name));
            rows.push(Measurement { metric, value, unit, baseline, baseline_name, ratio });
        }
    }
    Ok(rows)
}

fn middle(values: impl Iterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

fn median(runs: &[Vec<Figure>], metric: &str) -> Option<f64> {
    let of = |run: &Vec<Figure>| Some(run.iter().find(|one| one.metric == metric)?.value);
    let values: Vec<f64> = runs.iter().map(of).collect::<Option<_>>()?;
    middle(values.into_iter())
}

/// Prints the table and writes `target/bench/NAME.json`, whose path it returns.
///
/// # Errors
/// When the file cannot be written.
pub fn publish(name: &str, measurements: &[Measurement]) -> Result<PathBuf> {
    let mut table = Table::new();
    table.load_style(UTF8_FULL_CONDENSED).set_header([
        "metric",
        "sixwire",
        "baseline",
        "unit",
        "ratio",
        "baseline is",
    ]);
    for one in measurements {
        let figure = |figure: Option<f64>| figure.map_or_else(String::new, |it| format!("{it:.2}"));
        table.add_row([
            one.metric.clone(),
            figure(Some(one.value)),
            figure(one.baseline),
            one.unit.to_owned(),
            figure(one.ratio),
            one.baseline_name.unwrap_or_default().to_owned(),
        ]);
    }
    for column in [1, 2, 4] {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    println!("{table}");
    println!("machine load at the end: {}", fs::read_to_string("/proc/loadavg")?.trim());
    let directory = target_directory().join("bench");
    fs::create_dir_all(&directory)?;
    let path = directory.join(format!("{}.json", name.replace(' ', "-")));
    fs::write(&path, serde_json::to_string_pretty(measurements)? + "\n")?;
    Ok(path)
}

//! Measurements against a stated baseline.

mod adopt;
mod babel;
mod baseline;
mod chain;
mod dataplane;
mod grid;
mod helper;
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
    /// How many runs these are the medians of.
    pub runs: usize,
    /// The machine's load, its mean of a minute, when our figure was taken.
    pub load: f64,
    /// The same for the other figure.
    pub baseline_load: Option<f64>,
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
    /// The machine's load when it was taken.
    pub load: f64,
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
pub const ALL: [Benchmark; 13] = [
    ("start", "from the start of the last of six nodes to all pairs; reroute; memory", start::run),
    ("babel", "1 000 to 100 000 routes over a line of three, beside babeld and BIRD", babel::run),
    ("babel grid", "start, rest, silent cut and repair of 25 routers, beside the same", grid::run),
    (
        "babel next-hop",
        "packets lost while the better of two ways changes, the same",
        hitless::next_hop,
    ),
    ("dataplane", "what packets cost, beside WireGuard by hand and others", dataplane::run),
    ("hitless", "packets lost through every change of a living network", hitless::run),
    (
        "helper",
        "the embedded WireGuard is killed: until a ping passes and `status` says so",
        helper::run,
    ),
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
    /// A figure by itself, taken once and just now.
    #[must_use]
    pub fn alone(metric: &str, unit: &'static str, value: f64) -> Self {
        let ours = Median { value, load: load(), ratio: None };
        Self::new((metric, unit), 1, ours, (None, None))
    }

    /// A figure and a baseline's, both taken once and just now.
    #[must_use]
    pub fn against(
        metric: &str,
        unit: &'static str,
        value: f64,
        (baseline_name, baseline): (&'static str, f64),
    ) -> Self {
        let ratio = quotient(value, baseline);
        let ours = Median { value, load: load(), ratio: None };
        let theirs = Median { value: baseline, load: load(), ratio };
        Self::new((metric, unit), 1, ours, (Some(baseline_name), Some(theirs)))
    }

    fn new(
        (metric, unit): (&str, &'static str),
        runs: usize,
        ours: Median,
        (baseline_name, theirs): (Option<&'static str>, Option<Median>),
    ) -> Self {
        Self {
            metric: metric.to_owned(),
            value: ours.value,
            unit,
            baseline: theirs.map(|theirs| theirs.value),
            baseline_name,
            ratio: theirs.and_then(|theirs| theirs.ratio),
            runs,
            load: ours.load,
            baseline_load: theirs.map(|theirs| theirs.load),
        }
    }
}

impl Figure {
    /// A figure that was taken just now.
    #[must_use]
    pub fn taken(metric: &str, unit: &'static str, value: f64) -> Self {
        Self { metric: metric.to_owned(), unit, value, load: load() }
    }
}

/// One contestant's figure over all runs.
#[derive(Clone, Copy, Debug)]
struct Median {
    value: f64,
    load: f64,
    /// Ours divided by it.
    ratio: Option<f64>,
}

/// The machine's load, its mean of a minute. Zero where the kernel does not tell.
fn load() -> f64 {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().and_then(|first| first.parse().ok()).unwrap_or_default()
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
        let own = median(ours, metric).with_context(|| format!("ours failed: {metric}"))?;
        let mut row = |other| rows.push(Measurement::new((metric, unit), ours.len(), own, other));
        if others.is_empty() {
            row((None, None));
        }
        for (name, runs) in others {
            let theirs = median(runs, metric)
                .map(|theirs| Median { ratio: quotient(own.value, theirs.value), ..theirs });
            row((Some(name), theirs));
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
    let mut rows = Vec::new();
    for Figure { metric, unit, .. } in first {
        let all: Vec<&Figure> = ours.iter().filter_map(|run| find(run, metric)).collect();
        let own = median_of(&all).with_context(|| format!("ours failed: {metric}"))?;
        let mut row = |other| rows.push(Measurement::new((metric, unit), all.len(), own, other));
        if others.is_empty() {
            row((None, None));
        }
        for (name, runs) in others {
            let pairs = ours.iter().zip(runs);
            let pairs: Vec<(&Figure, &Figure)> = pairs
                .filter_map(|(one, other)| find(one, metric).zip(find(other, metric)))
                .collect();
            let ratios = pairs.iter().filter_map(|(one, other)| quotient(one.value, other.value));
            let ratio = middle(ratios);
            let theirs: Vec<&Figure> = pairs.into_iter().map(|(_, other)| other).collect();
            row((Some(name), median_of(&theirs).map(|theirs| Median { ratio, ..theirs })));
        }
    }
    Ok(rows)
}

/// One figure divided by another, which may be nothing.
fn quotient(one: f64, other: f64) -> Option<f64> {
    (other > 0.0).then(|| one / other)
}

fn find<'a>(run: &'a [Figure], metric: &str) -> Option<&'a Figure> {
    run.iter().find(|one| one.metric == metric)
}

fn median(runs: &[Vec<Figure>], metric: &str) -> Option<Median> {
    median_of(&runs.iter().map(|run| find(run, metric)).collect::<Option<Vec<_>>>()?)
}

fn median_of(figures: &[&Figure]) -> Option<Median> {
    let value = middle(figures.iter().map(|one| one.value))?;
    Some(Median { value, load: middle(figures.iter().map(|one| one.load))?, ratio: None })
}

fn middle(values: impl Iterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
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
        "runs",
        "load",
        "its load",
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
            one.runs.to_string(),
            figure(Some(one.load)),
            figure(one.baseline_load),
        ]);
    }
    for column in [1, 2, 4, 6, 7, 8] {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    println!("{table}");
    println!(
        "figures are medians of that many runs; load is the machine's when a figure was taken"
    );
    let directory = target_directory().join("bench");
    fs::create_dir_all(&directory)?;
    let path = directory.join(format!("{}.json", name.replace(' ', "-")));
    fs::write(&path, serde_json::to_string_pretty(measurements)? + "\n")?;
    Ok(path)
}

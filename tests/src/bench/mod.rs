//! Measurements against a stated baseline.

mod babel;
mod baseline;
mod grid;
mod start;

use std::fs;
use std::path::PathBuf;

use anyhow::Result;
use comfy_table::presets::UTF8_FULL_CONDENSED;
use comfy_table::{CellAlignment, Table};
use serde::Serialize;

use crate::lab::{Plane, target_directory};

/// One figure beside the one it is compared with.
#[derive(Clone, Debug, Serialize)]
pub struct Measurement {
    /// What was measured.
    pub metric: &'static str,
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

/// How a benchmark is to be run.
#[derive(Clone, Copy, Debug)]
pub struct Setup {
    /// Whose WireGuard.
    pub plane: Plane,
    /// How often, where the median counts.
    pub runs: usize,
}

/// A benchmark: its name, what it measures, and how.
pub type Benchmark = (&'static str, &'static str, fn(Setup) -> Result<Vec<Measurement>>);

/// All benchmarks.
pub const ALL: [Benchmark; 3] = [
    ("start", "from the start of the last of six nodes to all pairs; reroute; memory", start::run),
    ("babel", "1 000 to 100 000 routes over a line of three, beside babeld and BIRD", babel::run),
    ("babel grid", "start, silent cut, rest and repair of 25 routers, beside the same", grid::run),
];

impl Measurement {
    /// A figure and a baseline's.
    #[must_use]
    pub fn against(
        metric: &'static str,
        unit: &'static str,
        value: f64,
        (baseline_name, baseline): (&'static str, f64),
    ) -> Self {
        let (ratio, baseline) = (Some(value / baseline), Some(baseline));
        Self { metric, value, unit, baseline, baseline_name: Some(baseline_name), ratio }
    }
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
            one.metric.to_owned(),
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
    let directory = target_directory().join("bench");
    fs::create_dir_all(&directory)?;
    let path = directory.join(format!("{}.json", name.replace(' ', "-")));
    fs::write(&path, serde_json::to_string_pretty(measurements)? + "\n")?;
    Ok(path)
}

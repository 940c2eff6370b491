//! Many routes over a line of three routers: ours, babeld and BIRD in turn, with stock timers.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};

use super::{Measurement, Setup};
use crate::clock::{now, wait_for};
use crate::lab::{Lab, Namespace, Process};
use crate::line::{Line, Speaker};

/// What one run of one contestant gave.
#[derive(Clone, Copy, Debug)]
struct Figures {
    /// From the start of the origin until the far kernel has all routes, seconds.
    all: f64,
    /// Of the middle router by then, seconds.
    processor: f64,
    /// Of the middle router then, MiB.
    memory: f64,
    /// By the middle router until then, MiB.
    sent: f64,
}

pub(super) fn run(_setup: Setup) -> Result<Vec<Measurement>> {
    let mut measurements = Vec::new();
    for (count, metrics) in SIZES {
        let ours = measure(Speaker::Sixwire, count)?.context("ours did not carry all routes")?;
        for (name, speaker) in [("babeld", Speaker::Babeld), ("BIRD", Speaker::Bird)] {
            let theirs = measure(speaker, count)?;
            let rows = [
                (ours.all, theirs.map(|figures| figures.all), "s"),
                (ours.processor, theirs.map(|figures| figures.processor), "s"),
                (ours.memory, theirs.map(|figures| figures.memory), "MiB"),
                (ours.sent, theirs.map(|figures| figures.sent), "MiB"),
            ];
            measurements.extend(metrics.into_iter().zip(rows).map(|(metric, row)| {
                let (value, baseline, unit) = row;
                let (ratio, baseline_name) = (baseline.map(|other| value / other), Some(name));
                Measurement { metric, value, unit, baseline, baseline_name, ratio }
            }));
        }
    }
    Ok(measurements)
}

/// `None` when it does not get there within [`PATIENCE`].
fn measure(speaker: Speaker, count: u32) -> Result<Option<Figures>> {
    let mut lab = Lab::new()?;
    let line = Line::new(&mut lab)?;
    let [origin, middle, far] = &line.routers;
    origin.ip("link set ab down\n")?;
    origin.ip(&preload(count))?;
    let _far = line.start(2, speaker, &[])?;
    let carrier = line.start(1, speaker, &[])?;
    let before = entries(far)?;
    origin.ip("link set ab up\n")?;
    let start = now();
    let _origin = line.start(0, speaker, &[])?;
    let wanted = before + u64::from(count);
    let reached = wait_for("all routes at the far end", PATIENCE, || {
        let there = entries(far).map_err(|error| error.to_string())?;
        if there >= wanted { Ok(now() - start) } else { Err(format!("{there} of {wanted}")) }
    });
    let Ok(all) = reached.inspect_err(|error| eprintln!("{speaker:?}, {count} routes: {error:#}"))
    else {
        return Ok(None);
    };
    let memory = f64::from(u32::try_from(carrier.resident_kib()?)?) / 1024.0;
    let sent = sent(middle)? / f64::from(1 << 20);
    Ok(Some(Figures { all: all.as_secs_f64(), processor: processor(&carrier)?, memory, sent }))
}

/// Lines of `ip` that make the origin's static routes: /64s inside one /32, as route origins often
/// are, on an interface of no consequence.
fn preload(count: u32) -> String {
    (0..count)
        .map(|number| {
            let (high, low) = (number >> 16, number & 0xffff);
            format!("route add fd11:11:{high:x}:{low:x}::/64 dev lo proto static\n")
        })
        .collect()
}

/// How many IPv6 routes a kernel has: counted by itself, which costs nothing at any number.
fn entries(router: &Namespace) -> Result<u64> {
    let stats = router.within(|| fs::read_to_string("/proc/thread-self/net/rt6_stats"))??;
    let field = stats.split_whitespace().nth(3).context("rt6_stats has seven fields")?;
    Ok(u64::from_str_radix(field, 16)?)
}

/// Octets a router has sent on its links.
fn sent(router: &Namespace) -> Result<f64> {
    let table = router.within(|| fs::read_to_string("/proc/thread-self/net/dev"))??;
    let rows = table.lines().filter_map(|line| line.split_once(':'));
    let links = rows.filter(|(name, _)| name.trim() != "lo");
    Ok(links.filter_map(|(_, row)| row.split_whitespace().nth(8)?.parse::<f64>().ok()).sum())
}

/// Processor time a program has used, seconds.
fn processor(program: &Process) -> Result<f64> {
    let stat = fs::read_to_string(format!("/proc/{}/stat", program.pid()))?;
    // The name in brackets may hold anything; utime and stime are the 12th and 13th field behind it.
    let (_, fields) = stat.rsplit_once(')').context("a process has a name")?;
    let ticks = fields.split_whitespace().skip(11).take(2);
    let ticks: f64 = ticks.filter_map(|field| field.parse::<f64>().ok()).sum();
    Ok(ticks / TICKS_PER_SECOND)
}

/// Sizes, and what the figures of each are called.
const SIZES: [(u32, [&str; 4]); 3] = [
    (
        1_000,
        [
            "1 000 routes: at the far end",
            "1 000 routes: processor",
            "1 000 routes: memory",
            "1 000 routes: sent",
        ],
    ),
    (
        10_000,
        [
            "10 000 routes: at the far end",
            "10 000 routes: processor",
            "10 000 routes: memory",
            "10 000 routes: sent",
        ],
    ),
    (
        100_000,
        [
            "100 000 routes: at the far end",
            "100 000 routes: processor",
            "100 000 routes: memory",
            "100 000 routes: sent",
        ],
    ),
];
/// `USER_HZ`, the same on every Linux.
const TICKS_PER_SECOND: f64 = 100.0;
/// The longest a contestant may take.
const PATIENCE: Duration = Duration::from_secs(240);

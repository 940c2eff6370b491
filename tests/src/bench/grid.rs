//! How soon a grid of routers is up and heals, and what it says at rest: ours, babeld and BIRD in turn.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};

use super::{Measurement, Setup};
use crate::clock::{now, pause, wait_for};
use crate::lab::{Lab, Process};
use crate::line::Speaker;
use crate::mesh::{Mesh, Timers};
use crate::ping::Pinger;

/// The figures of one speaker: seconds and octets a second, `None` where it did not get there in time.
type Figures = [Option<f64>; METRICS.len()];

/// What is measured, and its unit.
const METRICS: [(&str, &str); 7] = [
    ("grid 5x5, start to all pairs", "s"),
    ("grid 5x5, silent cut to traffic", "s"),
    ("grid 5x5 at rest, one link", "B/s"),
    ("grid 5x5 fast, start to all pairs", "s"),
    ("grid 5x5 fast, silent cut to traffic", "s"),
    ("grid 5x5 fast at rest, one link", "B/s"),
    ("line of 10, repair after a silent break", "s"),
];

pub(super) fn run(setup: Setup) -> Result<Vec<Measurement>> {
    let runs = setup.runs.max(1);
    let mut all = Vec::new();
    for speaker in [Speaker::Sixwire, Speaker::Babeld, Speaker::Bird] {
        all.push(measure(speaker, runs)?);
    }
    let [ours, babeld, bird] = all.as_slice() else { return Ok(Vec::new()) };
    let mut measurements = Vec::new();
    for (index, (metric, unit)) in METRICS.into_iter().enumerate() {
        let value = ours[index].with_context(|| format!("ours did not get there: {metric}"))?;
        for (name, theirs) in [("babeld", babeld), ("BIRD", bird)] {
            let baseline = theirs[index];
            let ratio = baseline.map(|other| value / other);
            let baseline_name = Some(name);
            measurements.push(Measurement { metric, value, unit, baseline, baseline_name, ratio });
        }
    }
    Ok(measurements)
}

fn measure(speaker: Speaker, runs: usize) -> Result<Figures> {
    let mut samples: [Vec<Option<f64>>; METRICS.len()] = Default::default();
    for _ in 0..runs {
        for (first, timers) in [(0, Timers::Default), (3, Timers::Fast)] {
            let figures =
                grid(speaker, timers, |index, figure| note(speaker, first + index, figure))?;
            for (index, figure) in (first..).zip(figures) {
                samples[index].push(figure);
            }
        }
        let figure = repair(speaker)?;
        note(speaker, METRICS.len() - 1, figure);
        samples[METRICS.len() - 1].push(figure);
    }
    Ok(samples.map(median))
}

/// Prints a figure as soon as it is there, with the load of the machine, which it depends on.
fn note(speaker: Speaker, index: usize, figure: Option<f64>) {
    let (metric, unit) = METRICS[index];
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split(' ').next().unwrap_or("?").to_owned();
    let figure = figure.map_or("not in time".to_owned(), |figure| format!("{figure:.2} {unit}"));
    eprintln!("{speaker:?}: {metric}: {figure} (load {load})");
}

/// The middle one; not getting there is the slowest.
fn median(mut samples: Vec<Option<f64>>) -> Option<f64> {
    let key = |sample: &Option<f64>| sample.unwrap_or(f64::INFINITY);
    samples.sort_by(|a, b| key(a).total_cmp(&key(b)));
    samples.get(samples.len() / 2).copied().flatten()
}

/// Start, cut, rest; each is told as soon as it is known.
fn grid(
    speaker: Speaker,
    timers: Timers,
    tell: impl Fn(usize, Option<f64>),
) -> Result<[Option<f64>; 3]> {
    let mut lab = Lab::new()?;
    let mesh = Mesh::grid(&mut lab, SIDE)?;
    let before = mesh.routes()?;
    let began = now();
    let _running = mesh.start(speaker, timers)?;
    let start = all_pairs(&mesh, &before, began)?;
    tell(0, start);
    if start.is_none() {
        return Ok([None; 3]);
    }
    pause(SETTLE);
    let (octets, time) = (mesh.octets()?, now());
    pause(REST);
    let seconds = (now() - time).as_secs_f64();
    let links = f64::from(u32::try_from(mesh.links())?);
    let rate = f64::from(u32::try_from(mesh.octets()? - octets)?) / seconds / links;
    tell(2, Some(rate));
    let cut = interrupt(&mesh)?;
    tell(1, cut);
    Ok([start, cut, Some(rate)])
}

/// Seconds until every kernel has a route to every router.
fn all_pairs(mesh: &Mesh, before: &[u64], began: Duration) -> Result<Option<f64>> {
    let others = u64::try_from(mesh.routers.len() - 1)?;
    let reached = wait_for("all pairs", PATIENCE, || {
        let there = mesh.routes().map_err(|error| error.to_string())?;
        let missing = there.iter().zip(before).filter(|(now, then)| **now < **then + others);
        match missing.count() {
            0 => Ok(now() - began),
            missing => Err(format!("{missing} routers lack routes")),
        }
    });
    Ok(reached.ok().map(|took| took.as_secs_f64()))
}

/// Cuts the first link between two opposite corners while one pings the other: seconds without answer.
fn interrupt(mesh: &Mesh) -> Result<Option<f64>> {
    let last = mesh.routers.len() - 1;
    let pinger = Pinger::start(&[mesh.flow(0, last)], PING_INTERVAL)?;
    if !flows(&pinger, Duration::ZERO) {
        return Ok(None);
    }
    let next = mesh.next(0, last)?;
    mesh.cut(0, next)?;
    let cut = now();
    let healed = flows(&pinger, cut);
    let gap = pinger.stop().remove(0).since(cut).longest_gap();
    Ok(healed.then_some(gap.as_secs_f64()))
}

/// Breaks a line in the middle for half a minute: seconds from the repair until its ends speak again.
fn repair(speaker: Speaker) -> Result<Option<f64>> {
    let mut lab = Lab::new()?;
    let mesh = Mesh::line(&mut lab, 10)?;
    let before = mesh.routes()?;
    let _running: Vec<Process> = mesh.start(speaker, Timers::Default)?;
    if all_pairs(&mesh, &before, now())?.is_none() {
        return Ok(None);
    }
    pause(SETTLE);
    mesh.cut(4, 5)?;
    pause(BREAK);
    let pinger = Pinger::start(&[mesh.flow(0, 9)], PING_INTERVAL)?;
    mesh.heal(4, 5)?;
    let healed = now();
    if !flows(&pinger, healed) {
        return Ok(None);
    }
    let answer = pinger.stop().remove(0).since(healed).first_answer();
    Ok(answer.map(|at| (at - healed).as_secs_f64()))
}

/// Waits until a second's worth of pings sent after `from` was answered one after the other.
fn flows(pinger: &Pinger, from: Duration) -> bool {
    wait_for("pings to flow", PATIENCE, || {
        let records = pinger.records();
        let run = records.first().map_or(0, |record| record.since(from).run_of_answers());
        if run >= 20 { Ok(()) } else { Err(format!("{run} answers in a row")) }
    })
    .inspect_err(|error| eprintln!("{error:#}"))
    .is_ok()
}

const SIDE: usize = 5;
/// Twenty a second.
const PING_INTERVAL: Duration = Duration::from_millis(50);
/// The longest any part may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// Until histories are full and first updates are over.
const SETTLE: Duration = Duration::from_secs(20);
/// Two update intervals of 16 s.
const REST: Duration = Duration::from_secs(32);
const BREAK: Duration = Duration::from_secs(30);

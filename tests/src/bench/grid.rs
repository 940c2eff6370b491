//! How soon a grid of routers is up and heals, and what it says at rest: ours, babeld and BIRD in turn.

use std::time::Duration;

use anyhow::Result;

use super::{Figure, Measurement, Options, compare, load};
use crate::clock::{now, pause, wait_for};
use crate::lab::Lab;
use crate::line::Speaker;
use crate::mesh::{Mesh, Timers};
use crate::ping::Pinger;

pub(super) fn run(options: &Options) -> Result<Vec<Measurement>> {
    let mut all = Vec::new();
    for (name, speaker) in options.contestants() {
        let runs = (0..options.runs).map(|_| measure(name, speaker));
        all.push((name, runs.collect::<Result<Vec<_>>>()?));
    }
    compare(&all)
}

/// The figures of one run; what is not reached in time is absent.
fn measure(name: &str, speaker: Speaker) -> Result<Vec<Figure>> {
    let mut figures = Vec::new();
    // Each is told as soon as it is known, with the load of the machine, which it depends on.
    let mut note = |metric: &str, unit: &'static str, value: Option<f64>| {
        let load = load();
        match value {
            Some(value) => eprintln!("{name}: {metric}: {value:.2} {unit} (load {load})"),
            None => eprintln!("{name}: {metric}: not in time (load {load})"),
        }
        figures.extend(value.map(|value| Figure::taken(metric, unit, value)));
    };
    for (timers, title) in [(Timers::Default, "grid 5x5"), (Timers::Fast, "grid 5x5, fast")] {
        grid((speaker, timers), title, &mut note)?;
    }
    note("line of 10: repair after a silent break", "s", repair(speaker)?);
    note("ring of 8: from the loss of the last feasible route", "s", starve(speaker)?);
    Ok(figures)
}

/// Start, rest, cut.
fn grid(
    (speaker, timers): (Speaker, Timers),
    title: &str,
    note: &mut impl FnMut(&str, &'static str, Option<f64>),
) -> Result<()> {
    let mut lab = Lab::new()?;
    let mesh = Mesh::grid(&mut lab, SIDE)?;
    let before = mesh.routes()?;
    let began = now();
    let _running = mesh.start(speaker, timers)?;
    let start = all_pairs(&mesh, &before, began)?;
    note(&format!("{title}: start to all pairs"), "s", start);
    if start.is_none() {
        return Ok(());
    }
    pause(SETTLE);
    let (octets, time) = (mesh.octets()?, now());
    pause(REST);
    let seconds = (now() - time).as_secs_f64();
    let links = f64::from(u32::try_from(mesh.links())?);
    let rate = f64::from(u32::try_from(mesh.octets()? - octets)?) / seconds / links;
    note(&format!("{title}: a link at rest"), "B/s", Some(rate));
    note(&format!("{title}: silent cut to traffic"), "s", interrupt(&mesh)?);
    Ok(())
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
    let _running = mesh.start(speaker, Timers::Default)?;
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

/// Takes down a link, which both ends see, while one pings the other: seconds without answer. All on the way
/// round had their routes by that link, so none of those that are left is feasible: only the origin can
/// help, seven hops away.
fn starve(speaker: Speaker) -> Result<Option<f64>> {
    let mut lab = Lab::new()?;
    let mesh = Mesh::ring(&mut lab, 8)?;
    let before = mesh.routes()?;
    let _running = mesh.start(speaker, Timers::Default)?;
    if all_pairs(&mesh, &before, now())?.is_none() {
        return Ok(None);
    }
    pause(SETTLE);
    let pinger = Pinger::start(&[mesh.flow(1, 0)], CLOSE_INTERVAL)?;
    if !flows(&pinger, Duration::ZERO) {
        return Ok(None);
    }
    let down = now();
    mesh.routers[1].ip("link set to0 down\n")?;
    let healed = flows(&pinger, down);
    let gap = pinger.stop().remove(0).since(down).longest_gap();
    Ok(healed.then_some(gap.as_secs_f64()))
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
/// Where the gap is one of milliseconds.
const CLOSE_INTERVAL: Duration = Duration::from_millis(2);
/// The longest any part may take: BIRD's repair alone can take a minute with its own timers.
const PATIENCE: Duration = Duration::from_secs(150);
/// Until histories are full and first updates are over.
const SETTLE: Duration = Duration::from_secs(20);
/// Two update intervals of ours, the longest.
const REST: Duration = Duration::from_secs(40);
const BREAK: Duration = Duration::from_secs(30);

//! A thousand packets a second through everything that may happen to a running network: none may be lost.

mod daemon;
mod diamond;
mod tunnel;

use std::time::Duration;

use anyhow::{Context, Result};
use comfy_table::presets::UTF8_FULL_CONDENSED;
use comfy_table::{CellAlignment, Table};

use super::{Figure, Measurement, Options, compare};
use crate::clock::{now, wait_for};
use crate::lab::{Lab, Plane};
use crate::ping::{Flow, Pinger};

/// What happened to the packets while something happened a number of times.
struct Outcome {
    event: &'static str,
    times: usize,
    sent: usize,
    lost: usize,
    gap: Duration,
}

/// Packets under way while things happen.
struct Traffic {
    pinger: Pinger,
    since: Duration,
}

pub(super) fn run(options: &Options) -> Result<Vec<Measurement>> {
    let plane = match options.plane {
        Plane::Kernel => Plane::Kernel,
        Plane::Auto | Plane::Embedded => Plane::Embedded,
    };
    let mut outcomes = Vec::new();
    for _ in 0..options.runs {
        outcomes.extend(tunnel::run(&mut Lab::new()?, plane)?);
        outcomes.extend(diamond::run(&mut Lab::new()?)?);
        outcomes.extend(daemon::run(&mut Lab::new()?, plane)?);
    }
    show(&outcomes);
    let mut measurements = Vec::new();
    for Outcome { event, times, sent, lost, gap } in outcomes {
        let name = |what: &str| format!("{event}, {times} times: {what}");
        let count = |count: usize| u32::try_from(count).map(f64::from);
        measurements.push(Measurement::alone(&name("sent"), "packets", count(sent)?));
        measurements.push(Measurement::alone(&name("lost"), "packets", count(lost)?));
        measurements.push(Measurement::alone(&name("longest gap"), "ms", gap.as_secs_f64() * 1e3));
    }
    Ok(measurements)
}

/// The next hop changes under ours, babeld and BIRD in turn.
pub(super) fn next_hop(options: &Options) -> Result<Vec<Measurement>> {
    let mut all = Vec::new();
    for (name, speaker) in options.contestants() {
        let mut runs = Vec::new();
        for _ in 0..options.runs {
            eprintln!("{name}:");
            let Outcome { times, sent, lost, gap, .. } =
                diamond::next_hop(&mut Lab::new()?, speaker)?;
            let figure = |what: &str, unit, value| {
                let metric = format!("next hop changes, {times} times: {what}");
                Figure::taken(&metric, unit, value)
            };
            runs.push(vec![
                figure("sent", "packets", f64::from(u32::try_from(sent)?)),
                figure("lost", "packets", f64::from(u32::try_from(lost)?)),
                figure("longest gap", "ms", gap.as_secs_f64() * 1e3),
            ]);
        }
        all.push((name, runs));
    }
    compare(&all)
}

impl Traffic {
    /// Starts to send, and returns once packets flow.
    fn start(flows: &[Flow]) -> Result<Self> {
        let pinger = Pinger::start(flows, PACE)?;
        let traffic = Self { pinger, since: Duration::ZERO };
        traffic.wait_steady(Duration::ZERO)?;
        Ok(Self { since: now(), ..traffic })
    }

    /// Waits until every flow had a tenth of a second of answers in a row to packets sent after `from`.
    fn wait_steady(&self, from: Duration) -> Result<()> {
        wait_for("packets to flow", PATIENCE, || {
            let runs = self.pinger.records();
            let least = runs.iter().map(|record| record.since(from).run_of_answers()).min();
            if least >= Some(STEADY) { Ok(()) } else { Err(format!("{least:?} in a row")) }
        })
    }

    /// Ends, and adds what became of all packets.
    fn end(self, outcome: &mut Outcome) {
        let records = self.pinger.stop();
        for record in records.iter().map(|record| record.since(self.since)) {
            outcome.sent += record.probes.len();
            outcome.lost += record.lost();
            outcome.gap = outcome.gap.max(record.longest_gap());
        }
    }
}

/// Lets something happen a number of times, each time while packets flow.
fn under_load(
    flows: &[Flow],
    (event, times): (&'static str, usize),
    mut happen: impl FnMut(usize) -> Result<()>,
) -> Result<Outcome> {
    let mut outcome = Outcome { event, times, sent: 0, lost: 0, gap: Duration::ZERO };
    for time in 0..times {
        let traffic = Traffic::start(flows)?;
        happen(time).with_context(|| format!("{event}, time {time}"))?;
        traffic.wait_steady(now())?;
        let before = outcome.lost;
        traffic.end(&mut outcome);
        if outcome.lost > before {
            eprintln!("{event}, time {time}: {} lost", outcome.lost - before);
        }
    }
    let Outcome { sent, lost, gap, .. } = &outcome;
    eprintln!("{event}: {times} times, {sent} sent, {lost} lost, longest gap {gap:?}");
    Ok(outcome)
}

fn show(outcomes: &[Outcome]) {
    let mut table = Table::new();
    let header = ["event", "times", "sent", "lost", "longest gap, ms"];
    table.load_style(UTF8_FULL_CONDENSED).set_header(header);
    for Outcome { event, times, sent, lost, gap } in outcomes {
        let gap = format!("{:.1}", gap.as_secs_f64() * 1e3);
        let counts = [times, sent, lost].map(ToString::to_string);
        table.add_row([(*event).to_owned()].into_iter().chain(counts).chain([gap]));
    }
    for column in 1..5 {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    println!("{table}");
}

/// How often everything happens.
const TIMES: usize = 30;
/// A thousand a second on each flow.
const PACE: Duration = Duration::from_millis(1);
/// Answers in a row that mean that packets flow.
const STEADY: usize = 100;
const PATIENCE: Duration = Duration::from_secs(60);

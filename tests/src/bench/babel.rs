//! Many routes over a line of three routers: ours, babeld and BIRD in turn, with stock timers.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};
use nix::sys::signal::Signal;

use super::{Figure, Measurement, Options, compare};
use crate::clock::{now, pause, wait_for};
use crate::lab::{Lab, Namespace, Process};
use crate::line::{Line, Speaker};

pub(super) fn run(options: &Options) -> Result<Vec<Measurement>> {
    let mut measurements = Vec::new();
    for (count, title) in SIZES {
        let mut figures = Vec::new();
        for (name, speaker) in options.contestants() {
            let runs = (0..options.runs).map(|_| measure(speaker, (count, title)));
            figures.push((name, runs.collect::<Result<Vec<_>>>()?));
        }
        measurements.extend(compare(&figures)?);
    }
    Ok(measurements)
}

/// The figures of one contestant at one size; what it does not get to within [`PATIENCE`] is absent.
fn measure(speaker: Speaker, (count, title): (u32, &str)) -> Result<Vec<Figure>> {
    let mut course = Course::start(speaker, count)?;
    let mut figures = Vec::new();
    let mut note = |metric: &str, unit: &'static str, value: f64| {
        let metric = format!("{title} routes: {metric}");
        let figure = Figure::taken(&metric, unit, value);
        eprintln!("{speaker:?}: {metric}: {value:.3} {unit} (load {})", figure.load);
        figures.push(figure);
    };
    note("memory before", "MiB", course.memory()?);
    let Some(all) = course.fill()? else { return Ok(figures) };
    note("at the far end", "s", all);
    note("processor", "s", processor(&course.carrier)?);
    note("memory", "MiB", course.memory()?);
    note("sent for each", "octets", sent(&course.line.routers[1])? / f64::from(count));
    note("datagrams lost by a full buffer", "", course.datagrams_lost()?);
    if count != STEADY_SIZE {
        return Ok(figures);
    }
    let before = processor(&course.carrier)?;
    pause(STEADY);
    note("processor in 60 s after", "s", processor(&course.carrier)? - before);
    let Some(withdrawn) = course.withdraw()? else { return Ok(figures) };
    note("withdrawn", "s", withdrawn);
    course.line.routers[0].ip(&statics("add", count))?;
    if course.wait_for_entries(course.empty + u64::from(count))?.is_some()
        && let Some(stopped) = course.stop_origin()?
    {
        note("origin stops", "s", stopped);
    }
    Ok(figures)
}

/// One contestant on its way.
struct Course {
    count: u32,
    speaker: Speaker,
    line: Line,
    origin: Option<Process>,
    carrier: Process,
    _far: Process,
    /// Routes of the far kernel with nothing announced.
    empty: u64,
    _lab: Lab,
}

impl Course {
    /// Middle and far end run; the origin has its routes, but neither link nor program.
    fn start(speaker: Speaker, count: u32) -> Result<Self> {
        let mut lab = Lab::new()?;
        let line = Line::new(&mut lab)?;
        line.routers[0].ip("link set ab down\n")?;
        line.routers[0].ip(&statics("add", count))?;
        let far = line.start(2, speaker, &[])?;
        let carrier = line.start(1, speaker, &[])?;
        pause(WARM_UP);
        let empty = entries(&line.routers[2])?;
        Ok(Self { count, speaker, line, origin: None, carrier, _far: far, empty, _lab: lab })
    }

    /// From the start of the origin until the far kernel has all its routes, seconds.
    fn fill(&mut self) -> Result<Option<f64>> {
        self.line.routers[0].ip("link set ab up\n")?;
        let start = now();
        self.origin = Some(self.line.start(0, self.speaker, &[])?);
        let all = self.wait_for_entries(self.empty + u64::from(self.count))?;
        Ok(all.map(|at| (at - start).as_secs_f64()))
    }

    /// From the end of the last route in the origin's kernel to that in the far one, seconds.
    fn withdraw(&self) -> Result<Option<f64>> {
        self.line.routers[0].ip(&statics("del", self.count))?;
        let start = now();
        Ok(self.wait_for_entries(self.empty)?.map(|at| (at - start).as_secs_f64()))
    }

    /// From SIGTERM for the origin until the far kernel has none of its routes, seconds.
    fn stop_origin(&self) -> Result<Option<f64>> {
        let origin = self.origin.as_ref().context("the origin was started")?;
        let start = now();
        origin.signal(Signal::SIGTERM)?;
        Ok(self.wait_for_entries(self.empty)?.map(|at| (at - start).as_secs_f64()))
    }

    /// When the far kernel had that many routes.
    fn wait_for_entries(&self, wanted: u64) -> Result<Option<Duration>> {
        let far = &self.line.routers[2];
        let reached = wait_for("the routes of the far end", PATIENCE, || {
            let there = entries(far).map_err(|error| error.to_string())?;
            if there == wanted { Ok(now()) } else { Err(format!("{there} of {wanted}")) }
        });
        Ok(reached.inspect_err(|error| eprintln!("{:?}: {error:#}", self.speaker)).ok())
    }

    /// Resident memory of the middle router, MiB.
    fn memory(&self) -> Result<f64> {
        Ok(f64::from(u32::try_from(self.carrier.resident_kib()?)?) / 1024.0)
    }

    /// Datagrams the middle's and the far end's sockets had no room for.
    fn datagrams_lost(&self) -> Result<f64> {
        let mut lost = 0.0;
        for router in &self.line.routers[1..] {
            let counters =
                router.within(|| fs::read_to_string("/proc/thread-self/net/snmp6"))??;
            let row = counters.lines().find_map(|row| row.strip_prefix("Udp6RcvbufErrors"));
            lost += row.context("Udp6RcvbufErrors is counted")?.trim().parse::<f64>()?;
        }
        Ok(lost)
    }
}

/// Lines of `ip` for the origin's static routes: /64s inside one /32, as route origins often are, on
/// an interface of no consequence.
fn statics(verb: &str, count: u32) -> String {
    (0..count)
        .map(|number| {
            let (high, low) = (number >> 16, number & 0xffff);
            format!("route {verb} fd11:11:{high:x}:{low:x}::/64 dev lo proto static\n")
        })
        .collect()
}

/// How many IPv6 routes a kernel has: counted by itself, which costs nothing at any number.
fn entries(router: &Namespace) -> Result<u64> {
    let stats = router.within(|| fs::read_to_string("/proc/thread-self/net/rt6_stats"))??;
    let field = stats.split_whitespace().nth(3).context("rt6_stats has seven fields")?;
    Ok(u64::from_str_radix(field, 16)?)
}

/// Octets of UDP payload a router has sent on its links.
fn sent(router: &Namespace) -> Result<f64> {
    let table = router.within(|| fs::read_to_string("/proc/thread-self/net/dev"))??;
    let rows = table.lines().filter_map(|line| line.split_once(':'));
    let links = rows.filter(|(name, _)| name.trim() != "lo");
    let payload = |row: &str| {
        let field = |number| row.split_whitespace().nth(number)?.parse::<f64>().ok();
        Some(field(8)? - field(9)? * HEADERS)
    };
    Ok(links.filter_map(|(_, row)| payload(row)).sum())
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

const SIZES: [(u32, &str); 3] = [(1_000, "1 000"), (STEADY_SIZE, "10 000"), (100_000, "100 000")];
/// Ethernet, IPv6 and UDP.
const HEADERS: f64 = 62.0;
/// The size that is also kept for a while, withdrawn and lost.
const STEADY_SIZE: u32 = 10_000;
const STEADY: Duration = Duration::from_secs(60);
/// Between the start of middle and far end and that of the origin: they know each other by then.
const WARM_UP: Duration = Duration::from_secs(3);
/// `USER_HZ`, the same on every Linux.
const TICKS_PER_SECOND: f64 = 100.0;
/// The longest a contestant may take for a step.
const PATIENCE: Duration = Duration::from_secs(120);

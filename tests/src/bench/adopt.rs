//! What a start costs: with a hundred tunnels and ten thousand routes in the kernel, which it is to take over as
//! they are; and from nothing to ten tunnels.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};

use super::chain::{Members, PATIENCE};
use super::seat::Seat;
use super::strangers::Strangers;
use super::usage::processor;
use super::{Measurement, Options};
use crate::clock::{now, pause, wait_for};
use crate::lab::{Lab, Namespace, Plane, Process};
use crate::network::{Network, Plan};

pub(super) fn run(options: &Options) -> Result<Vec<Measurement>> {
    let plane = match options.plane {
        Plane::Kernel => Plane::Kernel,
        Plane::Auto | Plane::Embedded => Plane::Embedded,
    };
    let mut rows = adopt(plane)?;
    for row in &rows {
        eprintln!("{}: {:.3} {}", row.metric, row.value, row.unit);
    }
    rows.extend(first_start(plane)?);
    Ok(rows)
}

fn adopt(plane: Plane) -> Result<Vec<Measurement>> {
    let mut lab = Lab::new()?;
    let mut members = Members::join(&mut lab, "a", plane)?;
    let node = &mut members.chain.nodes[0];
    // Its address and its route of last resort come from a start without neighbours.
    node.up()?;
    let own = node.wait_status(PATIENCE)?.node.router_id.parse()?;
    node.stop()?;
    let seat = Seat::take(node)?;
    let (strangers, _) = Strangers::meet(&seat, seat.open(plane)?, own, TUNNELS)?;
    let tunnels = strangers.links.len();
    strangers.route(&seat, ROUTES, |number| number as usize % tunnels)?;
    strangers.leave(&seat)?;
    drop(seat);

    let space = node.host.namespace.clone();
    let log = lab.directory().join("monitor.log");
    let monitor = Monitor::start(&space, log)?;
    let text = lab.directory().join(format!("{}.log", node.name));
    let before = fs::metadata(&text)?.len();
    let begin = now();
    node.up()?;
    let expected = format!("adopted_tunnels={TUNNELS} adopted_routes={ROUTES}");
    let adopted = wait_for("tunnels and routes to be adopted", PATIENCE, || {
        let log = fs::read_to_string(&text).map_err(|error| error.to_string())?;
        let log = log.get(usize::try_from(before).unwrap_or_default()..).unwrap_or_default();
        match log.lines().find(|line| line.contains("data plane ready")) {
            Some(line) if line.contains(&expected) => Ok(now() - begin),
            found => Err(format!("{found:?}")),
        }
    })?;
    node.wait_status(PATIENCE)?;
    let answers = now() - begin;
    let used = processor(node.pid().context("it runs")?)?;
    pause(WATCH);
    let changes = monitor.end()?;
    for change in changes.iter().take(5) {
        eprintln!("rewritten: {change}");
    }
    let rewritten = u32::try_from(changes.len())?;
    let title = format!("{TUNNELS} tunnels, {ROUTES} routes in the kernel");
    let name = |what: &str| format!("{title}: {what}");
    Ok(vec![
        Measurement::alone(&name("adopted after"), "s", adopted.as_secs_f64()),
        Measurement::alone(&name("answers after"), "s", answers.as_secs_f64()),
        Measurement::alone(&name("processor, own code"), "s", used.user),
        Measurement::alone(&name("processor, kernel"), "s", used.kernel),
        Measurement::alone(&name("rewritten in 5 s"), "", f64::from(rewritten)),
    ])
}

/// Eleven nodes, ten of which run: the last one starts.
fn first_start(plane: Plane) -> Result<Vec<Measurement>> {
    let plan = Plan { nodes: usize::from(FIRST) + 1, behind_nat: 0, plane };
    let mut network = Network::join(Lab::new()?, plan)?;
    let mut last = network.nodes.pop().context("eleven nodes")?;
    network.up()?;
    network.wait_reachable(PATIENCE)?;
    let begin = now();
    last.up()?;
    let took = wait_for("ten tunnels", PATIENCE, || {
        let status = last.status().map_err(|error| format!("{error:#}"))?;
        let up = status.routing.neighbours.min(status.tunnels.up);
        if up >= usize::from(FIRST) { Ok(now() - begin) } else { Err(format!("{up} up")) }
    })?;
    let used = processor(last.pid().context("it runs")?)?;
    let name = |what: &str| format!("first start, {FIRST} tunnels: {what}");
    Ok(vec![
        Measurement::alone(&name("all up after"), "s", took.as_secs_f64()),
        Measurement::alone(&name("processor, own code"), "s", used.user),
        Measurement::alone(&name("processor, kernel"), "s", used.kernel),
    ])
}

/// Watches what is written into a kernel.
pub(super) struct Monitor {
    space: Namespace,
    log: std::path::PathBuf,
    _process: Process,
}

impl Monitor {
    pub(super) fn start(space: &Namespace, log: std::path::PathBuf) -> Result<Self> {
        let mut command = space.command("ip");
        command.args(["monitor", "link", "address", "route", "nexthop", "rule"]);
        let process = Process::start(&mut command, &log)?;
        let monitor = Self { space: space.clone(), log, _process: process };
        monitor.mark("0100")?;
        Ok(monitor)
    }

    /// What was written since the start.
    pub(super) fn end(self) -> Result<Vec<String>> {
        self.mark("0101")?;
        let log = fs::read_to_string(&self.log)?;
        let lines: Vec<&str> = log.lines().filter(|line| !line.trim().is_empty()).collect();
        let place = |mark: &str| lines.iter().position(|line| line.contains(&address(mark)));
        let (from, to) = place("0100").zip(place("0101")).context("both marks")?;
        let written = lines.get(from..to).unwrap_or_default();
        // A new address of the loopback comes with a route or two of the kernel's own, and a second line.
        let ours = |line: &&&str| !line.contains("fd46::") && !line.starts_with(' ');
        Ok(written.iter().filter(ours).map(|line| (*line).to_owned()).collect())
    }

    /// Writes something that must show.
    fn mark(&self, mark: &str) -> Result<()> {
        let again = || self.space.ip(&format!("addr replace {}/128 dev lo\n", address(mark)));
        again()?;
        wait_for("the monitor", PATIENCE, || {
            let log = fs::read_to_string(&self.log).map_err(|error| error.to_string())?;
            if log.contains(&address(mark)) {
                return Ok(());
            }
            // It may not have listened yet.
            let gone = self.space.ip(&format!("addr del {}/128 dev lo\n", address(mark)));
            gone.and_then(|()| again()).map_err(|error| format!("{error:#}"))?;
            Err("it does not see".to_owned())
        })
    }
}

fn address(mark: &str) -> String {
    // As `ip` prints it.
    format!("fd46::{}", mark.trim_start_matches('0'))
}

const TUNNELS: u8 = 100;
const ROUTES: u32 = 10_000;
/// Tunnels of a first start.
const FIRST: u8 = 10;
/// How long the kernel is watched after the start.
const WATCH: Duration = Duration::from_secs(5);

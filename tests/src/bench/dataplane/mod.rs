//! How much packets cost through one hop and through a transit node: ours beside tunnels made by hand and
//! beside others, all on the same machine at the same time, each measurement of all in turn.

mod links;
mod meshes;
mod traffic;

use std::net::IpAddr;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};
use comfy_table::Table;
use comfy_table::presets::UTF8_FULL_CONDENSED;

use self::links::Maker;
use self::meshes::Mesh;
use self::traffic::{Load, Meter, Path};
use super::chain::{Chain, Members, PATIENCE, installed};
use super::{Beside, Figure, Measurement, Options, compare_within_runs, middle};
use crate::clock::wait_for;
use crate::lab::{Lab, Namespace, Plane, Process, run as run_command, target_directory};

pub(super) fn run(options: &Options) -> Result<Vec<Measurement>> {
    if options.plane == Plane::Kernel {
        // For those that need it; who lacks it says so.
        let _ = run_command(Command::new("modprobe").arg("tun"));
    }
    let mut contestants = Vec::new();
    for (index, (name, way)) in entrants(options).into_iter().enumerate() {
        match way.and_then(|way| Contestant::start(name, &way, options)) {
            Ok(contestant) => contestants.push(contestant),
            Err(error) if index == 0 => return Err(error),
            Err(error) => eprintln!("{name}: ABSENT: {error:#}"),
        }
    }
    for run in 0..options.runs {
        round(&mut contestants, (run, options))?;
    }
    let all: Vec<_> = contestants.iter().map(|one| (one.name, one.runs.clone())).collect();
    show(&all);
    let mut measurements = compare_within_runs(&all)?;
    if options.plane != Plane::Kernel && options.beside == Beside::Anchors {
        stated(&mut measurements);
    }
    Ok(measurements)
}

/// One measurement of everybody after the other; everybody begins once.
fn round(contestants: &mut [Contestant], (run, options): (usize, &Options)) -> Result<()> {
    let count = contestants.len();
    for contestant in contestants.iter_mut() {
        contestant.runs.push(Vec::new());
    }
    for (to, title) in [(1, "one hop"), (2, "through a transit node")] {
        for what in [What::Tcp, What::TcpMany, What::Udp, What::Echoes, What::RoundTrip] {
            for turn in 0..count {
                let index = (turn + run) % count;
                // In the virtual machine those that differ by multiples are measured once.
                if run > 0 && index > 1 && options.plane == Plane::Kernel {
                    continue;
                }
                let contestant = &mut contestants[index];
                match contestant.measure(to, what) {
                    Ok(figures) => contestant.note(title, figures),
                    Err(error) if index == 0 => return Err(error),
                    Err(error) => eprintln!("{}: {title}: {error:#}", contestant.name),
                }
            }
        }
    }
    Ok(())
}

/// Somebody who carries packets.
struct Contestant {
    name: &'static str,
    spaces: [Namespace; 3],
    addresses: [IpAddr; 3],
    meter: Meter,
    runs: Vec<Vec<Figure>>,
    _processes: Vec<Process>,
    _members: Option<Members>,
    _chain: Option<Chain>,
    /// Declared last, so it goes last.
    lab: Lab,
}

/// How tunnels come to be.
enum Way {
    Ours(Plane),
    Links(Maker),
    Mesh(Mesh),
}

#[derive(Clone, Copy)]
enum What {
    Tcp,
    TcpMany,
    Udp,
    Echoes,
    RoundTrip,
}

impl Contestant {
    fn start(name: &'static str, way: &Way, options: &Options) -> Result<Self> {
        let mut lab = Lab::new()?;
        let (mut processes, mut kept, mut members) = (Vec::new(), None, None);
        let (spaces, addresses);
        if let Way::Ours(plane) = way {
            let mut nodes = Members::join(&mut lab, "", *plane)?;
            nodes.up()?;
            spaces = nodes.chain.spaces().map(Clone::clone);
            let flows = nodes.flows()?;
            let own = flows[0].source.context("a node knows its address")?;
            addresses = [own, flows[0].to, flows[1].to].map(IpAddr::from);
            members = Some(nodes);
        } else {
            let chain = Chain::new(&mut lab, "", options.plane)?;
            spaces = chain.spaces().map(Clone::clone);
            match way {
                Way::Links(maker) => {
                    processes = maker.connect(&lab, &chain)?;
                    addresses = [0, 1, 2].map(|machine| links::address(machine).into());
                }
                Way::Mesh(mesh) => {
                    let meshed = mesh.connect(&lab, &chain)?;
                    (processes, addresses) = (meshed.processes, meshed.addresses);
                }
                Way::Ours(_) => unreachable!("taken above"),
            }
            kept = Some(chain);
        }
        let meter = match options.plane {
            Plane::Kernel => Meter::Machine,
            Plane::Auto | Plane::Embedded => Meter::Processes(spaces.to_vec()),
        };
        let contestant = Self {
            name,
            spaces,
            addresses,
            meter,
            runs: Vec::new(),
            _processes: processes,
            _members: members,
            _chain: kept,
            lab,
        };
        contestant.wait_reachable()?;
        eprintln!("{name}: runs");
        Ok(contestant)
    }

    fn wait_reachable(&self) -> Result<()> {
        for address in &self.addresses[1..] {
            wait_for("an answer through the tunnels", PATIENCE, || {
                let mut ping = self.spaces[0].command("ping");
                ping.args(["-n", "-c", "1", "-W", "1", &address.to_string()]);
                let last = |process: &Process| process.last_words();
                run_command(&mut ping)
                    .map(drop)
                    .map_err(|_| self._processes.iter().map(last).collect::<Vec<_>>().join("\n"))
            })?;
        }
        Ok(())
    }

    fn measure(&self, to: usize, what: What) -> Result<Vec<Figure>> {
        let path =
            Path { from: &self.spaces[0], to: &self.spaces[to], address: self.addresses[to] };
        let load = |load, name: &str| {
            let carried = path.carry(&self.lab, load, &self.meter)?;
            let cost = format!("{name}: processor");
            Ok(vec![
                figure(name, "Mbit/s", carried.mbit_per_second),
                figure(&cost, "s/Gbit", carried.cost),
            ])
        };
        match what {
            What::Tcp => load(Load::Tcp(1), "TCP, one flow"),
            What::TcpMany => load(Load::Tcp(8), "TCP, 8 flows"),
            What::Udp => load(Load::Udp(1200), "UDP, 1200 octets"),
            What::Echoes => Ok(vec![figure("echoes of 16 octets", "1/s", path.echoes()?)]),
            What::RoundTrip => {
                let (median, late) = path.round_trips()?;
                Ok(vec![figure("RTT, median", "ms", median), figure("RTT, p99", "ms", late)])
            }
        }
    }

    /// Keeps figures, and tells them with the load of the machine, which they depend on.
    fn note(&mut self, title: &str, figures: Vec<Figure>) {
        for mut figure in figures {
            figure.metric = format!("{title}: {}", figure.metric);
            let Figure { metric, unit, value, load } = &figure;
            eprintln!("{}: {metric}: {value:.3} {unit} (load {load})", self.name);
            if let Some(run) = self.runs.last_mut() {
                run.push(figure);
            }
        }
    }
}

/// A column for each contestant, medians of the runs.
fn show(contestants: &[(&'static str, Vec<Vec<Figure>>)]) {
    let mut table = Table::new();
    let names = contestants.iter().map(|(name, _)| *name);
    table.load_style(UTF8_FULL_CONDENSED).set_header(["metric", "unit"].into_iter().chain(names));
    let first = contestants.first().and_then(|(_, runs)| runs.first());
    for Figure { metric, unit, .. } in first.into_iter().flatten() {
        let median = |(_, runs): &(_, Vec<Vec<Figure>>)| {
            let all = runs.iter().flatten().filter(|figure| figure.metric == *metric);
            let median = middle(all.map(|figure| figure.value));
            median.map_or_else(|| "absent".to_owned(), |it| format!("{it:.2}"))
        };
        let row = [metric.clone(), (*unit).to_owned()].into_iter();
        table.add_row(row.chain(contestants.iter().map(median)));
    }
    println!("{table}");
}

fn figure(metric: &str, unit: &'static str, value: f64) -> Figure {
    Figure::taken(metric, unit, value)
}

/// Ours first; then who can be had, or why not.
fn entrants(options: &Options) -> Vec<(&'static str, Result<Way>)> {
    let ours = match options.plane {
        Plane::Kernel => ("sixwire", Ok(Way::Ours(Plane::Kernel))),
        Plane::Auto | Plane::Embedded => ("sixwire", Ok(Way::Ours(Plane::Embedded))),
    };
    let mut all = vec![ours];
    if options.beside == Beside::Nobody {
        return all;
    }
    let packaged = |program: &str| {
        if installed(program) { Ok(PathBuf::from(program)) } else { Err(not_installed(program)) }
    };
    let newest = |program: &str| {
        let place = target_directory().join("bench/newest/usr");
        let found = ["bin", "sbin"].map(|directory| place.join(directory).join(program));
        found.into_iter().find(|path| path.is_file()).ok_or_else(|| not_installed(program))
    };
    let links = |maker| Way::Links(maker);
    if options.plane == Plane::Kernel {
        all.push(("WireGuard by hand", Ok(links(Maker::Kernel))));
        all.push(("sixwire, embedded", Ok(Way::Ours(Plane::Embedded))));
    }
    let go = |path: Result<PathBuf>| path.map(|path| links(Maker::WireguardGo(path)));
    all.push(("wireguard-go, Debian 12", go(packaged("wireguard-go"))));
    all.push(("wireguard-go, newest Debian", go(newest("wireguard-go"))));
    all.push(("OpenVPN tap", packaged("openvpn").map(|_| links(Maker::OpenVpn))));
    if options.plane != Plane::Kernel {
        all.push(("tinc", packaged("tincd").map(|_| Way::Mesh(Mesh::Tinc))));
        let nebula = newest("nebula").and_then(|path| Ok((path, newest("nebula-cert")?)));
        let nebula = nebula.map(|(daemon, signer)| Way::Mesh(Mesh::Nebula(daemon, signer)));
        all.push(("nebula, newest Debian", nebula));
        let yggdrasil = newest("yggdrasil").map(|path| Way::Mesh(Mesh::Yggdrasil(path)));
        all.push(("yggdrasil, newest Debian", yggdrasil));
    }
    all.push(("no tunnel", Ok(links(Maker::Cable))));
    all
}

fn not_installed(program: &str) -> anyhow::Error {
    anyhow::anyhow!("{program} is not installed")
}

/// Figures of Mycelium 0.7.10, which no package registry has, from another machine's run with two processors.
fn stated(measurements: &mut Vec<Measurement>) {
    for (metric, unit, theirs) in STATED {
        let ours = measurements.iter().find(|one| one.metric == metric).map(|one| one.value);
        measurements.extend(ours.map(|ours| {
            Measurement::against(
                metric,
                unit,
                ours,
                ("Mycelium 0.7.10, stated, not of this run", theirs),
            )
        }));
    }
}

const STATED: [(&str, &str, f64); 4] = [
    ("one hop: TCP, one flow", "Mbit/s", 2170.0),
    ("one hop: TCP, one flow: processor", "s/Gbit", 0.60),
    ("through a transit node: TCP, one flow", "Mbit/s", 2060.0),
    ("through a transit node: TCP, one flow: processor", "s/Gbit", 0.76),
];

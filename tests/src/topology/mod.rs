//! Routers in any arrangement, each running a Babel of its own: ours, babeld or BIRD.

mod speaker;
mod table;

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;

use crate::clock::wait_for;
use crate::lab::{Lab, Namespace, Process, run};
use crate::line::Speaker;

pub use table::{Hop, Table};

/// Routers and the links between them.
#[derive(Debug)]
pub struct Topology {
    routers: Vec<Router>,
    directory: PathBuf,
    families: Families,
}

/// One router.
#[derive(Debug)]
pub struct Router {
    /// Where it lives.
    pub namespace: Namespace,
    number: usize,
    speaker: Speaker,
    /// Its neighbours; the link to neighbour 3 is `e3`.
    peers: Vec<usize>,
    /// What its links cost it.
    cost: u16,
    process: Option<Process>,
}

/// What the routers route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Families {
    /// IPv6, where BIRD has no tables for sources.
    Ipv6,
    /// IPv6, also by source.
    BySource,
    /// IPv6, and IPv4 over links that have IPv4 addresses.
    Both,
    /// IPv6, and IPv4 over links that have none.
    V4ViaV6,
    /// IPv6, and IPv4 over links of which the first alone has IPv4 addresses.
    BothKinds,
}

/// How a speaker ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// By SIGTERM, as services do.
    Clean,
    /// By SIGKILL.
    Kill,
}

/// The IPv6 prefix behind a router.
#[must_use]
pub fn prefix(number: usize) -> String {
    format!("fd11:{:x}::/64", number + 1)
}

/// The IPv4 prefix behind a router.
#[must_use]
pub fn prefix_v4(number: usize) -> String {
    format!("10.11.{}.0/24", number + 1)
}

impl Topology {
    /// Links new routers and starts their speakers.
    ///
    /// # Errors
    /// When a namespace, link or program cannot be made.
    pub fn start(
        lab: &mut Lab,
        speakers: &[Speaker],
        edges: &[(usize, usize)],
        families: Families,
    ) -> Result<Self> {
        let mut routers = Vec::new();
        for (number, speaker) in speakers.iter().enumerate() {
            let namespace = lab.namespace(&number.to_string())?;
            namespace.sysctl(&["net/ipv6/conf/all/forwarding=1", "net/ipv4/ip_forward=1"])?;
            let router = Router {
                namespace,
                number,
                speaker: *speaker,
                peers: Vec::new(),
                cost: 96,
                process: None,
            };
            router.settle(families)?;
            routers.push(router);
        }
        let mut topology = Self { routers, directory: lab.directory().to_owned(), families };
        for (number, (one, other)) in (0..).zip(edges) {
            topology.connect(number, *one, *other)?;
        }
        for number in 0..topology.routers.len() {
            topology.run(number, &[])?;
        }
        Ok(topology)
    }

    fn connect(&mut self, number: u8, one: usize, other: usize) -> Result<()> {
        let (here, there) = (format!("e{other}"), format!("e{one}"));
        let (left, right) = (&self.routers[one].namespace, &self.routers[other].namespace);
        left.ip(&format!("link add {here} type veth peer name {there} netns {}\n", right.name()))?;
        for (end, namespace, name) in [(1, left, &here), (2, right, &there)] {
            let numbered = match self.families {
                Families::Ipv6 | Families::BySource | Families::V4ViaV6 => false,
                Families::Both => true,
                Families::BothKinds => number == 0,
            };
            if numbered {
                namespace.ip(&format!("addr add 172.16.{number}.{end}/24 dev {name}\n"))?;
            }
            namespace.ip(&format!("link set {name} up\n"))?;
        }
        self.routers[one].peers.push(other);
        self.routers[other].peers.push(one);
        Ok(())
    }

    /// How many routers there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.routers.len()
    }

    /// Whether there is no router.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.routers.is_empty()
    }

    /// A router.
    #[must_use]
    pub fn router(&self, number: usize) -> &Router {
        &self.routers[number]
    }

    /// What a router runs.
    #[must_use]
    pub fn speaker(&self, number: usize) -> Speaker {
        self.routers[number].speaker
    }

    /// Starts a router's speaker; `more` are flags for ours.
    ///
    /// # Errors
    /// When the program cannot be started.
    pub fn run(&mut self, number: usize, more: &[&str]) -> Result<()> {
        let router = &self.routers[number];
        let mut command = router.command(&self.directory, self.families)?;
        if router.speaker == Speaker::Sixwire {
            command.args(more);
        }
        let name = format!("{}.log", router.namespace.name());
        self.routers[number].process =
            Some(Process::start(&mut command, &self.directory.join(name))?);
        Ok(())
    }

    /// Ends a router's speaker.
    ///
    /// # Errors
    /// When it does not end, or not with success where it was asked to.
    pub fn stop(&mut self, number: usize, stop: Stop) -> Result<()> {
        let mut process = self.routers[number].process.take().context("it does not run")?;
        match stop {
            Stop::Kill => process.kill(),
            Stop::Clean => {
                process.signal(Signal::SIGTERM)?;
                let ended = process.wait(PATIENCE)?;
                ensure!(ended.success(), "router {number} ended with {ended}");
                Ok(())
            }
        }
    }

    /// Empties a router's kernel of what its Babel made.
    ///
    /// # Errors
    /// When `ip` fails.
    pub fn forget_routes(&self, number: usize) -> Result<()> {
        let name = self.routers[number].namespace.name();
        for family in ["-6", "-4"] {
            let mut ip = Command::new("ip");
            run(ip.args(["-n", name, family, "route", "flush", "proto", "babel"]))?;
        }
        Ok(())
    }

    /// Makes the links of a router cost it so much, without a restart: babeld's and BIRD's only.
    ///
    /// # Errors
    /// When the speaker does not take it.
    pub fn set_cost(&mut self, number: usize, cost: u16) -> Result<()> {
        self.routers[number].cost = cost;
        self.routers[number].reconfigure(&self.directory, self.families)
    }

    /// Waits until every router that runs reaches every other's prefixes.
    ///
    /// # Errors
    /// After [`PATIENCE`], with a pair that does not.
    pub fn converge(&self, what: &str) -> Result<Duration> {
        let start = crate::clock::now();
        wait_for(&format!("{what}: all pairs"), PATIENCE, || self.all_arrive())?;
        Ok(crate::clock::now() - start)
    }

    /// Whether packets from every running router to every other's prefixes arrive, by the tables of all.
    ///
    /// # Errors
    /// A pair for which they do not, and where they go.
    pub fn all_arrive(&self) -> Result<(), String> {
        let tables = self.tables().map_err(|error| format!("{error:#}"))?;
        let running = |number: &usize| self.routers[*number].process.is_some();
        for to in (0..self.len()).filter(running) {
            for destination in self.destinations(to) {
                for from in (0..self.len()).filter(running) {
                    table::arrives(&tables, &destination, from, to)?;
                }
            }
        }
        Ok(())
    }

    /// Whether packets from everywhere to a destination arrive at one router.
    ///
    /// # Errors
    /// A router from which they do not.
    pub fn arrive(&self, destination: &str, to: usize) -> Result<(), String> {
        let tables = self.tables().map_err(|error| format!("{error:#}"))?;
        (0..self.len()).try_for_each(|from| table::arrives(&tables, destination, from, to))
    }

    fn destinations(&self, number: usize) -> Vec<String> {
        match self.families {
            Families::Ipv6 | Families::BySource => vec![prefix(number)],
            Families::Both | Families::V4ViaV6 | Families::BothKinds => {
                vec![prefix(number), prefix_v4(number)]
            }
        }
    }

    /// The routes of all routers.
    ///
    /// # Errors
    /// When `ip` fails.
    pub fn tables(&self) -> Result<Vec<Table>> {
        self.routers.iter().map(|router| Table::read(&router.namespace)).collect()
    }

    /// Waits until all other routers have a route to a destination, or none of them.
    ///
    /// # Errors
    /// After [`PATIENCE`], with the routers that are not so.
    pub fn wait_for_route(&self, destination: &str, origin: usize, there: Presence) -> Result<()> {
        let what = format!("{destination} {there:?} everywhere");
        wait_for(&what, PATIENCE, || {
            let tables = self.tables().map_err(|error| format!("{error:#}"))?;
            let found = |table: &Table| match table.hop(destination) {
                Some(_) => Presence::There,
                None => Presence::Gone,
            };
            let others = tables.iter().enumerate().filter(|(number, _)| *number != origin);
            let wrong: Vec<_> = others.filter(|(_, table)| found(table) != there).collect();
            if wrong.is_empty() { Ok(()) } else { Err(format!("not so on {wrong:?}")) }
        })
    }
}

/// Whether there is a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    /// There is.
    There,
    /// There is none.
    Gone,
}

/// The longest any step may take: babeld looks for what has expired only every 30 s.
pub const PATIENCE: Duration = Duration::from_secs(60);

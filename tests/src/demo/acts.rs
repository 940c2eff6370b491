//! The acts of the demonstration, in their order.

use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::report::{Check, NodeRow, Report};
use super::screen::Screen;
use crate::clock::{now, pause, wait_for};
use crate::lab::Lab;
use crate::network::{Network, Plan};
use crate::ping::{Pinger, Record};

/// A network and what has been found out about it.
pub(super) struct Stage {
    pub(super) network: Network,
    screen: Screen,
    report: Report,
}

type Act = fn(&mut Stage) -> Result<Check>;

impl Stage {
    /// The first act: a network of joined nodes.
    pub(super) fn open(lab: Lab, plan: Plan, screen: Screen) -> Result<Self> {
        let behind = plan.behind_nat;
        screen.act("A registry makes the network; each node joins with a token of its own");
        screen.note(format!("three routed subnets, {behind} nodes behind a masquerading gateway"));
        let begun = now();
        let network = Network::join(lab, plan)?;
        let detail = format!("{} nodes in {}", plan.nodes, seconds(now() - begun));
        let mut check = Check::held(JOINED, detail);
        check.seconds = Some((now() - begun).as_secs_f64());
        screen.check(&check);
        let report = Report { schema: 1, checks: vec![check], ..Report::default() };
        Ok(Self { network, screen, report })
    }

    /// The other acts, until one fails.
    pub(super) fn play(&mut self) -> Report {
        for (title, claim, act) in ACTS {
            self.screen.act(title);
            let check = act(self).unwrap_or_else(|error| Check::failed(claim, &error));
            self.screen.check(&check);
            let held = check.held;
            self.report.checks.push(check);
            if !held {
                break;
            }
        }
        self.report.held = self.report.checks.iter().all(|check| check.held);
        self.report.clone()
    }

    fn reach(&mut self) -> Result<Check> {
        let started = self.network.up()?;
        let pairs = self.network.flows().len();
        let took = self.network.wait_reachable(PATIENCE)?.saturating_sub(started);
        let detail = format!("{pairs} pairs, {} after the last node started", seconds(took));
        Ok(Check { seconds: Some(took.as_secs_f64()), ..Check::held(REACHED, detail) })
    }

    fn survey(&mut self) -> Result<Check> {
        self.report.nodes = (0..self.network.nodes.len())
            .map(|index| self.row(index))
            .collect::<Result<Vec<_>>>()?;
        self.screen.nodes(&self.report.nodes);
        let times = self.network.round_trips()?;
        self.screen.round_trips(&self.report.nodes, &times);
        let lost = times.iter().flatten().filter(|time| time.is_none()).count() - times.len();
        let millis = |time: &Option<Duration>| time.map(|time| time.as_secs_f64() * 1e3);
        self.report.round_trip_ms =
            times.iter().map(|row| row.iter().map(millis).collect()).collect();
        let tunnels: usize = self.report.nodes.iter().map(|node| node.dialled).sum();
        ensure!(lost == 0, "{lost} pairs did not answer");
        Ok(Check::held(SURVEYED, format!("{tunnels} tunnels, every pair answers")))
    }

    fn row(&mut self, index: usize) -> Result<NodeRow> {
        let node = self.network.node(index)?;
        let (status, peers) = (node.status()?, node.peers()?);
        let host = &node.host;
        let underlay = if host.address == host.outside {
            host.address.to_string()
        } else {
            format!("{} behind {}", host.address, host.outside)
        };
        let count = |role: &str| peers.iter().filter(|peer| peer.role == role).count();
        let kib = u32::try_from(node.daemon()?.resident_kib()?).unwrap_or(u32::MAX);
        Ok(NodeRow {
            name: node.name.clone(),
            underlay,
            address: status.node.address.to_string(),
            wireguard: status.tunnels.wireguard,
            dialled: count("dialled"),
            served: count("served"),
            routes: status.routing.routes,
            memory_mib: f64::from(kib) / 1024.0,
        })
    }

    fn reroute(&mut self) -> Result<Check> {
        let link = self.network.link_in_use()?;
        let [from, to] = [link.from, link.to].map(|index| self.network.nodes.get(index));
        let (from, to) = from.zip(to).context("a link has two nodes")?;
        self.screen.note(format!(
            "a router drops all UDP between {} and {}, silently; {} keeps pinging {}",
            from.name, to.name, from.name, to.name
        ));
        let flow = self.network.flow(link.from, link.to).context("both nodes have an address")?;
        let pinger = Pinger::start(&[flow], Duration::from_millis(10))?;
        steady(&pinger, Duration::ZERO)?;
        self.network.underlay.cut(&from.host, &to.host)?;
        let cut = now();
        let back = steady(&pinger, cut);
        let record = pinger.stop().remove(0).since(cut);
        self.network.underlay.heal(&from.host, &to.host)?;
        back?;
        let (lost, took) = (record.lost(), record.longest_gap());
        ensure!(took <= REROUTE, "rerouted only after {}, {lost} pings lost", seconds(took));
        let detail = format!("after {}; {lost} pings lost, at 100 a second", seconds(took));
        Ok(Check {
            seconds: Some(took.as_secs_f64()),
            lost: Some(lost),
            ..Check::held(REROUTED, detail)
        })
    }

    fn lose_registry(&mut self) -> Result<Check> {
        self.screen.note("SIGKILL for the registry; all pairs keep pinging");
        let pinger = self.ping_all()?;
        self.network.registry.kill()?;
        pause(Duration::from_secs(2));
        let sent = self.ensure_no_loss(&pinger.stop())?;
        Ok(Check { lost: Some(0), ..Check::held(UNREGISTERED, format!("{sent} pings, none lost")) })
    }

    fn crash(&mut self) -> Result<Check> {
        let index = self.network.nodes.len() / 2;
        let node = self.network.node(index)?;
        let before = (node.tunnel_interfaces()?, node.name.clone());
        self.screen.note(format!(
            "SIGKILL for the daemon of {}, then a new one; all pairs keep pinging",
            before.1
        ));
        let pinger = self.ping_all()?;
        let node = self.network.node(index)?;
        node.kill()?;
        pause(Duration::from_secs(1));
        node.up()?;
        node.wait_status(PATIENCE)?;
        pause(Duration::from_secs(1));
        let after = node.tunnel_interfaces()?;
        let sent = self.ensure_no_loss(&pinger.stop())?;
        ensure!(after == before.0, "it had the tunnels {:?}, and has {after:?}", before.0);
        let detail = format!("{sent} pings, none lost; {} tunnels adopted", after.len());
        Ok(Check { lost: Some(0), ..Check::held(ADOPTED, detail) })
    }

    fn power_cut(&mut self) -> Result<Check> {
        let node = self.network.node(1)?;
        let name = node.name.clone();
        self.screen.note(format!(
            "{name} loses every process, tunnel and route; the registry is still dead"
        ));
        node.power_cut()?;
        let started = now();
        node.up()?;
        let took = self.network.wait_reachable(PATIENCE)?.saturating_sub(started);
        let detail = format!("all pairs reachable {} after its start", seconds(took));
        Ok(Check { seconds: Some(took.as_secs_f64()), ..Check::held(RETURNED, detail) })
    }

    /// How many pings were sent on all pairs; an error names the pairs that lost some.
    fn ensure_no_loss(&self, records: &[Record]) -> Result<usize> {
        let count = self.network.nodes.len();
        let pairs = (0..count).flat_map(|from| (0..count).map(move |to| (from, to)));
        let pairs = pairs.filter(|(from, to)| from != to);
        let losers: Vec<_> = pairs
            .zip(records)
            .filter(|(_, record)| record.lost() > 0)
            .map(|((from, to), record)| {
                let gap = seconds(record.longest_gap());
                format!("n{} to n{}: {} ({gap})", from + 1, to + 1, record.lost())
            })
            .collect();
        ensure!(losers.is_empty(), "pings were lost, {}", losers.join(", "));
        Ok(records.iter().map(|record| record.probes.len()).sum())
    }

    /// Ten pings a second for every pair, fewer where there are many pairs.
    fn ping_all(&self) -> Result<Pinger> {
        let flows = self.network.flows();
        let share = Duration::from_micros(500) * u32::try_from(flows.len()).unwrap_or(u32::MAX);
        let pinger = Pinger::start(&flows, share.max(Duration::from_millis(100)))?;
        wait_for("all pairs to answer", PATIENCE, || {
            let records = pinger.records();
            let silent = records.iter().filter(|record| record.answered() == 0).count();
            if silent == 0 { Ok(()) } else { Err(format!("{silent} do not")) }
        })?;
        Ok(pinger)
    }
}

/// Waits for half a second of answers in a row to probes sent after `from`.
fn steady(pinger: &Pinger, from: Duration) -> Result<()> {
    wait_for("pings to flow", PATIENCE, || {
        let run = pinger.records().first().map_or(0, |record| record.since(from).run_of_answers());
        if run >= 50 { Ok(()) } else { Err(format!("{run} answers in a row")) }
    })
}

fn seconds(time: Duration) -> String {
    format!("{:.2} s", time.as_secs_f64())
}

const ACTS: [(&str, &str, Act); 6] = [
    ("The nodes start", REACHED, Stage::reach),
    ("The network", SURVEYED, Stage::survey),
    ("A tunnel in use is cut", REROUTED, Stage::reroute),
    ("The registry dies", UNREGISTERED, Stage::lose_registry),
    ("A daemon crashes", ADOPTED, Stage::crash),
    ("A node loses power", RETURNED, Stage::power_cut),
];

pub(super) const JOINED: &str = "every node joined";
const REACHED: &str = "all pairs reach each other over IPv6";
const SURVEYED: &str = "the agents agree with the pings";
const REROUTED: &str = "pings flow again on another way";
const UNREGISTERED: &str = "no packet needs the registry";
const ADOPTED: &str = "forwarding outlives the daemon";
const RETURNED: &str = "the node returns from its cache alone";

/// The longest any act may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// The longest a flow may be interrupted by the loss of a tunnel.
const REROUTE: Duration = Duration::from_secs(4);

//! The same mesh without us: WireGuard interfaces configured by hand and Debian's babeld with its defaults.

use std::net::Ipv6Addr;
use std::path::Path;

use anyhow::{Context, Result};

use super::start::{Figures, NODES, PATIENCE, interrupt};
use crate::clock::now;
use crate::lab::{Families, Gate, Lab, Namespace, Node, Plane, Process, Underlay, run};
use crate::network::wait_answers;
use crate::ping::Flow;

pub(super) const NAME: &str = "tunnels made by hand before, then Debian's babeld with its defaults";

/// Full mesh of all nodes but the pair behind the same gateway, on the underlay our own network gets.
pub(super) struct Baseline {
    nodes: Vec<Node>,
    keys: Vec<(String, String)>,
    daemons: Vec<Process>,
    underlay: Underlay,
    lab: Lab,
}

impl Baseline {
    pub(super) fn new(plane: Plane) -> Result<Self> {
        let mut lab = Lab::new()?;
        let mut underlay = Underlay::new(&mut lab, Families::V4)?;
        for gate in [Gate::Open, Gate::Open, Gate::Open, Gate::Masquerade] {
            underlay.router(&mut lab, gate)?;
        }
        let (mut nodes, mut keys) = (Vec::new(), Vec::new());
        for index in 0..NODES {
            let router = if index + 2 >= NODES { 3 } else { index % 3 };
            let name = format!("n{}", index + 1);
            let host = underlay.host(&mut lab, router, &name)?;
            let node = Node::new(&lab, host, &name, plane)?;
            node.host.namespace.sysctl(&["net/ipv6/conf/all/forwarding=1"])?;
            node.host.namespace.ip(&format!("addr add {}/128 dev lo\n", address(index)))?;
            let file = lab.directory().join(format!("{name}.key"));
            let made = "umask 077; wg genkey | tee \"$0\" | wg pubkey";
            let public = run(node.program(Path::new("sh")).args(["-c", made]).arg(&file))?;
            keys.push((file.to_string_lossy().into_owned(), public.trim().to_owned()));
            nodes.push(node);
        }
        let mut baseline = Self { nodes, keys, daemons: Vec::new(), underlay, lab };
        for one in 0..NODES {
            for other in (one + 1..NODES).filter(|other| *other + 1 < NODES || one + 2 < NODES) {
                baseline.end(one, other)?;
                baseline.end(other, one)?;
            }
        }
        Ok(baseline)
    }

    /// One end of a tunnel: interface `wg<other>`, port 5000 plus the peer's index.
    fn end(&mut self, index: usize, other: usize) -> Result<()> {
        let node = self.nodes.get(index).context("a node")?;
        let peer = self.nodes.get(other).context("a peer")?;
        let ((private, _), (_, public)) =
            self.keys.get(index).zip(self.keys.get(other)).context("their keys")?;
        let name = format!("wg{other}");
        match node.plane() {
            Plane::Kernel => {
                node.host.namespace.ip(&format!("link add {name} type wireguard\n"))?
            }
            Plane::Auto | Plane::Embedded => {
                run(node.program(Path::new("wireguard-go")).arg(&name)).map(drop)?;
            }
        }
        let mut wg = node.program(Path::new("wg"));
        let port = (5000 + other).to_string();
        wg.args(["set", &name, "private-key", private, "listen-port", &port, "peer", public]);
        wg.args(["allowed-ips", "::/0,0.0.0.0/0", "persistent-keepalive", "25"]);
        if peer.host.address == peer.host.outside {
            wg.arg("endpoint").arg(format!("{}:{}", peer.host.address, 5000 + index));
        }
        run(&mut wg)?;
        node.host.namespace.ip(&format!(
            "addr add fe80::{:x}/64 dev {name} nodad\nlink set {name} mtu 1420 up\n",
            index + 1
        ))
    }

    /// Starts the daemons and takes the figures.
    pub(super) fn measure(mut self) -> Result<Figures> {
        for (index, node) in self.nodes.iter().enumerate() {
            let mut babeld = node.program(Path::new("babeld"));
            let own = format!("redistribute local ip {}/128 allow", address(index));
            babeld.args(["-C", &own, "-C", "redistribute local deny"]);
            let links = node.host.namespace.interfaces()?;
            babeld.args(links.iter().filter(|link| link.starts_with("wg")));
            let log = self.lab.directory().join(format!("{}.babeld.log", node.name));
            self.daemons.push(Process::start(&mut babeld, &log)?);
        }
        let started = now();
        let mut flows = self.flows();
        let reach = wait_answers(&flows, PATIENCE)?.saturating_sub(started);
        let spaces: Vec<_> = self.nodes.iter().map(|node| node.host.namespace.clone()).collect();
        let memory = memory(&spaces)?;
        let (one, other) = self.nodes.first().zip(self.nodes.get(1)).context("two nodes")?;
        let cut = || self.underlay.cut(&one.host, &other.host);
        let (reroute, lost) = interrupt(flows.swap_remove(0), cut)?;
        Ok(Figures { reach: reach.as_secs_f64(), reroute, lost, memory })
    }

    fn flows(&self) -> Vec<Flow> {
        let pairs = (0..NODES).flat_map(|from| (0..NODES).map(move |to| (from, to)));
        let flow = |(from, to): (usize, usize)| {
            Some(self.nodes.get(from)?.flow(address(from), address(to)))
        };
        pairs.filter(|(from, to)| from != to).filter_map(flow).collect()
    }
}

/// Proportional share of memory of all processes of a node, mean over the nodes, MiB.
pub(super) fn memory(nodes: &[Namespace]) -> Result<f64> {
    let mut kib = 0;
    for node in nodes {
        for pid in node.processes()? {
            let table = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
            let row = table.lines().find_map(|line| line.strip_prefix("Pss:"));
            let size = row.and_then(|row| row.split_whitespace().next()).unwrap_or("0");
            kib += size.parse::<u32>().context("Pss is a number")?;
        }
    }
    let nodes = u32::try_from(nodes.len()).context("few nodes")?;
    Ok(f64::from(kib) / 1024.0 / f64::from(nodes))
}

fn address(index: usize) -> Ipv6Addr {
    let last = u16::try_from(index + 1).unwrap_or(u16::MAX);
    Ipv6Addr::new(0xfd00, 0xba5e, last, 0, 0, 0, 0, 1)
}

//! Three machines in a row, the middle one with a cable to each end; the ends cannot reach each other below.

use std::net::Ipv4Addr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::clock::{now, wait_for};
use crate::lab::{Host, Lab, Namespace, Node, Plane, Registry};
use crate::network::wait_answers;
use crate::ping::Flow;

/// Left, middle, right.
pub(super) struct Chain {
    pub(super) nodes: [Node; 3],
}

/// A chain whose machines are nodes of a network that the middle one's registry made.
pub(super) struct Members {
    pub(super) chain: Chain,
    pub(super) registry: Registry,
}

impl Chain {
    /// Machines called `a`, `m` and `b` after the contestant's `tag`.
    pub(super) fn new(lab: &mut Lab, tag: &str, plane: Plane) -> Result<Self> {
        let mut nodes = Vec::new();
        for (name, address) in [("a", LEFT), ("m", MIDDLE[0]), ("b", RIGHT)] {
            let name = format!("{tag}{name}");
            let host = Host::alone(lab.namespace(&name)?, address);
            nodes.push(Node::new(lab, host, &name, plane)?);
        }
        let nodes = <[Node; 3]>::try_from(nodes).ok().context("three machines")?;
        let [left, middle, right] = nodes.each_ref().map(|node| &node.host.namespace);
        cable((left, LEFT), (middle, "left", MIDDLE[0]))?;
        cable((right, RIGHT), (middle, "right", MIDDLE[1]))?;
        // One address of the middle is known to both ends.
        right.ip(&format!("route add {}/32 via {}\n", MIDDLE[0], MIDDLE[1]))?;
        Ok(Self { nodes })
    }

    /// The machines' namespaces.
    pub(super) fn spaces(&self) -> [&Namespace; 3] {
        self.nodes.each_ref().map(|node| &node.host.namespace)
    }

    /// Underlay address of the machine `to` as the machine `from` beside it sees it.
    pub(super) fn underlay(from: usize, to: usize) -> Ipv4Addr {
        match (from, to) {
            (_, 0) => LEFT,
            (_, 2) => RIGHT,
            (0, _) => MIDDLE[0],
            _ => MIDDLE[1],
        }
    }
}

impl Members {
    /// Every machine has joined; none is up.
    pub(super) fn join(lab: &mut Lab, tag: &str, plane: Plane) -> Result<Self> {
        let chain = Chain::new(lab, tag, plane)?;
        let registry = Registry::start(lab, chain.nodes[1].host.clone())?;
        for node in &chain.nodes {
            node.join(&registry.token(&["--role", "transit"])?)?;
        }
        Ok(Self { chain, registry })
    }

    /// Starts all, the middle first, and waits until the left one reaches the others.
    pub(super) fn up(&mut self) -> Result<()> {
        for index in [1, 0, 2] {
            self.chain.nodes[index].up()?;
            self.chain.nodes[index].wait_status(PATIENCE)?;
        }
        wait_answers(&self.flows()?, PATIENCE).map(drop)
    }

    /// From the left one to the middle, and through it to the right one.
    pub(super) fn flows(&self) -> Result<[Flow; 2]> {
        let [left, middle, right] = self.chain.nodes.each_ref();
        let own = left.status()?.node.address;
        Ok([
            left.flow(own, middle.status()?.node.address),
            left.flow(own, right.status()?.node.address),
        ])
    }

    /// The middle node.
    pub(super) fn middle(&mut self) -> &mut Node {
        &mut self.chain.nodes[1]
    }

    /// Waits until a node's daemon has as many neighbours as the machine has cables.
    pub(super) fn wait_neighbours(&mut self, index: usize) -> Result<Duration> {
        let wanted = if index == 1 { 2 } else { 1 };
        let node = &mut self.chain.nodes[index];
        node.wait_status(PATIENCE)?;
        wait_for("neighbours", PATIENCE, || {
            let status = node.status().map_err(|error| format!("{error:#}"))?;
            let there = status.routing.neighbours;
            if there >= wanted { Ok(now()) } else { Err(format!("{there} of {wanted}")) }
        })
    }
}

/// A veth pair from `eth0` of an end to the middle.
fn cable(
    (end, address): (&Namespace, Ipv4Addr),
    (middle, name, other): (&Namespace, &str, Ipv4Addr),
) -> Result<()> {
    middle.ip(&format!(
        "link add {name} type veth peer name eth0 netns {}\n\
         addr add {other}/30 dev {name}\n\
         link set {name} up\n",
        end.name()
    ))?;
    end.ip(&format!("addr add {address}/30 dev eth0\nlink set eth0 up\n"))?;
    // The machines have IPv6 inside only.
    for (space, name) in [(end, "eth0"), (middle, name)] {
        space.sysctl(&[&format!("net/ipv6/conf/{name}/disable_ipv6=1")])?;
    }
    Ok(())
}

/// Whether a program can be started by its name.
pub(super) fn installed(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut places: Vec<_> = std::env::split_paths(&path).collect();
    places.extend(["/usr/sbin", "/sbin"].map(Path::new).map(Path::to_owned));
    places.iter().any(|place| place.join(program).is_file())
}

const LEFT: Ipv4Addr = Ipv4Addr::new(10, 0, 1, 2);
const MIDDLE: [Ipv4Addr; 2] = [Ipv4Addr::new(10, 0, 1, 1), Ipv4Addr::new(10, 0, 2, 1)];
const RIGHT: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 2);
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

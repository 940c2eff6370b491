//! A whole network in a lab: registry, nodes on several routed subnets, some behind NAT.

use std::net::Ipv6Addr;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::clock::{now, wait_for};
use crate::lab::{Families, Gate, Lab, Node, Plane, Registry, Underlay};
use crate::ping::{Flow, Pinger, Record, once};

/// How a network is made.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// All nodes.
    pub nodes: usize,
    /// Of these, the last ones sit behind one masquerading gateway and are leaves; the others are transit.
    pub behind_nat: usize,
    /// What carries the tunnels.
    pub plane: Plane,
}

/// A registry and nodes that have joined it; `nodes[0]` shares its subnet with the registry.
#[derive(Debug)]
pub struct Network {
    /// The nodes, named `n1`, `n2`, ...
    pub nodes: Vec<Node>,
    /// The registry.
    pub registry: Registry,
    /// Routers.
    pub underlay: Underlay,
    /// What carries the tunnels.
    pub plane: Plane,
    /// The overlay address of each node, known once all have been up.
    pub addresses: Vec<Ipv6Addr>,
    /// The rooms; declared last, so it goes last.
    pub lab: Lab,
}

/// A tunnel that carries traffic between its two ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Index of a node.
    pub from: usize,
    /// Index of its neighbour.
    pub to: usize,
    /// The interface at the `from` end.
    pub interface: String,
}

impl Network {
    /// Makes the underlay, starts the registry, and lets every node join with a token of its own.
    ///
    /// # Errors
    /// What failed first.
    pub fn join(mut lab: Lab, plan: Plan) -> Result<Self> {
        let mut underlay = Underlay::new(&mut lab, Families::V4)?;
        for _ in 0..SUBNETS {
            underlay.router(&mut lab, Gate::Open)?;
        }
        let nat = underlay.router(&mut lab, Gate::Masquerade)?;
        let host = underlay.host(&mut lab, 0, "registry")?;
        let registry = Registry::start(&lab, host)?;
        let mut nodes = Vec::new();
        for index in 0..plan.nodes {
            let (router, options) = if index + plan.behind_nat >= plan.nodes {
                (nat, &[][..])
            } else {
                (index % SUBNETS, &["--role", "transit"][..])
            };
            let name = format!("n{}", index + 1);
            let host = underlay.host(&mut lab, router, &name)?;
            let node = Node::new(&lab, host, &name, plan.plane)?;
            node.join(&registry.token(options)?)?;
            nodes.push(node);
        }
        let (plane, addresses) = (plan.plane, Vec::new());
        Ok(Self { nodes, registry, underlay, plane, addresses, lab })
    }

    /// Starts every node, then learns their addresses. Returns when the last was started.
    ///
    /// # Errors
    /// When a daemon does not start or does not answer within 20 s.
    pub fn up(&mut self) -> Result<Duration> {
        for node in &mut self.nodes {
            node.up()?;
        }
        let started = now();
        self.addresses.clear();
        for node in &mut self.nodes {
            let status = node.wait_status(Duration::from_secs(20))?;
            self.addresses.push(status.node.address);
        }
        Ok(started)
    }

    /// A flow from every node to every other, in the order of the nodes.
    #[must_use]
    pub fn flows(&self) -> Vec<Flow> {
        let count = self.nodes.len();
        let pairs = (0..count).flat_map(|from| (0..count).map(move |to| (from, to)));
        pairs.filter(|(from, to)| from != to).filter_map(|(from, to)| self.flow(from, to)).collect()
    }

    /// The flow from one node's address to another's; `None` before [`Self::up`].
    #[must_use]
    pub fn flow(&self, from: usize, to: usize) -> Option<Flow> {
        let node = self.nodes.get(from)?;
        Some(node.flow(*self.addresses.get(from)?, *self.addresses.get(to)?))
    }

    /// Pings until every node has reached every other, and returns when the last pair first did.
    ///
    /// # Errors
    /// After `patience`: which pairs have not.
    pub fn wait_reachable(&self, patience: Duration) -> Result<Duration> {
        let mut flows = self.flows();
        for flow in &mut flows {
            // The address may not be there yet; the kernel picks it when it is.
            flow.source = None;
        }
        wait_answers(&flows, patience)
    }

    /// One ping for every pair: rows from, columns to; `None` on the diagonal and where no answer came.
    ///
    /// # Errors
    /// When a socket cannot be opened.
    pub fn round_trips(&self) -> Result<Vec<Vec<Option<Duration>>>> {
        let mut times = once(&self.flows())?.into_iter();
        let count = self.nodes.len();
        let row =
            |from| (0..count).map(|to| if from == to { None } else { times.next()? }).collect();
        Ok((0..count).map(row).collect())
    }

    /// A tunnel between public nodes that the route from one end to the other uses.
    ///
    /// # Errors
    /// When there is none.
    pub fn link_in_use(&self) -> Result<Link> {
        for (from, node) in self.nodes.iter().enumerate() {
            let (peers, routes) = (node.peers()?, node.routes()?);
            for (to, other) in self.nodes.iter().enumerate() {
                if from == to || other.host.address != other.host.outside {
                    continue;
                }
                let identity = other.status()?.node;
                let route = routes.iter().find(|route| route.destination == identity.prefix);
                let interface = route.map(|route| &route.interface);
                let direct = peers.iter().find(|peer| {
                    peer.router_id == identity.router_id && Some(&peer.interface) == interface
                });
                if let Some(peer) = direct {
                    return Ok(Link { from, to, interface: peer.interface.clone() });
                }
            }
        }
        bail!("no node's route to another uses a tunnel between the two")
    }

    /// The node at `index`.
    ///
    /// # Errors
    /// When there are not so many.
    pub fn node(&mut self, index: usize) -> Result<&mut Node> {
        self.nodes.get_mut(index).with_context(|| format!("there is no node {index}"))
    }

    /// Lets registry and nodes run on without this value; the lab must be a kept one.
    pub fn release(self) {
        self.registry.release();
        self.nodes.into_iter().for_each(Node::release);
    }
}

/// Pings on all flows until each has had an answer, and returns when the last had its first.
///
/// # Errors
/// After `patience`: which have not.
pub fn wait_answers(flows: &[Flow], patience: Duration) -> Result<Duration> {
    let pace = PACE.max(PROBE_SHARE * u32::try_from(flows.len()).unwrap_or(u32::MAX));
    let pinger = Pinger::start(flows, pace)?;
    let last = wait_for("all pairs to be reachable", patience, || {
        let first: Vec<_> = pinger.records().iter().map(Record::first_answer).collect();
        let silent = first.iter().zip(flows).filter(|(first, _)| first.is_none());
        match first.iter().copied().collect::<Option<Vec<_>>>() {
            Some(first) => Ok(first.into_iter().max().unwrap_or_else(now)),
            None => Err(missing_pairs(silent.map(|(_, flow)| flow), flows.len())),
        }
    });
    let _ = pinger.stop();
    last
}

fn missing_pairs<'a>(missing: impl Iterator<Item = &'a Flow>, all: usize) -> String {
    let name = |flow: &Flow| {
        let from = flow.from.name();
        let from = from.rsplit_once('-').map_or(from, |(_, name)| name);
        format!("{from} to {}", flow.to)
    };
    let missing: Vec<_> = missing.map(name).collect();
    let some = missing.get(..8).unwrap_or(&missing).join(", ");
    format!("{} of {all} pairs are not: {some}", missing.len())
}

/// Open routers, each with its subnets.
const SUBNETS: usize = 3;
/// The shortest time between two probes of a pair.
const PACE: Duration = Duration::from_millis(50);
/// At most 2000 probes a second in all, so that measuring does not become the load.
const PROBE_SHARE: Duration = Duration::from_micros(500);

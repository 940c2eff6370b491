//! Real routing engines in virtual time, watched by an oracle.
//!
//! A [`Simulation`] is a [`Topology`] of engines on wires that lose, delay, reorder and duplicate packets. It is
//! fixed by its seed: run again, it gives the same [`Simulation::trace`]. At every change of a next hop the
//! [`oracle`](self) walks the changed route; a forwarding loop ends the run. [`Simulation::settle`] wants
//! shortest paths everywhere after a stated time. An error names topology, seed and moment.

mod churn;
mod events;
mod node;
mod oracle;
mod recording;
mod topology;
mod trace;
mod wire;

use std::collections::BTreeSet;
use std::fmt::Display;
use std::net::{IpAddr, Ipv6Addr};
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Result, anyhow};
use sixwire_controlplane::babel::{
    Authentication, Filter, Input, LinkParams, LinkTag, Output, Target,
};
use sixwire_proto::babel::{Destination, Packet};
use sixwire_proto::link::LinkId;
use sixwire_proto::metric::{Cost, Metric};
use sixwire_proto::seed::Seed;
use sixwire_proto::time::Instant;

pub use churn::{EXCUSE, Fault, Storm};
use events::{Arrival, Events, What};
use node::{Node, number, prefix};
pub use node::{id, key};
use oracle::{Hop, Oracle};
pub use recording::Recording;
pub use topology::Topology;
use trace::Trace;
pub use wire::Quality;
use wire::{Carrier, Wire};

/// A network that runs in virtual time.
pub struct Simulation {
    name: String,
    seed: Seed,
    now: Instant,
    nodes: Vec<Node>,
    wires: Vec<Wire>,
    events: Events,
    oracle: Oracle,
    trace: Trace,
    /// Prefixes that had more than one originator.
    moved: BTreeSet<usize>,
    recording: Option<Recording>,
    /// What ended the run.
    trouble: Option<String>,
    count: Count,
}

/// What was carried and decided so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// Packets sent, each copy of a multicast once.
    pub packets: u64,
    /// Their octets.
    pub octets: u64,
    /// Next hops or metrics changed.
    pub changes: u64,
    /// Events handled.
    pub events: u64,
    /// Loops that a restart or a moved prefix made for a moment.
    pub passing_loops: u64,
}

/// How a network came to rest.
#[derive(Clone, Copy, Debug)]
pub struct Settled {
    /// Until the last node had a route that it had been without.
    pub reached: Duration,
    /// Until the last change of any route.
    pub took: Duration,
    /// What happened meanwhile, and until the end of the time given.
    pub count: Count,
}

impl Simulation {
    /// A network whose nodes start within the first second. Node `n` announces [`key`]`(n)`.
    #[must_use]
    pub fn new(topology: &Topology, seed: u64) -> Self {
        let name = format!("{topology} with seed {seed}");
        let mut seed = Seed::new(seed);
        let now = Instant(1_000_000);
        let mut events = Events::default();
        let mut nodes: Vec<_> = (0..topology.nodes).map(Node::new).collect();
        for (number, ends) in topology.wires.iter().enumerate() {
            for end in ends {
                nodes[*end].wires.push(number);
            }
        }
        for node in 0..topology.nodes {
            events.push(now + seed.between(Duration::ZERO, START), What::Start(node));
        }
        let wires = topology.wires.iter().map(|ends| Wire::new(ends.clone())).collect();
        Self {
            name,
            seed,
            now,
            oracle: Oracle::new(topology.nodes),
            nodes,
            wires,
            events,
            trace: Trace::default(),
            moved: BTreeSet::new(),
            recording: None,
            trouble: None,
            count: Count::default(),
        }
    }

    /// Gives a node rules for its next start. They know a link by the number of its wire.
    pub fn filter(&mut self, node: usize, filters: Vec<Filter>) {
        self.nodes[node].filters = filters;
    }

    /// Gives the links of a node keys, from now on and when it starts.
    pub fn authenticate(&mut self, node: usize, authentication: &Authentication) {
        self.nodes[node].authentication = Some(authentication.clone());
        for wire in self.nodes[node].wires.clone() {
            self.key(node, wire);
        }
    }

    /// Virtual time.
    #[must_use]
    pub fn now(&self) -> Instant {
        self.now
    }

    /// A number that stands for all outputs of all nodes so far.
    #[must_use]
    pub fn trace(&self) -> u64 {
        self.trace.value()
    }

    /// What was carried and decided so far.
    #[must_use]
    pub fn count(&self) -> Count {
        self.count
    }

    /// How many nodes there are.
    #[must_use]
    pub fn nodes(&self) -> usize {
        self.nodes.len()
    }

    /// How many wires there are.
    #[must_use]
    pub fn wires(&self) -> usize {
        self.wires.len()
    }

    /// Writes down all that one node is told from its next start on.
    pub fn record(&mut self, node: usize) {
        self.recording = Some(Recording::new(node));
    }

    /// What was written down.
    #[must_use]
    pub fn recording(&self) -> Option<&Recording> {
        self.recording.as_ref()
    }

    /// Sets how all wires carry.
    pub fn quality(&mut self, quality: Quality) {
        self.wires.iter_mut().for_each(|wire| wire.quality = quality);
    }

    /// Runs for a time.
    ///
    /// # Errors
    /// When the oracle saw a loop.
    pub fn run(&mut self, duration: Duration) -> Result<()> {
        let end = self.now + duration;
        while let Some((at, what)) = self.events.pop_before(end) {
            self.now = self.now.max(at);
            self.count.events += 1;
            self.happen(at, what);
            if let Some(trouble) = &self.trouble {
                return Err(self.error(trouble));
            }
        }
        self.now = end;
        Ok(())
    }

    /// Runs for `bound` and wants the right routes everywhere by then.
    ///
    /// # Errors
    /// A loop, or a route that is missing, not shortest or stale.
    pub fn settle(&mut self, bound: Duration) -> Result<Settled> {
        let (start, before) = (self.now, self.count);
        self.run(bound)?;
        self.check()?;
        Ok(Settled {
            reached: self.oracle.last_gain.since(start),
            took: self.oracle.last_change.since(start),
            count: self.count.since(before),
        })
    }

    /// Wants the right routes everywhere now.
    ///
    /// # Errors
    /// Names the first node and prefix that are wrong.
    pub fn check(&self) -> Result<()> {
        let graph = oracle::Graph::of(&self.nodes, &self.wires).map_err(|what| self.error(what))?;
        let owners = self.owners();
        self.oracle.right(&graph, &owners).map_err(|what| self.error(what))
    }

    /// The most octets that any wire carried within one second, both ways together, since this was last asked.
    pub fn take_peak(&mut self) -> usize {
        self.wires.iter_mut().map(|wire| wire.load.take_peak()).max().unwrap_or(0)
    }

    /// The sum of an engine's counter over all nodes that run.
    #[must_use]
    pub fn counter(&self, label: &str) -> u64 {
        let engines = self.nodes.iter().filter_map(|node| node.babel.as_ref());
        engines
            .flat_map(|babel| babel.counters())
            .filter(|one| one.0 == label)
            .map(|one| one.1)
            .sum()
    }

    /// Who announces each prefix at present.
    fn owners(&self) -> Vec<Option<usize>> {
        let mut owners = vec![None; self.nodes.len()];
        for (number, node) in self.nodes.iter().enumerate().filter(|(_, node)| node.babel.is_some())
        {
            node.own.iter().for_each(|prefix| owners[*prefix] = Some(number));
        }
        owners
    }

    fn error(&self, what: impl Display) -> anyhow::Error {
        anyhow!(
            "{}, at {:.6} s: {what}",
            self.name,
            Duration::from_micros(self.now.0).as_secs_f64()
        )
    }

    fn happen(&mut self, at: Instant, what: What) {
        match what {
            What::Start(node) => self.start(node),
            What::Arrival(node, Arrival { link, source, destination, bytes }) => {
                self.input(node, Input::Packet { link, source, destination, bytes: &bytes });
            }
            What::Answer(node, link, neighbour) => {
                self.input(node, Input::Answered { link, neighbour });
            }
            What::Deadline(node) => {
                if self.nodes[node].armed == Some(at) {
                    self.nodes[node].armed = None;
                    self.input(node, Input::Deadline);
                }
            }
            What::ClearUp(prefix) => {
                if self.oracle.clear_up(prefix, self.now) {
                    self.trouble = self.oracle.any_loop(prefix);
                }
            }
        }
    }

    /// Starts a node with what is on its disk.
    fn start(&mut self, node: usize) {
        if self.nodes[node].babel.is_some() {
            return;
        }
        let seed = self.seed.next_u64();
        let params = self.nodes[node].start(node, seed, self.now);
        if let Some(recording) = self.recording.as_mut().filter(|one| one.node == node) {
            recording.start(params, seed, self.now);
        }
        for prefix in self.nodes[node].own.clone() {
            self.input(node, Input::Originate { route: key(prefix), metric: Metric::ZERO });
        }
        for wire in self.nodes[node].wires.clone() {
            if self.wires[wire].carrier != Carrier::Down {
                self.link_up(node, wire);
            }
        }
    }

    fn key(&mut self, node: usize, wire: usize) {
        if let Some(authentication) = self.nodes[node].authentication.clone() {
            let authentication = Some(&authentication);
            self.input(node, Input::Authentication { link: link(wire), authentication });
        }
    }

    fn link_up(&mut self, node: usize, wire: usize) {
        self.key(node, wire);
        let cost = self.wires[wire].quality.cost;
        let tag = u16::try_from(wire).ok().map(LinkTag);
        let params = LinkParams { cost, tag, ..LinkParams::wired(id(node).link_local()) };
        self.input(node, Input::LinkUp { link: link(wire), params });
    }

    /// Hands one event to a node and carries out what it wants.
    fn input(&mut self, node: usize, input: Input<'_>) {
        let Some(mut babel) = self.nodes[node].babel.take() else { return };
        let recorded = |one: &&mut Recording| one.node == node;
        babel.handle(self.now, input);
        while let Some(output) = babel.poll_output() {
            self.trace.output(self.now, node, &output);
            if let Some(recording) = self.recording.as_mut().filter(recorded) {
                recording.output(&output);
            }
            self.carry_out(node, output);
        }
        if let Some(recording) = self.recording.as_mut().filter(recorded) {
            recording.input(self.now, input);
        }
        let deadline = babel.next_deadline();
        self.nodes[node].babel = Some(babel);
        if let Some(at) = deadline.filter(|_| deadline != self.nodes[node].armed) {
            self.events.push(at, What::Deadline(node));
        }
        self.nodes[node].armed = deadline;
    }

    fn carry_out(&mut self, node: usize, output: Output) {
        match output {
            Output::Send { link, to, packet } => self.send(node, link, to, packet),
            Output::Route { route, target, .. } => {
                let hop = match target {
                    Target::Via { link, next_hop: IpAddr::V6(next_hop), metric, .. } => {
                        Some(Hop { node: number(next_hop), link, metric })
                    }
                    _ => None,
                };
                self.hop(node, prefix(route), hop);
            }
            Output::Seqno(seqno) => self.nodes[node].disk = seqno,
            Output::Probe { link, neighbour } => self.probe(node, link, neighbour),
            // No certificates here, and nobody reads the log.
            Output::OriginWanted { .. } | Output::Event(_) => {}
        }
    }

    fn hop(&mut self, node: usize, prefix: usize, hop: Option<Hop>) {
        self.count.changes += 1;
        match self.oracle.set(self.now, prefix, node, hop) {
            oracle::Verdict::Fine => {}
            oracle::Verdict::Passing => self.count.passing_loops += 1,
            oracle::Verdict::Loop(what) => self.trouble = Some(what),
        }
    }

    /// The kernel of a node that has power answers, if neither packet is lost.
    fn probe(&mut self, node: usize, link: LinkId, neighbour: Ipv6Addr) {
        let other = number(neighbour);
        let Some(wire) = self.wires.get_mut(link.0 as usize) else { return };
        if self.nodes.get(other).is_none_or(|other| other.babel.is_none()) {
            return;
        }
        for there in wire.arrivals(node, self.now, &mut self.seed).into_iter().take(1) {
            for back in wire.arrivals(other, there, &mut self.seed) {
                self.events.push(back, What::Answer(node, link, neighbour));
            }
        }
    }

    fn send(&mut self, node: usize, by: LinkId, to: Destination, packet: Packet) {
        // The clock of RFC 9616 wraps; any origin will do.
        let micros = u32::try_from(self.now.0 & u64::from(u32::MAX)).expect("masked");
        let bytes = Rc::new(packet.seal(micros));
        let Some(wire) = self.wires.get_mut(by.0 as usize) else { return };
        self.count.packets += 1;
        self.count.octets += bytes.len() as u64;
        wire.load.carry(self.now, bytes.len());
        let source = id(node).link_local();
        let ends = wire.ends.clone();
        for end in ends.into_iter().filter(|end| *end != node) {
            if to != Destination::Multicast && to != Destination::Unicast(id(end).link_local()) {
                continue;
            }
            for at in wire.arrivals(node, self.now, &mut self.seed) {
                let bytes = Rc::clone(&bytes);
                let arrival = Arrival { link: by, source, destination: to, bytes };
                self.events.push(at, What::Arrival(end, arrival));
            }
        }
    }
}

impl Count {
    fn since(self, before: Self) -> Self {
        Self {
            packets: self.packets - before.packets,
            octets: self.octets - before.octets,
            changes: self.changes - before.changes,
            events: self.events - before.events,
            passing_loops: self.passing_loops - before.passing_loops,
        }
    }
}

/// The link that a wire is to its ends.
fn link(wire: usize) -> LinkId {
    LinkId(u32::try_from(wire).expect("fewer than 2^32 wires"))
}

/// Drains a link: see [`Fault::Dear`].
const DEAR: [Cost; 3] = [Cost(0), Cost(50), Cost(500)];
/// Nodes start within this time.
const START: Duration = Duration::from_secs(1);

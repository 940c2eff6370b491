//! Real engines on wires with delay and loss, in virtual time, watched by an oracle.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt::Write as _;
use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use sixwire_proto::babel::{Destination, RouteKey};
use sixwire_proto::link::LinkId;
use sixwire_proto::metric::Metric;
use sixwire_proto::router_id::RouterId;
use sixwire_proto::seed::Seed;
use sixwire_proto::seqno::Seqno;
use sixwire_proto::time::Instant;

use super::super::{
    Authentication, Babel, Event, Input, LinkParams, Output, Params, Target, wire_time,
};

/// A network of numbered nodes; node `n` owns `fd00:0:0:n::/64`.
pub(crate) struct Network {
    pub(crate) now: Instant,
    pub(crate) nodes: Vec<Node>,
    wires: Vec<Wire>,
    in_transit: BTreeMap<(Instant, u64), Arrival>,
    sent: u64,
    seed: Seed,
    pub(crate) oracle: Oracle,
    /// Echo requests so far.
    pub(crate) probes: usize,
    /// Every output of every node.
    pub(crate) trace: String,
    params: fn(Params) -> Params,
    /// What the wires that come up from now on are signed with.
    pub(crate) authentication: Option<Authentication>,
    /// Everything that arrived, if anybody listens.
    pub(crate) tap: Option<Vec<Arrival>>,
    link_params: fn(LinkParams) -> LinkParams,
    pub(crate) kernels: Kernels,
}

/// Whether kernels answer echo requests.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kernels {
    Silent,
    Answering,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Oracle {
    /// No packet may ever go in a circle.
    NoLoops,
    /// Several originators of one prefix may form short ones (RFC 8966 §2.7).
    Blind,
}

pub(crate) struct Node {
    pub(crate) babel: Option<Babel>,
    pub(crate) kernel: BTreeMap<RouteKey, Target>,
    pub(crate) events: Vec<Event>,
    pub(crate) wanted: Vec<(RouterId, LinkId, Ipv6Addr)>,
    /// What survives a restart.
    pub(crate) disk: Seqno,
    own: BTreeSet<RouteKey>,
}

pub(crate) struct Wire {
    ends: Vec<usize>,
    pub(crate) delay: Duration,
    /// By how much packets may overtake each other.
    pub(crate) jitter: Duration,
    /// Packets lost, in a hundred.
    pub(crate) loss: usize,
    /// A cut wire loses everything, and nobody is told.
    pub(crate) cut: Cut,
    /// Octets of payload carried so far, in how many packets.
    pub(crate) octets: usize,
    packets: usize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cut {
    Whole,
    Silent,
}

#[derive(Clone, Debug)]
pub(crate) struct Arrival {
    pub(crate) node: usize,
    pub(crate) link: LinkId,
    pub(crate) source: Ipv6Addr,
    pub(crate) destination: Destination,
    pub(crate) bytes: Vec<u8>,
}

pub(crate) fn id(node: usize) -> RouterId {
    let [high, low] = u16::try_from(node + 1).unwrap().to_be_bytes();
    RouterId::new([0x02, 0, 0, 0, 0, 0, high, low]).unwrap()
}

pub(crate) fn key(node: usize) -> RouteKey {
    RouteKey::to(format!("fd00:0:0:{:x}::/64", node + 1).parse().unwrap())
}

impl Network {
    pub(crate) fn new(seed: u64) -> Self {
        Self::with(seed, |params| params)
    }

    pub(crate) fn with(seed: u64, params: fn(Params) -> Params) -> Self {
        Self {
            now: Instant(1_000_000),
            nodes: Vec::new(),
            wires: Vec::new(),
            in_transit: BTreeMap::new(),
            sent: 0,
            seed: Seed::new(seed),
            oracle: Oracle::NoLoops,
            probes: 0,
            trace: String::new(),
            params,
            authentication: None,
            tap: None,
            link_params: |params| params,
            kernels: Kernels::Silent,
        }
    }

    /// Changes how links that come up from now on are used.
    pub(crate) fn on_links(mut self, change: fn(LinkParams) -> LinkParams) -> Self {
        self.link_params = change;
        self
    }

    pub(crate) fn answering(mut self) -> Self {
        self.kernels = Kernels::Answering;
        self
    }

    /// `count` nodes, each running and originating its prefix.
    pub(crate) fn nodes(mut self, count: usize) -> Self {
        for node in 0..count {
            self.nodes.push(Node {
                babel: None,
                kernel: BTreeMap::new(),
                events: Vec::new(),
                wanted: Vec::new(),
                disk: Seqno(100),
                own: BTreeSet::from([key(node)]),
            });
            self.start(node);
        }
        self
    }

    pub(crate) fn line(seed: u64, count: usize) -> Self {
        let mut network = Self::new(seed).nodes(count);
        (1..count).for_each(|node| {
            network.wire(&[node - 1, node]);
        });
        network
    }

    pub(crate) fn ring(seed: u64, count: usize) -> Self {
        let mut network = Self::line(seed, count);
        network.wire(&[count - 1, 0]);
        network
    }

    pub(crate) fn grid(seed: u64, side: usize) -> Self {
        Self::grid_with(seed, side, |params| params)
    }

    pub(crate) fn grid_with(seed: u64, side: usize, params: fn(Params) -> Params) -> Self {
        let mut network = Self::with(seed, params).nodes(side * side);
        for node in 0..side * side {
            if node % side + 1 < side {
                network.wire(&[node, node + 1]);
            }
            if node + side < side * side {
                network.wire(&[node, node + side]);
            }
        }
        network
    }

    /// Connects nodes: two by a tunnel, more by a LAN. Gives the number of the wire.
    pub(crate) fn wire(&mut self, ends: &[usize]) -> usize {
        let number = self.wires.len();
        self.wires.push(Wire {
            ends: ends.to_vec(),
            delay: Duration::from_millis(1),
            jitter: Duration::ZERO,
            loss: 0,
            cut: Cut::Whole,
            octets: 0,
            packets: 0,
        });
        for node in ends {
            self.link_up(*node, number);
        }
        number
    }

    pub(crate) fn wire_mut(&mut self, wire: usize) -> &mut Wire {
        &mut self.wires[wire]
    }

    /// Octets a wire has carried, with Ethernet, IPv6 and UDP headers.
    pub(crate) fn octets(&self, wire: usize) -> usize {
        self.wires[wire].octets + self.wires[wire].packets * HEADERS
    }

    pub(crate) fn wires(&self) -> usize {
        self.wires.len()
    }

    pub(crate) fn between(&self, a: usize, b: usize) -> usize {
        let connects = |wire: &Wire| wire.ends.contains(&a) && wire.ends.contains(&b);
        self.wires.iter().position(connects).expect("a wire between the two")
    }

    fn link_up(&mut self, node: usize, wire: usize) {
        let params = (self.link_params)(LinkParams::wired(id(node).link_local()));
        if let Some(authentication) = self.authentication.clone() {
            self.rekey(node, wire, &authentication);
        }
        self.input(node, Input::LinkUp { link: link(wire), params });
    }

    /// Gives one end of a wire other keys.
    pub(crate) fn rekey(&mut self, node: usize, wire: usize, authentication: &Authentication) {
        let authentication = Some(authentication);
        self.input(node, Input::Authentication { link: link(wire), authentication });
    }

    /// Cuts a wire, and tells both ends.
    pub(crate) fn carrier_down(&mut self, wire: usize) {
        self.wires[wire].cut = Cut::Silent;
        for node in self.wires[wire].ends.clone() {
            self.input(node, Input::LinkDown { link: link(wire) });
        }
    }

    pub(crate) fn carrier_up(&mut self, wire: usize) {
        self.wires[wire].cut = Cut::Whole;
        for node in self.wires[wire].ends.clone() {
            self.link_up(node, wire);
        }
    }

    /// Starts a node with what is on its disk, on all its wires.
    pub(crate) fn start(&mut self, node: usize) {
        let params = (self.params)(unhurried(Params::new(id(node), self.nodes[node].disk)));
        let seed = Seed::new(self.seed.next_u64());
        self.nodes[node].babel = Some(Babel::new(params, seed, self.now));
        for route in self.nodes[node].own.clone() {
            self.input(node, Input::Originate { route, metric: Metric::ZERO });
        }
        for wire in 0..self.wires.len() {
            if self.wires[wire].ends.contains(&node) {
                self.link_up(node, wire);
            }
        }
    }

    /// Stops a node without a word; its kernel forgets its routes too.
    pub(crate) fn kill(&mut self, node: usize) {
        self.nodes[node].babel = None;
        self.nodes[node].kernel.clear();
    }

    pub(crate) fn originate(&mut self, node: usize, route: RouteKey) {
        self.nodes[node].own.insert(route);
        self.input(node, Input::Originate { route, metric: Metric::ZERO });
    }

    pub(crate) fn withdraw(&mut self, node: usize, route: RouteKey) {
        self.nodes[node].own.remove(&route);
        self.input(node, Input::Withdraw { route });
    }

    /// Hands one event to a node and carries out what it wants.
    pub(crate) fn input(&mut self, node: usize, input: Input<'_>) {
        let Some(mut babel) = self.nodes[node].babel.take() else { return };
        babel.handle(self.now, input);
        while let Some(output) = babel.poll_output() {
            writeln!(self.trace, "{} {node} {output:?}", self.now.0).unwrap();
            self.carry_out(node, output);
        }
        self.nodes[node].babel = Some(babel);
    }

    fn carry_out(&mut self, node: usize, output: Output) {
        match output {
            Output::Send { link, to, packet } => {
                self.send(node, link, to, &packet.seal(wire_time(self.now)));
            }
            Output::Route { route, target, .. } => {
                match target {
                    Target::Gone => self.nodes[node].kernel.remove(&route),
                    _ => self.nodes[node].kernel.insert(route, target),
                };
                if self.oracle == Oracle::NoLoops {
                    self.assert_no_loop(route);
                }
            }
            Output::Seqno(seqno) => self.nodes[node].disk = seqno,
            Output::OriginWanted { router_id, link, neighbour } => {
                self.nodes[node].wanted.push((router_id, link, neighbour));
            }
            Output::Probe { link, neighbour } => self.probe(node, link, neighbour),
            Output::Event(event) => self.nodes[node].events.push(event),
        }
    }

    /// The echo request of a node to a kernel, and its answer.
    fn probe(&mut self, node: usize, link: LinkId, neighbour: Ipv6Addr) {
        self.probes += 1;
        let wire = &mut self.wires[link.0 as usize];
        wire.packets += 1;
        let lost = self.seed.below(100) < wire.loss || self.seed.below(100) < wire.loss;
        if self.kernels == Kernels::Answering && wire.cut == Cut::Whole && !lost {
            wire.packets += 1;
            let at = self.now + wire.delay * 2;
            let destination = Destination::Unicast(id(node).link_local());
            let arrival = Arrival { node, link, source: neighbour, destination, bytes: Vec::new() };
            self.sent += 1;
            self.in_transit.insert((at, self.sent), arrival);
        }
    }

    fn send(&mut self, node: usize, link: LinkId, to: Destination, bytes: &[u8]) {
        let wire = &mut self.wires[link.0 as usize];
        wire.octets += bytes.len();
        wire.packets += 1;
        for end in wire.ends.iter().copied().filter(|end| *end != node) {
            let meant = match to {
                Destination::Multicast => true,
                Destination::Unicast(address) => address == id(end).link_local(),
            };
            if !meant || wire.cut == Cut::Silent || self.seed.below(100) < wire.loss {
                continue;
            }
            let mut at = self.now + wire.delay;
            if !wire.jitter.is_zero() {
                at += self.seed.between(Duration::ZERO, wire.jitter);
            }
            let source = id(node).link_local();
            let arrival =
                Arrival { node: end, link, source, destination: to, bytes: bytes.to_vec() };
            self.sent += 1;
            self.in_transit.insert((at, self.sent), arrival);
        }
    }

    /// The next thing that happens anywhere: a packet arrives, or a deadline passes.
    fn step(&mut self) {
        let deadlines = self
            .nodes
            .iter()
            .enumerate()
            .filter_map(|(number, node)| Some((node.babel.as_ref()?.next_deadline()?, number)));
        let deadline = deadlines.min();
        let packet = self.in_transit.first_key_value().map(|(at, _)| *at);
        if let (Some((at, _)), true) =
            (packet, packet.map(|p| p.0) <= deadline.map(|d| d.0).or(packet.map(|p| p.0)))
        {
            self.now = self.now.max(at);
            let (_, arrival) = self.in_transit.pop_first().unwrap();
            self.deliver(&arrival);
            if let Some(tap) = &mut self.tap
                && !arrival.bytes.is_empty()
            {
                tap.push(arrival);
            }
        } else if let Some((at, node)) = deadline {
            self.now = self.now.max(at);
            self.input(node, Input::Deadline);
        }
    }

    /// Hands a datagram to the node it is for.
    pub(crate) fn deliver(&mut self, arrival: &Arrival) {
        let Arrival { node, link, source, destination, ref bytes } = *arrival;
        let input = match bytes[..] {
            [] => Input::Answered { link, neighbour: source },
            _ => Input::Packet { link, source, destination, bytes },
        };
        self.input(node, input);
    }

    fn next(&self) -> Option<Instant> {
        let deadlines = self.nodes.iter().filter_map(|n| n.babel.as_ref()?.next_deadline());
        deadlines.chain(self.in_transit.keys().map(|(at, _)| *at)).min()
    }

    pub(crate) fn run(&mut self, duration: Duration) {
        let end = self.now + duration;
        while self.next().is_some_and(|at| at <= end) {
            self.step();
        }
        self.now = end;
    }

    /// Runs until the condition holds; gives how long it took.
    pub(crate) fn run_until(
        &mut self,
        what: &str,
        within: Duration,
        condition: impl Fn(&Self) -> bool,
    ) -> Duration {
        let start = self.now;
        while !condition(self) {
            assert!(self.now <= start + within, "not within {within:?}: {what}\n{}", self.state());
            self.step();
        }
        self.now.since(start)
    }

    /// Runs until every node uses a shortest path to every other it is connected to.
    pub(crate) fn converge(&mut self, within: Duration) -> Duration {
        self.run_until("shortest paths everywhere", within, Self::is_converged)
    }

    pub(crate) fn is_converged(&self) -> bool {
        (0..self.nodes.len()).all(|from| self.astray(from).is_empty())
    }

    /// Nodes whose prefix this node does not reach on a shortest path, or should not reach.
    fn astray(&self, from: usize) -> Vec<usize> {
        if self.nodes[from].babel.is_none() {
            return Vec::new();
        }
        let hops = self.hops(from);
        let right = |to: usize| self.metric(from, key(to)) == hops.get(&to).copied();
        (0..self.nodes.len()).filter(|to| *to != from && !right(*to)).collect()
    }

    /// Our metric to a prefix, if there is a path.
    pub(crate) fn metric(&self, node: usize, route: RouteKey) -> Option<u16> {
        match self.nodes[node].kernel.get(&route)? {
            Target::Via { metric, .. } => Some(metric.0),
            Target::Unreachable | Target::Gone => None,
        }
    }

    /// Metrics of shortest paths over whole wires and running nodes.
    fn hops(&self, from: usize) -> BTreeMap<usize, u16> {
        let mut metrics = BTreeMap::from([(from, 0)]);
        let mut queue = VecDeque::from([from]);
        while let Some(node) = queue.pop_front() {
            let whole = |wire: &&Wire| wire.cut == Cut::Whole && wire.ends.contains(&node);
            for end in self.wires.iter().filter(whole).flat_map(|wire| wire.ends.iter().copied()) {
                if self.nodes[end].babel.is_some() && !metrics.contains_key(&end) {
                    metrics.insert(end, metrics[&node] + 96);
                    queue.push_back(end);
                }
            }
        }
        metrics
    }

    fn assert_no_loop(&self, route: RouteKey) {
        for start in 0..self.nodes.len() {
            let mut seen = BTreeSet::new();
            let mut at = start;
            while let Some(next) = self.next_hop(at, route) {
                assert!(seen.insert(at), "{route} loops through {seen:?}\n{}", self.state());
                at = next;
            }
        }
    }

    fn next_hop(&self, node: usize, route: RouteKey) -> Option<usize> {
        let Some(Target::Via { link, next_hop, .. }) = self.nodes[node].kernel.get(&route) else {
            return None;
        };
        let ends = &self.wires[link.0 as usize].ends;
        ends.iter().copied().find(|end| IpAddr::V6(id(*end).link_local()) == *next_hop)
    }

    pub(crate) fn count(&self, node: usize, label: &str) -> u64 {
        let babel = self.nodes[node].babel.as_ref().expect("a running node");
        babel.counters().find(|(name, _)| *name == label).expect("a known label").1
    }

    pub(crate) fn state(&self) -> String {
        let mut text = format!("at {}\n", self.now.0);
        for (number, node) in self.nodes.iter().enumerate() {
            let Some(babel) = &node.babel else { continue };
            let (seqno, astray) = (babel.seqno(), self.astray(number));
            writeln!(text, "node {number} seqno {seqno} astray to {astray:?}").unwrap();
            babel.neighbours().for_each(|one| writeln!(text, "  {one:?}").unwrap());
            babel.routes().for_each(|one| writeln!(text, "  {one:?}").unwrap());
            node.kernel.iter().for_each(|one| writeln!(text, "  kernel {one:?}").unwrap());
        }
        text
    }
}

/// Octets of Ethernet, IPv6 and UDP headers.
const HEADERS: usize = 62;

/// The timers of RFC 8966 appendix B, which the times in these tests are about.
pub(crate) fn unhurried(params: Params) -> Params {
    Params { hello_interval: secs(4), update_interval: secs(16), ..params }
}

pub(crate) fn link(wire: usize) -> LinkId {
    LinkId(u32::try_from(wire).unwrap())
}

pub(crate) const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

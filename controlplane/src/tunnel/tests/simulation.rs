//! A network in memory: real managers, simulated signalling, and a perfect routing protocol whose
//! reachability is the union of the tunnels that work.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::*;

/// How a network is made.
#[derive(Clone, Copy)]
pub(super) struct Shape {
    pub(super) nodes: u64,
    /// Of these, the last so many cannot be dialled.
    pub(super) hidden: u64,
    /// Signalling exchanges that vanish, in percent.
    pub(super) loss: usize,
    pub(super) seed: u64,
}

pub(super) struct Network {
    pub(super) now: Instant,
    pub(super) nodes: BTreeMap<u64, Node>,
    pub(super) trace: Vec<String>,
    /// Whether the registry answers.
    pub(super) registry: Registry,
    shape: Shape,
    seed: Seed,
    queue: BTreeMap<(Instant, u64), Happening>,
    serial: u64,
    routes_due: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Registry {
    Works,
    Down,
}

pub(super) struct Node {
    pub(super) core: Tunnels,
    pub(super) cache: Vec<PeerRecord>,
    pub(super) life: Life,
    ends: BTreeMap<u64, End>,
    /// What was negotiated for a peer and a port here: the exchange and the peer's port.
    negotiated: BTreeMap<(u64, u16), (u64, u16)>,
    reach: BTreeSet<u64>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Life {
    Alive,
    Dead,
}

#[derive(Clone, Copy)]
struct End {
    port: u16,
    /// The exchange that made its keys: two ends fit if they share it.
    exchange: u64,
    peer_port: u16,
    neighbour: bool,
}

/// Something on its way. Numbers are nodes.
enum Happening {
    Request { from: u64, to: u64, from_port: u16, exchange: u64 },
    Outcome { to: u64, peer: u64, port: u16, outcome: Result<Accepted, DialFailure> },
    Handshake { a: u64, b: u64, exchange: u64 },
    Silence { at: u64, peer: u64, exchange: u64 },
    Close { to: u64, from: u64, port: u16 },
    Told { to: u64, source: Source, records: Vec<PeerRecord> },
    NothingTold { to: u64 },
    Routes,
}

/// The driver gives up a dial after this.
const DIAL_PATIENCE: Duration = secs(4);
/// Babel's hold time.
const HOLD: Duration = secs(12);

impl Network {
    pub(super) fn new(shape: Shape, params: impl Fn(u64) -> Params) -> Self {
        let mut network = Self {
            now: Instant(1_000_000),
            nodes: BTreeMap::new(),
            trace: Vec::new(),
            registry: Registry::Works,
            shape,
            seed: Seed::new(shape.seed),
            queue: BTreeMap::new(),
            serial: 0,
            routes_due: false,
        };
        for n in 1..=shape.nodes {
            let seed = Seed::new(network.seed.next_u64());
            let node = Node {
                core: Tunnels::new(params(n), seed, network.now),
                cache: Vec::new(),
                life: Life::Alive,
                ends: BTreeMap::new(),
                negotiated: BTreeMap::new(),
                reach: BTreeSet::new(),
            };
            network.nodes.insert(n, node);
        }
        network
    }

    /// Runs until the condition holds; the time it took.
    pub(super) fn run_until(&mut self, limit: Duration, done: impl Fn(&Self) -> bool) -> Duration {
        let (start, end) = (self.now, self.now + limit);
        while !done(self) {
            assert!(self.step(end), "not within {limit:?}: {}", self.describe());
        }
        self.now.since(start)
    }

    pub(super) fn run(&mut self, duration: Duration) {
        let end = self.now + duration;
        while self.step(end) {}
        self.now = end;
    }

    pub(super) fn kill(&mut self, n: u64) {
        let node = self.nodes.get_mut(&n).unwrap();
        node.life = Life::Dead;
        node.reach.clear();
        node.negotiated.clear();
        for (peer, end) in std::mem::take(&mut node.ends) {
            self.silence(peer, n, end.exchange);
        }
        self.routes_changed();
    }

    /// Starts the node anew, with its cache and nothing else.
    pub(super) fn restart(&mut self, n: u64, params: Params) {
        let seed = Seed::new(self.seed.next_u64());
        let now = self.now;
        let node = self.nodes.get_mut(&n).unwrap();
        node.core = Tunnels::new(params, seed, now);
        node.life = Life::Alive;
        let cache = node.cache.clone();
        self.handle(n, Input::Learned { source: Source::Cache, peers: &cache });
    }

    /// The node is told about peers.
    pub(super) fn tell(&mut self, n: u64, source: Source, records: &[PeerRecord]) {
        self.handle(n, Input::Learned { source, peers: records });
    }

    pub(super) fn alive(&self) -> impl Iterator<Item = (u64, &Node)> {
        self.nodes.iter().filter(|(_, node)| node.life == Life::Alive).map(|(n, node)| (*n, node))
    }

    /// Whether all living nodes reach each other.
    pub(super) fn is_whole(&self) -> bool {
        let alive: BTreeSet<_> = self.alive().map(|(n, _)| n).collect();
        alive.first().is_none_or(|first| self.component(*first).len() == alive.len())
    }

    /// Both ends of every tunnel exist and fit, and nothing is on its way.
    pub(super) fn is_tidy(&self) -> bool {
        self.alive().all(|(n, node)| {
            node.ends.iter().all(|(peer, end)| {
                let other = self.nodes[peer].ends.get(&n);
                other.is_some_and(|other| other.exchange == end.exchange && other.neighbour)
                    && end.neighbour
            })
        })
    }

    pub(super) fn degree(&self, n: u64, role: Role) -> usize {
        self.nodes[&n].core.tunnels().filter(|tunnel| tunnel.role == role).count()
    }

    fn is_hidden(&self, n: u64) -> bool {
        n > self.shape.nodes - self.shape.hidden
    }

    fn describe(&self) -> String {
        let node = |(n, node): (u64, &Node)| format!("{n}: {:?}", node.ends.keys());
        self.alive().map(node).collect::<Vec<_>>().join(", ")
    }

    /// Does the next thing before `end`; `false` if there is none.
    fn step(&mut self, end: Instant) -> bool {
        let happening = self.queue.first_key_value().map(|((at, _), _)| *at);
        let wakes = self.alive().filter_map(|(n, node)| Some((node.core.next_deadline()?, n)));
        let wake = wakes.min();
        match (happening, wake) {
            (Some(at), wake) if at <= end && wake.is_none_or(|(wake, _)| at <= wake) => {
                self.now = at;
                let (_, happening) = self.queue.pop_first().expect("seen above");
                self.happen(happening);
            }
            (_, Some((at, n))) if at <= end => {
                self.now = self.now.max(at);
                self.handle(n, Input::Deadline);
            }
            _ => return false,
        }
        true
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Request { from, to, from_port, exchange } => {
                if self.nodes[&to].life == Life::Dead {
                    return self.unreachable(from, to, from_port);
                }
                let id = RequestId(exchange);
                let slot = (from, 0);
                let node = self.nodes.get_mut(&to).unwrap();
                node.negotiated.insert(slot, (exchange, from_port));
                self.handle(to, Input::Request { id, lane: first(from) });
                self.nodes.get_mut(&to).unwrap().negotiated.remove(&slot);
            }
            Happening::Outcome { to, peer, port, outcome } => {
                self.handle(to, Input::Dialled { node: id(peer), port, outcome });
            }
            Happening::Handshake { a, b, exchange } => self.handshake(a, b, exchange),
            Happening::Silence { at, peer, exchange } => {
                let end = self.nodes.get_mut(&at).unwrap().ends.get_mut(&peer);
                if let Some(end) = end.filter(|end| end.exchange == exchange && end.neighbour) {
                    end.neighbour = false;
                    let (node, medium) = (id(peer), TUNNEL);
                    self.handle(at, Input::NeighbourDown { node, medium });
                    self.routes_changed();
                }
            }
            Happening::Close { to, from, port } => {
                self.handle(to, Input::CloseAsked { node: id(from), port });
            }
            Happening::Told { to, source, records } => {
                self.handle(to, Input::Learned { source, peers: &records });
            }
            Happening::NothingTold { to } => self.handle(to, Input::LearnedNothing),
            Happening::Routes => self.spread_routes(),
        }
    }

    fn handle(&mut self, n: u64, input: Input<'_>) {
        let now = self.now;
        let Some(node) = self.nodes.get_mut(&n).filter(|node| node.life == Life::Alive) else {
            return;
        };
        node.core.handle(now, input);
        let mut outputs = Vec::new();
        while let Some(output) = node.core.poll_output() {
            outputs.push(output);
        }
        assert!(node.core.next_deadline().is_none_or(|at| at > now), "{n} would spin");
        let mut ports: Vec<_> = node.core.tunnels().map(|t| t.port).collect();
        ports.extend(node.core.dials().map(|dial| dial.port));
        let all = ports.len();
        ports.sort_unstable();
        ports.dedup();
        assert_eq!(ports.len(), all, "{n} uses a port twice");
        for output in outputs {
            self.trace.push(format!("{} {n} {output:?}", now.0));
            self.act(n, output);
        }
    }

    fn act(&mut self, n: u64, output: Output) {
        match output {
            Output::Dial { lane, addresses, port } => {
                self.dial(n, number(lane.node), &addresses, port)
            }
            Output::Answer { id, verdict } => self.answer(n, id, verdict),
            Output::Open { lane, port, .. } => self.open(n, number(lane.node), port),
            Output::Close { lane, port, notify, .. } => {
                self.close(n, number(lane.node), port, notify);
            }
            Output::Decline { node, port, notify } => {
                let made = self.nodes.get_mut(&n).unwrap().negotiated.remove(&(number(node), port));
                if let (Notify::Peer, Some((_, peer_port))) = (notify, made) {
                    let (to, from) = (number(node), n);
                    self.later(millis(30), Happening::Close { to, from, port: peer_port });
                }
            }
            Output::AskRegistry => self.ask_registry(n),
            Output::AskPeer { node } => {
                let (peer, source) = (number(node), Source::Peer(node));
                let mut records = self.nodes[&peer].core.peers_for(id(n), 20);
                records.push(record(peer));
                self.later(millis(80), Happening::Told { to: n, source, records });
            }
            Output::AskUses => {
                let uses = self.uses(n);
                self.handle(n, Input::Uses(&uses));
            }
            Output::Remember(records) => self.nodes.get_mut(&n).unwrap().cache = records,
            Output::Event(_) => {}
        }
    }

    fn dial(&mut self, n: u64, to: u64, addresses: &[SocketAddr], port: u16) {
        self.serial += 1;
        let exchange = self.serial;
        let through_overlay = self.nodes[&n].reach.contains(&to);
        let found = addresses.contains(&address(to)) || through_overlay;
        let lost = self.seed.below(100) < self.shape.loss;
        if lost || !found || self.is_hidden(to) || self.nodes[&to].life == Life::Dead {
            return self.unreachable(n, to, port);
        }
        let delay = self.latency(n, to) * 3 + self.jitter();
        self.later(delay, Happening::Request { from: n, to, from_port: port, exchange });
    }

    fn unreachable(&mut self, to: u64, peer: u64, port: u16) {
        let outcome = Err(DialFailure::Unreachable);
        self.later(DIAL_PATIENCE, Happening::Outcome { to, peer, port, outcome });
    }

    /// The answer of `n` to the request whose exchange names it.
    fn answer(&mut self, n: u64, request: RequestId, verdict: Verdict) {
        let node = self.nodes.get_mut(&n).unwrap();
        let made = node.negotiated.iter().find(|(_, (exchange, _))| *exchange == request.0);
        let ((from, _), (exchange, from_port)) = made.expect("answered while asked");
        let (from, exchange, from_port) = (*from, *exchange, *from_port);
        let outcome = match verdict {
            Verdict::Accept { port } => {
                node.negotiated.insert((from, port), (exchange, from_port));
                let asker = self.nodes.get_mut(&from).unwrap();
                asker.negotiated.insert((n, from_port), (exchange, port));
                Ok(Accepted { address: Some(address(n)) })
            }
            Verdict::Refuse(refusal) => Err(DialFailure::Refused(refusal)),
        };
        if self.seed.below(100) < self.shape.loss {
            return self.unreachable(from, n, from_port);
        }
        let delay = self.latency(n, from) + self.jitter();
        self.later(delay, Happening::Outcome { to: from, peer: n, port: from_port, outcome });
    }

    fn open(&mut self, n: u64, peer: u64, port: u16) {
        let node = self.nodes.get_mut(&n).unwrap();
        let (exchange, peer_port) = node.negotiated.remove(&(peer, port)).expect("negotiated");
        let end = End { port, exchange, peer_port, neighbour: false };
        assert!(node.ends.insert(peer, end).is_none(), "{n} opened a second tunnel to {peer}");
        let delay = self.latency(n, peer) * 2 + millis(150);
        self.later(delay, Happening::Handshake { a: n, b: peer, exchange });
    }

    fn close(&mut self, n: u64, peer: u64, port: u16, notify: Notify) {
        let node = self.nodes.get_mut(&n).unwrap();
        let end = node.ends.remove(&peer).expect("only what is open is closed");
        assert_eq!(end.port, port);
        self.silence(peer, n, end.exchange);
        if notify == Notify::Peer {
            let delay = self.latency(n, peer);
            self.later(delay, Happening::Close { to: peer, from: n, port: end.peer_port });
        }
        self.routes_changed();
    }

    fn handshake(&mut self, a: u64, b: u64, exchange: u64) {
        let fits = |n: u64, peer: u64| {
            let end = self.nodes[&n].ends.get(&peer);
            end.is_some_and(|end| end.exchange == exchange)
        };
        if !fits(a, b) || !fits(b, a) {
            return;
        }
        for (n, peer) in [(a, b), (b, a)] {
            let end = self.nodes.get_mut(&n).unwrap().ends.get_mut(&peer).unwrap();
            if !std::mem::replace(&mut end.neighbour, true) {
                self.handle(n, Input::NeighbourUp { node: id(peer), medium: TUNNEL });
            }
        }
        self.routes_changed();
    }

    /// The end at `at` hears nothing from now on.
    fn silence(&mut self, at: u64, peer: u64, exchange: u64) {
        self.later(HOLD, Happening::Silence { at, peer, exchange });
    }

    fn ask_registry(&mut self, n: u64) {
        if self.registry == Registry::Down {
            return self.later(millis(300), Happening::NothingTold { to: n });
        }
        let mut others: Vec<_> =
            self.alive().map(|(m, _)| m).filter(|m| *m != n && !self.is_hidden(*m)).collect();
        let mut picked = Vec::new();
        while picked.len() < 5 && !others.is_empty() {
            picked.push(record(others.swap_remove(self.seed.below(others.len()))));
        }
        let (source, records) = (Source::Registry, picked);
        self.later(millis(60), Happening::Told { to: n, source, records });
    }

    fn routes_changed(&mut self) {
        if !std::mem::replace(&mut self.routes_due, true) {
            self.later(millis(200), Happening::Routes);
        }
    }

    fn spread_routes(&mut self) {
        self.routes_due = false;
        for n in self.alive().map(|(n, _)| n).collect::<Vec<_>>() {
            let mut reach = self.component(n);
            reach.remove(&n);
            let before =
                std::mem::replace(&mut self.nodes.get_mut(&n).unwrap().reach, reach.clone());
            for lost in before.difference(&reach) {
                self.handle(n, Input::Lost { node: id(*lost) });
            }
            for found in reach.difference(&before) {
                self.handle(n, Input::Reachable { node: id(*found) });
            }
        }
    }

    /// The neighbours at the other ends of working tunnels.
    fn neighbours(&self, n: u64) -> impl Iterator<Item = u64> {
        let works = move |peer: &u64| {
            self.nodes[peer].life == Life::Alive
                && self.nodes[peer].ends.get(&n).is_some_and(|end| end.neighbour)
        };
        let ends = self.nodes[&n].ends.iter().filter(|(_, end)| end.neighbour);
        ends.map(|(peer, _)| *peer).filter(works)
    }

    fn component(&self, start: u64) -> BTreeSet<u64> {
        self.first_hops(start).into_keys().collect()
    }

    /// For each reachable node, the neighbour that the shortest path begins with.
    fn first_hops(&self, start: u64) -> BTreeMap<u64, u64> {
        let mut hops = BTreeMap::from([(start, start)]);
        let mut queue = VecDeque::from([start]);
        while let Some(n) = queue.pop_front() {
            for peer in self.neighbours(n) {
                if !hops.contains_key(&peer) {
                    hops.insert(peer, if n == start { peer } else { hops[&n] });
                    queue.push_back(peer);
                }
            }
        }
        hops
    }

    fn uses(&self, n: u64) -> Vec<Usage> {
        let hops = self.first_hops(n);
        let routes = |peer: u64| hops.values().filter(|hop| **hop == peer).count();
        let ends = self.nodes[&n].ends.keys();
        ends.map(|peer| Usage { node: id(*peer), routes: routes(*peer) }).collect()
    }

    /// 5 to 80 ms, fixed for each pair.
    fn latency(&self, a: u64, b: u64) -> Duration {
        Seed::new(a.min(b) << 32 | a.max(b)).between(millis(5), millis(80))
    }

    /// What one message takes more than another, so that messages overtake each other.
    fn jitter(&mut self) -> Duration {
        self.seed.between(Duration::ZERO, millis(150))
    }

    fn later(&mut self, delay: Duration, happening: Happening) {
        self.serial += 1;
        self.queue.insert((self.now + delay, self.serial), happening);
    }
}

fn number(node: RouterId) -> u64 {
    u64::from_be_bytes(node.octets())
}

//! Tests of the tunnel manager, from single rules to whole networks.

mod boundary;
mod dialling;
mod lanes;
mod lifetimes;
mod network;
mod properties;
mod refreshing;
mod serving;
mod simulation;
mod sources;

use std::net::SocketAddr;
use std::time::Duration;

use sixwire_proto::router_id::RouterId;
use sixwire_proto::seed::Seed;
use sixwire_proto::time::Instant;
use sixwire_proto::uplink::UplinkNumber;

use super::*;

/// The node under test; lower than `id(n)` for every n above it, higher than those below.
const OWN: u64 = 1000;

fn id(n: u64) -> RouterId {
    RouterId::new(n.to_be_bytes()).unwrap()
}

fn first(n: u64) -> Lane {
    Lane::first(id(n))
}

/// The tunnel to a node over its first uplink.
const TUNNEL: Medium = Medium::Tunnel(UplinkNumber::FIRST);

fn address(n: u64) -> SocketAddr {
    SocketAddr::new(std::net::Ipv6Addr::from((0x2001_0db8_u128 << 96) | u128::from(n)).into(), 6326)
}

fn record(n: u64) -> PeerRecord {
    PeerRecord { node: id(n), addresses: vec![address(n)] }
}

fn records(range: std::ops::RangeInclusive<u64>) -> Vec<PeerRecord> {
    range.map(record).collect()
}

const fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

const fn millis(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// No dials.
const NOBODY: [u64; 0] = [];

/// One manager with a clock, and what it said last.
struct Bench {
    core: Tunnels,
    now: Instant,
    said: Vec<Output>,
    requests: u64,
}

impl Bench {
    fn with(params: Params) -> Self {
        let now = Instant(1_000_000);
        Self { core: Tunnels::new(params, Seed::new(1), now), now, said: Vec::new(), requests: 0 }
    }

    /// Defaults, and places for dialled tunnels whether reached or not.
    fn new(dialled: usize) -> Self {
        Self::with(params(dialled))
    }

    fn handle(&mut self, input: Input<'_>) -> &[Output] {
        self.core.handle(self.now, input);
        self.said.clear();
        while let Some(output) = self.core.poll_output() {
            self.said.push(output);
        }
        if let Some(deadline) = self.core.next_deadline() {
            assert!(deadline > self.now, "deadline {deadline:?} is not after {:?}", self.now);
        }
        &self.said
    }

    fn learn(&mut self, range: std::ops::RangeInclusive<u64>) -> Vec<u64> {
        let records = records(range);
        self.handle(Input::Learned { source: Source::Registry, peers: &records });
        self.dialled()
    }

    /// Lets time pass, keeping every deadline; collects everything said.
    fn pass(&mut self, duration: Duration) -> Vec<Output> {
        let end = self.now + duration;
        let mut all = Vec::new();
        while let Some(deadline) = self.core.next_deadline().filter(|at| *at <= end) {
            self.now = self.now.max(deadline);
            all.extend_from_slice(self.handle(Input::Deadline));
        }
        self.now = end;
        all.extend_from_slice(self.handle(Input::Deadline));
        self.said.clone_from(&all);
        all
    }

    /// Lets time pass until the peer is dialled; how long it took.
    fn until_dialled(&mut self, n: u64) -> Duration {
        let start = self.now;
        while !self.core.dials().any(|dial| dial.lane.node == id(n)) {
            self.now = self.core.next_deadline().expect("something is waited for");
            self.handle(Input::Deadline);
        }
        self.now.since(start)
    }

    /// The peer's answer to the dial on its way.
    fn outcome(&mut self, n: u64, outcome: Result<Accepted, DialFailure>) -> &[Output] {
        let port = self.core.dials().find(|dial| dial.lane.node == id(n)).expect("dialled").port;
        self.handle(Input::Dialled { node: id(n), port, outcome })
    }

    fn accept(&mut self, n: u64) -> &[Output] {
        self.outcome(n, Ok(Accepted { address: Some(address(n)) }))
    }

    fn up(&mut self, n: u64) -> &[Output] {
        self.handle(Input::NeighbourUp { node: id(n), medium: TUNNEL })
    }

    fn down(&mut self, n: u64) -> &[Output] {
        self.handle(Input::NeighbourDown { node: id(n), medium: TUNNEL })
    }

    /// The dials among the last outputs.
    fn dialled(&self) -> Vec<u64> {
        let mut nodes: Vec<_> = self
            .said
            .iter()
            .filter_map(|output| match output {
                Output::Dial { lane, .. } => Some(u64::from_be_bytes(lane.node.octets())),
                _ => None,
            })
            .collect();
        nodes.sort_unstable();
        nodes
    }

    /// Dials, accepts and brings up all of these.
    fn join(&mut self, range: std::ops::RangeInclusive<u64>) {
        self.learn(range.clone());
        for n in range {
            self.accept(n);
            self.up(n);
        }
    }

    fn request(&mut self, n: u64) -> Verdict {
        self.requests += 1;
        let id_of_request = RequestId(self.requests);
        self.handle(Input::Request { id: id_of_request, lane: first(n) });
        let mut verdicts = self.said.iter().filter_map(|output| match output {
            Output::Answer { id, verdict } if *id == id_of_request => Some(*verdict),
            _ => None,
        });
        let verdict = verdicts.next().expect("every request is answered");
        assert!(verdicts.next().is_none(), "answered twice");
        verdict
    }

    fn serve(&mut self, n: u64) {
        assert!(matches!(self.request(n), Verdict::Accept { .. }), "{:?}", self.said);
        self.up(n);
    }

    fn tunnel(&self, n: u64) -> Option<TunnelView> {
        self.core.tunnels().find(|tunnel| tunnel.lane == first(n))
    }

    fn count(&self, role: Role) -> usize {
        self.core.tunnels().filter(|tunnel| tunnel.role == role).count()
    }

    fn closed(&self) -> Vec<(u64, CloseReason, Notify)> {
        let close = |output: &Output| match output {
            Output::Close { lane, reason, notify, .. } => {
                Some((u64::from_be_bytes(lane.node.octets()), *reason, *notify))
            }
            _ => None,
        };
        self.said.iter().filter_map(close).collect()
    }

    fn said(&self, output: &Output) -> usize {
        self.said.iter().filter(|said| *said == output).count()
    }

    fn dropped(&self, reason: DropReason) -> u64 {
        self.core.counters().dropped.get(&reason).copied().unwrap_or(0)
    }
}

fn params(dialled: usize) -> Params {
    let mut params = Params::new(id(OWN));
    params.counts = Counts { dialled, served: 20, unreached: dialled };
    params
}

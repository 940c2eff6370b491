//! Whatever happens in whatever order, the manager stays within its limits and its outputs fit
//! together.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

/// What a random driver does next. Nodes are few, so that things meet.
#[derive(Clone, Debug)]
enum Act {
    Wait(u64),
    OneDeadline,
    Learn {
        source: u8,
        first: u64,
        count: u64,
    },
    LearnNothing,
    Reachable(u64),
    Lost(u64),
    Up(u64, Medium),
    Down(u64, Medium),
    Uses(u64, usize),
    /// The outcome of a dial the manager sent, perhaps one it gave up.
    Outcome {
        which: usize,
        failure: Option<DialFailure>,
    },
    /// An outcome nobody asked for.
    StrayOutcome(u64, u16, bool),
    Request(Lane),
    CloseAsked(Lane, bool),
    PortTaken(Lane, bool),
    InterfaceGone(Lane),
    Revoked(u64),
    Reinstated(u64),
    UnderlayChanged,
    Parameters {
        dialled: usize,
        served: usize,
        unreached: usize,
        refresh: u64,
    },
    Adopt(Lane, bool, u16),
    Shutdown,
}

fn act() -> impl Strategy<Value = Act> {
    let node = || 1..=24_u64;
    let uplink = || (1..=3_u8).prop_map(|number| UplinkNumber::try_from(number).unwrap());
    let lane = move || (node(), uplink()).prop_map(|(n, uplink)| Lane { node: id(n), uplink });
    let medium =
        move || prop_oneof![8 => uplink().prop_map(Medium::Tunnel), 1 => Just(Medium::Lan)];
    let failure = prop_oneof![
        Just(DialFailure::Unreachable),
        Just(DialFailure::WrongNode),
        Just(DialFailure::Local),
        Just(DialFailure::Refused(Refusal::Full)),
        Just(DialFailure::Refused(Refusal::Glare)),
        Just(DialFailure::Refused(Refusal::Stopping)),
    ];
    prop_oneof![
        8 => (0..20_000_u64).prop_map(Act::Wait),
        8 => Just(Act::OneDeadline),
        6 => (0..3_u8, node(), 0..12_u64)
            .prop_map(|(source, first, count)| Act::Learn { source, first, count }),
        1 => Just(Act::LearnNothing),
        3 => node().prop_map(Act::Reachable),
        2 => node().prop_map(Act::Lost),
        10 => (node(), medium()).prop_map(|(n, medium)| Act::Up(n, medium)),
        4 => (node(), medium()).prop_map(|(n, medium)| Act::Down(n, medium)),
        3 => (node(), 0..9_usize).prop_map(|(n, routes)| Act::Uses(n, routes)),
        14 => (any::<usize>(), prop::option::weighted(0.3, failure))
            .prop_map(|(which, failure)| Act::Outcome { which, failure }),
        1 => (node(), 0..99_u16, any::<bool>())
            .prop_map(|(n, port, ok)| Act::StrayOutcome(n, port, ok)),
        8 => lane().prop_map(Act::Request),
        2 => (lane(), any::<bool>()).prop_map(|(lane, right)| Act::CloseAsked(lane, right)),
        1 => (lane(), any::<bool>()).prop_map(|(lane, right)| Act::PortTaken(lane, right)),
        1 => lane().prop_map(Act::InterfaceGone),
        1 => node().prop_map(Act::Revoked),
        1 => node().prop_map(Act::Reinstated),
        1 => Just(Act::UnderlayChanged),
        1 => (0..6_usize, 0..6_usize, 0..6_usize, 0..600_u64).prop_map(
            |(dialled, served, unreached, refresh)| {
                Act::Parameters { dialled, served, unreached, refresh }
            }
        ),
        1 => (lane(), any::<bool>(), 0..40_u16)
            .prop_map(|(lane, role, port)| Act::Adopt(lane, role, port)),
        1 => prop::bool::weighted(0.05).prop_map(|stop| if stop { Act::Shutdown } else { Act::OneDeadline }),
    ]
}

/// A dull model of the driver: what is open, what is owed.
struct Model {
    core: Tunnels,
    now: Instant,
    open: BTreeMap<Lane, (Role, u16)>,
    dials: Vec<(u64, u16)>,
    revoked: BTreeSet<u64>,
    requests: u64,
    unanswered: Option<RequestId>,
    /// The largest counts so far: lowering them closes nothing at once.
    most: Counts,
    adopted: usize,
    stopped: Stopped,
}

#[derive(PartialEq, Eq)]
enum Stopped {
    No,
    Yes,
}

const SMALL: u64 = 12;

impl Model {
    fn new(start: u64) -> Self {
        let mut params = Params::new(id(SMALL));
        params.counts = Counts { dialled: 4, served: 3, unreached: 2 };
        params.ports = 100..=120;
        params.uplinks = UplinkNumber::try_from(1 + u8::from(!start.is_multiple_of(3))).unwrap();
        params.preferred = vec![id(3), id(20)];
        params.cache_limit = 10;
        let (now, most) = (Instant(5), params.counts);
        Self {
            core: Tunnels::new(params, Seed::new(start), now),
            now,
            open: BTreeMap::new(),
            dials: Vec::new(),
            revoked: BTreeSet::new(),
            requests: 0,
            unanswered: None,
            most,
            adopted: 0,
            stopped: Stopped::No,
        }
    }

    fn play(&mut self, act: &Act) {
        match *act {
            Act::Wait(wait) => {
                self.now += millis(wait);
                self.handle(Input::Deadline);
            }
            Act::OneDeadline => {
                if let Some(deadline) = self.core.next_deadline() {
                    self.now = self.now.max(deadline);
                    self.handle(Input::Deadline);
                }
            }
            Act::Learn { source, first, count } => {
                let source =
                    [Source::Registry, Source::Peer(id(first)), Source::Cache][usize::from(source)];
                self.handle(Input::Learned { source, peers: &records(first..=first + count) });
            }
            Act::LearnNothing => self.handle(Input::LearnedNothing),
            Act::Reachable(n) => self.handle(Input::Reachable { node: id(n) }),
            Act::Lost(n) => self.handle(Input::Lost { node: id(n) }),
            Act::Up(n, medium) => self.handle(Input::NeighbourUp { node: id(n), medium }),
            Act::Down(n, medium) => self.handle(Input::NeighbourDown { node: id(n), medium }),
            Act::Uses(n, routes) => self.handle(Input::Uses(&[Usage { node: id(n), routes }])),
            Act::Outcome { which, failure } => self.outcome(which, failure),
            Act::Request(lane) => self.request(lane),
            _ => self.disturb(act),
        }
    }

    fn disturb(&mut self, act: &Act) {
        let port_of = |model: &Self, lane: Lane, right: bool| {
            model.open.get(&lane).map_or(100, |(_, port)| port ^ u16::from(!right))
        };
        match *act {
            Act::StrayOutcome(n, port, ok) => {
                let accepted = Ok(Accepted { address: None });
                let outcome = if ok { accepted } else { Err(DialFailure::Unreachable) };
                self.handle(Input::Dialled { node: id(n), port, outcome });
            }
            Act::CloseAsked(lane, right) => {
                let port = port_of(self, lane, right);
                self.handle(Input::CloseAsked { node: lane.node, port });
            }
            Act::PortTaken(lane, right) => {
                let port = port_of(self, lane, right);
                self.handle(Input::PortTaken { node: lane.node, port });
            }
            Act::InterfaceGone(lane) => self.handle(Input::InterfaceGone { lane }),
            Act::Revoked(n) => {
                self.revoked.insert(n);
                self.handle(Input::Revoked { node: id(n) });
            }
            Act::Reinstated(n) => {
                self.revoked.remove(&n);
                self.handle(Input::Reinstated { node: id(n) });
            }
            Act::UnderlayChanged => self.handle(Input::UnderlayChanged),
            Act::Parameters { dialled, served, unreached, refresh } => {
                let counts = Counts { dialled, served, unreached };
                self.most.dialled = self.most.dialled.max(dialled);
                self.most.served = self.most.served.max(served);
                self.handle(Input::Parameters { counts, refresh: secs(refresh) });
            }
            Act::Adopt(lane, dialled, port) => self.adopt(lane, dialled, port),
            Act::Shutdown => {
                self.stopped = Stopped::Yes;
                self.handle(Input::Shutdown);
                assert!(self.open.is_empty(), "{:?} left open", self.open);
            }
            _ => unreachable!("played before"),
        }
    }

    fn outcome(&mut self, which: usize, failure: Option<DialFailure>) {
        if self.dials.is_empty() {
            return;
        }
        let (n, port) = self.dials.swap_remove(which % self.dials.len());
        let outcome = failure.map_or(Ok(Accepted { address: Some(address(n)) }), Err);
        self.handle(Input::Dialled { node: id(n), port, outcome });
    }

    fn request(&mut self, lane: Lane) {
        self.requests += 1;
        let request = RequestId(self.requests);
        self.unanswered = Some(request);
        self.handle(Input::Request { id: request, lane });
        assert_eq!(self.unanswered, None, "a request was not answered");
    }

    /// Interfaces are found at the start, at most one for each lane and port.
    fn adopt(&mut self, lane: Lane, dialled: bool, port: u16) {
        let port = 200 + port;
        if self.open.contains_key(&lane) || self.open.values().any(|(_, used)| *used == port) {
            return;
        }
        let role = if dialled { Role::Dialled } else { Role::Served };
        self.open.insert(lane, (role, port));
        self.adopted += 1;
        self.handle(Input::Adopt { tunnels: &[Adopted { lane, role, port }] });
    }

    fn handle(&mut self, input: Input<'_>) {
        self.core.handle(self.now, input);
        while let Some(output) = self.core.poll_output() {
            self.judge(output);
        }
        self.check();
    }

    fn judge(&mut self, output: Output) {
        match output {
            Output::Dial { lane, port, addresses } => {
                let n = u64::from_be_bytes(lane.node.octets());
                assert!(n != SMALL && !self.revoked.contains(&n), "dialled {n}");
                assert!(addresses.len() <= MAX_ADDRESSES);
                assert!(self.stopped == Stopped::No);
                self.dials.push((n, port));
            }
            Output::Answer { id, verdict: _ } => {
                assert_eq!(self.unanswered.take(), Some(id), "answered twice or unasked");
            }
            Output::Open { lane, role, port } => {
                let n = u64::from_be_bytes(lane.node.octets());
                assert!(n != SMALL && !self.revoked.contains(&n), "opened {n}");
                assert!(self.open.values().all(|(_, used)| *used != port), "{port} used twice");
                let before = self.open.insert(lane, (role, port));
                assert_eq!(before, None, "{lane} opened twice");
            }
            Output::Close { lane, port, .. } => {
                let open = self.open.remove(&lane).expect("only what is open is closed");
                assert_eq!(open.1, port);
            }
            Output::Remember(records) => assert!(records.len() <= 10),
            Output::AskPeer { node } => {
                let n = u64::from_be_bytes(node.octets());
                assert!(n != SMALL && !self.revoked.contains(&n), "asked {n}");
            }
            Output::Decline { .. } | Output::AskRegistry | Output::AskUses | Output::Event(_) => {}
        }
    }

    fn check(&self) {
        let deadline = self.core.next_deadline();
        assert!(deadline.is_none_or(|at| at > self.now), "{deadline:?} at {:?}", self.now);
        assert_eq!(deadline.is_none(), self.stopped == Stopped::Yes, "a deadline or the end");
        let tunnels: BTreeMap<_, _> =
            self.core.tunnels().map(|tunnel| (tunnel.lane, (tunnel.role, tunnel.port))).collect();
        assert_eq!(tunnels, self.open, "the view and the outputs differ");
        let roles: BTreeSet<_> =
            self.open.iter().map(|(lane, (role, _))| (lane.node, *role)).collect();
        let nodes: BTreeSet<_> = roles.iter().map(|(node, _)| *node).collect();
        assert_eq!(roles.len(), nodes.len(), "lanes of one node, of both roles: {:?}", self.open);
        let count = |role| roles.iter().filter(|(_, r)| *r == role).count();
        assert!(count(Role::Dialled) <= self.most.dialled + 1 + self.adopted);
        assert!(count(Role::Served) <= self.most.served + self.adopted);
        assert!(self.core.dials().count() <= MAX_DIALS);
        assert!(self.core.peers().count() <= MAX_PEERS);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_sequence_of_inputs_breaks_a_limit_or_a_promise(
        start in any::<u64>(),
        acts in prop::collection::vec(act(), 1..300),
    ) {
        let mut model = Model::new(start);
        for act in &acts {
            model.play(act);
        }
    }

    #[test]
    fn time_alone_never_spins(start in any::<u64>(), acts in prop::collection::vec(act(), 1..60)) {
        let mut model = Model::new(start);
        for act in &acts {
            model.play(act);
        }
        let end = model.now + secs(3600);
        let mut wakes = 0;
        while model.core.next_deadline().is_some_and(|at| at <= end) {
            model.play(&Act::OneDeadline);
            wakes += 1;
        }
        // 24 nodes, each dialled at most every 15 s, with a stall and an end.
        prop_assert!(wakes < 24 * 240 * 3, "{wakes} wakes in an hour");
    }
}

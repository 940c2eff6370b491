//! The tunnel manager as a state machine without I/O: whom to dial, whom to serve, what to close.
//!
//! One rule for the driver: call [`Tunnels::handle`], then drain [`Tunnels::poll_output`], then
//! sleep until [`Tunnels::next_deadline`] or the next thing that happens. Everything else is said
//! by [`Input`] and [`Output`].
//!
//! | rule | where |
//! |---|---|
//! | how many to dial, whom, how many at once; glare | `dial` |
//! | several tunnels to one node, over several uplinks | `lane` |
//! | whom to serve | `serve` |
//! | when a tunnel ends, and how | `lifetime` |
//! | which tunnel gives way to another | `refresh` |
//! | where peers are learned from, and the cache | `sources` |
//!
//! A **place** is what the count of dialled tunnels is about. Nodes with healthy tunnels or fresh dials hold
//! one each. What has not answered for a while keeps running but holds none, so that silence costs
//! little time; should it work after all, it takes a place that is free or is let go.

mod counters;
mod dial;
mod input;
mod lane;
mod lifetime;
mod links;
mod output;
mod pace;
mod params;
mod peers;
mod ports;
mod refresh;
mod serve;
mod sources;
mod view;

#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::time::Duration;

pub use sixwire_proto::peer::{PeerRecord, Refusal};
use sixwire_proto::seed::Seed;
use sixwire_proto::time::Instant;

pub use counters::{Counters, DropReason};
pub use input::{Accepted, Adopted, DialFailure, Input, Medium, RequestId, Role, Source, Usage};
pub use lane::Lane;
pub use links::{MAX_DIALS, MAX_LAN};
pub use output::{CloseReason, Event, Notify, Output, Verdict};
pub use params::{Counts, Params, Service, Timers};
pub use peers::{MAX_ADDRESSES, MAX_PEERS, MAX_REVOKED};
pub use sources::MAX_RECORDS;
pub use view::{DialView, PeerView, TunnelState, TunnelView};

use links::Links;
use peers::{Company, Peers};
use ports::Ports;
use refresh::Refresh;
use sources::Sources;

/// The tunnel manager of one node.
#[derive(Debug)]
pub struct Tunnels {
    params: Params,
    seed: Seed,
    now: Instant,
    phase: Phase,
    company: Company,
    reach: Reach,
    links: Links,
    peers: Peers,
    sources: Sources,
    refresh: Refresh,
    outputs: VecDeque<Output>,
    counters: Counters,
}

/// Whether new tunnels are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Running,
    Draining,
}

/// Whether a served tunnel has ever worked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reach {
    Unproven,
    Proven,
}

impl Tunnels {
    /// A manager that knows nobody. Its first deadline is `now`.
    #[must_use]
    pub fn new(mut params: Params, mut seed: Seed, now: Instant) -> Self {
        params.timers = params.timers.clamped();
        let ports = Ports::new(params.ports.clone(), seed.below(params.ports.len()));
        Self {
            refresh: Refresh::new(now + params.timers.refresh),
            sources: Sources::new(now),
            params,
            seed,
            now,
            phase: Phase::Running,
            company: Company::Alone,
            reach: Reach::Unproven,
            links: Links::new(ports),
            peers: Peers::default(),
            outputs: VecDeque::new(),
            counters: Counters::default(),
        }
    }

    /// Takes one input in. `now` only grows; an earlier one counts as the latest seen.
    pub fn handle(&mut self, now: Instant, input: Input<'_>) {
        self.now = self.now.max(now);
        match input {
            Input::Parameters { counts, refresh } => self.set_parameters(counts, refresh),
            Input::Adopt { tunnels } => self.adopt(tunnels),
            Input::Learned { source, peers } => self.learn(source, peers),
            Input::LearnedNothing => self.sources.registry_answered(),
            Input::Reachable { node } => self.set_reachable(node),
            Input::Lost { node } => self.set_unreachable(node),
            Input::NeighbourUp { node, medium } => self.neighbour_up(node, medium),
            Input::NeighbourDown { node, medium } => self.neighbour_down(node, medium),
            Input::Uses(uses) => self.weigh(uses),
            Input::Dialled { node, port, outcome } => self.dialled(node, port, outcome),
            Input::Request { id, lane } => self.request(id, lane),
            Input::CloseAsked { node, port } => self.close_asked(node, port),
            Input::PortTaken { node, port } => self.port_taken(node, port),
            Input::InterfaceGone { lane } => self.interface_gone(lane),
            Input::Revoked { node } => self.revoke(node),
            Input::Reinstated { node } => self.peers.reinstate(node),
            Input::UnderlayChanged => self.peers.forgive_all(self.now),
            Input::Shutdown => self.shut_down(),
            Input::Deadline => {}
        }
        self.step();
    }

    /// The next thing to do, until there is none.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When to call [`Self::handle`] with [`Input::Deadline`] if nothing else happens before.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        if self.phase == Phase::Draining {
            return None;
        }
        let all = [
            self.dial_deadline(),
            self.widen_deadline(),
            self.lifetime_deadline(),
            self.refresh_deadline(),
            self.sources_deadline(),
        ];
        all.into_iter().flatten().min()
    }

    /// Whether the node has a neighbour.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.company == Company::Connected
    }

    /// What happened how often.
    #[must_use]
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Does all that is due.
    fn step(&mut self) {
        if self.phase == Phase::Draining {
            return;
        }
        self.expire_dials();
        self.expire_tunnels();
        self.note_company();
        self.fill();
        self.widen();
        self.refresh_if_due();
        self.ask_sources();
        self.remember_if_due();
    }

    fn note_company(&mut self) {
        let company = if self.links.has_neighbour() { Company::Connected } else { Company::Alone };
        if company == self.company {
            return;
        }
        self.company = company;
        self.sources.company_changed();
        self.event(match company {
            Company::Connected => Event::Connected,
            Company::Alone => Event::Disconnected,
        });
    }

    fn set_parameters(&mut self, counts: Counts, refresh: Duration) {
        let before = self.params.timers;
        self.params.counts = counts;
        self.params.timers = Timers { refresh, ..before }.clamped();
        if self.params.timers != before {
            self.refresh.restart(self.now + self.params.timers.refresh);
        }
    }

    fn output(&mut self, output: Output) {
        self.outputs.push_back(output);
    }

    fn event(&mut self, event: Event) {
        self.output(Output::Event(event));
    }
}

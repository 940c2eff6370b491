//! The routing engine: Babel (RFC 8966) as a state machine without I/O.
//!
//! The driver owns sockets, clock and kernel; the engine owns every decision. The contract:
//!
//! ```text
//! let mut babel = Babel::new(params, seed, now);
//! loop {
//!     let (now, input) = next_event(babel.next_deadline());
//!     babel.handle(now, input);
//!     while let Some(output) = babel.poll_output() {
//!         carry_out(output);
//!     }
//! }
//! ```
//!
//! One input, then all its outputs, then the next deadline. Time only grows; a late deadline costs
//! nothing but time, and packets that have already come are to be handed in before it. The same
//! seed and inputs give the same outputs. Bad input is counted and changes nothing else, see
//! [`Babel::counters`].
//!
//! Where the RFC leaves a choice: a neighbour is made by its first Hello, or IHU for us, and usable after
//! one of each. Hellos and IHUs go to the group. Updates go to each neighbour by unicast and are acknowledged,
//! on links with up to eight usable neighbours, and to the group, twice, beyond.
//! On a link with keys, nothing but a signed packet that proves to be new does any of this ([`Authentication`]).
//! Unfeasible routes are kept to be asked for. A selected route is left at once when it dies, and for a
//! better one only by a margin ([`Params::switch_margin`]).

mod acquisition;
mod adjacency;
mod announcement;
mod authentication;
mod challenge;
mod counter;
mod deadline;
mod etx;
mod few;
mod filter;
mod hello;
mod hold;
mod input;
mod link;
mod neighbour;
mod next_hop;
mod origin;
mod outbox;
mod output;
mod packet;
mod packet_counter;
mod params;
mod pulse;
pub mod recording;
mod request;
mod route;
mod rtt;
mod selection;
mod sender;
mod smoothing;
mod source;
mod stand_in;
mod starvation;
mod view;
mod wheel;

use std::collections::BTreeMap;
use std::time::Duration;

use sixwire_proto::babel::RouteKey;
use sixwire_proto::link::LinkId;
use sixwire_proto::metric::Metric;
use sixwire_proto::seed::Seed;
use sixwire_proto::seqno::Seqno;
use sixwire_proto::time::Instant;

use authentication::Guard;
pub use authentication::{Authentication, KeyCountError, Unauthenticated};
use counter::Counters;
pub use counter::{DropReason, is_limit};
use deadline::{Deadlines, Timer};
use filter::Filters;
pub use filter::{Action, Direction, Filter, LinkTag, MetricChange, SourceMatch};
pub use input::{Announcers, Input, LinkParams, LinkStart, SplitHorizon};
use link::Link;
use neighbour::Neighbours;
use origin::Origins;
use outbox::Outbox;
pub use output::{Complaint, DownCause, Event, Output, Target};
use packet::Arrival;
pub use params::{
    FAST_HELLO_INTERVAL, FAST_PROBING, Forwarding, HELLO_INTERVAL, LIMITS, LINK_SENSING, Limits,
    LinkQuality, LinkSensing, OriginCheck, PROBING, Params, SWITCH_MARGIN, UPDATE_INTERVAL,
};
pub use pulse::Probing;
use request::Requests;
use route::Table;
pub use rtt::{Delay, RttCost, wire_time};
pub use view::{Authenticity, HelloView, NeighbourView, RouteState, RouteView};
use wheel::Wheel;

/// One Babel speaker.
#[derive(Debug)]
pub struct Babel {
    params: Params,
    filters: Filters,
    seed: Seed,
    now: Instant,
    /// Our sequence number.
    seqno: Seqno,
    life: Life,
    /// Before this, what is refused is counted only.
    next_complaint: Instant,
    links: BTreeMap<LinkId, Link>,
    /// Of the links that have keys, up or not.
    guards: BTreeMap<LinkId, Guard>,
    neighbours: Neighbours,
    table: Table,
    requests: Requests,
    origins: Origins,
    deadlines: Deadlines,
    wheel: Wheel,
    outbox: Outbox,
}

/// Whether anything is still to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Life {
    Running,
    Stopped,
}

impl Babel {
    /// A speaker without links and routes. Intervals below 10 ms (hello) and 40 ms (update) are raised to
    /// that.
    #[must_use]
    pub fn new(params: Params, seed: Seed, now: Instant) -> Self {
        let params = Params {
            hello_interval: params.hello_interval.max(LEAST_HELLO_INTERVAL),
            update_interval: params.update_interval.max(LEAST_UPDATE_INTERVAL),
            ..params
        };
        Self {
            params,
            filters: Filters::default(),
            seed,
            now,
            seqno: params.seqno,
            life: Life::Running,
            next_complaint: now,
            links: BTreeMap::new(),
            guards: BTreeMap::new(),
            neighbours: Neighbours::default(),
            table: Table::default(),
            requests: Requests::default(),
            origins: Origins::new(params.origin_check),
            deadlines: Deadlines::default(),
            wheel: Wheel::default(),
            outbox: Outbox::default(),
        }
    }

    /// Takes in one event, after everything that was due before it.
    pub fn handle(&mut self, now: Instant, input: Input<'_>) {
        if self.life == Life::Stopped {
            return;
        }
        self.now = self.now.max(now);
        self.dispatch(input);
        while let Some(timer) = self.deadlines.pop_due(self.now) {
            self.fire(timer);
        }
        while let Some((due, id)) = self.wheel.pop_due(self.now) {
            self.entry_due(id, due);
        }
        self.flush();
    }

    /// The next thing to do, until there is none.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outbox.outputs.pop_front()
    }

    /// When [`Input::Deadline`] is to be handed in, if nothing else is before.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        self.deadlines.next().into_iter().chain(self.wheel.next()).min()
    }

    fn dispatch(&mut self, input: Input<'_>) {
        match input {
            Input::LinkUp { link, params } => self.link_up(link, params),
            Input::LinkDown { link } => self.link_down(link),
            Input::Authentication { link, authentication } => {
                self.set_authentication(link, authentication);
            }
            Input::LinkCost { link, extra } => self.link_extra(link, extra),
            Input::LinkV4 { link, address } => self.link_v4(link, address),
            Input::Packet { link, source, destination, bytes } => {
                self.packet(Arrival { link, source, destination }, bytes);
            }
            Input::Originate { route, metric } => self.originate(route, metric),
            Input::Withdraw { route } => self.originate(route, Metric::INFINITY),
            Input::Origin { router_id, prefixes } => self.origin_known(router_id, prefixes),
            Input::OriginGone { router_id } => self.origin_gone(router_id),
            Input::Answered { link, neighbour } => self.answered(link, neighbour),
            Input::Shutdown => self.shut_down(),
            Input::Deadline => {}
        }
    }

    fn fire(&mut self, timer: Timer) {
        match timer {
            Timer::Hello(link) => self.send_hello(link),
            Timer::Update(link) => self.begin_periodic_update(link),
            Timer::Neighbour(id) => self.neighbour_due(id),
            Timer::Ask(id) => self.ask_if_silent(id),
            Timer::Unicast(id) => self.unicast_due(id),
            Timer::Multicast(link) => self.multicast_due(link),
            Timer::Requests => self.requests_due(),
            Timer::Origin(router_id) => self.origin_due(router_id),
            Timer::SeqnoAhead => {}
        }
    }

    /// Begins, changes or (with infinity) ends a destination of our own.
    fn originate(&mut self, key: RouteKey, metric: Metric) {
        let known = self.table.of(key).is_some_and(|entry| entry.own.is_some());
        if !metric.is_finite() && !known {
            return;
        }
        if !known && self.table.routes() >= self.params.limits.routes {
            self.count(DropReason::TooManyRoutes);
            return;
        }
        let id = self.table.make(key);
        self.table.set_own(id, metric.is_finite().then_some(metric));
        self.reselect(id);
    }

    fn shut_down(&mut self) {
        self.retract_everything();
        self.flush();
        self.life = Life::Stopped;
        self.deadlines = Deadlines::default();
        self.wheel = Wheel::default();
    }

    /// A time somewhat before `interval` has passed, so that nodes do not fall into step and promises
    /// are kept.
    fn jittered(&mut self, interval: Duration) -> Instant {
        self.now + self.seed.between(interval * 7 / 8, interval * 31 / 32)
    }

    fn count(&mut self, reason: DropReason) {
        self.counters_mut().dropped(reason);
    }

    fn counters_mut(&mut self) -> &mut Counters {
        &mut self.outbox.counters
    }
}

/// Ten milliseconds is the unit of the wire.
const LEAST_HELLO_INTERVAL: Duration = Duration::from_millis(10);
const LEAST_UPDATE_INTERVAL: Duration = Duration::from_millis(40);

#[cfg(test)]
mod tests;

//! A dull model of one engine: what was announced to it, what it announced, and what must follow.

use std::collections::BTreeMap;
use std::net::Ipv6Addr;
use std::time::Duration;

use sixwire_controlplane::babel::{
    Babel, Limits, Output, RouteState, RouteView, SWITCH_MARGIN, Target,
};
use sixwire_proto::babel::{RouteKey, Tlv, Update, read};
use sixwire_proto::link::LinkId;
use sixwire_proto::metric::Metric;
use sixwire_proto::router_id::RouterId;
use sixwire_proto::seqno::Seqno;
use sixwire_proto::time::Instant;

/// What has gone in and come out.
#[derive(Debug)]
pub(super) struct Model {
    own: RouterId,
    limits: Limits,
    now: Instant,
    /// Everything each neighbour announced for a prefix since it last retracted it, and when.
    announced: BTreeMap<(LinkId, Ipv6Addr, RouteKey), Vec<(Update, Instant)>>,
    /// The best distance announced for each source, and when one was announced last.
    distances: BTreeMap<(RouteKey, RouterId), (Seqno, Metric, Instant)>,
    kernel: BTreeMap<RouteKey, Target>,
    swings: Swings,
}

/// Whether a packet is known to be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Heard {
    Surely,
    /// On a link with keys, its sender may not be believed yet.
    Perhaps,
}

impl Model {
    pub(super) fn new(own: RouterId, limits: Limits) -> Self {
        Self {
            own,
            limits,
            now: Instant(0),
            announced: BTreeMap::new(),
            distances: BTreeMap::new(),
            kernel: BTreeMap::new(),
            swings: Swings::default(),
        }
    }

    /// A packet goes in, valid or not.
    pub(super) fn packet(&mut self, link: LinkId, source: Ipv6Addr, octets: &[u8], heard: Heard) {
        let Ok(reader) = read(octets, source) else { return };
        for tlv in reader.filter_map(Result::ok) {
            let Tlv::Update(update) = tlv else { continue };
            match update.route {
                // What was announced before may hold still.
                _ if heard == Heard::Perhaps && !update.metric.is_finite() => {}
                None => self.announced.retain(|(l, s, _), _| (*l, *s) != (link, source)),
                Some(key) if !update.metric.is_finite() => {
                    self.announced.remove(&(link, source, key));
                }
                Some(key) => {
                    let known = self.announced.entry((link, source, key)).or_default();
                    known.push((update, self.now));
                }
            }
        }
    }

    /// A link is gone, or starts afresh.
    pub(super) fn link_lost(&mut self, link: LinkId) {
        self.announced.retain(|(known, ..), _| *known != link);
    }

    pub(super) fn at(&mut self, now: Instant) {
        self.now = now;
        self.distances.retain(|_, (.., used)| now.since(*used) < SOURCE_LIFE);
    }

    /// Something comes out. `address` is the engine's own.
    pub(super) fn output(&mut self, output: &Output, address: Ipv6Addr) {
        match output {
            Output::Send { packet, .. } => {
                let reader = read(&packet.bytes, address).expect("we send packets");
                for tlv in reader {
                    self.sent(tlv.expect("we send well-formed TLVs"));
                }
            }
            Output::Route { route, target: Target::Gone, .. } => drop(self.kernel.remove(route)),
            Output::Route { route, target, .. } => drop(self.kernel.insert(*route, *target)),
            _ => {}
        }
    }

    /// RFC 8966 §3.7.3: what is announced is a source's distance, if it is better.
    fn sent(&mut self, tlv: Tlv) {
        let Tlv::Update(update) = tlv else { return };
        let (Some(key), Some(router_id), true) =
            (update.route, update.router_id, update.metric.is_finite())
        else {
            return;
        };
        if router_id == self.own {
            return;
        }
        let new = (update.seqno, update.metric, self.now);
        let known = self.distances.entry((key, router_id)).or_insert(new);
        if better((new.0, new.1), (known.0, known.1)) {
            *known = new;
        }
        known.2 = self.now;
    }

    /// Compares the engine with what must be true.
    pub(super) fn check(&mut self, babel: &Babel) {
        let routes: Vec<RouteView> = babel.routes().collect();
        assert!(routes.len() <= self.limits.routes, "{} routes", routes.len());
        for route in &routes {
            self.check_route(route);
        }
        for neighbour in babel.neighbours() {
            self.swings.see((neighbour.link, neighbour.address, None), neighbour.cost.0);
        }
        for route in &routes {
            if let Some((link, neighbour)) = route.neighbour {
                self.swings.see((link, neighbour, Some(route.route)), route.refmetric.0);
            }
        }
        self.check_selection(&routes);
        let mut links: BTreeMap<LinkId, usize> = BTreeMap::new();
        for neighbour in babel.neighbours() {
            assert!(neighbour.routes <= self.limits.routes_per_neighbour, "{neighbour:?}");
            *links.entry(neighbour.link).or_default() += 1;
        }
        let most = links.values().max().copied().unwrap_or(0);
        assert!(most <= self.limits.neighbours_per_link, "{most} neighbours on a link");
    }

    /// Every route was announced and not retracted since; what is in use, or could be, is feasible.
    fn check_route(&self, route: &RouteView) {
        let Some((link, neighbour)) = route.neighbour else { return };
        let announced = self.announced.get(&(link, neighbour, route.route));
        let same = |update: &Update| {
            (update.router_id, update.seqno, update.metric, update.next_hop)
                == (Some(route.router_id), route.seqno, route.refmetric, route.next_hop)
        };
        let last = announced.into_iter().flatten().rev().find(|(update, _)| same(update));
        let Some((update, at)) = last else { panic!("{route:?} was not announced, or retracted") };
        let hold = update.interval.duration().max(LEAST_INTERVAL) * 7 / 2;
        assert!(self.now.since(*at) <= hold + TICK, "{route:?} has expired");
        if matches!(route.state, RouteState::Selected | RouteState::Feasible) {
            assert!(route.metric.is_finite(), "{route:?}");
            if let Some(best) = self.distances.get(&(route.route, route.router_id)) {
                let feasible = better((route.seqno, route.refmetric), (best.0, best.1));
                assert!(feasible, "{route:?} is not feasible: {best:?} was announced");
            }
        }
    }

    /// One route of each prefix is in use if any can be, no other is better by the margin, and the kernel has it.
    fn check_selection(&mut self, routes: &[RouteView]) {
        let selected: BTreeMap<RouteKey, &RouteView> = routes
            .iter()
            .filter(|route| route.state == RouteState::Selected)
            .map(|route| (route.route, route))
            .collect();
        let mut beaten = BTreeMap::new();
        for route in routes.iter().filter(|route| route.state == RouteState::Feasible) {
            let used = selected.get(&route.route).expect("what can be used is");
            let enough = u32::from(route.metric.0) + u32::from(SWITCH_MARGIN.0);
            let own = used.neighbour.is_none();
            if own || u32::from(used.metric.0) < enough {
                continue;
            }
            let swings = self.swings.of(route) + self.swings.of(used);
            assert!(swings >= FEWEST_SWINGS, "{route:?} beats {used:?}");
            let rivals =
                (route.route, (route.neighbour, route.metric, used.neighbour, used.metric));
            let since = self.swings.beaten.get(&rivals).copied().unwrap_or(self.now);
            assert!(self.now.since(since) <= LONGEST_RESTRAINT, "{route:?} still beats {used:?}");
            beaten.insert(rivals, since);
        }
        self.swings.beaten = beaten;
        for route in selected.values() {
            match (route.neighbour, self.kernel.get(&route.route)) {
                (None, None) => {}
                (Some((on, _)), Some(Target::Via { link, next_hop, metric, router_id })) => {
                    let kernel = (*link, Some(*next_hop), *metric, *router_id);
                    assert_eq!(kernel, (on, route.next_hop, route.metric, route.router_id));
                }
                (_, kernel) => panic!("{route:?} is in use, the kernel has {kernel:?}"),
            }
        }
        for (key, target) in &self.kernel {
            let unused = matches!(target, Target::Via { .. }) && !selected.contains_key(key);
            assert!(!unused, "the kernel has {key} by {target:?}, which is not in use");
        }
    }
}

/// Costs and metrics that go to and fro, for which a better route has to wait (RFC 8966 §A.3).
#[derive(Debug, Default)]
struct Swings {
    /// The last cost of each neighbour, and metric of each of its routes, and how often it changed.
    seen: BTreeMap<(LinkId, Ipv6Addr, Option<RouteKey>), (u16, usize)>,
    /// Since when a route is better than the one in use.
    beaten: BTreeMap<(RouteKey, Rivals), Instant>,
}

/// A route and its metric, and the same of the one in use.
type Rivals = (Option<(LinkId, Ipv6Addr)>, Metric, Option<(LinkId, Ipv6Addr)>, Metric);

impl Swings {
    fn see(&mut self, what: (LinkId, Ipv6Addr, Option<RouteKey>), value: u16) {
        let known = self.seen.entry(what).or_insert((value, 0));
        if known.0 != value {
            *known = (value, known.1 + 1);
        }
    }

    fn of(&self, route: &RouteView) -> usize {
        let Some((link, neighbour)) = route.neighbour else { return 0 };
        let kinds = [None, Some(route.route)].map(|key| self.seen.get(&(link, neighbour, key)));
        kinds.into_iter().flatten().map(|(_, times)| times).sum()
    }
}

/// RFC 8966 §3.5.1.
fn better(one: (Seqno, Metric), other: (Seqno, Metric)) -> bool {
    one.0.is_newer_than(other.0) || (one.0 == other.0 && one.1 < other.1)
}

/// Less than the three minutes that a source is kept at the least (RFC 8966 appendix B).
const SOURCE_LIFE: Duration = Duration::from_secs(179);
/// Deadlines of routes may be late by less than this.
const TICK: Duration = Duration::from_secs(1);
/// Changes after which a value may count as one that swings; some are not seen here.
const FEWEST_SWINGS: usize = 3;
/// A distance of any size is less than one after so long: 16 halvings, of two Hello intervals each.
const LONGEST_RESTRAINT: Duration = Duration::from_secs(16 * 8 + 4);
/// Shorter intervals count as this long.
const LEAST_INTERVAL: Duration = Duration::from_secs(1);

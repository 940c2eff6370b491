//! What status shows. Nothing here changes anything.

use std::net::{IpAddr, Ipv6Addr};

use serde::Serialize;
use sixwire_proto::babel::RouteKey;
use sixwire_proto::link::LinkId;
use sixwire_proto::metric::{Cost, Metric};
use sixwire_proto::router_id::RouterId;
use sixwire_proto::seqno::Seqno;

use super::Babel;
use super::hello::History;
use super::neighbour::Neighbour;
use super::route::{Entry, Route};

/// A neighbour.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct NeighbourView {
    /// Its link.
    pub link: LinkId,
    /// Its link-local address.
    pub address: Ipv6Addr,
    /// Cost of the link to it.
    pub cost: Cost,
    /// Cost of receiving from it, as told to it.
    pub rxcost: Cost,
    /// Cost of sending to it, as it tells.
    pub txcost: Cost,
    /// Smoothed round-trip time, microseconds, once measured.
    pub rtt_us: Option<u64>,
    /// What it adds to the cost.
    pub rtt_cost: Cost,
    /// Multicast Hellos heard.
    pub multicast: HelloView,
    /// Unicast Hellos heard.
    pub unicast: HelloView,
    /// How many routes it announces.
    pub routes: usize,
    /// How many updates wait to be sent to it.
    pub queued: usize,
    /// Whether it has proven to have a key.
    pub authenticity: Authenticity,
}

impl NeighbourView {
    /// Smoothed round-trip time, milliseconds, once measured.
    #[must_use]
    pub fn rtt_ms(&self) -> Option<f64> {
        let micros = |rtt| f64::from(u32::try_from(rtt).unwrap_or(u32::MAX));
        self.rtt_us.map(|rtt| micros(rtt) / 1000.0)
    }
}

/// Whether packets of a neighbour are known to be its own, and new.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Authenticity {
    /// Its link has no keys.
    Unneeded,
    /// They are.
    Authenticated,
    /// They are not.
    Unauthenticated,
}

/// A history of Hellos.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct HelloView {
    /// A set bit is one received; the newest is the lowest.
    pub heard: u16,
    /// How many bits mean anything.
    pub known: u8,
}

/// A route: one neighbour's, or our own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct RouteView {
    /// Where to.
    pub route: RouteKey,
    /// Who announces it on which link; `None` for our own.
    pub neighbour: Option<(LinkId, Ipv6Addr)>,
    /// Where packets are sent; `None` for our own.
    pub next_hop: Option<IpAddr>,
    /// Its originator.
    pub router_id: RouterId,
    /// The originator's sequence number.
    pub seqno: Seqno,
    /// The neighbour's metric; ours for our own.
    pub refmetric: Metric,
    /// Our metric.
    pub metric: Metric,
    /// What it is good for.
    pub state: RouteState,
}

/// What a route is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum RouteState {
    /// In use.
    Selected,
    /// Could be used.
    Feasible,
    /// Might lead in a circle.
    Unfeasible,
    /// Its neighbour cannot be used.
    Unreachable,
    /// Its originator is not known to own it.
    UnknownOrigin,
    /// A filter keeps it from being used.
    Denied,
}

impl Babel {
    /// All neighbours, by link and address.
    pub fn neighbours(&self) -> impl Iterator<Item = NeighbourView> {
        self.neighbours.iter().map(|(_, neighbour)| self.neighbour_view(neighbour))
    }

    /// All routes, by prefix; the selected and the others.
    pub fn routes(&self) -> impl Iterator<Item = RouteView> {
        self.table.entries().flat_map(|entry| {
            let own = self.own_view(entry);
            own.into_iter().chain(entry.routes.iter().map(|route| self.route_view(entry, route)))
        })
    }

    /// Prefixes that were lost, and are kept from falling back to shorter ones.
    pub fn held(&self) -> impl Iterator<Item = RouteKey> {
        self.table.holds.keys().filter_map(|id| self.table.get(*id)).map(|entry| entry.key)
    }

    /// Labels and counts since the start, in a fixed order.
    pub fn counters(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.outbox.counters.iter()
    }

    /// Our sequence number.
    #[must_use]
    pub fn seqno(&self) -> Seqno {
        self.seqno
    }

    fn neighbour_view(&self, neighbour: &Neighbour) -> NeighbourView {
        NeighbourView {
            link: neighbour.link,
            address: neighbour.address,
            cost: neighbour.cost,
            rxcost: neighbour.told.rxcost,
            txcost: neighbour.txcost,
            rtt_us: neighbour.rtt.smoothed().and_then(|rtt| u64::try_from(rtt.as_micros()).ok()),
            rtt_cost: neighbour.rtt.charged(),
            multicast: hello_view(&neighbour.multicast),
            unicast: hello_view(&neighbour.unicast),
            routes: neighbour.routes.len(),
            queued: neighbour.sender.len(),
            authenticity: self.authenticity(neighbour.link, neighbour.address),
        }
    }

    fn own_view(&self, entry: &Entry) -> Option<RouteView> {
        let metric = entry.own?;
        Some(RouteView {
            route: entry.key,
            neighbour: None,
            next_hop: None,
            router_id: self.params.router_id,
            seqno: self.seqno,
            refmetric: metric,
            metric,
            state: RouteState::Selected,
        })
    }

    fn route_view(&self, entry: &Entry, route: &Route) -> RouteView {
        let neighbour = self.neighbours.get(route.neighbour);
        let metric = self.metric(entry.key, route);
        let state = if entry.is_selected(route.neighbour) {
            RouteState::Selected
        } else if !metric.is_finite() {
            RouteState::Unreachable
        } else if !self.origins.allow(route.router_id, entry.key.destination) {
            RouteState::UnknownOrigin
        } else if !self.may_install(entry.key, route) {
            RouteState::Denied
        } else if entry.is_feasible(route) {
            RouteState::Feasible
        } else {
            RouteState::Unfeasible
        };
        RouteView {
            route: entry.key,
            neighbour: neighbour.map(|one| (one.link, one.address)),
            next_hop: neighbour.and_then(|one| one.next_hops.get(route.next_hop)),
            router_id: route.router_id,
            seqno: route.seqno,
            refmetric: route.refmetric,
            metric,
            state,
        }
    }
}

fn hello_view(history: &History) -> HelloView {
    let (heard, known) = history.bits();
    HelloView { heard, known }
}

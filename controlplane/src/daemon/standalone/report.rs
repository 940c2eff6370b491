//! What a routing engine tells: fields are added, never changed; a change of meaning is another
//! schema.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, PoisonError};

use nix::net::if_::if_indextoname;
use serde::{Deserialize, Serialize};
use sixwire_dataplane::model::RouteKey;
use sixwire_proto::link::LinkId;
use sixwire_proto::metric::{Cost, Metric};
use sixwire_proto::prefix::Prefix;
use sixwire_proto::router_id::RouterId;
use sixwire_proto::seqno::Seqno;

use crate::babel::{Authenticity, NeighbourView, RouteState, RouteView};
use crate::daemon::api::Schema;
use crate::daemon::kernel_routes::RefusedRoutes;
use crate::daemon::routing::{Table, View};
use crate::daemon::tally::{Tally, is_limit};
use crate::daemon::watchers::{Change, Kind};

/// What the kernel writer keeps up to date.
#[derive(Clone)]
pub(super) struct Kernel {
    /// The routes that the kernel has refused.
    pub(super) refused: RefusedRoutes,
    /// Its counters.
    pub(super) tally: Arc<Tally>,
}

/// Every neighbour.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NeighboursReport {
    /// Version of the report.
    pub schema: Schema,
    /// One entry each, by interface and address.
    pub neighbours: Vec<NeighbourReport>,
}

/// A neighbour.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NeighbourReport {
    /// Interface it is on.
    pub interface: String,
    /// Its link-local address.
    pub address: Ipv6Addr,
    /// Cost of the link to it; `null` if it cannot be used.
    pub cost: Option<u16>,
    /// Cost of receiving from it, as told to it; `null` is infinite.
    pub rxcost: Option<u16>,
    /// Cost of sending to it, as it tells; `null` is infinite.
    pub txcost: Option<u16>,
    /// Smoothed round-trip time in milliseconds; `null` until measured.
    #[serde(default)]
    pub rtt_ms: Option<f64>,
    /// What it adds to the cost.
    #[serde(default)]
    pub rtt_cost: u16,
    /// The last sixteen multicast Hellos, the newest lowest; a set bit is one received.
    pub hellos: u16,
    /// How many routes it announces.
    pub routes: usize,
    /// Whether it has proven to have a key; `null` where no key is needed.
    #[serde(default)]
    pub authenticated: Option<bool>,
}

/// What was done and what was dropped since the start; what never happened is left out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CountersReport {
    /// Version of the report.
    pub schema: Schema,
    /// Those of the counters that say how often a limit was reached.
    #[serde(default)]
    pub limits: BTreeMap<String, u64>,
    /// How often, by label.
    pub counters: BTreeMap<String, u64>,
}

/// Every route, the selected and the others.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RoutesReport {
    /// Version of the report.
    pub schema: Schema,
    /// One entry each, by destination.
    pub routes: Vec<RouteReport>,
}

/// A route: a neighbour's, or one of our own.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RouteReport {
    /// Destination.
    pub destination: Prefix,
    /// Only for packets from here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<Prefix>,
    /// Its originator.
    pub router_id: RouterId,
    /// Interface it leads through; `null` for our own.
    pub interface: Option<String>,
    /// Where packets are sent; `null` for our own.
    pub next_hop: Option<IpAddr>,
    /// Our metric; `null` is infinite.
    pub metric: Option<u16>,
    /// The neighbour's metric; `null` is infinite, absent in changes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refmetric: Option<u16>,
    /// The originator's sequence number; absent in changes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seqno: Option<u16>,
    /// `own`, `selected`, `feasible`, `unfeasible`, `unreachable` or `denied` (by a filter).
    pub state: String,
    /// Whether the kernel has it: `false` if it was refused. Absent for routes that are not selected, and in
    /// changes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub installed: Option<bool>,
}

/// One line of `monitor`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ChangeReport {
    /// Version of the report.
    pub schema: Schema,
    /// What happened to it.
    pub event: EventKind,
    /// What it is about.
    #[serde(flatten)]
    pub subject: Subject,
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EventKind {
    /// It is there; at the start of watching for all there is.
    Add,
    /// It is different.
    Change,
    /// It is gone.
    Flush,
}

/// What a change is about.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Subject {
    /// A neighbour that can be used.
    Neighbour {
        /// Interface it is on.
        interface: String,
        /// Its link-local address.
        address: Ipv6Addr,
        /// Cost of the link to it.
        cost: u16,
    },
    /// A selected route.
    Route(Box<RouteReport>),
}

impl NeighboursReport {
    pub(super) fn of(table: Table) -> Self {
        Self { schema: Schema, neighbours: table.neighbours.into_iter().map(neighbour).collect() }
    }
}

impl CountersReport {
    pub(super) fn of(view: View, kernel: &Kernel) -> Self {
        let written = kernel.tally.read().into_iter();
        let written = written.map(|(label, count)| (label.to_owned(), count));
        let mut counters = BTreeMap::new();
        for (label, count) in view.counters.into_iter().chain(written) {
            *counters.entry(label).or_default() += count;
        }
        let limits = counters.iter().filter(|(label, _)| is_limit(label));
        let limits = limits.map(|(label, count)| (label.clone(), *count)).collect();
        Self { schema: Schema, limits, counters }
    }
}

impl RoutesReport {
    pub(super) fn of(table: Table, kernel: &Kernel) -> Self {
        let refused = kernel.refused.lock().unwrap_or_else(PoisonError::into_inner);
        let installed = |view: &RouteView| {
            let RouteView { route, state, .. } = view;
            let key = RouteKey { prefix: route.destination, source: route.source };
            (view.neighbour.is_some() && *state == RouteState::Selected)
                .then(|| !refused.contains(&key))
        };
        let routes = table.routes.into_iter();
        let routes = routes.map(|view| RouteReport { installed: installed(&view), ..route(view) });
        Self { schema: Schema, routes: routes.collect() }
    }
}

impl ChangeReport {
    /// All that is there, as additions.
    pub(super) fn of_all(view: &View) -> impl Iterator<Item = Self> {
        let neighbours = view.neighbours.iter();
        let neighbours =
            neighbours.map(|(who, view)| Change::Neighbour(Kind::Add, *who, view.cost));
        let routes = view.routes.iter().map(|(key, to)| Change::Route(Kind::Add, *key, *to));
        neighbours.chain(routes).map(Self::of)
    }

    pub(super) fn of(change: Change) -> Self {
        let (kind, subject) = match change {
            Change::Neighbour(kind, (link, address), cost) => {
                (kind, Subject::Neighbour { interface: name(link), address, cost: cost.0 })
            }
            Change::Route(kind, key, to) => {
                let route = RouteReport {
                    destination: key.destination,
                    source: key.source,
                    router_id: to.router_id,
                    interface: Some(name(to.link)),
                    next_hop: Some(to.next_hop),
                    metric: finite_metric(to.metric),
                    refmetric: None,
                    seqno: None,
                    state: "selected".to_owned(),
                    installed: None,
                };
                (kind, Subject::Route(Box::new(route)))
            }
        };
        let event = match kind {
            Kind::Add => EventKind::Add,
            Kind::Change => EventKind::Change,
            Kind::Flush => EventKind::Flush,
        };
        Self { schema: Schema, event, subject }
    }
}

fn neighbour(view: NeighbourView) -> NeighbourReport {
    NeighbourReport {
        interface: name(view.link),
        address: view.address,
        cost: finite(view.cost),
        rxcost: finite(view.rxcost),
        txcost: finite(view.txcost),
        rtt_ms: view.rtt_ms(),
        rtt_cost: view.rtt_cost.0,
        hellos: view.multicast.heard,
        routes: view.routes,
        authenticated: match view.authenticity {
            Authenticity::Unneeded => None,
            Authenticity::Authenticated => Some(true),
            Authenticity::Unauthenticated => Some(false),
        },
    }
}

/// With three decimals, which is all there is.
fn route(view: RouteView) -> RouteReport {
    let state = match (view.neighbour, view.state) {
        (None, _) => "own",
        (_, RouteState::Selected) => "selected",
        (_, RouteState::Feasible) => "feasible",
        (_, RouteState::Unfeasible) => "unfeasible",
        (_, RouteState::Unreachable) => "unreachable",
        (_, RouteState::UnknownOrigin) => "unknown-origin",
        (_, RouteState::Denied) => "denied",
    };
    let Seqno(seqno) = view.seqno;
    RouteReport {
        destination: view.route.destination,
        source: view.route.source,
        router_id: view.router_id,
        interface: view.neighbour.map(|(link, _)| name(link)),
        next_hop: view.next_hop,
        metric: finite_metric(view.metric),
        refmetric: finite_metric(view.refmetric),
        seqno: Some(seqno),
        state: state.to_owned(),
        installed: None,
    }
}

/// The interface's name, or its number once it is gone.
fn name(link: LinkId) -> String {
    let name = if_indextoname(link.0).ok();
    name.map_or_else(|| link.to_string(), |name| name.to_string_lossy().into_owned())
}

fn finite(cost: Cost) -> Option<u16> {
    cost.is_finite().then_some(cost.0)
}

fn finite_metric(metric: Metric) -> Option<u16> {
    metric.is_finite().then_some(metric.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_that_were_reached_are_told_apart_as_well() {
        let counted = [("dropped: too many routes", 3), ("packets sent", 9)];
        let counters = counted.map(|(label, count)| (label.to_owned(), count)).to_vec();
        let kernel = Kernel { refused: RefusedRoutes::default(), tally: Arc::new(Tally::new()) };
        kernel.tally.add_many("routes_restored", 2);
        let view = View { counters: counters.clone(), ..View::default() };
        let report = CountersReport::of(view, &kernel);
        assert_eq!(report.limits, BTreeMap::from([counters[0].clone()]));
        let written = ("routes_restored".to_owned(), 2);
        assert_eq!(report.counters, counters.into_iter().chain([written]).collect());
    }
}

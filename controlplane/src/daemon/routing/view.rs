//! What is shown of the engine.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};

use sixwire_proto::babel::RouteKey;
use sixwire_proto::link::LinkId;
use sixwire_proto::metric::Metric;
use sixwire_proto::router_id::RouterId;

use crate::babel::{NeighbourView, RouteState, RouteView};

/// The routing table and the neighbours at one moment, for people.
#[derive(Clone, Debug, Default)]
pub(in crate::daemon) struct View {
    /// Selected routes.
    pub(in crate::daemon) routes: BTreeMap<RouteKey, SelectedRoute>,
    /// Neighbours that can be used.
    pub(in crate::daemon) neighbours: BTreeMap<(LinkId, Ipv6Addr), NeighbourView>,
    /// Counters of the engine and of this driver that are not zero.
    pub(in crate::daemon) counters: Vec<(String, u64)>,
}

/// All that the engine knows of others and announces itself.
#[derive(Clone, Debug, Default)]
pub(in crate::daemon) struct Table {
    /// Every neighbour.
    pub(in crate::daemon) neighbours: Vec<NeighbourView>,
    /// Every route.
    pub(in crate::daemon) routes: Vec<RouteView>,
}

/// A selected route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::daemon) struct SelectedRoute {
    /// Link it leads through.
    pub(in crate::daemon) link: LinkId,
    /// Neighbour it leads to.
    pub(in crate::daemon) next_hop: IpAddr,
    /// Our metric.
    pub(in crate::daemon) metric: Metric,
    /// Its originator.
    pub(in crate::daemon) router_id: RouterId,
}

/// A route of a neighbour that is in use.
pub(super) fn selected(view: RouteView) -> Option<(RouteKey, SelectedRoute)> {
    let ((link, _), next_hop) = view.neighbour.zip(view.next_hop)?;
    let route = SelectedRoute { link, next_hop, metric: view.metric, router_id: view.router_id };
    (view.state == RouteState::Selected).then_some((view.route, route))
}

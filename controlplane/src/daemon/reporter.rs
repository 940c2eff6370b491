//! Answers the local API: gathers from the tasks what people and programs want to see.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};

use sixwire_dataplane::{Backend, Dataplane, PeerStats, model};
use sixwire_proto::babel::RouteKey;
use sixwire_proto::link::LinkId;
use sixwire_proto::router_id::RouterId;
use sixwire_proto::uplink::UplinkNumber;
use tokio::sync::{mpsc, oneshot};

use super::api::report::{
    CertificateReport, Counter, DaemonReport, Health, HelperReport, LinkRole, NetworkReport,
    NodeReport, PeerReport, PeersReport, RegistryReport, Report, RouteReport, RoutesReport,
    RoutingReport, Schema, StatusReport, TunnelsReport, UplinkReport, WireguardKind,
};
use super::api::{Query, Request};
use super::config::BabelInterface;
use super::kernel_routes::RefusedRoutes;
use super::members::Members;
use super::monotonic::Monotonic;
use super::neighbourhood::Spreads;
use super::registry::RegistrySync;
use super::routing::SelectedRoute;
use super::signalling::{self, Signalling};
use super::tally::{Tally, is_limit};
use super::tunnels::TunnelReport;
use super::uplinks::Uplinks;
use super::{routing, tunnels};
use crate::babel::NeighbourView;
use crate::tunnel::{Role, TunnelState};

/// The answerer, and where it looks.
pub(super) struct Reporter {
    /// Counts the uptime.
    pub(super) started: Monotonic,
    /// This node's members and papers.
    pub(super) members: Arc<Members>,
    /// The registry.
    pub(super) registry: Arc<RegistrySync>,
    /// Interfaces.
    pub(super) dataplane: Arc<Dataplane>,
    /// Signalling.
    pub(super) signalling: Signalling,
    /// Tunnels.
    pub(super) tunnels: mpsc::Sender<tunnels::Command>,
    /// Routes.
    pub(super) routing: mpsc::Sender<routing::Command>,
    /// Interfaces that Babel was told to run on.
    pub(super) native: BTreeMap<LinkId, BabelInterface>,
    /// The calendar.
    pub(super) now: signalling::Clock,
    /// Routes the kernel has refused.
    pub(super) refused: RefusedRoutes,
    /// Neighbours whose flows are spread over several links.
    pub(super) spreads: Spreads,
    /// The uplinks.
    pub(super) uplinks: Uplinks,
    /// What this machine could not be made to do, one sentence each.
    pub(super) shortcomings: Vec<String>,
    /// What could be better on it.
    pub(super) warnings: Vec<String>,
    /// What the kernel lost and was given back.
    pub(super) kernel: Arc<Tally>,
}

/// Tunnels and routes at one moment.
struct Snapshot {
    tunnels: Vec<TunnelReport>,
    routing: routing::View,
}

impl Reporter {
    /// Answers one query. A query for the end of the daemon comes back.
    pub(super) async fn answer(&self, query: Query) -> Option<Query> {
        let snapshot = self.snapshot().await?;
        let report = match query.request {
            Request::Status => Report::Status(Box::new(self.status(&snapshot).await?)),
            Request::Peers => Report::Peers(self.peers(&snapshot).await),
            Request::Routes => Report::Routes(self.routes(&snapshot)),
            Request::Down => return Some(query),
        };
        // Nobody may wait for it any more.
        let _ = query.answer.send(report);
        None
    }

    async fn snapshot(&self) -> Option<Snapshot> {
        let (reply, tunnels) = oneshot::channel();
        self.tunnels.send(tunnels::Command::View(reply)).await.ok()?;
        let (reply, routing) = oneshot::channel();
        self.routing.send(routing::Command::View(reply)).await.ok()?;
        Some(Snapshot { tunnels: tunnels.await.ok()?, routing: routing.await.ok()? })
    }

    async fn status(&self, snapshot: &Snapshot) -> Option<StatusReport> {
        let (now, papers) = ((self.now)(), self.members.membership());
        let certificate = self.members.own_certificate().ok()?;
        let reasons = self.reasons(snapshot);
        let contact = self.registry.contact();
        let counters = self.counters(snapshot).await;
        Some(StatusReport {
            schema: Schema,
            health: if reasons.is_empty() { Health::Healthy } else { Health::Degraded },
            reasons,
            warnings: self.warnings.clone(),
            daemon: DaemonReport {
                version: env!("CARGO_PKG_VERSION").to_owned(),
                uptime_s: self.started.now().0 / 1_000_000,
            },
            node: NodeReport {
                router_id: certificate.router_id(),
                name: certificate.name.clone(),
                prefix: certificate.prefix,
                address: certificate.prefix.node_address(),
                roles: certificate.roles.clone(),
            },
            network: NetworkReport {
                id: certificate.network,
                prefix: papers.state.prefix,
                epoch: papers.state.epoch,
            },
            certificate: CertificateReport {
                serial: certificate.serial,
                not_before: certificate.not_before,
                not_after: certificate.not_after,
            },
            tunnels: self.tunnel_counts(snapshot),
            routing: RoutingReport {
                neighbours: count(snapshot.routing.neighbours.len()),
                routes: count(snapshot.routing.routes.len()),
            },
            registry: RegistryReport {
                host: self.registry.place(),
                reachable: (contact.last_success.is_some() || contact.last_error.is_some())
                    .then_some(contact.last_error.is_none()),
                last_success_s: contact.last_success.map(|then| then.until(now).as_secs()),
                last_error: contact.last_error,
            },
            limits: limits(&counters),
            counters,
        })
    }

    async fn counters(&self, snapshot: &Snapshot) -> Vec<Counter> {
        let babel = snapshot.routing.counters.iter();
        let babel = babel.map(|(label, value)| counter("babel", label, *value));
        let signalled = self.signalling.counters().into_iter().filter(|(_, value)| *value > 0);
        let signalled = signalled.map(|(label, value)| counter("signalling", label, value));
        let members = self.members.counters().into_iter();
        let members = members.map(|(label, value)| counter("members", label, value));
        let kernel = self.kernel.read().into_iter();
        let kernel = kernel.map(|(label, value)| counter("kernel", label, value));
        let guards = self.dataplane.guarded_against().into_iter().filter(|(_, value)| *value > 0);
        let guards =
            guards.map(|(why, value)| counter("guards", &format!("dropped: {why}"), value));
        // One that does not answer is named elsewhere.
        let drops = self.dataplane.drops().await.unwrap_or_default().into_iter();
        let drops = drops.map(|(label, value)| counter("wireguard", &label, value));
        babel.chain(signalled).chain(members).chain(kernel).chain(guards).chain(drops).collect()
    }

    /// Why the node does not do all of its work.
    fn reasons(&self, snapshot: &Snapshot) -> Vec<String> {
        let mut reasons = self.shortcomings.clone();
        reasons.extend(self.dataplane.helper_health().and_then(|helper| helper.trouble));
        if let Err(error) = self.members.own_certificate().and_then(|c| c.valid_at((self.now)())) {
            reasons.push(format!("{error}: other nodes refuse it until the registry renews it"));
        }
        if snapshot.routing.neighbours.is_empty() {
            reasons.push("no neighbour: not connected to any other node".to_owned());
        }
        let reports = self.uplink_reports(snapshot);
        let dead = reports.iter().filter(|uplink| uplink.up == 0 && uplink.tunnels > 0);
        reasons.extend(dead.map(|uplink| {
            format!("no tunnel works over uplink {} ({} tried)", uplink.name, uplink.tunnels)
        }));
        reasons
    }

    fn tunnel_counts(&self, snapshot: &Snapshot) -> TunnelsReport {
        let of = |wanted: &dyn Fn(&TunnelReport) -> bool| {
            count(snapshot.tunnels.iter().filter(|tunnel| wanted(tunnel)).count())
        };
        TunnelsReport {
            wireguard: match self.dataplane.backend() {
                Backend::Kernel => WireguardKind::Kernel,
                Backend::Embedded => WireguardKind::Embedded,
            },
            dialled: of(&|tunnel| tunnel.view.role == Role::Dialled),
            served: of(&|tunnel| tunnel.view.role == Role::Served),
            up: of(&|tunnel| tunnel.view.state == TunnelState::Up),
            uplinks: self.uplink_reports(snapshot),
            helper: self.dataplane.helper_health().map(|helper| HelperReport {
                restarts: helper.restarts,
                last_restart_s: helper.since_restart.map(|since| since.as_secs()),
            }),
        }
    }

    fn uplink_reports(&self, snapshot: &Snapshot) -> Vec<UplinkReport> {
        let taking = |number: UplinkNumber| {
            let tunnels = snapshot.tunnels.iter().map(|tunnel| tunnel.view);
            tunnels.filter(move |view| view.role == Role::Dialled && view.lane.uplink == number)
        };
        let report = |(number, name): (UplinkNumber, &str)| UplinkReport {
            name: name.to_owned(),
            tunnels: count(taking(number).count()),
            up: count(taking(number).filter(|view| view.state == TunnelState::Up).count()),
        };
        self.uplinks.names().map(report).collect()
    }

    async fn peers(&self, snapshot: &Snapshot) -> PeersReport {
        let mut peers = Vec::new();
        for tunnel in &snapshot.tunnels {
            let stats = self.dataplane.tunnel_stats(&tunnel.name).await.ok();
            let stats = stats.and_then(|s| s.peers.into_values().next()).unwrap_or_default();
            peers.push(self.peer(tunnel, &stats, snapshot));
        }
        for (link, interface) in &self.native {
            peers.extend(self.native_peers(*link, interface, snapshot));
        }
        PeersReport { schema: Schema, peers }
    }

    fn peer(&self, tunnel: &TunnelReport, stats: &PeerStats, snapshot: &Snapshot) -> PeerReport {
        let node = tunnel.view.lane.node;
        let neighbour = snapshot.routing.neighbours.get(&(tunnel.link, node.link_local()));
        PeerReport {
            router_id: node,
            name: self.name(node),
            interface: tunnel.name.to_string(),
            role: match tunnel.view.role {
                Role::Dialled => LinkRole::Dialled,
                Role::Served => LinkRole::Served,
            },
            state: state_name(tunnel.view.state).to_owned(),
            uplink_number: tunnel.view.lane.uplink,
            uplink: tunnel.uplink.clone(),
            endpoint: stats.endpoint,
            cost: neighbour.map(|view| view.cost.0),
            rtt_ms: neighbour.and_then(NeighbourView::rtt_ms),
            rx_bytes: stats.rx_bytes,
            tx_bytes: stats.tx_bytes,
            handshake_age_s: stats.handshake_age.map(|age| age.as_secs()),
        }
    }

    /// Neighbours on an interface that is no tunnel of ours.
    fn native_peers(
        &self,
        link: LinkId,
        interface: &BabelInterface,
        snapshot: &Snapshot,
    ) -> Vec<PeerReport> {
        let on_link = snapshot.routing.neighbours.iter().filter(|((on, _), _)| *on == link);
        on_link
            .filter_map(|((_, address), view)| {
                let node = RouterId::from_link_local(*address)?;
                Some(PeerReport {
                    router_id: node,
                    name: self.name(node),
                    interface: interface.name.to_string(),
                    role: LinkRole::Native,
                    state: state_name(TunnelState::Up).to_owned(),
                    uplink_number: UplinkNumber::FIRST,
                    uplink: None,
                    endpoint: None,
                    cost: Some(view.cost.0),
                    rtt_ms: view.rtt_ms(),
                    rx_bytes: 0,
                    tx_bytes: 0,
                    handshake_age_s: None,
                })
            })
            .collect()
    }

    fn routes(&self, snapshot: &Snapshot) -> RoutesReport {
        let names: BTreeMap<LinkId, String> = snapshot
            .tunnels
            .iter()
            .map(|tunnel| (tunnel.link, tunnel.name.to_string()))
            .chain(self.native.iter().map(|(link, native)| (*link, native.name.to_string())))
            .collect();
        let refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        let installed = |key: &RouteKey| {
            !refused.contains(&model::RouteKey { prefix: key.destination, source: key.source })
        };
        let name_of = |link: LinkId| names.get(&link).cloned().unwrap_or_else(|| link.to_string());
        let spreads = self.spreads.lock().unwrap_or_else(PoisonError::into_inner);
        let spread = |key: &RouteKey, route: &SelectedRoute| {
            let links = spreads.get(&route.next_hop).filter(|links| links.contains(&route.link));
            let links = links.filter(|links| links.len() > 1 && key.source.is_none());
            links.into_iter().flatten().map(|link| name_of(*link)).collect()
        };
        let routes = snapshot.routing.routes.iter().map(|(key, route)| RouteReport {
            destination: key.destination,
            source: key.source,
            router_id: route.router_id,
            name: self.name(route.router_id),
            via: match route.next_hop {
                std::net::IpAddr::V6(address) => RouterId::from_link_local(address),
                std::net::IpAddr::V4(_) => None,
            },
            interface: name_of(route.link),
            interfaces: spread(key, route),
            next_hop: route.next_hop,
            metric: route.metric.0,
            installed: installed(key),
        });
        RoutesReport { schema: Schema, routes: routes.collect() }
    }

    fn name(&self, node: RouterId) -> Option<String> {
        self.members.certificate(node).and_then(|certificate| certificate.name)
    }
}

fn state_name(state: TunnelState) -> &'static str {
    match state {
        TunnelState::Opening => "opening",
        TunnelState::Up => "up",
        TunnelState::Lost => "lost",
        TunnelState::Adopted => "adopted",
    }
}

/// Those of the counters that say how often a limit was reached.
fn limits(counters: &[Counter]) -> Vec<Counter> {
    let name = |one: &&Counter| one.label.split_once('.').is_some_and(|(_, name)| is_limit(name));
    counters.iter().filter(name).cloned().collect()
}

fn counter(part: &str, label: &str, value: u64) -> Counter {
    Counter { label: format!("{part}.{label}"), value }
}

fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

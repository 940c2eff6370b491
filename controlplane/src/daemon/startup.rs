//! What the kernel has when the daemon starts, and what it is to have: tunnels, addresses and routes
//! of an earlier run are kept, what is missing is made, what is broken is removed.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use sixwire_dataplane::model::{
    Change, Desired, GuardedNetwork, Observed, ObservedPeer, ObservedTunnel, ObservedWireGuard,
    Peer, RouteKey, RouteTarget, Tunnel, WireGuard,
};
use sixwire_dataplane::{Dataplane, Error, plan};
use sixwire_proto::prefix::Prefix;
use sixwire_proto::router_id::RouterId;
use tracing::{debug, warn};

use super::tally::Tally;
use super::tunnels::AdoptedTunnel;
use super::uplinks::Uplinks;
use crate::babel::Announcers;

/// What is this node's own, whatever tunnels it has.
#[derive(Clone, Debug)]
pub(super) struct OwnGround {
    /// The node.
    pub(super) node: RouterId,
    /// Its addresses.
    pub(super) addresses: BTreeSet<IpAddr>,
    /// What must not leak to another route: the network's prefix.
    pub(super) unreachable: BTreeSet<Prefix>,
    /// What the tunnels it dials leave by.
    pub(super) uplinks: Uplinks,
    /// What is guarded against.
    pub(super) guards: GuardedNetwork,
}

/// What an earlier run left in working order.
#[derive(Debug, Default)]
pub(super) struct Adopted {
    /// Tunnels.
    pub(super) tunnels: Vec<AdoptedTunnel>,
    /// Routes.
    pub(super) routes: BTreeMap<RouteKey, RouteTarget>,
    /// Why nothing is guarded, if so.
    pub(super) unguarded: Option<Error>,
}

impl OwnGround {
    /// Reconciles the kernel, and says what was adopted.
    ///
    /// # Errors
    /// [`Error`] of the first change that could not be made. Where there was nothing of ours before, there is nothing
    /// after it.
    pub(super) async fn reconcile(&self, dataplane: &Dataplane) -> Result<Adopted, Error> {
        let observed = dataplane.observe().await?;
        for name in &observed.foreign {
            warn!(interface = %name, "looks like a tunnel of ours but lacks the alias: left alone");
        }
        let mut adopted = self.adoptable(&observed);
        let desired = self.desired(&observed, &adopted);
        let was_empty = plan(&Desired::default(), &observed).is_empty();
        for change in plan(&desired, &observed) {
            debug!(?change, "reconciling");
            match (dataplane.apply(&change).await, change) {
                // The network works without; who runs it is told.
                (Err(error), Change::Guard(_)) => {
                    warn!("{error}");
                    adopted.unguarded = Some(error);
                }
                (Err(error), _) => {
                    if was_empty && let Err(left) = Self::clear(dataplane).await {
                        warn!(error = %left, "what was made could not be removed again");
                    }
                    return Err(error);
                }
                (Ok(_), _) => {}
            }
        }
        Ok(adopted)
    }

    /// Removes everything that bears our mark.
    ///
    /// # Errors
    /// [`Error`] of the first change that could not be made.
    pub(super) async fn clear(dataplane: &Dataplane) -> Result<(), Error> {
        let observed = dataplane.observe().await?;
        for change in plan(&Desired::default(), &observed) {
            dataplane.apply(&change).await?;
        }
        dataplane.settle().await;
        Ok(())
    }

    /// Puts back what somebody removed or changed, but tunnels and routes that are gone; counts it.
    ///
    /// # Errors
    /// When the kernel refuses to tell what there is.
    pub(super) async fn restore(
        &self,
        dataplane: &Dataplane,
        tally: &Tally,
    ) -> Result<Observed, Error> {
        let observed = dataplane.observe().await?;
        let routes = usable_routes(&observed);
        let kept = Adopted { tunnels: usable(&observed), routes, unguarded: None };
        let mut desired = self.desired(&observed, &kept);
        for (name, tunnel) in &mut desired.tunnels {
            let given = observed.tunnels.get(name).and_then(|t| dataplane.given_mtu(t.link));
            tunnel.mtu = given.unwrap_or(tunnel.mtu);
        }
        for change in plan(&desired, &observed) {
            let Some(label) = restored(&change) else { continue };
            tally.add(label);
            warn!(?change, "somebody changed the kernel, putting it back");
            if let Err(error) = dataplane.apply(&change).await {
                warn!(%error, "the kernel could not be put back in order");
            }
        }
        Ok(observed)
    }

    fn adoptable(&self, observed: &Observed) -> Adopted {
        let tunnels = usable(observed);
        let links: BTreeSet<_> = tunnels.iter().map(|tunnel| tunnel.link).collect();
        let mut routes = usable_routes(observed);
        routes.retain(|_, target| match target {
            RouteTarget::Via(hop) => links.contains(&hop.link),
            RouteTarget::Unreachable => true,
        });
        Adopted { tunnels, routes, unguarded: None }
    }

    fn desired(&self, observed: &Observed, adopted: &Adopted) -> Desired {
        let tunnels = adopted
            .tunnels
            .iter()
            .filter_map(|found| {
                let tunnel = observed.tunnels.get(&found.name)?;
                Some((found.name.clone(), self.as_it_is(tunnel, found)?))
            })
            .collect();
        Desired {
            tunnels,
            addresses: self.addresses.clone(),
            routes: adopted.routes.clone(),
            unreachable: self.unreachable.clone(),
            rules: self.uplinks.rules(),
            guards: Some(self.guards.clone()),
        }
    }

    /// A tunnel desired to be what it is, so that it is left alone, but for the uplink it takes.
    fn as_it_is(&self, tunnel: &ObservedTunnel, found: &AdoptedTunnel) -> Option<Tunnel> {
        let wireguard = tunnel.wireguard.as_ref()?;
        let keep = |peer: &ObservedPeer| Peer {
            preshared_key: None,
            endpoint: None,
            keepalive: peer.keepalive,
            allowed_ips: peer.allowed_ips.clone(),
        };
        Some(Tunnel {
            mark: found.mark,
            link_local: self.node.link_local(),
            mtu: tunnel.mtu,
            wireguard: WireGuard {
                private_key: None,
                port: wireguard.port,
                fwmark: self.uplinks.fwmark(&found.mark),
                peers: wireguard.peers.iter().map(|(key, peer)| (*key, keep(peer))).collect(),
            },
        })
    }
}

/// What a change puts back, for the counters. What is being made or removed at this moment is its maker's business.
fn restored(change: &Change) -> Option<&'static str> {
    match change {
        Change::AddAddress(_) => Some("addresses_restored"),
        Change::AddUnreachable(_) => Some("unreachable_restored"),
        Change::AddRule(_) => Some("rules_restored"),
        Change::UpdateTunnel(..) => Some("tunnels_restored"),
        _ => None,
    }
}

/// Tunnels worth keeping: with their mark, their device and a peer.
fn usable(observed: &Observed) -> Vec<AdoptedTunnel> {
    observed
        .tunnels
        .iter()
        .filter_map(|(name, tunnel)| {
            let wireguard = tunnel.wireguard.as_ref().filter(|w| !w.peers.is_empty())?;
            let their_port = wireguard.peers.values().find_map(|peer| peer.endpoint);
            let mark = tunnel.mark?;
            Some(AdoptedTunnel {
                name: name.clone(),
                link: tunnel.link,
                mark,
                port: wireguard.port,
                peers: wireguard.peers.keys().copied().collect(),
                their_port: their_port.map(|endpoint| endpoint.port()),
                announcers: announcers(mark.node, wireguard),
            })
        })
        .collect()
}

/// Whose routes a tunnel may bring, as its allowed-ips were set by.
fn announcers(node: RouterId, wireguard: &ObservedWireGuard) -> Announcers {
    let forwards = |peer: &ObservedPeer| peer.allowed_ips.contains(&Prefix::V6_DEFAULT);
    if wireguard.peers.values().any(forwards) { Announcers::Anyone } else { Announcers::Only(node) }
}

fn usable_routes(observed: &Observed) -> BTreeMap<RouteKey, RouteTarget> {
    observed.routes.iter().filter_map(|(key, target)| Some((*key, (*target)?))).collect()
}

//! Reads what is, makes what should be.

pub(crate) mod opening;

use std::collections::BTreeMap;
use std::net::IpAddr;

use sixwire_proto::link::LinkId;

use crate::error::Error;
use crate::forwarding::ipv6_is_disabled_on;
use crate::guards::GuardTable;
use crate::model::{
    Change, IfName, Observed, ObservedTunnel, RouteChange, Sources, Tunnel, TunnelUpdate,
};
use crate::netlink::link::{Link, LinkState};
use crate::netlink::monitor::Events;
use crate::netlink::route::{OwnRoute, Table};
use crate::netlink::{Netlink, address, link, rule};
use crate::options::{Backend, Options};
use crate::router::Router;
use crate::tunnel::Tunnels;
use crate::userspace::HelperHealth;
use crate::wireguard::TunnelStats;

/// The data plane of one network namespace: that of the thread which opened it.
pub struct Dataplane {
    netlink: Netlink,
    table: Table,
    address_interface: IfName,
    tunnels: Tunnels,
    guards: GuardTable,
}

/// What a change did, beyond being done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Applied {
    /// The tunnel is there, with this index.
    Tunnel(LinkId),
    /// The tunnel is being removed; [`Dataplane::settle`] waits for it.
    Removing,
    /// Nothing more to say.
    Done,
}

impl Dataplane {
    /// Looks whether all that is needed is there, and starts to watch the kernel.
    ///
    /// # Errors
    /// When privileges, IPv6, or the WireGuard chosen are missing; each says what to do.
    pub async fn open(options: Options) -> Result<(Self, Events), Error> {
        opening::open(options).await
    }

    /// Which WireGuard carries the tunnels.
    #[must_use]
    pub fn backend(&self) -> Backend {
        self.tunnels.backend()
    }

    /// All that bears our mark.
    ///
    /// # Errors
    /// When the kernel refuses to tell.
    pub async fn observe(&self) -> Result<Observed, Error> {
        let mut observed = Observed::default();
        let addresses = address::addresses(&self.netlink).await?;
        let half_made = self.tunnels.helper_names().await?;
        for link in link::links(&self.netlink).await? {
            if link.name == self.address_interface {
                let own = addresses.iter().filter(|a| a.link == link.id && a.is_ours);
                observed.addresses.extend(own.map(|a| a.address));
            }
            if !link.name.is_tunnel_like() || self.tunnels.is_removing(&link.name) {
                continue;
            }
            if !link.is_ours() && !half_made.contains(&link.name) {
                observed.foreign.insert(link.name);
                continue;
            }
            let of_link = addresses.iter().filter(|a| a.link == link.id);
            let tunnel = ObservedTunnel {
                link: link.id,
                mark: link.mark,
                up: link.state != LinkState::Down,
                mtu: link.mtu,
                link_local: of_link.filter_map(address::Address::link_local).collect(),
                wireguard: self.tunnels.wireguard(&link).await?,
            };
            if let Some(wireguard) = &tunnel.wireguard {
                self.guards.note(&link.name, wireguard.port);
                self.tunnels.mtus().adopt(link.id, link.mtu);
            }
            observed.tunnels.insert(link.name, tunnel);
        }
        for route in self.table.routes(&self.netlink).await? {
            match route {
                OwnRoute::Mesh(key, target) => {
                    observed.routes.insert(key, target);
                }
                OwnRoute::Unreachable(prefix) => {
                    observed.unreachable.insert(prefix);
                }
            }
        }
        observed.rules.extend(rule::rules(&self.netlink, self.table.protocol).await?);
        observed.guards = self.guards.observe()?;
        Ok(observed)
    }

    /// Makes one change. Repeating one that was made already does no harm.
    ///
    /// # Errors
    /// What went wrong, on which object. A tunnel that could not be made whole is not left behind.
    pub async fn apply(&self, change: &Change) -> Result<Applied, Error> {
        let (netlink, protocol) = (&self.netlink, self.table.protocol);
        match change {
            Change::AddUnreachable(prefix) => self.table.add_unreachable(netlink, *prefix).await?,
            Change::RemoveUnreachable(prefix) => {
                self.table.remove_unreachable(netlink, *prefix).await?;
            }
            Change::AddAddress(address) => self.add_address(*address).await?,
            Change::RemoveAddress(address) => {
                let link = self.address_link().await?.id;
                address::remove(netlink, link, *address).await?;
            }
            Change::AddRule(rule) => rule::add(netlink, *rule, protocol).await?,
            Change::RemoveRule(rule) => rule::remove(netlink, *rule, protocol).await?,
            Change::CreateTunnel(name, tunnel) => {
                return self.create_tunnel(name, tunnel).await.map(Applied::Tunnel);
            }
            Change::UpdateTunnel(name, update) => {
                return self.update_tunnel(name, update).await.map(Applied::Tunnel);
            }
            Change::RemoveTunnel(name) => {
                self.tunnels.remove(name).await?;
                self.guards.forget(name)?;
                return Ok(Applied::Removing);
            }
            Change::Guard(guards) => self.guards.set(guards.clone())?,
            Change::Unguard => self.guards.remove()?,
            Change::Route(change) => {
                self.apply_routes(&[*change]).await.into_iter().collect::<Result<(), _>>()?;
            }
        }
        Ok(Applied::Done)
    }

    /// Makes many changes of routes, in order, many to a send. One outcome each.
    pub async fn apply_routes(&self, changes: &[RouteChange]) -> Vec<Result<(), Error>> {
        self.router().apply(changes).await
    }

    /// The part that writes routes, to be handed on.
    #[must_use]
    pub fn router(&self) -> Router {
        Router::of(self.netlink.clone(), self.table)
    }

    /// Counters of a tunnel.
    ///
    /// # Errors
    /// [`Error::Gone`] when it is not there.
    pub async fn tunnel_stats(&self, name: &IfName) -> Result<TunnelStats, Error> {
        self.tunnels.stats(name).await
    }

    /// How the embedded WireGuard's process fares; `None` where the kernel's is used.
    #[must_use]
    pub fn helper_health(&self) -> Option<HelperHealth> {
        self.tunnels.helper_health()
    }

    /// What the embedded WireGuard dropped since its process was started, by reason.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn drops(&self) -> Result<BTreeMap<String, u64>, Error> {
        self.tunnels.drops().await
    }

    /// Waits until the tunnels being removed are gone.
    pub async fn settle(&self) {
        self.tunnels.settle().await;
    }

    /// Ends the embedded WireGuard, if it runs, and its interfaces with it: for `sixwire down`, after
    /// everything was removed and [settled](Self::settle).
    ///
    /// # Errors
    /// When the helper does not do as told.
    pub async fn stop_helper(&self) -> Result<(), Error> {
        self.tunnels.stop_helper().await
    }

    /// Makes our nftables table again what it was last told to be, should it be anything else; says whether it was.
    ///
    /// # Errors
    /// When the kernel refuses, or somebody else has taken the name.
    pub fn restore_guards(&self) -> Result<bool, Error> {
        self.guards.restore()
    }

    /// How many packets the guards kept out, by reason.
    #[must_use]
    pub fn guarded_against(&self) -> Vec<(String, u64)> {
        self.guards.dropped()
    }

    /// Our tunnels, as far as they were made or seen.
    #[must_use]
    pub fn known_tunnels(&self) -> Vec<IfName> {
        self.guards.tunnels()
    }

    /// The MTU that a tunnel was given, or was adopted with, in octets.
    #[must_use]
    pub fn given_mtu(&self, link: LinkId) -> Option<u32> {
        self.tunnels.mtus().of(link)
    }

    async fn create_tunnel(&self, name: &IfName, tunnel: &Tunnel) -> Result<LinkId, Error> {
        let before = self.guards.add(name, &tunnel.wireguard)?;
        let made = self.tunnels.create(name, tunnel).await;
        if made.is_err() {
            let undone = match before {
                // It lives on as it was.
                (Some(port), sources) if self.tunnels.is_there(name).await => {
                    self.guards.change(name, Some(port), sources).map(drop)
                }
                _ => self.guards.forget(name),
            };
            if let Err(error) = undone {
                tracing::warn!("{error}");
            }
        }
        made
    }

    async fn update_tunnel(&self, name: &IfName, update: &TunnelUpdate) -> Result<LinkId, Error> {
        let (port, peers) = (update.wireguard.port, &update.wireguard.peers);
        let allowed = peers.values().flat_map(|peer| &peer.allowed_ips);
        let sources = (!peers.is_empty()).then(|| Sources::of(allowed));
        let before = self.guards.change(name, port, sources)?;
        let updated = self.tunnels.update(name, update).await;
        if updated.is_err()
            && port.is_some()
            && let Err(error) = self.guards.change(name, before, None)
        {
            tracing::warn!("{error}");
        }
        updated
    }

    async fn add_address(&self, address: IpAddr) -> Result<(), Error> {
        let link = self.address_link().await?;
        // A new network namespace has its loopback switched off, and addresses on it are dead.
        if link.state == LinkState::Down && link.name == IfName::loopback() {
            link::bring_up(&self.netlink, link.id).await?;
        }
        // Of somebody else's interface we change nothing but that.
        if address.is_ipv6() && ipv6_is_disabled_on(&link.name) {
            return Err(Error::Ipv6DisabledOn(link.name));
        }
        address::add_own(&self.netlink, link.id, address).await
    }

    async fn address_link(&self) -> Result<Link, Error> {
        let name = &self.address_interface;
        let link = link::find(&self.netlink, name).await?;
        link.ok_or_else(|| Error::NoAddressInterface(name.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn assert_send<T: Send>(_: T) {}

    #[test]
    fn the_daemon_may_work_on_any_thread() {
        // Compiled, which is the test.
        let _ = |dataplane: &Dataplane, change: &Change, name: &IfName| {
            assert_send(dataplane.observe());
            assert_send(dataplane.apply(change));
            assert_send(dataplane.apply_routes(&[]));
            assert_send(dataplane.tunnel_stats(name));
            assert_send(dataplane.settle());
        };
        let _ = |options: Options| assert_send(Dataplane::open(options));
    }
}

//! Tunnels: the interface, its address and its WireGuard device as one thing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sixwire_proto::link::LinkId;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

use crate::error::Error;
use crate::forwarding::{admit_ipv6, distrust};
use crate::model::{IfName, ObservedWireGuard, Tunnel, TunnelUpdate, WireGuardUpdate};
use crate::netlink::link::{Kind, Link};
use crate::netlink::monitor::{Mtus, Ours, Removing};
use crate::netlink::{Netlink, address, link};
use crate::options::Backend;
use crate::userspace::{Helper, HelperHealth};
use crate::wireguard::{Control, TunnelStats};

/// All tunnels of one backend.
pub(crate) struct Tunnels {
    netlink: Netlink,
    backend: Backend,
    helper: Arc<Helper>,
    control: Control,
    removing: Removing,
    mtus: Mtus,
    /// Removals under way, by name: a new tunnel of that name waits for its end.
    removals: Mutex<BTreeMap<IfName, JoinHandle<()>>>,
    /// As many removals at a time.
    slots: Arc<Semaphore>,
}

/// Since when an interface is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Age {
    /// It was just made, and is down.
    Fresh,
    Found,
}

impl Tunnels {
    pub(crate) fn new(netlink: Netlink, backend: Backend, helper: Helper, ours: Ours) -> Self {
        let Ours { removing, mtus } = ours;
        Self {
            netlink,
            backend,
            helper: Arc::new(helper),
            control: Control::new(backend),
            removing,
            mtus,
            removals: Mutex::default(),
            slots: Arc::new(Semaphore::new(REMOVALS)),
        }
    }

    pub(crate) fn backend(&self) -> Backend {
        self.backend
    }

    /// The MTU that each tunnel was given.
    pub(crate) fn mtus(&self) -> &Mtus {
        &self.mtus
    }

    /// Interfaces of the helper: ours, even before they have their alias.
    pub(crate) async fn helper_names(&self) -> Result<BTreeSet<IfName>, Error> {
        match self.backend {
            Backend::Kernel => Ok(BTreeSet::new()),
            Backend::Embedded => Ok(self.helper.names().await?.into_iter().flatten().collect()),
        }
    }

    pub(crate) fn is_removing(&self, name: &IfName) -> bool {
        self.removals().get(name).is_some_and(|removal| !removal.is_finished())
    }

    /// The configuration of an interface of ours; `None` if it is not of our backend, or nobody serves
    /// it. Any other trouble is an error: it must not look like a reason to make the tunnel anew.
    pub(crate) async fn wireguard(&self, link: &Link) -> Result<Option<ObservedWireGuard>, Error> {
        if link.kind != self.kind() {
            return Ok(None);
        }
        match self.read(&link.name).await {
            Ok((wireguard, _)) => Ok(Some(wireguard)),
            Err(Error::Gone { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub(crate) async fn stats(&self, name: &IfName) -> Result<TunnelStats, Error> {
        self.read(name).await.map(|(_, stats)| stats)
    }

    /// How the helper fares; `None` if it carries nothing.
    pub(crate) fn helper_health(&self) -> Option<HelperHealth> {
        (self.backend == Backend::Embedded).then(|| self.helper.health())
    }

    /// What the helper dropped, by reason.
    pub(crate) async fn drops(&self) -> Result<BTreeMap<String, u64>, Error> {
        match self.backend {
            Backend::Kernel => Ok(BTreeMap::new()),
            Backend::Embedded => self.helper.drops().await,
        }
    }

    /// Makes a tunnel, or what is missing of it.
    pub(crate) async fn create(&self, name: &IfName, tunnel: &Tunnel) -> Result<LinkId, Error> {
        self.removal_ended(name).await;
        let update = complete(tunnel);
        match self.usable(name).await? {
            Some(link) => self.change_or_restore(&link, &update).await?,
            None if tunnel.wireguard.private_key.is_none() => {
                return Err(Error::KeyUnknown(name.clone()));
            }
            None => {
                let made = self.make(name, tunnel.mtu, &update).await;
                if made.is_err()
                    && let Err(left) = self.remove(name).await
                {
                    tracing::warn!("{left}");
                }
                made?;
            }
        }
        Ok(self.found(name).await?.id)
    }

    /// Whether there is, and will be, an interface of that name.
    pub(crate) async fn is_there(&self, name: &IfName) -> bool {
        !matches!(self.found(name).await, Err(Error::Gone { .. }))
    }

    /// Changes a living tunnel in place.
    pub(crate) async fn update(
        &self,
        name: &IfName,
        update: &TunnelUpdate,
    ) -> Result<LinkId, Error> {
        let link = self.found(name).await?;
        if !self.is_ours(&link).await? {
            return Err(Error::Taken(name.clone()));
        }
        self.change_or_restore(&link, update).await?;
        Ok(link.id)
    }

    /// Starts to remove a tunnel; that it is gone is success.
    pub(crate) async fn remove(&self, name: &IfName) -> Result<(), Error> {
        let Some(link) = link::find(&self.netlink, name).await? else { return Ok(()) };
        if !self.is_ours(&link).await? {
            return Err(Error::Taken(name.clone()));
        }
        self.delete(&link)
    }

    /// Waits for all removals.
    pub(crate) async fn settle(&self) {
        let removals = std::mem::take(&mut *self.removals());
        for (_, removal) in removals {
            ended(removal).await;
        }
    }

    pub(crate) async fn stop_helper(&self) -> Result<(), Error> {
        self.helper.stop().await
    }

    /// The interface of that name if it is a tunnel of this backend; one of ours that is of the other
    /// backend, or does not answer, is removed first.
    async fn usable(&self, name: &IfName) -> Result<Option<Link>, Error> {
        let Some(link) = link::find(&self.netlink, name).await? else { return Ok(None) };
        if !self.is_ours(&link).await? {
            return Err(Error::Taken(name.clone()));
        }
        if self.wireguard(&link).await?.is_some() {
            return Ok(Some(link));
        }
        self.delete(&link)?;
        self.removal_ended(name).await;
        Ok(None)
    }

    async fn make(&self, name: &IfName, mtu: u32, update: &TunnelUpdate) -> Result<(), Error> {
        match self.backend {
            Backend::Kernel => link::create_wireguard(&self.netlink, name).await?,
            Backend::Embedded => self.helper.create(name, mtu).await?,
        }
        let link = self.found(name).await?;
        self.change((&link, Age::Fresh), update).await
    }

    /// A port that is taken is remembered by WireGuard all the same: it is told the old one again.
    async fn change_or_restore(&self, link: &Link, update: &TunnelUpdate) -> Result<(), Error> {
        if update.wireguard.port.is_none() {
            return self.change((link, Age::Found), update).await;
        }
        let (before, _) = self.read(&link.name).await?;
        let outcome = self.change((link, Age::Found), update).await;
        if matches!(outcome, Err(Error::PortTaken { .. })) {
            let port = Some(before.port);
            let restore = WireGuardUpdate { port, ..WireGuardUpdate::default() };
            // The kernel notes the port, and complains that its own socket has it.
            let _ = self.set(link, &restore).await;
        }
        outcome
    }

    async fn change(&self, (link, age): (&Link, Age), update: &TunnelUpdate) -> Result<(), Error> {
        let netlink = &self.netlink;
        if let Some(mtu) = update.mtu.filter(|mtu| *mtu < LEAST_MTU) {
            return Err(Error::SmallMtu { name: link.name.clone(), mtu });
        }
        distrust(&link.name);
        if let Some(mtu) = update.mtu {
            self.mtus.give(link.id, mtu);
        }
        if update.mark.is_some() || update.mtu.is_some() {
            link::configure(netlink, link.id, update.mark, update.mtu).await?;
        }
        if let Some(wanted) = update.link_local {
            admit_ipv6(&link.name)?;
            // Listing all addresses of the machine costs; one that is down since it was made has none.
            let others = match age {
                Age::Fresh => Vec::new(),
                Age::Found => address::addresses(netlink).await?,
            };
            for address in others {
                if address.link == link.id && address.link_local().is_some_and(|a| a != wanted) {
                    address::remove(netlink, link.id, address.address).await?;
                }
            }
            address::add_link_local(netlink, link.id, wanted).await?;
        }
        self.set(link, &update.wireguard).await?;
        if update.bring_up {
            let up = link::bring_up(netlink, link.id).await;
            // Only now does the kernel bind the port.
            return up.map_err(|error| match (error.errno(), update.wireguard.port) {
                (Some(nix::errno::Errno::EADDRINUSE), Some(port)) => {
                    Error::PortTaken { name: link.name.clone(), port }
                }
                _ => error,
            });
        }
        Ok(())
    }

    /// What a helper was asked when it was killed is asked of its successor.
    async fn read(&self, name: &IfName) -> Result<(ObservedWireGuard, TunnelStats), Error> {
        match self.control.get(name).await {
            Err(error) if self.is_asked_again(name, &error).await => self.control.get(name).await,
            outcome => outcome,
        }
    }

    async fn set(&self, link: &Link, update: &WireGuardUpdate) -> Result<(), Error> {
        match set(&self.netlink, &self.control, link, update).await {
            Err(error) if self.is_asked_again(&link.name, &error).await => {
                set(&self.netlink, &self.control, link, update).await
            }
            outcome => outcome,
        }
    }

    async fn is_asked_again(&self, name: &IfName, error: &Error) -> bool {
        self.backend == Backend::Embedded
            && error.is_broken_off()
            && self.helper.came_back(name).await
    }

    /// Deletes an interface in the background: the kernel takes its time, and the thread with it.
    fn delete(&self, link: &Link) -> Result<(), Error> {
        if self.is_removing(&link.name) {
            return Ok(());
        }
        self.removing.insert(link.id);
        let (link, name) = (link.clone(), link.name.clone());
        let (helper, control) = (Arc::clone(&self.helper), self.control.clone());
        let (slots, removing) = (Arc::clone(&self.slots), self.removing.clone());
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| Error::kernel(format!("delete interface {name}"), error))?;
        let removal = tokio::spawn(async move {
            let _slot = slots.acquire().await;
            let job = move || {
                if let Err(error) = runtime.block_on(delete(&link, &helper, &control)) {
                    removing.forget(link.id);
                    tracing::warn!("{error}");
                }
            };
            ended(tokio::task::spawn_blocking(job)).await;
        });
        let mut removals = self.removals();
        removals.retain(|_, removal| !removal.is_finished());
        removals.insert(name, removal);
        Ok(())
    }

    async fn removal_ended(&self, name: &IfName) {
        let removal = self.removals().remove(name);
        if let Some(removal) = removal {
            ended(removal).await;
        }
    }

    async fn found(&self, name: &IfName) -> Result<Link, Error> {
        let link = link::find(&self.netlink, name).await?;
        let link = link.filter(|_| !self.is_removing(name));
        link.ok_or_else(|| Error::Gone { doing: format!("find tunnel {name}") })
    }

    async fn is_ours(&self, link: &Link) -> Result<bool, Error> {
        Ok(link.is_ours() || self.helper_names().await?.contains(&link.name))
    }

    fn kind(&self) -> Kind {
        match self.backend {
            Backend::Kernel => Kind::WireGuard,
            Backend::Embedded => Kind::Tun,
        }
    }

    fn removals(&self) -> MutexGuard<'_, BTreeMap<IfName, JoinHandle<()>>> {
        self.removals.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The update that makes a new interface the tunnel.
fn complete(tunnel: &Tunnel) -> TunnelUpdate {
    TunnelUpdate {
        mark: Some(tunnel.mark),
        link_local: Some(tunnel.link_local),
        mtu: Some(tunnel.mtu),
        wireguard: WireGuardUpdate {
            private_key: tunnel.wireguard.private_key.clone(),
            port: Some(tunnel.wireguard.port),
            fwmark: tunnel.wireguard.fwmark,
            peers: tunnel.wireguard.peers.clone(),
            removed: BTreeSet::new(),
        },
        bring_up: true,
    }
}

/// Changes the WireGuard device of an interface. Should that have been deleted meanwhile, a new one
/// is made by the library, in the kernel or by `wireguard-go`, without our mark: it goes again.
async fn set(
    netlink: &Netlink,
    control: &Control,
    link: &Link,
    update: &WireGuardUpdate,
) -> Result<(), Error> {
    if update.is_empty() {
        return Ok(());
    }
    let outcome = control.set(&link.name, update).await;
    match link::find(netlink, &link.name).await? {
        Some(found) if found.id == link.id => return outcome,
        Some(stray) if !stray.is_ours() && stray.kind == link.kind => {
            link::delete(netlink, stray.id).await?;
        }
        _ => {}
    }
    Err(Error::Gone { doing: format!("configure tunnel {}", link.name) })
}

/// Peers go first: the kernel frees them faster one by one than with their interface.
async fn delete(link: &Link, helper: &Helper, control: &Control) -> Result<(), Error> {
    let netlink = Netlink::connect()?;
    match link.kind {
        Kind::WireGuard => {
            if let Ok((wireguard, _)) = control.get(&link.name).await {
                let removed = wireguard.peers.into_keys().collect();
                let update = WireGuardUpdate { removed, ..WireGuardUpdate::default() };
                // Only to be quick: the interface goes all the same.
                let _ = set(&netlink, control, link, &update).await;
            }
        }
        Kind::Tun => helper.delete(&link.name).await?,
        Kind::Other => {}
    }
    link::delete(&netlink, link.id).await
}

/// A removal that panicked has ended, too.
async fn ended(removal: JoinHandle<()>) {
    if let Err(error) = removal.await {
        tracing::error!("removal of a tunnel broke off: {error}");
    }
}

/// The least that IPv6 works with (RFC 8200 §5).
const LEAST_MTU: u32 = 1280;
/// Removals at a time, each with a thread: the kernel waits in all of them at once.
const REMOVALS: usize = 16;

//! Follows the interfaces that Babel was told to run on, as they come, change and go.

use std::collections::BTreeMap;
use std::time::Duration;

use sixwire_dataplane::model::IfName;
use sixwire_dataplane::{Events, KernelEvent, Router};
use sixwire_proto::link::LinkId;
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;
use tracing::{info, warn};

use super::filter::{FilterRule, tag};
use super::link_options::LinkOptions;
use crate::babel::{Authentication, LinkParams, LinkStart};
use crate::daemon::kernel_routes::Drift;
use crate::daemon::mailbox::Mailbox;
use crate::daemon::routing::Command;

/// The follower.
pub(super) struct Links {
    /// What it looks at.
    pub(super) router: Router,
    /// When it looks.
    pub(super) events: Events,
    /// Interfaces to use, and how.
    pub(super) wanted: BTreeMap<IfName, LinkOptions>,
    /// Rules that may name interfaces.
    pub(super) filters: Vec<FilterRule>,
    /// What they are authenticated with; may change.
    pub(super) authentication: watch::Receiver<Keyring>,
    /// Those in use.
    pub(super) used: BTreeMap<IfName, (LinkId, LinkParams)>,
    /// Whom it tells of interfaces.
    pub(super) routing: mpsc::Sender<Command>,
    /// Whom it tells of routes that somebody removed.
    pub(super) drift: Mailbox<Drift>,
}

/// The keys of the interfaces that have some.
pub(super) type Keyring = BTreeMap<IfName, Authentication>;

/// What events ask for.
#[derive(Default)]
struct Asked {
    interfaces: bool,
    routes: bool,
}

impl Links {
    /// Looks for the interfaces; `start` says what their neighbours may know of us.
    pub(super) async fn look(&mut self, start: LinkStart) {
        let found = match self.router.interfaces().await {
            Ok(found) => found,
            Err(error) => return warn!(%error, "interfaces cannot be listed"),
        };
        for (name, options) in self.wanted.clone() {
            let usable =
                found.get(&name).filter(|interface| interface.is_up).and_then(|interface| {
                    let address = interface.link_local?;
                    let (v4, tag) = (interface.v4, tag(&self.filters, &name));
                    let params = LinkParams { v4, tag, ..options.params(address, start) };
                    Some((interface.link, params))
                });
            let before = self.used.get(&name).copied();
            let same = |a: (LinkId, LinkParams), b: (LinkId, LinkParams)| {
                a.0 == b.0 && a.1.address == b.1.address
            };
            match (before, usable) {
                (None, None) => {}
                (Some(before), Some(now)) if same(before, now) => self.same_link(name, now).await,
                (before, now) => self.change(name, before, now).await,
            }
        }
    }

    /// A link that goes on may have another IPv4 address.
    async fn same_link(&mut self, name: IfName, (link, now): (LinkId, LinkParams)) {
        let Some((_, params)) = self.used.get_mut(&name) else { return };
        if params.v4 != now.v4 {
            params.v4 = now.v4;
            let _ = self.routing.send(Command::LinkV4(link, now.v4)).await;
        }
    }

    async fn change(
        &mut self,
        name: IfName,
        before: Option<(LinkId, LinkParams)>,
        now: Option<(LinkId, LinkParams)>,
    ) {
        // The routing task ends only with everything else.
        if let Some((link, _)) = before {
            self.used.remove(&name);
            let _ = self.routing.send(Command::LinkDown(link)).await;
            let _ = self.routing.send(Command::Authenticate(link, None)).await;
        }
        match now {
            Some((link, params)) => {
                info!(interface = %name, %link, address = %params.address, "using an interface");
                self.authenticate(&name, link).await;
                self.used.insert(name, (link, params));
                let _ = self.routing.send(Command::LinkUp(link, params)).await;
            }
            None => info!(interface = %name, "an interface cannot be used any more"),
        }
    }

    /// Tells the keys of an interface: before it is used, so that it is never open.
    async fn authenticate(&self, name: &IfName, link: LinkId) {
        let keys = self.authentication.borrow().get(name).cloned();
        let _ = self.routing.send(Command::Authenticate(link, keys)).await;
    }

    async fn authenticate_all(&mut self) {
        self.authentication.mark_unchanged();
        for (name, (link, _)) in &self.used {
            self.authenticate(name, *link).await;
        }
    }

    /// The next event; keys that change meanwhile are told.
    async fn next_event(&mut self) -> Option<KernelEvent> {
        loop {
            tokio::select! {
                event = self.events.next() => return event,
                Ok(()) = self.authentication.changed() => self.authenticate_all().await,
            }
        }
    }

    /// Runs until the kernel tells nothing any more.
    pub(super) async fn run(mut self) {
        for name in self.wanted.keys().filter(|name| !self.used.contains_key(*name)) {
            warn!(interface = %name, "waiting for an interface: it is not there, not up, or has no \
                                      link-local address yet");
        }
        while let Some(event) = self.next_event().await {
            let mut asked = Asked::default();
            self.note(event, &mut asked);
            // What has happened already is one change.
            while let Ok(Some(event)) = timeout(Duration::ZERO, self.events.next()).await {
                self.note(event, &mut asked);
            }
            if asked.interfaces {
                self.look(LinkStart::Fresh).await;
            }
            if asked.routes {
                self.compare_routes().await;
            }
        }
    }

    fn note(&self, event: KernelEvent, asked: &mut Asked) {
        match event {
            KernelEvent::LinkUp { name, .. }
            | KernelEvent::LinkDown { name, .. }
            | KernelEvent::LinkGone { name, .. } => {
                asked.interfaces |= self.wanted.contains_key(&name);
            }
            KernelEvent::AddressAdded { .. } | KernelEvent::AddressGone { .. } => {
                asked.interfaces = true;
            }
            KernelEvent::RouteGone(key) => self.drift.amend(|drift| {
                drift.vanished.insert(key);
            }),
            KernelEvent::Overrun => *asked = Asked { interfaces: true, routes: true },
            KernelEvent::ObjectGone(id) => self.drift.amend(|drift| {
                drift.objects.insert(id);
            }),
            KernelEvent::MtuChanged { .. }
            | KernelEvent::UnreachableGone(_)
            | KernelEvent::RuleGone
            | KernelEvent::GuardsChanged
            | KernelEvent::ForwardingOff(_)
            | KernelEvent::HelperRestarted { .. } => {}
        }
    }

    async fn compare_routes(&self) {
        match self.router.routes().await {
            Ok(present) => {
                let present = present.into_keys().collect();
                self.drift.amend(|drift| drift.present = Some(present));
            }
            Err(error) => warn!(%error, "our routes cannot be listed"),
        }
    }
}

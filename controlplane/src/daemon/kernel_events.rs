//! Follows the kernel: what happens to our interfaces, addresses and routes behind our back is
//! mended, many events at once by one look.

mod looks;

use std::sync::Arc;
use std::time::Duration;

use sixwire_dataplane::{Dataplane, Events, KernelEvent, forwarding};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout, timeout_at};
use tracing::{info, warn};

use self::looks::Looks;
use super::kernel_routes::Drift;
use super::mailbox::Mailbox;
use super::startup::OwnGround;
use super::tally::Tally;
use super::tunnels;
use crate::babel::Forwarding;

/// The kernel's watcher.
pub(super) struct KernelWatch {
    /// What it tells.
    pub(super) events: Events,
    /// What it looks at.
    pub(super) dataplane: Arc<Dataplane>,
    /// What must always be there.
    pub(super) ground: OwnGround,
    /// Whom lost interfaces concern.
    pub(super) tunnels: mpsc::Sender<tunnels::Command>,
    /// Where lost routes are put back.
    pub(super) drift: Mailbox<Drift>,
    /// Whether the kernel is to forward.
    pub(super) forwarding: Forwarding,
    /// Counts what was put back.
    pub(super) tally: Arc<Tally>,
}

/// What a burst of events asks for.
#[derive(Default)]
struct Burst {
    look_again: bool,
    underlay_changed: bool,
    guards_changed: bool,
    forwarding_off: bool,
}

impl KernelWatch {
    /// Runs until the data plane is gone.
    pub(super) async fn run(mut self) {
        let mut looks = Looks::new(Instant::now());
        loop {
            let first = match looks.due() {
                Some(due) => timeout_at(due, self.events.next()).await.ok(),
                None => Some(self.events.next().await),
            };
            let mut burst = Burst::default();
            let burst_began = first.is_some();
            match first {
                Some(Some(event)) => self.note(event, &mut burst).await,
                Some(None) => return,
                None => {}
            }
            // A storm of events is one change: wait for its end, but not for long.
            let end = Instant::now() + STORM;
            while burst_began
                && Instant::now() < end
                && let Ok(Some(event)) = timeout(CALM, self.events.next()).await
            {
                self.note(event, &mut burst).await;
            }
            if burst.look_again {
                looks.ask();
            }
            let begin = Instant::now();
            let look = looks.due().is_some_and(|due| due <= begin);
            if look {
                self.look_again().await;
                looks.looked(begin, Instant::now());
            }
            if look || burst.guards_changed {
                self.restore_guards();
            }
            if burst.forwarding_off {
                self.restore_forwarding();
            }
            if burst.underlay_changed {
                self.tell(tunnels::Command::UnderlayChanged).await;
            }
        }
    }

    async fn note(&self, event: KernelEvent, burst: &mut Burst) {
        match event {
            KernelEvent::LinkGone { name, .. } => {
                if name.is_tunnel_like() {
                    self.tally.add("tunnels_lost");
                }
                burst.underlay_changed |= !name.is_tunnel_like();
                self.tell(tunnels::Command::LinkGone(name)).await;
            }
            KernelEvent::LinkUp { name, .. } => burst.underlay_changed |= !name.is_tunnel_like(),
            KernelEvent::LinkDown { name, .. } => burst.look_again |= name.is_tunnel_like(),
            KernelEvent::MtuChanged { .. } | KernelEvent::RuleGone => burst.look_again = true,
            KernelEvent::AddressAdded { address, .. } => {
                burst.underlay_changed |= !self.ground.addresses.contains(&address);
            }
            KernelEvent::RouteGone(key) => self.drift.amend(|drift| {
                drift.vanished.insert(key);
            }),
            KernelEvent::ObjectGone(id) => self.drift.amend(|drift| {
                drift.objects.insert(id);
            }),
            KernelEvent::GuardsChanged => burst.guards_changed = true,
            KernelEvent::ForwardingOff(_) => burst.forwarding_off = true,
            KernelEvent::AddressGone { .. } | KernelEvent::UnreachableGone(_) => {
                burst.look_again = true;
            }
            KernelEvent::HelperRestarted { tunnels } => {
                warn!(tunnels, "the embedded WireGuard ended and was started again");
                burst.look_again = true;
            }
            KernelEvent::Overrun => {
                info!("kernel events were lost, looking at everything anew");
                self.tally.add("events_lost");
                burst.look_again = true;
                burst.forwarding_off = true;
                burst.underlay_changed = true;
            }
        }
    }

    async fn look_again(&self) {
        self.tally.add("looks");
        match self.ground.restore(&self.dataplane, &self.tally).await {
            Ok(observed) => {
                let routes = observed.routes.into_keys().collect();
                self.drift.amend(|drift| drift.present = Some(routes));
                let tunnels = observed.tunnels.into_keys().collect();
                self.tell(tunnels::Command::Present(tunnels)).await;
            }
            Err(error) => warn!(%error, "the kernel could not be put back in order"),
        }
    }

    fn restore_guards(&self) {
        match self.dataplane.restore_guards() {
            Ok(false) => {}
            Ok(true) => {
                self.tally.add("guards_restored");
                warn!("somebody changed the nftables table ip6 sixwire, putting it back");
            }
            Err(error) => warn!("{error}"),
        }
    }

    fn restore_forwarding(&self) {
        if self.forwarding == Forwarding::Leaf {
            return;
        }
        match forwarding::restore(self.dataplane.known_tunnels().iter()) {
            Ok(false) => {}
            Ok(true) => {
                self.tally.add("forwarding_restored");
                warn!("somebody switched forwarding off, switching it on again");
            }
            Err(error) => warn!("{error}"),
        }
    }

    async fn tell(&self, command: tunnels::Command) {
        // The tunnel driver ends only with the daemon.
        let _ = self.tunnels.send(command).await;
    }
}

/// Time without events that ends a burst.
const CALM: Duration = Duration::from_millis(50);
/// A burst is acted on after this time at the latest.
const STORM: Duration = Duration::from_millis(500);

//! Writes the engine's decisions into the kernel: the latest for each route wins, changes go out in
//! batches, and routes found at start stay until they are confirmed or their time is over.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sixwire_dataplane::Router;
use sixwire_dataplane::model::{NextHop, RouteChange, RouteKey, RouteTarget};
use tokio::time::{Instant, sleep_until, timeout};
use tracing::{info, warn};

use super::mailbox::Mailbox;
use super::routing::RouteUpdates;
use crate::babel::Target;

/// Routes the kernel has refused, by their last writing.
pub(super) type RefusedRoutes = Arc<Mutex<BTreeSet<RouteKey>>>;

/// Routes that are not in the kernel any more without our doing.
#[derive(Debug, Default)]
pub(super) struct Drift {
    /// These, one by one.
    pub(super) vanished: BTreeSet<RouteKey>,
    /// All that are not among these.
    pub(super) present: Option<BTreeSet<RouteKey>>,
}

/// The kernel writer.
pub(super) struct KernelRoutes {
    router: Router,
    updates: Mailbox<RouteUpdates>,
    drift: Mailbox<Drift>,
    refused: RefusedRoutes,
    /// Source of the node's own packets, by family.
    own: Vec<IpAddr>,
    /// What the kernel is to have, adopted routes included.
    wanted: BTreeMap<RouteKey, RouteTarget>,
    /// Adopted routes that the engine has not spoken of yet.
    unconfirmed: BTreeMap<RouteKey, RouteTarget>,
}

impl KernelRoutes {
    /// A writer that starts from the routes found in the kernel.
    #[must_use]
    pub(super) fn new(
        router: Router,
        (updates, drift): (Mailbox<RouteUpdates>, Mailbox<Drift>),
        own: Vec<IpAddr>,
        adopted: BTreeMap<RouteKey, RouteTarget>,
    ) -> Self {
        let (wanted, unconfirmed) = (adopted.clone(), adopted);
        let refused = RefusedRoutes::default();
        Self { router, updates, drift, refused, own, wanted, unconfirmed }
    }

    /// The routes the kernel has refused, kept up to date.
    #[must_use]
    pub(super) fn refused(&self) -> RefusedRoutes {
        Arc::clone(&self.refused)
    }

    /// Runs for ever. Can be cancelled for [`Self::clear`].
    pub(super) async fn run(&mut self) {
        let start = Instant::now();
        if !self.unconfirmed.is_empty() {
            let settled = self.settle(start).await;
            self.apply(settled).await;
        }
        let mut sweep_due = !self.unconfirmed.is_empty();
        loop {
            tokio::select! {
                updates = self.updates.take() => self.apply(updates).await,
                drift = self.drift.take() => self.restore(drift).await,
                () = sleep_until(start + CONFIRM), if sweep_due => {
                    sweep_due = false;
                    self.sweep().await;
                }
            }
        }
    }

    /// Removes all routes that the kernel was to have.
    pub(super) async fn clear(self) {
        if let Err(error) = self.router.remove_all(self.wanted.into_keys()).await {
            warn!(%error, "some of our routes stay in the kernel");
        }
    }

    /// After a restart, the decisions once they have settled: the first neighbour to answer is seldom
    /// the best, and what the kernel has is good until all have spoken.
    async fn settle(&self, start: Instant) -> RouteUpdates {
        sleep_until(start + SETTLE_LEAST).await;
        let mut settled = RouteUpdates::new();
        while Instant::now() < start + SETTLE_MOST
            && let Ok(more) = timeout(CALM, self.updates.take()).await
        {
            settled.extend(more);
        }
        settled
    }

    async fn apply(&mut self, updates: RouteUpdates) {
        let changes: Vec<RouteChange> = updates
            .into_iter()
            .filter_map(|(route, target)| {
                let key = RouteKey { prefix: route.destination, source: route.source };
                self.unconfirmed.remove(&key);
                self.change(key, self.kernel_target(key, target))
            })
            .collect();
        self.write(&changes).await;
    }

    /// The change that makes the kernel agree, and notes it; none if it agrees already.
    fn change(&mut self, key: RouteKey, target: Option<RouteTarget>) -> Option<RouteChange> {
        match target {
            Some(target) => (self.wanted.insert(key, target) != Some(target))
                .then_some(RouteChange::Replace(key, target)),
            None => self.wanted.remove(&key).map(|_| RouteChange::Remove(key)),
        }
    }

    fn kernel_target(&self, key: RouteKey, target: Target) -> Option<RouteTarget> {
        match target {
            Target::Via { link, next_hop, .. } => Some(RouteTarget::Via(NextHop {
                link,
                gateway: next_hop,
                preferred_source: self
                    .own
                    .iter()
                    .copied()
                    .find(|own| own.is_ipv6() == key.prefix.is_v6()),
            })),
            Target::Unreachable => Some(RouteTarget::Unreachable),
            Target::Gone => None,
        }
    }

    async fn restore(&mut self, drift: Drift) {
        let Drift { mut vanished, present } = drift;
        if let Some(present) = present {
            vanished.extend(self.wanted.keys().filter(|key| !present.contains(key)));
        }
        let changes: Vec<RouteChange> = vanished
            .into_iter()
            .filter_map(|key| Some(RouteChange::Replace(key, *self.wanted.get(&key)?)))
            .collect();
        if !changes.is_empty() {
            warn!(routes = changes.len(), "somebody removed our routes, putting them back");
        }
        self.write(&changes).await;
    }

    /// Removes what nobody announces any more.
    async fn sweep(&mut self) {
        let changes: Vec<RouteChange> = std::mem::take(&mut self.unconfirmed)
            .into_keys()
            .filter_map(|key| self.change(key, None))
            .collect();
        if !changes.is_empty() {
            info!(routes = changes.len(), "removing adopted routes that nobody announces");
        }
        self.write(&changes).await;
    }

    async fn write(&mut self, changes: &[RouteChange]) {
        if changes.is_empty() {
            return;
        }
        let results = self.router.apply(changes).await;
        let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        for (change, result) in changes.iter().zip(results) {
            let key = change.key();
            match result {
                Ok(()) => {
                    refused.remove(&key);
                }
                Err(error) => {
                    // Its link may have just gone; the engine will choose again.
                    warn!(route = %key, %error, "the kernel refused a route");
                    self.wanted.remove(&key);
                    refused.insert(key);
                }
            }
        }
    }
}

/// After a restart, how long neighbours have to speak before their word replaces adopted routes: a
/// Hello, an IHU and a table, each a round trip of up to 300 ms.
const SETTLE_LEAST: Duration = Duration::from_secs(1);
/// Time without a new decision that ends the wait.
const CALM: Duration = Duration::from_millis(500);
/// The wait ends after this in any case, so that failures meanwhile are not waited out.
const SETTLE_MOST: Duration = Duration::from_secs(5);
/// After a restart, how long an adopted route stays unconfirmed: two Hello intervals and a table.
const CONFIRM: Duration = Duration::from_secs(15);

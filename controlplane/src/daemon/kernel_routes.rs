//! Writes the engine's decisions into the kernel: the latest for each route wins, changes go out in
//! batches, and routes found at start stay until they are confirmed or their time is over.

mod retries;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sixwire_dataplane::model::{NextHop, RouteKey, RouteTarget};
use sixwire_dataplane::{Error, Retried, RouteWriter};
use tokio::time::{Instant, sleep_until, timeout};
use tracing::{info, warn};

use self::retries::Retries;
use super::mailbox::Mailbox;
use super::neighbourhood::{NeighbourNews, Neighbourhood, Spreads};
use super::routing::RouteUpdates;
use super::tally::{LineBudget, REFUSALS_PER_MINUTE, Tally};
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
    /// All that named these next-hop objects.
    pub(super) objects: BTreeSet<u32>,
}

/// What comes to the kernel writer.
#[derive(Clone, Debug, Default)]
pub(super) struct KernelMail {
    /// Decisions of the routing engine.
    pub(super) updates: Mailbox<RouteUpdates>,
    /// What others did to our routes.
    pub(super) drift: Mailbox<Drift>,
    /// Tunnels and neighbours.
    pub(super) neighbours: Mailbox<NeighbourNews>,
}

/// The kernel writer.
pub(super) struct KernelRoutes {
    writer: RouteWriter,
    mail: KernelMail,
    neighbourhood: Neighbourhood,
    spreads: Spreads,
    refused: RefusedRoutes,
    retries: Retries,
    tally: Arc<Tally>,
    /// Neighbours can announce what the kernel refuses as fast as they can send.
    lines: LineBudget,
    /// Source of the node's own packets, by family.
    own: Vec<IpAddr>,
    /// Adopted routes that the engine has not spoken of yet.
    unconfirmed: BTreeMap<RouteKey, RouteTarget>,
}

impl KernelRoutes {
    /// A writer that starts from the routes it has found in the kernel.
    #[must_use]
    pub(super) fn new(
        writer: RouteWriter,
        (mail, tally): (KernelMail, Arc<Tally>),
        own: Vec<IpAddr>,
        unconfirmed: BTreeMap<RouteKey, RouteTarget>,
    ) -> Self {
        let refused = RefusedRoutes::default();
        let lines = LineBudget::new(REFUSALS_PER_MINUTE);
        let (neighbourhood, spreads) = (Neighbourhood::default(), Spreads::default());
        let retries = Retries::new(Instant::now());
        Self {
            writer,
            mail,
            neighbourhood,
            spreads,
            refused,
            retries,
            tally,
            lines,
            own,
            unconfirmed,
        }
    }

    /// The neighbours whose flows are spread over several links, kept up to date.
    #[must_use]
    pub(super) fn spreads(&self) -> Spreads {
        Arc::clone(&self.spreads)
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
            if let Ok(news) = timeout(Duration::ZERO, self.mail.neighbours.take()).await {
                self.spread(news).await;
            }
            self.apply(settled).await;
        }
        let mut sweep_due = !self.unconfirmed.is_empty();
        loop {
            tokio::select! {
                // With a neighbour's links known, its routes need not be written twice.
                biased;
                news = self.mail.neighbours.take() => self.spread(news).await,
                () = sleep_until(self.retries.due()), if self.has_refused() => self.retry().await,
                updates = self.mail.updates.take() => self.apply(updates).await,
                drift = self.mail.drift.take() => self.restore(drift).await,
                () = sleep_until(start + CONFIRM), if sweep_due => {
                    sweep_due = false;
                    self.sweep().await;
                }
            }
        }
    }

    /// Removes all routes that the kernel was to have.
    pub(super) async fn clear(mut self) {
        let all = self.writer.keys().map(|key| (key, None)).collect();
        let refused = self.writer.write(all).await;
        self.note(&[], refused);
    }

    /// After a restart, the decisions once they have settled: the first neighbour to answer is seldom
    /// the best, and what the kernel has is good until all have spoken.
    async fn settle(&self, start: Instant) -> RouteUpdates {
        sleep_until(start + SETTLE_LEAST).await;
        let mut settled = RouteUpdates::new();
        while Instant::now() < start + SETTLE_MOST
            && let Ok(more) = timeout(CALM, self.mail.updates.take()).await
        {
            settled.extend(more);
        }
        settled
    }

    async fn apply(&mut self, updates: RouteUpdates) {
        let wanted: Vec<_> = updates
            .into_iter()
            .map(|(route, target)| {
                let key = RouteKey { prefix: route.destination, source: route.source };
                self.unconfirmed.remove(&key);
                (key, self.kernel_target(key, target))
            })
            .collect();
        self.write(wanted).await;
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

    async fn spread(&mut self, news: NeighbourNews) {
        self.neighbourhood.learn(news);
        let refused = self.writer.spread(&self.neighbourhood.shares()).await;
        self.note(&[], refused);
        let spreads = self.writer.spreads().collect();
        *self.spreads.lock().unwrap_or_else(PoisonError::into_inner) = spreads;
    }

    async fn restore(&mut self, drift: Drift) {
        let Drift { mut vanished, present, objects } = drift;
        let looked = present.is_some();
        if let Some(present) = present {
            vanished.extend(self.writer.keys().filter(|key| !present.contains(key)));
        }
        let (mut routes, mut refused) = self.writer.vanished(vanished.into_iter()).await;
        if !objects.is_empty() {
            let (more, others) = self.writer.objects_vanished(&objects).await;
            routes += more;
            refused.extend(others);
        }
        if looked || !objects.is_empty() {
            refused.extend(self.writer.check_groups().await);
        }
        if routes > 0 {
            self.tally.add_many("routes_restored", routes);
            warn!(routes, "somebody removed our routes, putting them back");
        }
        self.note(&[], refused);
    }

    /// Removes what nobody announces any more.
    async fn sweep(&mut self) {
        let gone: Vec<_> =
            std::mem::take(&mut self.unconfirmed).into_keys().map(|key| (key, None)).collect();
        if !gone.is_empty() {
            info!(routes = gone.len(), "removing adopted routes that nobody announces");
        }
        self.write(gone).await;
    }

    async fn write(&mut self, wanted: Vec<(RouteKey, Option<RouteTarget>)>) {
        let keys: Vec<RouteKey> = match self.has_refused() {
            true => wanted.iter().map(|(key, _)| *key).collect(),
            false => Vec::new(),
        };
        let refused = self.writer.write(wanted).await;
        self.note(&keys, refused);
    }

    /// What was refused for want of room, or because somebody else was there, gets its place once there is one.
    async fn retry(&mut self) {
        let Retried { accepted, refused } = self.writer.retry().await;
        self.retries.tried(Instant::now(), (accepted.len(), refused.len()));
        self.note(&accepted, refused);
    }

    fn has_refused(&self) -> bool {
        !self.refused.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    /// Enters what the kernel has refused; `written` were not, unless they are among it.
    fn note(&mut self, written: &[RouteKey], errors: Vec<(RouteKey, Error)>) {
        let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        if refused.is_empty() && !errors.is_empty() {
            self.retries.begin(Instant::now());
        }
        let before: BTreeSet<RouteKey> =
            written.iter().filter(|key| refused.remove(key)).copied().collect();
        let mut count = 0;
        for (key, error) in errors {
            // Only the first time: it is tried again until it is accepted.
            if !refused.insert(key) || before.contains(&key) {
                continue;
            }
            count += 1;
            // Its link may have just gone; the engine will choose again.
            if count <= MOST_LINES && self.lines.take() {
                warn!(route = %key, %error, "the kernel refused a route");
            }
        }
        if count > 0 {
            self.tally.add_many("routes_refused", count);
        }
        if count > MOST_LINES && self.lines.take() {
            warn!(routes = count, "the kernel refused so many routes, the first are named above");
        }
        let settled = before.iter().filter(|key| !refused.contains(key)).count();
        if settled > 0 && self.lines.take() {
            info!(
                routes = settled,
                left = refused.len(),
                "routes that the kernel had refused are settled"
            );
        }
    }
}

/// Refused routes that are named of one batch.
const MOST_LINES: usize = 3;
/// After a restart, how long neighbours have to speak before their word replaces adopted routes: a
/// Hello, an IHU and a table, each a round trip of up to 300 ms.
const SETTLE_LEAST: Duration = Duration::from_secs(1);
/// Time without a new decision that ends the wait.
const CALM: Duration = Duration::from_millis(500);
/// The wait ends after this in any case, so that failures meanwhile are not waited out.
const SETTLE_MOST: Duration = Duration::from_secs(5);
/// After a restart, how long an adopted route stays unconfirmed: two Hello intervals and a table.
const CONFIRM: Duration = Duration::from_secs(15);

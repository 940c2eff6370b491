//! A running node: its tasks, and how they end.

use anyhow::Context as _;
use std::sync::Arc;

use sixwire_dataplane::Dataplane;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, oneshot};
use tokio::task::{JoinHandle, JoinSet};
use tracing::{info, warn};

use super::api::Query;
use super::api::report::{DownReport, Report, Schema};
use super::assembly::Foundation;
use super::config::Config;
use super::reporter::Reporter;
use super::signalling::Signalling;
use super::startup::OwnGround;
use super::store::Lock;
use super::{routing, tunnels};

/// A node whose tasks run.
pub(super) struct Node {
    pub(super) dataplane: Arc<Dataplane>,
    pub(super) routing: mpsc::Sender<routing::Command>,
    pub(super) tunnels: mpsc::Sender<tunnels::Command>,
    pub(super) signalling: Signalling,
    pub(super) reporter: Reporter,
    pub(super) queries: mpsc::Receiver<Query>,
    /// Serves the local API until nobody receives its queries any more.
    pub(super) api: JoinHandle<()>,
    /// Each returns its name when it ends, which none does by itself.
    pub(super) tasks: JoinSet<&'static str>,
    /// Held as long as the node runs.
    pub(super) _locks: [Lock; 2],
}

impl Node {
    /// Puts a node together: takes over what an earlier run left, and starts its tasks.
    ///
    /// # Errors
    /// What is missing, and what to do about it.
    pub(super) async fn start(config: &Config) -> anyhow::Result<Self> {
        Foundation::lay(config)?.build().await
    }

    /// Runs until told to end. At a signal, traffic goes on: tunnels and routes stay in the kernel.
    ///
    /// # Errors
    /// When a task ended that must not.
    pub(super) async fn run(mut self) -> anyhow::Result<()> {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        loop {
            tokio::select! {
                Some(query) = self.queries.recv() => {
                    if let Some(down) = self.reporter.answer(query).await {
                        self.down(down).await;
                        return Ok(());
                    }
                }
                Some(ended) = self.tasks.join_next() => {
                    let task = ended.context("a task of the daemon failed")?;
                    anyhow::bail!("the {task} task of the daemon ended by itself");
                }
                _ = terminate.recv() => break,
                _ = interrupt.recv() => break,
            }
        }
        info!("stopping; tunnels and routes stay in the kernel (`sixwire down` removes them)");
        self.signalling.stop().await;
        Ok(())
    }

    /// Retracts, closes and removes everything.
    async fn down(mut self, query: Query) {
        info!("going down: retracting routes, closing tunnels");
        let (reply, closed) = oneshot::channel();
        // The tasks live as long as this; a part that ended has nothing to take down.
        let (retract, retracted) = oneshot::channel();
        let _ = self.routing.send(routing::Command::Shutdown(retract)).await;
        let _ = retracted.await;
        let _ = self.tunnels.send(tunnels::Command::Shutdown(reply)).await;
        let _ = closed.await;
        // Nobody mends from here on what is removed.
        self.tasks.shutdown().await;
        let cleared = OwnGround::clear(&self.dataplane).await;
        let stopped = self.dataplane.stop_helper().await;
        let left_behind =
            [cleared, stopped].into_iter().filter_map(|r| Some(r.err()?.to_string())).collect();
        self.signalling.stop().await;
        // Nobody may wait for it any more.
        let _ = query.answer.send(Report::Down(DownReport { schema: Schema, left_behind }));
        drop(self.queries);
        if let Err(error) = self.api.await {
            warn!(%error, "the local API failed");
        }
    }
}

//! A device as the helper has it: its thread, its configuration socket, its end.

use std::convert::Infallible;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::sync::Arc;

use nix::net::if_::if_nametoindex;
use sixwire_proto::link::LinkId;
use tokio::net::UnixListener;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use super::control::{self, Ask};
use super::device::{Device, Turn};
use super::drops::Drops;
use super::saved::Saved;
use super::tun::{Tun, is_detached};
use super::uapi::{self, Request, Update};
use super::worker::Worker;
use crate::error::Error;
use crate::model::IfName;
use crate::netlink::{Netlink, link};

/// A running device. It ends by [`Self::stop`], or when its interface is deleted.
pub(super) struct Running {
    index: u32,
    /// What a successor needs: the interface, the configuration.
    legacy: [OwnedFd; 2],
    asks: mpsc::Sender<Ask>,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Running {
    /// Makes the interface, which lives as long as the device or whoever holds its legacy, and the
    /// configuration socket.
    pub(super) fn make(
        name: &IfName,
        mtu: u32,
        (worker, drops): (Arc<Worker>, Arc<Drops>),
    ) -> Result<Self, String> {
        let tun = Tun::create(name, mtu)
            .map_err(|error| format!("create TUN interface {name}: {error}"))?;
        let saved = Saved::new().map_err(|error| format!("save the state of {name}: {error}"))?;
        Self::start(name, (tun, saved), (worker, drops)).map_err(|error| format!("{name}: {error}"))
    }

    /// Carries on where one that was killed has stopped.
    pub(super) async fn restore(
        name: &IfName,
        [tun, saved]: [OwnedFd; 2],
        (worker, drops): (Arc<Worker>, Arc<Drops>),
    ) -> Result<Self, String> {
        let failed = |error: io::Error| format!("restore {name}: {error}");
        let tun = Tun::resume(tun, name).map_err(failed)?;
        let saved = Saved::resume(saved).map_err(failed)?;
        let text = saved.read().map_err(failed)?;
        let update = Update::restoring(&text).map_err(|errno| failed(errno.into()))?;
        let running = Self::start(name, (tun, saved), (worker, drops)).map_err(failed)?;
        match running.ask(Request::Set(update)).await {
            Some(answer) if answer == uapi::outcome(Ok(())) => Ok(running),
            answer => {
                running.stop().await;
                let answer = answer.unwrap_or_default();
                Err(format!("restore {name}: it is configured otherwise ({})", answer.trim()))
            }
        }
    }

    fn start(
        name: &IfName,
        (tun, saved): (Tun, Saved),
        (worker, drops): (Arc<Worker>, Arc<Drops>),
    ) -> io::Result<Self> {
        let index = if_nametoindex(name.as_str())?;
        let legacy = [tun.descriptor()?, saved.descriptor()?];
        let listener = control::listen(name)?;
        let ((asks, asked), (stop, stopped)) = (mpsc::channel(1), oneshot::channel());
        let (name, asker) = (name.clone(), asks.clone());
        let task = tokio::spawn(async move {
            let carrier = worker.spawn(carry((tun, saved), (drops, asked)));
            run((&name, LinkId(index)), (listener, asker), stopped, carrier).await;
        });
        Ok(Self { index, legacy, asks, stop, task })
    }

    /// Whether it still works, and the interface of that name is still its own.
    pub(super) fn is_alive(&self, name: &IfName) -> bool {
        !self.task.is_finished() && if_nametoindex(name.as_str()) == Ok(self.index)
    }

    /// What a successor needs.
    pub(super) fn legacy(&self) -> [BorrowedFd<'_>; 2] {
        self.legacy.each_ref().map(|descriptor| descriptor.as_fd())
    }

    /// Ends it.
    pub(super) async fn stop(self) {
        let Self { stop, task, .. } = self;
        // Either may have ended already; the outcome is the same.
        let _ = stop.send(());
        let _ = task.await;
    }

    async fn ask(&self, request: Request) -> Option<String> {
        let (answer, answered) = oneshot::channel();
        self.asks.send(Ask { request, answer }).await.ok()?;
        answered.await.ok()
    }
}

async fn run(
    (name, index): (&IfName, LinkId),
    (listener, device): (UnixListener, mpsc::Sender<Ask>),
    stopped: oneshot::Receiver<()>,
    mut carrier: JoinHandle<io::Error>,
) {
    let failure = tokio::select! {
        // It panicked, if it does not say anything.
        outcome = &mut carrier => Some(outcome.unwrap_or_else(io::Error::other)),
        () = control::serve(listener, device) => None,
        _ = stopped => None,
    };
    control::remove(name);
    match failure {
        Some(error) if is_detached(&error) => tracing::debug!("{name} was deleted"),
        Some(error) => {
            tracing::warn!("{name} failed: {error}");
            // The daemon holds on to it, and must learn that nobody carries its packets.
            if let Err(error) = delete(index).await {
                tracing::warn!("{error}");
            }
        }
        None => {
            carrier.abort();
            // It ends at once.
            let _ = carrier.await;
        }
    }
}

/// Carries packets until that fails.
async fn carry(
    device: (Tun, Saved),
    (drops, mut asks): (Arc<Drops>, mpsc::Receiver<Ask>),
) -> io::Error {
    let outcome: io::Result<Infallible> = async {
        let mut device = Device::new(device, drops)?;
        loop {
            match device.turn(&mut asks).await? {
                // Others on this thread have their turn.
                Turn::Cut => tokio::task::yield_now().await,
                // It waits next, or has the other direction to do.
                Turn::Done => {}
            }
        }
    }
    .await;
    let Err(error) = outcome;
    error
}

async fn delete(index: LinkId) -> Result<(), Error> {
    link::delete(&Netlink::connect()?, index).await
}

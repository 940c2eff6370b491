//! Embedded WireGuard for kernels that have none: a helper process of our own binary carries all
//! tunnels, outlives the daemon, and is told over a control socket which interfaces to make. Their
//! configuration goes through WireGuard's own userspace sockets.
//!
//! Should it be killed, the daemon starts another and hands it what it holds of each interface: the TUN
//! descriptor, so that the interface and all that leads through it stay, and the configuration. Only
//! the sessions are made anew.

mod allowed_ips;
mod channel;
mod checksum;
mod coalesce;
mod control;
mod device;
mod drops;
mod ecn;
mod endpoint;
mod former;
pub mod fuzz;
pub(crate) mod helper;
mod losses;
mod noise;
mod outbox;
mod packet;
mod peer;
mod process;
mod protocol;
mod running;
mod saved;
mod segment;
mod socket;
mod throttle;
mod tun;
mod uapi;
mod virtio;
mod worker;

use std::collections::BTreeMap;
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::process::Child;
use tokio::sync::{Mutex, mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until, timeout};

use crate::error::Error;
use crate::model::IfName;
use crate::netlink::monitor::KernelEvent;
use crate::options::Options;
use channel::Channel;
pub(crate) use control::SOCKET_DIR;
pub use losses::HelperHealth;
use losses::Losses;
use process::Process;
use protocol::Request;

/// The daemon's side of the helper.
pub(crate) struct Helper(Arc<Shared>);

struct Shared {
    process: Process,
    events: mpsc::Sender<KernelEvent>,
    /// Held while one is started, so that one is.
    state: Mutex<State>,
    losses: std::sync::Mutex<Losses>,
    /// Counts the times it carries on again.
    comebacks: watch::Sender<u64>,
}

#[derive(Default)]
struct State {
    /// Notices the helper's death.
    guard: Option<JoinHandle<()>>,
    /// What restores its interfaces.
    held: BTreeMap<IfName, [OwnedFd; 2]>,
    /// If it is ours.
    child: Option<Child>,
}

impl Helper {
    pub(crate) fn new(options: &Options, events: mpsc::Sender<KernelEvent>) -> Self {
        Self(Arc::new(Shared {
            process: Process::of(options),
            events,
            state: Mutex::default(),
            losses: std::sync::Mutex::default(),
            comebacks: watch::Sender::default(),
        }))
    }

    /// The interfaces it has; `None` if it is not running. Guards it and them from now on.
    pub(crate) async fn names(&self) -> Result<Option<Vec<IfName>>, Error> {
        let mut state = self.0.state.lock().await;
        let listed = self.0.process.ask("list interfaces", &Request::List).await?;
        let Some((answer, _)) = listed else { return Ok(None) };
        for name in &answer.names {
            if !state.held.contains_key(name) {
                self.0.hold(&mut state, name).await?;
            }
        }
        self.0.guard(&mut state).await?;
        Ok(Some(answer.names))
    }

    /// Makes an interface and its configuration socket; that it exists is success.
    pub(crate) async fn create(&self, name: &IfName, mtu: u32) -> Result<(), Error> {
        let mut state = self.0.state.lock().await;
        self.0.ensure_running(&mut state).await?;
        let (doing, process) = (format!("create interface {name}"), &self.0.process);
        let request = Request::Create { name: name.clone(), mtu };
        let Some((answer, legacy)) = process.ask(&doing, &request).await? else {
            return Err(process.error(&doing, "it is not running"));
        };
        process.judge(&doing, answer)?;
        state.keep(name, legacy);
        Ok(())
    }

    /// Deletes an interface; that it is gone is success.
    pub(crate) async fn delete(&self, name: &IfName) -> Result<(), Error> {
        self.0.state.lock().await.held.remove(name);
        let (doing, process) = (format!("delete interface {name}"), &self.0.process);
        match process.ask(&doing, &Request::Delete { name: name.clone() }).await? {
            Some((answer, _)) => process.judge(&doing, answer),
            None => Ok(()),
        }
    }

    /// Ends it, with all its interfaces.
    pub(crate) async fn stop(&self) -> Result<(), Error> {
        let mut state = self.0.state.lock().await;
        if let Some(guard) = state.guard.take() {
            guard.abort();
        }
        state.held.clear();
        let process = &self.0.process;
        let Some(mut channel) = process.connect().await? else { return Ok(()) };
        let (answer, _) = process.exchange("stop", &mut channel, (&Request::Stop, &[])).await?;
        process.judge("stop", answer)?;
        process.ended(channel).await
    }

    /// Whether an interface that nobody served is served again: waits for the helper's return if it
    /// was killed.
    pub(crate) async fn came_back(&self, name: &IfName) -> bool {
        let mut comebacks = self.0.comebacks.subscribe();
        {
            let state = self.0.state.lock().await;
            if !state.held.contains_key(name) || self.health().trouble.is_some() {
                return false;
            }
            // One that is dying takes connections and does not answer.
            let asked = self.0.process.ask("list interfaces", &Request::List).await;
            if let Ok(Some((answer, _))) = asked {
                return answer.names.contains(name);
            }
        }
        let back = timeout(PATIENCE, comebacks.changed()).await.is_ok();
        back && self.0.state.lock().await.held.contains_key(name)
    }

    /// What it dropped since it runs, by reason.
    pub(crate) async fn drops(&self) -> Result<BTreeMap<String, u64>, Error> {
        let answered = self.0.process.ask("count drops", &Request::Drops).await?;
        Ok(answered.map(|(answer, _)| answer.drops).unwrap_or_default())
    }

    /// How it fares.
    pub(crate) fn health(&self) -> HelperHealth {
        self.0.losses().health(Instant::now())
    }
}

impl Shared {
    async fn ensure_running(self: &Arc<Self>, state: &mut State) -> Result<(), Error> {
        if self.process.connect().await?.is_some() {
            return self.guard(state).await;
        }
        let now = Instant::now();
        let (not_before, trouble) = {
            let losses = self.losses();
            (losses.not_before(), losses.trouble(now))
        };
        match trouble {
            Some(trouble) if not_before.is_some_and(|then| then > now) => {
                Err(self.process.error("start", trouble))
            }
            _ => self.start(state).await,
        }
    }

    /// Starts it, and has it carry on with the interfaces that there are.
    async fn start(self: &Arc<Self>, state: &mut State) -> Result<(), Error> {
        protocol::allow_descriptors();
        let before = state.child.replace(self.process.start().await?);
        let is_return = !state.held.is_empty();
        self.restore(state).await?;
        self.guard(state).await?;
        if is_return {
            self.losses().restarted(Instant::now());
            self.comebacks.send_modify(|count| *count += 1);
            let tunnels = state.held.len();
            // Nobody takes events any more: then nobody needs to know.
            let _ = self.events.try_send(KernelEvent::HelperRestarted { tunnels });
        }
        if let Some(mut before) = before
            && let Ok(Ok(status)) = timeout(PATIENCE, before.wait()).await
        {
            self.losses().explain(format!("with {status}"));
        }
        Ok(())
    }

    async fn restore(&self, state: &mut State) -> Result<(), Error> {
        let Some(mut channel) = self.process.connect().await? else {
            return Err(self.process.error("restore interfaces", "it is not running"));
        };
        let (mut lost, held) = (Vec::new(), state.held.iter().collect::<Vec<_>>());
        // Several at a time, so that neither process waits for the other each time.
        for some in held.chunks(AT_A_TIME) {
            for (name, legacy) in some {
                let (doing, request) =
                    (restoring(name), Request::Restore { name: (*name).clone() });
                let legacy = legacy.each_ref().map(|descriptor| descriptor.as_fd());
                self.process.say(&doing, &mut channel, (&request, &legacy)).await?;
            }
            for (name, _) in some {
                let doing = restoring(name);
                let (answer, _) = self.process.hear(&doing, &mut channel).await?;
                if let Err(error) = self.process.judge(&doing, answer) {
                    tracing::warn!("{error}");
                    lost.push((*name).clone());
                }
            }
        }
        // The kernel deletes them with the last descriptor.
        lost.iter().for_each(|name| drop(state.held.remove(name)));
        Ok(())
    }

    /// Takes what restores an interface. One that is too old to give it goes without.
    async fn hold(&self, state: &mut State, name: &IfName) -> Result<(), Error> {
        let request = Request::Hold { name: name.clone() };
        if let Some((_, legacy)) = self.process.ask("hold an interface", &request).await? {
            state.keep(name, legacy);
        }
        Ok(())
    }

    /// Keeps a connection open; its end is the helper's end.
    async fn guard(self: &Arc<Self>, state: &mut State) -> Result<(), Error> {
        if state.guard.as_ref().is_some_and(|task| !task.is_finished()) {
            return Ok(());
        }
        let channel = self.process.connect().await?;
        state.guard = Some(tokio::spawn(Arc::clone(self).watched(channel)));
        Ok(())
    }

    /// In a box, for the compiler: it sets the next guard itself.
    fn watched(self: Arc<Self>, channel: Option<Channel>) -> BoxFuture<'static, ()> {
        Box::pin(self.watch(channel))
    }

    /// Waits for the end of the helper, and brings it back.
    async fn watch(self: Arc<Self>, channel: Option<Channel>) {
        // Without a channel it has died already.
        if let Some(channel) = channel {
            channel.closed().await;
        }
        let mut reason = None;
        loop {
            self.losses().ended(reason, Instant::now());
            let not_before = self.losses().not_before();
            if let Some(then) = not_before {
                sleep_until(then).await;
            }
            let mut state = self.state.lock().await;
            if state.held.is_empty() {
                return;
            }
            // The guard that is set from here on is another.
            let ourselves = state.guard.take();
            let outcome = match self.process.connect().await {
                Ok(Some(_)) => self.guard(&mut state).await,
                Ok(None) => self.start(&mut state).await,
                Err(error) => Err(error),
            };
            match outcome {
                Ok(()) => return,
                Err(error) => reason = Some(format!("at its start: {error}")),
            }
            state.guard = ourselves;
        }
    }

    fn losses(&self) -> MutexGuard<'_, Losses> {
        self.losses.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn keep(&mut self, name: &IfName, legacy: Vec<OwnedFd>) {
        match legacy.try_into() {
            Ok(legacy) => drop(self.held.insert(name.clone(), legacy)),
            // An older helper does not know how, or descriptors ran out.
            Err(_) => tracing::debug!("{name} cannot be restored if the helper ends"),
        }
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        if let Ok(mut state) = self.0.state.try_lock()
            && let Some(guard) = state.guard.take()
        {
            guard.abort();
        }
    }
}

fn restoring(name: &IfName) -> String {
    format!("restore interface {name}")
}

/// Interfaces that are restored at a time; what is said of them fits the socket's buffers.
const AT_A_TIME: usize = 32;
/// For a helper that is being brought back.
const PATIENCE: Duration = Duration::from_secs(3);

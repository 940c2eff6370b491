//! The helper process: serves the control socket, and carries the packets on as many threads as there
//! are processors.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use nix::sys::stat::{Mode, umask};
use nix::unistd::setsid;
use tokio::net::{UnixListener, UnixStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Mutex, Notify, Semaphore};

use super::channel::Channel;
use super::control;
use super::drops::Drops;
use super::protocol::{self, Answer, Request};
use super::running::Running;
use super::worker::{Worker, Workers};
use crate::error::Error;
use crate::model::IfName;

/// Runs the helper until it is told to stop. Returns at once when another serves `run_dir`. Must be
/// called before any thread is started.
///
/// # Errors
/// When the run directory, the lock or the socket cannot be made.
pub fn helper_main(run_dir: &Path) -> Result<(), Error> {
    let failed = |error: io::Error| Error::Helper {
        doing: "run".to_owned(),
        reason: error.to_string(),
        log: protocol::log_path(run_dir),
    };
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
    runtime.block_on(serve(run_dir)).map_err(failed)
}

async fn serve(run_dir: &Path) -> io::Result<()> {
    // Fails only for the leader of a session, which needs no other.
    let _ = setsid();
    protocol::allow_descriptors();
    umask(Mode::from_bits_truncate(0o077));
    let mut hangup = signal(SignalKind::hangup())?;
    protocol::make_run_dir(run_dir)?;
    let path = protocol::socket_path(run_dir);
    // Held until the process ends.
    let lock = File::create(protocol::lock_path(run_dir))?;
    let mut tries = 0;
    while lock.try_lock().is_err() {
        // One that was killed lets go of its socket a little before the lock.
        if tries == LOCK_TRIES || UnixStream::connect(&path).await.is_ok() {
            return Ok(());
        }
        tries += 1;
        tokio::time::sleep(LOCK_PAUSE).await;
    }
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(&path)?;
    control::remove_stale();
    let helper = Arc::new(Helper::default());
    say_ready()?;
    loop {
        tokio::select! {
            accepted = listener.accept() => helper.welcome(accepted?.0),
            () = helper.stop.notified() => break,
            // A terminal that goes away is not ours.
            _ = hangup.recv() => {}
        }
    }
    std::fs::remove_file(&path)
}

/// The starter may have gone meanwhile; the helper runs all the same.
fn say_ready() -> io::Result<()> {
    let mut stdout = io::stdout();
    match stdout.write_all(protocol::READY).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error),
        _ => Ok(()),
    }
}

type Devices = BTreeMap<IfName, Running>;

struct Helper {
    devices: Mutex<Devices>,
    drops: Arc<Drops>,
    workers: Mutex<Workers>,
    stop: Notify,
    connections: Arc<Semaphore>,
}

impl Default for Helper {
    fn default() -> Self {
        Self {
            devices: Mutex::default(),
            drops: Arc::default(),
            workers: Mutex::default(),
            stop: Notify::new(),
            connections: Arc::new(Semaphore::new(CONNECTIONS)),
        }
    }
}

impl Helper {
    /// Serves a connection in the background; one too many is closed.
    fn welcome(self: &Arc<Self>, stream: UnixStream) {
        let Ok(permit) = Arc::clone(&self.connections).try_acquire_owned() else {
            tracing::warn!("more than {CONNECTIONS} connections: refused one");
            return;
        };
        let helper = Arc::clone(self);
        tokio::spawn(async move {
            let _permit = permit;
            if let Err(error) = helper.converse(stream).await {
                tracing::debug!("connection ended: {error}");
            }
        });
    }

    async fn converse(&self, stream: UnixStream) -> io::Result<()> {
        let mut channel = Channel::new(stream);
        while let Some((request, descriptors)) = channel.receive::<Request>().await? {
            let is_stop = matches!(request, Request::Stop);
            let mut devices = self.devices.lock().await;
            bury(&request, &mut devices).await;
            let (answer, held) = self.answer(request, descriptors, &mut devices).await;
            // What is held lives as long as the device, which may end meanwhile.
            let legacy = held.and_then(|name| devices.get(&name)).map(Running::legacy);
            channel.send(&answer, legacy.as_ref().map_or(&[], |legacy| &legacy[..])).await?;
            drop(devices);
            if is_stop {
                self.stop.notify_one();
            }
        }
        Ok(())
    }

    /// The answer, and the interface whose legacy goes with it.
    async fn answer(
        &self,
        request: Request,
        descriptors: Vec<OwnedFd>,
        devices: &mut Devices,
    ) -> (Answer, Option<IfName>) {
        let answer = match request {
            Request::Create { name, mtu } => match self.create(devices, &name, mtu).await {
                Ok(()) => return (Answer::default(), Some(name)),
                Err(error) => Answer { error: Some(error), ..Answer::default() },
            },
            Request::Restore { name } => Answer {
                error: self.restore(devices, &name, descriptors).await.err(),
                ..Answer::default()
            },
            Request::Hold { name } => return (Answer::default(), Some(name)),
            Request::Delete { name } => {
                if let Some(device) = devices.remove(&name) {
                    device.stop().await;
                }
                Answer::default()
            }
            Request::List => {
                Answer { names: devices.keys().cloned().collect(), ..Answer::default() }
            }
            Request::Drops => {
                let drops = self.drops.counts();
                let drops = drops.map(|(name, count)| (name.to_owned(), count)).collect();
                Answer { drops, ..Answer::default() }
            }
            Request::Unknown => Answer {
                error: Some("it is too old for this request; `sixwire down`, then up".to_owned()),
                ..Answer::default()
            },
            Request::Stop => {
                stop_all(std::mem::take(devices)).await;
                Answer::default()
            }
        };
        (answer, None)
    }

    async fn create(&self, devices: &mut Devices, name: &IfName, mtu: u32) -> Result<(), String> {
        if devices.contains_key(name) {
            return Ok(());
        }
        let place = self.place(devices).await?;
        devices.insert(name.clone(), Running::make(name, mtu, place)?);
        Ok(())
    }

    async fn restore(
        &self,
        devices: &mut Devices,
        name: &IfName,
        descriptors: Vec<OwnedFd>,
    ) -> Result<(), String> {
        let legacy = descriptors.try_into().map_err(|_| "nothing to restore it from".to_owned())?;
        if devices.contains_key(name) {
            return Ok(());
        }
        let place = self.place(devices).await?;
        devices.insert(name.clone(), Running::restore(name, legacy, place).await?);
        Ok(())
    }

    /// Where a further device goes.
    async fn place(&self, devices: &Devices) -> Result<(Arc<Worker>, Arc<Drops>), String> {
        if devices.len() >= DEVICES {
            return Err(format!("it has {DEVICES} interfaces already, its limit"));
        }
        let worker = self.workers.lock().await.least_busy().map_err(|error| error.to_string())?;
        Ok((worker, Arc::clone(&self.drops)))
    }
}

/// Forgets devices that have ended: the one that a request is about, or all.
async fn bury(request: &Request, devices: &mut Devices) {
    match request {
        Request::Create { name, .. } | Request::Restore { name } | Request::Hold { name } => {
            if devices.get(name).is_some_and(|device| !device.is_alive(name))
                && let Some(device) = devices.remove(name)
            {
                device.stop().await;
            }
        }
        _ => stop_all(devices.extract_if(.., |name, device| !device.is_alive(name))).await,
    }
}

async fn stop_all(devices: impl IntoIterator<Item = (IfName, Running)>) {
    for (_, device) in devices {
        device.stop().await;
    }
}

/// Connections at a time; the daemon uses two, and one for each removal under way.
const CONNECTIONS: usize = 64;
/// Interfaces at a time: 8 descriptors each.
const DEVICES: usize = 1000;
/// How often, and after what pause each, the lock of a predecessor is tried that does not answer.
const LOCK_TRIES: u32 = 100;
const LOCK_PAUSE: Duration = Duration::from_millis(10);

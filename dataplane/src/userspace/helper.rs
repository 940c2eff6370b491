//! The helper process: serves the control socket, and carries the packets on as many threads as there
//! are processors.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write as _};
use std::path::Path;
use std::sync::Arc;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::stat::{Mode, umask};
use nix::unistd::setsid;
use tokio::io::{AsyncWriteExt as _, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Mutex, Notify, Semaphore};

use super::control;
use super::device::Running;
use super::protocol::{self, Answer, Request};
use super::worker::Workers;
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
    // A thousand interfaces need four thousand descriptors; the usual limit is 1024.
    let _ = getrlimit(Resource::RLIMIT_NOFILE)
        .and_then(|(_, most)| setrlimit(Resource::RLIMIT_NOFILE, most, most));
    umask(Mode::from_bits_truncate(0o077));
    let mut hangup = signal(SignalKind::hangup())?;
    protocol::make_run_dir(run_dir)?;
    // Held until the process ends.
    let lock = File::create(protocol::lock_path(run_dir))?;
    if lock.try_lock().is_err() {
        return Ok(());
    }
    let path = protocol::socket_path(run_dir);
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

struct Helper {
    devices: Mutex<BTreeMap<IfName, Running>>,
    workers: Mutex<Workers>,
    stop: Notify,
    connections: Arc<Semaphore>,
}

impl Default for Helper {
    fn default() -> Self {
        Self {
            devices: Mutex::default(),
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
        let mut stream = BufReader::new(stream);
        while let Some(request) = protocol::read::<Request>(&mut stream).await? {
            let is_stop = matches!(request, Request::Stop);
            let answer = self.answer(request).await;
            stream.write_all(&protocol::line(&answer)?).await?;
            if is_stop {
                self.stop.notify_one();
            }
        }
        Ok(())
    }

    async fn answer(&self, request: Request) -> Answer {
        let mut devices = self.devices.lock().await;
        stop_all(devices.extract_if(.., |name, device| !device.is_alive(name))).await;
        match request {
            Request::Create { name, mtu } => Answer {
                error: self.create(&mut devices, name, mtu).await.err(),
                ..Answer::default()
            },
            Request::Delete { name } => {
                if let Some(device) = devices.remove(&name) {
                    device.stop().await;
                }
                Answer::default()
            }
            Request::List => Answer { error: None, names: devices.keys().cloned().collect() },
            Request::Unknown => Answer {
                error: Some("it is too old for this request; `sixwire down`, then up".to_owned()),
                ..Answer::default()
            },
            Request::Stop => {
                stop_all(std::mem::take(&mut *devices)).await;
                Answer::default()
            }
        }
    }

    async fn create(
        &self,
        devices: &mut BTreeMap<IfName, Running>,
        name: IfName,
        mtu: u32,
    ) -> Result<(), String> {
        if devices.contains_key(&name) {
            return Ok(());
        }
        if devices.len() >= DEVICES {
            return Err(format!("it has {DEVICES} interfaces already, its limit"));
        }
        let worker = self.workers.lock().await.least_busy().map_err(|error| error.to_string())?;
        let device = Running::start(&name, mtu, worker)?;
        devices.insert(name, device);
        Ok(())
    }
}

async fn stop_all(devices: impl IntoIterator<Item = (IfName, Running)>) {
    for (_, device) in devices {
        device.stop().await;
    }
}

/// Connections at a time; the daemon uses two, and one for each removal under way.
const CONNECTIONS: usize = 64;
/// Interfaces at a time: 4 descriptors each.
const DEVICES: usize = 1000;

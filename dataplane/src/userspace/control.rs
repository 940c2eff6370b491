//! The configuration socket of a device.

use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use nix::errno::Errno;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, mpsc, oneshot};

use super::uapi::{self, Request};
use crate::model::IfName;

/// A request to a device, and where the text of its answer goes.
pub(super) struct Ask {
    pub(super) request: Request,
    pub(super) answer: oneshot::Sender<String>,
}

/// Makes the socket of a device.
pub(super) fn listen(name: &IfName) -> io::Result<UnixListener> {
    DirBuilder::new().recursive(true).mode(0o700).create(SOCKET_DIR)?;
    remove(name);
    UnixListener::bind(socket_path(name))
}

/// Removes it; somebody may have done so before.
pub(super) fn remove(name: &IfName) {
    let _ = std::fs::remove_file(socket_path(name));
}

/// Serves it until the device ends.
pub(super) async fn serve(listener: UnixListener, device: mpsc::Sender<Ask>) {
    let connections = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let Ok(turn) = Arc::clone(&connections).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                let device = device.clone();
                tokio::spawn(async move {
                    let _turn = turn;
                    let conversation = converse(stream, device);
                    // A client that hangs gives its place back.
                    let _ = tokio::time::timeout(PATIENCE, conversation).await;
                });
            }
            // Out of descriptors: some will be closed.
            Err(error) => {
                tracing::warn!("configuration socket: {error}");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

/// Answers requests, each ended by an empty line, until the client hangs up.
async fn converse(mut stream: UnixStream, device: mpsc::Sender<Ask>) -> io::Result<()> {
    let mut text = Vec::new();
    loop {
        if let Some(end) = text.windows(2).position(|two| two == b"\n\n") {
            let request = std::str::from_utf8(&text[..=end]).map_err(|_| Errno::EINVAL);
            let answer = match request.and_then(Request::parse) {
                Ok(request) => ask(request, &device).await?,
                Err(errno) => uapi::outcome(Err(errno)),
            };
            stream.write_all(answer.as_bytes()).await?;
            text.drain(..end + 2);
        } else if text.len() > LONGEST || stream.read_buf(&mut text).await? == 0 {
            return Ok(());
        }
    }
}

async fn ask(request: Request, device: &mpsc::Sender<Ask>) -> io::Result<String> {
    let gone = || io::Error::from(io::ErrorKind::BrokenPipe);
    let (answer, answered) = oneshot::channel();
    device.send(Ask { request, answer }).await.map_err(|_| gone())?;
    answered.await.map_err(|_| gone())
}

/// Removes sockets of tunnels that nobody listens on: a killed helper leaves them, and `wg` stumbles
/// over them.
pub(super) fn remove_stale() {
    let Ok(entries) = std::fs::read_dir(SOCKET_DIR) else { return };
    for path in entries.flatten().map(|entry| entry.path()) {
        let name = path.file_stem().and_then(|stem| stem.to_str()).and_then(|s| s.parse().ok());
        let ours = name.is_some_and(|name: IfName| name.is_tunnel_like());
        let refused = || {
            std::os::unix::net::UnixStream::connect(&path)
                .is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused)
        };
        if ours && refused() {
            // Losing a race against another cleaner is fine.
            let _ = std::fs::remove_file(&path);
        }
    }
}

fn socket_path(name: &IfName) -> PathBuf {
    Path::new(SOCKET_DIR).join(format!("{name}.sock"))
}

/// Where `wg` and every other tool look for configuration sockets.
pub(crate) const SOCKET_DIR: &str = "/var/run/wireguard";
/// Clients of a device at a time.
const CONNECTIONS: usize = 8;
/// Octets of a request: some ten thousand prefixes.
const LONGEST: usize = 1 << 20;
/// For a client, all in all.
const PATIENCE: Duration = Duration::from_secs(30);

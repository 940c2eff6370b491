//! The local API of a routing engine: a socket, mode 0600, where the user wants it. A client writes
//! one line of JSON and gets one back, or one for each change until it hangs up.
//!
//! ```text
//! {"schema":1,"request":"routes"}
//! {"schema":1,"routes":[ ... ]}
//! ```
//!
//! A line that is not understood gets `{"schema":1,"error":"..."}`.

use std::fs::{self, Permissions};
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::ops::ControlFlow;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream as Blocking;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::timeout;

use super::report::{ChangeReport, CountersReport, Kernel, NeighboursReport, RoutesReport};
use crate::daemon::api::Schema;
use crate::daemon::routing::Command;

/// What a client may ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Request {
    /// A [`NeighboursReport`].
    Neighbours,
    /// A [`RoutesReport`].
    Routes,
    /// A [`CountersReport`].
    Counters,
    /// A [`ChangeReport`] for all that is there, then one for each change.
    Monitor,
}

#[derive(Debug, Serialize, Deserialize)]
struct RequestLine {
    schema: Schema,
    request: Request,
}

#[derive(Debug, Serialize, Deserialize)]
struct ErrorLine {
    schema: Schema,
    error: String,
}

/// The socket, open; its file goes away with this.
#[derive(Debug)]
pub(super) struct Server {
    listener: UnixListener,
    path: PathBuf,
}

impl Server {
    /// Opens the socket, in place of one that a killed instance left behind.
    pub(super) fn open(path: &Path) -> anyhow::Result<Self> {
        let shown = path.display();
        let taken = Blocking::connect(path).is_ok();
        anyhow::ensure!(!taken, "another program serves {shown}: name another --socket");
        // Under its own name only once nobody else may connect.
        let fresh = path.with_added_extension("new");
        let open = || -> io::Result<UnixListener> {
            match fs::remove_file(&fresh) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            let listener = UnixListener::bind(&fresh)?;
            fs::set_permissions(&fresh, Permissions::from_mode(0o600))?;
            fs::rename(&fresh, path)?;
            Ok(listener)
        };
        let listener = open().with_context(|| format!("cannot open the local API at {shown}"))?;
        Ok(Self { listener, path: path.to_owned() })
    }

    /// Serves for ever.
    pub(super) async fn serve(&self, commands: mpsc::Sender<Command>, kernel: Kernel) {
        let places = Arc::new(Semaphore::new(CLIENT_LIMIT));
        loop {
            // One more than there are places waits in the kernel's queue.
            let place = Arc::clone(&places).acquire_owned().await;
            match self.listener.accept().await {
                Ok((stream, _)) => {
                    let (commands, kernel) = (commands.clone(), kernel.clone());
                    tokio::spawn(async move {
                        client(stream, &commands, &kernel).await;
                        drop(place);
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a client of the local API");
                    // Out of file descriptors, most likely: give others time to end.
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may be gone already, with its directory.
        let _ = fs::remove_file(&self.path);
    }
}

/// Serves one client. Its errors are its own affair.
async fn client(mut stream: UnixStream, commands: &mpsc::Sender<Command>, kernel: &Kernel) {
    let read = timeout(LINE_TIMEOUT, read_request(&mut stream)).await;
    let problem = match read {
        Ok(Ok(Request::Monitor)) => return monitor(stream, commands).await,
        Ok(Ok(request)) => match answer(request, commands, kernel).await {
            Some(answer) => return drop(write(&mut stream, answer).await),
            None => "the routing engine is stopping".to_owned(),
        },
        Ok(Err(problem)) => problem,
        Err(_) => format!("no request within {} seconds", LINE_TIMEOUT.as_secs()),
    };
    let _ = write(&mut stream, line(&ErrorLine { schema: Schema, error: problem })).await;
}

async fn read_request(stream: &mut UnixStream) -> Result<Request, String> {
    let mut text = Vec::new();
    let mut reader = tokio::io::BufReader::new(stream.take(REQUEST_LIMIT));
    reader.read_until(b'\n', &mut text).await.map_err(|error| error.to_string())?;
    let RequestLine { request, .. } = serde_json::from_slice(&text)
        .map_err(|error| format!("the request is not understood: {error}"))?;
    Ok(request)
}

async fn answer(
    request: Request,
    commands: &mpsc::Sender<Command>,
    kernel: &Kernel,
) -> Option<Vec<u8>> {
    Some(match request {
        Request::Counters => line(&CountersReport::of(put(Command::View, commands).await?, kernel)),
        Request::Neighbours => line(&NeighboursReport::of(put(Command::Table, commands).await?)),
        Request::Routes | Request::Monitor => {
            line(&RoutesReport::of(put(Command::Table, commands).await?, kernel))
        }
    })
}

/// Puts a question to the routing task; `None` if it is stopping.
async fn put<T>(
    question: fn(oneshot::Sender<T>) -> Command,
    commands: &mpsc::Sender<Command>,
) -> Option<T> {
    let (reply, replied) = oneshot::channel();
    commands.send(question(reply)).await.ok()?;
    replied.await.ok()
}

async fn monitor(mut stream: UnixStream, commands: &mpsc::Sender<Command>) {
    let (reply, replied) = oneshot::channel();
    if commands.send(Command::Watch(reply)).await.is_err() {
        return;
    }
    let Ok((view, mut changes)) = replied.await else { return };
    let present: Vec<u8> = ChangeReport::of_all(&view).flat_map(|report| line(&report)).collect();
    if write(&mut stream, present).await.is_err() {
        return;
    }
    let mut hung_up = [0; 1];
    loop {
        tokio::select! {
            change = changes.recv() => {
                let Some(change) = change else { break };
                if write(&mut stream, line(&ChangeReport::of(change))).await.is_err() {
                    return;
                }
            }
            _ = stream.read(&mut hung_up) => return,
        }
    }
    let error = "too slow, or the routing engine is stopping: changes were lost".to_owned();
    let _ = write(&mut stream, line(&ErrorLine { schema: Schema, error })).await;
}

async fn write(stream: &mut UnixStream, octets: Vec<u8>) -> io::Result<()> {
    timeout(WRITE_TIMEOUT, stream.write_all(&octets)).await.map_err(io::Error::from)?
}

fn line<T: Serialize>(value: &T) -> Vec<u8> {
    let mut line = serde_json::to_vec(value).expect("reports have text keys only");
    line.push(b'\n');
    line
}

/// Asks the engine whose socket is at `path`, and hands each line of its answer to `each`, until
/// there are no more or no more are wanted.
///
/// # Errors
/// When nobody serves there, when the engine refuses, and those of `each`.
pub fn ask(
    path: &Path,
    request: Request,
    mut each: impl FnMut(&str) -> anyhow::Result<ControlFlow<()>>,
) -> anyhow::Result<()> {
    let shown = path.display();
    let mut stream = Blocking::connect(path).with_context(|| {
        format!("no routing engine serves {shown}: was it started with this --socket?")
    })?;
    stream.write_all(&line(&RequestLine { schema: Schema, request }))?;
    for text in BufReader::new(stream).lines() {
        let text = text.with_context(|| format!("cannot read from {shown}"))?;
        if let Ok(refusal) = serde_json::from_str::<ErrorLine>(&text) {
            anyhow::bail!("the routing engine at {shown}: {}", refusal.error);
        }
        if each(&text)?.is_break() {
            break;
        }
    }
    Ok(())
}

/// Most clients at once.
const CLIENT_LIMIT: usize = 16;
/// Longest request, in octets.
const REQUEST_LIMIT: u64 = 4096;
/// Time a client has for its line.
const LINE_TIMEOUT: Duration = Duration::from_secs(10);
/// Time a client has to take what is written.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);

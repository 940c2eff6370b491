//! The daemon's end of the socket.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::timeout;

use super::{ErrorLine, REQUEST_LIMIT, Report, Request, RequestLine, Schema, socket_path};

/// A request on its way to the daemon. Dropping it tells the client that the daemon is stopping.
#[derive(Debug)]
pub struct Query {
    /// What is asked.
    pub request: Request,
    /// Where the answer goes. Nobody may be there any more.
    pub answer: oneshot::Sender<Report>,
}

/// The socket, open; its file goes away with this.
#[derive(Debug)]
pub struct Server {
    listener: UnixListener,
    path: PathBuf,
}

/// Most clients at once; one more is told to come back.
const CLIENT_LIMIT: usize = PLACES as usize;
const PLACES: u32 = 16;
/// What clients hear that come too late.
const STOPPING: &str = "the daemon is stopping";
/// Time a client has for its line.
const LINE_TIMEOUT: Duration = Duration::from_secs(10);
/// Time a client has to take its answer.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);

impl Server {
    /// Opens the socket in `run_dir`, in place of one that a killed daemon left behind. The caller
    /// holds the lock of that directory.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn open(run_dir: &Path) -> io::Result<Self> {
        let path = socket_path(run_dir);
        // Under its own name only once nobody else may connect.
        let fresh = path.with_added_extension("new");
        match fs::remove_file(&fresh) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(&fresh)?;
        fs::set_permissions(&fresh, Permissions::from_mode(0o600))?;
        fs::rename(&fresh, &path)?;
        Ok(Self { listener, path })
    }

    /// Serves until the receiver of `queries` is closed, and then until the answers that were
    /// given by then are written.
    pub async fn serve(&self, queries: mpsc::Sender<Query>) {
        let places = Arc::new(Semaphore::new(CLIENT_LIMIT));
        tokio::select! {
            () = self.accept(&places, &queries) => {}
            () = queries.closed() => {}
        }
        // Every place is free again once every client is gone, which takes a bounded time.
        let _ = places.acquire_many(PLACES).await;
    }

    async fn accept(&self, places: &Arc<Semaphore>, queries: &mpsc::Sender<Query>) {
        loop {
            let accepted = self.listener.accept().await;
            let stream = match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a client of the local API");
                    // Out of file descriptors, most likely: give others time to end.
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            };
            match Arc::clone(places).try_acquire_owned() {
                Ok(place) => {
                    let queries = queries.clone();
                    tokio::spawn(async move {
                        client(stream, &queries).await;
                        drop(place);
                    });
                }
                Err(_) => refuse_at_once(&stream),
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
async fn client(mut stream: UnixStream, queries: &mpsc::Sender<Query>) {
    let read = tokio::select! {
        read = timeout(LINE_TIMEOUT, read_request(&mut stream)) => read,
        () = queries.closed() => Ok(Err(STOPPING.to_owned())),
    };
    let answer = match read {
        Ok(Ok(request)) => ask(request, queries).await,
        Ok(Err(problem)) => error_line(problem),
        Err(_) => error_line(format!("no request within {} seconds", LINE_TIMEOUT.as_secs())),
    };
    let _ = timeout(WRITE_TIMEOUT, async {
        stream.write_all(&answer).await?;
        stream.shutdown().await
    })
    .await;
}

async fn read_request(stream: &mut UnixStream) -> Result<Request, String> {
    let mut line = Vec::new();
    let mut reader = BufReader::new(stream.take(REQUEST_LIMIT));
    reader.read_until(b'\n', &mut line).await.map_err(|error| error.to_string())?;
    if line.last() != Some(&b'\n') && line.len() as u64 == REQUEST_LIMIT {
        return Err(format!("the request is longer than {REQUEST_LIMIT} octets"));
    }
    let RequestLine { request, .. } = serde_json::from_slice(&line)
        .map_err(|error| format!("the request is not understood: {error}"))?;
    Ok(request)
}

async fn ask(request: Request, queries: &mpsc::Sender<Query>) -> Vec<u8> {
    let (answer, answered) = oneshot::channel();
    let sent = queries.send(Query { request, answer }).await;
    let report = match sent {
        Ok(()) => answered.await.ok(),
        Err(_) => None,
    };
    report.map_or_else(|| error_line(STOPPING.to_owned()), |report| line(&report))
}

/// One more than there are places: said without a task.
fn refuse_at_once(stream: &UnixStream) {
    let text = format!("more than {CLIENT_LIMIT} clients at once: try again");
    // A fresh socket has room for a line; a client that is gone needs none.
    let _ = stream.try_write(&error_line(text));
}

fn error_line(error: String) -> Vec<u8> {
    line(&ErrorLine { schema: Schema, error })
}

fn line<T: Serialize>(value: &T) -> Vec<u8> {
    let mut line = serde_json::to_vec(value).expect("reports have text keys only");
    line.push(b'\n');
    line
}

//! The command line's end of the socket.

use std::io::{self, BufRead as _, BufReader, ErrorKind, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::de::DeserializeOwned;

use super::{ANSWER_LIMIT, ErrorLine, Request, RequestLine, Schema, socket_path};

/// The daemon of one run directory.
#[derive(Clone, Debug)]
pub struct Client {
    run_dir: PathBuf,
}

/// Why the daemon did not answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// There is no socket, or nobody behind it.
    #[error(
        "no daemon runs on {}: start it with `sixwire up` or `systemctl start sixwire`, or name \
         its directory with --run-dir", run_dir.display()
    )]
    NoDaemon {
        /// Where it was looked for.
        run_dir: PathBuf,
    },
    /// The socket is for root.
    #[error("{} is for root only: run this as root", path.display())]
    Forbidden {
        /// The socket.
        path: PathBuf,
    },
    /// It took too long.
    #[error(
        "the daemon on {} does not answer: see its log, or restart it with \
         `systemctl restart sixwire`; traffic is not affected", run_dir.display()
    )]
    Silent {
        /// Where it was looked for.
        run_dir: PathBuf,
    },
    /// The daemon's own words.
    #[error("the daemon refuses: {0}")]
    Refused(String),
    /// The answer is not what was asked for.
    #[error("the daemon's answer is not understood ({0}): use the same version on both sides")]
    Foreign(String),
    /// The socket failed otherwise.
    #[error("cannot talk to the daemon by {}: {reason}", path.display())]
    Failed {
        /// The socket.
        path: PathBuf,
        /// The system's reason.
        reason: io::Error,
    },
}

/// Time for an answer that the daemon has at hand.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// Time to drain every tunnel: a few update intervals of the routing protocol, and some more.
const DOWN_TIMEOUT: Duration = Duration::from_secs(180);

impl Client {
    /// The daemon whose socket lies in `run_dir`.
    #[must_use]
    pub fn new(run_dir: &Path) -> Self {
        Self { run_dir: run_dir.to_owned() }
    }

    /// Asks, and waits for the report.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn ask<R: DeserializeOwned>(&self, request: Request) -> Result<R, ClientError> {
        let line = self.exchange(request).map_err(|reason| self.explain(reason))?;
        serde_json::from_slice(&line).map_err(|error| {
            match serde_json::from_slice::<ErrorLine>(&line) {
                Ok(refusal) => ClientError::Refused(refusal.error),
                Err(_) => ClientError::Foreign(error.to_string()),
            }
        })
    }

    fn exchange(&self, request: Request) -> io::Result<Vec<u8>> {
        let limit = match request {
            Request::Status | Request::Peers | Request::Routes => ANSWER_TIMEOUT,
            Request::Down => DOWN_TIMEOUT,
        };
        let mut stream = UnixStream::connect(socket_path(&self.run_dir))?;
        stream.set_read_timeout(Some(limit))?;
        stream.set_write_timeout(Some(ANSWER_TIMEOUT))?;
        let mut line = serde_json::to_vec(&RequestLine { schema: Schema, request })?;
        line.push(b'\n');
        // A daemon with too many clients answers before it reads.
        match stream.write_all(&line) {
            Err(error) if error.kind() != ErrorKind::BrokenPipe => return Err(error),
            _ => {}
        }
        let mut answer = Vec::new();
        BufReader::new(stream.take(ANSWER_LIMIT)).read_until(b'\n', &mut answer)?;
        Ok(answer)
    }

    fn explain(&self, reason: io::Error) -> ClientError {
        let (run_dir, path) = (self.run_dir.clone(), socket_path(&self.run_dir));
        match reason.kind() {
            ErrorKind::NotFound | ErrorKind::ConnectionRefused => ClientError::NoDaemon { run_dir },
            ErrorKind::PermissionDenied => ClientError::Forbidden { path },
            ErrorKind::WouldBlock | ErrorKind::TimedOut => ClientError::Silent { run_dir },
            _ => ClientError::Failed { path, reason },
        }
    }
}

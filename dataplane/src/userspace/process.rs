//! The helper's process, as the daemon starts and reaches it.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::AsyncReadExt as _;
use tokio::net::UnixStream;
use tokio::process::{Child, Command};

use super::channel::Channel;
use super::protocol::{self, Answer, Request};
use crate::error::Error;
use crate::options::Options;

/// Where it is, and how it is started.
pub(super) struct Process {
    program: PathBuf,
    args: Vec<OsString>,
    run_dir: PathBuf,
}

/// An answer, and the descriptors that came with it.
pub(super) type Answered = (Answer, Vec<OwnedFd>);

impl Process {
    pub(super) fn of(options: &Options) -> Self {
        Self {
            program: options.helper_program.clone(),
            args: options.helper_args.clone(),
            run_dir: options.run_dir.clone(),
        }
    }

    /// A connection to it; `None` if it is not running.
    pub(super) async fn connect(&self) -> Result<Option<Channel>, Error> {
        match UnixStream::connect(protocol::socket_path(&self.run_dir)).await {
            Ok(stream) => Ok(Some(Channel::new(stream))),
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused
                ) =>
            {
                Ok(None)
            }
            Err(error) => Err(self.error("connect", error)),
        }
    }

    /// Starts it and waits until it says that its socket is there.
    pub(super) async fn start(&self) -> Result<Child, Error> {
        let failed = |error: io::Error| self.error("start", error);
        protocol::make_run_dir(&self.run_dir).map_err(failed)?;
        let log = File::options()
            .append(true)
            .create(true)
            .open(protocol::log_path(&self.run_dir))
            .map_err(failed)?;
        if log.metadata().is_ok_and(|log| log.len() > LONGEST_LOG) {
            log.set_len(0).map_err(failed)?;
        }
        // It outlives us; the runtime reaps it should it end before.
        let mut child = Command::new(&self.program)
            .args(&self.args)
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .map_err(failed)?;
        let mut said = Vec::new();
        if let Some(stdout) = child.stdout.take() {
            let mut stdout = stdout.take(protocol::READY.len() as u64);
            let reading = stdout.read_to_end(&mut said);
            match tokio::time::timeout(ANSWER_LIMIT, reading).await {
                Ok(outcome) => outcome.map_err(failed)?,
                Err(_) => return Err(self.error("start", "it did not get ready in time")),
            };
        }
        // One that found another running ends without a word; then that one counts.
        if said != protocol::READY && self.connect().await?.is_none() {
            return Err(self.error("start", "it ended at once"));
        }
        Ok(child)
    }

    /// One request, one answer; `None` if it is not running.
    pub(super) async fn ask(
        &self,
        doing: &str,
        request: &Request,
    ) -> Result<Option<Answered>, Error> {
        let Some(mut channel) = self.connect().await? else { return Ok(None) };
        match self.exchange(doing, &mut channel, (request, &[])).await {
            // It died over it.
            Err(_) if self.connect().await?.is_none() => Ok(None),
            outcome => outcome.map(Some),
        }
    }

    pub(super) async fn exchange(
        &self,
        doing: &str,
        channel: &mut Channel,
        request: (&Request, &[BorrowedFd<'_>]),
    ) -> Result<Answered, Error> {
        self.say(doing, channel, request).await?;
        self.hear(doing, channel).await
    }

    /// Half an exchange: its answers come in the order of the requests.
    pub(super) async fn say(
        &self,
        doing: &str,
        channel: &mut Channel,
        (request, descriptors): (&Request, &[BorrowedFd<'_>]),
    ) -> Result<(), Error> {
        match tokio::time::timeout(ANSWER_LIMIT, channel.send(request, descriptors)).await {
            Ok(outcome) => outcome.map_err(|error| self.error(doing, error)),
            Err(_) => Err(no_answer(doing)),
        }
    }

    /// The other half.
    pub(super) async fn hear(&self, doing: &str, channel: &mut Channel) -> Result<Answered, Error> {
        match tokio::time::timeout(ANSWER_LIMIT, channel.receive()).await {
            Ok(Ok(Some(answered))) => Ok(answered),
            Ok(Ok(None)) => Err(self.error(doing, "it hung up")),
            Ok(Err(error)) => Err(self.error(doing, error)),
            Err(_) => Err(no_answer(doing)),
        }
    }

    /// The error if it refused.
    pub(super) fn judge(&self, doing: &str, answer: Answer) -> Result<(), Error> {
        answer.error.map_or(Ok(()), |reason| Err(self.error(doing, reason)))
    }

    /// Waits until it hangs up by ending.
    pub(super) async fn ended(&self, channel: Channel) -> Result<(), Error> {
        tokio::time::timeout(ANSWER_LIMIT, channel.closed()).await.map_err(|_| no_answer("stop"))
    }

    pub(super) fn error(&self, doing: &str, reason: impl ToString) -> Error {
        Error::Helper {
            doing: doing.to_owned(),
            reason: reason.to_string(),
            log: protocol::log_path(&self.run_dir),
        }
    }
}

fn no_answer(doing: &str) -> Error {
    Error::NoAnswer {
        doing: format!("embedded WireGuard helper: {doing}"),
        seconds: ANSWER_LIMIT.as_secs(),
    }
}

/// It answers within milliseconds; making an interface on a loaded machine takes longer.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);
/// Octets of its log, after which it starts anew.
const LONGEST_LOG: u64 = 1 << 20;

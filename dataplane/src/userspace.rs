//! Embedded WireGuard for kernels that have none: a helper process of our own binary carries all
//! tunnels, outlives the daemon, and is told over a control socket which interfaces to make. Their
//! configuration goes through WireGuard's own userspace sockets.

mod allowed_ips;
mod checksum;
mod coalesce;
mod control;
mod device;
mod endpoint;
pub(crate) mod helper;
mod noise;
mod outbox;
mod packet;
mod peer;
mod protocol;
mod segment;
mod socket;
mod tun;
mod uapi;
mod virtio;
mod worker;

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::UnixStream;
use tokio::process::Command;
use tokio::sync::{Mutex, mpsc};
use tokio::task::JoinHandle;

use crate::error::Error;
use crate::model::IfName;
use crate::netlink::monitor::KernelEvent;
use crate::options::Options;
use protocol::{Answer, Request};

/// The daemon's side of the helper.
pub(crate) struct Helper {
    program: PathBuf,
    args: Vec<OsString>,
    run_dir: PathBuf,
    events: mpsc::Sender<KernelEvent>,
    /// Notices the helper's death. Held while one is started, so that one is.
    watch: Mutex<Option<JoinHandle<()>>>,
}

impl Helper {
    pub(crate) fn new(options: &Options, events: mpsc::Sender<KernelEvent>) -> Self {
        Self {
            program: options.helper_program.clone(),
            args: options.helper_args.clone(),
            run_dir: options.run_dir.clone(),
            events,
            watch: Mutex::default(),
        }
    }

    /// The interfaces it has; `None` if it is not running. Watches it from now on.
    pub(crate) async fn names(&self) -> Result<Option<Vec<IfName>>, Error> {
        let mut watch = self.watch.lock().await;
        let Some(answer) = self.ask("list interfaces", &Request::List).await? else {
            return Ok(None);
        };
        self.watch(&mut watch).await?;
        Ok(Some(answer.names))
    }

    /// Starts it unless it runs.
    pub(crate) async fn ensure_running(&self) -> Result<(), Error> {
        let mut watch = self.watch.lock().await;
        if self.connect().await?.is_none() {
            self.start().await?;
        }
        self.watch(&mut watch).await
    }

    /// Makes an interface and its configuration socket; that it exists is success.
    pub(crate) async fn create(&self, name: &IfName, mtu: u32) -> Result<(), Error> {
        self.ensure_running().await?;
        let doing = format!("create interface {name}");
        self.command(&doing, &Request::Create { name: name.clone(), mtu }).await
    }

    /// Deletes an interface; that it is gone is success.
    pub(crate) async fn delete(&self, name: &IfName) -> Result<(), Error> {
        let doing = format!("delete interface {name}");
        match self.ask(&doing, &Request::Delete { name: name.clone() }).await? {
            Some(answer) => self.judge(&doing, answer),
            None => Ok(()),
        }
    }

    /// Ends it, with all its interfaces.
    pub(crate) async fn stop(&self) -> Result<(), Error> {
        if let Some(watch) = self.watch.lock().await.take() {
            watch.abort();
        }
        let Some(stream) = self.connect().await? else { return Ok(()) };
        let mut stream = BufReader::new(stream);
        let answer = self.exchange("stop", &mut stream, &Request::Stop).await?;
        self.judge("stop", answer)?;
        // It hangs up by ending.
        let ended = tokio::time::timeout(ANSWER_LIMIT, stream.read_u8()).await;
        ended.map(|_| ()).map_err(|_| no_answer("stop"))
    }

    async fn command(&self, doing: &str, request: &Request) -> Result<(), Error> {
        match self.ask(doing, request).await? {
            Some(answer) => self.judge(doing, answer),
            None => Err(self.error(doing, "it is not running")),
        }
    }

    fn judge(&self, doing: &str, answer: Answer) -> Result<(), Error> {
        answer.error.map_or(Ok(()), |reason| Err(self.error(doing, reason)))
    }

    /// One request, one answer; `None` if it is not running.
    async fn ask(&self, doing: &str, request: &Request) -> Result<Option<Answer>, Error> {
        let Some(stream) = self.connect().await? else { return Ok(None) };
        match self.exchange(doing, &mut BufReader::new(stream), request).await {
            // It died over it.
            Err(_) if self.connect().await?.is_none() => Ok(None),
            outcome => outcome.map(Some),
        }
    }

    async fn exchange(
        &self,
        doing: &str,
        stream: &mut BufReader<UnixStream>,
        request: &Request,
    ) -> Result<Answer, Error> {
        let exchange = async {
            stream.write_all(&protocol::line(request)?).await?;
            protocol::read(stream).await
        };
        match tokio::time::timeout(ANSWER_LIMIT, exchange).await {
            Ok(Ok(Some(answer))) => Ok(answer),
            Ok(Ok(None)) => Err(self.error(doing, "it hung up")),
            Ok(Err(error)) => Err(self.error(doing, error)),
            Err(_) => Err(no_answer(doing)),
        }
    }

    async fn connect(&self) -> Result<Option<UnixStream>, Error> {
        match UnixStream::connect(protocol::socket_path(&self.run_dir)).await {
            Ok(stream) => Ok(Some(stream)),
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

    /// Starts the process and waits until it says that its socket is there.
    async fn start(&self) -> Result<(), Error> {
        let failed = |error: io::Error| self.error("start", error);
        protocol::make_run_dir(&self.run_dir).map_err(failed)?;
        let log = File::create(protocol::log_path(&self.run_dir)).map_err(failed)?;
        // Not waited for: it outlives us, and the runtime reaps it should it end before.
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
        Ok(())
    }

    /// Keeps a connection open; its end is the helper's end.
    async fn watch(&self, watch: &mut Option<JoinHandle<()>>) -> Result<(), Error> {
        if watch.as_ref().is_some_and(|task| !task.is_finished()) {
            return Ok(());
        }
        let stream = self.connect().await?;
        let events = self.events.clone();
        *watch = Some(tokio::spawn(async move {
            let mut nothing = [0; 1];
            // Without a stream it has died already.
            if let Some(mut stream) = stream {
                while stream.read(&mut nothing).await.is_ok_and(|octets| octets > 0) {}
            }
            // Nobody takes events any more: then nobody needs to know.
            let _ = events.send(KernelEvent::HelperGone).await;
        }));
        Ok(())
    }

    fn error(&self, doing: &str, reason: impl ToString) -> Error {
        Error::Helper {
            doing: doing.to_owned(),
            reason: reason.to_string(),
            log: protocol::log_path(&self.run_dir),
        }
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        if let Some(watch) = self.watch.get_mut().take() {
            watch.abort();
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

//! A data plane opened inside a machine of the lab, without a daemon: what the daemon would tell it is told
//! directly.

use std::fs::File;
use std::future::Future;
use std::path::PathBuf;
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;

use anyhow::{Context, Result, anyhow};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, setns, unshare};
use sixwire_dataplane::{Choice, Dataplane, Options};
use tokio::runtime::{Builder, Runtime};

use crate::lab::{Node, Plane, binary};

type Job = Box<dyn FnOnce(&Runtime) + Send>;

/// A thread inside a machine, with the machine's own `/run`; it works on what it is given.
pub(super) struct Seat {
    jobs: Option<mpsc::Sender<Job>>,
    thread: Option<JoinHandle<()>>,
}

impl Seat {
    /// Enters a machine.
    pub(super) fn take(node: &Node) -> Result<Self> {
        let namespace = File::open(node.host.namespace.path())?;
        let run = node.run_directory().parent().context("it lies in /run")?.to_owned();
        let (jobs, inbox) = mpsc::channel::<Job>();
        let (report, entered) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            let runtime = enter(&namespace, &run);
            match runtime {
                Ok(runtime) => {
                    let _ = report.send(Ok(()));
                    inbox.into_iter().for_each(|job| job(&runtime));
                }
                Err(error) => drop(report.send(Err(error))),
            }
        });
        entered.recv().context("a thread inside a machine")??;
        Ok(Self { jobs: Some(jobs), thread: Some(thread) })
    }

    /// Runs a future inside.
    pub(super) fn run<T, F>(&self, work: impl FnOnce() -> F + Send + 'static) -> Result<T>
    where
        T: Send + 'static,
        F: Future<Output = T>,
    {
        let (report, outcome) = mpsc::channel();
        let job: Job = Box::new(move |runtime| {
            // Nobody waits only when the caller panicked.
            let _ = report.send(runtime.block_on(work()));
        });
        let jobs = self.jobs.as_ref().context("the seat is taken")?;
        jobs.send(job).map_err(|_| anyhow!("the thread inside a machine has ended"))?;
        outcome.recv().context("the work inside a machine panicked")
    }

    /// Opens the data plane as the daemon does.
    pub(super) fn open(&self, plane: Plane) -> Result<Arc<Dataplane>> {
        let run_dir = PathBuf::from("/run/sixwire");
        let helper = vec!["wireguard-helper".into(), run_dir.clone().into()];
        let mut options = Options::new(run_dir, binary("sixwire"), helper);
        options.wireguard = match plane {
            Plane::Kernel => Choice::Kernel,
            Plane::Embedded | Plane::Auto => Choice::Embedded,
        };
        self.run(|| async move {
            let (dataplane, mut events) = Dataplane::open(options).await?;
            // Somebody has to read them.
            tokio::spawn(async move { while events.next().await.is_some() {} });
            Ok(Arc::new(dataplane))
        })?
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            // It has said what was wrong.
            let _ = thread.join();
        }
    }
}

fn enter(namespace: &File, run: &PathBuf) -> Result<Runtime> {
    setns(namespace, CloneFlags::CLONE_NEWNET).context("entering a machine")?;
    unshare(CloneFlags::CLONE_NEWNS).context("leaving the mount namespace")?;
    let nothing = None::<&str>;
    mount(nothing, "/", nothing, MsFlags::MS_REC | MsFlags::MS_PRIVATE, nothing)?;
    mount(Some(run), "/run", nothing, MsFlags::MS_BIND, nothing)
        .with_context(|| format!("mounting {} on /run", run.display()))?;
    Ok(Builder::new_current_thread().enable_all().build()?)
}

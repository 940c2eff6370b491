//! The routing engine alone, as babeld is: given interfaces, no certificates, no registry. Nothing
//! lies at a fixed place, so that many run side by side on one machine.

mod announced;
pub mod api;
mod config;
mod filter;
mod identity;
mod keys;
mod link_options;
mod links;
mod lock;
mod machine;
mod redistribution;
pub mod report;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context as _;
use sixwire_dataplane::model::{RouteKey, RouteTarget};
use sixwire_dataplane::{Events, RouteWriter, Router};
use sixwire_proto::babel::RouteKey as BabelRoute;
use sixwire_proto::link::LinkId;
use sixwire_proto::metric::Metric;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{JoinHandle, JoinSet};
use tracing::{info, warn};

use super::config::ConfigError;
use super::kernel_routes::{KernelMail, KernelRoutes};
use super::mailbox::Mailbox;
use super::monotonic::Monotonic;
use super::recorder::{self, Recorder};
use super::routing::{Command, News, Outlets, Routing};
use super::tally::Tally;
use crate::babel::{Babel, Params};
pub use announced::Announced;
use api::Server;
pub use config::{Config, Interface, Keys};
use filter::BySource;
pub use filter::{FilterRule, Source};
use identity::Identity;
pub use keys::NamedKey;
use links::{Keyring, Links};
use lock::{StateLock, TableLock};
use redistribution::Redistribution;
pub use redistribution::{Protocol, Redistribute};
use report::Kernel;

/// Runs a routing engine until SIGTERM or SIGINT, then retracts its routes and removes them from the
/// kernel. At SIGHUP its keys are read again, with `reload`.
///
/// # Errors
/// What keeps it from running, and what to do about it.
pub fn run(
    config: &Config,
    reload: &dyn Fn() -> Result<Config, ConfigError>,
) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async { Engine::start(config).await?.run(reload).await })
}

/// A routing engine whose tasks run.
struct Engine {
    commands: mpsc::Sender<Command>,
    /// Each returns its name when it ends, which none does by itself.
    tasks: JoinSet<&'static str>,
    /// Keys of the interfaces.
    keyring: watch::Sender<Keyring>,
    /// Ends, with the routes cleared, when its other end is dropped.
    writer: (oneshot::Sender<()>, JoinHandle<()>),
    _pid_file: Option<PidFile>,
    _locks: (TableLock, Option<StateLock>),
}

impl Engine {
    async fn start(config: &Config) -> anyhow::Result<Self> {
        let locks = (
            TableLock::take(config.table)?,
            config.state_file.as_deref().map(StateLock::take).transpose()?,
        );
        let pid_file = config.pid_file.clone().map(PidFile::write).transpose()?;
        let server = config.socket.as_deref().map(Server::open).transpose()?;
        let identity = Identity::take(config.router_id, config.state_file.as_deref())?;
        info!(router_id = %identity.router_id, seqno = %identity.seqno, "starting");
        machine::prepare(config)?;
        let (router, events) = Router::open(config.table).await?;
        let by_source = machine::by_source(&router).await?;
        let (start, mail) = (identity.start, KernelMail::default());
        let (commands, commands_end) = mpsc::channel(COMMANDS);
        let mut tasks = JoinSet::new();
        let adopted = adopt(&router, config).await?;
        let (kernel, writer) = write(adopted, &mail, config.preferred_source.clone());
        let (babel, recorder, clock) = speaker(config, &identity, by_source)?;
        let outlets = outlets(identity, &mail, recorder);
        spawn(&mut tasks, "routing", Routing::new(babel, clock, commands_end, outlets).run());
        for Announced(route) in &config.announce {
            // The routing task ends only with everything else.
            let _ = commands.send(Command::Originate(*route, Metric::ZERO)).await;
        }
        let keyring = watch::Sender::new(config.authentication.clone());
        let mut links = links(config, (router.clone(), events), (&commands, &mail), &keyring);
        links.look(start).await;
        spawn(&mut tasks, "interface", links.run());
        if !config.redistribute.is_empty() {
            let redistribution = redistribution(config, &router, &commands)?;
            spawn(&mut tasks, "redistribution", redistribution.run());
        }
        if let Some(server) = server {
            let commands = commands.clone();
            spawn(&mut tasks, "local API", async move { server.serve(commands, kernel).await });
        }
        Ok(Self { commands, tasks, keyring, writer, _pid_file: pid_file, _locks: locks })
    }

    async fn run(mut self, reload: &dyn Fn() -> Result<Config, ConfigError>) -> anyhow::Result<()> {
        let mut hangup = signal(SignalKind::hangup())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let outcome = loop {
            tokio::select! {
                Some(ended) = self.tasks.join_next() => {
                    let task = ended.context("a task of the routing engine failed")?;
                    let ended = format!("the {task} task of the routing engine ended by itself");
                    break Err(anyhow::anyhow!(ended));
                }
                _ = terminate.recv() => break Ok(()),
                _ = interrupt.recv() => break Ok(()),
                _ = hangup.recv() => self.rekey(reload()),
            }
        };
        info!("stopping: retracting routes");
        let (done, retracted) = oneshot::channel();
        // What has ended has nothing to retract.
        let _ = self.commands.send(Command::Shutdown(done)).await;
        let _ = retracted.await;
        self.tasks.shutdown().await;
        let (end, cleared) = self.writer;
        drop(end);
        cleared.await.context("the kernel's routes were not removed")?;
        outcome
    }

    /// Uses other keys from now on; all else holds until a restart.
    fn rekey(&self, read: Result<Config, ConfigError>) {
        match read {
            Ok(config) => {
                let interfaces = config.authentication.len();
                info!(interfaces, "keys were read again; other settings need a restart");
                self.keyring.send_replace(config.authentication);
            }
            Err(error) => warn!(%error, "keys were not read again, the old ones hold"),
        }
    }
}

/// A writer that goes on from the routes of an earlier run over our interfaces. Those of other instances
/// are theirs.
async fn adopt(
    router: &Router,
    config: &Config,
) -> anyhow::Result<(RouteWriter, BTreeMap<RouteKey, RouteTarget>)> {
    let interfaces = router.interfaces().await?;
    let ours: BTreeSet<LinkId> = config
        .interfaces
        .iter()
        .filter_map(|interface| Some(interfaces.get(&interface.name)?.link))
        .collect();
    let mut writer = router.writer()?;
    let routes = writer.adopt(|link| ours.contains(&link)).await?;
    if !routes.is_empty() {
        info!(routes = routes.len(), "taking over kernel routes of an earlier run");
    }
    Ok((writer, routes))
}

/// Starts the kernel writer; what it tells of itself comes first.
fn write(
    (writer, adopted): (RouteWriter, BTreeMap<RouteKey, RouteTarget>),
    mail: &KernelMail,
    own: Vec<IpAddr>,
) -> (Kernel, (oneshot::Sender<()>, JoinHandle<()>)) {
    let tally = Arc::new(Tally::new());
    let mail = (mail.clone(), Arc::clone(&tally));
    let mut writer = KernelRoutes::new(writer, mail, own, adopted);
    let kernel = Kernel { refused: writer.refused(), tally };
    let (end, ended) = oneshot::channel();
    let task = tokio::spawn(async move {
        tokio::select! {
            () = writer.run() => {}
            _ = ended => {}
        }
        writer.clear().await;
    });
    (kernel, (end, task))
}

/// A speaker, what records it, and the clock it was made by.
fn speaker(
    config: &Config,
    identity: &Identity,
    by_source: BySource,
) -> anyhow::Result<(Babel, Option<Recorder>, Monotonic)> {
    let params = Params {
        hello_interval: config.hello_interval,
        update_interval: config.update_interval,
        ..config.profile.params(identity.router_id, identity.seqno)
    };
    let clock = Monotonic::start();
    let filters = filter::filters(&config.filters, by_source);
    let (babel, recorder) =
        recorder::engine((params, filters), clock.now(), config.record.as_deref())?;
    Ok((babel, recorder, clock))
}

fn outlets(mut identity: Identity, mail: &KernelMail, recorder: Option<Recorder>) -> Outlets {
    Outlets {
        routes: mail.updates.clone(),
        neighbours: mail.neighbours.clone(),
        // Nobody here dials or checks certificates.
        news: Mailbox::<News>::default(),
        keep_seqno: Box::new(move |seqno| identity.keep(seqno)),
        recorder,
    }
}

fn links(
    config: &Config,
    (router, events): (Router, Events),
    (commands, mail): (&mpsc::Sender<Command>, &KernelMail),
    keyring: &watch::Sender<Keyring>,
) -> Links {
    Links {
        router,
        events,
        wanted: config.interfaces.iter().map(|one| (one.name.clone(), one.options)).collect(),
        filters: config.filters.clone(),
        authentication: keyring.subscribe(),
        used: BTreeMap::new(),
        routing: commands.clone(),
        drift: mail.drift.clone(),
    }
}

fn redistribution(
    config: &Config,
    router: &Router,
    commands: &mpsc::Sender<Command>,
) -> anyhow::Result<Redistribution> {
    let rules = config.redistribute.clone();
    let (wanted, announced) = (Arc::<[_]>::from(rules.clone()), config.announce.clone());
    let routes = router.foreign_routes(move |route| {
        // What is announced anyway does not depend on the kernel.
        let key = BabelRoute { destination: route.key.prefix, source: route.key.source };
        !announced.contains(&Announced(key)) && wanted.iter().any(|rule| rule.matches(route))
    })?;
    Ok(Redistribution { routes, rules, routing: commands.clone() })
}

fn spawn(
    tasks: &mut JoinSet<&'static str>,
    name: &'static str,
    task: impl Future<Output = ()> + Send + 'static,
) {
    tasks.spawn(async move {
        task.await;
        name
    });
}

/// A file with our process number, for as long as we run.
struct PidFile(PathBuf);

impl PidFile {
    fn write(path: PathBuf) -> anyhow::Result<Self> {
        std::fs::write(&path, format!("{}\n", std::process::id()))
            .with_context(|| format!("cannot write {}", path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_file(&self.0) {
            warn!(%error, file = %self.0.display(), "the file of our process number stays");
        }
    }
}

/// Commands that wait for the routing task; more wait with their senders.
const COMMANDS: usize = 1024;

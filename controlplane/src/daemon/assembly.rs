//! Puts a node together from its configuration, its state directory and what the kernel has.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context as _;
use sixwire_dataplane::forwarding::Setting;
use sixwire_dataplane::model::GuardedNetwork;
use sixwire_dataplane::{Choice, Dataplane, Events, Options, forwarding};
use sixwire_proto::babel::RouteKey as BabelRoute;
use sixwire_proto::certificate::Role;
use sixwire_proto::link::LinkId;
use sixwire_proto::metric::Metric;
use sixwire_proto::prefix::Prefix;
use sixwire_proto::router_id::RouterId;
use sixwire_proto::seed::Seed;
use sixwire_proto::seqno::Seqno;
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinHandle, JoinSet};
use tracing::{error, info, warn};

use super::api::{Query, Server};
use super::babel_socket::BabelSocket;
use super::clock::{Clock, Reading};
use super::config::{Config, Wireguard};
use super::echo::Echo;
use super::join::Membership as Papers;
use super::kernel_events::KernelWatch;
use super::kernel_routes::{KernelMail, KernelRoutes};
use super::mailbox::Mailbox;
use super::members::Members;
use super::monotonic::Monotonic;
use super::native::{self, NativeLink};
use super::node::Node;
use super::recorder;
use super::registry::RegistrySync;
use super::registry_client::RegistryClient;
use super::reporter::Reporter;
use super::requests;
use super::routing::{self, News, Outlets, Routing};
use super::signalling::{self, Membership, Signalling};
use super::startup::{Adopted, OwnGround};
use super::store::{Lock, Store};
use super::tally::Tally;
use super::tunnels::Context as TunnelContext;
use super::tunnels::{self, CountOverride, TunnelDriver};
use super::uplinks::Uplinks;
use crate::babel::{Forwarding, OriginCheck, Params};
use crate::tunnel::{Params as TunnelParams, Service, Tunnels};

/// Who the node is and where it keeps things: the ground for everything else.
pub(super) struct Foundation<'a> {
    config: &'a Config,
    papers: Papers,
    node: RouterId,
    store: Store,
    calendar: Arc<Mutex<Clock>>,
    monotonic: Monotonic,
    locks: [Lock; 2],
}

/// The kernel, in order.
struct Kernel {
    dataplane: Arc<Dataplane>,
    events: Events,
    ground: OwnGround,
    adopted: Adopted,
    shortcomings: Vec<String>,
    warnings: Vec<String>,
}

/// Other nodes, and the registry.
struct Community {
    members: Arc<Members>,
    signalling: Signalling,
    requests: mpsc::Receiver<signalling::Event>,
    registry: Arc<RegistrySync>,
}

/// What passes between tasks.
struct Wires {
    routing: (mpsc::Sender<routing::Command>, Option<mpsc::Receiver<routing::Command>>),
    tunnels: (mpsc::Sender<tunnels::Command>, Option<mpsc::Receiver<tunnels::Command>>),
    kernel: KernelMail,
    news: Mailbox<News>,
    /// What the kernel lost and was given back.
    tally: Arc<Tally>,
}

impl<'a> Foundation<'a> {
    /// Reads the state directory.
    ///
    /// # Errors
    /// What is missing or damaged, and what to do about it.
    pub(super) fn lay(config: &'a Config) -> anyhow::Result<Self> {
        let store = Store::open(&config.state_dir)?;
        let locks = [store.lock()?, Lock::take(&config.run_dir)?];
        let papers = Papers::load(&store)?.with_context(|| {
            format!(
                "this machine has not joined a network, {} holds none: run `sixwire join STRING` \
                 with a join string from the registry, or name another directory with --state-dir",
                store.dir().display()
            )
        })?;
        let Papers { certificate, state, .. } = &papers;
        let node = certificate.router_id();
        anyhow::ensure!(
            certificate.node == papers.key.public(),
            "the key and the certificate in {} belong to different nodes: restore both from one \
             backup, or remove the directory and join again",
            store.dir().display()
        );
        info!(%node, name = certificate.name, network = %state.prefix, "starting");
        let mut calendar = Clock::new(store.clock_floor().unwrap_or_default(), Reading::take());
        calendar.raise(state.issued, Reading::take());
        let calendar = Arc::new(Mutex::new(calendar));
        let monotonic = Monotonic::start();
        Ok(Self { config, papers, node, store, calendar, monotonic, locks })
    }

    /// Starts every task.
    ///
    /// # Errors
    /// What is missing, and what to do about it.
    pub(super) async fn build(self) -> anyhow::Result<Node> {
        let mut wires = Wires::lay();
        // Ports first: a start that fails for one of them leaves the kernel as it was.
        let community = self.community(&wires)?;
        let routing = self.routing(&mut wires)?;
        let (queries, api) = self.api()?;
        let mut kernel = self.kernel().await?;
        let (native, problems) = native::find_all(&self.config.babel.interfaces);
        for problem in &problems {
            warn!("{problem}");
        }
        kernel.shortcomings.extend(problems);
        if !Echo::is_permitted() {
            kernel.warnings.push(NO_ECHO.to_owned());
        }
        let links: Vec<_> = native.values().map(|(_, native)| native.clone()).collect();
        let mut tasks = JoinSet::new();

        let own = kernel.ground.addresses.iter().copied().collect();
        let mut writer = self.writer(&kernel, (&wires, own)).await?;
        let (refused, spreads) = (writer.refused(), writer.spreads());
        spawn(&mut tasks, "kernel writer", async move { writer.run().await });
        spawn(&mut tasks, "routing", routing.run());
        let accepted = native
            .iter()
            .filter(|(_, (interface, _))| !interface.accept.is_empty())
            .map(|(link, (interface, _))| (*link, interface.accept.clone()))
            .collect();
        let driver = self.tunnels((&kernel, accepted), &community, &mut wires)?;
        let adopted = std::mem::take(&mut kernel.adopted.tunnels);
        spawn(&mut tasks, "tunnel", driver.run(adopted));
        self.watch(&mut tasks, &wires, (kernel.events, &kernel.dataplane, kernel.ground.clone()));
        let maintained = Arc::clone(&community.registry);
        let seed = random_seed()?;
        spawn(&mut tasks, "registry", async move { maintained.maintain(seed).await });
        let served = requests::serve(
            community.requests,
            Arc::clone(&community.members),
            (community.signalling.clone(), wires.tunnels.0.clone()),
        );
        spawn(&mut tasks, "signalling", served);

        self.announce(&wires, &links).await;
        let reporter = Reporter {
            started: self.monotonic,
            members: community.members,
            registry: community.registry,
            dataplane: Arc::clone(&kernel.dataplane),
            signalling: community.signalling.clone(),
            tunnels: wires.tunnels.0.clone(),
            routing: wires.routing.0.clone(),
            native: native.into_iter().map(|(link, (interface, _))| (link, interface)).collect(),
            now: self.now(),
            refused,
            spreads,
            uplinks: kernel.ground.uplinks.clone(),
            shortcomings: kernel.shortcomings,
            warnings: kernel.warnings,
            kernel: Arc::clone(&wires.tally),
        };
        Ok(Node {
            dataplane: kernel.dataplane,
            routing: wires.routing.0,
            tunnels: wires.tunnels.0,
            signalling: community.signalling,
            reporter,
            queries,
            api,
            tasks,
            _locks: self.locks,
        })
    }

    /// Opens the data plane, takes over what works in it and mends the rest.
    async fn kernel(&self) -> anyhow::Result<Kernel> {
        let program = std::env::current_exe().context("cannot find our own program file")?;
        let run_dir = self.config.run_dir.clone();
        let arguments = vec!["wireguard-helper".into(), run_dir.clone().into()];
        let mut options = Options::new(run_dir, program, arguments);
        options.table = self.config.table;
        options.address_interface = self.config.address_interface.parse()?;
        options.wireguard = match self.config.wireguard {
            Wireguard::Auto => Choice::Auto,
            Wireguard::Kernel => Choice::Kernel,
            Wireguard::Embedded => Choice::Embedded,
        };
        let (dataplane, events) = Dataplane::open(options).await?;
        let uplinks = Uplinks::new(&self.config.uplinks);
        uplinks.warn_of_empty_tables(&dataplane.router()).await;
        let ground = OwnGround {
            node: self.node,
            addresses: BTreeSet::from([self.papers.certificate.prefix.node_address()]),
            unreachable: BTreeSet::from([self.papers.state.prefix]),
            uplinks: uplinks.clone(),
            guards: self.guards()?,
        };
        let adopted = ground.reconcile(&dataplane).await?;
        // Last: a start that fails changes no parameter, and nothing is forwarded unguarded.
        let (shortcomings, mut warnings) = (self.enable_forwarding(), self.settings());
        warnings.extend(adopted.unguarded.as_ref().map(ToString::to_string));
        info!(
            wireguard = %dataplane.backend(),
            adopted_tunnels = adopted.tunnels.len(),
            adopted_routes = adopted.routes.len(),
            "data plane ready"
        );
        let dataplane = Arc::new(dataplane);
        Ok(Kernel { dataplane, events, ground, adopted, shortcomings, warnings })
    }

    /// What sources may come from where.
    fn guards(&self) -> anyhow::Result<GuardedNetwork> {
        let named = self.config.babel.interfaces.iter().map(|one| one.name.to_string().parse());
        let links = named.collect::<Result<_, _>>()?;
        let own = self.papers.certificate.prefixes();
        Ok(GuardedNetwork::new(self.papers.state.prefix, own, links))
    }

    /// Sets kernel parameters of the whole namespace, if it is ours, else says which to set.
    fn settings(&self) -> Vec<String> {
        let missing = Setting::missing();
        let warnings: Vec<String> = if self.config.own_namespace {
            missing.into_iter().filter_map(|one| Some(one.set().err()?.to_string())).collect()
        } else if missing.is_empty() {
            Vec::new()
        } else {
            let wanted: Vec<_> = missing.iter().map(ToString::to_string).collect();
            vec![format!(
                "routes change faster, and flows spread better over several uplinks, with `sysctl \
                 -w {}`; where nobody else uses this network namespace, own_namespace = true sets it",
                wanted.join(" ")
            )]
        };
        for warning in &warnings {
            warn!("{warning}");
        }
        warnings
    }

    fn forwarding(&self) -> Forwarding {
        if self.papers.certificate.has(Role::Transit) {
            Forwarding::Transit
        } else {
            Forwarding::Leaf
        }
    }

    /// Makes the kernel forward, if this node is one that does.
    fn enable_forwarding(&self) -> Vec<String> {
        if self.forwarding() == Forwarding::Leaf {
            return Vec::new();
        }
        let problems = [forwarding::enable_ipv6(), forwarding::enable_ipv4()];
        let problems: Vec<String> =
            problems.into_iter().filter_map(|r| Some(r.err()?.to_string())).collect();
        for problem in &problems {
            warn!("{problem}");
        }
        problems
    }

    fn community(&self, wires: &Wires) -> anyhow::Result<Community> {
        let Papers { key, network, certificate_chain, state, state_chain, .. } = &self.papers;
        let papers = Membership {
            root: network.root,
            certificate: certificate_chain.clone(),
            state: state.clone(),
        };
        let papers = watch::Sender::new(Arc::new(papers));
        let ports = |ip: &IpAddr| SocketAddr::new(*ip, self.config.signalling.port);
        let (signalling, requests) = Signalling::bind(signalling::Config {
            addresses: self.config.signalling.listen.iter().map(ports).collect(),
            mark: None,
            key: key.clone(),
            membership: papers.subscribe(),
            now: self.now(),
            limits: signalling::Limits::default(),
        })?;
        let members = Arc::new(Members::new(
            self.store.clone(),
            (papers, state_chain.clone()),
            self.now(),
            wires.routing.0.clone(),
        )?);
        let registry = Arc::new(RegistrySync::new(
            (RegistryClient::new(network)?, key.clone()),
            Arc::clone(&members),
            Arc::clone(&self.calendar),
            self.store.clone(),
        ));
        Ok(Community { members, signalling, requests, registry })
    }

    async fn writer(
        &self,
        kernel: &Kernel,
        (wires, own): (&Wires, Vec<IpAddr>),
    ) -> anyhow::Result<KernelRoutes> {
        let mut writer = kernel.dataplane.router().writer()?;
        let adopted = writer.adopt(|_| true).await?;
        Ok(KernelRoutes::new(
            writer,
            (wires.kernel.clone(), Arc::clone(&wires.tally)),
            own,
            adopted,
        ))
    }

    fn routing(&self, wires: &mut Wires) -> anyhow::Result<Routing> {
        let store = self.store.clone();
        let seqno = store.seqno().unwrap_or_default().next();
        // Numbers are reserved in blocks: whoever asks for newer ones must not cause a write each time.
        let mut reserved = seqno.plus(SEQNO_BLOCK);
        store.save_seqno(reserved)?;
        let network = &self.papers.state.parameters;
        let own = &self.config.babel;
        let params = Params {
            hello_interval: own.hello_interval.unwrap_or(network.hello_interval()),
            update_interval: own.update_interval.unwrap_or(network.update_interval()),
            origin_check: OriginCheck::Required,
            forwarding: self.forwarding(),
            ..Params::new(self.node, seqno)
        };
        let record = self.config.babel.record.as_deref();
        let (babel, recorder) =
            recorder::engine((params, Vec::new()), self.monotonic.now(), record)?;
        let outlets = Outlets {
            routes: wires.kernel.updates.clone(),
            neighbours: wires.kernel.neighbours.clone(),
            news: wires.news.clone(),
            keep_seqno: Box::new(move |seqno: Seqno| {
                if reserved.is_newer_than(seqno) {
                    return;
                }
                reserved = seqno.plus(SEQNO_BLOCK);
                if let Err(error) = store.save_seqno(reserved) {
                    error!(%error, "sequence number not kept: after a restart, other nodes may \
                                    refuse our routes for some minutes");
                }
            }),
            recorder,
        };
        let commands = wires.routing.1.take().context("routing is made once")?;
        BabelSocket::probe().context(
            "cannot open UDP port 6696 for Babel; if another Babel program (babeld, bird) runs \
             here, stop it",
        )?;
        Ok(Routing::new(babel, self.monotonic, commands, outlets))
    }

    fn tunnels(
        &self,
        (kernel, accepted): (&Kernel, BTreeMap<LinkId, Vec<Prefix>>),
        community: &Community,
        wires: &mut Wires,
    ) -> anyhow::Result<TunnelDriver> {
        let Config { signalling, tunnels, .. } = self.config;
        let mut params = TunnelParams::new(self.node);
        params.ports = tunnels.ports.range();
        params.preferred.clone_from(&tunnels.preferred);
        params.uplinks = kernel.ground.uplinks.last();
        if signalling.dial_only {
            params.service = Service::DialOnly;
        }
        let context = TunnelContext {
            own: self.node,
            dataplane: Arc::clone(&kernel.dataplane),
            signalling: community.signalling.clone(),
            members: Arc::clone(&community.members),
            routing: wires.routing.0.clone(),
            store: self.store.clone(),
            advertised: signalling.addresses.clone(),
            signalling_port: signalling.port,
            counts: CountOverride { dialled: tunnels.dialled, served: tunnels.served },
            accepted,
            uplinks: kernel.ground.uplinks.clone(),
            neighbours: wires.kernel.neighbours.clone(),
        };
        let core = Tunnels::new(params, random_seed()?, self.monotonic.now());
        let commands = wires.tunnels.1.take().context("the tunnel driver is made once")?;
        let registry = Arc::clone(&community.registry);
        let news = wires.news.clone();
        Ok(TunnelDriver::new((core, self.monotonic), context, news, (commands, registry)))
    }

    fn watch(
        &self,
        tasks: &mut JoinSet<&'static str>,
        wires: &Wires,
        (events, dataplane, ground): (Events, &Arc<Dataplane>, OwnGround),
    ) {
        let watch = KernelWatch {
            events,
            dataplane: Arc::clone(dataplane),
            ground,
            tunnels: wires.tunnels.0.clone(),
            drift: wires.kernel.drift.clone(),
            forwarding: self.forwarding(),
            tally: Arc::clone(&wires.tally),
        };
        spawn(tasks, "kernel watch", watch.run());
    }

    fn api(&self) -> anyhow::Result<(mpsc::Receiver<Query>, JoinHandle<()>)> {
        let run_dir = &self.config.run_dir;
        let server = Server::open(run_dir)
            .with_context(|| format!("cannot open the local API in {}", run_dir.display()))?;
        let (sender, queries) = mpsc::channel(COMMANDS);
        Ok((queries, tokio::spawn(async move { server.serve(sender).await })))
    }

    /// Tells the routing engine what is ours and which links were there before us.
    async fn announce(&self, wires: &Wires, links: &[NativeLink]) {
        let own = BabelRoute::to(self.papers.certificate.prefix);
        // The routing task runs already, and ends only with the daemon.
        let _ = wires.routing.0.send(routing::Command::Originate(own, Metric::ZERO)).await;
        for NativeLink { link, params, authentication } in links {
            // Keys first, so that it is never open.
            let keys = routing::Command::Authenticate(*link, authentication.clone());
            let _ = wires.routing.0.send(keys).await;
            let _ = wires.routing.0.send(routing::Command::LinkUp(*link, *params)).await;
        }
    }

    fn now(&self) -> signalling::Clock {
        let calendar = Arc::clone(&self.calendar);
        Arc::new(move || calendar.lock().unwrap_or_else(PoisonError::into_inner).now())
    }
}

impl Wires {
    fn lay() -> Self {
        let (routing, routing_end) = mpsc::channel(COMMANDS);
        let (tunnels, tunnels_end) = mpsc::channel(COMMANDS);
        Self {
            routing: (routing, Some(routing_end)),
            tunnels: (tunnels, Some(tunnels_end)),
            kernel: KernelMail::default(),
            news: Mailbox::default(),
            tally: Arc::new(Tally::new()),
        }
    }
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

/// The start of a core's choices: different on every node and at every start.
fn random_seed() -> anyhow::Result<Seed> {
    let start = getrandom::u64().context("the system has no randomness to give")?;
    Ok(Seed::new(start))
}

/// Said of a process without the capability.
const NO_ECHO: &str = "the kernels of neighbours cannot be asked, so their restarts look like \
                       failures; grant CAP_NET_RAW (AmbientCapabilities, or --cap-add NET_RAW)";
/// Sequence numbers reserved on disk at once; a restart skips what is left of them.
const SEQNO_BLOCK: u16 = 16;
/// Commands that wait for a task; more wait with their senders.
const COMMANDS: usize = 64;

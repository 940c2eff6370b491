//! Drives the tunnel manager: hands it what signalling, routing and the kernel report, and does
//! what it decides.

mod dial;
mod interface;
mod sources;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv6Addr, SocketAddr, SocketAddrV6};
use std::sync::Arc;

use sixwire_dataplane::Dataplane;
use sixwire_dataplane::model::IfName;
use sixwire_proto::link::LinkId;
use sixwire_proto::metric::Cost;
use sixwire_proto::peer::{Addresses, Answer, NodeInfo, PEER_LIMIT, PeerRecord, Refusal, Request};
use sixwire_proto::prefix::Prefix;
use sixwire_proto::router_id::RouterId;
use sixwire_proto::uplink::UplinkNumber;
use tokio::sync::{mpsc, oneshot};
use tracing::{info, warn};

use super::mailbox::Mailbox;
use super::members::{Informant, Members, Standing, Standings, refused};
use super::monotonic::Monotonic;
use super::neighbourhood::NeighbourNews;
use super::registry::RegistrySync;
use super::routing::{self, News, Reach};
use super::signalling::{Incoming, Signalling};
use super::store::Store;
use super::underlay::own_addresses;
use super::uplinks::Uplinks;
use crate::tunnel::{
    Counts, Input, Lane, Medium, Output, RequestId, Role, TunnelView, Tunnels, Usage, Verdict,
};
use dial::Dialled;
pub(super) use interface::AdoptedTunnel;
use interface::{Agreed, OpenTunnel};

/// What the tunnel driver works with; all of it is shared with the rest of the daemon.
#[derive(Clone)]
pub(super) struct Context {
    /// This node.
    pub(super) own: RouterId,
    /// Makes interfaces.
    pub(super) dataplane: Arc<Dataplane>,
    /// Talks to nodes.
    pub(super) signalling: Signalling,
    /// Knows nodes.
    pub(super) members: Arc<Members>,
    /// Runs Babel on the tunnels.
    pub(super) routing: mpsc::Sender<routing::Command>,
    /// Keeps the peer cache.
    pub(super) store: Store,
    /// Underlay addresses to advertise in place of the interfaces' own.
    pub(super) advertised: Vec<SocketAddr>,
    /// UDP port of signalling.
    pub(super) signalling_port: u16,
    /// Tunnel counts that hold in place of the network's.
    pub(super) counts: CountOverride,
    /// What routers without a certificate may announce, by the link they are on.
    pub(super) accepted: BTreeMap<LinkId, Vec<Prefix>>,
    /// What the tunnels we dial leave by.
    pub(super) uplinks: Uplinks,
    /// Tells the kernel writer which tunnels there are.
    pub(super) neighbours: Mailbox<NeighbourNews>,
}

/// Tunnel counts from the configuration.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct CountOverride {
    /// Tunnels to dial.
    pub(super) dialled: Option<u16>,
    /// Tunnels to serve.
    pub(super) served: Option<u16>,
}

/// What may be asked of the tunnel driver.
#[derive(Debug)]
pub(super) enum Command {
    /// A peer asks for something about tunnels or addresses.
    Request(Box<Incoming>),
    /// The kernel reports an interface that is gone.
    LinkGone(IfName),
    /// Every interface may be gone: compare with these.
    Present(BTreeSet<IfName>),
    /// The machine's addresses changed.
    UnderlayChanged,
    /// Describe all tunnels.
    View(oneshot::Sender<Vec<TunnelReport>>),
    /// Close all tunnels; answered when their interfaces are gone.
    Shutdown(oneshot::Sender<()>),
}

/// A tunnel, for people.
#[derive(Clone, Debug)]
pub(super) struct TunnelReport {
    /// What the manager knows.
    pub(super) view: TunnelView,
    /// Its interface.
    pub(super) name: IfName,
    /// Its index.
    pub(super) link: LinkId,
    /// The uplink that it takes, if this node has more than one way out.
    pub(super) uplink: Option<String>,
}

/// The tunnel driver.
pub(super) struct TunnelDriver {
    core: Tunnels,
    clock: Monotonic,
    context: Context,
    news: Mailbox<News>,
    commands: mpsc::Receiver<Command>,
    /// Agreed with the other end, and not opened yet, by node and own port.
    agreed: BTreeMap<(RouterId, u16), Agreed>,
    requests: BTreeMap<RequestId, Box<Incoming>>,
    last_request: u64,
    open: BTreeMap<Lane, OpenTunnel>,
    /// Tunnels whose other end is a neighbour.
    neighbours: BTreeSet<Lane>,
    done: (mpsc::Sender<Done>, mpsc::Receiver<Done>),
    registry: Arc<RegistrySync>,
}

/// What a task of ours brings back.
enum Done {
    Dialled(Box<Dialled>),
    Registry(Option<Vec<PeerRecord>>),
    Peer(RouterId, Vec<PeerRecord>),
    Uses(Vec<Usage>),
}

impl TunnelDriver {
    /// A driver of a manager that has not been told anything yet.
    #[must_use]
    pub(super) fn new(
        (core, clock): (Tunnels, Monotonic),
        context: Context,
        news: Mailbox<News>,
        (commands, registry): (mpsc::Receiver<Command>, Arc<RegistrySync>),
    ) -> Self {
        Self {
            core,
            clock,
            context,
            news,
            commands,
            agreed: BTreeMap::new(),
            requests: BTreeMap::new(),
            last_request: 0,
            open: BTreeMap::new(),
            neighbours: BTreeSet::new(),
            done: mpsc::channel(DONE_QUEUE),
            registry,
        }
    }

    /// Runs until all senders of commands are gone or a shutdown was answered.
    pub(super) async fn run(mut self, adopted: Vec<AdoptedTunnel>) {
        let mut membership = self.context.members.subscribe();
        let standings = self.context.members.standings();
        self.parameters().await;
        self.adopt(adopted).await;
        let cached = self.context.store.peers();
        self.input(Input::Learned { source: crate::tunnel::Source::Cache, peers: &cached }).await;
        let mut refresh = tokio::time::interval(CERTIFICATE_REFRESH);
        loop {
            let deadline = self.core.next_deadline();
            tokio::select! {
                command = self.commands.recv() => match command {
                    None => return,
                    Some(Command::Shutdown(done)) => {
                        self.input(Input::Shutdown).await;
                        self.context.dataplane.settle().await;
                        // Whoever asked may have stopped waiting; that is their affair.
                        let _ = done.send(());
                        return;
                    }
                    Some(command) => self.command(command).await,
                },
                Some(done) = self.done.1.recv() => self.done(done).await,
                news = self.news.take() => self.news(news).await,
                Ok(()) = membership.changed() => {
                    membership.mark_unchanged();
                    self.parameters().await;
                }
                _ = refresh.tick() => self.refresh_certificates(),
                changed = standings.take() => self.standings(changed).await,
                () = self.clock.sleep_until(deadline) => self.input(Input::Deadline).await,
            }
        }
    }

    async fn command(&mut self, command: Command) {
        match command {
            Command::Request(incoming) => self.request(incoming).await,
            Command::LinkGone(name) => self.interfaces_gone(|open| open.name == name).await,
            Command::Present(names) => {
                self.interfaces_gone(|open| !names.contains(&open.name)).await;
            }
            Command::UnderlayChanged => self.input(Input::UnderlayChanged).await,
            Command::View(reply) => {
                // Whoever asked may have stopped waiting.
                let _ = reply.send(self.report());
            }
            Command::Shutdown(_) => self.input(Input::Shutdown).await,
        }
    }

    async fn done(&mut self, done: Done) {
        match done {
            Done::Dialled(dialled) => self.dialled(*dialled).await,
            Done::Registry(Some(peers)) => {
                let source = crate::tunnel::Source::Registry;
                self.input(Input::Learned { source, peers: &peers }).await;
            }
            Done::Registry(None) => self.input(Input::LearnedNothing).await,
            Done::Peer(node, peers) => {
                let source = crate::tunnel::Source::Peer(node);
                self.input(Input::Learned { source, peers: &peers }).await;
            }
            Done::Uses(uses) => self.input(Input::Uses(&uses)).await,
        }
    }

    async fn news(&mut self, news: News) {
        for ((link, address), cost) in news.neighbours {
            self.neighbour(link, address, cost).await;
        }
        for (node, reach) in news.nodes {
            match reach {
                // A router without a certificate, on a hand-made link, is nobody to dial.
                Reach::Reachable if self.context.members.certificate(node).is_none() => {}
                Reach::Reachable => self.input(Input::Reachable { node }).await,
                Reach::Lost => self.input(Input::Lost { node }).await,
            }
        }
        for (node, (link, address)) in news.origins_wanted {
            let ask = self.informants(self.informant(link, address));
            let accepted = self.context.accepted.get(&link).cloned();
            let Context { members, signalling, routing, .. } = self.context.clone();
            tokio::spawn(async move {
                members.origin_wanted(node, &ask, &signalling).await;
                if let Some(accepted) = accepted.filter(|_| members.certificate(node).is_none()) {
                    // The operator's word in place of a certificate. The routing task ends only with
                    // the daemon.
                    let _ = routing.send(routing::Command::Origin(node, accepted)).await;
                }
            });
        }
    }

    async fn neighbour(&mut self, link: LinkId, address: Ipv6Addr, cost: Option<Cost>) {
        let Some(node) = RouterId::from_link_local(address) else { return };
        // Neighbours on other links are no business of the tunnel manager's; those of a tunnel that
        // was closed meanwhile neither.
        let Some((lane, _)) = self.tunnel_on(node, link) else { return };
        let (medium, up) = (Medium::Tunnel(lane.uplink), cost.is_some_and(Cost::is_finite));
        let met = self.lanes_to(node).any(|(lane, _)| self.neighbours.contains(&lane));
        let changed = if up { self.neighbours.insert(lane) } else { self.neighbours.remove(&lane) };
        if changed {
            self.context.signalling.keep(self.neighbour_nodes());
        }
        if up && !met {
            self.greet(node);
        }
        self.input(if up {
            Input::NeighbourUp { node, medium }
        } else {
            Input::NeighbourDown { node, medium }
        })
        .await;
    }

    /// How to ask the neighbour at the other end of a tunnel.
    fn informant(&self, link: LinkId, address: Ipv6Addr) -> Option<Informant> {
        let node = RouterId::from_link_local(address)?;
        self.tunnel_on(node, link)?;
        Some(Informant { node, address: self.address_in_tunnel(node)? })
    }

    /// A few neighbours to ask one after the other, this one first.
    fn informants(&self, first: Option<Informant>) -> Vec<Informant> {
        let nodes = self.neighbour_nodes().into_iter();
        let others = nodes.filter_map(|node| {
            let address = self.address_in_tunnel(node)?;
            Some(Informant { node, address })
        });
        let known = first.map(|informant| informant.node);
        let others = others.filter(|informant| Some(informant.node) != known);
        first.into_iter().chain(others).take(INFORMANTS).collect()
    }

    fn refresh_certificates(&self) {
        let ask = self.informants(None);
        let Context { members, signalling, .. } = self.context.clone();
        tokio::spawn(async move { members.refresh(&ask, &signalling).await });
    }

    /// Where a neighbour's signalling answers inside its tunnel.
    fn address_in_tunnel(&self, node: RouterId) -> Option<SocketAddr> {
        let works = |(lane, _): &(Lane, &OpenTunnel)| self.neighbours.contains(lane);
        let (_, open) = self.lanes_to(node).find(works).or_else(|| self.lanes_to(node).next())?;
        let address = node.link_local();
        Some(SocketAddrV6::new(address, open.signalling_port, 0, open.link.0).into())
    }

    /// The tunnels to a node.
    fn lanes_to(&self, node: RouterId) -> impl Iterator<Item = (Lane, &OpenTunnel)> {
        let lanes = UplinkNumber::LAST.up_to_this().map(move |uplink| Lane { node, uplink });
        lanes.filter_map(|lane| Some((lane, self.open.get(&lane)?)))
    }

    /// The tunnel to a node that is this link.
    fn tunnel_on(&self, node: RouterId, link: LinkId) -> Option<(Lane, &OpenTunnel)> {
        self.lanes_to(node).find(|(_, open)| open.link == link)
    }

    /// Nodes that are neighbours on a tunnel.
    fn neighbour_nodes(&self) -> BTreeSet<RouterId> {
        self.neighbours.iter().map(|lane| lane.node).collect()
    }

    async fn request(&mut self, incoming: Box<Incoming>) {
        let node = incoming.peer.node;
        match &incoming.request {
            Request::TunnelRequest(half) | Request::TunnelFurther(half) => {
                let lane = Lane { node, uplink: half.uplink };
                if let Err(rule) = half.check() {
                    warn!(%node, rule, "malformed request for a tunnel");
                    let (reason, text) = (Refusal::Malformed, rule.to_owned());
                    // The peer may be gone.
                    let _ = incoming.reply.send(Answer::Refused { reason, text });
                    return;
                }
                self.last_request += 1;
                let id = RequestId(self.last_request);
                self.requests.insert(id, incoming);
                self.input(Input::Request { id, lane }).await;
            }
            Request::TunnelClose { port } => {
                let port = *port;
                // The peer does not wait for more than a word.
                let _ = incoming.reply.send(Answer::TunnelClosed);
                self.input(Input::CloseAsked { node, port }).await;
            }
            Request::AddressAsk => {
                let answer = Answer::Addresses(Addresses {
                    observed: incoming.remote,
                    own: self.signalling_addresses(),
                    peers: self.core.peers_for(node, PEER_LIMIT),
                });
                // The peer may be gone.
                let _ = incoming.reply.send(answer);
            }
            Request::NodeInfo => {
                let answer = Answer::NodeInfo(NodeInfo {
                    version: env!("CARGO_PKG_VERSION").to_owned(),
                    uptime_s: self.clock.now().0 / 1_000_000,
                    links: self.neighbour_nodes().into_iter().collect(),
                });
                // The peer may be gone.
                let _ = incoming.reply.send(answer);
            }
            _ => {
                // The peer may be gone.
                let _ = incoming.reply.send(refused(Refusal::Malformed));
            }
        }
    }

    /// Where our signalling can be reached.
    fn signalling_addresses(&self) -> Vec<SocketAddr> {
        if !self.context.advertised.is_empty() {
            return self.context.advertised.clone();
        }
        let overlay = self.context.members.membership().state.prefix;
        let port = self.context.signalling_port;
        own_addresses(overlay).into_iter().map(|ip| SocketAddr::new(ip, port)).collect()
    }

    async fn parameters(&mut self) {
        let parameters = self.context.members.membership().state.parameters.clone();
        let counts = Counts {
            dialled: self.context.counts.dialled.unwrap_or(parameters.dialled_tunnels).into(),
            served: self.context.counts.served.unwrap_or(parameters.served_tunnels).into(),
            ..Counts::default()
        };
        let refresh = parameters.refresh_interval();
        self.input(Input::Parameters { counts, refresh }).await;
    }

    async fn standings(&mut self, changed: Standings) {
        for (node, standing) in changed {
            self.input(match standing {
                Standing::Member => Input::Reinstated { node },
                Standing::Out => Input::Revoked { node },
            })
            .await;
        }
    }

    /// Tells the manager something, and does all it decides.
    async fn input(&mut self, input: Input<'_>) {
        self.core.handle(self.clock.now(), input);
        let mut outputs: std::collections::VecDeque<Output> =
            std::iter::from_fn(|| self.core.poll_output()).collect();
        self.tell_closed(outputs.iter()).await;
        while let Some(output) = outputs.pop_front() {
            let failed = match output {
                Output::Open { lane, role, port } => self.open(lane, role.into(), port).await,
                Output::Close { lane, port, reason, notify: _ } => {
                    // The interface of a tunnel that is replaced goes over to its successor.
                    let replaced = outputs.iter().any(
                        |later| matches!(later, Output::Open { lane: next, .. } if *next == lane),
                    );
                    if !replaced {
                        self.close((lane, port), reason).await;
                    }
                    None
                }
                other => {
                    self.output(other);
                    None
                }
            };
            if let Some(failed) = failed {
                self.core.handle(self.clock.now(), failed);
                outputs.extend(std::iter::from_fn(|| self.core.poll_output()));
            }
        }
    }

    fn output(&mut self, output: Output) {
        match output {
            Output::Dial { lane, addresses, port } => self.dial(lane, addresses, port),
            Output::Answer { id, verdict } => self.answer(id, verdict),
            Output::Decline { node, port, notify } => self.decline((node, port), notify),
            Output::AskRegistry => self.ask_registry(),
            Output::AskPeer { node } => self.ask_peer(node),
            Output::AskUses => self.ask_uses(),
            Output::Remember(peers) => {
                let store = self.context.store.clone();
                tokio::task::spawn_blocking(move || {
                    if let Err(error) = store.save_peers(&peers) {
                        warn!(%error, "the peer cache was not written");
                    }
                });
            }
            Output::Event(event) => info!("{event}"),
            Output::Open { .. } | Output::Close { .. } => {
                unreachable!("taken by the caller, which can wait")
            }
        }
    }

    fn answer(&mut self, id: RequestId, verdict: Verdict) {
        let Some(incoming) = self.requests.remove(&id) else { return };
        match verdict {
            Verdict::Accept { port } => self.accept(*incoming, port),
            Verdict::Refuse(reason) => {
                // The peer may be gone.
                let _ = incoming.reply.send(refused(reason));
            }
        }
    }

    fn report(&self) -> Vec<TunnelReport> {
        self.core
            .tunnels()
            .filter_map(|view| {
                let open = self.open.get(&view.lane)?;
                let uplink = match view.role {
                    Role::Dialled => self.context.uplinks.name(view.lane.uplink),
                    Role::Served => None,
                };
                let (name, uplink) = (open.name.clone(), uplink.map(str::to_owned));
                Some(TunnelReport { view, name, link: open.link, uplink })
            })
            .collect()
    }
}

/// Neighbours asked for one certificate.
const INFORMANTS: usize = 3;
/// Time between two looks for certificates that end soon; they have a quarter of 90 days left.
const CERTIFICATE_REFRESH: std::time::Duration = std::time::Duration::from_secs(3600);
/// Results that wait for the driver; more are waited for by the tasks themselves.
const DONE_QUEUE: usize = 32;

//! Drives the routing engine: its socket, its deadlines, its commands; hands on what it decides.

mod view;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use sixwire_proto::babel::{PORT, RouteKey};
use sixwire_proto::link::LinkId;
use sixwire_proto::metric::{Cost, Metric};
use sixwire_proto::prefix::Prefix;
use sixwire_proto::router_id::RouterId;
use sixwire_proto::seqno::Seqno;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;
use tracing::{debug, info, warn};

use super::babel_socket::{BabelSocket, Received};
use super::echo::Echo;
use super::mailbox::Mailbox;
use super::monotonic::Monotonic;
use super::recorder::Recorder;
use super::tally::{LINES_SUPPRESSED, LineBudget};
use super::unopened::Unopened;
use super::watchers::{Change, Watchers};
use crate::babel::{Authentication, Babel, Event, Input, LinkParams, Output, Target, wire_time};

use view::selected;
pub(super) use view::{SelectedRoute, Table, View};

/// What may be asked of the routing task.
#[derive(Debug)]
pub(super) enum Command {
    /// Use a link.
    LinkUp(LinkId, LinkParams),
    /// Sign and check its packets with these keys, or none.
    Authenticate(LinkId, Option<Authentication>),
    /// Our IPv4 address on it is this now.
    LinkV4(LinkId, Option<Ipv4Addr>),
    /// Stop using it.
    LinkDown(LinkId),
    /// Announce a route of our own.
    Originate(RouteKey, Metric),
    /// Announce it no longer.
    Withdraw(RouteKey),
    /// A router-id may originate these prefixes.
    Origin(RouterId, Vec<Prefix>),
    /// It may originate nothing any more.
    OriginGone(RouterId),
    /// Describe yourself.
    View(oneshot::Sender<View>),
    /// List everything, what is not selected as well.
    Table(oneshot::Sender<Table>),
    /// Tell what is selected, and each change of it from then on.
    Watch(oneshot::Sender<(View, mpsc::Receiver<Change>)>),
    /// Retract everything; answered when that has been sent.
    Shutdown(oneshot::Sender<()>),
}

/// News for the rest of the daemon. Only the latest of each kind counts.
#[derive(Debug, Default)]
pub(super) struct News {
    /// Adjacencies that came (with their cost) or went.
    pub(super) neighbours: BTreeMap<(LinkId, Ipv6Addr), Option<Cost>>,
    /// Nodes that can or cannot be routed to.
    pub(super) nodes: BTreeMap<RouterId, Reach>,
    /// Router-ids whose certificate is wanted, and a neighbour that has it.
    pub(super) origins_wanted: BTreeMap<RouterId, (LinkId, Ipv6Addr)>,
}

/// Whether a node can be routed to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reach {
    /// By at least one route.
    Reachable,
    /// By none any more.
    Lost,
}

/// The latest decision for each route, on its way to the kernel.
pub(super) type RouteUpdates = BTreeMap<RouteKey, Target>;

/// The routing task.
pub(super) struct Routing {
    babel: Babel,
    socket: BabelSocket,
    unopened: Unopened,
    echo: Option<Echo>,
    clock: Monotonic,
    commands: mpsc::Receiver<Command>,
    outlets: Outlets,
    /// How many selected routes each node originates.
    nodes: BTreeMap<RouterId, usize>,
    neighbours: BTreeMap<(LinkId, Ipv6Addr), Cost>,
    watchers: Watchers,
    counters: BTreeMap<&'static str, u64>,
    lines: LineBudget,
}

/// Where the routing task hands things on.
pub(super) struct Outlets {
    /// To the kernel writer: decisions, and which neighbours can be used.
    pub(super) routes: Mailbox<RouteUpdates>,
    pub(super) neighbours: Mailbox<super::neighbourhood::NeighbourNews>,
    /// To the rest of the daemon.
    pub(super) news: Mailbox<News>,
    /// Puts our sequence number on disk before it is announced.
    pub(super) keep_seqno: Box<dyn FnMut(Seqno) + Send>,
    /// Writes down what the engine is told.
    pub(super) recorder: Option<Recorder>,
}

impl Routing {
    /// A task around an engine that has not been started yet.
    #[must_use]
    pub(super) fn new(
        babel: Babel,
        clock: Monotonic,
        commands: mpsc::Receiver<Command>,
        outlets: Outlets,
    ) -> Self {
        Self {
            babel,
            socket: BabelSocket::new(),
            unopened: Unopened::default(),
            echo: Echo::open_if_permitted(),
            clock,
            commands,
            outlets,
            nodes: BTreeMap::new(),
            neighbours: BTreeMap::new(),
            watchers: Watchers::default(),
            counters: BTreeMap::new(),
            lines: LineBudget::new(EVENTS_PER_MINUTE),
        }
    }

    /// Runs until all senders of commands are gone or a shutdown was answered.
    pub(super) async fn run(mut self) {
        let mut buffer = vec![0; LARGEST_DATAGRAM];
        let mut bursts = 0;
        loop {
            let deadline = self.babel.next_deadline();
            tokio::select! {
                // Packets that have come go before deadlines: a stall of ours is no silence of theirs.
                biased;
                command = self.commands.recv() => match command {
                    None => return,
                    Some(Command::Shutdown(done)) => {
                        self.input(Input::Shutdown);
                        // Whoever asked may have stopped waiting; that is their affair.
                        let _ = done.send(());
                        return;
                    }
                    Some(command) => self.command(command),
                },
                received = self.socket.receive(&mut buffer) => {
                    self.answers();
                    self.received(received, &mut buffer);
                    relieve(&self.outlets.routes).await;
                    bursts += 1;
                    if bursts >= BURSTS {
                        bursts = 0;
                        self.input(Input::Deadline);
                    }
                }
                () = self.unopened.due() => self.open_again(),
                answer = answer(self.echo.as_ref()) => self.answered(answer),
                () = self.clock.sleep_until(deadline) => {
                    bursts = 0;
                    self.answers();
                    self.input(Input::Deadline);
                }
            }
        }
    }

    fn command(&mut self, command: Command) {
        match command {
            Command::LinkUp(link, params) => self.link_up(link, params),
            Command::Authenticate(link, keys) => {
                self.input(Input::Authentication { link, authentication: keys.as_ref() });
            }
            Command::LinkV4(link, address) => {
                self.unopened.set_v4(link, address);
                self.input(Input::LinkV4 { link, address });
            }
            Command::LinkDown(link) => {
                self.input(Input::LinkDown { link });
                self.socket.leave(link);
                self.unopened.remove(link);
            }
            Command::Originate(route, metric) => self.input(Input::Originate { route, metric }),
            Command::Withdraw(route) => self.input(Input::Withdraw { route }),
            Command::Origin(router_id, prefixes) => {
                self.input(Input::Origin { router_id, prefixes: &prefixes });
            }
            Command::OriginGone(router_id) => self.input(Input::OriginGone { router_id }),
            Command::View(reply) => {
                // Whoever asked may have stopped waiting.
                let _ = reply.send(self.view());
            }
            Command::Table(reply) => {
                let neighbours = self.babel.neighbours().collect();
                let _ = reply.send(Table { neighbours, routes: self.babel.routes().collect() });
            }
            Command::Watch(reply) => {
                let view = self.view();
                let watcher = self.watchers.add(&view.routes);
                let _ = reply.send((view, watcher));
            }
            Command::Shutdown(_) => self.input(Input::Shutdown),
        }
    }

    fn link_up(&mut self, link: LinkId, params: LinkParams) {
        match self.socket.join(link, params.address) {
            Ok(()) => {
                self.unopened.remove(link);
                self.input(Input::LinkUp { link, params });
            }
            Err(error) => {
                warn!(%link, %error, "cannot open UDP port 6696 for Babel on this link, trying \
                                      again every other second; if another Babel program \
                                      (babeld, bird) uses it, stop that");
                self.input(Input::LinkDown { link });
                self.unopened.insert(link, params);
            }
        }
    }

    /// Tries the links that could not be opened.
    fn open_again(&mut self) {
        for (link, params) in self.unopened.take() {
            match self.socket.join(link, params.address) {
                Ok(()) => {
                    info!(%link, "UDP port 6696 is open on this link now");
                    self.input(Input::LinkUp { link, params });
                }
                Err(error) => {
                    debug!(%link, %error, "UDP port 6696 cannot be opened still");
                    self.unopened.insert(link, params);
                }
            }
        }
    }

    /// Handles a datagram and those that wait behind it, up to a bound, so that commands get their
    /// turn.
    fn received(&mut self, first: std::io::Result<Received>, buffer: &mut [u8]) {
        self.datagram(first, buffer);
        for _ in 1..RECEIVE_BURST {
            let Some(next) = self.socket.try_receive(buffer) else { return };
            self.datagram(next, buffer);
        }
    }

    fn datagram(&mut self, received: std::io::Result<Received>, buffer: &[u8]) {
        match received {
            Ok(received) => self.packet(received, buffer),
            Err(error) => {
                self.count("receive_error");
                debug!(%error, "receiving a Babel packet failed");
            }
        }
    }

    /// Hears the answers that wait, up to a bound: a neighbour that has answered in time is not to be
    /// given up because a packet of another was read before its answer.
    fn answers(&mut self) {
        for _ in 0..RECEIVE_BURST {
            let Some(answer) = self.echo.as_ref().and_then(Echo::try_answer) else { return };
            self.answered(answer);
        }
    }

    fn answered(&mut self, answer: std::io::Result<(LinkId, Ipv6Addr)>) {
        match answer {
            Ok((link, neighbour)) => self.input(Input::Answered { link, neighbour }),
            Err(error) => {
                self.count("receive_error");
                debug!(%error, "receiving an echo reply failed");
            }
        }
    }

    fn probe(&mut self, link: LinkId, neighbour: Ipv6Addr) {
        let Some(echo) = &self.echo else { return };
        if let Err(error) = echo.ask(link, neighbour) {
            self.count("send_error");
            debug!(%link, %neighbour, %error, "sending an echo request failed");
        }
    }

    fn packet(&mut self, received: Received, buffer: &[u8]) {
        // RFC 8966 §4: a packet from another port is ignored.
        if received.source.port() != PORT {
            return self.count("wrong_source_port");
        }
        let bytes = buffer.get(..received.length).unwrap_or_default();
        let Received { link, source, destination, .. } = received;
        self.input(Input::Packet { link, source: *source.ip(), destination, bytes });
    }

    fn input(&mut self, input: Input<'_>) {
        let now = self.clock.now();
        self.babel.handle(now, input);
        while let Some(output) = self.babel.poll_output() {
            if let Some(recorder) = &mut self.outlets.recorder {
                recorder.output(&output);
            }
            self.output(output);
        }
        if let Some(recorder) = &mut self.outlets.recorder {
            recorder.input(now, input);
        }
    }

    fn output(&mut self, output: Output) {
        match output {
            Output::Send { link, to, packet } => {
                let datagram = packet.seal(wire_time(self.clock.now()));
                if let Err(error) = self.socket.send(link, to, &datagram) {
                    // A tunnel whose peer is not there yet says so; Hellos will find it.
                    self.count("send_error");
                    debug!(%link, %error, "sending a Babel packet failed");
                }
            }
            Output::Route { route, target, left } => {
                self.route_changed(route, target, left);
                self.outlets.routes.amend(|updates| {
                    updates.insert(route, target);
                });
            }
            Output::Seqno(seqno) => (self.outlets.keep_seqno)(seqno),
            Output::OriginWanted { router_id, link, neighbour } => {
                self.outlets.news.amend(|news| {
                    news.origins_wanted.insert(router_id, (link, neighbour));
                });
            }
            Output::Probe { link, neighbour } => self.probe(link, neighbour),
            Output::Event(event) => self.event(event),
        }
    }

    fn event(&mut self, event: Event) {
        // A neighbour can cause events as fast as it can send.
        if self.lines.take() {
            info!("{event}");
        } else {
            self.count(LINES_SUPPRESSED);
        }
        match event {
            Event::NeighbourUp { link, neighbour, cost }
            | Event::NeighbourCost { link, neighbour, cost } => {
                self.neighbour((link, neighbour), Some(cost));
            }
            Event::NeighbourDown { link, neighbour, .. } => self.neighbour((link, neighbour), None),
            Event::NeighbourRestarted { .. }
            | Event::Refused { .. }
            | Event::Starved { .. }
            | Event::SeqnoAhead { .. } => {}
        }
    }

    /// A neighbour can be used at this cost, or not any more.
    fn neighbour(&mut self, who: (LinkId, Ipv6Addr), now: Option<Cost>) {
        let before = match now {
            Some(cost) => self.neighbours.insert(who, cost),
            None => self.neighbours.remove(&who),
        };
        self.outlets.neighbours.cost(who, (before, now));
        self.watchers.neighbour(who, (before, now));
        self.outlets.news.amend(|news| {
            news.neighbours.insert(who, now);
        });
    }

    fn route_changed(&mut self, route: RouteKey, target: Target, left: Option<RouterId>) {
        let selected = match target {
            Target::Via { link, next_hop, metric, router_id } => {
                Some(SelectedRoute { link, next_hop, metric, router_id })
            }
            Target::Unreachable | Target::Gone => None,
        };
        self.watchers.route(route, selected);
        let found = selected.map(|selected| selected.router_id);
        if left == found {
            return;
        }
        if let Some(node) = found {
            self.routes_of(node, |routes| routes + 1);
        }
        if let Some(node) = left {
            self.routes_of(node, |routes| routes.saturating_sub(1));
        }
    }

    fn routes_of(&mut self, node: RouterId, change: impl FnOnce(usize) -> usize) {
        let before = self.nodes.get(&node).copied().unwrap_or(0);
        let after = change(before);
        let reach = match (before, after) {
            (0, 1..) => Reach::Reachable,
            (1.., 0) => Reach::Lost,
            _ => {
                self.nodes.insert(node, after);
                return;
            }
        };
        match reach {
            Reach::Reachable => self.nodes.insert(node, after),
            Reach::Lost => self.nodes.remove(&node),
        };
        self.outlets.news.amend(|news| {
            news.nodes.insert(node, reach);
        });
    }

    fn view(&self) -> View {
        let own = self.counters.iter().map(|(label, count)| ((*label).to_owned(), *count));
        let engine = self.babel.counters().map(|(label, count)| (label.to_owned(), count));
        let usable = self.babel.neighbours().filter(|view| view.cost.is_finite());
        View {
            routes: self.babel.routes().filter_map(selected).collect(),
            neighbours: usable.map(|view| ((view.link, view.address), view)).collect(),
            counters: engine.chain(own).filter(|(_, count)| *count > 0).collect(),
        }
    }

    fn count(&mut self, what: &'static str) {
        *self.counters.entry(what).or_default() += 1;
    }
}

/// The next answer of a neighbour's kernel; none ever where nobody can be asked.
async fn answer(echo: Option<&Echo>) -> std::io::Result<(LinkId, Ipv6Addr)> {
    match echo {
        Some(echo) => echo.answer().await,
        None => std::future::pending().await,
    }
}

/// Reads no further while the kernel writer is behind: whoever sends waits for our acknowledgements, so
/// that a full table is never there twice.
async fn relieve(routes: &Mailbox<RouteUpdates>) {
    // A writer that takes nothing just now (after a restart it waits for calm) must not keep us from
    // hearing Hellos.
    let _ = timeout(LONGEST_RELIEF, routes.relieve(|updates| updates.len() > BACKLOG)).await;
}

/// The largest UDP payload there is.
const LARGEST_DATAGRAM: usize = 65_536;
/// Most log lines about events in a minute: twice what a hub that loses all neighbours has to say.
const EVENTS_PER_MINUTE: u32 = 60;
/// Datagrams handled in one go: about a millisecond of work.
const RECEIVE_BURST: usize = 16;
/// Bursts after which deadlines get their turn though more packets wait: beyond what a stall of some
/// seconds leaves behind, a flood must not keep us from saying Hello.
const BURSTS: usize = 128;
/// Routes that may wait for the kernel: some milliseconds of its work.
const BACKLOG: usize = 2048;
/// The longest wait for it.
const LONGEST_RELIEF: Duration = Duration::from_millis(50);

//! Signalling between nodes: QUIC with TLS 1.3 raw public keys (RFC 7250), a `hello` with
//! certificates, then the messages of [`sixwire_proto::peer`], one request and one answer a
//! stream, in both directions of a connection, whoever opened it.
//!
//! `hello` and `state.epoch` are answered here; every other request goes to the daemon as an
//! [`Event`]. A connection lives while it is used, or kept ([`Signalling::keep`]), and as long as
//! the peer's certificate holds under the state in force.
//!
//! A call is made at least once: when a connection turns out to be dead, the request is sent again
//! over a new one.

mod accept;
mod call;
mod counters;
mod dial;
mod endpoint;
mod membership;
mod session;
mod sessions;
mod socket;
mod stream;
mod tls;

use std::collections::BTreeSet;
use std::fmt::Display;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sixwire_proto::keys::{PublicKey, SecretKey};
use sixwire_proto::peer::{Answer, Hello, Request};
use sixwire_proto::router_id::RouterId;
use sixwire_proto::time::Timestamp;
use tokio::sync::{Semaphore, mpsc, oneshot, watch};

pub use call::{CallError, Reply};
pub use membership::{Membership, Peer, Rejection};
pub use socket::BindError;

use counters::{Count, Counters};
use session::{Origin, Session};
use sessions::Sessions;

/// The signalling port, UDP.
pub const DEFAULT_PORT: u16 = 6326;
/// Most events that wait for the daemon; requests beyond are answered with `busy`.
pub const EVENT_LIMIT: usize = 64;
/// Most nodes whose connections are kept alive.
pub const KEPT_LIMIT: usize = 64;

/// The calendar as the daemon sees it, its floor and corrections included.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// What signalling needs to start.
pub struct Config {
    /// Where to listen and dial from: `[::]` and a port by default, see [`any_address`].
    pub addresses: Vec<SocketAddr>,
    /// Mark on our packets, so that they stay out of our own tunnels. Needs CAP_NET_ADMIN.
    pub mark: Option<NonZeroU32>,
    /// The node's key.
    pub key: SecretKey,
    /// Certificate and network state; the newest value is used.
    pub membership: watch::Receiver<Arc<Membership>>,
    /// Dates certificates are checked against.
    pub now: Clock,
    /// Bounds.
    pub limits: Limits,
}

/// Bounds of everything a peer can make grow or wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Authenticated connections. At the limit the longest idle one gives way; if none is idle, the
    /// new one is refused.
    pub connections: usize,
    /// Served connections before their `hello`.
    pub handshakes: usize,
    /// Of these, from one IPv4 address or IPv6 /64. More than `unproven`, so that a forger of
    /// addresses cannot use them up.
    pub handshakes_per_source: usize,
    /// From that many handshakes on, a new one has to prove its address first (RFC 9000 §8.1.2).
    pub unproven: usize,
    /// Requests served at once, of all peers.
    pub requests: usize,
    /// Own calls under way at once.
    pub calls: usize,
    /// A handshake with its `hello`.
    pub handshake: Duration,
    /// A request's way in, or an answer's way out.
    pub request: Duration,
    /// The daemon's answer to a request.
    pub answer: Duration,
    /// A connection without packets.
    pub idle: Duration,
    /// Time between two signs of life on a kept connection; below the 30 s that NATs may forget a
    /// mapping after.
    pub keep: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 256,
            handshakes: 64,
            handshakes_per_source: 32,
            unproven: 16,
            requests: 64,
            calls: 64,
            handshake: Duration::from_secs(5),
            request: Duration::from_secs(10),
            answer: Duration::from_secs(30),
            idle: Duration::from_secs(60),
            keep: Duration::from_secs(20),
        }
    }
}

/// What the daemon is told.
#[derive(Debug)]
pub enum Event {
    /// A peer asks.
    Request(Box<Incoming>),
    /// A peer has a newer network state: ask it for that with `state.get`.
    NewerState {
        /// Who has it.
        peer: RouterId,
        /// Its epoch.
        epoch: u64,
    },
}

/// A request of an authenticated peer, neither `hello` nor `state.epoch`.
#[derive(Debug)]
pub struct Incoming {
    /// Who asks.
    pub peer: Arc<Peer>,
    /// Where its packets come from.
    pub remote: SocketAddr,
    /// What it asks.
    pub request: Request,
    /// Takes the answer; dropped, the peer is told `busy`.
    pub reply: oneshot::Sender<Answer>,
}

/// A handle on signalling, cheap to clone. It runs until [`Self::stop`].
#[derive(Clone)]
pub struct Signalling(Arc<Core>);

impl Signalling {
    /// Listens, and serves from now on, on the current tokio runtime.
    ///
    /// # Errors
    /// [`BindError`].
    pub fn bind(config: Config) -> Result<(Self, mpsc::Receiver<Event>), BindError> {
        let sockets = socket::bind(&config.addresses, config.mark)?;
        let (endpoints, client) = endpoint::open(sockets, &config.key, &config.limits)?;
        let (events, receiver) = mpsc::channel(EVENT_LIMIT);
        let public = config.key.public();
        let core = Arc::new(Core {
            node: public.router_id().map_err(|e| rustls::Error::General(e.to_string()))?,
            endpoints,
            client,
            membership: config.membership,
            now: config.now,
            limits: config.limits,
            sessions: Mutex::new(Sessions::new(config.limits.connections)),
            requests: Semaphore::new(config.limits.requests),
            calls: Semaphore::new(config.limits.calls),
            events,
            counters: Counters::new(),
        });
        let handshakes = Arc::default();
        for endpoint in &core.endpoints {
            let endpoint = endpoint.clone();
            tokio::spawn(accept::run(core.clone(), endpoint, Arc::clone(&handshakes)));
        }
        Ok((Self(core), receiver))
    }

    /// Asks a node, over the connection that exists with it, or over a new one to one of its
    /// addresses, best first. The whole call ends within `timeout`.
    ///
    /// # Errors
    /// [`CallError`]. After [`CallError::Lost`] and [`CallError::Timeout`] the request may have
    /// been received all the same.
    pub async fn call(
        &self,
        node: RouterId,
        addresses: &[SocketAddr],
        request: Request,
        timeout: Duration,
    ) -> Result<Reply, CallError> {
        self.0.counters.add(Count::Call);
        let reply = tokio::time::timeout(timeout, self.0.call(node, addresses, &request))
            .await
            .unwrap_or(Err(CallError::Timeout(node, timeout)));
        if reply.is_err() {
            self.0.counters.add(Count::CallFailed);
        }
        reply
    }

    /// The nodes whose connections are kept alive from now on, in place of the former ones; at most
    /// [`KEPT_LIMIT`] of them. It opens no connection.
    pub fn keep(&self, nodes: BTreeSet<RouterId>) {
        self.0.sessions().keep(nodes);
    }

    /// Where it listens.
    #[must_use]
    pub fn local_addresses(&self) -> Vec<SocketAddr> {
        self.0.endpoints.iter().filter_map(|endpoint| endpoint.local_addr().ok()).collect()
    }

    /// Authenticated connections at this moment.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.0.sessions().len()
    }

    /// What happened since the start, by label.
    #[must_use]
    pub fn counters(&self) -> Vec<(&'static str, u64)> {
        self.0.counters.read()
    }

    /// Closes every connection with a word to the peer, and waits a moment for it to leave.
    pub async fn stop(&self) {
        for endpoint in &self.0.endpoints {
            CloseCode::Stopping.close_all(endpoint);
        }
        let all = async {
            for endpoint in &self.0.endpoints {
                endpoint.wait_idle().await;
            }
        };
        // What has not left by then is lost with the process; the peers' idle timeout covers it.
        let _ = tokio::time::timeout(FAREWELL, all).await;
    }
}

/// Every address of this machine, IPv6 and IPv4, at this port.
#[must_use]
pub fn any_address(port: u16) -> Vec<SocketAddr> {
    vec![SocketAddr::from((Ipv6Addr::UNSPECIFIED, port))]
}

/// What all connections share.
struct Core {
    node: RouterId,
    endpoints: Vec<quinn::Endpoint>,
    client: quinn::ClientConfig,
    membership: watch::Receiver<Arc<Membership>>,
    now: Clock,
    limits: Limits,
    sessions: Mutex<Sessions>,
    requests: Semaphore,
    calls: Semaphore,
    events: mpsc::Sender<Event>,
    counters: Counters,
}

impl Core {
    fn membership(&self) -> Arc<Membership> {
        self.membership.borrow().clone()
    }

    fn sessions(&self) -> MutexGuard<'_, Sessions> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Judges a peer's `hello`, and from then on serves it.
    fn welcome(
        self: &Arc<Self>,
        (connection, origin): (quinn::Connection, Origin),
        key: PublicKey,
        hello: Hello,
    ) -> Result<Arc<Session>, Rejection> {
        if key.router_id() == Ok(self.node) {
            return Err(Rejection::OwnKey);
        }
        let peer = self.membership().admit(hello, key, (self.now)())?;
        let session = Arc::new(Session::new(connection, peer, origin));
        self.sessions().insert(session.clone(), &self.counters)?;
        self.heard_epoch(session.peer.node, session.peer.epoch);
        tokio::spawn(session::run(self.clone(), session.clone()));
        Ok(session)
    }

    fn heard_epoch(&self, peer: RouterId, epoch: u64) {
        if epoch > self.membership().state.epoch && !self.deliver(Event::NewerState { peer, epoch })
        {
            self.counters.add(Count::EventDropped);
        }
    }

    /// Whether the daemon will get this.
    fn deliver(&self, event: Event) -> bool {
        self.events.try_send(event).is_ok()
    }

    /// As [`Self::log`], with the router-id of the key the peer has proven to own.
    fn log_peer(&self, connection: &quinn::Connection, what: &'static str, reason: &dyn Display) {
        let node = tls::peer_key(connection).and_then(|key| key.router_id().ok());
        match node {
            Some(node) => {
                self.log(connection.remote_address(), what, &format_args!("{node}: {reason}"));
            }
            None => self.log(connection.remote_address(), what, reason),
        }
    }

    fn log(&self, remote: SocketAddr, what: &'static str, reason: &dyn Display) {
        if self.counters.may_log() {
            tracing::warn!(remote = %canonical(remote), %reason, "signalling: {what}");
        }
    }
}

/// Why this side closes a connection, as told to the other.
#[derive(Clone, Copy)]
enum CloseCode {
    Stopping,
    Refused,
    Replaced,
    Evicted,
    NotAdmitted,
    Stale,
}

impl CloseCode {
    fn parts(self) -> (u32, &'static str) {
        match self {
            Self::Stopping => (0, "stopping"),
            Self::Refused => (1, "refused"),
            Self::Replaced => (2, "replaced by a newer connection"),
            Self::Evicted => (3, "idle, and others want a connection"),
            Self::NotAdmitted => (4, "the certificate no longer holds"),
            Self::Stale => (5, "stale"),
        }
    }
}

/// An IPv4 address as such, which a socket for both families shows mapped into IPv6.
fn canonical(address: SocketAddr) -> SocketAddr {
    match address.ip().to_canonical() {
        v4 @ IpAddr::V4(_) => SocketAddr::new(v4, address.port()),
        IpAddr::V6(_) => address,
    }
}

/// How long goodbyes may take to leave.
const FAREWELL: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests;

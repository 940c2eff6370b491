//! Real nodes on real sockets of the loopback interface, and strangers that break the rules.

mod admission;
mod calls;
mod hostile;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use sixwire_proto::certificate::{Certificate, Chain, Issuer, NetworkId};
use sixwire_proto::envelope::Envelope;
use sixwire_proto::keys::SecretKey;
use sixwire_proto::peer::{Answer, NodeInfo, Request};
use sixwire_proto::router_id::RouterId;
use sixwire_proto::state::NetworkState;
use sixwire_proto::time::Timestamp;
use tokio::sync::{mpsc, watch};

use super::*;

const NOW: Timestamp = Timestamp(500);
const PATIENCE: Duration = Duration::from_secs(10);
const NETWORK: Network = Network { seed: 100 };

/// A network whose keys follow from its seed.
#[derive(Clone, Copy)]
struct Network {
    seed: u8,
}

impl Network {
    fn root(self) -> SecretKey {
        key(self.seed)
    }

    fn issuer(self) -> SecretKey {
        key(self.seed + 1)
    }

    fn state(self) -> NetworkState {
        NetworkState {
            version: 1,
            network: NetworkId::of(&self.root().public()),
            epoch: 1,
            issued: NOW,
            prefix: "fd00:1:2::/48".parse().unwrap(),
            parameters: sixwire_proto::state::Parameters::default(),
            issuers: vec![self.issuer().public()],
            revoked_serials: Vec::new(),
            revoked_keys: Vec::new(),
        }
    }

    fn certificate(self, node: &SecretKey) -> Certificate {
        Certificate {
            version: 1,
            network: self.state().network,
            serial: 1,
            name: None,
            node: node.public(),
            prefix: "fd00:1:2:3::/64".parse().unwrap(),
            extra_prefixes: Vec::new(),
            roles: Vec::new(),
            tags: Vec::new(),
            not_before: Timestamp(0),
            not_after: Timestamp(1000),
        }
    }

    fn sign(self, certificate: &Certificate) -> Chain {
        let issuer = Issuer {
            version: 1,
            network: self.state().network,
            key: self.issuer().public(),
            not_before: Timestamp(0),
            not_after: Timestamp(1000),
        };
        Chain {
            issuer: Envelope::seal(&self.root(), &issuer),
            document: Envelope::seal(&self.issuer(), certificate),
        }
    }

    fn membership(self, node: &SecretKey) -> Membership {
        let certificate = self.sign(&self.certificate(node));
        Membership { root: self.root().public(), certificate, state: self.state() }
    }
}

fn key(seed: u8) -> SecretKey {
    SecretKey::from_octets(&[seed; 32])
}

fn id(seed: u8) -> RouterId {
    key(seed).public().router_id().unwrap()
}

fn loopback() -> SocketAddr {
    "127.0.0.1:0".parse().unwrap()
}

/// A node that serves, with its papers at hand.
struct Node {
    signalling: Signalling,
    events: mpsc::Receiver<Event>,
    membership: watch::Sender<Arc<Membership>>,
    id: RouterId,
}

impl Node {
    fn new(seed: u8) -> Self {
        Self::with(seed, NETWORK.membership(&key(seed)), Limits::default())
    }

    fn with(seed: u8, membership: Membership, limits: Limits) -> Self {
        Self::at(loopback(), seed, membership, limits)
    }

    fn at(address: SocketAddr, seed: u8, membership: Membership, limits: Limits) -> Self {
        let (sender, membership) = watch::channel(Arc::new(membership));
        let config = Config {
            addresses: vec![address],
            mark: None,
            key: key(seed),
            membership,
            now: Arc::new(|| NOW),
            limits,
        };
        let (signalling, events) = Signalling::bind(config).unwrap();
        Self { signalling, events, membership: sender, id: id(seed) }
    }

    fn addresses(&self) -> Vec<SocketAddr> {
        self.signalling.local_addresses()
    }

    fn counted(&self, label: &str) -> u64 {
        let counters = self.signalling.counters();
        counters.iter().find(|(l, _)| *l == label).expect("a label that exists").1
    }

    /// Answers every request from now on.
    fn answer_all(&mut self) {
        let mut events = std::mem::replace(&mut self.events, mpsc::channel(1).1);
        tokio::spawn(async move {
            while let Some(event) = events.recv().await {
                if let Event::Request(incoming) = event {
                    // The asker may be gone.
                    let _ = incoming.reply.send(info());
                }
            }
        });
    }

    fn ask<'a>(&'a self, other: &Node) -> impl Future<Output = Result<Reply, CallError>> + use<'a> {
        let (id, addresses) = (other.id, other.addresses());
        async move { self.signalling.call(id, &addresses, Request::NodeInfo, PATIENCE).await }
    }

    /// Asks over a connection that exists already.
    async fn ask_back(&self, other: RouterId) -> Result<Reply, CallError> {
        self.signalling.call(other, &[], Request::NodeInfo, PATIENCE).await
    }

    async fn next_request(&mut self) -> Box<Incoming> {
        let event = tokio::time::timeout(PATIENCE, self.events.recv()).await.unwrap().unwrap();
        match event {
            Event::Request(incoming) => incoming,
            Event::NewerState { .. } => panic!("want a request, got {event:?}"),
        }
    }
}

fn info() -> Answer {
    Answer::NodeInfo(NodeInfo { version: "test".to_owned(), uptime_s: 0, links: Vec::new() })
}

/// Waits for a condition, and fails by its name.
async fn until(what: &str, condition: impl Fn() -> bool) {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while !condition() {
        assert!(tokio::time::Instant::now() < deadline, "not within {PATIENCE:?}: {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// A bare connection to a node, made with a key and nothing said yet.
async fn stranger(seed: u8, node: &Node) -> quinn::Connection {
    let sockets = socket::bind(&[loopback()], None).unwrap();
    let (endpoints, client) = endpoint::open(sockets, &key(seed), &Limits::default()).unwrap();
    let name = tls::expected_name(node.id);
    let connecting = endpoints[0].connect_with(client, node.addresses()[0], &name).unwrap();
    // The endpoint lives as long as its connection.
    tokio::time::timeout(PATIENCE, connecting).await.unwrap().unwrap()
}

/// Sends octets as one request; the answer, if there is one.
async fn send_raw(connection: &quinn::Connection, octets: &[u8]) -> Option<Answer> {
    let (mut send, mut recv) = connection.open_bi().await.ok()?;
    // Fails when the node has heard enough, which its answer tells.
    let _ = send.write_all(octets).await;
    let _ = send.finish();
    let text = tokio::time::timeout(PATIENCE, recv.read_to_end(1 << 20)).await.unwrap().ok()?;
    serde_json::from_slice(&text).ok()
}

fn hello(membership: &Membership) -> Vec<u8> {
    stream::encode(&Request::Hello(membership.hello()))
}

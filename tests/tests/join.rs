//! The node's side of joining against the real registry, over real TLS on the loopback interface.

#![expect(clippy::unwrap_used, reason = "a test fails by its panic")]

use std::path::Path;
use std::time::Duration;

use sixwire_controlplane::daemon::clock::{Clock, Reading, Verdict};
use sixwire_controlplane::daemon::join::{JoinError, Joined, Membership, Wish, join};
use sixwire_controlplane::daemon::registry_client::{Caller, RegistryClient, RegistryError};
use sixwire_controlplane::daemon::store::Store;
use sixwire_proto::certificate::{Chain, Role};
use sixwire_proto::join::{JoinString, TlsPin, Token};
use sixwire_proto::keys::{PublicKey, SecretKey};
use sixwire_proto::registry::{ErrorCode, Presence};
use sixwire_proto::state::NetworkState;
use sixwire_proto::time::Timestamp;
use sixwire_registry::authority::{Grant, TokenRow};
use sixwire_registry::clock;
use sixwire_registry::directory::Directory;
use sixwire_registry::founding::{Place, found};
use sixwire_registry::listener::Stop;
use sixwire_registry::registrar::Registrar;
use sixwire_registry::server::{Server, ServerConfiguration};
use sixwire_registry::store::TokenHash;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// A network with its registry running, and a directory for its nodes.
struct Network {
    dir: tempfile::TempDir,
    root: PublicKey,
    tls_pin: TlsPin,
    port: u16,
    stop: watch::Sender<Stop>,
    server: JoinHandle<()>,
}

impl Network {
    async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let directory = Directory::new(dir.path().join("registry"));
        let place = Place { host: "127.0.0.1".to_owned(), port: 8443 };
        let founded =
            found(&directory, "fd00:1:2::/48".parse().unwrap(), &place, clock::now()).unwrap();
        let listen = vec!["127.0.0.1:0".parse().unwrap()];
        let server =
            Server::open(ServerConfiguration { directory, listen, tls: None }).await.unwrap();
        let port = server.addresses().unwrap()[0].port();
        let (stop, stopped) = watch::channel(Stop::NotYet);
        let server = tokio::spawn(async move { server.serve(stopped).await.unwrap() });
        Self { dir, root: founded.root, tls_pin: founded.tls_pin, port, stop, server }
    }

    /// A join string with a fresh token for one node; `n` tells tokens apart.
    fn token(&self, n: u8) -> JoinString {
        let token = Token::from_octets(&[n; Token::SIZE]);
        let grant = Grant { prefix_length: 64, roles: vec![Role::Transit], tags: Vec::new() };
        let row = TokenRow {
            id: 0,
            uses: 1,
            uses_left: 1,
            created: clock::now(),
            expires: clock::now() + Duration::from_secs(60),
            revoked: None,
            grant,
        };
        let directory = Directory::new(self.dir.path().join("registry"));
        let mut registrar = Registrar::open(&directory).unwrap();
        registrar.create_token(&TokenHash::of(&token), &row).unwrap();
        JoinString {
            host: "127.0.0.1".to_owned(),
            port: self.port,
            root: self.root,
            token,
            tls_pin: Some(self.tls_pin),
        }
    }

    fn store(&self, name: &str) -> Store {
        Store::open(&self.dir.path().join(name)).unwrap()
    }

    async fn stop(self) {
        self.stop.send(Stop::Now).unwrap();
        self.server.await.unwrap();
    }
}

fn wish() -> Wish {
    Wish { name: Some("paris".to_owned()), patience: Duration::ZERO, on_retry: |_, _| () }
}

async fn joined(store: &Store, string: &JoinString) -> Membership {
    match join(store, string, &wish()).await.unwrap() {
        Joined::Now(membership) => membership,
        Joined::Before(_) => panic!("it had joined before"),
    }
}

fn refusal(error: &JoinError) -> Option<ErrorCode> {
    match error {
        JoinError::Registry(RegistryError::Refused { code, .. }) => Some(*code),
        _ => None,
    }
}

#[tokio::test]
async fn a_token_buys_one_node_its_place_in_the_network() {
    let network = Network::start().await;
    let (store, string) = (network.store("one"), network.token(1));
    let membership = joined(&store, &string).await;
    assert_eq!(membership.certificate.name.as_deref(), Some("paris"));
    assert!(membership.state.prefix.contains(membership.certificate.prefix));
    assert_eq!(membership.certificate.prefix.length(), 64);

    let loaded = Membership::load(&store).unwrap().unwrap();
    assert_eq!(loaded.certificate, membership.certificate);
    assert_eq!(loaded.key.public(), loaded.certificate.node);
    assert!(store.clock_floor().is_some());

    assert!(matches!(join(&store, &string, &wish()).await, Ok(Joined::Before(_))));
    let second = join(&network.store("two"), &string, &wish()).await.unwrap_err();
    assert_eq!(refusal(&second), Some(ErrorCode::TokenSpent), "{second}");
    network.stop().await;
}

#[tokio::test]
async fn a_join_that_was_cut_off_is_repeated_with_the_same_string() {
    let network = Network::start().await;
    let (store, string) = (network.store("node"), network.token(1));
    let first = joined(&store, &string).await;
    // All that a join writes after the registry has answered, but the key that came before.
    for file in ["network.json", "certificate.json", "state.json", "peers.json", "clock"] {
        std::fs::remove_file(store.dir().join(file)).unwrap();
    }
    let again = joined(&store, &string).await;
    assert_eq!(again.certificate.node, first.certificate.node);
    assert_eq!(again.certificate.prefix, first.certificate.prefix);
    network.stop().await;
}

#[tokio::test]
async fn a_member_renews_asks_for_peers_and_reads_the_state() {
    let network = Network::start().await;
    let membership = joined(&network.store("node"), &network.token(1)).await;
    let client = RegistryClient::new(&membership.network).unwrap();
    let caller = Caller { key: &membership.key, time: clock::now() };

    let renewed = client.renew(caller).await.unwrap();
    let certificate = renewed.certificate.certificate_at(&network.root, renewed.time).unwrap();
    assert_eq!(certificate.node, membership.key.public());
    assert_eq!(certificate.prefix, membership.certificate.prefix);

    let presence = Presence { addresses: vec!["127.0.0.1:6326".parse().unwrap()] };
    let peers = client.peers(caller, &presence).await.unwrap();
    assert_eq!(peers.observed.to_string(), "127.0.0.1");
    assert!(peers.peers.iter().all(|peer| peer.node != certificate.router_id()));

    let state: Chain = client.state(caller).await.unwrap();
    let (_, state) = state.open::<NetworkState>(&network.root).unwrap();
    assert_eq!(state.epoch, peers.epoch);
    network.stop().await;
}

#[tokio::test]
async fn a_member_with_a_wrong_clock_is_served_and_learns_the_time() {
    let network = Network::start().await;
    let membership = joined(&network.store("node"), &network.token(1)).await;
    let client = RegistryClient::new(&membership.network).unwrap();
    let wrong = Reading { time: Timestamp(1000), ..Reading::take() };
    let mut clock = Clock::new(Timestamp(0), wrong);
    let caller = Caller { key: &membership.key, time: clock.time_at(wrong) };
    let answer = client.renew(caller).await.unwrap();
    assert_eq!(clock.learn(answer.time, wrong), Verdict::Wrong);
    assert_eq!(clock.time_at(wrong), answer.time);
    network.stop().await;
}

#[tokio::test]
async fn a_stranger_is_refused() {
    let network = Network::start().await;
    let membership = joined(&network.store("node"), &network.token(1)).await;
    let client = RegistryClient::new(&membership.network).unwrap();
    let stranger = SecretKey::from_octets(&[77; 32]);
    let error = client.state(Caller { key: &stranger, time: clock::now() }).await.unwrap_err();
    assert!(
        matches!(error, RegistryError::Refused { code: ErrorCode::NodeUnknown, .. }),
        "{error}"
    );
    network.stop().await;
}

#[tokio::test]
async fn a_registry_of_another_network_is_not_believed() {
    let (ours, theirs) = (Network::start().await, Network::start().await);
    // The string of theirs, with our root key: their server, their TLS pin, our network.
    let string = JoinString { root: ours.root, ..theirs.token(1) };
    let store = ours.store("node");
    let error = join(&store, &string, &wish()).await.unwrap_err();
    assert!(matches!(error, JoinError::Answer(_)), "{error}");
    assert!(error.to_string().contains("nothing was kept"), "{error}");
    assert_eq!(files_of(store.dir()), ["lock", "node.key"]);
    ours.stop().await;
    theirs.stop().await;
}

#[tokio::test]
async fn waiting_for_a_registry_that_comes_up_later_succeeds() {
    let network = Network::start().await;
    let string = network.token(1);
    let (directory, port) = (network.dir.path().join("registry"), network.port);
    network.stop.send(Stop::Now).unwrap();
    network.server.await.unwrap();
    let store = Store::open(&network.dir.path().join("node")).unwrap();
    let patient = Wish { patience: Duration::from_secs(60), ..wish() };
    let waiting = tokio::spawn({
        let store = store.clone();
        async move { join(&store, &string, &patient).await }
    });
    // The key is the last thing on disk before the first call.
    while store.node_key().unwrap().is_none() {
        tokio::task::yield_now().await;
    }
    let listen = vec![([127, 0, 0, 1], port).into()];
    let directory = Directory::new(directory);
    let server = Server::open(ServerConfiguration { directory, listen, tls: None }).await.unwrap();
    let (_stop, stopped) = watch::channel(Stop::NotYet);
    let server = tokio::spawn(async move { server.serve(stopped).await.unwrap() });
    assert!(matches!(waiting.await.unwrap(), Ok(Joined::Now(_))));
    server.abort();
}

fn files_of(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).unwrap();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

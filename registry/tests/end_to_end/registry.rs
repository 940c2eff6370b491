//! A registry that really listens, and the nodes that call it.

use std::time::Duration;

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::{Method, Request};
use sixwire_proto::certificate::Certificate;
use sixwire_proto::envelope::Envelope;
use sixwire_proto::join::Token;
use sixwire_proto::keys::{PublicKey, SecretKey};
use sixwire_proto::registry::{CALL_HEADER, Call, CallSignature, Join, JoinAnswer};
use sixwire_proto::time::Timestamp;
use sixwire_registry::authority::{Grant, TokenRow};
use sixwire_registry::directory::Directory;
use sixwire_registry::founding::{Founded, Place, found};
use sixwire_registry::listener::Stop;
use sixwire_registry::registrar::{JoinRequest, Registrar};
use sixwire_registry::server::{Server, ServerConfiguration};
use sixwire_registry::store::TokenHash;
use sixwire_registry::{Error, clock, entropy};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::client::{Answer, Client};

pub(crate) struct Registry {
    pub(crate) client: Client,
    pub(crate) directory: Directory,
    pub(crate) founded: Founded,
    stop: watch::Sender<Stop>,
    serving: JoinHandle<Result<(), Error>>,
    _place: tempfile::TempDir,
}

impl Registry {
    pub(crate) async fn start() -> Self {
        let place = tempfile::tempdir().unwrap();
        let directory = Directory::new(place.path().join("registry"));
        let url = Place { host: "registry.invalid".to_owned(), port: 8443 };
        let network = "fd00:1:2::/48".parse().unwrap();
        let founded = found(&directory, network, &url, clock::now()).unwrap();
        let (client, stop, serving) = serve(&directory, &founded).await;
        Self { client, directory, founded, stop, serving, _place: place }
    }

    pub(crate) async fn restart(&mut self) {
        self.stop.send_replace(Stop::Now);
        (&mut self.serving).await.unwrap().unwrap();
        let (client, stop, serving) = serve(&self.directory, &self.founded).await;
        (self.client, self.stop, self.serving) = (client, stop, serving);
    }

    /// The operator's own hand on the same directory, as the command line has it.
    pub(crate) fn registrar(&self) -> Registrar {
        Registrar::open(&self.directory).unwrap()
    }

    pub(crate) fn token(&self, n: u8, uses: u32) -> Token {
        self.token_until(n, uses, clock::now() + Duration::from_secs(3600))
    }

    pub(crate) fn token_until(&self, n: u8, uses: u32, expires: Timestamp) -> Token {
        let token = Token::from_octets(&[n; 16]);
        let row = TokenRow {
            id: 0,
            uses,
            uses_left: uses,
            created: clock::now(),
            expires,
            revoked: None,
            grant: Grant { prefix_length: 64, roles: Vec::new(), tags: vec!["t".to_owned()] },
        };
        self.registrar().create_token(&TokenHash::of(&token), &row).unwrap();
        token
    }

    /// A node that joined in the past, past all clocks of calls.
    pub(crate) fn joined_at(&self, node: u8, token: &Token, then: Timestamp) -> JoinAnswer {
        let request =
            JoinRequest { key: key(node).public(), token: TokenHash::of(token), name: None };
        self.registrar().join(&request, then).unwrap()
    }

    pub(crate) async fn join(&self, node: u8, token: &Token) -> Answer {
        self.client.post("/v1/join", join_body(node, token.reveal())).await
    }

    pub(crate) async fn call(&self, node: u8, method: Method, path: &str, body: &str) -> Answer {
        self.client.send(signed_request(node, method, path, body)).await
    }

    pub(crate) fn certificate(&self, answer: &JoinAnswer) -> Certificate {
        answer.certificate.certificate_at(&self.founded.root, clock::now()).unwrap()
    }

    /// Everything in the database, to compare.
    pub(crate) fn contents(&self) -> Vec<String> {
        let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY;
        let database =
            rusqlite::Connection::open_with_flags(self.directory.database(), flags).unwrap();
        let tables =
            ["network", "state", "token", "node", "certificate", "spending", "banned", "presence"];
        let mut rows = Vec::new();
        for table in tables {
            let mut query = database.prepare(&format!("SELECT * FROM {table}")).unwrap();
            let columns = query.column_count();
            let mut found = query.query([]).unwrap();
            while let Some(row) = found.next().unwrap() {
                let values: Vec<rusqlite::types::Value> =
                    (0..columns).map(|column| row.get(column).unwrap()).collect();
                rows.push(format!("{table} {values:?}"));
            }
        }
        rows
    }
}

async fn serve(
    directory: &Directory,
    founded: &Founded,
) -> (Client, watch::Sender<Stop>, JoinHandle<Result<(), Error>>) {
    let listen = vec!["127.0.0.1:0".parse().unwrap()];
    let configuration = ServerConfiguration { directory: directory.clone(), listen, tls: None };
    let server = Server::open(configuration).await.unwrap();
    let client = Client::new(server.addresses().unwrap()[0], founded.tls_pin);
    let (stop, stopped) = watch::channel(Stop::NotYet);
    (client, stop, tokio::spawn(server.serve(stopped)))
}

pub(crate) fn key(n: u8) -> SecretKey {
    SecretKey::from_octets(&[n; 32])
}

pub(crate) fn public(n: u8) -> PublicKey {
    key(n).public()
}

pub(crate) fn join_body(node: u8, token: &str) -> Vec<u8> {
    let join = Join { version: 1, token: token.to_owned(), name: Some(format!("node-{node}")) };
    serde_json::to_vec(&Envelope::seal(&key(node), &join)).unwrap()
}

pub(crate) fn sign(node: u8, call: &Call<'_>, time: Timestamp) -> CallSignature {
    call.sign(&key(node), time, entropy::random().unwrap())
}

pub(crate) fn signed_request(
    node: u8,
    method: Method,
    path: &str,
    body: &str,
) -> Request<Full<Bytes>> {
    let call = Call { method: method.as_str(), path, body: body.as_bytes() };
    let header = sign(node, &call, clock::now()).to_string();
    request(method, path, &header, body)
}

pub(crate) fn request(
    method: Method,
    path: &str,
    header: &str,
    body: &str,
) -> Request<Full<Bytes>> {
    Request::builder()
        .method(method)
        .uri(path)
        .header(CALL_HEADER, header)
        .body(Full::new(Bytes::copy_from_slice(body.as_bytes())))
        .unwrap()
}

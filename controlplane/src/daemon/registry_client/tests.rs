//! Against a real TLS server on the loopback interface, with a scripted HTTP side.

use rustls::ServerConfig;
use rustls::pki_types::PrivatePkcs8KeyDer;
use sha2::{Digest as _, Sha256};
use sixwire_proto::join::TlsPin;
use sixwire_proto::keys::SecretKey;
use sixwire_proto::registry::CallSignature;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;

use super::*;

/// A request as the server saw it.
#[derive(Debug)]
struct Seen {
    line: String,
    signature: Option<CallSignature>,
    body: Vec<u8>,
}

/// A server that gives these answers, one for each connection, and hands over what it saw.
struct Server {
    network: Network,
    seen: mpsc::UnboundedReceiver<Seen>,
}

impl Server {
    async fn answering(answers: Vec<String>) -> Self {
        let rcgen::CertifiedKey { cert, signing_key } =
            rcgen::generate_simple_self_signed(["registry.example".to_owned()]).unwrap();
        let spki = rcgen::PublicKeyData::subject_public_key_info(&signing_key);
        let key = PrivatePkcs8KeyDer::from(signing_key.serialize_der());
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![cert.der().clone()], key.into())
            .unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (sender, seen) = mpsc::unbounded_channel();
        tokio::spawn(serve(listener, TlsAcceptor::from(Arc::new(tls)), answers, sender));
        let network = Network {
            root: node().public(),
            host: "127.0.0.1".to_owned(),
            port,
            tls_pin: Some(TlsPin(Sha256::digest(spki).into())),
        };
        Self { network, seen }
    }

    fn client(&self) -> RegistryClient {
        RegistryClient::new(&self.network).unwrap()
    }
}

async fn serve(
    listener: TcpListener,
    tls: TlsAcceptor,
    answers: Vec<String>,
    seen: mpsc::UnboundedSender<Seen>,
) {
    for answer in answers {
        let (stream, _) = listener.accept().await.unwrap();
        let Ok(mut stream) = tls.accept(stream).await else { continue };
        let mut octets = Vec::new();
        let head = loop {
            octets.push(stream.read_u8().await.unwrap());
            if octets.ends_with(b"\r\n\r\n") {
                break String::from_utf8(octets).unwrap();
            }
        };
        let header = |name: &str| head.lines().find_map(|line| line.strip_prefix(name));
        let length = header("content-length: ").map_or(0, |text| text.parse().unwrap());
        let mut body = vec![0; length];
        stream.read_exact(&mut body).await.unwrap();
        let line = head.lines().next().unwrap().to_owned();
        let signature = header("sixwire-call: ").map(|text| text.parse().unwrap());
        seen.send(Seen { line, signature, body }).unwrap();
        let _ = stream.write_all(answer.as_bytes()).await;
        let _ = stream.shutdown().await;
    }
}

fn http(status: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n{body}", body.len())
}

fn refusal(code: &str, time: u64) -> String {
    let body =
        format!(r#"{{"code":"{code}","message":"no\u001b[1m, for a reason","time":{time}}}"#);
    http("403 Forbidden", &body)
}

const PEERS: &str = r#"{"observed":"192.0.2.9","peers":[],"epoch":7,"time":1000,"future":true}"#;

fn node() -> SecretKey {
    SecretKey::from_octets(&[1; 32])
}

async fn peers_of(server: &Server) -> Result<PeersAnswer, RegistryError> {
    let key = node();
    let caller = Caller { key: &key, time: Timestamp(50) };
    server.client().peers(caller, &Presence { addresses: Vec::new() }).await
}

#[tokio::test]
async fn a_pinned_registry_is_called_with_a_signature_over_the_whole_call() {
    let mut server = Server::answering(vec![http("200 OK", PEERS)]).await;
    let answer = peers_of(&server).await.unwrap();
    assert_eq!((answer.epoch, answer.time), (7, Timestamp(1000)));
    let seen = server.seen.recv().await.unwrap();
    assert_eq!(seen.line, "POST /v1/peers HTTP/1.1");
    let signature = seen.signature.unwrap();
    let call = Call { method: "POST", path: "/v1/peers", body: &seen.body };
    assert!(signature.covers(&call) && signature.key == node().public());
    assert_eq!(signature.time, Timestamp(50));
}

#[tokio::test]
async fn a_wrong_clock_is_corrected_once() {
    let answers = vec![refusal("clock", 9000), http("200 OK", PEERS)];
    let mut server = Server::answering(answers).await;
    assert!(peers_of(&server).await.is_ok());
    let first = server.seen.recv().await.unwrap().signature.unwrap();
    let second = server.seen.recv().await.unwrap().signature.unwrap();
    assert_eq!((first.time, second.time), (Timestamp(50), Timestamp(9000)));
    assert_ne!(first.nonce, second.nonce);

    let stubborn = Server::answering(vec![refusal("clock", 9000), refusal("clock", 9000)]).await;
    let error = peers_of(&stubborn).await.unwrap_err();
    assert!(matches!(error, RegistryError::Refused { code: ErrorCode::Clock, .. }), "{error}");
}

#[tokio::test]
async fn a_refusal_carries_code_and_words_without_control_characters() {
    let server = Server::answering(vec![refusal("token_spent", 1)]).await;
    let join = Join { version: 1, token: "t".to_owned(), name: None };
    let error = server.client().join(&node(), &join).await.unwrap_err();
    assert!(matches!(error, RegistryError::Refused { code: ErrorCode::TokenSpent, .. }));
    assert!(error.to_string().ends_with("refuses: no [1m, for a reason"), "{error:?}");
    assert!(!error.is_transient());
}

#[tokio::test]
async fn another_key_than_the_pinned_one_gets_no_request() {
    let mut server = Server::answering(vec![http("200 OK", PEERS)]).await;
    server.network.tls_pin = Some(TlsPin([0; 32]));
    let error = peers_of(&server).await.unwrap_err();
    assert!(matches!(error, RegistryError::Pin { .. }), "{error}");
    assert!(server.seen.recv().await.is_none(), "nothing was sent to it");
}

#[tokio::test]
async fn without_a_pin_an_unknown_authority_is_refused() {
    let mut server = Server::answering(vec![String::new(); 2]).await;
    server.network.tls_pin = None;
    let client = match RegistryClient::new(&server.network) {
        Ok(client) => client,
        // A machine without a trust store refuses even earlier.
        Err(error) => return assert!(matches!(error, RegistryError::TrustStore), "{error}"),
    };
    let key = node();
    // Dates are judged by the time of the call, whatever the system's clock says.
    for (time, word) in [(1, "check this machine's clock"), (1_795_354_140, "its TLS pin")] {
        let caller = Caller { key: &key, time: Timestamp(time) };
        let error = client.state(caller).await.unwrap_err();
        assert!(matches!(error, RegistryError::Tls { .. }), "{error}");
        assert!(error.to_string().contains(word), "{error}");
    }
}

#[tokio::test]
async fn what_is_no_registry_is_named_as_such() {
    let endless = format!("HTTP/1.1 200 OK\r\n\r\n{}", "x".repeat(MESSAGE_LIMIT + 1));
    for answer in [http("502 Bad Gateway", "<html>"), http("200 OK", "hello"), endless] {
        let server = Server::answering(vec![answer]).await;
        let error = peers_of(&server).await.unwrap_err();
        assert!(matches!(error, RegistryError::NotARegistry { .. }), "{error}");
    }
}

#[tokio::test]
async fn a_connection_that_breaks_off_is_an_error_worth_another_try() {
    let server = Server::answering(vec!["HTTP/1.1 200 OK\r\ncontent-".to_owned()]).await;
    let error = peers_of(&server).await.unwrap_err();
    assert!(matches!(error, RegistryError::Broken { .. }), "{error}");
    assert!(error.is_transient());
}

#[tokio::test]
async fn a_closed_port_is_named_with_what_to_check() {
    let mut server = Server::answering(Vec::new()).await;
    // Port 1 (tcpmux) is served by nothing.
    server.network.port = 1;
    let error = peers_of(&server).await.unwrap_err();
    assert!(error.is_transient());
    let text = error.to_string();
    assert!(text.starts_with("cannot reach the registry at 127.0.0.1:1: "), "{text}");
    assert!(text.contains("refused") && text.contains("firewall"), "{text}");
}

#[test]
fn a_host_that_is_none_is_refused_before_any_call() {
    let network = |host: &str| Network {
        root: node().public(),
        host: host.to_owned(),
        port: 1,
        tls_pin: Some(TlsPin([0; 32])),
    };
    assert!(RegistryClient::new(&network("fe80::1%eth0")).is_ok());
    assert!(matches!(
        RegistryClient::new(&network("a..b")),
        Err(RegistryError::Name(host)) if host == "a..b"
    ));
}

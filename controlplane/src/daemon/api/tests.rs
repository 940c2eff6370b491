use std::io::{BufRead as _, Read as _, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::UnixStream;

use serde_json::json;
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, spawn_blocking};

use super::report::*;
use super::*;
use sixwire_proto::uplink::UplinkNumber;

fn status() -> StatusReport {
    StatusReport {
        schema: Schema,
        health: Health::Degraded,
        reasons: vec!["the registry does not answer".to_owned()],
        warnings: vec!["nothing is guarded".to_owned()],
        daemon: DaemonReport { version: "0.1.0".to_owned(), uptime_s: 3 },
        node: NodeReport {
            router_id: "0123456789abcdef".parse().unwrap(),
            name: Some("paris".to_owned()),
            prefix: "fd00:1:2:3::/64".parse().unwrap(),
            address: "fd00:1:2:3::1".parse().unwrap(),
            roles: vec![sixwire_proto::certificate::Role::Transit],
        },
        network: NetworkReport {
            id: "000102030405060708090a0b0c0d0e0f".parse().unwrap(),
            prefix: "fd00:1:2::/48".parse().unwrap(),
            epoch: 7,
        },
        certificate: CertificateReport {
            serial: 12,
            not_before: sixwire_proto::time::Timestamp(1),
            not_after: sixwire_proto::time::Timestamp(2),
        },
        tunnels: TunnelsReport {
            wireguard: WireguardKind::Kernel,
            dialled: 10,
            served: 3,
            up: 12,
            uplinks: Vec::new(),
            helper: None,
        },
        routing: RoutingReport { neighbours: 12, routes: 57 },
        registry: RegistryReport {
            host: "vpn.example.net:8443".to_owned(),
            reachable: Some(false),
            last_success_s: Some(90),
            last_error: Some("refused".to_owned()),
        },
        limits: Vec::new(),
        counters: vec![Counter { label: "bad_magic".to_owned(), value: 4 }],
    }
}

fn peers() -> PeersReport {
    let peer = PeerReport {
        router_id: "0123456789abcdef".parse().unwrap(),
        name: None,
        interface: "sw-01234567".to_owned(),
        role: LinkRole::Served,
        state: "up".to_owned(),
        uplink_number: UplinkNumber::FIRST,
        uplink: None,
        endpoint: Some("192.0.2.1:51820".parse().unwrap()),
        cost: Some(96),
        rtt_ms: Some(12.5),
        rx_bytes: 1,
        tx_bytes: 2,
        handshake_age_s: Some(3),
    };
    PeersReport { schema: Schema, peers: vec![peer] }
}

fn routes() -> RoutesReport {
    let route = RouteReport {
        destination: "fd00:1:2:4::/64".parse().unwrap(),
        source: None,
        router_id: "0123456789abcdef".parse().unwrap(),
        name: Some("rome".to_owned()),
        via: None,
        interface: "wgx".to_owned(),
        interfaces: Vec::new(),
        next_hop: "fe80::1".parse().unwrap(),
        metric: 192,
        installed: true,
    };
    RoutesReport { schema: Schema, routes: vec![route] }
}

#[test]
fn the_shape_of_each_report_is_fixed() {
    let expected = json!({
        "schema": 1,
        "health": "degraded",
        "reasons": ["the registry does not answer"],
        "warnings": ["nothing is guarded"],
        "daemon": {"version": "0.1.0", "uptime_s": 3},
        "node": {
            "router_id": "0123456789abcdef", "name": "paris", "prefix": "fd00:1:2:3::/64",
            "address": "fd00:1:2:3::1", "roles": ["transit"],
        },
        "network": {
            "id": "000102030405060708090a0b0c0d0e0f", "prefix": "fd00:1:2::/48", "epoch": 7,
        },
        "certificate": {"serial": 12, "not_before": 1, "not_after": 2},
        "tunnels": {"wireguard": "kernel", "dialled": 10, "served": 3, "up": 12},
        "routing": {"neighbours": 12, "routes": 57},
        "registry": {
            "host": "vpn.example.net:8443", "reachable": false, "last_success_s": 90,
            "last_error": "refused",
        },
        "limits": [],
        "counters": [{"label": "bad_magic", "value": 4}],
    });
    assert_eq!(serde_json::to_value(Report::Status(Box::new(status()))).unwrap(), expected);
    assert_eq!(serde_json::from_value::<StatusReport>(expected).unwrap(), status());
    assert_eq!(
        serde_json::to_value(Report::Peers(peers())).unwrap(),
        json!({"schema": 1, "peers": [{
            "router_id": "0123456789abcdef", "name": null, "interface": "sw-01234567",
            "role": "served", "state": "up", "endpoint": "192.0.2.1:51820", "cost": 96,
            "rtt_ms": 12.5, "rx_bytes": 1, "tx_bytes": 2, "handshake_age_s": 3,
        }]})
    );
    assert_eq!(
        serde_json::to_value(Report::Routes(routes())).unwrap(),
        json!({"schema": 1, "routes": [{
            "destination": "fd00:1:2:4::/64", "router_id": "0123456789abcdef", "name": "rome",
            "via": null, "interface": "wgx", "next_hop": "fe80::1", "metric": 192,
            "installed": true,
        }]})
    );
    assert_eq!(
        serde_json::to_value(Report::Down(DownReport::default())).unwrap(),
        json!({"schema": 1, "left_behind": []})
    );
}

/// A server in a directory of its own, and a daemon that gives the reports above.
struct Running {
    dir: tempfile::TempDir,
    server: JoinHandle<()>,
    daemon: JoinHandle<()>,
}

impl Running {
    fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let server = Server::open(dir.path()).unwrap();
        let (queries, mut asked) = mpsc::channel::<Query>(1);
        let daemon = tokio::spawn(async move {
            while let Some(Query { request, answer }) = asked.recv().await {
                let _ = answer.send(match request {
                    Request::Status => Report::Status(Box::new(status())),
                    Request::Peers => Report::Peers(peers()),
                    Request::Routes => Report::Routes(routes()),
                    Request::Down => Report::Down(DownReport::default()),
                });
            }
        });
        let server = tokio::spawn(async move { server.serve(queries).await });
        Self { dir, server, daemon }
    }

    async fn raw(&self, line: impl Into<Vec<u8>>) -> String {
        let (path, line) = (socket_path(self.dir.path()), line.into());
        spawn_blocking(move || {
            let mut stream = UnixStream::connect(path).unwrap();
            // The server may have answered before it has read all of it.
            let _ = stream.write_all(&line);
            let _ = stream.shutdown(std::net::Shutdown::Write);
            let mut answer = String::new();
            let _ = stream.read_to_string(&mut answer);
            answer
        })
        .await
        .unwrap()
    }

    async fn ask<R: serde::de::DeserializeOwned + Send + 'static>(
        &self,
        request: Request,
    ) -> Result<R, ClientError> {
        let client = Client::new(self.dir.path());
        spawn_blocking(move || client.ask(request)).await.unwrap()
    }
}

#[tokio::test]
async fn each_request_gets_its_report() {
    let running = Running::start();
    assert_eq!(running.ask::<StatusReport>(Request::Status).await.unwrap(), status());
    assert_eq!(running.ask::<PeersReport>(Request::Peers).await.unwrap(), peers());
    assert_eq!(running.ask::<RoutesReport>(Request::Routes).await.unwrap(), routes());
    assert_eq!(running.ask::<DownReport>(Request::Down).await.unwrap(), DownReport::default());
}

#[tokio::test]
async fn the_socket_is_for_its_owner_and_replaces_a_stale_one() {
    let running = Running::start();
    let path = socket_path(running.dir.path());
    assert_eq!(path.metadata().unwrap().mode() & 0o777, 0o600);
    let again = Server::open(running.dir.path()).unwrap();
    assert!(path.exists());
    drop(again);
    assert!(!path.exists(), "it goes away with its server");
}

#[tokio::test]
async fn what_is_no_request_gets_an_error_line() {
    let running = Running::start();
    for (line, word) in [
        (b"garbage\n".to_vec(), "not understood"),
        (vec![0xff, 0xfe, b'\n'], "not understood"),
        (b"".to_vec(), "not understood"),
        (br#"{"schema":2,"request":"status"}"#.to_vec(), "schema 2"),
        (br#"{"schema":1,"request":"fly"}"#.to_vec(), "unknown variant"),
        (vec![b'x'; 100_000], "longer than 4096"),
    ] {
        let answer = running.raw(line).await;
        let parsed: serde_json::Value = serde_json::from_str(&answer).unwrap_or_default();
        // A client that overfills the socket may find it closed before it reads.
        if word != "longer than 4096" || !answer.is_empty() {
            assert!(parsed["error"].as_str().unwrap().contains(word), "{answer}");
        }
    }
    assert!(running.ask::<StatusReport>(Request::Status).await.is_ok(), "it serves on");
}

#[tokio::test]
async fn one_client_too_many_is_told_so_and_places_come_back() {
    let running = Running::start();
    let path = socket_path(running.dir.path());
    let waiting: Vec<UnixStream> = (0..16).map(|_| UnixStream::connect(&path).unwrap()).collect();
    let refused = running.ask::<StatusReport>(Request::Status).await.unwrap_err();
    assert!(refused.to_string().contains("more than 16 clients at once"), "{refused}");
    for mut stream in waiting {
        stream.write_all(b"{\"schema\":1,\"request\":\"peers\"}\n").unwrap();
        let read = spawn_blocking(move || {
            let mut line = String::new();
            std::io::BufReader::new(stream).read_line(&mut line).unwrap();
            line
        });
        assert!(read.await.unwrap().contains("sw-01234567"));
    }
}

#[tokio::test]
async fn an_absent_daemon_is_named_with_what_to_do() {
    let running = Running::start();
    running.daemon.abort();
    let _ = running.daemon.await;
    running.server.await.unwrap();
    let client = Client::new(running.dir.path());
    let error = client.ask::<StatusReport>(Request::Status).unwrap_err();
    assert!(matches!(error, ClientError::NoDaemon { .. }), "{error}");
    assert!(error.to_string().contains("`sixwire up`"), "{error}");
}

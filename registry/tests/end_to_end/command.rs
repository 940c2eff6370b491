//! The command line, run as a program.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Output, Stdio};

use sixwire_proto::join::JoinString;
use sixwire_proto::registry::JoinAnswer;

use crate::client::Client;
use crate::registry::{join_body, public};

struct Operator {
    place: tempfile::TempDir,
}

impl Operator {
    fn new() -> Self {
        Self { place: tempfile::tempdir().unwrap() }
    }

    /// With a network founded.
    fn founded() -> Self {
        let operator = Self::new();
        let output = operator.run(&["init", "--url", "127.0.0.1:8443"]);
        assert!(output.status.success(), "{}", text(&output.stderr));
        operator
    }

    fn directory(&self) -> PathBuf {
        self.place.path().join("registry")
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sixwire-registry"));
        command.args(arguments).env("SIXWIRE_REGISTRY_DIR", self.directory());
        command.env("SIXWIRE_REGISTRY_CONFIG", self.config_file());
        command
    }

    fn config_file(&self) -> PathBuf {
        let path = self.place.path().join("registry.toml");
        if !path.exists() {
            fs::write(&path, "").unwrap();
        }
        path
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    fn succeed(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", text(&output.stderr));
        text(&output.stdout)
    }

    fn fail(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert!(!output.status.success(), "{arguments:?}");
        assert!(output.stdout.is_empty(), "{arguments:?}: {}", text(&output.stdout));
        text(&output.stderr)
    }
}

/// A served registry; killed when dropped.
struct Served {
    child: Child,
    errors: BufReader<ChildStderr>,
    address: std::net::SocketAddr,
}

impl Served {
    fn start(operator: &Operator, arguments: &[&str]) -> Self {
        let mut all = vec!["serve", "--listen", "127.0.0.1:0", "--log", "debug"];
        all.extend(arguments);
        let mut child = operator.command(&all).stderr(Stdio::piped()).spawn().unwrap();
        let mut errors = BufReader::new(child.stderr.take().unwrap());
        let mut line = String::new();
        while !line.contains("listening") {
            line.clear();
            assert_ne!(errors.read_line(&mut line).unwrap(), 0, "it ended before it listened");
        }
        let address = line.split("address").nth(1).unwrap();
        let address = address.trim_matches(|c: char| !c.is_ascii_digit());
        let address = address.split(['"', ' ', '\n']).next().unwrap().parse().unwrap();
        Self { child, errors, address }
    }

    fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args([name, &pid]).status().unwrap().success());
    }

    fn wait_for_log(&mut self, words: &str) {
        let mut line = String::new();
        while !line.contains(words) {
            line.clear();
            assert_ne!(self.errors.read_line(&mut line).unwrap(), 0, "it ended before {words:?}");
        }
    }

    /// Asks it to stop; what it logged.
    fn stop(mut self) -> String {
        self.signal("-TERM");
        let mut log = String::new();
        self.errors.read_to_string(&mut log).unwrap();
        assert!(self.child.wait().unwrap().success(), "{log}");
        log
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        // It is gone already after `stop`.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

#[test]
fn init_makes_a_registry_once_and_says_what_comes_next() {
    let operator = Operator::new();
    let output = operator.succeed(&["init", "--network", "fd00:1:2::/48", "--url", "vpn.example"]);
    for word in ["fd00:1:2::/48", "https://vpn.example:8443/", "serve", "token create", "root.key"]
    {
        assert!(output.contains(word), "{word}: {output}");
    }
    assert_eq!(mode(&operator.directory()), 0o700);
    let before = fs::read(operator.directory().join("root.key")).unwrap();
    assert!(operator.fail(&["init", "--url", "vpn.example"]).contains("overwrites nothing"));
    assert_eq!(fs::read(operator.directory().join("root.key")).unwrap(), before);
}

#[test]
fn an_init_that_fails_leaves_nothing() {
    let operator = Operator::new();
    operator.config_file();
    for (arguments, word) in [
        (["init", "--network", "fd00::1/48"], "did you mean fd00::/48?"),
        (["init", "--network", "10.0.0.0/8"], "IPv6"),
        (["init", "--url", "http://a"], "HOST"),
        (["init", "--dir", "/proc/no/such"], "/proc/no"),
    ] {
        let error = operator.fail(&arguments);
        assert!(error.contains(word), "{error}");
    }
    let left: Vec<_> = fs::read_dir(operator.place.path()).unwrap().collect();
    assert_eq!(left.len(), 1, "only the configuration file: {left:?}");
}

#[test]
fn token_create_prints_the_join_string_and_nothing_else() {
    let operator = Operator::founded();
    let output = operator.succeed(&["token", "create"]);
    assert_eq!(output.lines().count(), 1);
    let join: JoinString = output.trim_end().parse().unwrap();
    assert_eq!((join.host.as_str(), join.port), ("127.0.0.1", 8443));
    assert!(join.tls_pin.is_some());
    let output = operator.succeed(&[
        "token", "create", "--json", "--uses", "5", "--ttl", "7d", "--tag", "a", "--tag", "b",
        "--role", "gateway",
    ]);
    let created: serde_json::Value = serde_json::from_str(&output).unwrap();
    assert_eq!(created["schema"], 1);
    assert_eq!(created["id"], 2);
    let second: JoinString = created["join"].as_str().unwrap().parse().unwrap();
    let list = operator.succeed(&["token", "list", "--json"]);
    let listed: serde_json::Value = serde_json::from_str(&list).unwrap();
    assert_eq!(listed["tokens"][1]["uses_left"], 5);
    assert_eq!(listed["tokens"][1]["tags"], serde_json::json!(["a", "b"]));
    assert_eq!(listed["tokens"][1]["roles"], serde_json::json!(["transit", "gateway"]));
    let table = operator.succeed(&["token", "list"]);
    for token in [join.token, second.token] {
        assert!(!list.contains(token.reveal()) && !table.contains(token.reveal()));
    }
    operator.succeed(&["token", "revoke", "1"]);
    assert!(operator.succeed(&["token", "list"]).contains("revoked"));
    assert!(operator.fail(&["token", "revoke", "1"]).contains("no token 1 in force"));
}

#[test]
fn token_options_out_of_range_are_named() {
    let operator = Operator::founded();
    for (option, value) in [
        ("--uses", "0"),
        ("--ttl", "tomorrow"),
        ("--prefix-length", "48"),
        ("--prefix-length", "129"),
        ("--tag", "two words"),
        ("--role", "king"),
    ] {
        let error = operator.fail(&["token", "create", option, value]);
        assert!(error.contains(value), "{option} {value}: {error}");
    }
    assert!(operator.fail(&["token", "create", "--leaf", "--role", "gateway"]).contains("--leaf"));
}

#[test]
fn parameters_are_shown_and_changed_by_name() {
    let operator = Operator::founded();
    let shown: serde_json::Value =
        serde_json::from_str(&operator.succeed(&["parameters", "show", "--json"])).unwrap();
    assert_eq!((&shown["schema"], &shown["parameters"]["tunnel_mtu"]), (&1.into(), &1420.into()));
    operator.succeed(&["parameters", "set", "tunnel_mtu=1300", "dialled_tunnels=4"]);
    let shown = operator.succeed(&["parameters", "show"]);
    assert!(shown.contains("tunnel_mtu=1300") && shown.contains("dialled_tunnels=4"), "{shown}");
    let error = operator.fail(&["parameters", "set", "tunnel_mtu=99"]);
    assert!(error.contains("tunnel_mtu"), "{error}");
}

#[test]
fn serve_says_what_is_wrong_and_what_to_do() {
    let operator = Operator::new();
    assert!(operator.fail(&["serve"]).contains("sixwire-registry init"));
    let operator = Operator::founded();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let error = operator.fail(&["serve", "--listen", &address]);
    assert!(error.contains(&address) && error.contains("--listen"), "{error}");
    let error = operator.fail(&["serve", "--tls-cert", "/nonexistent"]);
    assert!(error.contains("tls-key"), "{error}");
    let key = operator.directory().join("issuer.key");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o640)).unwrap();
    let error = operator.fail(&["serve"]);
    assert!(error.contains("0640") && error.contains("chmod 0600"), "{error}");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    fs::write(&key, "damaged").unwrap();
    assert!(operator.fail(&["serve"]).contains("holds no key"));
    fs::remove_file(&key).unwrap();
    assert!(operator.fail(&["serve"]).contains("issuer.key"));
}

#[test]
fn the_configuration_file_is_read_and_its_mistakes_named() {
    let operator = Operator::founded();
    fs::write(operator.config_file(), "lisen = []").unwrap();
    let error = operator.fail(&["token", "list"]);
    assert!(error.contains("lisen") && error.contains("registry.toml"), "{error}");
}

#[tokio::test]
async fn a_served_registry_joins_a_node_stops_when_told_and_logs_no_token() {
    let operator = Operator::founded();
    let join: JoinString = operator.succeed(&["token", "create"]).trim_end().parse().unwrap();
    let other: JoinString = operator.succeed(&["token", "create"]).trim_end().parse().unwrap();
    operator.succeed(&["token", "revoke", "2"]);
    for format in ["text", "json"] {
        let served = Served::start(&operator, &["--log-format", format]);
        let client = Client::new(served.address, join.tls_pin.unwrap());
        let body = join_body(1, join.token.reveal());
        let answer: JoinAnswer = client.post("/v1/join", body).await.read();
        let now = sixwire_registry::clock::now();
        assert_eq!(answer.certificate.certificate_at(&join.root, now).unwrap().node, public(1));
        let refused = client.post("/v1/join", join_body(1, other.token.reveal())).await;
        assert!(refused.error().message.contains("revoked"));
        let log = served.stop();
        assert!(log.contains("join refused"), "{log}");
        assert!(!log.contains(join.token.reveal()) && !log.contains(other.token.reveal()));
    }
    let nodes = operator.succeed(&["node", "list", "--json"]);
    let nodes: serde_json::Value = serde_json::from_str(&nodes).unwrap();
    let router_id = public(1).router_id().unwrap().to_string();
    assert_eq!(nodes["nodes"][0]["node"], router_id.as_str());
    assert!(operator.succeed(&["node", "revoke", &router_id]).contains("epoch"));
    assert!(operator.succeed(&["node", "list"]).contains("revoked"));
    assert!(operator.fail(&["node", "revoke", &router_id]).contains("already"));
    assert!(operator.fail(&["node", "revoke", "7"]).contains("node list"));
}

#[tokio::test]
async fn the_root_key_may_be_elsewhere_and_a_given_certificate_takes_the_pin_away() {
    let operator = Operator::founded();
    let away = operator.place.path().join("root.key");
    fs::rename(operator.directory().join("root.key"), &away).unwrap();
    Served::start(&operator, &[]).stop();
    let own = operator.directory().join("tls.crt");
    let key = operator.directory().join("tls.key");
    let files = ["--tls-cert", own.to_str().unwrap(), "--tls-key", key.to_str().unwrap()];
    let mut served = Served::start(&operator, &files);
    served.signal("-HUP");
    served.wait_for_log("TLS certificate read again");
    served.stop();
    let join: JoinString = operator.succeed(&["token", "create"]).trim_end().parse().unwrap();
    assert_eq!(join.tls_pin, None, "others vouch for a given certificate");
    Served::start(&operator, &[]).stop();
    let join: JoinString = operator.succeed(&["token", "create"]).trim_end().parse().unwrap();
    assert!(join.tls_pin.is_some());
}

//! `sixwire babel` with MAC keys: between babeld, BIRD and others of ours.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use nix::sys::signal::Signal;
use sixwire_tests::clock::wait_for;
use sixwire_tests::lab::{Lab, Process, binary, run};
use sixwire_tests::line::{INTERFACES, Line};
use sixwire_tests::ping::{Flow, Pinger};

/// A static route at each end.
const LEFT: &str = "fd11:a::/64";
const RIGHT: &str = "fd11:c::/64";
const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Algorithm {
    Hmac,
    Blake,
}

/// A key, as each of the programs writes it.
#[derive(Clone, Copy, Debug)]
struct Key {
    algorithm: Algorithm,
    octet: u8,
}

impl Key {
    fn new(algorithm: Algorithm, octet: u8) -> Self {
        Self { algorithm, octet }
    }

    /// babeld wants 64 octets for HMAC-SHA256.
    fn digits(self) -> String {
        let octets = match self.algorithm {
            Algorithm::Hmac => 64,
            Algorithm::Blake => 32,
        };
        format!("{:02x}", self.octet).repeat(octets)
    }

    fn name(self) -> &'static str {
        match self.algorithm {
            Algorithm::Hmac => "hmac-sha256",
            Algorithm::Blake => "blake2s128",
        }
    }

    fn babeld(self) -> String {
        format!("key id k type {} value {}", self.name(), self.digits())
    }

    fn bird(self) -> String {
        let name = match self.algorithm {
            Algorithm::Hmac => "hmac sha256",
            Algorithm::Blake => "blake2s128",
        };
        let digits = self.digits();
        let octets: Vec<&str> =
            (0..digits.len()).step_by(2).map(|at| &digits[at..at + 2]).collect();
        let password = octets.join(":");
        format!("authentication mac; password {password} {{ algorithm {name}; }};")
    }
}

/// A line of three and what starts programs on it.
struct Keyed {
    lab: Lab,
    line: Line,
}

impl Keyed {
    fn or_skip() -> Option<Self> {
        let mut lab = Lab::or_skip()?;
        let line = Line::new(&mut lab).unwrap();
        line.routers[0].ip(&format!("route add {LEFT} dev ab proto static\n")).unwrap();
        line.routers[2].ip(&format!("route add {RIGHT} dev cb proto static\n")).unwrap();
        Some(Self { lab, line })
    }

    fn file(&self, number: usize, extension: &str) -> PathBuf {
        self.lab.directory().join(format!("{}.{extension}", self.line.routers[number].name()))
    }

    fn launch(&self, number: usize, mut command: Command) -> Process {
        Process::start(&mut command, &self.file(number, "log")).unwrap()
    }

    /// Writes the file of one of ours: the first key lies in a file of its own.
    fn configure(&self, number: usize, keys: &[Key]) -> PathBuf {
        let (config, secret) = (self.file(number, "toml"), self.file(number, "key"));
        let mut text = String::new();
        for (id, key) in keys.iter().enumerate() {
            let (name, digits) = (key.name(), key.digits());
            let place = if id == 0 {
                fs::write(&secret, digits).unwrap();
                format!("file = \"{}\"", secret.display())
            } else {
                format!("value = \"{digits}\"")
            };
            text += &format!("[[key]]\nid = \"{id}\"\nalgorithm = \"{name}\"\n{place}\n");
        }
        let ids: Vec<String> = (0..keys.len()).map(|id| format!("\"{id}\"")).collect();
        let ids = ids.join(", ");
        for name in INTERFACES[number] {
            text += &format!("[[interface]]\nname = \"{name}\"\nkeys = [{ids}]\n");
        }
        fs::write(&config, text).unwrap();
        for file in [&config, &secret] {
            fs::set_permissions(file, Permissions::from_mode(0o600)).unwrap();
        }
        config
    }

    fn ours(&self, number: usize, keys: &[Key]) -> Process {
        let config = self.configure(number, keys);
        let mut command = self.line.routers[number].command(&binary("sixwire").to_string_lossy());
        command.arg("--config").arg(config).args(["babel", "run", "--hello-interval", "1s"]);
        command.args(["--redistribute", "protocol=static", "--socket"]);
        command.arg(self.line.socket(number));
        self.launch(number, command)
    }

    fn babeld(&self, number: usize, key: Key) -> Process {
        let mut command = self.line.routers[number].command("babeld");
        command.args(["-I", "", "-S", "", "-C", &key.babeld()]);
        command.args(["-C", "redistribute proto 4 allow", "-C", "redistribute local deny"]);
        for name in INTERFACES[number] {
            command.args(["-C", &format!("interface {name} type wired hello-interval 1 key k")]);
        }
        self.launch(number, command)
    }

    fn bird(&self, number: usize, key: Key) -> Process {
        let file = self.file(number, "bird");
        let options = format!("type wired; hello interval 1 s; {}", key.bird());
        let links: Vec<String> = INTERFACES[number]
            .iter()
            .map(|name| format!("interface \"{name}\" {{ {options} }};"))
            .collect();
        let text = format!(
            "router id 10.0.0.{};\nprotocol device {{}}\n\
             protocol kernel {{ learn; scan time 2;\n\
             ipv6 {{ import all; export where source = RTS_BABEL; }}; }}\n\
             protocol babel {{ {} ipv6 {{ import all; export all; }}; }}\n",
            number + 1,
            links.concat()
        );
        fs::write(&file, text).unwrap();
        let mut command = self.line.routers[number].command("bird");
        command.arg("-f").arg("-c").arg(&file).arg("-s").arg(file.with_extension("ctl"));
        self.launch(number, command)
    }

    /// What our engine on a router says, once it answers.
    fn ask(&self, number: usize, what: &str) -> serde_json::Value {
        let program = binary("sixwire");
        let mut command = self.line.routers[number].command(&program.to_string_lossy());
        command.args(["babel", what, "--json", "--socket"]).arg(self.line.socket(number));
        let answer = run(&mut command).unwrap_or_default();
        serde_json::from_str(&answer).unwrap_or_default()
    }

    fn counter(&self, number: usize, label: &str) -> u64 {
        self.ask(number, "counters")["counters"][label].as_u64().unwrap_or(0)
    }

    fn neighbours(&self, number: usize) -> Vec<serde_json::Value> {
        self.ask(number, "neighbours")["neighbours"].as_array().cloned().unwrap_or_default()
    }

    /// Waits until both ends have a route to each other.
    fn until_routed(&self) {
        for (number, destination) in [(0, RIGHT), (2, LEFT)] {
            wait_for("a route to the other end", PATIENCE, || {
                let found = self.line.routes(number, destination).unwrap();
                if found.is_empty() {
                    Err(self.ask(number, "counters").to_string())
                } else {
                    Ok(())
                }
            })
            .unwrap();
        }
    }

    fn assert_authenticated(&self, number: usize) {
        let neighbours = self.neighbours(number);
        assert!(!neighbours.is_empty());
        assert!(neighbours.iter().all(|one| one["authenticated"] == true), "{neighbours:?}");
    }
}

/// Something between two of ours, with the right key and with a wrong one.
fn between(algorithm: Algorithm, other: fn(&Keyed, usize, Key) -> Process) {
    let Some(keyed) = Keyed::or_skip() else { return };
    let right = Key::new(algorithm, 0x11);
    let _ends = [0, 2].map(|number| keyed.ours(number, &[right]));
    let wrong = other(&keyed, 1, Key::new(algorithm, 0x22));
    for number in [0, 2] {
        wait_for("a wrong key to be noticed", PATIENCE, || {
            let seen = keyed.counter(number, "dropped: wrong mac");
            if seen >= 3 { Ok(()) } else { Err(format!("{seen} packets")) }
        })
        .unwrap();
        assert_eq!(keyed.neighbours(number), Vec::<serde_json::Value>::new());
    }
    drop(wrong);
    let _right = other(&keyed, 1, right);
    keyed.until_routed();
    keyed.assert_authenticated(0);
    keyed.assert_authenticated(2);
}

#[test]
fn babeld_with_hmac_is_a_neighbour_if_it_has_the_key() {
    between(Algorithm::Hmac, Keyed::babeld);
}

#[test]
fn babeld_with_blake2s_is_a_neighbour_if_it_has_the_key() {
    between(Algorithm::Blake, Keyed::babeld);
}

#[test]
fn bird_with_hmac_is_a_neighbour_if_it_has_the_key() {
    between(Algorithm::Hmac, Keyed::bird);
}

#[test]
fn bird_with_blake2s_is_a_neighbour_if_it_has_the_key() {
    between(Algorithm::Blake, Keyed::bird);
}

/// One of the three programs with this key.
type Launch = fn(&Keyed, usize, Key) -> Process;

#[test]
fn the_three_programs_with_one_key_stand_in_any_order() {
    let ours: Launch = |keyed, number, key| keyed.ours(number, &[key]);
    let (babeld, bird): (Launch, Launch) = (Keyed::babeld, Keyed::bird);
    let orders = [
        [ours, babeld, bird],
        [ours, bird, babeld],
        [babeld, ours, bird],
        [bird, ours, babeld],
        [babeld, bird, ours],
        [bird, babeld, ours],
    ];
    for (launch, algorithm) in
        orders.into_iter().zip([Algorithm::Hmac, Algorithm::Blake].into_iter().cycle())
    {
        let Some(keyed) = Keyed::or_skip() else { return };
        let key = Key::new(algorithm, 0x11);
        let _routers = [0, 1, 2].map(|number| launch[number](&keyed, number, key));
        keyed.until_routed();
        keyed.line.routers[0].ip(&format!("route del {LEFT} dev ab proto static\n")).unwrap();
        wait_for("the far end to hear of a withdrawal", PATIENCE, || {
            let left = keyed.line.routes(2, LEFT).unwrap();
            // BIRD keeps what it lost as unreachable for a while.
            let used = left.iter().any(|route| !route.contains("unreachable"));
            if used { Err(format!("{left:?}")) } else { Ok(()) }
        })
        .unwrap();
    }
}

#[test]
fn keys_are_rotated_at_sighup_without_a_lost_packet() {
    let Some(keyed) = Keyed::or_skip() else { return };
    let (old, new) = (Key::new(Algorithm::Blake, 0x11), Key::new(Algorithm::Hmac, 0x22));
    keyed.line.routers[0].ip("address add fd11:a::1/128 dev lo\n").unwrap();
    keyed.line.routers[2].ip("address add fd11:c::1/128 dev lo\n").unwrap();
    let routers = [0, 1, 2].map(|number| keyed.ours(number, &[old]));
    keyed.until_routed();
    let flow = |number: usize, from: &str, to: &str| Flow {
        from: keyed.line.routers[number].clone(),
        source: Some(from.parse().unwrap()),
        to: to.parse().unwrap(),
    };
    let flows = [flow(0, "fd11:a::1", "fd11:c::1"), flow(2, "fd11:c::1", "fd11:a::1")];
    let pinger = Pinger::start(&flows, Duration::from_millis(50)).unwrap();
    for keys in [&[old, new][..], &[new]] {
        for (number, router) in routers.iter().enumerate() {
            keyed.configure(number, keys);
            router.signal(Signal::SIGHUP).unwrap();
            let before = keyed.counter(number, "packets sent");
            wait_for("some Hellos under the new keys", PATIENCE, || {
                let sent = keyed.counter(number, "packets sent") - before;
                if sent >= 4 { Ok(()) } else { Err(format!("{sent} packets")) }
            })
            .unwrap();
        }
    }
    let records = pinger.stop();
    assert!(records.iter().all(|record| record.answered() > 100));
    let lost: Vec<usize> = records.iter().map(sixwire_tests::ping::Record::lost).collect();
    assert_eq!(lost, [0, 0]);
    for number in 0..3 {
        assert_eq!(keyed.counter(number, "dropped: wrong mac"), 0);
        keyed.assert_authenticated(number);
    }
    // The old key is really gone: a node that has only that one is not heard.
    drop(routers);
    let _old = keyed.ours(0, &[old]);
    let _new = keyed.ours(1, &[new]);
    wait_for("the old key to be refused", PATIENCE, || {
        let seen = keyed.counter(1, "dropped: wrong mac");
        if seen >= 3 { Ok(()) } else { Err(format!("{seen} packets")) }
    })
    .unwrap();
}

#[test]
fn a_key_that_everybody_can_read_is_refused_with_what_to_do() {
    let Some(keyed) = Keyed::or_skip() else { return };
    let config = keyed.configure(0, &[Key::new(Algorithm::Hmac, 0x11)]);
    let secret = keyed.file(0, "key");
    fs::set_permissions(&secret, Permissions::from_mode(0o644)).unwrap();
    let mut command = keyed.line.routers[0].command(&binary("sixwire").to_string_lossy());
    let output = command.arg("--config").arg(config).args(["babel", "run"]).output().unwrap();
    assert!(!output.status.success());
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains(&format!("chmod o= {}", secret.display())), "{said}");
    assert!(!said.contains("1111"), "{said}");
}

//! Recordings: what was recorded replays with the same outputs, and every file in `tests/recordings` still ends with
//! the routes that stand beside it. `SIXWIRE_REWRITE=1` writes files and routes anew.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::signal::Signal;
use sixwire_controlplane::babel::RouteState;
use sixwire_controlplane::babel::recording::{Replay, Step, Verdict};
use sixwire_tests::clock::wait_for;
use sixwire_tests::lab::{Lab, binary};
use sixwire_tests::line::{Line, Speaker};
use sixwire_tests::simulator::{Fault, Quality, Simulation, Topology};

const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn recordings() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("recordings")
}

/// Makes a test of a recording, if asked to.
fn keep(name: &str, text: &str) {
    if std::env::var_os("SIXWIRE_REWRITE").is_some() {
        let file = recordings().join(name);
        fs::write(file.with_extension("jsonl"), text).unwrap();
        fs::write(file.with_extension("routes"), replay(text).2).unwrap();
    }
}

/// Replays a recording: whether every output is the recorded one, the digest, and the routes at the end.
fn replay(text: &str) -> (Verdict, String, String) {
    let mut lines = text.lines();
    let mut replay = Replay::new(&serde_json::from_str(lines.next().unwrap()).unwrap()).unwrap();
    let mut verdict = Verdict::Same;
    for line in lines {
        let step: Step = serde_json::from_str(line).unwrap();
        verdict = replay.step(&step, |_| ());
    }
    let mut routes = String::new();
    for route in replay.babel().routes().filter(|one| one.state == RouteState::Selected) {
        let (key, metric) = (route.route, route.metric);
        match route.next_hop {
            None => writeln!(routes, "{key} own"),
            Some(via) => writeln!(routes, "{key} via {via} metric {metric}"),
        }
        .unwrap();
    }
    (verdict, replay.digest().to_string(), routes)
}

/// Its name, the node to record, the network, and faults each with the seconds that follow.
type Trouble = (&'static str, usize, Simulation, Vec<(Fault, u64)>);

/// Networks that once were, or well could be, trouble.
fn troubles() -> [Trouble; 4] {
    let mut lossy = Simulation::new(&Topology::ring(5), 31);
    lossy.quality(Quality { loss: 300, ..Quality::BAD });
    [
        // Node 2 passed a request on beside its route in use, and the asker waited for its resend.
        (
            "request-beside-the-route-in-use",
            2,
            Simulation::new(&Topology::mesh(5, 3, 8), 8),
            vec![(Fault::CarrierDown(4), 1)],
        ),
        (
            "silent-cut-and-repair",
            0,
            Simulation::new(&Topology::ring(4), 32),
            vec![(Fault::Cut(0), 14), (Fault::Mend(0), 6)],
        ),
        (
            "moved-prefix-and-restart",
            1,
            Simulation::new(&Topology::line(3), 33),
            vec![(Fault::Move(0, 2), 2), (Fault::Kill(2), 14), (Fault::Start(2), 2)],
        ),
        ("a-third-of-all-packets-lost", 0, lossy, vec![(Fault::Withdraw(2), 20)]),
    ]
}

#[test]
fn what_a_simulation_recorded_replays_with_the_same_outputs() {
    for (name, node, mut network, faults) in troubles() {
        network.record(node);
        network.run(secs(3)).unwrap();
        for (fault, seconds) in faults {
            network.fault(fault);
            network.run(secs(seconds)).unwrap();
        }
        let text = network.recording().unwrap().to_text().unwrap();
        let (verdict, ..) = replay(&text);
        assert_eq!(verdict, Verdict::Same, "{name}");
        keep(name, &text);
    }
}

#[test]
fn every_recording_replays_the_same_each_time_and_ends_with_its_routes() {
    let files = fs::read_dir(recordings()).unwrap().map(|entry| entry.unwrap().path());
    let files: Vec<_> =
        files.filter(|path| path.extension().is_some_and(|it| it == "jsonl")).collect();
    assert!(files.len() >= 5, "{files:?}");
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        let (first, second) = (replay(&text), replay(&text));
        assert_eq!(first, second, "{}", file.display());
        let beside = file.with_extension("routes");
        assert_eq!(first.2, fs::read_to_string(&beside).unwrap(), "{}", file.display());
    }
}

#[test]
fn an_output_that_differs_is_found() {
    let mut network = Simulation::new(&Topology::line(2), 1);
    network.record(0);
    network.run(secs(5)).unwrap();
    let text = network.recording().unwrap().to_text().unwrap();
    let steps: Vec<_> = text.lines().collect();
    let packet = steps.iter().position(|line| line.contains("packet")).unwrap();
    let other = [&steps[..packet], &steps[packet + 1..]].concat().join("\n");
    assert_eq!(replay(&text).0, Verdict::Same);
    assert_eq!(replay(&other).0, Verdict::Different);
}

#[test]
fn a_running_engine_records_what_replays() {
    let Some(mut lab) = Lab::or_skip() else { return };
    let line = Line::new(&mut lab).unwrap();
    line.routers[0].ip("route add fd11:a::/64 dev ab proto static\n").unwrap();
    let file = lab.directory().join("recording.jsonl");
    let flags = ["--hello-interval", "1s", "--record", file.to_str().unwrap()];
    let mut middle = line.start(1, Speaker::Sixwire, &flags).unwrap();
    let _left = line.start(0, Speaker::Babeld, &[]).unwrap();
    let _right = line.start(2, Speaker::Bird, &[]).unwrap();
    wait_for("the route of the left", secs(60), || {
        let routes = line.routes(2, "fd11:a::/64").unwrap();
        if routes.is_empty() { Err("no route".to_owned()) } else { Ok(()) }
    })
    .unwrap();
    middle.signal(Signal::SIGTERM).unwrap();
    middle.wait(secs(10)).unwrap();
    let text = fs::read_to_string(&file).unwrap();
    assert_eq!(replay(&text).0, Verdict::Same);
    let mut command = line.routers[1].command(&binary("sixwire").to_string_lossy());
    let output = command.arg("replay").arg(&file).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success() && said.ends_with("inputs, same outputs\n"), "{said}");
    let printed = String::from_utf8(output.stdout).unwrap();
    let lines =
        printed.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    assert!(lines.filter(|line| line.get("send").is_some()).count() > 5, "{printed}");
    keep("between-babeld-and-bird", &text);
}

//! Delay and silent links on real wires, beside babeld.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use sixwire_tests::clock::{now, wait_for};
use sixwire_tests::lab::{Lab, Process, binary, run};
use sixwire_tests::line::{INTERFACES, Line, Speaker};
use sixwire_tests::mesh::silence;

const RIGHT: &str = "fd11:c::/64";
const PATIENCE: Duration = Duration::from_secs(30);

/// A router of ours with these flags for its interfaces.
fn ours(line: &Line, number: usize, flags: &[&str]) -> Process {
    let router = &line.routers[number];
    let mut command = router.command(&binary("sixwire").to_string_lossy());
    command.args(["babel", "run", "--redistribute", "protocol=static", "--socket"]);
    command.arg(line.socket(number)).args(flags);
    let log = line.socket(number).with_extension("log");
    Process::start(&mut command, &log).unwrap()
}

/// The neighbours of a router of ours, once it answers.
fn neighbours(line: &Line, number: usize) -> Vec<serde_json::Value> {
    let mut command = line.routers[number].command(&binary("sixwire").to_string_lossy());
    command.args(["babel", "neighbours", "--json", "--socket"]).arg(line.socket(number));
    let report: serde_json::Value = run(&mut command)
        .ok()
        .and_then(|text| serde_json::from_str(&text).ok())
        .unwrap_or_default();
    report["neighbours"].as_array().cloned().unwrap_or_default()
}

/// Waits until the only neighbour of a router has a round-trip time; that, and what it adds to the cost.
fn measured(line: &Line, number: usize) -> (f64, u64) {
    wait_for("a round-trip time", PATIENCE, || {
        let all = neighbours(line, number);
        let first = all.first().ok_or("no neighbour")?;
        let rtt = first["rtt_ms"].as_f64().ok_or_else(|| first.to_string())?;
        Ok((rtt, first["rtt_cost"].as_u64().unwrap()))
    })
    .unwrap()
}

/// Drops everything between the middle and the right, silently.
fn cut(line: &Line) {
    for (number, interface) in [(1, "bc"), (2, "cb")] {
        silence(&line.routers[number], interface).unwrap();
    }
}

#[test]
fn babeld_and_ours_measure_the_delay_between_them() {
    let Some(mut lab) = Lab::or_skip() else { return };
    let line = Line::new(&mut lab).unwrap();
    let flags =
        ["--hello-interval", "500ms", "-i", "ab=96,rtt-min=0ms,rtt-max=1ms,rtt-penalty=400"];
    let _ours = ours(&line, 0, &flags);
    let dump = lab.directory().join("babeld.log");
    let mut babeld = line.routers[1].command("babeld");
    babeld.args(["-I", "", "-S", "", "-d", "1", "-h", "1", "-H", "1", "-C"]);
    babeld.arg("interface ba type tunnel enable-timestamps true rtt-min 0.01 rtt-max 1 max-rtt-penalty 400");
    let _babeld =
        Process::start(babeld.args(["-C", "redistribute local deny", "ba"]), &dump).unwrap();
    let (rtt, _) = measured(&line, 0);
    assert!(rtt < 1000.0, "a wire of no length took {rtt} ms");
    // Two processes that wait for a processor are never faster than a microsecond.
    wait_for("a charge for it", PATIENCE, || {
        let (rtt, cost) = measured(&line, 0);
        if rtt > 0.1 && cost > 0 { Ok(()) } else { Err(format!("{rtt} ms cost {cost}")) }
    })
    .unwrap();
    wait_for("babeld to have measured it too", PATIENCE, || {
        let log = std::fs::read_to_string(&dump).unwrap_or_default();
        let line = log.lines().rev().find(|line| line.starts_with("Neighbour "));
        let line = line.unwrap_or("no neighbour");
        let mut words = line.split_whitespace().skip_while(|word| *word != "rtt");
        match words.nth(1).and_then(|rtt| rtt.parse::<f64>().ok()) {
            Some(rtt) if rtt > 0.0 => Ok(()),
            _ => Err(line.to_owned()),
        }
    })
    .unwrap();
}

#[test]
fn both_ends_of_a_plain_link_measure_and_charge_nothing() {
    let Some(mut lab) = Lab::or_skip() else { return };
    let line = Line::new(&mut lab).unwrap();
    let _ours = [0, 1]
        .map(|number| ours(&line, number, &["--profile", "fast", "-i", INTERFACES[number][0]]));
    for number in [0, 1] {
        let (rtt, cost) = measured(&line, number);
        assert!(rtt < 1000.0 && cost == 0, "{rtt} ms cost {cost}");
    }
}

/// How long a router in the middle takes to give up a route through a silent link to `speaker`.
fn time_to_notice(speaker: Speaker, flags: &[&str]) -> Duration {
    let mut lab = Lab::new().unwrap();
    let line = Line::new(&mut lab).unwrap();
    line.routers[2].ip(&format!("route add {RIGHT} dev cb proto static\n")).unwrap();
    let _middle = ours(&line, 1, &[&["-i", "bc"], flags].concat());
    let _right = line.start(2, speaker, flags).unwrap();
    let there = || !line.routes(1, RIGHT).unwrap().is_empty();
    let up = || if there() { Ok(()) } else { Err("no route yet".to_owned()) };
    wait_for("a route", PATIENCE, up).unwrap();
    cut(&line);
    let start = now();
    let down = || if there() { Err("still there".to_owned()) } else { Ok(()) };
    wait_for("the route to go", PATIENCE, down).unwrap();
    now() - start
}

#[test]
fn a_silent_link_is_noticed_at_the_speed_of_the_profile() {
    if Lab::or_skip().is_none() {
        return;
    }
    // The machine may be busy: what counts is that no hello count was waited for.
    let took = time_to_notice(Speaker::Sixwire, &[]);
    assert!(took < Duration::from_secs(5), "default: {took:?}");
    let took = time_to_notice(Speaker::Sixwire, &["--profile", "fast"]);
    assert!(took < Duration::from_secs(2), "fast: {took:?}");
}

#[test]
fn a_silent_babeld_is_noticed_before_its_second_hello_is_missed() {
    if Lab::or_skip().is_none() {
        return;
    }
    let took = time_to_notice(Speaker::Babeld, &[]);
    assert!(took < Duration::from_secs(8), "{took:?}, and two hellos take ten");
}

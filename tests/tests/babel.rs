//! `sixwire babel` on real links: alone, and between babeld and BIRD.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::process::Command;
use std::time::Duration;

use nix::sys::signal::Signal;
use sixwire_tests::clock::{now, wait_for};
use sixwire_tests::lab::{Lab, Namespace, Process, binary, run};
use sixwire_tests::line::{Line, Speaker};

/// Two static routes at each end.
const LEFT: &str = "fd11:a::/64";
const RIGHT: &str = "fd11:c::/64";
/// Quick timers of ours.
const QUICK: [&str; 2] = ["--hello-interval", "1s"];
const PATIENCE: Duration = Duration::from_secs(60);

fn line(lab: &mut Lab) -> Line {
    let line = Line::new(lab).unwrap();
    line.routers[0].ip(&format!("route add {LEFT} dev ab proto static\n")).unwrap();
    line.routers[2].ip(&format!("route add {RIGHT} dev cb proto static\n")).unwrap();
    line
}

/// Waits until a router has a route to a neighbour for the destination, or has none any more.
fn until(line: &Line, number: usize, destination: &str, there: Presence) -> Duration {
    let start = now();
    wait_for(&format!("{destination} {there:?} on router {number}"), PATIENCE, || {
        let routes = line.routes(number, destination).unwrap();
        let found = if routes.is_empty() { Presence::Gone } else { Presence::There };
        if found == there { Ok(()) } else { Err(format!("{routes:?}")) }
    })
    .unwrap();
    now() - start
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Presence {
    There,
    Gone,
}

fn start(line: &Line, speakers: [Speaker; 3]) -> [Process; 3] {
    [0, 1, 2].map(|number| line.start(number, speakers[number], &QUICK).unwrap())
}

fn both_ways(speakers: [Speaker; 3]) {
    let Some(mut lab) = Lab::or_skip() else { return };
    let line = line(&mut lab);
    let _running = start(&line, speakers);
    until(&line, 0, RIGHT, Presence::There);
    until(&line, 2, LEFT, Presence::There);
    until(&line, 1, LEFT, Presence::There);
    // The origin's own route is not replaced by what comes back.
    assert_eq!(line.routes(0, LEFT).unwrap(), Vec::<String>::new());
}

/// What our engine on a router says, once it answers.
fn ask(line: &Line, number: usize, what: &str) -> Option<serde_json::Value> {
    let mut command: Command = line.routers[number].command(&binary("sixwire").to_string_lossy());
    command.args(["babel", what, "--json", "--socket"]).arg(line.socket(number));
    Some(serde_json::from_str(&run(&mut command).ok()?).unwrap())
}

#[test]
fn routes_cross_a_line_of_ours() {
    both_ways([Speaker::Sixwire; 3]);
}

#[test]
fn routes_cross_babeld_between_two_of_ours() {
    both_ways([Speaker::Sixwire, Speaker::Babeld, Speaker::Sixwire]);
}

#[test]
fn routes_cross_bird_between_two_of_ours() {
    both_ways([Speaker::Sixwire, Speaker::Bird, Speaker::Sixwire]);
}

#[test]
fn routes_cross_ours_between_babeld_and_bird() {
    both_ways([Speaker::Babeld, Speaker::Sixwire, Speaker::Bird]);
}

#[test]
fn every_datagram_of_a_burst_reaches_the_engine() {
    let Some(mut lab) = Lab::or_skip() else { return };
    let line = line(&mut lab);
    let many: String =
        (0..5000).map(|n| format!("route add fd11:b:0:{n:x}::/64 dev ab proto static\n")).collect();
    line.routers[0].ip(&many).unwrap();
    let _running = start(&line, [Speaker::Sixwire; 3]);
    until(&line, 2, "fd11:b:0:1387::/64", Presence::There);
    for number in 0..3 {
        // Hellos come all the time, but what was lost never.
        wait_for("as many packets as datagrams", PATIENCE, || {
            let counters = ask(&line, number, "counters").unwrap();
            let handled = counters["counters"]["packets received"].as_u64();
            let read = datagrams_read(&line.routers[number]);
            if handled == Some(read) { Ok(()) } else { Err(format!("{read} read: {counters}")) }
        })
        .unwrap();
    }
}

/// UDP datagrams that programs of a router have read (RFC 4113).
fn datagrams_read(router: &Namespace) -> u64 {
    let table =
        router.within(|| fs::read_to_string("/proc/thread-self/net/snmp6")).unwrap().unwrap();
    let row = table.lines().find_map(|row| row.strip_prefix("Udp6InDatagrams")).unwrap();
    row.trim().parse().unwrap()
}

#[test]
fn sigterm_retracts_within_a_second_and_leaves_nothing() {
    let Some(mut lab) = Lab::or_skip() else { return };
    let line = line(&mut lab);
    let [_a, _b, mut c] = start(&line, [Speaker::Sixwire; 3]);
    until(&line, 0, RIGHT, Presence::There);
    until(&line, 2, LEFT, Presence::There);
    c.signal(Signal::SIGTERM).unwrap();
    let took = until(&line, 0, RIGHT, Presence::Gone);
    assert!(took < Duration::from_secs(1), "retracted after {took:?}");
    assert!(c.wait(PATIENCE).unwrap().success());
    assert_eq!(line.routes(2, LEFT).unwrap(), Vec::<String>::new());
    assert!(!line.socket(2).exists());
    let own = line.routers[2].command("ip").args(["-6", "route", "show", RIGHT]).output().unwrap();
    assert!(!own.stdout.is_empty(), "the static route is not ours to remove");
}

#[test]
fn a_killed_engine_comes_back_as_itself_and_its_routes_stay() {
    let Some(mut lab) = Lab::or_skip() else { return };
    let line = line(&mut lab);
    let state = lab.directory().join("state").to_string_lossy().into_owned();
    let flags = ["--hello-interval", "1s", "--state-file", &state];
    let _ends = [0, 2].map(|number| line.start(number, Speaker::Sixwire, &QUICK).unwrap());
    let mut middle = line.start(1, Speaker::Sixwire, &flags).unwrap();
    until(&line, 0, RIGHT, Presence::There);
    until(&line, 1, RIGHT, Presence::There);
    let before = std::fs::read_to_string(&state).unwrap();
    middle.kill().unwrap();
    assert_eq!(line.routes(1, RIGHT).unwrap().len(), 1, "the kernel forwards on");
    let _middle = line.start(1, Speaker::Sixwire, &flags).unwrap();
    wait_for("two neighbours after the restart", PATIENCE, || {
        let report = ask(&line, 1, "neighbours").unwrap_or_default();
        let count = report["neighbours"].as_array().map_or(0, Vec::len);
        // It has never been gone from the kernels of the line.
        assert_eq!(line.routes(0, RIGHT).unwrap().len(), 1);
        assert_eq!(line.routes(1, RIGHT).unwrap().len(), 1);
        if count == 2 { Ok(()) } else { Err(format!("{count} neighbours")) }
    })
    .unwrap();
    let id = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
    let (before, after) = (id(&before), id(&std::fs::read_to_string(&state).unwrap()));
    assert_eq!(before["router_id"], after["router_id"]);
    assert_ne!(before["seqno"], after["seqno"]);
}

#[test]
fn an_interface_that_vanishes_and_returns_is_used_again() {
    let Some(mut lab) = Lab::or_skip() else { return };
    let line = line(&mut lab);
    let _running = start(&line, [Speaker::Sixwire; 3]);
    until(&line, 0, RIGHT, Presence::There);
    line.routers[1].ip("link del bc\n").unwrap();
    let took = until(&line, 0, RIGHT, Presence::Gone);
    assert!(took < Duration::from_secs(1), "a vanished interface was noticed after {took:?}");
    line.connect(1).unwrap();
    line.routers[2].ip(&format!("route add {RIGHT} dev cb proto static\n")).unwrap();
    until(&line, 0, RIGHT, Presence::There);
    line.routers[2].ip("link set cb down\n").unwrap();
    let took = until(&line, 0, RIGHT, Presence::Gone);
    assert!(took < Duration::from_secs(1), "a lost carrier was noticed after {took:?}");
}

#[test]
fn kernel_routes_are_followed_and_other_protocols_are_not_announced() {
    let Some(mut lab) = Lab::or_skip() else { return };
    let line = line(&mut lab);
    let _running = start(&line, [Speaker::Sixwire; 3]);
    until(&line, 0, RIGHT, Presence::There);
    let right = &line.routers[2];
    right.ip("route add unreachable fd11:c:1::/64 proto static\n").unwrap();
    right.ip("route add unreachable fd11:c:2::/64 proto boot\n").unwrap();
    until(&line, 0, "fd11:c:1::/64", Presence::There);
    assert_eq!(line.routes(0, "fd11:c:2::/64").unwrap(), Vec::<String>::new());
    right.ip("route replace unreachable fd11:c:1::/64 proto boot\n").unwrap();
    until(&line, 0, "fd11:c:1::/64", Presence::Gone);
    right.ip(&format!("route del {RIGHT} dev cb\n")).unwrap();
    until(&line, 0, RIGHT, Presence::Gone);
}

#[test]
fn two_engines_share_a_namespace_on_links_of_their_own() {
    let Some(mut lab) = Lab::or_skip() else { return };
    let line = line(&mut lab);
    let _ends = [0, 2].map(|number| line.start(number, Speaker::Sixwire, &QUICK).unwrap());
    let _halves = [("ba", "1001"), ("bc", "1002")].map(|(interface, table)| {
        let mut command = line.routers[1].command(&binary("sixwire").to_string_lossy());
        command.args(["babel", "run", "-i", interface, "--table", table]);
        let log = lab.directory().join(format!("{interface}.log"));
        Process::start(command.args(QUICK), &log).unwrap()
    });
    for (table, destination) in [("1001", LEFT), ("1002", RIGHT)] {
        wait_for("each half to hear its end", PATIENCE, || {
            let mut command = line.routers[1].command("ip");
            let listed = run(command.args(["-6", "route", "show", "table", table]));
            let text = listed.unwrap_or_else(|error| error.to_string());
            if text.contains(destination) { Ok(()) } else { Err(text) }
        })
        .unwrap();
    }
    assert_eq!(line.routes(0, RIGHT).unwrap(), Vec::<String>::new(), "they are not one router");
}

//! `sixwire babel` as a service: filters, what it shares with others and what not, start and end.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fmt::Write as _;
use std::net::UdpSocket;
use std::process::Command;
use std::time::Duration;

use nix::sys::signal::Signal;
use sixwire_tests::clock::{now, wait_for};
use sixwire_tests::lab::{Lab, Process, binary, run};
use sixwire_tests::line::{Line, Speaker};

const PATIENCE: Duration = Duration::from_secs(60);
const QUICK: [&str; 2] = ["--hello-interval", "500ms"];

/// Our engine on a router of the line, with a log of its own.
fn engine(line: &Line, number: usize, log: &std::path::Path, flags: &[&str]) -> Process {
    let mut command: Command = line.routers[number].command(&binary("sixwire").to_string_lossy());
    command.args(["babel", "run"]).args(QUICK).args(flags);
    Process::start(&mut command, log).unwrap()
}

/// Waits until a router has a route to a neighbour for the destination.
fn until_there(line: &Line, number: usize, destination: &str) -> Vec<String> {
    wait_for(&format!("{destination} on router {number}"), PATIENCE, || {
        let routes = line.routes(number, destination).unwrap();
        if routes.is_empty() { Err(format!("{routes:?}")) } else { Ok(routes) }
    })
    .unwrap()
}

fn until_says(process: &Process, what: &str) {
    wait_for(&format!("the words {what:?}"), PATIENCE, || {
        let words = process.last_words();
        if words.contains(what) { Ok(()) } else { Err(words) }
    })
    .unwrap();
}

#[test]
fn filters_of_a_file_decide_what_is_heard_told_and_used() {
    let Some(mut lab) = Lab::or_skip() else { return };
    let line = Line::new(&mut lab).unwrap();
    let file = lab.directory().join("b.toml");
    let text = "[[interface]]\nname = \"ba\"\n[[interface]]\nname = \"bc\"\n\
                [[filter]]\ndirection = \"in\"\nprefix = \"fd11:1::/32\"\naction = \"deny\"\n\
                [[filter]]\ndirection = \"out\"\nprefix = \"fd11:2::/32\"\ninterface = \"bc\"\n\
                action = \"deny\"\n\
                [[filter]]\ndirection = \"install\"\nprefix = \"fd11:3::/32\"\nlength = 64\n\
                action = \"deny\"\n\
                [[filter]]\ndirection = \"out\"\nmetric = \"+1000\"\n";
    std::fs::write(&file, text).unwrap();
    let file = file.to_string_lossy();
    let socket = line.socket(1).to_string_lossy().into_owned();
    let _middle = {
        let mut command = line.routers[1].command(&binary("sixwire").to_string_lossy());
        command.args(["--config", &file, "babel", "run", "--socket", &socket]).args(QUICK);
        Process::start(&mut command, &lab.directory().join("b.log")).unwrap()
    };
    let _right = line.start(2, Speaker::Sixwire, &QUICK).unwrap();
    let announce = ["fd11:1::/64", "fd11:2::/64", "fd11:3::/64", "fd11:3::/63", "fd11:4::/64"];
    let flags: Vec<&str> = announce.iter().flat_map(|prefix| ["--announce", prefix]).collect();
    let _left = line.start(0, Speaker::Sixwire, &[&flags[..], &QUICK].concat()).unwrap();
    until_there(&line, 2, "fd11:4::/64");
    until_there(&line, 2, "fd11:3::/63");
    let has = |number: usize, prefix: &str| !line.routes(number, prefix).unwrap().is_empty();
    assert_eq!(announce.map(|one| has(1, one)), [false, true, false, true, true]);
    assert_eq!(announce.map(|one| has(2, one)), [false, false, false, true, true]);
    let listed = |number: usize| {
        let mut command = line.routers[number].command(&binary("sixwire").to_string_lossy());
        let socket = line.socket(number);
        run(command.args(["babel", "routes", "--json", "--socket"]).arg(socket)).unwrap()
    };
    let report: serde_json::Value = serde_json::from_str(&listed(1)).unwrap();
    let routes = report["routes"].as_array().unwrap();
    let denied = routes.iter().find(|one| one["destination"] == "fd11:3::/64").unwrap();
    assert_eq!(denied["state"], "denied");
    let report: serde_json::Value = serde_json::from_str(&listed(2)).unwrap();
    let routes = report["routes"].as_array().unwrap();
    let far = routes.iter().find(|one| one["destination"] == "fd11:4::/64").unwrap();
    assert_eq!((&far["refmetric"], &far["metric"]), (&1096.into(), &1192.into()));
}

#[test]
fn one_state_file_and_one_table_are_for_one_engine() {
    let Some(mut lab) = Lab::or_skip() else { return };
    let line = Line::new(&mut lab).unwrap();
    let state = lab.directory().join("state").to_string_lossy().into_owned();
    let first = engine(
        &line,
        1,
        &lab.directory().join("first.log"),
        &["-i", "ba", "--state-file", &state, "--table", "1001"],
    );
    until_says(&first, "using an interface");
    for (flags, about) in [
        (["--state-file", &state, "--table", "1002"], "another --state-file"),
        (["--state-file", "/dev/null.none", "--table", "1001"], "another --table"),
    ] {
        let log = lab.directory().join("second.log");
        let mut second = engine(&line, 1, &log, &[&["-i", "bc"], &flags[..]].concat());
        assert!(!second.wait(PATIENCE).unwrap().success());
        assert!(second.last_words().contains(about), "{}", second.last_words());
    }
}

#[test]
fn a_port_that_is_taken_is_tried_until_it_is_free() {
    let Some(mut lab) = Lab::or_skip() else { return };
    let line = Line::new(&mut lab).unwrap();
    let taken = line.routers[1].within(|| UdpSocket::bind("[::]:6696")).unwrap().unwrap();
    let _left = line.start(0, Speaker::Sixwire, &["--announce", "fd11:1::/64"]).unwrap();
    let middle = engine(&line, 1, &lab.directory().join("b.log"), &["-i", "ba", "-i", "bc"]);
    until_says(&middle, "trying again");
    assert!(line.routes(1, "fd11:1::/64").unwrap().is_empty());
    drop(taken);
    until_there(&line, 1, "fd11:1::/64");
}

#[test]
fn forwarding_is_switched_on_if_told_and_its_lack_is_told() {
    let Some(mut lab) = Lab::or_skip() else { return };
    let line = Line::new(&mut lab).unwrap();
    let router = &line.routers[1];
    router.sysctl(&["net/ipv6/conf/all/forwarding=0", "net/ipv4/ip_forward=0"]).unwrap();
    let read = |key: &str| {
        let path = format!("/proc/sys/net/{key}");
        router.within(|| std::fs::read_to_string(path)).unwrap().unwrap().trim().to_owned()
    };
    let warned = engine(&line, 1, &lab.directory().join("off.log"), &["-i", "ba"]);
    until_says(&warned, "does not forward IPv6 and IPv4");
    drop(warned);
    assert_eq!(read("ipv6/conf/all/forwarding"), "0");
    let told = engine(&line, 1, &lab.directory().join("on.log"), &["-i", "ba", "--forwarding"]);
    until_says(&told, "forwards IPv6 and IPv4 from now on");
    assert_eq!(
        (read("ipv6/conf/all/forwarding"), read("ipv4/ip_forward")),
        ("1".into(), "1".into())
    );
}

#[test]
fn own_packets_leave_from_the_preferred_address() {
    let Some(mut lab) = Lab::or_skip() else { return };
    let line = Line::new(&mut lab).unwrap();
    line.routers[1].ip("addr add fd11:b::1/128 dev lo\n").unwrap();
    let _left = line.start(0, Speaker::Sixwire, &["--announce", "fd11:1::/64"]).unwrap();
    let log = lab.directory().join("b.log");
    let flags = ["-i", "ba", "--preferred-source"];
    let mut wrong = engine(&line, 1, &log, &[&flags[..], &["fd11:b::2"]].concat());
    assert!(!wrong.wait(PATIENCE).unwrap().success());
    assert!(wrong.last_words().contains("no address of this machine"), "{}", wrong.last_words());
    let _right = engine(&line, 1, &log, &[&flags[..], &["fd11:b::1"]].concat());
    let routes = until_there(&line, 1, "fd11:1::/64");
    assert!(routes[0].contains("src fd11:b::1"), "{routes:?}");
}

#[test]
fn a_new_ipv4_address_is_announced_as_next_hop_without_losing_the_link() {
    let Some(mut lab) = Lab::or_skip() else { return };
    let line = Line::new(&mut lab).unwrap();
    let _left = line.start(0, Speaker::Sixwire, &["--announce", "10.11.1.0/24"]).unwrap();
    let _middle = line.start(1, Speaker::Sixwire, &QUICK).unwrap();
    let route = |via: &str| {
        wait_for(&format!("10.11.1.0/24 via {via}"), PATIENCE, || {
            let mut ip = Command::new("ip");
            let listed = ip.args(["-n", line.routers[1].name(), "route", "show", "10.11.1.0/24"]);
            let text = run(listed).map_err(|error| error.to_string())?;
            if text.contains(&format!("via {via}")) { Ok(()) } else { Err(text) }
        })
        .unwrap();
    };
    route("inet6 fe80::");
    line.routers[0].ip("addr add 172.16.0.1/32 dev ab\n").unwrap();
    route("172.16.0.1");
    line.routers[0].ip("addr del 172.16.0.1/32 dev ab\n").unwrap();
    route("inet6 fe80::");
}

#[test]
fn the_end_of_an_engine_with_many_routes_is_quick_and_touches_nobody_elses() {
    const MANY: usize = 50_000;
    let Some(mut lab) = Lab::or_skip() else { return };
    let line = Line::new(&mut lab).unwrap();
    let add = |lines: &mut String, n: usize, rest: &str| {
        writeln!(lines, "route add fd11:{:x}:{:x}::/64 {rest}", n >> 16, n & 0xffff).unwrap();
    };
    let mut lines = String::new();
    (0..MANY).for_each(|n| add(&mut lines, n, "dev ab proto static"));
    line.routers[0].ip(&lines).unwrap();
    // Of another protocol, of ours in another table, and of ours with another metric, to the same places.
    let mut others = String::new();
    for rest in [
        "dev ba proto static metric 6",
        "dev ba proto 42 metric 6326 table 1001",
        "dev ba proto 42 metric 7",
    ] {
        (0..10).for_each(|n| add(&mut others, n, rest));
    }
    let _left = line.start(0, Speaker::Sixwire, &[]).unwrap();
    let mut middle = engine(&line, 1, &lab.directory().join("b.log"), &["-i", "ba"]);
    let own = || {
        let mut ip = Command::new("ip");
        let args = ["-6", "route", "show", "proto", "42", "metric", "6326"];
        run(ip.args(["-n", line.routers[1].name()]).args(args)).unwrap().lines().count()
    };
    wait_for("all routes", PATIENCE, || {
        let count = own();
        if count == MANY { Ok(()) } else { Err(format!("{count}")) }
    })
    .unwrap();
    line.routers[1].ip(&others).unwrap();
    let start = now();
    middle.signal(Signal::SIGTERM).unwrap();
    assert!(middle.wait(PATIENCE).unwrap().success());
    let took = now() - start;
    println!("an engine with {MANY} routes ended in {took:?}");
    assert!(took < Duration::from_secs(1), "{took:?}");
    let mut ip = Command::new("ip");
    let args = ["-6", "route", "show", "table", "all"];
    let left = run(ip.args(["-n", line.routers[1].name()]).args(args)).unwrap();
    assert_eq!(left.lines().filter(|one| one.starts_with("fd11:")).count(), 30, "{left}");
}

#[test]
fn a_route_whose_place_is_taken_is_said_to_be_missing_and_made_once_it_is_free() {
    const TAKEN: &str = "fd11:a::/64";
    let Some(mut lab) = Lab::or_skip() else { return };
    let line = Line::new(&mut lab).unwrap();
    let place = format!("{TAKEN} dev bc metric 6326 proto 99");
    line.routers[1].ip(&format!("route add {place}\n")).unwrap();
    let flags = [&QUICK[..], &["--announce", TAKEN]].concat();
    let _left = line.start(0, Speaker::Sixwire, &flags).unwrap();
    let _middle = line.start(1, Speaker::Sixwire, &QUICK).unwrap();
    let installed = |what: bool| {
        wait_for(&format!("a route that is installed: {what}"), PATIENCE, || {
            let mut command = line.routers[1].command(&binary("sixwire").to_string_lossy());
            command.args(["babel", "routes", "--json", "--socket"]).arg(line.socket(1));
            let said = run(&mut command).map_err(|error| format!("{error:#}"))?;
            let report: serde_json::Value = serde_json::from_str(&said).unwrap();
            let routes = report["routes"].as_array().unwrap();
            let found = |one: &&serde_json::Value| {
                one["destination"] == TAKEN && one["state"] == "selected"
            };
            match routes.iter().find(found).map(|one| &one["installed"]) {
                Some(value) if *value == what => Ok(()),
                _ => Err(said),
            }
        })
        .unwrap();
    };
    installed(false);
    assert_eq!(line.routes(1, TAKEN).unwrap(), Vec::<String>::new(), "the other's leads to nobody");
    line.routers[1].ip(&format!("route del {place}\n")).unwrap();
    installed(true);
    until_there(&line, 1, TAKEN);
}

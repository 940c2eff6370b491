//! `sixwire babel` under fire: packets of all sizes, rubbish, and neighbours that are none.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::net::{Ipv6Addr, SocketAddrV6, UdpSocket};
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use sixwire_proto::babel::{GROUP, Hello, HelloKind, Ihu, PORT, RouteKey, Tlv, Update, Writer};
use sixwire_proto::interval::Interval;
use sixwire_proto::metric::{Cost, Metric};
use sixwire_proto::router_id::RouterId;
use sixwire_proto::seed::Seed;
use sixwire_proto::seqno::Seqno;
use sixwire_tests::clock::{pause, wait_for};
use sixwire_tests::fuzz::{Mutator, corpus};
use sixwire_tests::lab::{Lab, Process, binary, run};
use sixwire_tests::line::{Line, Speaker};

const LEFT: &str = "fd11:a::/64";
const PATIENCE: Duration = Duration::from_secs(60);
const QUICK: [&str; 2] = ["--hello-interval", "1s"];

/// A line whose left router announces [`LEFT`]; the right one is ours to send from.
fn line(lab: &mut Lab) -> (Line, Process, Process) {
    let line = Line::new(lab).unwrap();
    line.routers[0].ip(&format!("route add {LEFT} dev ab proto static\n")).unwrap();
    let left = line.start(0, Speaker::Sixwire, &QUICK).unwrap();
    let middle = line.start(1, Speaker::Sixwire, &QUICK).unwrap();
    (line, left, middle)
}

fn await_left(line: &Line) {
    wait_for("the route of the left", PATIENCE, || match line.routes(1, LEFT).unwrap() {
        routes if routes.is_empty() => Err("none".to_owned()),
        _ => Ok(()),
    })
    .unwrap();
}

/// What the engine in the middle says.
fn ask(line: &Line, what: &str) -> Value {
    let mut command: Command = line.routers[1].command(&binary("sixwire").to_string_lossy());
    command.args(["babel", what, "--json", "--socket"]).arg(line.socket(1));
    serde_json::from_str(&run(&mut command).unwrap()).unwrap()
}

fn false_address(number: u16) -> Ipv6Addr {
    Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0xbad, number)
}

/// Sockets on the right with so many link-local addresses.
fn false_neighbours(line: &Line, count: u16) -> (Vec<UdpSocket>, u32) {
    let right = &line.routers[2];
    let add = |number| format!("address add {}/64 dev cb nodad\n", false_address(number));
    right.ip(&(1..=count).map(add).collect::<String>()).unwrap();
    let scope = right.interface_index("cb").unwrap().unwrap();
    let bind = |number| UdpSocket::bind(SocketAddrV6::new(false_address(number), PORT, 0, scope));
    let sockets = right.within(|| (1..=count).map(|number| bind(number).unwrap()).collect());
    (sockets.unwrap(), scope)
}

/// The address of the middle on its right link.
fn middle_address(line: &Line) -> Ipv6Addr {
    let mut command = Command::new("ip");
    command.args(["-j", "-n", line.routers[1].name(), "-6", "address", "show", "dev", "bc"]);
    let shown: Value = serde_json::from_str(&run(&mut command).unwrap()).unwrap();
    shown[0]["addr_info"][0]["local"].as_str().unwrap().parse().unwrap()
}

fn greeting(seqno: u16) -> [Tlv; 2] {
    let (kind, interval) = (HelloKind::Multicast, Interval(1000));
    [
        Tlv::Hello(Hello { kind, seqno: Seqno(seqno), interval, timestamp: None }),
        Tlv::Ihu(Ihu { address: None, rxcost: Cost(96), interval, timestamps: None }),
    ]
}

fn packet(source: Ipv6Addr, tlvs: &[Tlv]) -> Vec<u8> {
    let mut writer = Writer::new(1452, source);
    tlvs.iter().for_each(|tlv| writer.push(tlv).unwrap());
    writer.finish().unwrap().bytes
}

fn update(prefix: &str, from: Ipv6Addr) -> Tlv {
    Tlv::Update(Update {
        route: Some(RouteKey::to(prefix.parse().unwrap())),
        router_id: Some(RouterId::new([7; 8]).unwrap()),
        next_hop: Some(from.into()),
        seqno: Seqno(1),
        metric: Metric(10),
        interval: Interval(1600),
    })
}

/// The packet with padding before its TLVs, up to so many octets.
fn padded(packet: &[u8], size: usize) -> Vec<u8> {
    let mut padding = Vec::new();
    while packet.len() + padding.len() < size {
        let room = size - packet.len() - padding.len();
        match u8::try_from(room.min(257) - room.min(1) - usize::from(room > 1)) {
            Ok(length) if room > 1 => {
                padding.extend([1, length]);
                padding.resize(padding.len() + usize::from(length), 0);
            }
            _ => padding.push(0),
        }
    }
    let mut padded = [&packet[..4], &padding, &packet[4..]].concat();
    let body = u16::try_from(padded.len() - 4).unwrap().to_be_bytes();
    padded[2..4].copy_from_slice(&body);
    padded
}

/// Seconds of processor time that a process has used.
fn processor_time(process: &Process) -> f64 {
    let stat = fs::read_to_string(format!("/proc/{}/stat", process.pid())).unwrap();
    let after_name = stat.rsplit_once(") ").unwrap().1;
    let ticks = after_name.split_whitespace().skip(11).take(2);
    ticks.map(|field| field.parse::<f64>().unwrap()).sum::<f64>() / 100.0
}

#[test]
fn packets_of_all_sizes_are_received() {
    let Some(mut lab) = Lab::or_skip() else { return };
    let (line, _left, _middle) = line(&mut lab);
    await_left(&line);
    let (sockets, scope) = false_neighbours(&line, 1);
    let to = SocketAddrV6::new(middle_address(&line), PORT, 0, scope);
    let source = false_address(1);
    let sizes = [0, 100, 512, 1000, 1452];
    let prefix = |size: usize| format!("fd77:{:x}::/64", size + 1);
    let mut round = 0;
    wait_for("a route from each packet", PATIENCE, || {
        round += 1;
        sockets[0].send_to(&packet(source, &greeting(round)), to).unwrap();
        for size in sizes {
            let update = packet(source, &[update(&prefix(size), source)]);
            sockets[0].send_to(&padded(&update, size), to).unwrap();
        }
        let routes = ask(&line, "routes").to_string();
        let missing: Vec<_> =
            sizes.into_iter().filter(|size| !routes.contains(&prefix(*size))).collect();
        if missing.is_empty() { Ok(()) } else { Err(format!("{missing:?} missing in {routes}")) }
    })
    .unwrap();
}

#[test]
fn packets_leave_from_babels_port_and_go_no_further_than_one_hop() {
    let Some(mut lab) = Lab::or_skip() else { return };
    let (line, _left, _middle) = line(&mut lab);
    let _right = line.start(2, Speaker::Babeld, &[]).unwrap();
    let mut command = line.routers[1].command("tcpdump");
    command.args(["-n", "-v", "-l", "-c", "12", "-Q", "out", "-i", "bc", "udp", "port", "6696"]);
    let output = command.output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let packets: Vec<_> = text.lines().filter(|line| line.contains("next-header UDP")).collect();
    assert!(packets.len() >= 10, "{text}");
    for packet in &packets {
        assert!(packet.contains("hlim 1,"), "{packet}");
        assert!(packet.contains(".6696 > ") && packet.contains(".6696: "), "{packet}");
    }
    assert!(packets.iter().any(|packet| packet.contains("> fe80::")), "unicast as well\n{text}");
    assert!(packets.iter().any(|packet| packet.contains("> ff02::1:6")), "multicast\n{text}");
}

#[test]
fn ten_thousand_hostile_packets_do_no_harm() {
    let Some(mut lab) = Lab::or_skip() else { return };
    let (line, _left, mut middle) = line(&mut lab);
    await_left(&line);
    let before = (processor_time(&middle), middle.resident_kib().unwrap());
    let (sockets, scope) = false_neighbours(&line, 400);
    let to = SocketAddrV6::new(GROUP, PORT, 0, scope);
    let (mut mutator, mut seed) = (Mutator::new(corpus("packet"), 1), Seed::new(2));
    for round in 0..10_000_usize {
        let number = seed.below(sockets.len());
        let source = false_address(u16::try_from(number + 1).unwrap());
        let octets = match round % 3 {
            0 => mutator.input(),
            1 => (0..seed.below(1400)).map(|_| seed.next_u64().to_le_bytes()[0]).collect(),
            _ => packet(source, &greeting(u16::try_from(round).unwrap())),
        };
        // A full queue, or a packet too large: lost like any other.
        let _ = sockets[number].send_to(&octets[..octets.len().min(1452)], to);
        if round % 20 == 19 {
            pause(Duration::from_millis(10));
        }
    }
    assert_eq!(middle.ended().unwrap(), None, "{}", middle.last_words());
    let neighbours = ask(&line, "neighbours")["neighbours"].as_array().unwrap().len();
    assert!((2..=257).contains(&neighbours), "{neighbours} neighbours");
    assert!(!line.routes(1, LEFT).unwrap().is_empty(), "the good neighbour's route is lost");
    let log = lab.directory().join(format!("{}.log", line.routers[1].name()));
    let log = fs::metadata(log).unwrap().len();
    assert!(log < 100_000, "{log} octets of log");
    let (processor, memory) = (processor_time(&middle), middle.resident_kib().unwrap());
    println!(
        "10000 packets: {:.2} s of processor time, {} KiB more memory ({memory} KiB), {neighbours} \
         neighbours, {log} octets of log",
        processor - before.0,
        memory.saturating_sub(before.1),
    );
    assert!(memory < before.1 + 32 * 1024, "{memory} KiB");
}

/// Processes that never rest, until they are dropped.
fn busy(lab: &Lab, count: usize) -> Vec<Process> {
    let log = lab.directory().join("busy.log");
    let start =
        |_| Process::start(Command::new("sh").args(["-c", "while :; do :; done"]), &log).unwrap();
    (0..count).map(start).collect()
}

#[test]
fn a_machine_at_load_16_loses_no_neighbour_and_no_route() {
    let Some(mut lab) = Lab::or_skip() else { return };
    let line = Line::new(&mut lab).unwrap();
    line.routers[0].ip(&format!("route add {LEFT} dev ab proto static\n")).unwrap();
    let _routers = [0, 1, 2]
        .map(|number| line.start(number, Speaker::Sixwire, &["--profile", "fast"]).unwrap());
    wait_for("the route at the far end", PATIENCE, || match line.routes(2, LEFT).unwrap() {
        routes if routes.is_empty() => Err("none".to_owned()),
        _ => Ok(()),
    })
    .unwrap();
    let logs = [0, 1, 2].map(|number| lab.directory().join(format!("monitor{number}.log")));
    let mut monitors = [0, 1, 2].map(|number| {
        let mut command = line.routers[number].command(&binary("sixwire").to_string_lossy());
        command.args(["babel", "monitor", "--json", "--socket"]).arg(line.socket(number));
        Process::start(&mut command, &logs[number]).unwrap()
    });
    let told = |number: usize| fs::read_to_string(&logs[number]).unwrap_or_default();
    for number in 0..3 {
        wait_for("what is there", PATIENCE, || {
            let told = told(number);
            let (neighbour, route) = (told.contains("\"neighbour\""), told.contains(LEFT));
            if neighbour && (route || number == 0) { Ok(()) } else { Err(told) }
        })
        .unwrap();
    }
    let busy = busy(&lab, 16);
    pause(Duration::from_secs(20));
    drop(busy);
    for (number, monitor) in monitors.iter_mut().enumerate() {
        let told = told(number);
        assert_eq!(monitor.ended().unwrap(), None, "monitor {number}: {told}");
        assert!(!told.contains("\"flush\""), "router {number}: {told}");
    }
    assert!(!line.routes(2, LEFT).unwrap().is_empty());
}

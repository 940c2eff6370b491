//! The laboratory itself: what it claims to block is blocked, what it claims to count is counted.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::net::{Ipv6Addr, SocketAddr, UdpSocket};
use std::process::Command;
use std::time::Duration;

use sixwire_tests::clock::{pause, wait_for};
use sixwire_tests::lab::{self, Families, Gate, Host, Lab, Namespace, Process, Underlay};
use sixwire_tests::ping::{Flow, Pinger, once};

fn socket(host: &Host) -> UdpSocket {
    let socket = host.namespace.within(|| UdpSocket::bind((host.address, 4000))).unwrap().unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    socket
}

/// Sends one datagram and returns where the receiver saw it come from.
fn send(from: &UdpSocket, to: &UdpSocket, address: SocketAddr) -> Option<SocketAddr> {
    from.send_to(b"hello", address).ok();
    to.recv_from(&mut [0; 16]).ok().map(|(_, source)| source)
}

#[test]
fn a_nat_gateway_lets_out_and_keeps_out() {
    let Some(mut lab) = Lab::or_skip() else { return };
    let mut underlay = Underlay::new(&mut lab, Families::V4).unwrap();
    let open = underlay.router(&mut lab, Gate::Open).unwrap();
    let nat = underlay.router(&mut lab, Gate::Masquerade).unwrap();
    let public = underlay.host(&mut lab, open, "public").unwrap();
    let private = underlay.host(&mut lab, nat, "private").unwrap();
    let (outer, inner) = (socket(&public), socket(&private));
    let mapped = SocketAddr::from((private.outside, 4000));
    assert_eq!(send(&outer, &inner, mapped), None, "nobody asked for it");
    assert_eq!(
        send(&outer, &inner, SocketAddr::from((private.address, 4000))),
        None,
        "no such route"
    );
    let seen = send(&inner, &outer, SocketAddr::from((public.address, 4000)));
    assert_eq!(seen, Some(mapped), "the gateway's address, the port kept");
    assert!(send(&outer, &inner, mapped).is_some(), "an answer passes");
}

#[test]
fn a_firewall_without_udp_lets_tcp_through() {
    let Some(mut lab) = Lab::or_skip() else { return };
    let mut underlay = Underlay::new(&mut lab, Families::V4).unwrap();
    let open = underlay.router(&mut lab, Gate::Open).unwrap();
    let closed = underlay.router(&mut lab, Gate::NoUdp).unwrap();
    let public = underlay.host(&mut lab, open, "public").unwrap();
    let walled = underlay.host(&mut lab, closed, "walled").unwrap();
    let (outer, inner) = (socket(&public), socket(&walled));
    assert_eq!(send(&inner, &outer, SocketAddr::from((public.address, 4000))), None);
    let address = SocketAddr::from((public.address, 443));
    let listener =
        public.namespace.within(|| std::net::TcpListener::bind(address)).unwrap().unwrap();
    walled.namespace.within(|| std::net::TcpStream::connect(address)).unwrap().unwrap();
    drop(listener);
}

#[test]
fn a_cut_drops_udp_between_two_hosts_and_heals() {
    let Some(mut lab) = Lab::or_skip() else { return };
    let mut underlay = Underlay::new(&mut lab, Families::V4AndV6).unwrap();
    let near = underlay.router(&mut lab, Gate::Open).unwrap();
    let nat = underlay.router(&mut lab, Gate::Masquerade).unwrap();
    let hosts = [(near, "a"), (near, "c"), (nat, "d")]
        .map(|(router, name)| underlay.host(&mut lab, router, name).unwrap());
    let sockets = hosts.each_ref().map(socket);
    let to = |index: usize| SocketAddr::from((hosts[index].address, 4000));
    for sender in [1, 2] {
        assert!(send(&sockets[sender], &sockets[0], to(0)).is_some());
        underlay.cut(&hosts[sender], &hosts[0]).unwrap();
        assert_eq!(send(&sockets[sender], &sockets[0], to(0)), None);
        underlay.heal(&hosts[0], &hosts[sender]).unwrap();
        assert!(send(&sockets[sender], &sockets[0], to(0)).is_some());
    }
    let flow = Flow {
        from: hosts[0].namespace.clone(),
        source: hosts[0].address6,
        to: hosts[1].address6.unwrap(),
    };
    assert!(once(&[flow]).unwrap()[0].is_some(), "IPv6 is there when asked for");
}

/// Two namespaces with one link: pings from the first to the second.
fn pair(lab: &mut Lab) -> (Namespace, Namespace, Flow) {
    let (left, right) = (lab.namespace("left").unwrap(), lab.namespace("right").unwrap());
    left.ip(&format!("link add e0 type veth peer name e0 netns {}\n", right.name())).unwrap();
    for (side, last) in [(&left, 1), (&right, 2)] {
        side.ip(&format!("addr add fd00:1::{last}/64 dev e0 nodad\nlink set e0 up\n")).unwrap();
    }
    let address = |last| Ipv6Addr::new(0xfd00, 1, 0, 0, 0, 0, 0, last);
    let flow = Flow { from: left.clone(), source: Some(address(1)), to: address(2) };
    wait_for("the link", Duration::from_secs(5), || {
        once(std::slice::from_ref(&flow)).unwrap()[0].ok_or_else(|| "no answer".to_owned())
    })
    .unwrap();
    (left, right, flow)
}

#[test]
fn the_pinger_counts_what_is_dropped_and_measures_the_gap() {
    let Some(mut lab) = Lab::or_skip() else { return };
    let (_left, right, flow) = pair(&mut lab);
    let before = right.traffic("e0").unwrap().rx_packets;
    let pinger = Pinger::start(&[flow.clone(), flow], Duration::from_millis(5)).unwrap();
    let sent = |least: usize| {
        let enough = || {
            let sent = pinger.records()[1].probes.len();
            if sent >= least { Ok(sent) } else { Err(format!("{sent} sent")) }
        };
        wait_for("probes", Duration::from_secs(5), enough).unwrap()
    };
    sent(40);
    right.nft("table inet t { chain c { type filter hook input priority 0; icmpv6 type echo-request counter drop; }; }").unwrap();
    let from = sent(0);
    sent(from + 50);
    let rules = right.nft("list table inet t").unwrap();
    right.nft("delete table inet t").unwrap();
    let healed = sent(0);
    sent(healed + 40);
    let records = pinger.stop();
    assert!(rules.contains("counter packets"), "{rules}");
    let lost: usize = records.iter().map(sixwire_tests::ping::Record::lost).sum();
    let total: usize = records.iter().map(|record| record.probes.len()).sum();
    for record in &records {
        assert!((50..=record.probes.len() - 80).contains(&record.lost()), "{lost} of {total}");
        assert!(record.longest_gap() >= Duration::from_millis(200), "{:?}", record.longest_gap());
        assert!(record.round_trips()[0] > Duration::ZERO);
    }
    let arrived = right.traffic("e0").unwrap().rx_packets - before;
    assert!(arrived >= total as u64, "{arrived} arrived of {total}");
}

#[test]
fn a_flow_without_a_route_is_all_loss() {
    let Some(mut lab) = Lab::or_skip() else { return };
    let (_left, _right, mut flow) = pair(&mut lab);
    flow.to = "fd00:2::1".parse().unwrap();
    assert_eq!(once(&[flow]).unwrap(), [None]);
}

#[test]
fn pinging_a_thousand_times_a_second_loses_nothing_on_a_clean_link() {
    let Some(mut lab) = Lab::or_skip() else { return };
    let (_left, _right, flow) = pair(&mut lab);
    let pinger = Pinger::start(&[flow], Duration::from_millis(1)).unwrap();
    pause(Duration::from_millis(500));
    let record = pinger.stop().remove(0);
    assert!(record.probes.len() > 100, "{}", record.probes.len());
    assert_eq!(record.lost(), 0, "of {}", record.probes.len());
}

/// A process that opens a lab, starts something in it, says so, and is killed.
const CRASH: &str = "SIXWIRE_LAB_CRASH";

#[test]
fn a_killed_labs_namespaces_and_processes_are_swept_by_the_next() {
    let Some(lab) = Lab::or_skip() else { return };
    if std::env::var_os(CRASH).is_some() {
        return crash(lab);
    }
    let log = lab.directory().join("crash.log");
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "--nocapture"]).env(CRASH, "1");
    command.arg("a_killed_labs_namespaces_and_processes_are_swept_by_the_next");
    let mut victim = Process::start(&mut command, &log).unwrap();
    let prefix = format!("sw{}.", victim.pid());
    let ready =
        || if victim.last_words().contains("READY") { Ok(()) } else { Err(victim.last_words()) };
    wait_for("the other lab", Duration::from_secs(20), ready).unwrap();
    let of_victim = || -> Vec<String> {
        let entries = std::fs::read_dir("/run/netns").unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name.starts_with(&prefix)).collect()
    };
    drop(Lab::new().unwrap());
    assert_eq!(of_victim().len(), 1, "a living owner's lab stays");
    victim.kill().unwrap();
    assert_eq!(of_victim().len(), 1, "nobody cleaned up");
    drop(Lab::new().unwrap());
    assert_eq!(of_victim(), [""; 0]);
    assert!(lab.directory().exists(), "our own lab stays");
}

fn crash(mut lab: Lab) {
    let namespace = lab.namespace("x").unwrap();
    let mut sleeper = namespace.command("sleep").arg("600").spawn().unwrap();
    wait_for("the sleeper to enter", Duration::from_secs(5), || {
        if namespace.processes().unwrap().is_empty() { Err("not inside") } else { Ok(()) }
            .map_err(str::to_owned)
    })
    .unwrap();
    println!("READY");
    sleeper.wait().unwrap();
}

#[test]
fn a_program_inside_sees_its_own_run_and_interfaces() {
    let Some(mut lab) = Lab::or_skip() else { return };
    let namespace = lab.namespace("own").unwrap();
    let run = lab.directory().join("own.run");
    std::fs::create_dir(&run).unwrap();
    let mut command = Command::new(lab::binary("sixwire-lab"));
    command.arg("enter").arg(namespace.path()).arg(&run).args(["--die-with-parent", "--"]);
    command.args(["sh", "-c", "echo here >/run/mark; ls /sys/class/net; exit 3"]);
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(3), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(String::from_utf8_lossy(&output.stdout), "lo\n");
    assert_eq!(std::fs::read_to_string(run.join("mark")).unwrap(), "here\n");
    assert!(!std::path::Path::new("/run/mark").exists());
}

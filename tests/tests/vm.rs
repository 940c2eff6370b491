//! Networks on the kernel's WireGuard, and wires that delay: `scripts/test` runs this inside `scripts/vm`.

use std::time::Duration;

use sixwire_tests::clock::wait_for;
use sixwire_tests::lab::{Lab, Plane, Process, binary, run};
use sixwire_tests::line::Line;
use sixwire_tests::scenario::{self, play, six, two};

#[test]
fn a_network_survives_what_its_parts_do() {
    // One network for all: starting six nodes is what takes the time here.
    play(
        six(Plane::Kernel),
        &[
            scenario::all_pairs_reach_each_other,
            scenario::stopped_daemon_keeps_forwarding,
            scenario::crashed_daemon_loses_no_packet,
            scenario::cut_tunnel_is_routed_around,
            scenario::lost_registry_is_a_non_event,
        ],
    );
}

#[test]
fn down_leaves_nothing() {
    play(two(Plane::Kernel), &[scenario::down_leaves_nothing]);
}

#[test]
fn flows_share_two_uplinks() {
    play(two(Plane::Kernel), &[scenario::flows_share_two_uplinks]);
}

#[test]
fn a_stock_router_carries_our_routes() {
    play(two(Plane::Kernel), &[scenario::stock_router_carries_our_routes]);
}

#[test]
fn a_bad_wire_is_measured_and_lived_with() {
    play(two(Plane::Kernel), &[scenario::bad_wire_is_measured_and_lived_with]);
}

/// BIRD 2.0.12 does not measure delays.
#[test]
fn babeld_and_ours_agree_on_the_delay_between_them() {
    let Some(mut lab) = Lab::or_skip() else { return };
    let line = Line::new(&mut lab).unwrap();
    let mut tc = line.routers[1].command("tc");
    run(tc.args("qdisc add dev ba root netem delay 50ms".split(' '))).unwrap();
    let mut ours = line.routers[0].command(&binary("sixwire").to_string_lossy());
    ours.args(["babel", "run", "--hello-interval", "1s", "-i", "ab=96,rtt-max=120ms", "--socket"]);
    let _ours =
        Process::start(ours.arg(line.socket(0)), &lab.directory().join("ours.log")).unwrap();
    let dump = lab.directory().join("babeld.log");
    let mut babeld = line.routers[1].command("babeld");
    babeld.args(["-I", "", "-S", "", "-d", "1", "-h", "1", "-H", "1"]);
    babeld.args(["-C", "interface ba type tunnel enable-timestamps true"]);
    let _babeld =
        Process::start(babeld.args(["-C", "redistribute local deny", "ba"]), &dump).unwrap();
    let as_set = |rtt: Option<f64>| rtt.filter(|rtt| (48.0..75.0).contains(rtt));
    wait_for("ours to measure it, and to charge for it", PATIENCE, || {
        let mut ask = line.routers[0].command(&binary("sixwire").to_string_lossy());
        ask.args(["babel", "neighbours", "--json", "--socket"]).arg(line.socket(0));
        let said = run(&mut ask).map_err(|error| format!("{error:#}"))?;
        let report: serde_json::Value = serde_json::from_str(&said).unwrap();
        let neighbour = &report["neighbours"][0];
        // 96 for what lies between 10 and 120 ms.
        let charged = neighbour["rtt_cost"].as_u64().filter(|cost| (33..57).contains(cost));
        as_set(neighbour["rtt_ms"].as_f64()).and(charged).map(drop).ok_or(said)
    })
    .unwrap();
    wait_for("babeld to measure it", PATIENCE, || {
        let log = std::fs::read_to_string(&dump).unwrap_or_default();
        let last = log.lines().rev().find(|line| line.starts_with("Neighbour "));
        let last = last.unwrap_or("no neighbour");
        let rtt = last.split_whitespace().skip_while(|word| *word != "rtt").nth(1);
        as_set(rtt.and_then(|rtt| rtt.parse().ok())).map(drop).ok_or_else(|| last.to_owned())
    })
    .unwrap();
}

const PATIENCE: Duration = Duration::from_secs(60);

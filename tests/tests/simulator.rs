//! Real engines in virtual time: no loop at any instant, shortest paths in a stated time, little traffic.

use std::time::Duration;

use sixwire_tests::simulator::{Fault, Quality, Simulation, Storm, Topology};

/// After the last of any number of faults, all of them repaired.
const HEALED: Duration = secs(30);
/// After one change in a quiet network that nobody is told of: Hellos must be missed.
const SETTLED: Duration = secs(25);
/// After one change that the nodes next to it know.
const TOLD: Duration = secs(1);

const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// A different network of 10 to 60 nodes for each seed.
fn topology(seed: u16) -> Topology {
    let nodes = 10 + usize::from(seed * 17 % 51);
    match seed % 6 {
        0 => Topology::line(nodes / 2),
        1 => Topology::ring(nodes),
        2 => Topology::grid(3 + nodes / 15),
        3 => Topology::star(nodes),
        4 => Topology::mesh(nodes, 4, seed.into()),
        _ => Topology::mesh(nodes / 2, 10, seed.into()),
    }
}

fn weather(seeds: std::ops::Range<u16>, storm: Storm, quality: Quality) -> anyhow::Result<()> {
    for seed in seeds {
        let mut network = Simulation::new(&topology(seed), seed.into());
        network.quality(quality);
        network.storm(storm, 60, secs(9))?;
        network.repair();
        network.settle(HEALED)?;
    }
    Ok(())
}

#[test]
fn no_storm_on_good_wires_ever_makes_a_loop_and_all_heals() {
    weather(0..24, Storm::Strict, Quality::GOOD).unwrap();
}

#[test]
fn no_storm_on_bad_wires_ever_makes_a_loop_and_all_heals() {
    weather(100..124, Storm::Strict, Quality::BAD).unwrap();
}

#[test]
fn restarts_and_moved_prefixes_loop_for_a_moment_at_most_and_all_heals() {
    weather(200..224, Storm::Anything, Quality::BAD).unwrap();
}

#[test]
fn a_lan_heals_too() {
    for seed in 300..303 {
        let mut network = Simulation::new(&Topology::lan(12), seed);
        network.quality(Quality::BAD);
        network.storm(Storm::Anything, 40, secs(9)).unwrap();
        network.repair();
        network.settle(HEALED).unwrap();
    }
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    let run = |seed| {
        let mut network = Simulation::new(&Topology::mesh(20, 4, 3), seed);
        network.quality(Quality::BAD);
        network.storm(Storm::Anything, 30, secs(5)).unwrap();
        assert!(network.count().packets > 5_000);
        (network.trace(), network.count())
    };
    let trace = run(7);
    assert_eq!(trace, run(7));
    assert_ne!(trace.0, run(8).0);
}

#[test]
fn two_hundred_nodes_settle_after_each_change() {
    let mut network = Simulation::new(&Topology::mesh(200, 6, 1), 1);
    let start = network.settle(secs(5)).unwrap();
    assert!(start.took <= secs(2), "{start:?}");
    for (fault, bound) in [
        (Fault::Cut(3), SETTLED),
        (Fault::Mend(3), SETTLED),
        (Fault::CarrierDown(7), TOLD),
        (Fault::CarrierUp(7), TOLD),
        (Fault::Withdraw(5), TOLD),
        (Fault::Announce(5), TOLD),
        (Fault::Kill(9), SETTLED),
        (Fault::Start(9), TOLD),
        (Fault::Move(4, 100), TOLD),
    ] {
        network.fault(fault);
        let settled = network.settle(bound).unwrap_or_else(|error| panic!("{fault:?}: {error}"));
        println!("{fault:?}: reached {:?}, settled {:?}", settled.reached, settled.took);
    }
}

#[test]
fn a_told_loss_is_healed_in_round_trips_and_not_by_a_timer() {
    for seed in 400..460 {
        let mut network = Simulation::new(&Topology::mesh(40, 4, seed), seed);
        network.settle(secs(2)).unwrap();
        let wire = usize::try_from(seed).unwrap() % network.wires();
        network.fault(Fault::CarrierDown(wire));
        let settled = network.settle(TOLD).unwrap();
        // Retraction, request and answer each pass a diameter of some milliseconds a hop.
        assert!(settled.took <= Duration::from_millis(200), "seed {seed}: {settled:?}");
    }
}

#[test]
fn traffic_is_bounded() {
    let mut network = Simulation::new(&Topology::mesh(60, 6, 5), 5);
    network.settle(secs(60)).unwrap();
    network.take_peak();
    let wires = u64::try_from(network.wires()).unwrap();
    let idle = network.settle(secs(160)).unwrap().count;
    assert_eq!(idle.changes, 0);
    // A Hello and an IHU each way in 4 s; each way in 16 s, 60 prefixes of at most 30 octets.
    let rate = idle.octets / wires / 160;
    assert!(rate <= 2 * (60 / 4 + 60 * 30 / 16), "{rate} octets a second on a wire");
    assert!(network.take_peak() <= 8_000, "two full tables and little else");
    network.fault(Fault::Withdraw(5));
    let change = network.settle(secs(16)).unwrap().count;
    let more = change.packets.saturating_sub(idle.packets / 10);
    // Told and acknowledged each way, and again where a worse route was believed first.
    assert!(more <= 16 * wires, "{more} packets on {wires} wires for one prefix");
}

#[test]
fn what_is_wrong_is_seen() {
    let mut network = Simulation::new(&Topology::line(4), 1);
    network.settle(secs(3)).unwrap();
    network.fault(Fault::Cut(1));
    let error = network.settle(secs(1)).unwrap_err().to_string();
    assert!(error.starts_with("line of 4 with seed 1, at 5.000000 s: node 1"), "{error}");
    network.fault(Fault::Mend(1));
    network.settle(secs(1)).unwrap();
}

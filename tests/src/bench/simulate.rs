//! A thousand engines in virtual time.

use std::time::Duration;

use anyhow::Result;

use super::Measurement;
use super::Options;
use crate::clock::now;
use crate::simulator::{Fault, Simulation, Topology};

/// Starts the network and changes one thing after the other; fails at the first loop or wrong route.
pub(super) fn run(_: &Options) -> Result<Vec<Measurement>> {
    let begin = now();
    let mut network = Simulation::new(&Topology::mesh(NODES, DEGREE, SEED), SEED);
    let start = network.settle(Duration::from_secs(10))?;
    let mut measurements = vec![Measurement::alone("start", "virtual s", start.took.as_secs_f64())];
    for (metric, fault) in FAULTS {
        network.fault(fault);
        let settled = network.settle(BOUND)?;
        println!("{fault:?}: {settled:?}");
        measurements.push(Measurement::alone(metric, "virtual s", settled.took.as_secs_f64()));
    }
    let count = network.count();
    let (virtually, really) = (network.now().0 as f64 / 1e6, (now() - begin).as_secs_f64());
    measurements.extend([
        Measurement::alone("octets a second on a wire", "octets", {
            count.octets as f64 / network.wires() as f64 / virtually
        }),
        Measurement::alone("routes changed", "routes", count.changes as f64),
        Measurement::alone("packets", "packets", count.packets as f64),
        Measurement::alone("time that passed", "virtual s", virtually),
        Measurement::alone("time it took", "s", really),
    ]);
    Ok(measurements)
}

const FAULTS: [(&str, Fault); 9] = [
    ("silent cut", Fault::Cut(3)),
    ("its repair", Fault::Mend(3)),
    ("carrier loss", Fault::CarrierDown(7)),
    ("its return", Fault::CarrierUp(7)),
    ("withdrawal", Fault::Withdraw(5)),
    ("its return", Fault::Announce(5)),
    ("power loss", Fault::Kill(9)),
    ("restart", Fault::Start(9)),
    ("move of a prefix", Fault::Move(4, 500)),
];
const NODES: usize = 1000;
const DEGREE: usize = 6;
const SEED: u64 = 1;
/// For each change: Hellos may have to be missed.
const BOUND: Duration = Duration::from_secs(25);

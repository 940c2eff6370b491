//! Flows forwarded to one neighbour over two uplinks of 20 Mbit/s, against one uplink alone.

use anyhow::Result;

use super::{Measurement, Options};
use crate::lab::Lab;
use crate::network::Network;
use crate::scenario::{self, two};
use crate::uplinks::{TwoUplinks, Way};

pub(super) fn run(options: &Options) -> Result<Vec<Measurement>> {
    let mut network = Network::join(Lab::new()?, two(options.plane))?;
    let mut scene = TwoUplinks::add(&mut network)?;
    let mut both_ways = |uplinks| {
        scene.up(uplinks)?;
        Ok::<_, anyhow::Error>((scene.throughput(Way::Out)?, scene.throughput(Way::In)?))
    };
    let (one, two) = (both_ways(0)?, both_ways(2)?);
    let gap = scenario::cut_and_heal(&scene)?.as_secs_f64();
    let baseline = |rate| ("one uplink", rate);
    Ok(vec![
        Measurement::against("16 TCP flows out, two uplinks", "Mbit/s", two.0, baseline(one.0)),
        Measurement::against("16 TCP flows in, two uplinks", "Mbit/s", two.1, baseline(one.1)),
        Measurement::alone("one uplink silent: longest gap of a flow", "s", gap),
    ])
}

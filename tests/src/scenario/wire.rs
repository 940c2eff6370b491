//! What a bad wire does to a network: delay, loss and packets out of order.

use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::{PATIENCE, ping, reach};
use crate::clock::{pause, wait_for};
use crate::lab::{Namespace, run as run_command};
use crate::network::Network;

/// Over a wire that delays, loses and reorders packets the tunnels stay up, their delay is measured and charged, and
/// pings get lost no more often than the wire loses packets; both are forgotten once the wire is good again.
///
/// # Errors
/// What did not happen.
pub fn bad_wire_is_measured_and_lived_with(network: &mut Network) -> Result<()> {
    reach(network)?;
    let good = cost(network)?;
    let wire = network.node(0)?.host.namespace.clone();
    let before = tunnels(network)?;
    tc(&wire, "add dev eth0 root netem delay 60ms 5ms loss 2% reorder 10%")?;
    wait_for("the delay to be charged", PATIENCE, || {
        let (delay, cost) = delay_and_cost(network).map_err(|error| format!("{error:#}"))?;
        let charged = delay > 40.0 && cost >= good + LEAST_CHARGE;
        if charged { Ok(()) } else { Err(format!("{delay} ms, cost {cost}, was {good}")) }
    })?;
    let pinger = ping(network, 0, 1)?;
    pause(Duration::from_secs(10));
    let record = pinger.stop().remove(0);
    let (lost, sent) = (record.lost(), record.probes.len());
    println!("wire that loses 2 of 100: {lost} of {sent} pings lost");
    // Several times what is to be expected: chance has its way, a link that comes and goes has not.
    ensure!(lost * 10 < sent, "{lost} of {sent} pings lost");
    ensure!(tunnels(network)? == before, "had {before:?}, has {:?}", tunnels(network)?);
    tc(&wire, "del dev eth0 root")?;
    wait_for("the delay to be forgotten", PATIENCE, || {
        let cost = cost(network).map_err(|error| format!("{error:#}"))?;
        if cost < good + LEAST_CHARGE { Ok(()) } else { Err(format!("cost {cost}, was {good}")) }
    })
}

fn tc(namespace: &Namespace, words: &str) -> Result<()> {
    let mut command = namespace.command("tc");
    command.arg("qdisc").args(words.split(' '));
    run_command(&mut command).map(drop).context("netem: only the virtual machine's kernel has it")
}

fn tunnels(network: &mut Network) -> Result<Vec<String>> {
    network.node(0)?.tunnel_interfaces()
}

fn cost(network: &mut Network) -> Result<u16> {
    delay_and_cost(network).map(|(_, cost)| cost)
}

/// Of the first node's tunnel to the second.
fn delay_and_cost(network: &mut Network) -> Result<(f64, u16)> {
    let peers = network.node(0)?.peers()?;
    let peer = peers.first().context("a tunnel")?;
    Ok((peer.rtt_ms.unwrap_or(0.0), peer.cost.context("a usable tunnel")?))
}

/// A tunnel charges 2 for each millisecond beyond 10: of 60 ms and what varies, at least this.
const LEAST_CHARGE: u16 = 60;

//! What is lost when a part of the network goes.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::{Signal, kill};

use super::{PATIENCE, ensure_no_loss, ping, reach, steady};
use crate::clock::{now, pause, wait_for};
use crate::lab::Node;
use crate::network::Network;
use crate::ping::Pinger;

/// A daemon that is stopped for two seconds still forwards: no ping is lost, and the tunnel's counter grows.
///
/// # Errors
/// What did not happen.
pub fn stopped_daemon_keeps_forwarding(network: &mut Network) -> Result<()> {
    reach(network)?;
    let link = network.link_in_use()?;
    let pinger = ping(network, link.from, link.to)?;
    let node = network.node(link.from)?;
    let namespace = node.host.namespace.clone();
    node.daemon()?.signal(Signal::SIGSTOP)?;
    let before = namespace.traffic(&link.interface)?;
    pause(Duration::from_secs(2));
    let after = namespace.traffic(&link.interface)?;
    network.node(link.from)?.daemon()?.signal(Signal::SIGCONT)?;
    let record = pinger.stop().remove(0);
    ensure_no_loss(&record)?;
    // The answers take the way that the others choose, whose daemons run.
    let sent = after.tx_packets - before.tx_packets;
    ensure!(sent >= 50, "{sent} packets out in two seconds");
    Ok(())
}

/// A killed daemon's successor adopts its tunnels, the very interfaces, and no ping is lost.
///
/// # Errors
/// What did not happen.
pub fn crashed_daemon_loses_no_packet(network: &mut Network) -> Result<()> {
    reach(network)?;
    let link = network.link_in_use()?;
    let before = indices(network.node(link.from)?)?;
    let pinger = ping(network, link.from, link.to)?;
    let node = network.node(link.from)?;
    node.kill()?;
    pause(Duration::from_millis(500));
    node.up()?;
    node.wait_status(PATIENCE)?;
    steady(&pinger, now())?;
    pause(Duration::from_secs(2));
    let after = indices(network.node(link.from)?)?;
    let record = pinger.stop().remove(0);
    ensure_no_loss(&record)?;
    for adopted in &before {
        ensure!(after.contains(adopted), "had {before:?}, has {after:?}");
    }
    network.wait_reachable(PATIENCE).map(drop)
}

/// A killed process of the embedded WireGuard is back within a second, with the very interfaces, and `status` says
/// so. Killed together with the daemon, the next start brings all back.
///
/// # Errors
/// What did not happen.
pub fn killed_helper_is_back_within_a_second(network: &mut Network) -> Result<()> {
    reach(network)?;
    let link = network.link_in_use()?;
    let before = indices(network.node(link.from)?)?;
    let flow = network.flow(link.from, link.to).context("both nodes are up")?;
    let pinger = Pinger::start(&[flow], Duration::from_millis(10))?;
    steady(&pinger, Duration::ZERO)?;
    let killed = now();
    kill_helper(network.node(link.from)?)?;
    steady(&pinger, killed)?;
    let record = pinger.stop().remove(0).since(killed);
    let (gap, lost) = (record.longest_gap(), record.lost());
    println!("helper killed: longest gap {gap:?}, {lost} of {} pings lost", record.probes.len());
    ensure!(gap < Duration::from_secs(1), "back after {gap:?}");
    let node = network.node(link.from)?;
    ensure!(indices(node)? == before, "had {before:?}, has {:?}", indices(node)?);
    let helper = node.status()?.tunnels.helper.context("status tells of the helper")?;
    ensure!(helper.restarts == 1 && helper.last_restart_s.is_some(), "{helper:?}");
    node.kill()?;
    kill_helper(node)?;
    node.up()?;
    node.wait_status(PATIENCE)?;
    network.wait_reachable(PATIENCE).map(drop)
}

fn kill_helper(node: &Node) -> Result<()> {
    for pid in node.host.namespace.processes()? {
        // It may be one that has just ended.
        let words = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        if words.split(|octet| *octet == 0).any(|word| word == b"wireguard-helper") {
            return Ok(kill(pid, Signal::SIGKILL)?);
        }
    }
    bail!("{} has no helper", node.name)
}

/// A tunnel that goes silent is routed around within four seconds.
///
/// # Errors
/// What did not happen.
pub fn cut_tunnel_is_routed_around(network: &mut Network) -> Result<()> {
    reach(network)?;
    let link = network.link_in_use()?;
    let pinger = ping(network, link.from, link.to)?;
    let [from, to] = [link.from, link.to].map(|index| network.nodes.get(index));
    let (from, to) = from.zip(to).context("a link has two nodes")?;
    network.underlay.cut(&from.host, &to.host)?;
    let cut = now();
    let back = steady(&pinger, cut);
    let record = pinger.stop().remove(0).since(cut);
    network.underlay.heal(&from.host, &to.host)?;
    back?;
    let gap = record.longest_gap();
    ensure!(gap <= Duration::from_secs(4), "rerouted after {gap:?}");
    ensure!(record.lost() > 0, "the cut tunnel was not in use");
    Ok(())
}

/// Without the registry packets flow, and a node comes back from its state directory alone.
///
/// # Errors
/// What did not happen.
pub fn lost_registry_is_a_non_event(network: &mut Network) -> Result<()> {
    reach(network)?;
    let pinger = ping(network, 0, 1)?;
    network.registry.kill()?;
    pause(Duration::from_secs(2));
    ensure_no_loss(&pinger.stop().remove(0))?;
    let last = network.nodes.len() - 1;
    for index in [0, last] {
        let node = network.node(index)?;
        node.power_cut()?;
        node.up()?;
        node.wait_status(PATIENCE)?;
        network.wait_reachable(PATIENCE)?;
    }
    network.registry.serve()
}

/// `sixwire down` ends the daemon and leaves no tunnel, no route and no address.
///
/// # Errors
/// What did not happen.
pub fn down_leaves_nothing(network: &mut Network) -> Result<()> {
    reach(network)?;
    let address = network.addresses.first().copied().context("the network is up")?;
    let node = network.node(0)?;
    crate::lab::run(&mut node.command(&["down", "--run-dir", "/run/sixwire"]))?;
    let ended = node.daemon()?.wait(PATIENCE)?;
    ensure!(ended.success(), "the daemon ended with {ended}");
    let namespace = &node.host.namespace;
    wait_for("tunnels to vanish", PATIENCE, || match node.tunnel_interfaces() {
        Ok(left) if left.is_empty() => Ok(()),
        left => Err(format!("{left:?}")),
    })?;
    let show = |words: &[&str]| crate::lab::run(namespace.command("ip").args(words));
    let left = show(&["-6", "route", "show", "table", "all", "proto", "42"])?;
    ensure!(left.trim().is_empty(), "routes left: {left}");
    let addresses = show(&["-6", "addr", "show"])?;
    ensure!(!addresses.contains(&address.to_string()), "address left: {addresses}");
    let rules = show(&["-6", "rule", "show"])?;
    ensure!(rules.lines().count() == 2, "rules left: {rules}");
    let tables = namespace.nft("list tables")?;
    ensure!(!tables.contains("sixwire"), "nftables left: {tables}");
    let helpers = namespace.processes()?;
    ensure!(helpers.is_empty(), "processes left: {helpers:?}");
    Ok(())
}

fn indices(node: &Node) -> Result<Vec<(String, Option<u32>)>> {
    let names = node.tunnel_interfaces()?;
    let index = |name: String| {
        let index = node.host.namespace.interface_index(&name)?;
        Ok((name, index))
    };
    names.into_iter().map(index).collect()
}

//! What somebody changes in the kernel behind a daemon's back, and what the daemon makes of it.

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};

use super::refusals::counters;
use super::{PATIENCE, reach};
use crate::clock::wait_for;
use crate::lab::{Namespace, Node, run};
use crate::network::Network;

/// A mischief: the command, the counter that tells of it, and a line of the log.
type Mischief<'a> = (&'a str, &'a str, &'a str);

/// Routes, addresses, interfaces, our table, forwarding: whatever is removed or changed comes back, is told in a line
/// and counted; at the end nothing is missing and all pairs reach each other.
///
/// # Errors
/// What did not come back.
pub fn what_somebody_changes_is_put_back(network: &mut Network) -> Result<()> {
    // `ip route flush` of iproute2 6.1 fails on routes that are told with their object and its gateway.
    network.node(0)?.configure("own_namespace = true\n")?;
    reach(network)?;
    let address = *network.addresses.first().context("the network is up")?;
    let log = network.lab.directory().join("n1.log");
    let node = network.node(0)?;
    settle(node)?;
    let tunnel = node.tunnel_interfaces()?.into_iter().next().context("there is a tunnel")?;
    let before = kernel(&node.host.namespace)?;
    let lost = "somebody removed our routes, putting them back";
    let changed = "somebody changed the kernel, putting it back";
    let down = format!("ip link set {tunnel} down");
    let mtu = format!("ip link set {tunnel} mtu 1300");
    let own = format!("ip -6 addr del {address}/128 dev lo");
    let mischief: [Mischief<'_>; 8] = [
        ("ip -6 route flush proto 42", "kernel.routes_restored", lost),
        ("ip -6 route flush proto 42", "kernel.unreachable_restored", changed),
        ("ip nexthop flush proto 42", "kernel.routes_restored", lost),
        (&own, "kernel.addresses_restored", changed),
        (&mtu, "kernel.tunnels_restored", changed),
        (&down, "kernel.tunnels_restored", changed),
        ("nft delete table ip6 sixwire", "kernel.guards_restored", "nftables table ip6 sixwire"),
        (
            "sysctl -qw net.ipv6.conf.all.forwarding=0",
            "kernel.forwarding_restored",
            "somebody switched forwarding off",
        ),
    ];
    for one in mischief {
        comes_back(node, (&log, &before), one)?;
    }
    let index = node.host.namespace.interface_index(&tunnel)?;
    act(&node.host.namespace, &format!("ip link del {tunnel}"))?;
    wait_for("another tunnel", PATIENCE, || {
        let now = node.host.namespace.interface_index(&tunnel).map_err(|e| format!("{e:#}"))?;
        if now.is_some() && now != index { Ok(()) } else { Err(format!("{now:?}")) }
    })?;
    settle(node)?;
    counted(node, "kernel.tunnels_lost", 0)?;
    network.wait_reachable(PATIENCE).map(drop)
}

/// A thousand changes at once are looked at a few times, not a thousand.
///
/// # Errors
/// What did not happen.
pub fn a_storm_of_changes_is_looked_at_once(network: &mut Network) -> Result<()> {
    reach(network)?;
    let node = network.node(0)?;
    settle(node)?;
    let looks = |node: &Node| -> Result<u64> {
        Ok(counters(node)?.get("kernel.looks").copied().unwrap_or(0))
    };
    let before = looks(node)?;
    let storm: String = (0..1000)
        .map(|n| format!("addr add fd77::{n:x}/128 dev lo\naddr del fd77::{n:x}/128 dev lo\n"))
        .collect();
    node.host.namespace.ip(&storm)?;
    wait_for("a look", PATIENCE, || {
        let now = looks(node).map_err(|error| format!("{error:#}"))?;
        if now > before { Ok(()) } else { Err(format!("{now} looks")) }
    })?;
    network.wait_reachable(PATIENCE)?;
    let looked = looks(network.node(0)?)? - before;
    ensure!(looked <= 10, "looked {looked} times");
    Ok(())
}

fn comes_back(
    node: &Node,
    (log, before): (&PathBuf, &[String]),
    (command, counter, line): Mischief<'_>,
) -> Result<()> {
    let count = counters(node)?.get(counter).copied().unwrap_or(0);
    let length = std::fs::read(log)?.len();
    act(&node.host.namespace, command)?;
    counted(node, counter, count).with_context(|| command.to_owned())?;
    wait_for(command, PATIENCE, || {
        let now = kernel(&node.host.namespace).map_err(|error| format!("{error:#}"))?;
        if now == before { Ok(()) } else { Err(format!("want {before:#?}\nhave {now:#?}")) }
    })?;
    let told = std::fs::read(log)?;
    let told = String::from_utf8_lossy(told.get(length..).unwrap_or_default()).into_owned();
    ensure!(told.contains(line), "{command}: want {line:?} in {told}");
    Ok(())
}

fn counted(node: &Node, counter: &str, before: u64) -> Result<()> {
    wait_for(&format!("counter {counter} beyond {before}"), PATIENCE, || {
        let counters = counters(node).map_err(|error| format!("{error:#}"))?;
        let grown = counters.get(counter).is_some_and(|now| *now > before);
        if grown { Ok(()) } else { Err(format!("{counters:?}")) }
    })
}

/// Waits until every tunnel is up and every neighbour has its route.
fn settle(node: &Node) -> Result<()> {
    wait_for(&format!("{} to settle", node.name), PATIENCE, || {
        let peers = node.peers().map_err(|error| format!("{error:#}"))?;
        let routes = node.routes().map_err(|error| format!("{error:#}"))?;
        let up = peers.iter().all(|peer| peer.state == "up") && !peers.is_empty();
        if up && routes.len() >= peers.len() {
            Ok(())
        } else {
            Err(format!("{peers:?} {routes:?}"))
        }
    })
}

/// What of ours the kernel has, a line each, sorted.
fn kernel(namespace: &Namespace) -> Result<Vec<String>> {
    let mut lines = Vec::new();
    for command in [
        "ip -6 route show proto 42",
        "ip -6 addr show dev lo scope global",
        "ip -o link show type tun",
        "ip -o link show type wireguard",
        "ip -6 addr show scope link",
        "nft -s list table ip6 sixwire",
        "sysctl net.ipv6.conf.all.forwarding net.ipv4.ip_forward",
    ] {
        let shown = act(namespace, command)?;
        lines.extend(shown.lines().map(plain));
    }
    lines.sort();
    Ok(lines)
}

/// A line without the number of a next-hop object, which is another one each time.
fn plain(line: &str) -> String {
    let (first, rest) = line.split_once("nhid ").unwrap_or((line, ""));
    let rest = rest.split_once(' ').map_or("", |(_, rest)| rest);
    [first, rest].concat().trim().to_owned()
}

fn act(namespace: &Namespace, command: &str) -> Result<String> {
    let (program, words) = command.split_once(' ').context("a command has words")?;
    run(namespace.command(program).args(words.split(' ')))
}

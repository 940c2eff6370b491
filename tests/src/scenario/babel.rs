//! What mixed networks of Babel speakers must do, whoever they are.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::process::Command;
use std::thread;

use anyhow::{Context as _, Result, ensure};

use crate::lab::Lab;
use crate::line::Speaker::{self, Babeld, Bird, Sixwire};
use crate::topology::{Families, Presence, Stop, Topology, prefix, prefix_v4};

/// The three programs in every order.
pub const ORDERS: [[Speaker; 3]; 6] = [
    [Sixwire, Babeld, Bird],
    [Sixwire, Bird, Babeld],
    [Babeld, Sixwire, Bird],
    [Bird, Sixwire, Babeld],
    [Babeld, Bird, Sixwire],
    [Bird, Babeld, Sixwire],
];

/// The links of a line of three.
pub const LINE: [(usize, usize); 2] = [(0, 1), (1, 2)];

/// The links of a grid of three by three.
pub const GRID: [(usize, usize); 12] = [
    (0, 1),
    (1, 2),
    (3, 4),
    (4, 5),
    (6, 7),
    (7, 8),
    (0, 3),
    (3, 6),
    (1, 4),
    (4, 7),
    (2, 5),
    (5, 8),
];

/// Every kind next to every other, BIRD in the middle.
pub const GRID_SPEAKERS: [Speaker; 9] =
    [Sixwire, Babeld, Bird, Babeld, Bird, Sixwire, Bird, Sixwire, Babeld];

/// The links of a mesh of six, all with all.
#[must_use]
pub fn mesh() -> Vec<(usize, usize)> {
    (0..6).flat_map(|one| (one + 1..6).map(move |other| (one, other))).collect()
}

/// Two of each.
pub const MESH_SPEAKERS: [Speaker; 6] = [Sixwire, Babeld, Bird, Sixwire, Babeld, Bird];

/// Plays a scenario on several lines at once, each in a lab of its own.
///
/// # Panics
/// When one fails; says which.
pub fn on_lines(
    lines: &[[Speaker; 3]],
    families: Families,
    scenario: fn(&mut Topology) -> Result<()>,
) {
    let play = |speakers: &[Speaker; 3]| -> Result<()> {
        let Some(mut lab) = Lab::or_skip() else { return Ok(()) };
        let mut topology = Topology::start(&mut lab, speakers, &LINE, families)?;
        scenario(&mut topology)
    };
    let outcomes: Vec<_> = thread::scope(|scope| {
        let playing: Vec<_> =
            lines.iter().map(|speakers| (speakers, scope.spawn(|| play(speakers)))).collect();
        playing.into_iter().map(|(speakers, one)| (speakers, one.join())).collect()
    });
    for (speakers, outcome) in outcomes {
        match outcome {
            Ok(Ok(())) => {}
            Ok(Err(error)) => panic!("{speakers:?}: {error:#}"),
            Err(_) => panic!("{speakers:?}: panicked"),
        }
    }
}

/// All reach all; a prefix that one of the first three loses is gone everywhere, and comes back.
///
/// # Errors
/// What did not happen.
pub fn prefixes_come_and_go(topology: &mut Topology) -> Result<()> {
    topology.converge("start")?;
    for origin in 0..topology.len().min(3) {
        let (prefix, namespace) = (prefix(origin), &topology.router(origin).namespace);
        namespace.ip(&format!("route del {prefix} dev s0\n"))?;
        let who = topology.speaker(origin);
        let gone = topology.wait_for_route(&prefix, origin, Presence::Gone);
        gone.with_context(|| format!("{who:?} withdraws"))?;
        namespace.ip(&format!("route add {prefix} dev s0 proto static\n"))?;
        topology.converge(&format!("{who:?} announces again"))?;
    }
    Ok(())
}

/// Each speaker ends in both ways and returns under another router-id; the others find each other again.
///
/// # Errors
/// What did not happen.
pub fn speakers_restart(topology: &mut Topology) -> Result<()> {
    topology.converge("start")?;
    for number in 0..topology.len() {
        let who = topology.speaker(number);
        let id = |life: u8| format!("02{life:02}00000000{number:04}");
        topology.stop(number, Stop::Clean)?;
        let gone = topology.wait_for_route(&prefix(number), number, Presence::Gone);
        gone.with_context(|| format!("{who:?} stops"))?;
        topology.run(number, &["--router-id", &id(1)])?;
        topology.converge(&format!("{who:?} is back"))?;
        topology.stop(number, Stop::Kill)?;
        if who == Babeld {
            // It leaves its kernel's routes for ever, and what is never heard of again stays wrong.
            topology.forget_routes(number)?;
        }
        topology.run(number, &["--router-id", &id(2)])?;
        topology.converge(&format!("{who:?} is back from a crash"))?;
    }
    Ok(())
}

/// The router in the middle of a grid grows dear, and cheap again: traffic leaves it, and returns to some way.
///
/// # Errors
/// What did not happen.
pub fn metrics_swing(topology: &mut Topology) -> Result<()> {
    const MIDDLE: usize = 4;
    topology.converge("start")?;
    for cost in [2000, 96, 5000, 64] {
        topology.set_cost(MIDDLE, cost)?;
        let what = format!("with {cost} in the middle");
        crate::clock::wait_for(&what, crate::topology::PATIENCE, || {
            topology.all_arrive()?;
            let through = through(topology, MIDDLE).map_err(|error| format!("{error:#}"))?;
            // Only what goes around by half of the grid is cheaper than 2000.
            if cost < 2000 || through == 0 { Ok(()) } else { Err(format!("{through} by it")) }
        })?;
    }
    Ok(())
}

/// How many routes of others lead to a router, its own prefix aside.
fn through(topology: &Topology, middle: usize) -> Result<usize> {
    let tables = topology.tables()?;
    let others = tables.iter().enumerate().filter(|(number, _)| *number != middle);
    let destinations = (0..topology.len()).filter(|number| *number != middle).map(prefix);
    let destinations: Vec<String> = destinations.collect();
    let leads = |table: &crate::topology::Table, destination: &String| {
        table.hop(destination).is_some_and(|hop| hop.peer == middle)
    };
    Ok(others.map(|(_, table)| destinations.iter().filter(|one| leads(table, one)).count()).sum())
}

/// Routes for the packets of some sources cross all, next to a plain one to the same destination.
///
/// # Errors
/// What did not happen.
pub fn sources_have_routes_of_their_own(topology: &mut Topology) -> Result<()> {
    topology.converge("start")?;
    let last = topology.len() - 1;
    for (origin, source) in [(0, "fd11:a::/48"), (last, "fd11:b::/48")] {
        let namespace = &topology.router(origin).namespace;
        namespace.ip(&format!("route add ::/0 from {source} dev s0 proto static\n"))?;
        let route = format!("default from {source}");
        topology.wait_for_route(&route, origin, Presence::There)?;
    }
    let plain = &topology.router(0).namespace;
    plain.ip("route add fd12::/32 dev s0 proto static\n")?;
    topology.wait_for_route("fd12::/32", 0, Presence::There)?;
    ensure!(topology.tables()?.iter().all(|table| table.hop("default").is_none()), "a plain one");
    for (origin, source) in [(0, "fd11:a::/48"), (last, "fd11:b::/48")] {
        let namespace = &topology.router(origin).namespace;
        namespace.ip(&format!("route del ::/0 from {source} dev s0\n"))?;
        let route = format!("default from {source}");
        topology.wait_for_route(&route, origin, Presence::Gone)?;
    }
    topology.converge("after all")?;
    Ok(())
}

/// IPv4 packets cross links with IPv4 addresses, by these.
///
/// # Errors
/// What did not happen.
pub fn ipv4_goes_by_ipv4(topology: &mut Topology) -> Result<()> {
    topology.converge("start")?;
    let tables = topology.tables()?;
    for (number, table) in tables.iter().enumerate() {
        for to in (0..topology.len()).filter(|to| *to != number) {
            let hop = table.hop(&prefix_v4(to)).context("it has converged")?;
            ensure!(hop.gateway.parse::<Ipv4Addr>().is_ok(), "{number} to {to}: {hop:?}");
        }
    }
    ping_end_to_end(topology)
}

/// IPv4 packets cross links without IPv4 addresses, by IPv6 neighbours; a router without any IPv4 address can
/// still complain of them.
///
/// # Errors
/// What did not happen.
pub fn ipv4_goes_by_ipv6(topology: &mut Topology) -> Result<()> {
    topology.converge("start")?;
    let tables = topology.tables()?;
    for (number, table) in tables.iter().enumerate() {
        for to in (0..topology.len()).filter(|to| *to != number) {
            let hop = table.hop(&prefix_v4(to)).context("it has converged")?;
            let gateway = hop.gateway.strip_prefix("inet6 ");
            let by_ipv6 = gateway.is_some_and(|gateway| gateway.parse::<Ipv6Addr>().is_ok());
            ensure!(by_ipv6, "{number} to {to}: {hop:?}");
        }
    }
    ping_end_to_end(topology)?;
    topology.router(1).namespace.ip("addr flush dev lo scope global\n")?;
    let said = ping(topology, &["-t", "1"])?;
    ensure!(said.contains("From 192.0.0.8"), "RFC 7600 address of who has none: {said}");
    Ok(())
}

/// IPv4 packets cross a link with IPv4 addresses and then one without, and back.
///
/// # Errors
/// What did not happen.
pub fn ipv4_goes_by_either(topology: &mut Topology) -> Result<()> {
    topology.converge("start")?;
    let tables = topology.tables()?;
    let gateway = |number: usize, to: usize| {
        let hop = tables[number].hop(&prefix_v4(to));
        hop.map(|hop| hop.gateway.clone()).context("it has converged")
    };
    for (number, to, by_ipv6) in [(0, 2, false), (1, 2, true), (2, 0, true), (1, 0, false)] {
        let gateway = gateway(number, to)?;
        ensure!(gateway.starts_with("inet6 ") == by_ipv6, "{number} to {to}: {gateway}");
    }
    ping_end_to_end(topology)
}

/// A speaker that does not know IPv4 by IPv6 hears it, passes over it, and misses nothing else.
///
/// # Errors
/// What did not happen.
pub fn strangers_to_ipv4_by_ipv6_miss_nothing_else(topology: &mut Topology) -> Result<()> {
    for to in 0..topology.len() {
        topology.wait_for_route(&prefix(to), to, Presence::There)?;
    }
    let new = &topology.router(1).namespace;
    new.ip(
        "route add 10.12.0.0/16 dev s0 proto static\nroute add fd12::/32 dev s0 proto static\n",
    )?;
    topology.wait_for_route("fd12::/32", 1, Presence::There)?;
    let strangers = (0..topology.len()).filter(|number| topology.speaker(*number) == Bird);
    for stranger in strangers {
        let table = crate::topology::Table::read(&topology.router(stranger).namespace)?;
        ensure!(table.hop("10.12.0.0/16").is_none(), "{table:?}");
    }
    Ok(())
}

fn ping_end_to_end(topology: &Topology) -> Result<()> {
    let said = ping(topology, &[])?;
    ensure!(said.contains(" 1 received"), "{said}");
    Ok(())
}

fn ping(topology: &Topology, more: &[&str]) -> Result<String> {
    let (last, from) = (topology.len(), "10.11.1.1");
    let mut command: Command = topology.router(0).namespace.command("ping");
    command.args(["-n", "-c", "1", "-W", "5", "-I", from]).args(more);
    command.arg(format!("10.11.{last}.1"));
    // Ends with failure where an error answers.
    let output = command.output()?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// An origin that moves from one router to another, so that its router-id changes without a gap in the name: from nowhere
/// to the first of these, and on.
///
/// Where babeld 1.12.1 stands beside BIRD 2.0.12, they may stay without one of ours that it moves to: BIRD retracts under
/// whatever router-id it wrote last, with a sequence number of another, and babeld takes the two for a feasibility
/// distance (neither is to be used, RFC 8966 §4.6.9).
///
/// # Errors
/// What did not happen.
pub fn an_origin_moves(topology: &mut Topology, to: &[usize]) -> Result<()> {
    const MOVING: &str = "fd13::/64";
    topology.converge("start")?;
    // A metric of its own: babeld's routes have that of static ones.
    let change = |number: usize, verb: &str| {
        let line = format!("route {verb} {MOVING} dev s0 proto static metric 512\n");
        topology.router(number).namespace.ip(&line).map(drop)
    };
    let mut at = None;
    for to in to.iter().copied() {
        change(to, "add")?;
        if let Some(from) = at.replace(to) {
            change(from, "del")?;
        }
        let what = format!("{MOVING} at {to}");
        crate::clock::wait_for(&what, crate::topology::PATIENCE, || topology.arrive(MOVING, to))?;
    }
    Ok(())
}

//! What is used while nothing happens: a hundred embedded interfaces, and an agent with ten tunnels and ten thousand
//! routes.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::unistd::Pid;
use sixwire_proto::router_id::RouterId;

use super::chain::{Chain, PATIENCE};
use super::seat::Seat;
use super::strangers::Strangers;
use super::usage::{processor, resident};
use super::{Measurement, Options};
use crate::clock::{pause, wait_for};
use crate::lab::{Lab, Namespace, Plane, Process, binary};
use crate::network::{Network, Plan};

pub(super) fn run(options: &Options) -> Result<Vec<Measurement>> {
    let mut rows = Vec::new();
    if options.plane != Plane::Kernel {
        rows.extend(interfaces()?);
    }
    rows.extend(agent(options.plane)?);
    Ok(rows)
}

/// One embedded WireGuard with a hundred interfaces, each with a peer and keepalive.
fn interfaces() -> Result<Vec<Measurement>> {
    let mut lab = Lab::new()?;
    let chain = Chain::new(&mut lab, "i", Plane::Embedded)?;
    let node = chain.nodes.first().context("three machines")?;
    let seat = Seat::take(node)?;
    let dataplane = seat.open(Plane::Embedded)?;
    let (strangers, took) = Strangers::meet(&seat, dataplane, RouterId::new([7; 8])?, INTERFACES)?;
    strangers.leave(&seat)?;
    let processes = node.host.namespace.processes()?;
    ensure!(processes.len() == 1, "{} processes, not one", processes.len());
    let helper = *processes.first().context("one process")?;
    let title = format!("embedded, {INTERFACES} interfaces");
    let mut rows = vec![Measurement::alone(&format!("{title}: made in"), "s", took.as_secs_f64())];
    rows.extend(idle(&title, helper)?);
    Ok(rows)
}

/// A node with ten neighbours and another router beside it that announces ten thousand routes.
fn agent(plane: Plane) -> Result<Vec<Measurement>> {
    let plan = Plan { nodes: NEIGHBOURS + 1, behind_nat: 0, plane };
    let mut network = Network::join(Lab::new()?, plan)?;
    let far = network.lab.namespace("far")?;
    let directory = network.lab.directory().to_owned();
    let near = network.node(0)?;
    let space = near.host.namespace.clone();
    space.ip(&format!(
        "link add lan type veth peer name lan netns {}\nlink set lan up\n",
        far.name()
    ))?;
    far.ip("link set lan up\n")?;
    near.configure("[[babel.interface]]\nname = \"lan\"\naccept = [\"fd11::/16\"]\n")?;
    let routes: String = (0..ROUTES)
        .map(|number| format!("route add fd11:11:0:{number:x}::/64 dev lo proto static\n"))
        .collect();
    far.ip(&routes)?;
    let mut router = far.command(&binary("sixwire").to_string_lossy());
    router.args(["babel", "run", "-i", "lan", "--redistribute", "protocol=static"]);
    let _router = Process::start(&mut router, &directory.join("far.log"))?;
    network.up()?;
    network.wait_reachable(PATIENCE)?;
    let near = network.node(0)?;
    let daemon = near.pid().context("it runs")?;
    wait_for("tunnels and routes", PATIENCE, || {
        let status = near.status().map_err(|error| format!("{error:#}"))?;
        let (tunnels, routes) = (status.tunnels.up, status.routing.routes);
        if tunnels >= NEIGHBOURS && routes >= ROUTES as usize {
            Ok(())
        } else {
            Err(format!("{tunnels} tunnels, {routes} routes"))
        }
    })?;
    let title = format!("agent, {NEIGHBOURS} tunnels, {ROUTES} routes");
    let mut rows = idle(&title, daemon)?;
    if let Some(helper) = helper(&space, daemon)? {
        rows.push(Measurement::alone(
            &format!("{title}: its helper's memory"),
            "MiB",
            resident(helper)?,
        ));
    }
    Ok(rows)
}

/// Memory and processor time of a process that has nothing to do.
fn idle(title: &str, process: Pid) -> Result<Vec<Measurement>> {
    pause(SETTLE);
    let before = processor(process)?.sum();
    pause(REST);
    let share = (processor(process)?.sum() - before) / REST.as_secs_f64() * 100.0;
    Ok(vec![
        Measurement::alone(&format!("{title}: memory"), "MiB", resident(process)?),
        Measurement::alone(&format!("{title}: idle processor"), "%", share),
    ])
}

/// The other process of a node, if its WireGuard is the embedded one.
fn helper(space: &Namespace, daemon: Pid) -> Result<Option<Pid>> {
    Ok(space.processes()?.into_iter().find(|pid| *pid != daemon))
}

const INTERFACES: u8 = 100;
const NEIGHBOURS: usize = 10;
const ROUTES: u32 = 10_000;
/// Until first updates are over.
const SETTLE: Duration = Duration::from_secs(20);
const REST: Duration = Duration::from_secs(60);

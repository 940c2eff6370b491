//! What a network must do, whatever carries its tunnels: each scenario runs on this machine's namespaces and on a
//! virtual machine's kernel WireGuard.

pub mod babel;
mod drift;
mod interop;
mod joining;
mod refusals;
mod survival;
mod uplinks;
mod wire;

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Result, ensure};

use crate::clock::wait_for;
use crate::lab::{Health, Lab, Plane};
use crate::network::{Network, Plan};
use crate::ping::{Pinger, Record};

pub use drift::{a_storm_of_changes_is_looked_at_once, what_somebody_changes_is_put_back};
pub use interop::stock_router_carries_our_routes;
pub use joining::{bad_tokens_change_nothing, cut_off_join_is_repeated};
pub use refusals::{
    hostile_babel_neighbour_changes_nothing, joins_that_cannot_be_say_what_to_do,
    machines_that_lack_something_say_so_and_work, noise_on_the_signalling_port_is_ignored,
    revocation_ends_the_tunnel_of_the_revoked_alone, starts_that_cannot_be_say_what_to_do,
    states_that_do_not_hold_change_nothing, strangers_are_refused_by_reason,
};
pub use survival::{
    crashed_daemon_loses_no_packet, cut_tunnel_is_routed_around, down_leaves_nothing,
    killed_helper_is_back_within_a_second, lost_registry_is_a_non_event,
    stopped_daemon_keeps_forwarding,
};
pub use uplinks::{cut_and_heal, flows_share_two_uplinks};
pub use wire::bad_wire_is_measured_and_lived_with;

/// A scenario: what to do with a network that has joined, and leaves in working order.
pub type Scenario = fn(&mut Network) -> Result<()>;

/// Six nodes, two of them behind NAT.
#[must_use]
pub fn six(plane: Plane) -> Plan {
    Plan { nodes: 6, behind_nat: 2, plane }
}

/// Two nodes without NAT.
#[must_use]
pub fn two(plane: Plane) -> Plan {
    Plan { nodes: 2, behind_nat: 0, plane }
}

/// Plays scenarios one after the other on one network, in a lab of its own. Labs take turns: they measure time.
///
/// # Panics
/// When a scenario fails; the lab's logs are saved then.
pub fn play(plan: Plan, scenarios: &[Scenario]) {
    static TURN: Mutex<()> = Mutex::new(());
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(lab) = Lab::or_skip() else { return };
    let mut network = match Network::join(lab, plan) {
        Ok(network) => network,
        Err(error) => panic!("the network did not come about: {error:#}"),
    };
    for (number, scenario) in (1..).zip(scenarios) {
        if let Err(error) = scenario(&mut network) {
            panic!("scenario {number}: {error:#}");
        }
    }
}

/// All pairs reach each other, and every agent says that it is healthy.
///
/// # Errors
/// What did not happen.
pub fn all_pairs_reach_each_other(network: &mut Network) -> Result<()> {
    reach(network)?;
    let others = network.nodes.len() - 1;
    for node in &mut network.nodes {
        wait_for(&format!("{} to be content", node.name), PATIENCE, || {
            let status = node.status().map_err(|error| format!("{error:#}"))?;
            let content = status.health == Health::Healthy && status.routing.routes >= others;
            if content { Ok(()) } else { Err(format!("{status:?}")) }
        })?;
        let code = node.command(&["status", "--run-dir", "/run/sixwire"]).output()?.status.code();
        ensure!(code == Some(0), "{}: status ended with {code:?}", node.name);
        let installed = node.routes()?.iter().filter(|route| route.installed).count();
        ensure!(installed >= others, "{} installed {installed} of {others}", node.name);
    }
    Ok(())
}

/// Starts the network, unless a scenario before did.
fn reach(network: &mut Network) -> Result<()> {
    if network.addresses.is_empty() {
        network.up()?;
    }
    network.wait_reachable(PATIENCE).map(drop)
}

/// Pings 50 times a second on one flow, once its first answer is there.
fn ping(network: &Network, from: usize, to: usize) -> Result<Pinger> {
    let flow = network.flow(from, to).expect("both nodes are up");
    let pinger = Pinger::start(&[flow], Duration::from_millis(20))?;
    steady(&pinger, Duration::ZERO)?;
    Ok(pinger)
}

/// Waits for 25 answers in a row to probes sent after `from`.
fn steady(pinger: &Pinger, from: Duration) -> Result<()> {
    wait_for("pings to flow", PATIENCE, || {
        let run = pinger.records().first().map_or(0, |record| record.since(from).run_of_answers());
        if run >= 25 { Ok(()) } else { Err(format!("{run} answers in a row")) }
    })
}

fn ensure_no_loss(record: &Record) -> Result<()> {
    let (lost, gap) = (record.lost(), record.longest_gap());
    ensure!(lost == 0, "lost {lost} of {} pings, longest gap {gap:?}", record.probes.len());
    Ok(())
}

/// The longest any step may take.
const PATIENCE: Duration = Duration::from_secs(60);

//! Ten thousand routes change their neighbour at once.

use anyhow::{Context, Result};
use sixwire_proto::router_id::RouterId;

use super::adopt::Monitor;
use super::chain::Chain;
use super::seat::Seat;
use super::strangers::Strangers;
use super::{Measurement, Options};
use crate::lab::{Lab, Plane};

pub(super) fn run(options: &Options) -> Result<Vec<Measurement>> {
    let plane = match options.plane {
        Plane::Kernel => Plane::Kernel,
        Plane::Auto | Plane::Embedded => Plane::Embedded,
    };
    let mut lab = Lab::new()?;
    let chain = Chain::new(&mut lab, "c", plane)?;
    let node = chain.nodes.first().context("three machines")?;
    let seat = Seat::take(node)?;
    let own = RouterId::new([7; 8])?;
    let (strangers, _) = Strangers::meet(&seat, seat.open(plane)?, own, 2)?;
    let mut rows = Vec::new();
    for (mode, title) in [("1", "as the kernel is"), ("0", "nexthop_compat_mode=0")] {
        node.host.namespace.sysctl(&[&format!("net/ipv4/nexthop_compat_mode={mode}")])?;
        let first = strangers.route(&seat, ROUTES, |_| 0)?;
        let mut times = Vec::new();
        for time in 0..TIMES {
            times.push(strangers.route(&seat, ROUTES, |_| (time + 1) % 2)?.as_secs_f64() * 1e3);
        }
        let log = lab.directory().join(format!("monitor.{mode}.log"));
        let monitor = Monitor::start(&node.host.namespace, log)?;
        strangers.route(&seat, ROUTES, |_| (TIMES + 1) % 2)?;
        let told = monitor.end()?;
        let objects = told.iter().filter(|line| line.starts_with("id ")).count();
        times.sort_by(f64::total_cmp);
        let name = |what: &str| format!("{ROUTES} routes, {title}: {what}");
        let median = times.get(TIMES / 2).copied().context("it was done")?;
        let longest = times.last().copied().context("it was done")?;
        if mode == "1" {
            rows.push(Measurement::alone(&name("written"), "ms", first.as_secs_f64() * 1e3));
        }
        rows.push(Measurement::alone(&name("moved, median"), "ms", median));
        rows.push(Measurement::alone(&name("moved, longest"), "ms", longest));
        let count = |count: usize| u32::try_from(count).map(f64::from);
        rows.push(Measurement::alone(&name("next-hop objects written"), "", count(objects)?));
        if mode == "0" {
            // Otherwise the kernel tells of every route by itself.
            let routes = count(told.len() - objects)?;
            rows.push(Measurement::alone(&name("routes written"), "", routes));
        }
    }
    Ok(rows)
}

const ROUTES: u32 = 10_000;
const TIMES: usize = 20;

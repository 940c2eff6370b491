//! A node with two providers.

use std::time::Duration;

use anyhow::{Result, ensure};

use super::PATIENCE;
use crate::clock::{now, pause, wait_for};
use crate::network::Network;
use crate::ping::{Pinger, Record};
use crate::uplinks::{Cut, TwoUplinks, Way};

/// Flows that a node forwards to a neighbour share both of its uplinks. When one goes silent, all continue over the
/// other, and they come back with it.
///
/// # Errors
/// What did not happen.
pub fn flows_share_two_uplinks(network: &mut Network) -> Result<()> {
    let mut scene = TwoUplinks::add(network)?;
    scene.up(2)?;
    for way in [Way::Out, Way::In] {
        // How much the machine can carry is the benchmark's subject.
        let before = scene.packets(way)?;
        let rate = scene.throughput(way)?;
        let after = scene.packets(way)?;
        let each: Vec<u64> = after.iter().zip(&before).map(|(now, then)| now - then).collect();
        println!("{way:?}: {rate:.1} Mbit/s over two uplinks of 20, packets of each {each:?}");
        let least = each.iter().sum::<u64>() / 5;
        ensure!(each.len() == 2 && each.iter().all(|packets| *packets > least), "{each:?}");
    }
    let gap = cut_and_heal(&scene)?;
    println!("one uplink silent: {gap:?} without answers");
    ensure!(gap <= Duration::from_secs(4), "flows continued after {gap:?}");
    // Uplinks that are not configured any more take their tunnels with them.
    let pinger = Pinger::start(&scene.flows()?, Duration::from_millis(50))?;
    scene.up(0)?;
    pause(Duration::from_secs(1));
    let gap = pinger.stop().iter().map(Record::longest_gap).max().unwrap_or_default();
    println!("restarted without uplinks: {gap:?} without answers");
    ensure!(gap <= Duration::from_secs(1), "without uplinks, flows continued after {gap:?}");
    Ok(())
}

/// Cuts the first uplink while pings flow over both, and lets it heal; the longest time that any flow was without
/// answers.
///
/// # Errors
/// When flows do not continue, or do not come back to both uplinks.
pub fn cut_and_heal(scene: &TwoUplinks<'_>) -> Result<Duration> {
    let pinger = Pinger::start(&scene.flows()?, Duration::from_millis(50))?;
    pause(Duration::from_secs(1));
    scene.cut(Cut::Cut)?;
    let cut = now();
    let all_flow = |from: Duration| {
        wait_for("all flows to continue", PATIENCE, || {
            let runs = pinger.records().iter().map(|one| one.since(from).run_of_answers()).min();
            if runs >= Some(20) { Ok(()) } else { Err(format!("{runs:?} answers in a row")) }
        })
    };
    let continued = all_flow(cut);
    let during = pinger.records();
    scene.cut(Cut::Heal)?;
    continued?;
    let healed = now();
    scene.wait_tunnels(2)?;
    all_flow(healed)?;
    let records = pinger.stop();
    let hit = during.iter().filter(|record| record.since(cut).lost() > 0).count();
    ensure!(hit > 0 && hit < during.len(), "{hit} of {} flows took the cut uplink", during.len());
    let lost: usize = records.iter().map(|record| record.since(healed).lost()).sum();
    ensure!(lost == 0, "{lost} pings lost when the uplink was back");
    Ok(during.iter().map(|record| record.since(cut).longest_gap()).max().unwrap_or_default())
}

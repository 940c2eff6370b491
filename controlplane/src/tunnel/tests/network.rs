//! Whole networks: everyone gets connected, stays connected, and stays within limits.

use super::simulation::{Life, Network, Registry, Shape};
use super::*;

fn defaults(n: u64) -> Params {
    Params::new(id(n))
}

fn network(nodes: u64, hidden: u64, loss: usize, seed: u64) -> Network {
    Network::new(Shape { nodes, hidden, loss, seed }, defaults)
}

fn assert_limits(network: &Network) {
    let counts = Counts::default();
    for (n, _) in network.alive() {
        let (dialled, served) = (network.degree(n, Role::Dialled), network.degree(n, Role::Served));
        assert!(dialled <= counts.dialled + 1, "{n} dialled {dialled}");
        assert!(served <= counts.served, "{n} serves {served}");
    }
}

#[test]
fn networks_of_any_size_come_up_in_a_moment() {
    for nodes in [2, 6, 30, 100] {
        let mut network = network(nodes, 0, 0, nodes);
        let took = network.run_until(secs(5), Network::is_whole);
        println!("{nodes} nodes whole after {took:?}");
        network.run(secs(60));
        assert!(network.is_whole());
        assert_limits(&network);
    }
}

#[test]
fn lost_signalling_and_undialable_nodes_only_delay() {
    for (nodes, hidden) in [(6, 2), (30, 15), (100, 60)] {
        let mut network = network(nodes, hidden, 20, nodes);
        let took = network.run_until(secs(60), Network::is_whole);
        println!("{nodes} nodes, {hidden} hidden: whole after {took:?}");
        network.run(secs(300));
        assert!(network.is_whole());
        assert_limits(&network);
        for n in nodes - hidden + 1..=nodes {
            assert_eq!(network.degree(n, Role::Served), 0);
            assert!(network.degree(n, Role::Dialled) <= 3, "an unreached node keeps few");
        }
    }
}

#[test]
fn two_nodes_that_dial_each_other_end_with_one_tunnel() {
    let (mut glares, mut slowest) = (0, Duration::ZERO);
    for seed in 0..400 {
        let loss = usize::try_from(seed % 4).unwrap() * 10;
        let mut network = network(2, 0, loss, seed);
        let took = network.run_until(secs(600), Network::is_whole);
        assert!(loss > 0 || took < secs(3), "seed {seed} took {took:?} though nothing was lost");
        slowest = slowest.max(took);
        network.run(secs(60));
        assert!(network.is_tidy(), "seed {seed}");
        let ends = |n| network.nodes[&n].core.tunnels().count();
        assert_eq!((ends(1), ends(2)), (1, 1), "seed {seed}");
        glares += network.trace.iter().filter(|line| line.contains("Refuse(Glare)")).count();
    }
    println!("{glares} glares, the slowest pair took {slowest:?}");
    assert!(glares > 100, "only {glares} glares: the test misses its subject");
}

#[test]
fn a_network_at_rest_has_both_ends_of_every_tunnel() {
    let mut network = network(30, 5, 5, 8);
    network.run(secs(200));
    network.run_until(secs(60), Network::is_tidy);
    assert!(network.is_whole());
}

#[test]
fn half_of_the_nodes_dying_leaves_the_survivors_connected() {
    let mut network = network(60, 10, 5, 4);
    network.run(secs(600));
    network.registry = Registry::Down;
    for n in (1..=60).step_by(2) {
        network.kill(n);
    }
    let took = network.run_until(secs(60), Network::is_whole);
    println!("whole again after {took:?}");
    network.run(secs(120));
    assert!(network.is_whole());
    assert_limits(&network);
    for (n, node) in network.alive() {
        let dead = node.core.tunnels().filter(|tunnel| {
            network.nodes[&u64::from_be_bytes(tunnel.lane.node.octets())].life == Life::Dead
        });
        assert_eq!(dead.count(), 0, "{n} still has tunnels to the dead");
    }
}

#[test]
fn losing_the_registry_after_the_start_changes_nothing() {
    let mut network = network(30, 5, 5, 5);
    network.run_until(secs(60), Network::is_whole);
    network.registry = Registry::Down;
    for _ in 0..120 {
        network.run(secs(15));
        assert!(network.is_whole());
    }
    assert_limits(&network);
    let dialled: usize = network.alive().map(|(n, _)| network.degree(n, Role::Dialled)).sum();
    assert!(dialled >= 25 * 9, "{dialled} dialled tunnels only");
}

#[test]
fn everyone_restarts_from_the_cache_alone() {
    let mut network = network(30, 5, 0, 6);
    network.run(secs(300));
    network.registry = Registry::Down;
    for n in 1..=30 {
        network.kill(n);
    }
    network.run(secs(3600));
    for n in 1..=30 {
        network.restart(n, defaults(n));
    }
    let took = network.run_until(secs(5), Network::is_whole);
    println!("whole after {took:?}");
}

#[test]
fn a_late_node_finds_its_place_and_is_found() {
    let mut network = network(40, 0, 0, 7);
    network.kill(40);
    network.run(secs(600));
    network.restart(40, defaults(40));
    let took = network.run_until(secs(2), Network::is_whole);
    println!("back after {took:?}");
    network.run_until(secs(1800), |network| {
        network.degree(40, Role::Served) > 0 && network.degree(40, Role::Dialled) == 10
    });
}

#[test]
fn two_halves_that_never_met_grow_together() {
    // So few tunnels that everyone has all it wants and many candidates besides.
    let few = |n| Params { counts: Counts { dialled: 3, served: 8, unreached: 2 }, ..defaults(n) };
    let mut network = Network::new(Shape { nodes: 24, hidden: 0, loss: 0, seed: 9 }, few);
    network.registry = Registry::Down;
    for n in 1..=24 {
        let half: Vec<_> = (1..=24).filter(|m| m % 2 == n % 2 && *m != n).map(record).collect();
        network.tell(n, Source::Cache, &half);
    }
    network.run(secs(300));
    assert!(!network.is_whole());
    network.tell(1, Source::Cache, &[record(2)]);
    network.run_until(secs(4 * 3600), Network::is_whole);
}

#[test]
fn churn_is_survived() {
    let mut network = network(40, 8, 5, 13);
    network.run_until(secs(60), Network::is_whole);
    let mut seed = Seed::new(99);
    for _ in 0..50 {
        let n = 1 + seed.below(40) as u64;
        match network.nodes[&n].life {
            Life::Alive if network.alive().count() > 20 => network.kill(n),
            Life::Alive => {}
            Life::Dead => network.restart(n, defaults(n)),
        }
        network.run_until(secs(60), Network::is_whole);
        network.run(seed.between(secs(1), secs(40)));
        assert_limits(&network);
    }
    network.run(secs(120));
    network.run_until(secs(120), |network| network.is_whole() && network.is_tidy());
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let run = |seed| {
        let mut network = network(20, 4, 10, seed);
        network.run(secs(400));
        network.trace
    };
    let first = run(11);
    assert!(first.len() > 500);
    assert_eq!(first, run(11));
    assert_ne!(first, run(12));
}

#[test]
fn a_quiet_network_is_quiet() {
    let mut network = network(30, 0, 0, 10);
    network.run(secs(900));
    let before = network.trace.len();
    network.run(secs(600));
    let per_node_and_minute = (network.trace.len() - before) / 30 / 10;
    assert!(per_node_and_minute <= 10, "{per_node_and_minute} outputs");
}

//! Rules of all kinds in networks that break all the time: they may hide routes, but never make a loop.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use sixwire_controlplane::babel::{Action, Direction, Filter, LinkTag, MetricChange};
use sixwire_proto::metric::{Cost, Metric};
use sixwire_proto::seed::Seed;
use sixwire_tests::simulator::{Simulation, Storm, Topology, id, key};

const NODES: usize = 20;
const RULES: usize = 8;

/// A rule about some prefix, link or originator of the network, or about all.
fn rule(seed: &mut Seed, wires: usize) -> Filter {
    let node = |seed: &mut Seed| seed.below(NODES);
    let small = |seed: &mut Seed, bound| u16::try_from(seed.below(bound)).unwrap();
    let wire = small(seed, wires);
    let action = match seed.below(6) {
        0 => Action::Deny,
        1 | 2 => Action::Allow(MetricChange::Add(Cost(small(seed, 400)))),
        _ => Action::Allow(MetricChange::Set(Metric(small(seed, 400)))),
    };
    let direction = match seed.below(5) {
        0 => Direction::Install,
        1 | 2 => Direction::In,
        _ => Direction::Out,
    };
    Filter {
        direction,
        prefix: (seed.below(2) == 0).then(|| key(node(seed)).destination),
        length: (seed.below(3) == 0).then_some(48..=64),
        source: None,
        link: (seed.below(2) == 0).then_some(LinkTag(wire)),
        neighbour: (seed.below(4) == 0).then(|| id(node(seed)).link_local()),
        router_id: (seed.below(3) == 0).then(|| id(node(seed))),
        action,
    }
}

#[test]
fn no_rules_make_a_loop_whatever_fails() {
    let mut changes = 0;
    for number in 0..40 {
        let mut seed = Seed::new(number);
        let topology = Topology::mesh(NODES, 4, number);
        let mut network = Simulation::new(&topology, number);
        for node in 0..NODES {
            let rules = (0..RULES).map(|_| rule(&mut seed, network.wires())).collect();
            network.filter(node, rules);
        }
        network.storm(Storm::Strict, 60, Duration::from_secs(9)).unwrap();
        network.repair();
        network.run(Duration::from_secs(60)).unwrap();
        changes += network.count().changes;
    }
    assert!(changes > 20_000, "hardly anything happened: {changes} changes of routes");
}

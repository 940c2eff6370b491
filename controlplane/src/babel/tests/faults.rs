//! Loss, random faults, garbage, and sameness of two runs.

use std::time::Duration;

use sixwire_proto::babel::Destination;
use sixwire_proto::metric::Cost;
use sixwire_proto::seed::Seed;

use super::super::Input;
use super::network::{Cut, Network, Oracle, id, key, link, secs};

/// A connected graph of `count` nodes with some extra wires, all of them losing packets.
fn random_network(seed: u64, count: usize, loss: usize) -> Network {
    let mut pick = Seed::new(seed ^ 0xfeed);
    let mut network = Network::new(seed).nodes(count);
    let mut wires = Vec::new();
    for node in 1..count {
        wires.push(network.wire(&[pick.below(node), node]));
    }
    for _ in 0..count {
        let (a, b) = (pick.below(count), pick.below(count));
        if a != b {
            wires.push(network.wire(&[a, b]));
        }
    }
    for wire in wires {
        network.wire_mut(wire).loss = loss;
        network.wire_mut(wire).delay =
            pick.between(Duration::from_millis(1), Duration::from_millis(60));
    }
    network
}

/// One random fault, or its repair.
fn disturb(network: &mut Network, pick: &mut Seed, wires: usize) {
    let wire = pick.below(wires);
    match pick.below(6) {
        0 => network.wire_mut(wire).cut = Cut::Silent,
        1 => network.wire_mut(wire).cut = Cut::Whole,
        2 => network.carrier_down(wire),
        3 => network.carrier_up(wire),
        4 => {
            let (node, extra) =
                (pick.below(network.nodes.len()), Cost([0, 50, 500][pick.below(3)]));
            network.input(node, Input::LinkCost { link: link(wire), extra });
        }
        _ => {
            let node = pick.below(network.nodes.len());
            network.withdraw(node, key(node));
            network.run(pick.between(Duration::ZERO, secs(3)));
            network.originate(node, key(node));
        }
    }
}

fn repair(network: &mut Network, wires: usize) {
    for wire in 0..wires {
        network.wire_mut(wire).loss = 0;
        network.carrier_up(wire);
        for node in 0..network.nodes.len() {
            network.input(node, Input::LinkCost { link: link(wire), extra: Cost(0) });
        }
    }
}

#[test]
fn no_fault_ever_makes_a_loop_and_all_heals() {
    for seed in 0..40 {
        let (count, loss) = (
            4 + usize::try_from(seed % 7).unwrap(),
            [0, 5, 20][usize::try_from(seed % 3).unwrap()],
        );
        let mut network = random_network(seed, count, loss);
        let wires = network.wires();
        let mut pick = Seed::new(seed);
        for _ in 0..60 {
            disturb(&mut network, &mut pick, wires);
            network.run(pick.between(Duration::from_millis(1), secs(9)));
        }
        repair(&mut network, wires);
        network.converge(secs(40));
    }
}

#[test]
fn restarts_heal_too() {
    for seed in 100..120 {
        let mut network = random_network(seed, 6, 5);
        // A restarted node has forgotten its feasibility distances.
        network.oracle = Oracle::Blind;
        let wires = network.wires();
        let mut pick = Seed::new(seed);
        for _ in 0..30 {
            let node = pick.below(6);
            network.kill(node);
            network.run(pick.between(Duration::from_millis(1), secs(30)));
            network.start(node);
            disturb(&mut network, &mut pick, wires);
            network.run(pick.between(Duration::from_millis(1), secs(9)));
        }
        repair(&mut network, wires);
        network.converge(secs(40));
    }
}

#[test]
fn a_lossy_grid_converges_and_stays() {
    let mut network = Network::grid(20, 4);
    for wire in 0..network.wires() {
        network.wire_mut(wire).loss = 5;
    }
    network.converge(secs(30));
    network.run(secs(300));
    for wire in 0..network.wires() {
        network.wire_mut(wire).loss = 0;
    }
    network.converge(secs(20));
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    let run = |seed| {
        let mut network = random_network(seed, 6, 10);
        let wires = network.wires();
        let mut pick = Seed::new(seed);
        for _ in 0..20 {
            disturb(&mut network, &mut pick, wires);
            network.run(secs(5));
        }
        network.trace
    };
    let trace = run(7);
    assert!(trace.len() > 100_000);
    assert!(trace == run(7), "two runs differ");
    assert!(trace != run(8), "a trace that says nothing");
}

#[test]
fn garbage_changes_nothing() {
    let mut network = Network::ring(21, 4);
    network.converge(secs(1));
    network.run(secs(5));
    let before: Vec<_> = network.nodes.iter().map(|node| node.kernel.clone()).collect();
    let mut pick = Seed::new(3);
    for round in 0..20_000_usize {
        let mut bytes: Vec<u8> =
            (0..pick.below(200)).map(|_| pick.next_u64().to_le_bytes()[0]).collect();
        if round % 2 == 0 && bytes.len() > 6 {
            let length = u16::try_from(bytes.len() - 4).unwrap().to_be_bytes();
            bytes[..4].copy_from_slice(&[42, 2, length[0], length[1]]);
            // Types that no receiver knows, so that only framing is tried here.
            bytes[4] = 200;
        }
        let source = [id(1), id(9)][pick.below(2)].link_local();
        let destination = Destination::Multicast;
        network.input(
            0,
            Input::Packet { link: link(pick.below(5)), source, destination, bytes: &bytes },
        );
    }
    let after: Vec<_> = network.nodes.iter().map(|node| node.kernel.clone()).collect();
    assert_eq!(before, after);
    assert!(network.count(0, "dropped: bad packet") > 4000);
    assert!(network.count(0, "dropped: unknown link") > 1000);
    network.run(secs(100));
    assert!(network.is_converged());
}

#[test]
fn well_framed_garbage_of_a_neighbour_never_panics_and_is_bounded() {
    let mut network = Network::line(22, 2);
    network.oracle = Oracle::Blind;
    network.converge(secs(1));
    let mut pick = Seed::new(5);
    for _ in 0..30_000 {
        let mut bytes = vec![42, 2, 0, 0];
        for _ in 0..pick.below(4) {
            let length = pick.below(40);
            bytes.push(u8::try_from(pick.below(12)).unwrap());
            bytes.push(u8::try_from(length).unwrap());
            bytes.extend((0..length).map(|_| pick.next_u64().to_le_bytes()[0] & 0x8f));
        }
        let body = u16::try_from(bytes.len() - 4).unwrap().to_be_bytes();
        bytes[2..4].copy_from_slice(&body);
        let source = [id(1), id(9)][pick.below(2)].link_local();
        let destination = Destination::Multicast;
        network.input(0, Input::Packet { link: link(0), source, destination, bytes: &bytes });
        if pick.below(10) == 0 {
            network.run(Duration::from_millis(10));
        }
    }
    // Whatever was injected expires: intervals are at most 11 minutes.
    network.run(secs(4000));
    let routes = network.nodes[1].babel.as_ref().unwrap().routes().count();
    assert_eq!(routes, 2, "{}", network.state());
    assert!(network.is_converged());
}

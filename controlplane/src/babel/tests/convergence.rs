//! Networks that start, break, and heal.

use super::network::{Cut, Network, Oracle, id, key, secs};
use std::time::Duration;

use sixwire_proto::babel::RouteKey;

#[test]
fn two_nodes_are_adjacent_after_one_round_trip() {
    let mut network = Network::line(1, 2);
    let took = network.converge(secs(1));
    assert!(took <= Duration::from_millis(5), "{took:?}");
}

#[test]
fn a_node_that_starts_later_is_met_within_the_least_gap_of_hellos() {
    let mut network = Network::line(1, 2);
    network.kill(1);
    network.run(secs(9));
    network.start(1);
    let took = network.converge(secs(1));
    assert!(took <= Duration::from_millis(110), "{took:?}");
}

#[test]
fn a_line_of_three_has_all_routes() {
    let mut network = Network::line(2, 3);
    let took = network.converge(secs(1));
    assert!(took <= Duration::from_millis(50), "{took:?}");
}

#[test]
fn a_line_of_ten_starts_in_less_than_a_second() {
    let mut network = Network::line(3, 10);
    network.converge(secs(1));
    network.run(secs(120));
    assert!(network.is_converged(), "stays so");
}

#[test]
fn a_ring_survives_a_silent_cut_and_its_repair() {
    let mut network = Network::ring(4, 6);
    network.converge(secs(1));
    network.run(secs(30));
    let wire = network.between(2, 3);
    network.wire_mut(wire).cut = Cut::Silent;
    network.converge(secs(14));
    network.run(secs(60));
    network.wire_mut(wire).cut = Cut::Whole;
    let took = network.converge(secs(6));
    assert!(took <= secs(5), "one hello and a round trip, not {took:?}");
}

#[test]
fn a_ring_survives_carrier_loss_in_a_moment() {
    let mut network = Network::ring(5, 7);
    network.converge(secs(1));
    network.run(secs(30));
    let wire = network.between(0, 1);
    network.carrier_down(wire);
    let took = network.converge(secs(1));
    assert!(took <= Duration::from_millis(400), "{took:?}");
    network.run(secs(10));
    network.carrier_up(wire);
    network.converge(secs(1));
}

#[test]
fn a_grid_of_25_starts_in_less_than_a_second() {
    let mut network = Network::grid(6, 5);
    network.converge(secs(1));
    network.run(secs(60));
    assert!(network.is_converged());
}

#[test]
fn a_grid_goes_around_a_lost_node() {
    let mut network = Network::grid(7, 4);
    network.converge(secs(1));
    network.run(secs(20));
    network.kill(5);
    network.converge(secs(15));
    network.run(secs(200));
    network.start(5);
    network.converge(secs(5));
}

#[test]
fn a_partition_is_noticed_and_its_repair_too() {
    let mut network = Network::line(8, 6);
    network.converge(secs(1));
    network.run(secs(10));
    let wire = network.between(2, 3);
    network.carrier_down(wire);
    network.converge(secs(1));
    assert_eq!(network.metric(0, key(5)), None);
    network.run(secs(100));
    network.carrier_up(wire);
    network.converge(secs(2));
}

#[test]
fn a_silent_partition_is_noticed_by_missing_hellos() {
    let mut network = Network::line(9, 4);
    network.converge(secs(1));
    let wire = network.between(1, 2);
    network.wire_mut(wire).cut = Cut::Silent;
    let took = network.converge(secs(14));
    assert!(took >= secs(4), "{took:?}");
    network.run(secs(200));
    network.wire_mut(wire).cut = Cut::Whole;
    network.converge(secs(6));
}

#[test]
fn a_restart_with_its_number_from_disk_is_believed_at_once() {
    let mut network = Network::line(10, 4);
    network.converge(secs(1));
    network.run(secs(10));
    network.kill(3);
    network.start(3);
    let took = network.converge(secs(2));
    assert!(took <= secs(1), "{took:?}");
    network.kill(1);
    network.start(1);
    network.converge(secs(2));
}

#[test]
fn a_restart_with_its_number_lost_is_believed_after_one_request() {
    let mut network = Network::line(11, 3);
    network.nodes[2].disk = sixwire_proto::seqno::Seqno(40_000);
    network.kill(2);
    network.start(2);
    network.converge(secs(2));
    network.kill(2);
    network.run(secs(30));
    network.nodes[2].disk = sixwire_proto::seqno::Seqno(39_990);
    network.start(2);
    // Ten requests, one number each.
    network.converge(secs(20));
}

#[test]
fn a_withdrawn_prefix_is_gone_everywhere_in_a_moment() {
    let mut network = Network::grid(12, 4);
    network.converge(secs(1));
    network.run(secs(5));
    network.withdraw(15, key(15));
    network.run_until("no route left", secs(1), |network| {
        network.nodes.iter().all(|node| !node.kernel.contains_key(&key(15)))
    });
}

#[test]
fn a_stopping_node_is_forgotten_in_a_moment() {
    let mut network = Network::line(13, 4);
    network.converge(secs(1));
    network.input(3, super::super::Input::Shutdown);
    network.run_until("no route left", secs(1), |network| {
        (0..3).all(|node| network.metric(node, key(3)).is_none())
    });
    network.run(secs(100));
}

#[test]
fn of_two_originators_the_nearer_is_used_and_the_other_takes_over() {
    let mut network = Network::line(14, 7);
    network.oracle = Oracle::Blind;
    let any = RouteKey::to("fd00:ffff::/32".parse().unwrap());
    network.originate(0, any);
    network.originate(6, any);
    network.converge(secs(1));
    network.run(secs(1));
    assert_eq!(network.metric(1, any), Some(96));
    assert_eq!(network.metric(5, any), Some(96));
    assert_eq!(network.metric(3, any), Some(288));
    network.withdraw(0, any);
    network.run_until("the other takes over", secs(2), |network| {
        (0..6).all(|node| network.metric(node, any).is_some())
            && network.metric(0, any) == Some(6 * 96)
    });
    network.withdraw(6, any);
    network.run_until("nobody has it", secs(2), |network| {
        (0..7).all(|node| !network.nodes[node].kernel.contains_key(&any))
    });
}

#[test]
fn a_prefix_that_moves_to_another_node_is_followed() {
    let mut network = Network::line(15, 5);
    network.oracle = Oracle::Blind;
    let any = RouteKey::to("fd00:eeee::/64".parse().unwrap());
    network.originate(0, any);
    network.converge(secs(1));
    network.run(secs(3));
    network.originate(4, any);
    network.withdraw(0, any);
    network.run_until("everyone routes to the new originator", secs(3), |network| {
        let babel = network.nodes[1].babel.as_ref().unwrap();
        let routes: Vec<_> = babel.routes().filter(|route| route.route == any).collect();
        network.metric(0, any) == Some(384) && routes.iter().all(|one| one.router_id == id(4))
    });
}

#[test]
fn a_drained_link_is_left_without_losing_a_route() {
    let mut network = Network::ring(16, 4);
    network.converge(secs(1));
    network.run(secs(1));
    let wire = network.between(0, 1);
    let extra = sixwire_proto::metric::Cost(1000);
    network.input(0, super::super::Input::LinkCost { link: super::network::link(wire), extra });
    network.run_until("both ends go around", secs(1), |network| {
        network.metric(0, key(1)) == Some(288) && network.metric(1, key(0)) == Some(288)
    });
    let extra = sixwire_proto::metric::Cost(0);
    network.input(0, super::super::Input::LinkCost { link: super::network::link(wire), extra });
    network.converge(secs(2));
}

#[test]
fn a_lan_of_many_converges_by_multicast() {
    let mut network = Network::new(17).nodes(14);
    network.wire(&(0..12).collect::<Vec<_>>());
    network.wire(&[11, 12]);
    network.wire(&[12, 13]);
    network.converge(secs(3));
    network.run(secs(60));
    network.withdraw(13, key(13));
    network.run_until("no route left", secs(1), |network| {
        (0..13).all(|node| network.metric(node, key(13)).is_none())
    });
    network.originate(13, key(13));
    network.converge(secs(1));
    network.kill(0);
    network.converge(secs(15));
}

#[test]
fn an_idle_network_says_little() {
    let mut network = Network::grid(18, 5);
    network.converge(secs(1));
    network.run(secs(10));
    let octets = |network: &mut Network| -> usize {
        (0..network.wires()).map(|wire| network.wire_mut(wire).octets).sum()
    };
    let before = octets(&mut network);
    let trace = network.trace.len();
    network.run(secs(160));
    let rate = (octets(&mut network) - before) / network.wires() / 160;
    assert!(rate <= 100, "{rate} octets a second on a link, both ways");
    assert!(!network.trace[trace..].contains("Route {"), "nothing changes");
    assert!(!network.trace[trace..].contains("Seqno("), "no number moves");
}

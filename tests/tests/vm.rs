//! Networks on the kernel's WireGuard: `scripts/test` runs this inside `scripts/vm`.

use sixwire_tests::lab::Plane;
use sixwire_tests::scenario::{self, play, six, two};

#[test]
fn all_pairs_reach_each_other() {
    play(six(Plane::Kernel), scenario::all_pairs_reach_each_other);
}

#[test]
fn a_stopped_daemon_keeps_forwarding() {
    play(six(Plane::Kernel), scenario::stopped_daemon_keeps_forwarding);
}

#[test]
fn a_crashed_daemon_loses_no_packet() {
    play(six(Plane::Kernel), scenario::crashed_daemon_loses_no_packet);
}

#[test]
fn a_cut_tunnel_is_routed_around() {
    play(six(Plane::Kernel), scenario::cut_tunnel_is_routed_around);
}

#[test]
fn a_lost_registry_is_a_non_event() {
    play(six(Plane::Kernel), scenario::lost_registry_is_a_non_event);
}

#[test]
fn down_leaves_nothing() {
    play(two(Plane::Kernel), scenario::down_leaves_nothing);
}

#[test]
fn a_stock_router_carries_our_routes() {
    play(two(Plane::Kernel), scenario::stock_router_carries_our_routes);
}

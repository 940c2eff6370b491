//! Networks on the kernel's WireGuard: `scripts/test` runs this inside `scripts/vm`.

use sixwire_tests::lab::Plane;
use sixwire_tests::scenario::{self, play, six, two};

#[test]
fn a_network_survives_what_its_parts_do() {
    // One network for all: starting six nodes is what takes the time here.
    play(
        six(Plane::Kernel),
        &[
            scenario::all_pairs_reach_each_other,
            scenario::stopped_daemon_keeps_forwarding,
            scenario::crashed_daemon_loses_no_packet,
            scenario::cut_tunnel_is_routed_around,
            scenario::lost_registry_is_a_non_event,
        ],
    );
}

#[test]
fn down_leaves_nothing() {
    play(two(Plane::Kernel), &[scenario::down_leaves_nothing]);
}

#[test]
fn flows_share_two_uplinks() {
    play(two(Plane::Kernel), &[scenario::flows_share_two_uplinks]);
}

#[test]
fn a_stock_router_carries_our_routes() {
    play(two(Plane::Kernel), &[scenario::stock_router_carries_our_routes]);
}

#[test]
fn a_bad_wire_is_measured_and_lived_with() {
    play(two(Plane::Kernel), &[scenario::bad_wire_is_measured_and_lived_with]);
}

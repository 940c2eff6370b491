//! Networks on this machine's namespaces, with whatever WireGuard this machine has.

use sixwire_tests::lab::Plane;
use sixwire_tests::scenario::{self, play, six, two};

#[test]
fn all_pairs_reach_each_other() {
    play(six(Plane::Auto), &[scenario::all_pairs_reach_each_other]);
}

#[test]
fn a_stopped_daemon_keeps_forwarding() {
    play(six(Plane::Auto), &[scenario::stopped_daemon_keeps_forwarding]);
}

#[test]
fn a_crashed_daemon_loses_no_packet() {
    play(six(Plane::Auto), &[scenario::crashed_daemon_loses_no_packet]);
}

#[test]
fn a_killed_helper_is_back_within_a_second() {
    play(two(Plane::Embedded), &[scenario::killed_helper_is_back_within_a_second]);
}

#[test]
fn a_cut_tunnel_is_routed_around() {
    play(six(Plane::Auto), &[scenario::cut_tunnel_is_routed_around]);
}

#[test]
fn a_lost_registry_is_a_non_event() {
    play(six(Plane::Auto), &[scenario::lost_registry_is_a_non_event]);
}

#[test]
fn down_leaves_nothing() {
    play(two(Plane::Auto), &[scenario::down_leaves_nothing]);
}

#[test]
fn what_somebody_changes_is_put_back() {
    play(two(Plane::Auto), &[scenario::what_somebody_changes_is_put_back]);
}

#[test]
fn a_storm_of_changes_is_looked_at_once() {
    play(two(Plane::Auto), &[scenario::a_storm_of_changes_is_looked_at_once]);
}

#[test]
fn bad_tokens_change_nothing() {
    play(two(Plane::Auto), &[scenario::bad_tokens_change_nothing]);
}

#[test]
fn a_join_that_was_cut_off_is_repeated() {
    play(two(Plane::Auto), &[scenario::cut_off_join_is_repeated]);
}

#[test]
fn flows_share_two_uplinks() {
    play(two(Plane::Auto), &[scenario::flows_share_two_uplinks]);
}

#[test]
fn a_stock_router_carries_our_routes() {
    play(two(Plane::Embedded), &[scenario::stock_router_carries_our_routes]);
}

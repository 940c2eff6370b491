//! What running daemons refuse: with a reason, a counter, a line in the log, and nothing changed.

use sixwire_tests::lab::Plane;
use sixwire_tests::network::Plan;
use sixwire_tests::scenario::{self, play, two};

#[test]
fn strangers_are_refused_by_reason() {
    play(two(Plane::Auto), &[scenario::strangers_are_refused_by_reason]);
}

#[test]
fn states_that_do_not_hold_change_nothing() {
    play(two(Plane::Auto), &[scenario::states_that_do_not_hold_change_nothing]);
}

#[test]
fn revocation_ends_the_tunnel_of_the_revoked_alone() {
    play(two(Plane::Auto), &[scenario::revocation_ends_the_tunnel_of_the_revoked_alone]);
}

#[test]
fn a_hostile_babel_neighbour_changes_nothing() {
    play(two(Plane::Auto), &[scenario::hostile_babel_neighbour_changes_nothing]);
}

#[test]
fn noise_on_the_signalling_port_is_ignored() {
    play(two(Plane::Auto), &[scenario::noise_on_the_signalling_port_is_ignored]);
}

#[test]
fn starts_that_cannot_be_say_what_to_do() {
    play(one(), &[scenario::starts_that_cannot_be_say_what_to_do]);
}

#[test]
fn machines_that_lack_something_say_so_and_work() {
    play(one(), &[scenario::machines_that_lack_something_say_so_and_work]);
}

#[test]
fn joins_that_cannot_be_say_what_to_do() {
    play(one(), &[scenario::joins_that_cannot_be_say_what_to_do]);
}

fn one() -> Plan {
    Plan { nodes: 1, behind_nat: 0, plane: Plane::Auto }
}

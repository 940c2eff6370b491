//! Mixed networks of ours, babeld and BIRD.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use anyhow::Result;
use sixwire_tests::lab::Lab;
use sixwire_tests::line::Speaker::{self, Babeld, Bird, Sixwire};
use sixwire_tests::scenario::babel::{
    GRID, GRID_SPEAKERS, MESH_SPEAKERS, ORDERS, an_origin_moves, ipv4_goes_by_either,
    ipv4_goes_by_ipv4, ipv4_goes_by_ipv6, mesh, metrics_swing, on_lines, prefixes_come_and_go,
    sources_have_routes_of_their_own, speakers_restart,
    strangers_to_ipv4_by_ipv6_miss_nothing_else,
};
use sixwire_tests::topology::{Families, Topology};

fn on(speakers: &[Speaker], edges: &[(usize, usize)], scenario: fn(&mut Topology) -> Result<()>) {
    let Some(mut lab) = Lab::or_skip() else { return };
    let mut topology = Topology::start(&mut lab, speakers, edges, Families::Ipv6).unwrap();
    scenario(&mut topology).unwrap();
}

/// A grid of nine where every link is one of ours to another.
fn alternating(other: Speaker) -> [Speaker; 9] {
    std::array::from_fn(|number| if number % 2 == 0 { Sixwire } else { other })
}

#[test]
fn prefixes_come_and_go_on_a_line_in_every_order() {
    on_lines(&ORDERS, Families::Ipv6, prefixes_come_and_go);
}

#[test]
fn speakers_restart_on_a_line_in_every_order() {
    on_lines(&ORDERS, Families::Ipv6, speakers_restart);
}

#[test]
fn prefixes_come_and_go_in_a_mixed_grid() {
    on(&GRID_SPEAKERS, &GRID, prefixes_come_and_go);
}

#[test]
fn metrics_swing_in_a_mixed_grid() {
    on(&GRID_SPEAKERS, &GRID, metrics_swing);
}

#[test]
fn an_origin_moves_in_a_mixed_grid() {
    // From ours to babeld to BIRD; to ours, below.
    on(&GRID_SPEAKERS, &GRID, |grid| an_origin_moves(grid, &[0, 8, 4]));
}

#[test]
fn an_origin_moves_in_a_grid_of_ours_and_babeld() {
    on(&alternating(Babeld), &GRID, |grid| an_origin_moves(grid, &[0, 8, 1, 4, 7, 0]));
}

#[test]
fn an_origin_moves_in_a_grid_of_ours_and_bird() {
    on(&alternating(Bird), &GRID, |grid| an_origin_moves(grid, &[0, 8, 1, 4, 7, 0]));
}

#[test]
fn speakers_restart_in_a_mixed_mesh() {
    on(&MESH_SPEAKERS, &mesh(), speakers_restart);
}

#[test]
fn source_specific_routes_cross_a_line_in_every_order() {
    on_lines(&ORDERS, Families::BySource, sources_have_routes_of_their_own);
}

#[test]
fn ipv4_by_ipv4_crosses_a_line_in_every_order() {
    on_lines(&ORDERS, Families::Both, ipv4_goes_by_ipv4);
}

#[test]
fn ipv4_by_ipv6_crosses_lines_of_ours_and_babeld() {
    let lines = [
        [Sixwire, Babeld, Sixwire],
        [Babeld, Sixwire, Babeld],
        [Sixwire, Sixwire, Babeld],
        [Sixwire; 3],
    ];
    on_lines(&lines, Families::V4ViaV6, ipv4_goes_by_ipv6);
}

#[test]
fn ipv4_crosses_a_link_with_addresses_and_one_without() {
    let lines = [
        [Sixwire, Babeld, Sixwire],
        [Babeld, Sixwire, Babeld],
        [Bird, Sixwire, Babeld],
        [Bird, Babeld, Sixwire],
    ];
    on_lines(&lines, Families::BothKinds, ipv4_goes_by_either);
}

#[test]
fn bird_misses_nothing_beside_ipv4_by_ipv6() {
    let lines = [[Bird, Sixwire, Babeld], [Sixwire, Bird, Sixwire]];
    on_lines(&lines, Families::V4ViaV6, strangers_to_ipv4_by_ipv6_miss_nothing_else);
}

#[test]
fn every_speaker_restarts_in_a_mixed_grid() {
    if long() {
        on(&GRID_SPEAKERS, &GRID, speakers_restart);
    }
}

#[test]
fn metrics_swing_and_prefixes_go_in_a_mixed_mesh() {
    if long() {
        on(&MESH_SPEAKERS, &mesh(), prefixes_come_and_go);
        on(&MESH_SPEAKERS, &mesh(), metrics_swing);
    }
}

/// Whether there is time for what takes minutes.
fn long() -> bool {
    let wanted = std::env::var_os("SIXWIRE_FULL").is_some();
    if !wanted {
        println!("SKIP takes minutes: scripts/test --full runs it, or SIXWIRE_FULL=1");
    }
    wanted
}

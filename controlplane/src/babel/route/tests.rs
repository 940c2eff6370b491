use std::net::Ipv6Addr;

use super::super::neighbour::{Neighbour, Neighbours};
use super::super::next_hop::NextHopId;
use super::*;

fn key(n: u16) -> RouteKey {
    RouteKey::to(format!("fd00:{n:x}::/32").parse().unwrap())
}

fn neighbours(count: u16) -> Vec<NeighbourId> {
    let mut table = Neighbours::default();
    let address = |n| Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, n);
    let link = sixwire_proto::link::LinkId(1);
    (0..count).map(|n| table.insert(Neighbour::new(link, address(n), Instant(0)))).collect()
}

fn route(neighbour: NeighbourId, interval: u16, heard: Instant) -> Route {
    let interval = Interval(interval);
    Route {
        neighbour,
        router_id: RouterId::new([7; 8]).unwrap(),
        seqno: Seqno(1),
        refmetric: Metric(10),
        next_hop: NextHopId(0),
        interval,
        refresh: Refresh::Unasked,
        expires: heard + hold_time(interval),
    }
}

#[test]
fn an_announcement_holds_for_three_and_a_half_intervals_and_not_for_less_than_350_ms() {
    for (interval, milliseconds) in [(1600, 56_000), (10, 350), (1, 350), (u16::MAX, 2_293_725)] {
        assert_eq!(hold_time(Interval(interval)), Duration::from_millis(milliseconds));
    }
}

#[test]
fn a_route_is_asked_for_one_interval_before_it_expires() {
    let heard = Instant(1_000_000_000);
    let neighbour = neighbours(1)[0];
    let mut one = route(neighbour, 1600, heard);
    assert_eq!(one.refresh_at(), Some(heard + Duration::from_secs(40)));
    one.refresh = Refresh::Asked;
    assert_eq!(one.refresh_at(), None);
}

#[test]
fn a_table_counts_its_routes_and_reuses_its_slots() {
    let (mut table, neighbours) = (Table::default(), neighbours(3));
    let a = table.make(key(1));
    assert_eq!(table.make(key(1)), a);
    for neighbour in &neighbours {
        table.add_route(a, route(*neighbour, 1600, Instant(0)));
    }
    table.set_own(a, Some(Metric(0)));
    table.set_own(a, Some(Metric(9)));
    assert_eq!((table.routes(), table.len()), (4, 1));
    assert_eq!(table.take_route(a, neighbours[1]).map(|one| one.neighbour), Some(neighbours[1]));
    assert_eq!(table.take_route(a, neighbours[1]), None);
    table.set_own(a, None);
    assert_eq!(table.drop_if_idle(a), Dropped::No);
    table.take_route(a, neighbours[0]);
    table.take_route(a, neighbours[2]);
    assert_eq!(table.drop_if_idle(a), Dropped::Yes);
    assert_eq!((table.routes(), table.len(), table.id(key(1))), (0, 0, None));
    assert_eq!(table.make(key(2)), a);
    assert_eq!(table.get(a).unwrap().key, key(2));
}

#[test]
fn keys_are_walked_in_their_order() {
    let mut table = Table::default();
    for n in [3, 1, 2] {
        table.make(key(n));
    }
    let (mut walked, mut after) = (Vec::new(), None);
    while let Some(next) = table.next(after).and_then(|id| table.get(id)).map(|entry| entry.key) {
        walked.push(next);
        after = Some(next);
    }
    assert_eq!(walked, [key(1), key(2), key(3)]);
}

#[test]
fn an_unused_distance_is_forgotten_after_three_minutes_and_the_entry_with_it() {
    let mut table = Table::default();
    let id = table.make(key(1));
    let distance = Distance { seqno: Seqno(1), metric: Metric(10) };
    let source = |now| Source::new(RouterId::new([7; 8]).unwrap(), distance, now, Duration::ZERO);
    table.announce(id, source(Instant(0)));
    table.announce(id, source(Instant(60_000_000)));
    assert_eq!(table.sources(), 1);
    let due = table.due(id).unwrap();
    assert!((240_000_000..240_100_000).contains(&due.0), "{due:?}");
    table.collect_sources(id, Instant(239_000_000));
    assert_eq!(table.drop_if_idle(id), Dropped::No);
    table.collect_sources(id, due);
    assert_eq!((table.sources(), table.drop_if_idle(id)), (0, Dropped::Yes));
}

/// Most of what a route takes: the README says how much that is.
#[test]
fn an_entry_with_one_route_takes_120_octets() {
    assert_eq!(size_of::<Option<Entry>>(), 120);
}

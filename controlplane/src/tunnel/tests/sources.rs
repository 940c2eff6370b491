//! Registry, neighbours, the table and the cache.

use super::*;

fn asked_peers(bench: &Bench) -> usize {
    bench.said.iter().filter(|output| matches!(output, Output::AskPeer { .. })).count()
}

fn remembered(bench: &Bench) -> Vec<&Vec<PeerRecord>> {
    let said = bench.said.iter();
    said.filter_map(|output| match output {
        Output::Remember(records) => Some(records),
        _ => None,
    })
    .collect()
}

#[test]
fn the_registry_is_asked_at_once_then_with_doubling_waits() {
    let mut bench = Bench::new(3);
    let mut asked = Vec::new();
    bench.handle(Input::Deadline);
    while asked.len() < 14 {
        if bench.said(&Output::AskRegistry) > 0 {
            asked.push(bench.now);
            bench.handle(Input::LearnedNothing);
        }
        bench.now = bench.core.next_deadline().unwrap();
        bench.handle(Input::Deadline);
    }
    let waits: Vec<_> = asked.windows(2).map(|pair| pair[1].since(pair[0])).collect();
    assert_eq!(asked[0], Instant(1_000_000));
    for (wait, full) in waits.iter().zip([1, 2, 4, 8, 16, 32, 60, 60, 60]) {
        assert!(*wait >= secs(full) / 2 && *wait <= secs(full), "{waits:?}");
    }
}

#[test]
fn a_registry_that_never_answers_is_asked_again() {
    let mut bench = Bench::new(3);
    bench.handle(Input::Deadline);
    assert_eq!(bench.said(&Output::AskRegistry), 1);
    bench.pass(secs(29));
    assert_eq!(bench.said(&Output::AskRegistry), 0, "not while the first question is on its way");
    bench.pass(secs(3600));
    let asked = bench.said(&Output::AskRegistry);
    assert!((60..=125).contains(&asked), "{asked}");
}

#[test]
fn a_node_that_has_all_it_wants_leaves_the_registry_alone() {
    let mut bench = Bench::new(3);
    bench.join(1..=3);
    bench.pass(secs(7200));
    assert_eq!(bench.said(&Output::AskRegistry), 0);
    assert!((20..=25).contains(&asked_peers(&bench)), "{} questions", asked_peers(&bench));
}

#[test]
fn a_node_short_of_tunnels_asks_its_neighbours_ever_more_slowly() {
    let mut bench = Bench::new(10);
    bench.join(1..=2);
    bench.pass(secs(10));
    let early = asked_peers(&bench);
    assert!((2..=7).contains(&early), "{early}");
    bench.pass(secs(7200));
    assert!(asked_peers(&bench) < 60, "{}", asked_peers(&bench));
    assert!((10..=30).contains(&bench.said(&Output::AskRegistry)), "and the registry rarely");
    let records = records(3..=3);
    bench.handle(Input::Learned { source: Source::Peer(id(1)), peers: &records });
    assert_eq!(bench.dialled(), [3]);
}

#[test]
fn lan_neighbours_are_company() {
    let mut bench = Bench::new(3);
    bench.handle(Input::NeighbourUp { node: id(1), medium: Medium::Lan });
    assert!(bench.core.is_connected());
    assert_eq!(bench.said(&Output::AskPeer { node: id(1) }), 1);
}

#[test]
fn addresses_nobody_has_are_left_out() {
    let mut bench = Bench::new(0);
    let addresses =
        ["[::]:6326", "0.0.0.0:6326", "224.0.0.1:1", "[ff02::1]:1", "192.0.2.1:0", "192.0.2.1:9"]
            .map(|text| text.parse().unwrap());
    let peers = [
        PeerRecord { node: id(1), addresses: addresses.to_vec() },
        PeerRecord { node: id(2), addresses: addresses[..5].to_vec() },
    ];
    bench.handle(Input::Learned { source: Source::Registry, peers: &peers });
    let known: Vec<_> = bench.core.peers().collect();
    assert_eq!(known.len(), 1);
    assert_eq!(known[0].addresses, ["192.0.2.1:9".parse().unwrap()]);
    assert_eq!(bench.dropped(DropReason::Address), 10);
}

#[test]
fn the_table_of_peers_is_bounded_and_failed_ones_go_first() {
    let mut bench = Bench::new(1);
    bench.join(1..=1);
    for chunk in 0..4 {
        bench.learn(2 + chunk * 250..=251 + chunk * 250);
    }
    assert_eq!(bench.core.peers().count(), MAX_PEERS);
    assert_eq!(bench.core.counters().evicted, 0, "the node itself, 1000, is not among them");
    bench.handle(Input::Reachable { node: id(5000) });
    assert_eq!(bench.dropped(DropReason::TableFull), 1, "a mere route evicts nobody");
    for round in 0..30 {
        bench.learn(6000 + round * 256..=6255 + round * 256);
    }
    assert_eq!(bench.core.peers().count(), MAX_PEERS);
    assert!(bench.core.peers().any(|peer| peer.node == id(1)), "a neighbour stays");

    let mut bench = Bench::new(1);
    let dialled = bench.learn(1..=250)[0];
    bench.outcome(dialled, Err(DialFailure::Unreachable));
    for chunk in 1..4 {
        bench.learn(2000 + chunk * 250..=2249 + chunk * 250);
    }
    assert_eq!(bench.core.peers().count(), MAX_PEERS);
    let failed = |bench: &Bench| bench.core.peers().filter(|peer| peer.failures > 0).count();
    assert_eq!(failed(&bench), 1);
    bench.learn(9000..=9000);
    assert_eq!(failed(&bench), 0);
    assert_eq!(bench.core.counters().evicted, 1);
}

#[test]
fn one_message_cannot_tell_about_everybody() {
    let mut bench = Bench::new(0);
    bench.learn(1..=999);
    assert_eq!(bench.core.peers().count(), MAX_RECORDS);
    assert_eq!(bench.dropped(DropReason::TooManyRecords), 999 - MAX_RECORDS as u64);
}

#[test]
fn a_node_known_only_by_its_route_is_forgotten_with_it() {
    let mut bench = Bench::new(0);
    bench.learn(1..=1);
    for n in 1..=2 {
        bench.handle(Input::Reachable { node: id(n) });
    }
    for n in 1..=2 {
        bench.handle(Input::Lost { node: id(n) });
    }
    let known: Vec<_> = bench.core.peers().map(|peer| peer.node).collect();
    assert_eq!(known, [id(1)]);
}

#[test]
fn the_cache_is_written_when_it_changed_and_not_too_often() {
    let mut bench = Bench::new(1);
    bench.join(1..=1);
    bench.learn(2..=256);
    bench.pass(secs(5));
    assert_eq!(remembered(&bench).len(), 1);
    let written = remembered(&bench)[0];
    assert_eq!(written.len(), 200);
    assert_eq!(written[0], record(1), "who works comes first");
    for n in 300..400 {
        bench.learn(n..=n);
        bench.pass(secs(1));
        assert!(remembered(&bench).len() <= 1);
        assert!(remembered(&bench).is_empty() || (n - 300) % 60 >= 54, "at {n}");
    }
    bench.pass(secs(120));
    assert_eq!(remembered(&bench).len(), 1);
    bench.pass(secs(3600));
    assert_eq!(remembered(&bench).len(), 0, "nothing changed");
}

#[test]
fn a_record_survives_the_disk() {
    let text = serde_json::to_string(&record(7)).unwrap();
    assert_eq!(serde_json::from_str::<PeerRecord>(&text).unwrap(), record(7));
}

#[test]
fn who_asks_gets_others_and_not_itself() {
    let mut bench = Bench::new(0);
    bench.learn(1..=50);
    let told = bench.core.peers_for(id(3), 10);
    assert_eq!(told.len(), 10);
    assert!(told.iter().all(|record| record.node != id(3)));
    assert_eq!(told, bench.core.peers_for(id(3), 10));
    assert_ne!(told, bench.core.peers_for(id(4), 10));
}

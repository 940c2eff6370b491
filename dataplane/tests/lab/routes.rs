//! Routes in a real kernel.

use std::collections::BTreeMap;
use std::sync::Arc;

use sixwire_dataplane::KernelEvent;
use sixwire_dataplane::model::{
    Change, Desired, Family, NextHop, RouteChange, RouteKey, RouteTarget, Rule,
};
use sixwire_proto::link::LinkId;

use crate::node::Node;

fn wire(node: &Node) -> LinkId {
    node.sh("ip link add d0 type veth peer name d1");
    node.sh("ip link set d1 up");
    node.sh("ip link set d0 up");
    let line = node.sh("ip -o link show d0");
    LinkId(line.split(':').next().unwrap().parse().unwrap())
}

fn via(link: LinkId, gateway: &str) -> RouteTarget {
    let gateway = gateway.parse().unwrap();
    RouteTarget::Via(NextHop { link, gateway, preferred_source: None })
}

fn key(prefix: &str, source: Option<&str>) -> RouteKey {
    RouteKey { prefix: prefix.parse().unwrap(), source: source.map(|s| s.parse().unwrap()) }
}

#[test]
fn every_kind_of_route_and_rule_is_read_back_as_it_was_set() {
    let a = Node::start(31);
    let link = wire(&a);
    let mut options = a.options();
    options.table = 1000;
    let (data, _) = a.open_with(options);
    let hop =
        NextHop { link, gateway: "fe80::9".parse().unwrap(), preferred_source: Some(a.address()) };
    let rule = |family| Rule { family, priority: 63, fwmark: 26, table: 1000 };
    let desired = Desired {
        routes: BTreeMap::from([
            (key("fd00:5::/64", None), RouteTarget::Via(hop)),
            (key("::/0", Some("fd00::/48")), via(link, "fe80::9")),
            (key("fd00:6::/64", None), RouteTarget::Unreachable),
            (key("fd00:7::/64", None), via(link, "2001:db8::9")),
            (key("10.5.0.0/16", None), via(link, "fe80::9")),
            (key("0.0.0.0/0", None), via(link, "fe80::9")),
            (key("10.6.0.0/16", None), RouteTarget::Unreachable),
        ]),
        unreachable: ["fd00::/48".parse().unwrap(), "10.0.0.0/8".parse().unwrap()].into(),
        rules: [rule(Family::V4), rule(Family::V6)].into(),
        addresses: [a.address(), "10.99.0.1".parse().unwrap()].into(),
        ..Desired::default()
    };
    a.reconcile(&data, &desired);
    assert_eq!(a.planned(&data, &desired), []);
    let shown = a.sh("ip -4 route show table 1000");
    assert!(shown.contains("10.5.0.0/16 via inet6 fe80::9"), "{shown}");
    a.down(&data);
    assert_eq!(a.sh("ip -4 route show table 1000") + &a.sh("ip -6 route show table 1000"), "");
    assert!(!a.sh("ip rule").contains("1000"));
}

#[test]
fn a_route_is_replaced_without_a_gap() {
    let a = Node::start(32);
    let link = wire(&a);
    let (data, _) = a.open();
    // Sees the other's changes as somebody else's.
    let (_watch, events) = a.open();
    for (prefix, source) in
        [("fd00:5::/64", None), ("::/0", Some("fd00::/48")), ("10.5.0.0/16", None)]
    {
        let key = key(prefix, source);
        for target in [via(link, "fe80::1"), via(link, "fe80::2"), RouteTarget::Unreachable] {
            a.route(&data, vec![RouteChange::Replace(key, target)]);
            let data = Arc::clone(&data);
            let seen = a.run(move || async move { data.observe().await.unwrap().routes });
            assert_eq!(seen.get(&key), Some(&Some(target)), "{seen:?}");
            let of_ours = a.sh("ip -6 route show proto 42") + &a.sh("ip -4 route show proto 42");
            assert_eq!(of_ours.lines().count(), 1, "{of_ours}");
        }
        a.route(&data, vec![RouteChange::Remove(key), RouteChange::Remove(key)]);
    }
    // Three removals, and nothing else was ever gone.
    let gone = a.run(move || async move {
        let mut events = events;
        let mut gone = Vec::new();
        while gone.len() < 3 {
            if let KernelEvent::RouteGone(key) = events.next().await.unwrap() {
                gone.push(key.prefix.to_string());
            }
        }
        gone
    });
    assert_eq!(gone, ["fd00:5::/64", "::/0", "10.5.0.0/16"]);
}

#[test]
fn changes_of_one_route_happen_in_their_order() {
    let a = Node::start(34);
    let link = wire(&a);
    let (data, _) = a.open();
    let key = key("fd00:5::/64", None);
    let last = via(link, "fe80::ffff");
    for n in 1..20 {
        let targets = (0..n * 5).map(|i| via(link, &format!("fe80::{i:x}:1")));
        let mut changes: Vec<_> = targets.map(|t| RouteChange::Replace(key, t)).collect();
        changes.push(RouteChange::Remove(key));
        changes.push(RouteChange::Replace(key, last));
        a.route(&data, changes);
        let data = Arc::clone(&data);
        let seen = a.run(move || async move { data.observe().await.unwrap().routes });
        assert_eq!(seen, BTreeMap::from([(key, Some(last))]));
    }
}

#[test]
fn a_route_of_mixed_address_families_is_refused_with_its_reason() {
    let a = Node::start(35);
    let link = wire(&a);
    let (data, _) = a.open();
    let hop = NextHop {
        link,
        gateway: "fe80::1".parse().unwrap(),
        preferred_source: Some("10.0.0.1".parse().unwrap()),
    };
    let change = RouteChange::Replace(key("fd00:5::/64", None), RouteTarget::Via(hop));
    let refused = a.apply(&data, Change::Route(change)).unwrap_err().to_string();
    assert!(refused.contains("fd00:5::/64") && refused.contains("10.0.0.1"), "{refused}");
    assert_eq!(a.sh("ip -6 route show proto 42"), "");
}

#[test]
fn ten_thousand_routes_are_a_matter_of_milliseconds() {
    let a = Node::start(33);
    let link = wire(&a);
    let (data, _) = a.open();
    let keys: Vec<_> = (0..10_000u32)
        .map(|n| key(&format!("fd00:7:{:x}:{:x}::/64", n >> 16, n & 0xffff), None))
        .collect();
    let add: Vec<_> =
        keys.iter().map(|key| RouteChange::Replace(*key, via(link, "fe80::1"))).collect();
    let replace: Vec<_> =
        keys.iter().map(|key| RouteChange::Replace(*key, via(link, "fe80::2"))).collect();
    let remove: Vec<_> = keys.iter().map(|key| RouteChange::Remove(*key)).collect();
    for (what, changes) in [("add", add), ("replace", replace.clone()), ("remove", remove)] {
        let start = tokio::time::Instant::now();
        a.route(&data, changes);
        let time = start.elapsed();
        println!("{what} 10000 routes: {time:?}");
        let count = a.sh("ip -6 route show proto 42").lines().count();
        assert_eq!(count, if what == "remove" { 0 } else { 10_000 });
    }
    // One bad change does not spoil its batch.
    let mut mixed = replace[..70].to_vec();
    mixed[10] = RouteChange::Replace(keys[10], via(LinkId(9999), "fe80::1"));
    let outcomes = {
        let data = Arc::clone(&data);
        a.run(move || async move { data.apply_routes(&mixed).await })
    };
    let failed: Vec<_> = outcomes.iter().enumerate().filter(|(_, o)| o.is_err()).collect();
    assert_eq!(failed.len(), 1, "{failed:?}");
    assert_eq!(failed[0].0, 10);
    assert!(a.planned(&data, &Desired::default()).iter().all(|c| matches!(c, Change::Route(_))));
    a.down(&data);
    assert_eq!(a.sh("ip -6 route show proto 42"), "");
}

#[test]
fn what_a_writer_wrote_is_removed_and_nothing_else() {
    let a = Node::start(36);
    let link = wire(&a);
    let (data, _) = a.open();
    let keys: Vec<_> = (0..2_000u32)
        .map(|n| key(&format!("fd00:7::{n:x}/128"), None))
        .chain([key("::/0", Some("fd00::/48")), key("10.5.0.0/16", None)])
        .collect();
    let (router, written) = (data.router(), keys.clone());
    let mut writer = a.run(move || async move {
        let mut writer = router.writer().unwrap();
        let wanted = written.into_iter().map(|key| (key, Some(via(link, "fe80::1"))));
        assert!(writer.write(wanted.collect()).await.is_empty());
        writer
    });
    let ours = || a.sh("ip -6 route show proto 42") + &a.sh("ip -4 route show proto 42");
    assert_eq!(ours().lines().count(), keys.len());
    a.sh("ip route add fd00:7::1/128 dev d0 proto static metric 7");
    a.sh("ip route add fd00:8::1/128 dev d0 proto 42 metric 6326");
    a.run(move || async move {
        let wanted = keys.into_iter().map(|key| (key, None));
        assert!(writer.write(wanted.collect()).await.is_empty());
    });
    assert_eq!(ours().lines().count(), 1, "what it did not write stays: {}", ours());
    assert!(a.sh("ip -6 route show proto static").contains("fd00:7::1"));
}

#[test]
fn the_kernel_tells_whether_it_routes_by_source_and_nothing_changes() {
    let a = Node::start(37);
    let (data, _) = a.open();
    let before = a.sh("ip -6 route show table all");
    let router = data.router();
    assert!(a.run(move || async move { router.routes_by_source().await.unwrap() }));
    assert_eq!(a.sh("ip -6 route show table all"), before);
}

#[test]
fn an_ipv4_neighbour_is_reached_whatever_our_own_addresses_are() {
    let a = Node::start(38);
    let link = wire(&a);
    let (data, _) = a.open();
    // Without any address at all, not even that of the loopback device, there is no IPv4.
    a.sh("ip link set lo up");
    let target = via(link, "172.16.0.1");
    a.route(&data, vec![RouteChange::Replace(key("10.5.0.0/16", None), target)]);
    let shown = a.sh("ip -4 route show proto 42");
    assert!(shown.contains("10.5.0.0/16 via 172.16.0.1 dev d0"), "{shown}");
}

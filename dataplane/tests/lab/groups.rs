//! Neighbours that several links lead to, in a real kernel.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::num::NonZeroU8;

use sixwire_dataplane::RouteWriter;
use sixwire_dataplane::model::{RouteKey, Shares};
use sixwire_proto::link::LinkId;

use crate::node::Node;
use crate::writer::{Wanted, all, count, keys, objects, via, wire, write, writer};

const NEIGHBOUR: &str = "fe80::1";

/// Links and their weights; zero stands for one that cannot be used now.
fn spread(node: &Node, mut writer: RouteWriter, links: &[(LinkId, u8)]) -> RouteWriter {
    let shares: Shares =
        links.iter().map(|(link, weight)| (*link, NonZeroU8::new(*weight))).collect();
    let gateway: IpAddr = NEIGHBOUR.parse().unwrap();
    node.run(move || async move {
        let refused = writer.spread(&BTreeMap::from([(gateway, shares)])).await;
        assert!(refused.is_empty(), "{:?}", refused.first());
        writer
    })
}

/// The groups, as lists of interfaces with their weights.
fn groups(node: &Node) -> Vec<String> {
    let lines = objects(node);
    let id = |line: &String| line.split_whitespace().nth(1).unwrap().to_owned();
    let interface: BTreeMap<String, String> = lines
        .iter()
        .filter(|line| line.contains(" dev "))
        .map(|line| {
            (id(line), line.split(" dev ").nth(1).unwrap().split(' ').next().unwrap().into())
        })
        .collect();
    let name = |member: &str| {
        let (id, weight) = member.split_once(',').unwrap_or((member, "1"));
        format!("{}*{weight}", interface[id])
    };
    let members = lines.iter().filter_map(|line| line.split("group ").nth(1));
    let members = members.map(|text| text.split_whitespace().next().unwrap());
    let sorted = |text: &str| {
        let mut names: Vec<_> = text.split('/').map(name).collect();
        names.sort();
        names.join(" ")
    };
    members.map(sorted).collect()
}

/// The number of the one group that routes name.
fn group_id(node: &Node) -> String {
    let lines = objects(node);
    let mut ids = lines.iter().filter(|line| line.contains("group "));
    let id = ids.next().expect("a group").split_whitespace().nth(1).unwrap().to_owned();
    assert_eq!(ids.next(), None, "{lines:?}");
    id
}

/// Gives a route something that it loses when it is written anew.
fn tag(node: &Node, key: RouteKey) {
    let (prefix, id) = (key.prefix, group_id(node));
    node.sh(&format!("ip -6 route replace {prefix} nhid {id} proto 42 metric 6326 {TAG}"));
    assert_eq!(count(node, TAG), 1);
}

const TAG: &str = "mtu 1300";

fn to(link: LinkId) -> impl Fn(&[RouteKey]) -> Wanted {
    move |keys| all(keys, Some(via(link, NEIGHBOUR)))
}

#[test]
fn routes_name_a_group_once_there_are_two_links_and_none_is_touched_when_one_goes() {
    let a = Node::start(71);
    let (one, two) = (wire(&a, "w1"), wire(&a, "w2"));
    let (data, _events) = a.open();
    let (own, _) = writer(&a, &data);
    let many = keys(10_000);
    let own = write(&a, own, to(one)(&many));
    let own = spread(&a, own, &[(one, 1)]);
    assert_eq!((groups(&a).len(), count(&a, "dev w1")), (0, many.len()), "one link, no group");
    let own = spread(&a, own, &[(one, 1), (two, 1)]);
    let id = group_id(&a);
    assert_eq!((groups(&a), objects(&a).len()), (vec!["w1*1 w2*1".to_owned()], 3));
    assert_eq!(count(&a, &format!("nhid {id} ")), many.len());
    tag(&a, many[7]);
    // The routing engine prefers the other link now.
    let own = write(&a, own, to(two)(&many));
    let own = spread(&a, own, &[(one, 0), (two, 1)]);
    assert_eq!((groups(&a), group_id(&a)), (vec!["w2*1".to_owned()], id.clone()));
    let own = spread(&a, own, &[(one, 3), (two, 1)]);
    assert_eq!((groups(&a), group_id(&a)), (vec!["w1*3 w2*1".to_owned()], id.clone()));
    // Neither works: what the kernel has is as good as anything.
    let own = spread(&a, own, &[(one, 0), (two, 0)]);
    assert_eq!(groups(&a), ["w1*3 w2*1"]);
    assert_eq!(count(&a, TAG), 1, "no route was touched");
    assert_eq!(count(&a, &format!("nhid {id} ")), many.len());
    let own = write(&a, own, all(&many, None));
    assert_eq!((count(&a, ""), objects(&a)), (0, Vec::new()));
    drop(own);
    a.down(&data);
}

#[test]
fn every_kind_of_route_is_spread_or_left_single() {
    let a = Node::start(72);
    let (one, two) = (wire(&a, "w1"), wire(&a, "w2"));
    let (data, _events) = a.open();
    let (own, _) = writer(&a, &data);
    let own = spread(&a, own, &[(one, 1), (two, 2)]);
    let source = Some("fd00:1::/48".parse().unwrap());
    let sourced = RouteKey { prefix: "fd00:8::/64".parse().unwrap(), source };
    let v4 = RouteKey::to("10.7.0.0/16".parse().unwrap());
    let mut wanted = to(two)(&keys(3));
    wanted.extend([(v4, Some(via(two, NEIGHBOUR))), (sourced, Some(via(two, NEIGHBOUR)))]);
    drop(write(&a, own, wanted));
    let id = group_id(&a);
    assert_eq!(groups(&a), ["w1*1 w2*2"]);
    assert_eq!(count(&a, &format!("nhid {id} ")), 4, "IPv4 as well");
    assert_eq!(count(&a, "from fd00:1::/48 via fe80::1 dev w2"), 1);
    a.down(&data);
}

#[test]
fn a_link_that_was_down_is_back_in_its_group_after_a_look() {
    let a = Node::start(73);
    let (one, two) = (wire(&a, "w1"), wire(&a, "w2"));
    let (data, _events) = a.open();
    let (own, _) = writer(&a, &data);
    let own = spread(&a, own, &[(one, 1), (two, 1)]);
    let own = write(&a, own, to(one)(&keys(100)));
    for link in ["w1", "w2"] {
        a.sh(&format!("ip link set {link} down"));
    }
    // With the last member, the kernel takes the group and its routes.
    assert_eq!((groups(&a).len(), count(&a, "")), (0, 0));
    for link in ["w1", "w2"] {
        a.sh(&format!("ip link set {link} up"));
    }
    let lost = keys(100);
    let own = a.run(move || async move {
        let mut own = own;
        let (restored, refused) = own.vanished(lost.into_iter()).await;
        assert_eq!((restored, refused.len()), (100, 0));
        own
    });
    assert_eq!((groups(&a), count(&a, "nhid")), (vec!["w1*1 w2*1".to_owned()], 100));
    a.sh("ip link set w1 down");
    assert_eq!((groups(&a), count(&a, "nhid")), (vec!["w2*1".to_owned()], 100), "by the kernel");
    a.sh("ip link set w1 up");
    let own = a.run(move || async move {
        let mut own = own;
        assert_eq!(own.check_groups().await.len(), 0);
        own
    });
    assert_eq!((groups(&a), count(&a, "nhid")), (vec!["w1*1 w2*1".to_owned()], 100));
    // The link is deleted, and then the engine hears of it.
    a.sh("ip link del w1");
    let own = spread(&a, own, &[(two, 1)]);
    assert_eq!((groups(&a), count(&a, "nhid")), (vec!["w2*1".to_owned()], 100));
    let again = wire(&a, "w3");
    let own = spread(&a, own, &[(two, 1), (again, 1)]);
    assert_eq!((groups(&a), count(&a, "nhid")), (vec!["w2*1 w3*1".to_owned()], 100));
    drop(write(&a, own, all(&keys(100), None)));
    assert_eq!(objects(&a), Vec::<String>::new());
    a.down(&data);
}

#[test]
fn a_second_writer_keeps_the_groups_of_the_first() {
    for compatible in ["1", "0"] {
        let a = Node::start(74);
        a.sh(&format!("sysctl -qw net.ipv4.nexthop_compat_mode={compatible}"));
        let (one, two) = (wire(&a, "w1"), wire(&a, "w2"));
        let (data, _events) = a.open();
        let (own, _) = writer(&a, &data);
        let own = spread(&a, own, &[(one, 1), (two, 1)]);
        let own = write(&a, own, to(two)(&keys(300)));
        drop((own, data));
        let id = group_id(&a);
        let (data, _events) = a.open();
        let observed = a.run({
            let data = data.clone();
            move || async move { data.observe().await.unwrap() }
        });
        let kept = observed.routes.values().filter(|target| target.is_some()).count();
        assert_eq!(kept, 300, "nexthop_compat_mode={compatible}");
        tag(&a, keys(300)[7]);
        let (own, found) = writer(&a, &data);
        assert_eq!(found.len(), 300);
        let own = spread(&a, own, &[(one, 1), (two, 1)]);
        let own = write(&a, own, to(two)(&keys(300)));
        assert_eq!((groups(&a), group_id(&a)), (vec!["w1*1 w2*1".to_owned()], id.clone()));
        let own = spread(&a, own, &[(one, 0), (two, 1)]);
        assert_eq!((groups(&a), group_id(&a)), (vec!["w2*1".to_owned()], id));
        assert_eq!(count(&a, TAG), 1, "nexthop_compat_mode={compatible}: a route was touched");
        // All of them go to a neighbour with one link.
        let other = all(&keys(300), Some(via(one, "fe80::9")));
        let own = write(&a, own, other);
        assert_eq!(count(&a, "nhid"), 300);
        drop(write(&a, own, all(&keys(300), None)));
        assert_eq!(objects(&a), Vec::<String>::new());
        a.down(&data);
    }
}

//! Routes by the thousand in a real kernel, by next-hop objects.

use std::collections::BTreeMap;
use std::sync::Arc;

use sixwire_dataplane::model::{NextHop, RouteKey, RouteTarget};
use sixwire_dataplane::{Dataplane, RouteWriter};
use sixwire_proto::link::LinkId;

use crate::node::Node;

pub(crate) type Wanted = Vec<(RouteKey, Option<RouteTarget>)>;

/// An interface that is up, with a neighbour that never answers.
pub(crate) fn wire(node: &Node, name: &str) -> LinkId {
    node.sh(&format!("ip link add {name} type veth peer name p{name}"));
    node.sh(&format!("ip link set p{name} up"));
    node.sh(&format!("ip link set {name} up"));
    let line = node.sh(&format!("ip -o link show {name}"));
    LinkId(line.split(':').next().unwrap().parse().unwrap())
}

pub(crate) fn via(link: LinkId, gateway: &str) -> RouteTarget {
    let gateway = gateway.parse().unwrap();
    RouteTarget::Via(NextHop { link, gateway, preferred_source: None })
}

pub(crate) fn keys(count: u32) -> Vec<RouteKey> {
    let prefix = |number: u32| format!("fd00:7:{:x}:{:x}::/64", number >> 16, number & 0xffff);
    (0..count).map(|number| RouteKey::to(prefix(number).parse().unwrap())).collect()
}

pub(crate) fn all(keys: &[RouteKey], target: Option<RouteTarget>) -> Wanted {
    keys.iter().map(|key| (*key, target)).collect()
}

/// A writer, and the routes it found.
pub(crate) fn writer(
    node: &Node,
    data: &Arc<Dataplane>,
) -> (RouteWriter, BTreeMap<RouteKey, RouteTarget>) {
    let data = Arc::clone(data);
    node.run(move || async move {
        let mut writer = data.router().writer().unwrap();
        let adopted = writer.adopt(|_| true).await.unwrap();
        (writer, adopted)
    })
}

pub(crate) fn write(node: &Node, mut writer: RouteWriter, wanted: Wanted) -> RouteWriter {
    node.run(move || async move {
        let refused = writer.write(wanted).await;
        assert!(refused.is_empty(), "{:?}", refused.first());
        writer
    })
}

#[test]
fn without_next_hop_objects_routes_are_written_all_the_same() {
    let a = Node::start(130);
    let (data, _) = a.open();
    let (link, other) = (wire(&a, "d0"), wire(&a, "d1"));
    let (writer, _) = writer(&a, &data);
    a.sh("ip link set lo up");
    // All numbers that it tries are taken: there is no object for it, as in a kernel that has none.
    let batch = a.run_dir().join("nexthops");
    let first = ports(&a).into_iter().map(|port| 0x7000_0000 | (port & 0xf_ffff) << 8);
    let taken = first.flat_map(|first| (1..=1000).map(move |number| first + number));
    let lines: String = taken.map(|id| format!("nexthop replace id {id} blackhole\n")).collect();
    std::fs::write(&batch, lines).unwrap();
    a.sh(&format!("ip -6 -batch {}", batch.display()));
    let keys = keys(5);
    let writer = write(&a, writer, all(&keys, Some(via(link, "fe80::1"))));
    assert_eq!((count(&a, "via fe80::1 dev d0"), count(&a, "nhid")), (5, 0));
    let writer = write(&a, writer, all(&keys, Some(via(other, "fe80::2"))));
    assert_eq!((count(&a, "via fe80::2 dev d1"), count(&a, "nhid")), (5, 0));
    write(&a, writer, all(&keys, None));
    assert_eq!(count(&a, ""), 0);
}

/// The ports of the netlink sockets of a node.
fn ports(node: &Node) -> Vec<u32> {
    let sockets = node.run(|| async { std::fs::read_to_string("/proc/thread-self/net/netlink") });
    let row = |line: &str| {
        let mut words = line.split_whitespace().skip(1);
        let (family, port) = (words.next()?, words.next()?);
        (family == "0").then(|| port.parse().ok())?
    };
    let ports: Vec<u32> = sockets.unwrap().lines().filter_map(row).filter(|p| *p != 0).collect();
    assert!(!ports.is_empty());
    ports
}

/// How many of our routes hold this text.
pub(crate) fn count(node: &Node, text: &str) -> usize {
    let shown = node.sh("ip -6 route show proto 42") + &node.sh("ip -4 route show proto 42");
    shown.lines().filter(|line| line.contains(text)).count()
}

pub(crate) fn objects(node: &Node) -> Vec<String> {
    node.sh("ip nexthop show proto 42").lines().map(str::to_owned).collect()
}

#[test]
fn a_global_next_hop_is_on_its_link_whatever_our_addresses_are() {
    let a = Node::start(67);
    let link = wire(&a, "w0");
    let (data, _events) = a.open();
    let (own, _) = writer(&a, &data);
    let _own = write(&a, own, all(&keys(1), Some(via(link, "2001:db8::9"))));
    assert_eq!(count(&a, "via 2001:db8::9"), 1);
}

#[test]
fn all_routes_by_one_neighbour_move_with_its_object() {
    let a = Node::start(61);
    let link = wire(&a, "w0");
    let (data, _events) = a.open();
    let (own, found) = writer(&a, &data);
    assert_eq!(found, BTreeMap::new());
    let many = keys(10_000);
    let own = write(&a, own, all(&many, Some(via(link, "fe80::1"))));
    let before = objects(&a);
    assert_eq!((before.len(), count(&a, "via fe80::1")), (1, many.len()));
    let id = before[0].split_whitespace().nth(1).unwrap().to_owned();
    let own = write(&a, own, all(&many, Some(via(link, "fe80::2"))));
    assert_eq!(count(&a, &format!("nhid {id} via fe80::2")), many.len());
    // Not all of them: those that move are written one by one.
    let (some, rest) = many.split_at(4_000);
    let own = write(&a, own, all(some, Some(via(link, "fe80::3"))));
    assert_eq!(count(&a, "via fe80::3"), some.len());
    assert_eq!(count(&a, &format!("nhid {id} via fe80::2")), rest.len());
    let own = write(&a, own, all(&many, None));
    assert_eq!((count(&a, ""), objects(&a)), (0, Vec::new()));
    drop(own);
    a.down(&data);
}

#[test]
fn an_object_that_went_with_its_interface_takes_no_route_with_it_for_good() {
    let a = Node::start(62);
    let (one, two) = (wire(&a, "w1"), wire(&a, "w2"));
    let (data, _events) = a.open();
    let (own, _) = writer(&a, &data);
    let many = keys(300);
    let own = write(&a, own, all(&many, Some(via(one, "fe80::1"))));
    a.sh("ip link del w1");
    assert_eq!(count(&a, ""), 0, "the kernel takes them away");
    let own = write(&a, own, all(&many, Some(via(two, "fe80::2"))));
    assert_eq!(count(&a, "via fe80::2"), many.len());
    a.sh("ip nexthop flush proto 42");
    let lost = many.clone();
    let own = a.run(move || async move {
        let mut own = own;
        let (restored, refused) = own.vanished(lost.into_iter()).await;
        assert_eq!((restored, refused.len()), (300, 0));
        own
    });
    assert_eq!((count(&a, "via fe80::2"), objects(&a).len()), (many.len(), 1));
    // An object may go without our being told in time: what names it is written anew.
    a.sh("ip nexthop flush proto 42");
    let more = RouteKey::to("fd00:9::/64".parse().unwrap());
    drop(write(&a, own, vec![(more, Some(via(two, "fe80::2")))]));
    assert_eq!(count(&a, "fd00:9::/64"), 1);
    a.down(&data);
}

#[test]
fn a_second_writer_goes_on_where_the_first_ended() {
    for compatible in ["1", "0"] {
        let a = Node::start(63);
        a.sh(&format!("sysctl -qw net.ipv4.nexthop_compat_mode={compatible}"));
        let link = wire(&a, "w3");
        a.sh("ip addr add 192.0.2.1/24 dev w3");
        let (data, _events) = a.open();
        let (own, _) = writer(&a, &data);
        let v4 = |prefix: &str| RouteKey::to(prefix.parse().unwrap());
        let sourced = RouteKey {
            prefix: "fd00:8::/64".parse().unwrap(),
            source: Some("fd00:1::/48".parse().unwrap()),
        };
        let mut wanted = all(&keys(100), Some(via(link, "fe80::1")));
        wanted.push((v4("10.7.0.0/16"), Some(via(link, "fe80::1"))));
        wanted.push((v4("10.8.0.0/16"), Some(via(link, "192.0.2.9"))));
        wanted.push((sourced, Some(via(link, "fe80::1"))));
        wanted.push((v4("10.9.0.0/16"), Some(RouteTarget::Unreachable)));
        drop(write(&a, own, wanted.clone()));
        drop(data);
        let before = (a.sh("ip -6 route show proto 42"), objects(&a));
        // Nobody's: left behind by a run that was killed.
        a.sh("ip nexthop add id 4711 via fe80::77 dev w3 proto 42");
        let (data, _events) = a.open();
        let (own, found) = writer(&a, &data);
        let expected: BTreeMap<_, _> =
            wanted.iter().map(|(key, target)| (*key, target.unwrap())).collect();
        assert_eq!(found, expected, "nexthop_compat_mode={compatible}");
        let own = write(&a, own, wanted);
        assert_eq!((a.sh("ip -6 route show proto 42"), objects(&a)), before);
        // By one message, as the hundred are all that is left to it.
        let rest = vec![(v4("10.7.0.0/16"), None)];
        let own = write(&a, own, rest);
        drop(write(&a, own, all(&keys(100), Some(via(link, "fe80::2")))));
        let shown = objects(&a);
        assert!(shown.iter().any(|object| object.contains("via fe80::2")), "{shown:?}");
        assert!(!shown.iter().any(|object| object.contains("via fe80::1")), "{shown:?}");
        a.down(&data);
    }
}

#[test]
fn one_route_that_is_removed_leaves_the_object_of_its_neighbour_in_use() {
    let a = Node::start(144);
    let link = wire(&a, "w0");
    let (data, _events) = a.open();
    let (own, _) = writer(&a, &data);
    let many = keys(20);
    let own = write(&a, own, all(&many, Some(via(link, "fe80::1"))));
    let before = objects(&a);
    a.sh(&format!("ip -6 route del {} metric 6326 proto 42", many[0].prefix));
    let lost = many[0];
    let own = a.run(move || async move {
        let mut own = own;
        let (restored, refused) = own.vanished([lost].into_iter()).await;
        assert_eq!((restored, refused.len()), (1, 0));
        own
    });
    assert_eq!((count(&a, "via fe80::1"), objects(&a)), (many.len(), before));
    drop(own);
    a.down(&data);
}

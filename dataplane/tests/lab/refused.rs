//! Routes that the kernel refuses, and what becomes of them.

use sixwire_dataplane::model::{RouteKey, RouteTarget};
use sixwire_dataplane::{Error, Retried, RouteWriter};

use crate::node::Node;
use crate::writer::{Wanted, all, count, keys, via, wire, write, writer};

type Refused = Vec<(RouteKey, Error)>;

fn attempt(node: &Node, mut writer: RouteWriter, wanted: Wanted) -> (RouteWriter, Refused) {
    node.run(move || async move {
        let refused = writer.write(wanted).await;
        (writer, refused)
    })
}

fn retry(node: &Node, mut writer: RouteWriter) -> (RouteWriter, Retried) {
    node.run(move || async move {
        let retried = writer.retry().await;
        (writer, retried)
    })
}

#[test]
fn a_refused_route_gets_its_place_once_there_is_one() {
    let a = Node::start(140);
    let (link, other) = (wire(&a, "e0"), wire(&a, "e1"));
    let (data, _events) = a.open();
    let (own, _) = writer(&a, &data);
    let keys = keys(3);
    a.sh("ip link set e0 down");
    let (own, refused) = attempt(&a, own, all(&keys, Some(via(link, "fe80::1"))));
    assert_eq!(refused.len(), 3, "{refused:?}");
    let (own, retried) = retry(&a, own);
    assert_eq!((retried.accepted.len(), retried.refused.len()), (0, 3));
    // What nobody wants any more, and what has another way, is not tried again.
    let own = write(&a, own, all(&keys[..1], None));
    let own = write(&a, own, all(&keys[1..2], Some(via(other, "fe80::2"))));
    a.sh("ip link set e0 up");
    let (own, retried) = retry(&a, own);
    assert_eq!((retried.accepted, retried.refused.len()), (keys[2..].to_vec(), 0));
    assert_eq!((count(&a, "via fe80::1"), count(&a, "via fe80::2"), count(&a, "")), (1, 1, 2));
    drop(own);
    a.down(&data);
}

#[test]
fn a_route_that_cannot_be_moved_does_not_stay_where_it_was() {
    let a = Node::start(141);
    let (link, other) = (wire(&a, "e0"), wire(&a, "e1"));
    let (data, _events) = a.open();
    let (own, _) = writer(&a, &data);
    let keys = keys(2);
    let own = write(&a, own, all(&keys, Some(via(link, "fe80::1"))));
    a.sh("ip link set e1 down");
    let (own, refused) = attempt(&a, own, all(&keys[..1], Some(via(other, "fe80::2"))));
    assert_eq!((refused.len(), count(&a, "")), (1, 1), "{refused:?}");
    a.sh("ip link set e1 up");
    let (own, retried) = retry(&a, own);
    assert_eq!((retried.accepted.len(), count(&a, "via fe80::2")), (1, 1));
    drop(own);
    a.down(&data);
}

#[test]
fn a_route_of_somebody_else_stays() {
    let a = Node::start(142);
    let link = wire(&a, "e0");
    a.sh("ip link set lo up");
    let (data, _events) = a.open();
    let (own, _) = writer(&a, &data);
    let v4: RouteKey = RouteKey::to("10.7.0.0/16".parse().unwrap());
    let mut wanted = all(&keys(2), Some(via(link, "fe80::1")));
    wanted.push((v4, Some(via(link, "fe80::1"))));
    for theirs in ["-6 route add fd00:7::/64", "-4 route add 10.7.0.0/16"] {
        a.sh(&format!("ip {theirs} dev e0 metric 6326 proto static"));
    }
    let theirs = |family: &str| a.sh(&format!("ip -{family} route show proto static"));
    let before = (theirs("6"), theirs("4"));
    assert!(before.0.contains("6326") && before.1.contains("6326"), "{before:?}");
    let (own, refused) = attempt(&a, own, wanted);
    assert_eq!(refused.len(), 2, "{refused:?}");
    assert!(refused.iter().all(|(_, error)| matches!(error, Error::RouteTaken(_))), "{refused:?}");
    let (own, retried) = retry(&a, own);
    assert_eq!((retried.accepted.len(), retried.refused.len()), (0, 2));
    assert_eq!(((theirs("6"), theirs("4")), count(&a, "")), (before, 1));
    a.sh("ip -6 route del fd00:7::/64 dev e0 metric 6326 proto static");
    a.sh("ip -4 route del 10.7.0.0/16 dev e0 metric 6326 proto static");
    let (own, retried) = retry(&a, own);
    assert_eq!((retried.accepted.len(), count(&a, "via")), (2, 3));
    drop(own);
    a.down(&data);
}

#[test]
fn a_route_of_ours_that_was_not_known_of_makes_way() {
    let a = Node::start(143);
    let link = wire(&a, "e0");
    a.sh("ip link set lo up");
    let (data, _events) = a.open();
    let (own, _) = writer(&a, &data);
    a.sh("ip -6 route add unreachable fd00:7::/64 metric 6326 proto 42");
    a.sh("ip -4 route add unreachable 10.7.0.0/16 metric 6326 proto 42");
    let mut wanted = all(&keys(2), Some(via(link, "fe80::1")));
    wanted.push((RouteKey::to("10.7.0.0/16".parse().unwrap()), Some(RouteTarget::Unreachable)));
    drop(write(&a, own, wanted));
    assert_eq!((count(&a, "via fe80::1"), count(&a, "")), (2, 3));
    a.down(&data);
}

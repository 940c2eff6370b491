//! What is not ours is not touched; what is ours is known, even half made.

use std::sync::Arc;

use sixwire_dataplane::model::{Change, Desired, Role};
use sixwire_dataplane::{Applied, Error};

use crate::node::Node;

#[test]
fn an_interface_of_somebody_else_is_left_alone_and_named() {
    let [a, b] = [21, 22].map(Node::start);
    let (data, _) = a.open();
    a.settle(&data);
    let (name, tunnel) = a.tunnel_to(&b, Role::Dialled);
    a.sh(&format!("ip link add {name} type veth peer name other"));
    let before = a.sh("ip -o link");
    for change in [
        Change::CreateTunnel(name.clone(), tunnel),
        Change::UpdateTunnel(name.clone(), Default::default()),
        Change::RemoveTunnel(name.clone()),
    ] {
        let refused = a.apply(&data, change);
        assert!(matches!(&refused, Err(Error::Taken(n)) if *n == name), "{refused:?}");
    }
    assert_eq!(a.planned(&data, &Desired::default()), []);
    assert_eq!(a.sh("ip -o link"), before);
    a.down(&data);
}

#[test]
fn addresses_and_routes_of_somebody_else_are_left_alone() {
    let a = Node::start(23);
    let (data, _) = a.open();
    a.sh("ip link set lo up");
    a.sh("ip addr add fd00::99/128 dev lo");
    a.sh("ip -6 route add unreachable fd00:0:0:99::/64 proto 42");
    a.sh("ip -6 route add unreachable fd00::/48 proto static");
    a.sh("ip -6 rule add fwmark 7 lookup 7 pref 70");
    a.reconcile(&data, &a.desired([]));
    a.reconcile(&data, &Desired::default());
    assert!(a.sh("ip addr show lo").contains("fd00::99"));
    let routes = a.sh("ip -6 route");
    assert!(routes.contains("fd00:0:0:99::/64"), "{routes}");
    assert!(routes.contains("fd00::/48 dev lo proto static"), "{routes}");
    assert!(!routes.contains("4294967294"), "{routes}");
    assert!(a.sh("ip -6 rule").contains("lookup 7"));
    a.down(&data);
}

#[test]
fn a_tunnel_whose_making_was_cut_off_is_made_whole() {
    let [a, b] = [24, 25].map(Node::start);
    let (data, _) = a.open();
    let (name, tunnel) = a.tunnel_to(&b, Role::Dialled);
    // Of our group, without alias; of a kind that cannot be used, to be thorough.
    a.sh(&format!("ip link add {name} group 6326 type veth peer name other"));
    let desired = a.desired([(name.clone(), tunnel)]);
    a.reconcile(&data, &desired);
    assert_eq!(a.planned(&data, &desired), []);
    assert!(
        a.sh(&format!("ip link show {name}")).contains("alias sixwire 1919191919191919 dialled")
    );
    a.down(&data);
}

#[test]
fn a_change_made_twice_does_no_harm() {
    let [a, b] = [26, 27].map(Node::start);
    let (data, _) = a.open();
    let (name, tunnel) = a.tunnel_to(&b, Role::Dialled);
    let desired = a.desired([(name.clone(), tunnel)]);
    let up = a.reconcile(&data, &desired);
    for change in &up {
        a.apply(&data, change.clone()).unwrap();
    }
    assert_eq!(a.planned(&data, &desired), []);
    let down = a.planned(&data, &Desired::default());
    for change in down.iter().chain(&down) {
        a.apply(&data, change.clone()).unwrap();
    }
    let settle = Arc::clone(&data);
    a.run(move || async move { settle.settle().await });
    assert_eq!(a.apply(&data, Change::RemoveTunnel(name)).unwrap(), Applied::Removing);
    assert_eq!(a.planned(&data, &Desired::default()), []);
    a.down(&data);
}

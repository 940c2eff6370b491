//! A daemon that comes back finds what it left, and keeps it.

use std::sync::Arc;

use sixwire_dataplane::model::{Change, Role};
use sixwire_dataplane::{Backend, Choice, Dataplane, Error};

use crate::node::Node;
use crate::tunnels::{index, pair};

#[test]
fn a_restarted_daemon_adopts_its_tunnels_as_they_are() {
    let mut pair = pair([11, 12]);
    pair.echoes();
    let before = index(&pair.a, &pair.data[0]);
    // Packets need no daemon.
    let (fresh, _events) = pair.a.open();
    let old = std::mem::replace(&mut pair.data[0], fresh);
    drop(old);
    pair.echoes();
    let mut desired = pair.desired[0].clone();
    // The daemon does not store keys.
    for tunnel in desired.tunnels.values_mut() {
        tunnel.wireguard.private_key = None;
    }
    let data = Arc::clone(&pair.data[0]);
    let observed = pair.a.run(move || async move { data.observe().await.unwrap() });
    desired.routes = observed.routes.iter().map(|(key, target)| (*key, target.unwrap())).collect();
    assert_eq!(pair.a.planned(&pair.data[0], &desired), []);
    assert_eq!(index(&pair.a, &pair.data[0]), before);
    // What it needs to make a lost tunnel again is there to be learnt.
    let device = observed.tunnels[&pair.name].wireguard.as_ref().unwrap();
    assert_eq!(device.private_key.as_ref().map(|key| key.public()), Some(pair.a.key().public()));
    pair.down();
}

#[test]
fn what_carries_tunnels_is_kept_by_an_automatic_choice() {
    let a = Node::start(13);
    let (data, _) = a.open();
    let (name, tunnel) = a.tunnel_to_stranger(14);
    a.reconcile(&data, &a.desired([(name, tunnel)]));
    let mut options = a.options();
    options.wireguard = Choice::Auto;
    let (again, _) = a.open_with(options);
    assert_eq!(again.backend(), data.backend());
    a.down(&again);
}

#[test]
fn an_automatic_choice_prefers_the_kernel_where_it_can() {
    let a = Node::start(17);
    let with = |wireguard| {
        let mut options = a.options();
        options.wireguard = wireguard;
        a.run(move || async move {
            let (data, _) = Dataplane::open(options).await?;
            data.settle().await;
            Ok(data.backend())
        })
    };
    let kernel = with(Choice::Kernel);
    let expected = match &kernel {
        Ok(backend) => *backend,
        Err(Error::NoKernelWireGuard) => Backend::Embedded,
        Err(error) => panic!("{error}"),
    };
    assert_eq!(with(Choice::Auto).unwrap(), expected);
    assert!(!a.sh("ip -o link").contains("sw-"), "the probe is gone");
}

#[test]
fn a_tunnel_without_a_known_key_cannot_be_made() {
    let [a, b] = [15, 16].map(Node::start);
    let (data, _) = a.open();
    let (name, mut tunnel) = a.tunnel_to(&b, Role::Served);
    tunnel.wireguard.private_key = None;
    let refused = a.apply(&data, Change::CreateTunnel(name.clone(), tunnel));
    assert!(matches!(&refused, Err(Error::KeyUnknown(n)) if *n == name), "{refused:?}");
    assert!(!a.sh("ip -o link").contains("sw-"));
    a.down(&data);
}

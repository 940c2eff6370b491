//! What happens behind our back is told; what we do is not.

use std::sync::Arc;

use sixwire_dataplane::model::{
    Change, Desired, Family, IfName, NextHop, RouteChange, RouteKey, RouteTarget, Rule,
};
use sixwire_dataplane::{Choice, Dataplane, KernelEvent, forwarding};
use sixwire_proto::link::LinkId;

use crate::node::{Node, route_to};
use crate::tunnels::index;

fn with_tunnel(octet: u8) -> (Arc<Node>, Arc<Dataplane>, sixwire_dataplane::Events, LinkId) {
    let a = Node::start(octet);
    let (data, events) = a.open();
    let desired = a.desired([a.tunnel_to_stranger(octet + 1)]);
    a.reconcile(&data, &desired);
    let link = index(&a, &data);
    (a, data, events, link)
}

#[test]
fn deletions_behind_our_back_are_noticed() {
    let (a, data, events, link) = with_tunnel(41);
    let b = Node::start(42);
    a.route(&data, vec![route_to(&a, &b, link)]);
    a.sh(&format!("ip -6 route del {} proto 42", b.prefix()));
    let gone = RouteKey::to(b.prefix());
    let (_, events) = a.event(events, move |e| *e == KernelEvent::RouteGone(gone));

    a.sh("ip -6 route del unreachable fd00::/48 proto 42 metric 4294967294");
    let network = "fd00::/48".parse().unwrap();
    let (_, events) = a.event(events, move |e| *e == KernelEvent::UnreachableGone(network));

    a.sh(&format!("ip addr del {}/128 dev lo", a.address()));
    let address = a.address();
    let (_, events) =
        a.event(events, move |e| *e == KernelEvent::AddressGone { link: LinkId(1), address });

    a.sh("ip link set sw-2a2a2a2a down");
    let (_, events) =
        a.event(events, move |e| matches!(e, KernelEvent::LinkDown { link: l, .. } if *l == link));
    a.sh("ip link set sw-2a2a2a2a up");
    let (_, events) =
        a.event(events, move |e| matches!(e, KernelEvent::LinkUp { link: l, .. } if *l == link));

    a.sh("ip link del sw-2a2a2a2a");
    let (_, _events) =
        a.event(events, move |e| matches!(e, KernelEvent::LinkGone { link: l, .. } if *l == link));

    // And all of it is repaired.
    let desired = a.desired([a.tunnel_to_stranger(42)]);
    a.reconcile(&data, &desired);
    assert_eq!(a.planned(&data, &desired), []);
    a.down(&data);
}

#[test]
fn changes_of_what_stays_are_noticed_and_mended() {
    let (a, data, events, _) = with_tunnel(50);
    let mut desired = a.desired([a.tunnel_to_stranger(51)]);
    let rule = Rule { family: Family::V6, priority: 63, fwmark: 26, table: 1000 };
    desired.rules = [rule].into();
    a.reconcile(&data, &desired);
    a.sh("ip -6 rule del pref 63");
    let (_, events) = a.event(events, |event| *event == KernelEvent::RuleGone);
    assert_eq!(a.reconcile(&data, &desired), [Change::AddRule(rule)]);

    a.sh("ip link set sw-33333333 mtu 1300");
    let (_, mut events) = a.event(events, |event| matches!(event, KernelEvent::MtuChanged { .. }));
    let changes = a.reconcile(&data, &desired);
    assert!(matches!(changes[..], [Change::UpdateTunnel(..)]), "{changes:?}");
    // Another MTU of our own making is no news, nor is a rule that we remove.
    desired.rules.clear();
    desired.tunnels.values_mut().for_each(|tunnel| tunnel.mtu = 1350);
    a.reconcile(&data, &desired);
    a.sh("ip link add end type veth peer name other");
    a.sh("ip link set other up");
    a.sh("ip link set end up");
    loop {
        let (event, rest) = a.event(events, |_| true);
        events = rest;
        match event {
            KernelEvent::RuleGone => panic!("it was we"),
            KernelEvent::LinkUp { name, .. } if name.as_str() == "end" => break,
            _ => {}
        }
    }
    a.down(&data);
}

#[test]
fn next_hop_objects_that_somebody_flushed_come_back_with_their_routes() {
    for compatible in ["0", "1"] {
        let (a, data, events, link) = with_tunnel(52);
        a.sh(&format!("sysctl -qw net.ipv4.nexthop_compat_mode={compatible}"));
        let hop = NextHop {
            link,
            gateway: "fe80::9".parse().unwrap(),
            preferred_source: Some(a.address()),
        };
        let keys: Vec<_> = (1..50u8)
            .map(|n| RouteKey::to(format!("fd00:7:{n:x}::/48").parse().unwrap()))
            .collect();
        let (router, wanted) = (data.router(), keys.clone());
        let mut writer = a.run(move || async move {
            let mut writer = router.writer().unwrap();
            let wanted = wanted.into_iter().map(|key| (key, Some(RouteTarget::Via(hop))));
            assert!(writer.write(wanted.collect()).await.is_empty());
            writer
        });
        let count = || a.sh("ip -6 route show proto 42 metric 6326").lines().count();
        assert_eq!(count(), keys.len());
        a.sh("ip nexthop flush proto 42");
        assert_eq!(count(), 0);
        let (event, _events) = a.event(events, |e| matches!(e, KernelEvent::ObjectGone(_)));
        let KernelEvent::ObjectGone(id) = event else { unreachable!() };
        let (restored, refused) =
            a.run(move || async move { writer.objects_vanished(&[id].into()).await });
        assert!(refused.is_empty(), "{refused:?}");
        assert_eq!((restored, count()), (keys.len(), keys.len()));
        a.reconcile(&data, &Desired::default());
        a.down(&data);
    }
}

#[test]
fn forwarding_that_is_switched_off_is_noticed_and_switched_on() {
    let (a, data, mut events, _) = with_tunnel(54);
    a.run(|| async {
        forwarding::enable_ipv6().unwrap();
        forwarding::enable_ipv4().unwrap();
    });
    let name: IfName = "sw-37373737".parse().unwrap();
    for (key, family) in [
        ("net.ipv6.conf.all.forwarding".to_owned(), Family::V6),
        ("net.ipv4.ip_forward".to_owned(), Family::V4),
        (format!("net.ipv6.conf.{name}.forwarding"), Family::V6),
        (format!("net.ipv4.conf.{name}.forwarding"), Family::V4),
    ] {
        a.sh(&format!("sysctl -qw {key}=0"));
        (_, events) = a.event(events, move |e| *e == KernelEvent::ForwardingOff(family));
        let name = name.clone();
        let restored =
            a.run(move || async move { forwarding::restore([&name].into_iter()).unwrap() });
        assert!(restored, "{key}");
        assert_eq!(a.sh(&format!("sysctl -n {key}")), "1\n");
    }
    let again = a.run(move || async move { forwarding::restore([&name].into_iter()).unwrap() });
    assert!(!again);
    a.down(&data);
}

#[test]
fn what_we_do_ourselves_is_not_told() {
    let (a, data, events, link) = with_tunnel(43);
    let key = RouteKey::to("fd00:5::/64".parse().unwrap());
    a.route(
        &data,
        vec![RouteChange::Replace(key, RouteTarget::Unreachable), RouteChange::Remove(key)],
    );
    let tunnels: Vec<_> = a
        .planned(&data, &a.desired([]))
        .into_iter()
        .filter(|change| matches!(change, Change::RemoveTunnel(_)))
        .collect();
    assert_eq!(tunnels.len(), 1);
    a.apply(&data, tunnels[0].clone()).unwrap();
    let settle = Arc::clone(&data);
    a.run(move || async move { settle.settle().await });
    // A later event of somebody else ends the wait.
    a.sh("ip link add end type veth peer name other");
    a.sh("ip link set other up");
    a.sh("ip link set end up");
    let told = a.run(move || async move {
        let mut events = events;
        let mut told = Vec::new();
        loop {
            match events.next().await.unwrap() {
                KernelEvent::LinkUp { name, .. } if name.as_str() == "end" => return told,
                event => told.push(event),
            }
        }
    });
    let ours = told.iter().filter(|event| match event {
        KernelEvent::LinkGone { link: l, .. } | KernelEvent::LinkDown { link: l, .. } => *l == link,
        KernelEvent::RouteGone(_) | KernelEvent::UnreachableGone(_) => true,
        _ => false,
    });
    assert_eq!(ours.count(), 0, "{told:?}");
    a.down(&data);
}

#[test]
fn events_not_taken_in_time_are_dropped_and_that_is_told() {
    let a = Node::start(49);
    let (data, _events) = a.open();
    let (_watch, mut events) = a.open();
    let keys: Vec<_> =
        (0..3000u32).map(|n| RouteKey::to(format!("fd00:7:{n:x}::/48").parse().unwrap())).collect();
    let set = keys.iter().map(|key| RouteChange::Replace(*key, RouteTarget::Unreachable));
    a.route(&data, set.collect());
    a.route(&data, keys.iter().map(|key| RouteChange::Remove(*key)).collect());
    let mut taken = 0;
    loop {
        let (event, rest) = a.event(events, |_| true);
        events = rest;
        taken += 1;
        if event == KernelEvent::Overrun {
            break;
        }
    }
    assert!((2..3000).contains(&taken), "{taken}");
    // And it goes on afterwards.
    a.sh("ip link add end type veth peer name other");
    a.sh("ip link set other up");
    a.sh("ip link set end up");
    let end = |event: &KernelEvent| matches!(event, KernelEvent::LinkUp { name, .. } if name.as_str() == "end");
    a.event(events, end);
}

#[test]
fn a_helper_started_twice_runs_once() {
    let a = Node::start(47);
    let mut options = a.options();
    options.wireguard = Choice::Embedded;
    let (data, _events) = a.open_with(options);
    a.reconcile(&data, &a.desired([a.tunnel_to_stranger(48)]));
    let pid = a.helper_pid();
    let program = env!("CARGO_BIN_EXE_sixwire-wireguard-helper");
    a.sh(&format!("{program} {}", a.run_dir().display()));
    assert_eq!(a.helper_pid(), pid);
    assert_eq!(a.sh("ip -o link").matches("sw-").count(), 1);
    a.down(&data);
}

//! Our nftables table in a real kernel: who wrote it, and what it keeps out. Needs `nft` to look from outside.

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use sixwire_dataplane::model::{
    Change, Desired, GuardedNetwork, Guards, IfName, ObservedGuards, Role, Sources,
};
use sixwire_dataplane::{Dataplane, Error, Events, KernelEvent};
use sixwire_proto::prefix::Prefix;

use crate::node::{Node, PORT, cable};
use crate::tunnels::{Pair, pair};

/// The guards of a lab node, with these interfaces as links.
fn ground(node: &Node, links: &[&str]) -> GuardedNetwork {
    let links = links.iter().map(|name| name.parse().unwrap()).collect();
    GuardedNetwork::new("fd00::/48".parse().unwrap(), [node.prefix()], links)
}

fn guarded(node: &Node, mut desired: Desired) -> Desired {
    desired.guards = Some(ground(node, &[]));
    desired
}

/// Sends a datagram from an address, until `done`; gives what sending said last.
fn send(
    node: &Node,
    (from, to): (SocketAddr, SocketAddr),
    done: impl Fn() -> bool,
) -> io::Result<usize> {
    let socket = node.run(move || async move { UdpSocket::bind(from).unwrap() });
    let mut outcome = Ok(0);
    for _ in 0..300 {
        outcome = socket.send_to(b"hello", to);
        if done() {
            return outcome;
        }
        std::thread::park_timeout(Duration::from_millis(20));
    }
    panic!("not seen: {outcome:?}");
}

/// How many packets were kept out for a reason.
fn dropped(node: &Node, data: &Arc<Dataplane>, reason: &str) -> u64 {
    let data = Arc::clone(data);
    let all = node.run(move || async move { data.guarded_against() });
    let of = |(why, count): &(String, u64)| (why == reason).then_some(*count);
    all.iter().find_map(of).unwrap_or_else(|| panic!("no {reason} in {all:?}"))
}

/// A UDP port that echoes.
fn echo(node: &Node, address: IpAddr) {
    node.run(move || async move {
        let socket = UdpSocket::bind((address, 7)).unwrap();
        std::thread::spawn(move || {
            while let Ok((count, from)) = socket.recv_from(&mut [0; 10]) {
                let _ = socket.send_to(&b"hello"[..count.min(5)], from);
            }
        });
    });
}

/// Whether a datagram is answered in the end.
fn answered(node: &Node, from: IpAddr, to: IpAddr) -> bool {
    node.run(move || async move {
        let socket = UdpSocket::bind((from, 0)).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        (0..50).any(|_| {
            // There may be no route yet.
            let _ = socket.send_to(b"hello", (to, 7));
            socket.recv(&mut [0; 10]).is_ok()
        })
    })
}

fn guard(node: &Node, data: &Arc<Dataplane>, tunnel: (&IfName, Sources), ports: &[u16]) {
    let mut guards = Guards::of(ground(node, &[]));
    guards.tunnels.insert(tunnel.0.clone(), tunnel.1);
    guards.ports.extend(ports);
    node.apply(data, Change::Guard(guards)).unwrap();
}

fn observed(node: &Node, data: &Arc<Dataplane>) -> ObservedGuards {
    let data = Arc::clone(data);
    node.run(move || async move { data.observe().await.unwrap().guards })
}

fn restore(node: &Node, data: &Arc<Dataplane>) -> bool {
    let data = Arc::clone(data);
    node.run(move || async move { data.restore_guards().unwrap() })
}

#[test]
fn the_table_is_read_back_as_it_was_set_and_follows_tunnels() {
    let [a, b] = [101, 102].map(Node::start);
    let (data, _) = a.open();
    a.sh("nft add table inet theirs");
    let (name, mut tunnel) = a.tunnel_to(&b, Role::Served);
    for peer in tunnel.wireguard.peers.values_mut() {
        let leaf = [b.prefix(), "fe80::/10".parse().unwrap(), "10.0.0.0/8".parse().unwrap()];
        peer.allowed_ips = leaf.into();
    }
    let mut desired = guarded(&a, a.desired([]));
    desired.guards = Some(ground(&a, &["lan0"]));
    a.reconcile(&data, &desired);
    assert_eq!(a.planned(&data, &desired), []);
    let handle = || a.sh("nft -a list tables");
    let before = handle();

    // A tunnel that comes, changes to a forwarding one, and goes, is a change of elements.
    desired.tunnels.insert(name.clone(), tunnel);
    a.reconcile(&data, &desired);
    assert_eq!(a.planned(&data, &desired), []);
    let shown = a.sh("nft list table ip6 sixwire");
    for part in [
        "\"sw-66666666\" : goto leaf",
        "\"lan0\" : goto link",
        "\"sw-66666666\" . fd00:0:0:66::/64",
        "elements = { 51820 }",
        "fib saddr . iif oif 0",
        "notrack",
        "tcp option maxseg size set rt mtu",
    ] {
        assert!(shown.contains(part), "{part:?} in {shown}");
    }
    for peer in desired.tunnels.values_mut().flat_map(|t| t.wireguard.peers.values_mut()) {
        peer.allowed_ips = [Prefix::V6_DEFAULT].into();
    }
    a.reconcile(&data, &desired);
    assert_eq!(a.planned(&data, &desired), []);
    assert!(a.sh("nft list map ip6 sixwire from").contains("\"sw-66666666\" : goto tunnel"));
    desired.tunnels.clear();
    a.reconcile(&data, &desired);
    assert!(!a.sh("nft list table ip6 sixwire").contains("sw-66666666"));
    assert_eq!(handle(), before, "the table is the same one");
    a.settle(&data);

    // Another daemon on the same kernel takes it over as it is.
    let (next, _) = a.open();
    assert_eq!(a.planned(&next, &desired), []);
    let stranger = a.tunnel_to_stranger(103);
    a.apply(&next, Change::CreateTunnel(stranger.0.clone(), stranger.1.clone())).unwrap();
    desired.tunnels.insert(stranger.0, stranger.1);
    assert_eq!(a.planned(&next, &desired), []);
    a.down(&next);
    assert_eq!(a.sh("nft list tables"), "table inet theirs\n");
}

#[test]
fn a_leaf_and_a_neighbour_bring_only_what_is_theirs_to_bring() {
    let Pair { a, b, data, name, .. } = pair([103, 104]);
    b.sh("ip addr add fd00:0:0:99::1/128 dev lo nodad");
    b.sh("ip addr add fd00:0:0:67::9/128 dev lo nodad");
    let to = SocketAddr::new(a.address(), 9);
    let stranger: SocketAddr = "[fd00:0:0:99::1]:1000".parse().unwrap();
    let like_us: SocketAddr = "[fd00:0:0:67::9]:1000".parse().unwrap();

    let link_local: Prefix = "fe80::/10".parse().unwrap();
    guard(&a, &data[0], (&name, Sources::Only([b.prefix(), link_local].into())), &[]);
    let leaf = || dropped(&a, &data[0], "source is not the leaf's");
    send(&b, (stranger, to), || leaf() > 0).unwrap();
    echo(&a, a.address());
    assert!(answered(&b, b.address(), a.address()));

    guard(&a, &data[0], (&name, Sources::Any), &[]);
    let ours = || dropped(&a, &data[0], "source is ours");
    send(&b, (like_us, to), || ours() > 0).unwrap();
    assert!(answered(&b, b.address(), a.address()));
    let before = ours();
    assert!(answered(&b, b.address(), a.address()));
    assert_eq!(ours(), before);
    a.down(&data[0]);
    b.down(&data[1]);
}

#[test]
fn an_interface_that_is_no_link_brings_what_is_routed_to_it() {
    let [a, c] = [105, 106].map(Node::start);
    cable(&a, &c);
    let (data, _) = a.open();
    a.reconcile(&data, &guarded(&a, a.desired([])));
    a.sh("ip addr add fd00:0:0:69:1::1/80 dev cable nodad");
    c.sh("ip addr add fd00:0:0:69:1::2/80 dev cable nodad");
    c.sh("ip link set lo up");
    c.sh("ip addr add fd00:0:0:99::1/128 dev lo nodad");
    c.sh("ip -6 route add fd00:0:0:69::/64 via fd00:0:0:69:1::1");
    echo(&a, a.address());
    assert!(answered(&c, "fd00:0:0:69:1::2".parse().unwrap(), a.address()));
    let elsewhere = || dropped(&a, &data, "source is not there");
    assert_eq!(elsewhere(), 0);
    let stranger: SocketAddr = "[fd00:0:0:99::1]:1000".parse().unwrap();
    send(&c, (stranger, SocketAddr::new(a.address(), 9)), || elsewhere() > 0).unwrap();
    a.down(&data);
}

#[test]
fn a_tunnel_is_carried_by_no_tunnel() {
    let Pair { a, b, data, name, .. } = pair([107, 108]);
    for (node, data) in [(&a, &data[0]), (&b, &data[1])] {
        let name =
            if Arc::ptr_eq(node, &a) { name.clone() } else { "sw-6b6b6b6b".parse().unwrap() };
        guard(node, data, (&name, Sources::Any), &[]);
    }
    echo(&a, a.address());
    assert!(answered(&b, b.address(), a.address()));
    // As if this were a tunnel's port.
    guard(&a, &data[0], (&name, Sources::Any), &[PORT, 4000]);
    let (from, to) = (SocketAddr::new(a.address(), 4000), SocketAddr::new(b.address(), 9));
    let out = || dropped(&a, &data[0], "tunnel by a tunnel");
    let refused = send(&a, (from, to), || out() > 0).unwrap_err();
    assert_eq!(refused.kind(), io::ErrorKind::PermissionDenied);
    let incoming = || dropped(&a, &data[0], "tunnel from a tunnel");
    send(&b, (SocketAddr::new(b.address(), 5000), from), || incoming() > 0).unwrap();
    assert!(answered(&b, b.address(), a.address()));
    a.down(&data[0]);
    b.down(&data[1]);
}

#[test]
fn what_is_passed_on_is_not_tracked_and_what_is_ours_is() {
    let [m, a, b] = [109, 110, 111].map(Node::start);
    let (data, _) = m.open();
    for (node, name) in [(&a, "la"), (&b, "lb")] {
        m.sh(&format!("ip link add {name} type veth peer name wire netns {}", node.tid));
        m.sh(&format!("ip link set {name} up"));
        let own = m.id.link_local();
        m.sh(&format!("ip addr add {own}/64 dev {name} nodad"));
        node.sh("ip link set lo up");
        node.sh(&format!("ip addr add {}/128 dev lo nodad", node.address()));
        node.sh("ip link set wire up");
        node.sh(&format!("ip addr add {}/64 dev wire nodad", node.id.link_local()));
        node.sh(&format!("ip -6 route add fd00::/48 via {own} dev wire src {}", node.address()));
        let theirs = node.id.link_local();
        m.sh(&format!("ip -6 route add {} via {theirs} dev {name}", node.prefix()));
    }
    let mut desired = m.desired([]);
    desired.guards = Some(ground(&m, &["la", "lb"]));
    m.reconcile(&data, &desired);
    m.run(|| async { sixwire_dataplane::forwarding::enable_ipv6().unwrap() });
    for line in [
        "nft add table inet user",
        "nft add chain inet user seen { type filter hook prerouting priority 0 ; }",
        "nft add rule inet user seen ip6 daddr fd00::/48 ct state untracked counter comment \"no\"",
        "nft add rule inet user seen ip6 daddr fd00::/48 ct state new counter comment \"new\"",
    ] {
        m.sh(line);
    }
    let tracked = |which: &str| {
        let shown = m.sh("nft list table inet user");
        let line = shown.lines().find(|line| line.contains(&format!("comment \"{which}\"")));
        !line.unwrap().contains("packets 0 ")
    };
    echo(&b, b.address());
    assert!(answered(&a, a.address(), b.address()));
    assert!(tracked("no") && !tracked("new"), "{}", m.sh("nft list ruleset"));
    echo(&m, m.address());
    assert!(answered(&a, a.address(), m.address()));
    assert!(tracked("new"), "{}", m.sh("nft list ruleset"));
    m.down(&data);
}

#[test]
fn connections_that_enter_a_tunnel_have_segments_that_fit_it() {
    let Pair { a, b, data, name, .. } = pair([112, 113]);
    let lan = Node::start(114);
    guard(&a, &data[0], (&name, Sources::Any), &[PORT]);
    a.run(|| async { sixwire_dataplane::forwarding::enable_ipv6().unwrap() });
    a.sh(&format!("ip link add lan type veth peer name lan netns {}", lan.tid));
    a.sh("ip addr add fd00:0:0:70:1::1/80 dev lan nodad");
    a.sh("ip link set lan up");
    lan.sh("ip addr add fd00:0:0:70:1::2/80 dev lan nodad");
    lan.sh("ip link set lan up");
    lan.sh("ip -6 route add default via fd00:0:0:70:1::1");
    for line in [
        "nft add table inet user",
        "nft add chain inet user seen { type filter hook input priority 0 ; }",
        "nft add rule inet user seen tcp flags syn tcp option maxseg size 1340 counter comment \"fit\"",
        "nft add rule inet user seen tcp flags syn tcp option maxseg size > 1340 counter comment \"big\"",
    ] {
        b.sh(line);
    }
    let to = SocketAddr::new(b.address(), 9);
    // Nobody listens there; that the connection is refused is an answer.
    let asked = (0..50).any(|_| {
        let outcome = lan.run(move || async move {
            TcpStream::connect_timeout(&to, Duration::from_millis(500)).map(drop)
        });
        outcome.is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused)
    });
    assert!(asked);
    let shown = b.sh("nft list table inet user");
    let count = |which: &str| {
        let line = shown.lines().find(|line| line.contains(&format!("comment \"{which}\"")));
        line.unwrap().contains("packets 0 ")
    };
    assert!(!count("fit") && count("big"), "{shown}");
    a.down(&data[0]);
    b.down(&data[1]);
}

#[test]
fn a_changed_table_is_told_and_mended_and_our_own_changes_are_not() {
    let a = Node::start(115);
    let (data, mut events) = a.open();
    let desired = guarded(&a, a.desired([a.tunnel_to_stranger(116)]));
    a.reconcile(&data, &desired);
    let present = observed(&a, &data);
    assert!(matches!(&present, ObservedGuards::Intact(g) if g.tunnels.len() == 1), "{present:?}");
    assert!(!restore(&a, &data));
    let name = "sw-74747474";
    for line in [
        "nft flush table ip6 sixwire".to_owned(),
        "nft delete table ip6 sixwire".to_owned(),
        "nft flush ruleset".to_owned(),
        format!("nft delete element ip6 sixwire from {{ {name} }}"),
        "nft add element ip6 sixwire ports { 9 }".to_owned(),
        "nft insert rule ip6 sixwire prerouting accept".to_owned(),
    ] {
        a.sh(&line);
        events = told(&a, events);
        a.sh("nft add table inet theirs");
        assert_ne!(observed(&a, &data), present, "{line}");
        assert!(restore(&a, &data), "{line}");
        assert_eq!(observed(&a, &data), present, "{line}");
        assert!(!restore(&a, &data), "{line}");
        // The table of somebody else is not news, nor is what we did.
        a.sh("nft add chain inet theirs more");
        let data = Arc::clone(&data);
        let quiet = a.run(move || async move {
            let mut events = events;
            let _data = data;
            let more = tokio::time::timeout(Duration::from_millis(100), events.next()).await;
            more.is_err().then_some(events)
        });
        events = quiet.unwrap_or_else(|| panic!("told after {line}"));
    }
    a.down(&data);
}

/// Waits for the news and for what came with it.
fn told(node: &Node, events: Events) -> Events {
    let (_, events) = node.event(events, |event| *event == KernelEvent::GuardsChanged);
    node.run(move || async move {
        let mut events = events;
        while let Ok(Some(_)) =
            tokio::time::timeout(Duration::from_millis(100), events.next()).await
        {}
        events
    })
}

#[test]
fn a_table_of_somebody_else_is_left_alone_and_named_and_tunnels_work_without() {
    let [a, b] = [117, 118].map(Node::start);
    let (data, _) = a.open();
    a.sh("nft add table ip6 sixwire");
    a.sh("nft add chain ip6 sixwire theirs");
    let before = a.sh("nft -a list ruleset");
    assert_eq!(observed(&a, &data), ObservedGuards::Foreign);
    let refused = a.apply(&data, Change::Guard(Guards::of(ground(&a, &[])))).unwrap_err();
    assert!(matches!(refused, Error::TableTaken(_)), "{refused}");
    assert!(refused.to_string().contains("nft delete table ip6 sixwire"), "{refused}");
    let (name, tunnel) = a.tunnel_to(&b, Role::Dialled);
    a.apply(&data, Change::CreateTunnel(name, tunnel)).unwrap();
    a.apply(&data, Change::Unguard).unwrap();
    assert_eq!(a.sh("nft -a list ruleset"), before);
    a.down(&data);
    assert_eq!(a.sh("nft -a list ruleset"), before);
}

#[test]
fn many_tunnels_are_guarded_in_one_go() {
    let a = Node::start(119);
    let (data, _) = a.open();
    let mut guards = Guards::of(ground(&a, &[]));
    for number in 1..1000u16 {
        let only: BTreeSet<Prefix> = [format!("fd00:0:1:{number:x}::/64").parse().unwrap()].into();
        guards.tunnels.insert(format!("sw-{number:08x}").parse().unwrap(), Sources::Only(only));
        guards.ports.insert(40000 + number);
    }
    let start = tokio::time::Instant::now();
    a.apply(&data, Change::Guard(guards.clone())).unwrap();
    println!("a table of 999 tunnels: {:?}", start.elapsed());
    assert_eq!(observed(&a, &data), ObservedGuards::Intact(guards.clone()));
    let first = guards.tunnels.keys().next().unwrap().clone();
    guards.tunnels.remove(&first);
    let start = tokio::time::Instant::now();
    a.apply(&data, Change::Guard(guards.clone())).unwrap();
    println!("one less: {:?}", start.elapsed());
    assert_eq!(observed(&a, &data), ObservedGuards::Intact(guards));
    a.down(&data);
}

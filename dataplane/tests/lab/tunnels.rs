//! Tunnels carry packets and change alive.

use std::io::Write as _;
use std::net::UdpSocket;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use sixwire_dataplane::model::{Change, Desired, IfName, Role, TunnelUpdate};
use sixwire_dataplane::{Applied, Dataplane, Error};
use sixwire_proto::link::LinkId;

use crate::node::{Node, PORT, cable, public, route_to};

pub(crate) struct Pair {
    pub(crate) a: Arc<Node>,
    pub(crate) b: Arc<Node>,
    pub(crate) data: [Arc<Dataplane>; 2],
    pub(crate) desired: [Desired; 2],
    pub(crate) name: IfName,
}

/// Two nodes with a tunnel and routes to each other; b echoes what it gets.
pub(crate) fn pair(octets: [u8; 2]) -> Pair {
    let [a, b] = octets.map(Node::start);
    cable(&a, &b);
    let (data_a, _) = a.open();
    let (data_b, _) = b.open();
    let (name, tunnel) = a.tunnel_to(&b, Role::Dialled);
    let desired = [a.desired([(name.clone(), tunnel)]), b.desired([b.tunnel_to(&a, Role::Served)])];
    a.reconcile(&data_a, &desired[0]);
    b.reconcile(&data_b, &desired[1]);
    let (link_a, link_b) = (index(&a, &data_a), index(&b, &data_b));
    a.route(&data_a, vec![route_to(&a, &b, link_a)]);
    b.route(&data_b, vec![route_to(&b, &a, link_b)]);
    let address = b.address();
    b.run(move || async move {
        let socket = UdpSocket::bind((address, 7)).unwrap();
        std::thread::spawn(move || {
            let mut octets = [0; 2000];
            while let Ok((count, from)) = socket.recv_from(&mut octets) {
                let _ = socket.send_to(&octets[..count], from);
            }
        });
    });
    Pair { a, b, data: [data_a, data_b], desired, name }
}

impl Pair {
    /// Sends until an answer comes: the first packets may wait for a handshake.
    pub(crate) fn echoes(&self) {
        let (from, to) = (self.a.address(), self.b.address());
        let answered = self.a.run(move || async move {
            let socket = UdpSocket::bind((from, 0)).unwrap();
            socket.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
            (0..300).any(|_| {
                socket.send_to(b"hello", (to, 7)).unwrap();
                socket.recv(&mut [0; 10]).is_ok()
            })
        });
        assert!(answered, "{}{}", self.a.sh("ip -6 route"), self.a.sh("ip -s link"));
    }

    pub(crate) fn down(&self) {
        self.a.down(&self.data[0]);
        self.b.down(&self.data[1]);
    }
}

/// The index of the only tunnel.
pub(crate) fn index(node: &Node, dataplane: &Arc<Dataplane>) -> LinkId {
    let dataplane = Arc::clone(dataplane);
    let observed = node.run(move || async move { dataplane.observe().await.unwrap() });
    assert_eq!(observed.tunnels.len(), 1, "{observed:?}");
    observed.tunnels.into_values().next().unwrap().link
}

#[test]
fn packets_pass_between_two_nodes_and_nothing_is_left_to_do() {
    let pair = pair([1, 2]);
    pair.echoes();
    let stats = {
        let (data, name) = (Arc::clone(&pair.data[0]), pair.name.clone());
        pair.a.run(move || async move { data.tunnel_stats(&name).await.unwrap() })
    };
    let peer = stats.peers[&public(2)];
    assert_eq!(stats.port, PORT);
    assert_eq!(peer.endpoint, Some(pair.b.cable_endpoint()));
    assert!(peer.handshake_age.is_some_and(|age| age < Duration::from_secs(60)), "{peer:?}");
    assert!(peer.rx_bytes > 0 && peer.tx_bytes > 0, "{peer:?}");
    for parameter in ["accept_ra", "accept_redirects"] {
        let path = format!("/proc/sys/net/ipv6/conf/{}/{parameter}", pair.name);
        let value = pair.a.run(move || async move { std::fs::read_to_string(path).unwrap() });
        assert_eq!(value.trim(), "0", "{parameter}: a peer is no router of ours");
    }
    let mut desired = pair.desired[0].clone();
    desired.routes = pair.a.run({
        let data = Arc::clone(&pair.data[0]);
        move || async move {
            let routes = data.observe().await.unwrap().routes;
            routes.into_iter().map(|(key, target)| (key, target.unwrap())).collect()
        }
    });
    assert_eq!(desired.routes.len(), 1);
    assert_eq!(pair.a.planned(&pair.data[0], &desired), []);
    pair.down();
    for node in [&pair.a, &pair.b] {
        let left = node.sh("ip -o link") + &node.sh("ip -6 route show table all proto 42");
        assert!(!left.contains("sw-") && !left.contains("unreachable"), "{left}");
    }
}

#[test]
fn endpoint_port_and_mtu_change_alive() {
    let pair = pair([3, 4]);
    pair.echoes();
    let before = index(&pair.a, &pair.data[0]);
    let [mut a, mut b] = pair.desired.clone();
    for desired in [&mut a, &mut b] {
        let tunnel = desired.tunnels.values_mut().next().unwrap();
        tunnel.wireguard.port = PORT + 1;
        tunnel.mtu = 1300;
        for peer in tunnel.wireguard.peers.values_mut() {
            peer.endpoint.as_mut().unwrap().set_port(PORT + 1);
        }
    }
    for (node, data, desired) in
        [(&pair.a, &pair.data[0], &mut a), (&pair.b, &pair.data[1], &mut b)]
    {
        desired.routes = node.run({
            let data = Arc::clone(data);
            move || async move {
                let routes = data.observe().await.unwrap().routes;
                routes.into_iter().map(|(key, target)| (key, target.unwrap())).collect()
            }
        });
        let changes = node.reconcile(data, desired);
        assert!(matches!(changes[..], [Change::UpdateTunnel(..)]), "{changes:?}");
        assert_eq!(node.planned(data, desired), []);
    }
    pair.echoes();
    assert_eq!(index(&pair.a, &pair.data[0]), before);
    assert!(pair.a.sh(&format!("ip link show {}", pair.name)).contains("mtu 1300"));
    pair.down();
}

#[test]
fn a_taken_port_is_named_and_nothing_is_left_behind() {
    let [a, b] = [5, 6].map(Node::start);
    let (data, _) = a.open();
    let (name, tunnel) = a.tunnel_to(&b, Role::Dialled);
    let socket = a.run(|| async { UdpSocket::bind(("::", PORT)).unwrap() });
    let refused = a.apply(&data, Change::CreateTunnel(name.clone(), tunnel.clone()));
    assert!(matches!(refused, Err(Error::PortTaken { port: PORT, .. })), "{refused:?}");
    drop(socket);
    let made = a.apply(&data, Change::CreateTunnel(name.clone(), tunnel));
    assert!(matches!(made, Ok(Applied::Tunnel(_))), "{made:?}");
    assert_eq!(a.sh("ip -o link").matches("sw-").count(), 1);
    a.down(&data);
    assert_eq!(a.sh("ip -o link").matches("sw-").count(), 0);
}

#[test]
fn an_mtu_below_what_ipv6_needs_is_refused() {
    let a = Node::start(10);
    let (data, _) = a.open();
    let (name, mut tunnel) = a.tunnel_to_stranger(11);
    tunnel.mtu = 1279;
    let refused = a.apply(&data, Change::CreateTunnel(name, tunnel));
    assert!(matches!(refused, Err(Error::SmallMtu { mtu: 1279, .. })), "{refused:?}");
    a.down(&data);
    assert!(!a.sh("ip -o link").contains("sw-"));
}

#[test]
fn a_living_tunnel_keeps_its_port_when_the_new_one_is_taken() {
    let pair = pair([8, 9]);
    pair.echoes();
    let _socket = pair.a.run(|| async { UdpSocket::bind(("::", PORT + 1)).unwrap() });
    let mut update = TunnelUpdate::default();
    update.wireguard.port = Some(PORT + 1);
    let refused = pair.a.apply(&pair.data[0], Change::UpdateTunnel(pair.name.clone(), update));
    assert!(matches!(refused, Err(Error::PortTaken { .. })), "{refused:?}");
    let mut again = pair.desired[0].tunnels[&pair.name].clone();
    again.wireguard.port = PORT + 1;
    let refused = pair.a.apply(&pair.data[0], Change::CreateTunnel(pair.name.clone(), again));
    assert!(matches!(refused, Err(Error::PortTaken { .. })), "{refused:?}");
    assert!(pair.data[0].known_tunnels().contains(&pair.name), "its guards stay");
    let planned = pair.a.planned(&pair.data[0], &pair.desired[0]);
    assert!(planned.iter().all(|change| matches!(change, Change::Route(_))), "{planned:?}");
    pair.echoes();
    pair.down();
}

#[test]
fn the_mark_of_a_living_tunnel_changes() {
    let pair = pair([51, 52]);
    pair.echoes();
    for mark in [7, 0] {
        let mut update = TunnelUpdate::default();
        update.wireguard.fwmark = Some(mark);
        pair.a.apply(&pair.data[0], Change::UpdateTunnel(pair.name.clone(), update)).unwrap();
        pair.echoes();
    }
    pair.down();
}

#[test]
fn a_tunnel_deleted_in_the_middle_of_a_change_does_not_come_back() {
    let a = Node::start(18);
    let (data, _events) = a.open();
    let (name, tunnel) = a.tunnel_to_stranger(19);
    for round in 0..20 {
        a.reconcile(&data, &a.desired([(name.clone(), tunnel.clone())]));
        let (data, name) = (Arc::clone(&data), name.clone());
        let peers = tunnel.wireguard.peers.clone();
        a.run(move || async move {
            let mut ip =
                Command::new("ip").args(["-batch", "-"]).stdin(Stdio::piped()).spawn().unwrap();
            writeln!(ip.stdin.take().unwrap(), "link del {name}").unwrap();
            let mut update = TunnelUpdate::default();
            update.wireguard.peers = peers;
            let mut updates = 0;
            let refused = loop {
                // Sometimes we remove it, too, sooner or later.
                if round % 2 == 1 && updates == round / 2 {
                    data.apply(&Change::RemoveTunnel(name.clone())).await.unwrap();
                }
                match data.apply(&Change::UpdateTunnel(name.clone(), update.clone())).await {
                    Ok(_) => updates += 1,
                    Err(error) => break error,
                }
            };
            assert!(matches!(refused, Error::Gone { .. }), "round {round}: {refused}");
            // It may have come too late for anything.
            let _ = ip.wait().unwrap();
            data.settle().await;
        });
        assert!(!a.sh("ip -o link").contains("sw-"), "round {round}: {}", a.sh("ip -o link"));
    }
    a.down(&data);
}

#[test]
fn forty_tunnels_of_one_node() {
    let a = Node::start(7);
    let (data, _) = a.open();
    let others: Vec<_> = (100..140).map(|octet| (octet, a.tunnel_to_stranger(octet))).collect();
    let desired = a.desired(others.iter().map(|(octet, (name, tunnel))| {
        let mut tunnel = tunnel.clone();
        tunnel.wireguard.port = PORT + u16::from(*octet);
        (name.clone(), tunnel)
    }));
    a.reconcile(&data, &desired);
    assert_eq!(a.planned(&data, &desired), []);
    if let Some(pid) = a.helper_pid() {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let number = |key: &str| -> u64 {
            let line = status.lines().find_map(|line| line.strip_prefix(key)).unwrap();
            line.split_whitespace().next().unwrap().parse().unwrap()
        };
        println!("helper with 40 interfaces: {} KiB", number("VmRSS:"));
        let processors = std::thread::available_parallelism().unwrap().get();
        assert!(number("Threads:") <= processors as u64, "{status}");
        assert!(number("VmRSS:") < 30_000, "{status}");
    }
    a.down(&data);
    assert_eq!(a.sh("ip -o link").matches("sw-").count(), 0);
}

//! What the cases stand on: wires, ends of tunnels, and what passes between them.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::{Command, Output};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use sixwire_dataplane::model::{
    Change, Desired, GuardedNetwork, IfName, NextHop, Observed, Peer, Role, RouteKey, RouteTarget,
    Tunnel, TunnelUpdate,
};
use sixwire_dataplane::{Choice, Dataplane, Error, PeerStats};
use sixwire_proto::prefix::Prefix;
use tokio::time::Instant;

use crate::node::{Node, PORT};

/// A node with the data plane under test, and what it should have.
pub(crate) struct End {
    pub(crate) node: Arc<Node>,
    pub(crate) data: Arc<Dataplane>,
    pub(crate) desired: Desired,
    /// Its servers end with it.
    alive: Arc<()>,
}

/// Address families.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    V4,
    V6,
}

pub(crate) const FAMILIES: [Family; 2] = [Family::V4, Family::V6];

impl End {
    /// A node with its addresses of both families, and echo servers on them.
    pub(crate) fn start(octet: u8) -> Self {
        let node = Node::start(octet);
        let choice = node.options().wireguard;
        Self::on(node, choice)
    }

    pub(crate) fn on(node: Arc<Node>, choice: Choice) -> Self {
        let mut options = node.options();
        options.wireguard = choice;
        let (data, _) = node.open_with(options);
        let mut desired = node.desired([]);
        node.sh("ip link set lo up");
        desired.addresses.insert(inner(Family::V4, node.id.octets()[0]));
        node.reconcile(&data, &desired);
        let end = Self { node, data, desired, alive: Arc::default() };
        for family in FAMILIES {
            end.serve(end.inner(family));
        }
        end
    }

    pub(crate) fn octet(&self) -> u8 {
        self.node.id.octets()[0]
    }

    /// Its address in the mesh.
    pub(crate) fn inner(&self, family: Family) -> IpAddr {
        inner(family, self.octet())
    }

    /// Its address on a wire.
    pub(crate) fn outer(&self, family: Family) -> IpAddr {
        on_wire(family, self.octet())
    }

    pub(crate) fn endpoint(&self, family: Family) -> SocketAddr {
        (self.outer(family), PORT).into()
    }

    /// Wants a tunnel to `other`: without keepalives, so that nothing passes unasked.
    pub(crate) fn wants(&mut self, other: &Self, endpoint: Option<SocketAddr>) -> &mut Tunnel {
        let (name, mut tunnel) = self.node.tunnel_to(&other.node, Role::Dialled);
        for peer in tunnel.wireguard.peers.values_mut() {
            (peer.endpoint, peer.keepalive) = (endpoint, None);
        }
        self.desired.tunnels.entry(name).insert_entry(tunnel).into_mut()
    }

    /// Makes what it wants, and routes to the nodes behind its tunnels.
    pub(crate) fn up(&mut self) {
        self.desired.routes.clear();
        self.node.reconcile(&self.data, &self.desired);
        self.desired.routes = self.routes();
        self.node.reconcile(&self.data, &self.desired);
        assert_eq!(self.node.planned(&self.data, &self.desired), []);
    }

    /// Removes its tunnels, and waits until they are gone.
    pub(crate) fn clear(&mut self) {
        self.desired.tunnels.clear();
        self.desired.routes.clear();
        self.node.reconcile(&self.data, &self.desired);
        self.settle();
    }

    pub(crate) fn settle(&self) {
        self.node.settle(&self.data);
    }

    /// From now on no tunnel of its carries another, or itself.
    pub(crate) fn guard(&mut self) {
        let network = "fd00::/48".parse().unwrap();
        let guards = GuardedNetwork::new(network, [self.node.prefix()], BTreeSet::new());
        self.desired.guards = Some(guards);
        self.node.reconcile(&self.data, &self.desired);
        assert_eq!(self.node.planned(&self.data, &self.desired), []);
    }

    pub(crate) fn down(&self) {
        self.node.down(&self.data);
    }

    pub(crate) fn observe(&self) -> Observed {
        let data = Arc::clone(&self.data);
        self.node.run(move || async move { data.observe().await.unwrap() })
    }

    /// The name of its first tunnel.
    pub(crate) fn name(&self) -> IfName {
        self.desired.tunnels.keys().next().unwrap().clone()
    }

    pub(crate) fn tunnel(&self) -> &Tunnel {
        self.desired.tunnels.values().next().unwrap()
    }

    pub(crate) fn apply(&self, change: Change) -> Result<(), Error> {
        self.node.apply(&self.data, change).map(drop)
    }

    /// Changes its first tunnel alive.
    pub(crate) fn update(&self, change: impl FnOnce(&mut TunnelUpdate)) {
        let mut update = TunnelUpdate::default();
        change(&mut update);
        self.apply(Change::UpdateTunnel(self.name(), update)).unwrap();
    }

    /// Changes how it sees the peer of its first tunnel; without an endpoint the one known stays.
    pub(crate) fn change_peer(&self, change: impl FnOnce(&mut Peer)) {
        let mut peers = self.tunnel().wireguard.peers.clone();
        let peer = peers.values_mut().next().unwrap();
        peer.endpoint = None;
        change(peer);
        self.update(|update| update.wireguard.peers = peers);
    }

    /// Forgets where its first tunnel's peer is, and the session with it: it cannot speak before the peer does.
    pub(crate) fn forget_place(&self) {
        let peers = self.tunnel().wireguard.peers.clone();
        self.update(|update| {
            update.wireguard.removed = peers.keys().copied().collect();
            update.wireguard.peers = peers;
            update.wireguard.peers.values_mut().for_each(|peer| peer.endpoint = None);
        });
    }

    /// What its first tunnel knows of `other`.
    pub(crate) fn seen(&self, other: &Self) -> PeerStats {
        let (data, name) = (Arc::clone(&self.data), self.name());
        let stats = self.node.run(move || async move { data.tunnel_stats(&name).await.unwrap() });
        stats.peers[&other.node.key().public()]
    }

    pub(crate) fn sh(&self, line: &str) -> String {
        self.node.sh(line)
    }

    /// Echoes datagrams at an address of its own.
    pub(crate) fn serve(&self, address: IpAddr) {
        let socket = self.node.run(move || async move { UdpSocket::bind((address, 7)).unwrap() });
        socket.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        let alive = Arc::downgrade(&self.alive);
        std::thread::spawn(move || {
            let mut octets = vec![0; 1 << 16];
            while alive.strong_count() > 0 {
                if let Ok((count, from)) = socket.recv_from(&mut octets) {
                    let _ = socket.send_to(&octets[..count], from);
                }
            }
        });
    }

    /// Whether a datagram of so many octets comes back whole from an echo server within so many tries
    /// of a tenth of a second.
    pub(crate) fn hears(&self, to: IpAddr, octets: usize, tries: usize) -> bool {
        self.node.run(move || async move {
            let any: IpAddr = if to.is_ipv4() { [0; 4].into() } else { [0; 16].into() };
            let socket = UdpSocket::bind((any, 0)).unwrap();
            socket.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
            let sent = pattern(octets);
            let mut received = vec![0; octets + 1];
            (0..tries).any(|_| {
                let started = Instant::now();
                // Refused at once where there is no route, or no peer.
                let heard = socket.send_to(&sent, (to, 7)).is_ok()
                    && socket.recv(&mut received).is_ok_and(|n| received[..n] == sent);
                let rest = Duration::from_millis(100).saturating_sub(started.elapsed());
                if !heard {
                    pause(rest);
                }
                heard
            })
        })
    }

    /// Whether the one datagram that is sent comes back, however slow the machine is.
    pub(crate) fn loses_nothing(&self, to: IpAddr) -> bool {
        self.node.run(move || async move {
            let socket = UdpSocket::bind("[::]:0").unwrap();
            socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
            socket.send_to(&[7; 1000], (to, 7)).unwrap();
            socket.recv(&mut [0; 1000]).is_ok()
        })
    }

    /// Sends until an echo comes: the first datagrams may wait for a handshake.
    pub(crate) fn reaches(&self, to: IpAddr) {
        let state = |end: &Self| {
            [end.sh("ip addr"), end.sh("ip -6 route"), end.sh("ip route"), end.sh("ip -s link")]
                .concat()
        };
        assert!(self.hears(to, 5, 400), "{to} from {}: {}", self.node.id, state(self));
    }

    pub(crate) fn reaches_both(&self, other: &Self) {
        for family in FAMILIES {
            self.reaches(other.inner(family));
        }
    }

    /// A stream to `other`, compared at its end.
    pub(crate) fn stream(&self, other: &Self, family: Family, octets: usize) -> JoinHandle<()> {
        let address = other.inner(family);
        let listener =
            other.node.run(move || async move { TcpListener::bind((address, 0)).unwrap() });
        let to = listener.local_addr().unwrap();
        let sender = self.node.run(move || async move {
            // Not here: a thread's namespace is that of who starts it.
            std::thread::spawn(move || {
                TcpStream::connect(to).unwrap().write_all(&pattern(octets)).unwrap();
            })
        });
        std::thread::spawn(move || {
            let mut received = Vec::new();
            listener.accept().unwrap().0.read_to_end(&mut received).unwrap();
            sender.join().unwrap();
            assert!(received == pattern(octets), "the stream is not what was sent");
        })
    }

    /// Streams both ways at once.
    pub(crate) fn streams(&self, other: &Self, family: Family, octets: usize) {
        for stream in [self.stream(other, family, octets), other.stream(self, family, octets)] {
            stream.join().unwrap();
        }
    }

    /// Pings once with so many octets, in one piece.
    pub(crate) fn pings(&self, to: IpAddr, octets: usize) -> Output {
        self.output(&format!("ping -n -c 1 -W 5 -M do -s {octets} {to}"))
    }

    /// Runs a command that may fail.
    pub(crate) fn output(&self, line: &str) -> Output {
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        self.node
            .run(move || async move { Command::new(&words[0]).args(&words[1..]).output().unwrap() })
    }

    fn routes(&self) -> BTreeMap<RouteKey, RouteTarget> {
        let observed = self.observe();
        let mut routes = BTreeMap::new();
        for (name, tunnel) in &self.desired.tunnels {
            let (node, link) = (tunnel.mark.node, observed.tunnels[name].link);
            let octet = node.octets()[0];
            for (family, prefix) in [
                (Family::V6, format!("fd00:0:0:{octet:x}::/64")),
                (Family::V4, format!("10.99.0.{octet}/32")),
            ] {
                let hop = NextHop {
                    link,
                    gateway: node.link_local().into(),
                    preferred_source: Some(self.inner(family)),
                };
                routes.insert(RouteKey::to(prefix.parse().unwrap()), RouteTarget::Via(hop));
            }
        }
        routes
    }
}

fn pattern(octets: usize) -> Vec<u8> {
    (0..=250).cycle().take(octets).collect()
}

pub(crate) fn inner(family: Family, octet: u8) -> IpAddr {
    match family {
        Family::V4 => Ipv4Addr::new(10, 99, 0, octet).into(),
        Family::V6 => format!("fd00:0:0:{octet:x}::1").parse().unwrap(),
    }
}

pub(crate) fn on_wire(family: Family, octet: u8) -> IpAddr {
    match family {
        Family::V4 => Ipv4Addr::new(192, 0, 2, octet).into(),
        Family::V6 => format!("2001:db8::{octet:x}").parse().unwrap(),
    }
}

/// The prefix of an address, as long as the networks on the wires.
pub(crate) fn length(address: IpAddr) -> u8 {
    if address.is_ipv4() { 24 } else { 64 }
}

/// A wire between interfaces of two nodes.
pub(crate) fn wire([(one, near), (other, far)]: [(&Node, &str); 2]) {
    one.sh(&format!("ip link add {near} type veth peer name {far} netns {}", other.tid));
    one.sh(&format!("ip link set {near} up"));
    other.sh(&format!("ip link set {far} up"));
}

/// Gives a node an address of its own, on no wire.
pub(crate) fn host_address(node: &Node, address: IpAddr) {
    let (bits, nodad) = if address.is_ipv4() { (32, "") } else { (128, "nodad") };
    node.sh(&format!("ip addr add {address}/{bits} dev lo {nodad}"));
}

pub(crate) fn address(node: &Node, interface: &str, address: IpAddr) {
    let nodad = if address.is_ipv4() { "" } else { "nodad" };
    node.sh(&format!("ip addr add {address}/{} dev {interface} {nodad}", length(address)));
}

/// Two ends on a wire, that know each other's place.
pub(crate) fn two(octets: [u8; 2]) -> [End; 2] {
    joined(octets.map(End::start))
}

/// A wire between two ends, and their tunnels.
pub(crate) fn joined([mut a, mut b]: [End; 2]) -> [End; 2] {
    cabled(&a, &b);
    a.wants(&b, Some(b.endpoint(Family::V4)));
    b.wants(&a, Some(a.endpoint(Family::V4)));
    a.up();
    b.up();
    [a, b]
}

/// A wire between two ends, `cable` at both.
pub(crate) fn cabled(a: &End, b: &End) {
    wire([(&a.node, "cable"), (&b.node, "cable")]);
    for end in [a, b] {
        for family in FAMILIES {
            address(&end.node, "cable", end.outer(family));
        }
    }
}

pub(crate) fn prefixes(text: &[&str]) -> BTreeSet<Prefix> {
    text.iter().map(|prefix| prefix.parse().unwrap()).collect()
}

/// Whether the WireGuard under test is the kernel's.
pub(crate) fn is_kernel() -> bool {
    std::env::var("SIXWIRE_TEST_WIREGUARD").as_deref() == Ok("kernel")
}

/// Asks until there is an answer.
pub(crate) fn until<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(Instant::now() < deadline, "{what}: not within {PATIENCE:?}");
        pause(Duration::from_millis(50));
    }
}

/// Lets time pass where time is the subject, or between two questions.
#[expect(clippy::disallowed_methods, reason = "the one place where these tests wait")]
pub(crate) fn pause(duration: Duration) {
    std::thread::sleep(duration);
}

/// Longer than a handshake that failed waits for its next try, on a slow machine.
const PATIENCE: Duration = Duration::from_secs(90);

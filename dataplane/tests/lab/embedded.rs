//! What the embedded WireGuard promises beyond carrying packets; most of it holds for the kernel's, too.

use std::collections::BTreeSet;
use std::io::{IoSliceMut, Read as _, Write as _};
use std::net::{SocketAddr, SocketAddrV6, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsRawFd as _;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg, setsockopt, sockopt};
use sixwire_dataplane::Choice;
use sixwire_dataplane::model::{Change, Peer, TunnelUpdate};

use crate::node::{Node, PORT, public};
use crate::tunnels::{Pair, pair};
use crate::wireguard::ground::{End, Family, joined, pause};

/// Changes the peer of a's tunnel.
fn change_peer(pair: &Pair, change: impl FnOnce(&mut Peer)) {
    let tunnel = &pair.desired[0].tunnels[&pair.name];
    let mut peers = tunnel.wireguard.peers.clone();
    change(peers.values_mut().next().unwrap());
    let mut update = TunnelUpdate::default();
    update.wireguard.peers = peers;
    pair.a.apply(&pair.data[0], Change::UpdateTunnel(pair.name.clone(), update)).unwrap();
}

/// Echoes one after the other, from a thread of its own in a's namespace, until told to stop.
struct Echoes {
    stop: Arc<AtomicBool>,
    thread: std::thread::JoinHandle<[usize; 2]>,
}

impl Echoes {
    fn start(pair: &Pair) -> Self {
        let (from, to) = (pair.a.address(), SocketAddr::from((pair.b.address(), 7)));
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = pair.a.run(move || async move {
            let socket = UdpSocket::bind((from, 0)).unwrap();
            socket.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
            std::thread::spawn(move || {
                let mut counts = [0, 0];
                while !stopped.load(Ordering::Relaxed) {
                    socket.send_to(b"hello", to).unwrap();
                    let answered = socket.recv(&mut [0; 10]).is_ok();
                    counts[usize::from(!answered)] += 1;
                }
                counts
            })
        });
        Self { stop, thread }
    }

    /// How many were answered, and how many were not.
    fn stop(self) -> [usize; 2] {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}

#[test]
fn changes_of_a_living_peer_lose_no_packet() {
    let pair = pair([61, 62]);
    pair.echoes();
    pair.b.sh("ip addr add 192.0.2.162/24 dev cable");
    let echoes = Echoes::start(&pair);
    for round in 0..20 {
        let other = if round % 2 == 0 { "192.0.2.162" } else { "192.0.2.62" };
        change_peer(&pair, |peer| {
            peer.endpoint = Some((other.parse::<std::net::Ipv4Addr>().unwrap(), PORT).into());
        });
        change_peer(&pair, |peer| peer.keepalive = Some(20 + round));
        change_peer(&pair, |peer| {
            peer.allowed_ips.insert("10.0.0.0/8".parse().unwrap());
        });
        let mut update = TunnelUpdate::default();
        update.wireguard.fwmark = Some(u32::from(round));
        pair.a.apply(&pair.data[0], Change::UpdateTunnel(pair.name.clone(), update)).unwrap();
    }
    let [answered, lost] = echoes.stop();
    assert_eq!(lost, 0, "of {answered}");
    assert!(answered > 0);
    pair.down();
}

/// Sends numbered datagrams until told to stop, without waiting for anything; how many.
fn one_way(from: &End, to: SocketAddr) -> (Arc<AtomicBool>, std::thread::JoinHandle<u32>) {
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = Arc::clone(&stop);
    let thread = from.node.run(move || async move {
        let socket = UdpSocket::bind("[::]:0").unwrap();
        std::thread::spawn(move || {
            let mut count = 0;
            while !stopped.load(Ordering::Relaxed) {
                socket.send_to(&u32::to_be_bytes(count), to).unwrap();
                count += 1;
                pause(Duration::from_micros(200));
            }
            count
        })
    });
    (stop, thread)
}

/// Of the embedded one alone: the kernel's closes its port at once, and what is on its way there is lost.
#[test]
fn what_is_on_its_way_to_a_port_that_changes_arrives() {
    let [mut a, b] = joined([69, 70].map(|octet| End::on(Node::start(octet), Choice::Embedded)));
    a.change_peer(|peer| peer.keepalive = Some(1));
    b.reaches_both(&a);
    let to = SocketAddr::from((a.inner(Family::V6), 9));
    let socket = a.node.run(move || async move { UdpSocket::bind(to).unwrap() });
    setsockopt(&socket, sockopt::RcvBufForce, &(8 << 20)).unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
    let (stop, sender) = one_way(&b, to);
    for round in 0..20 {
        // Back to the one before, too, which is listened to for a while.
        let port = PORT + 100 * [0, 1, 2, 1][round % 4];
        a.update(|update| update.wireguard.port = Some(port));
        pause(Duration::from_millis(20));
    }
    stop.store(true, Ordering::Relaxed);
    let sent = sender.join().unwrap();
    let (mut numbers, mut octets) = (BTreeSet::new(), [0; 4]);
    while socket.recv(&mut octets).is_ok() {
        numbers.insert(u32::from_be_bytes(octets));
    }
    assert!(sent > 100);
    assert_eq!(sent as usize - numbers.len(), 0, "of {sent} lost");
    a.clear();
    a.down();
    b.down();
}

#[test]
fn a_stream_arrives_whole_and_in_large_pieces() {
    let pair = pair([63, 64]);
    pair.echoes();
    let address = pair.b.address();
    let listener = pair.b.run(move || async move { TcpListener::bind((address, 9)).unwrap() });
    let reader = std::thread::spawn(move || {
        let mut received = Vec::new();
        listener.accept().unwrap().0.read_to_end(&mut received).unwrap();
        received
    });
    let sent: Vec<u8> =
        (0u32..2_000_000).flat_map(|n| n.wrapping_mul(0x9e37_79b1).to_ne_bytes()).collect();
    let octets = sent.clone();
    pair.a.run(move || async move {
        let mut stream = TcpStream::connect((address, 9)).unwrap();
        std::thread::spawn(move || stream.write_all(&octets).unwrap());
    });
    assert!(reader.join().unwrap() == sent, "the stream is not what was sent");
    if std::env::var("SIXWIRE_TEST_WIREGUARD").as_deref() != Ok("kernel") {
        let name = pair.b.tunnel_to(&pair.a, sixwire_dataplane::model::Role::Served).0;
        let [octets, packets] = received(&pair.b, name.as_str());
        assert!(octets / packets > 3000, "{octets} octets in {packets} packets");
    }
    pair.down();
}

/// Octets and packets that came in by an interface.
fn received(node: &Node, name: &str) -> [u64; 2] {
    let lines = node.sh(&format!("ip -s link show {name}"));
    let counters = lines.lines().skip_while(|line| !line.trim().starts_with("RX:")).nth(1);
    let mut numbers = counters.unwrap().split_whitespace().map(|n| n.parse().unwrap());
    [numbers.next().unwrap(), numbers.next().unwrap()]
}

#[test]
fn a_request_that_makes_no_sense_changes_nothing() {
    if std::env::var("SIXWIRE_TEST_WIREGUARD").as_deref() == Ok("kernel") {
        return;
    }
    let pair = pair([65, 66]);
    pair.echoes();
    let path = format!("/var/run/wireguard/{}.sock", pair.name);
    let answers = pair.a.run(move || async move {
        let mut stream = UnixStream::connect(path).unwrap();
        stream.write_all(b"set=1\nfwmark=9\nlisten_port=70000\n\nget=1\n\nhello\n\n").unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        text
    });
    let answers: Vec<_> = answers.split_terminator("\n\n").collect();
    let [first, second, third] = answers[..] else { panic!("{} answers", answers.len()) };
    assert_eq!((first, third), ("errno=22", "errno=22"));
    let lines: Vec<_> = second.lines().filter(|line| !line.starts_with("private_key")).collect();
    let key: String = public(66).0.iter().map(|octet| format!("{octet:02x}")).collect();
    for line in ["fwmark=1", "listen_port=51820", "errno=0", &format!("public_key={key}")] {
        assert!(lines.contains(&line), "{line}: {lines:?}");
    }
    pair.echoes();
    pair.down();
}

#[test]
fn answers_leave_from_the_address_that_was_asked() {
    let pair = pair([67, 68]);
    pair.echoes();
    // Routing would choose the address with which b came.
    pair.b.sh("ip addr add 192.0.2.168/24 dev cable");
    let asked: SocketAddr = ([192, 0, 2, 168], PORT).into();
    change_peer(&pair, |peer| peer.endpoint = Some(asked));
    pair.echoes();
    let (data, name) = (Arc::clone(&pair.data[0]), pair.name.clone());
    let stats = pair.a.run(move || async move { data.tunnel_stats(&name).await.unwrap() });
    assert_eq!(stats.peers[&public(68)].endpoint, Some(asked), "it was not followed elsewhere");
    // And the address may go.
    pair.b.sh("ip addr del 192.0.2.168/24 dev cable");
    change_peer(&pair, |peer| peer.endpoint = Some(pair.b.cable_endpoint()));
    pair.echoes();
    pair.down();
}

/// Sends datagrams of a traffic class to b; the classes that they arrive with.
fn classes(pair: &Pair, class: i32, port: u16) -> Vec<u8> {
    let (from, to) = (pair.a.address(), SocketAddr::from((pair.b.address(), port)));
    let address = pair.b.address();
    let receiver = pair.b.run(move || async move {
        let socket = UdpSocket::bind((address, port)).unwrap();
        setsockopt(&socket, sockopt::Ipv6RecvTClass, &true).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        socket
    });
    pair.a.run(move || async move {
        let socket = UdpSocket::bind((from, 0)).unwrap();
        setsockopt(&socket, sockopt::Ipv6TClass, &class).unwrap();
        for _ in 0..3 {
            socket.send_to(b"hello", to).unwrap();
        }
    });
    let received = |_| {
        let mut octets = [0; 10];
        let mut space = nix::cmsg_space!(i32);
        let mut slices = [IoSliceMut::new(&mut octets)];
        let flags = MsgFlags::empty();
        let message =
            recvmsg::<()>(receiver.as_raw_fd(), &mut slices, Some(&mut space), flags).unwrap();
        let class = message.cmsgs().unwrap().find_map(|control| match control {
            ControlMessageOwned::Ipv6TClass(class) => u8::try_from(class).ok(),
            _ => None,
        });
        class.unwrap()
    };
    (0..3).map(received).collect()
}

#[test]
fn congestion_on_the_way_is_told_to_who_can_hear_of_it_and_the_class_stays_inside() {
    let pair = pair([81, 82]);
    pair.echoes();
    assert_eq!(classes(&pair, 0xba, 1000), [0xba; 3]);
    let table = "add table ip t; add chain ip t c { type filter hook prerouting priority -150; }; \
                 add rule ip t c udp dport 51820 ip dscp != 0 counter; \
                 add rule ip t c udp dport 51820 ip ecn set ce";
    let rules = table.to_owned();
    pair.b.run(move || async move {
        let done = std::process::Command::new("nft").arg(rules).status().unwrap();
        assert!(done.success());
    });
    assert_eq!(classes(&pair, 0xba, 1001), [0xbb; 3]);
    assert_eq!(classes(&pair, 0xb8, 1002), [0xb8; 3]);
    let counted = pair.b.sh("nft list table ip t");
    assert!(counted.contains("counter packets 0 "), "data has no class outside: {counted}");
    pair.down();
}

#[test]
fn what_gets_lost_is_counted_by_reason() {
    if std::env::var("SIXWIRE_TEST_WIREGUARD").as_deref() == Ok("kernel") {
        return;
    }
    let pair = pair([83, 84]);
    pair.echoes();
    let to = pair.a.cable_endpoint();
    pair.b.run(move || async move {
        let socket = UdpSocket::bind(("0.0.0.0", 0)).unwrap();
        for _ in 0..7 {
            socket.send_to(b"I am no WireGuard", to).unwrap();
        }
    });
    pair.echoes();
    let data = Arc::clone(&pair.data[0]);
    let drops = pair.a.run(move || async move { data.drops().await.unwrap() });
    assert_eq!(drops.get("stranger"), Some(&7), "{drops:?}");
    // What the kernel refuses to send is lost, and nothing else happens.
    pair.a.sh("ip route add unreachable 192.0.2.84");
    let (from, to) = (pair.a.address(), SocketAddr::from((pair.b.address(), 7)));
    pair.a.run(move || async move {
        let socket = UdpSocket::bind((from, 0)).unwrap();
        for _ in 0..5 {
            socket.send_to(b"hello", to).unwrap();
        }
    });
    let data = Arc::clone(&pair.data[0]);
    pair.a.run(move || async move {
        while data.drops().await.unwrap().get("send_refused").is_none_or(|count| *count < 5) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
    pair.a.sh("ip route del unreachable 192.0.2.84");
    pair.echoes();
    pair.down();
}

#[test]
fn an_endpoint_may_be_a_link_local_address() {
    let pair = pair([85, 86]);
    for node in [&pair.a, &pair.b] {
        let octet = node.id.octets()[0];
        node.sh(&format!("ip addr add fe80::{octet}/64 dev cable nodad"));
    }
    let scope = pair.a.run(|| async { nix::net::if_::if_nametoindex("cable").unwrap() });
    let asked = SocketAddrV6::new("fe80::86".parse().unwrap(), PORT, 0, scope).into();
    change_peer(&pair, |peer| peer.endpoint = Some(asked));
    pair.echoes();
    let (data, name) = (Arc::clone(&pair.data[0]), pair.name.clone());
    let stats = pair.a.run(move || async move { data.tunnel_stats(&name).await.unwrap() });
    assert_eq!(stats.peers[&public(86)].endpoint, Some(asked));
    // The other side has learnt where we are, scope and all.
    let (data, name) = (
        Arc::clone(&pair.data[1]),
        pair.b.tunnel_to(&pair.a, sixwire_dataplane::model::Role::Served).0,
    );
    let stats = pair.b.run(move || async move { data.tunnel_stats(&name).await.unwrap() });
    let seen = stats.peers[&public(85)].endpoint.unwrap();
    assert!(matches!(seen, SocketAddr::V6(seen) if seen.scope_id() != 0), "{seen}");
    pair.down();
}

#[test]
fn an_interface_that_is_switched_off_for_a_while_works_again() {
    let pair = pair([87, 88]);
    pair.echoes();
    let route = pair.a.sh("ip -6 route show fd00:0:0:58::/64");
    pair.a.sh(&format!("ip link set {} down", pair.name));
    let (from, to) = (pair.b.address(), SocketAddr::from((pair.a.address(), 7)));
    pair.b.run(move || async move {
        let socket = UdpSocket::bind((from, 0)).unwrap();
        for _ in 0..5 {
            socket.send_to(b"hello", to).unwrap();
        }
    });
    if std::env::var("SIXWIRE_TEST_WIREGUARD").as_deref() != Ok("kernel") {
        let data = Arc::clone(&pair.data[0]);
        pair.a.run(move || async move {
            while data.drops().await.unwrap().get("delivery_refused").is_none_or(|n| *n < 5) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        });
    }
    pair.a.sh(&format!("ip link set {} up", pair.name));
    let link_local = pair.a.id.link_local();
    pair.a.sh(&format!("ip addr replace {link_local}/64 dev {} nodad", pair.name));
    let words: Vec<_> = route.split_whitespace().filter(|word| *word != "pref").collect();
    let words = words.strip_suffix(&["medium"]).unwrap_or(&words).join(" ");
    pair.a.sh(&format!("ip -6 route replace {words}"));
    pair.echoes();
    pair.down();
}

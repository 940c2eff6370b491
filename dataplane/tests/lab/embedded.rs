//! What the embedded WireGuard promises beyond carrying packets; most of it holds for the kernel's, too.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use sixwire_dataplane::model::{Change, Peer, TunnelUpdate};

use crate::node::{Node, PORT, public};
use crate::tunnels::{Pair, pair};

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

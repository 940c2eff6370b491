//! Ends that move, and who is believed about it.

use std::io::BufRead as _;
use std::net::{SocketAddr, UdpSocket};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::ground::{End, FAMILIES, Family, address, host_address, on_wire, pause, two, until};
use crate::node::PORT;

#[test]
fn a_new_address_and_a_new_port_are_learnt_from_what_proves_itself() {
    let [a, b] = two([81, 82]);
    for (family, number) in FAMILIES.into_iter().zip(1..) {
        let (old, new) = (a.outer(family), on_wire(family, 181));
        a.change_peer(|peer| peer.endpoint = Some(b.endpoint(family)));
        a.reaches_both(&b);
        assert_eq!(b.seen(&a).endpoint.map(|e| e.ip()), Some(old), "also from family to family");
        a.sh(&format!("ip addr del {old}/{} dev cable", super::ground::length(old)));
        address(&a.node, "cable", new);
        a.update(|update| update.wireguard.port = Some(PORT + number));
        a.reaches_both(&b);
        assert_eq!(b.seen(&a).endpoint, Some(SocketAddr::new(new, PORT + number)));
        b.reaches_both(&a);
    }
    a.down();
    b.down();
}

#[test]
fn an_end_whose_place_is_not_known_is_found_when_it_speaks() {
    let [a, b] = two([83, 84]);
    b.forget_place();
    assert_eq!(b.seen(&a).endpoint, None);
    assert!(!b.hears(a.inner(Family::V6), 10, 5), "it knows no place to send to");
    a.reaches_both(&b);
    assert_eq!(b.seen(&a).endpoint, Some(a.endpoint(Family::V4)));
    b.reaches_both(&a);
    a.down();
    b.down();
}

#[test]
fn datagrams_that_are_forged_or_said_before_move_nothing() {
    let [a, b] = two([85, 86]);
    let file = a.node.run_dir().join("datagrams");
    let recorder = record(&a, &file);
    a.reaches_both(&b);
    let said = until("datagrams of both kinds", || {
        let said = recorded(&file, a.endpoint(Family::V4));
        [1, 4].iter().all(|kind| said.iter().any(|d| d.first() == Some(kind))).then_some(said)
    });
    end(recorder);
    let forged = [(1, 148), (2, 92), (3, 64), (4, 32), (4, 96), (0, 3)].map(|(kind, length)| {
        let mut octets = vec![0; length];
        octets[0] = kind;
        octets
    });
    let to = b.endpoint(Family::V4);
    let elsewhere = a.node.run(|| async { UdpSocket::bind("0.0.0.0:0").unwrap() });
    let before = b.seen(&a);
    for octets in said.iter().chain(&forged) {
        elsewhere.send_to(octets, to).unwrap();
    }
    for _ in 0..20 {
        let seen = b.seen(&a);
        assert_eq!((seen.endpoint, seen.rx_bytes), (before.endpoint, before.rx_bytes));
        pause(Duration::from_millis(25));
    }
    b.reaches_both(&a);
    assert_eq!(b.seen(&a).endpoint, Some(a.endpoint(Family::V4)));
    a.down();
    b.down();
}

/// Writes what passes an end's wire to a file.
fn record(end: &End, file: &Path) -> Child {
    let file = file.to_owned();
    end.node.run(move || async move {
        let mut recorder = Command::new("tcpdump")
            .args(["-i", "cable", "-U", "--immediate-mode", "-Z", "root", "-w"])
            .arg(file)
            .arg("udp")
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // It records once it says so.
        let mut words = std::io::BufReader::new(recorder.stderr.take().unwrap()).lines();
        assert!(words.any(|line| line.unwrap().contains("listening")));
        recorder
    })
}

fn end(mut recorder: Child) {
    recorder.kill().unwrap();
    recorder.wait().unwrap();
}

/// The UDP payloads over IPv4 that `from` sent, out of a file of tcpdump's: a header of 24 octets, before each packet
/// one of 16 with its length in the third number, Ethernet 14, IPv4 20, UDP 8.
fn recorded(file: &Path, from: SocketAddr) -> Vec<Vec<u8>> {
    let octets = std::fs::read(file).unwrap();
    let mut rest = octets.get(24..).unwrap_or_default();
    let mut payloads = Vec::new();
    let SocketAddr::V4(from) = from else { panic!("IPv4 only") };
    while let Some((head, tail)) = rest.split_at_checked(16) {
        let length = u32::from_le_bytes(head[8..12].try_into().unwrap()) as usize;
        let Some((packet, tail)) = tail.split_at_checked(length) else { break };
        if packet[12..14] == [8, 0] && packet[26..30] == from.ip().octets() {
            payloads.push(packet[42..].to_vec());
        }
        rest = tail;
    }
    payloads
}

#[test]
fn answers_come_from_the_address_that_was_asked_and_from_another_when_it_goes() {
    let [a, b] = two([87, 88]);
    a.reaches_both(&b);
    for family in FAMILIES {
        let asked = on_wire(family, 188);
        // Routing would choose the first.
        address(&b.node, "cable", asked);
        a.change_peer(|peer| peer.endpoint = Some((asked, PORT).into()));
        a.reaches_both(&b);
        for _ in 0..5 {
            b.reaches_both(&a);
            assert_eq!(a.seen(&b).endpoint, Some((asked, PORT).into()));
        }
        b.sh(&format!("ip addr del {asked}/{} dev cable", super::ground::length(asked)));
        // Only b knows, and it is b who speaks.
        b.reaches_both(&a);
        assert_eq!(a.seen(&b).endpoint, Some(b.endpoint(family)));
        a.reaches_both(&b);
    }
    a.down();
    b.down();
}

#[test]
fn a_source_is_chosen_anew_when_the_way_to_the_other_end_changes() {
    let [a, b] = two([89, 90]);
    super::ground::wire([(&a.node, "second"), (&b.node, "second")]);
    a.sh("ip addr add 198.51.100.1/24 dev second");
    b.sh("ip addr add 198.51.100.2/24 dev second");
    host_address(&b.node, [203, 0, 113, 90].into());
    // As providers do: nothing passes that comes by the wrong way.
    b.sh("nft add table ip t");
    b.sh("nft add chain ip t c { type filter hook prerouting priority 0 ; }");
    b.sh("nft add rule ip t c iifname second ip saddr 192.0.2.0/24 drop");
    b.sh("nft add rule ip t c iifname cable ip saddr 198.51.100.0/24 drop");
    a.sh(&format!("ip route add 203.0.113.90 via {}", b.outer(Family::V4)));
    a.change_peer(|peer| peer.endpoint = Some(([203, 0, 113, 90], PORT).into()));
    a.reaches_both(&b);
    b.reaches_both(&a);
    assert_eq!(b.seen(&a).endpoint, Some(a.endpoint(Family::V4)));
    a.sh("ip route replace 203.0.113.90 via 198.51.100.2");
    a.reaches_both(&b);
    assert_eq!(b.seen(&a).endpoint, Some(([198, 51, 100, 1], PORT).into()));
    a.down();
    b.down();
}

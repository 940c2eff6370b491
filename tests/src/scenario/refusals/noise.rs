//! Packets that mean nothing, and packets that mean harm.

use std::net::{Ipv6Addr, SocketAddr, SocketAddrV6, UdpSocket};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use sixwire_proto::seed::Seed;

use super::{Witness, settle};
use crate::clock::wait_for;
use crate::lab::Namespace;
use crate::network::Network;

/// Two thousand mutated Babel packets, some from addresses and ports that Babel does not use, on an interface that
/// Babel was told to run on: counted, hardly logged, and without effect on the mesh.
///
/// # Errors
/// What did not happen.
pub fn hostile_babel_neighbour_changes_nothing(network: &mut Network) -> Result<()> {
    let hostile = wire(network)?;
    settle(network)?;
    let witness = Witness::call(network)?;
    let memory = network.node(0)?.daemon()?.resident_kib()?;
    let index = hostile.interface_index("lan")?.context("the link is there")?;
    let claimed = network.nodes.get(1).context("there are two nodes")?.status()?.node.address;
    let victim = SocketAddr::from(SocketAddrV6::new(VICTIM, BABEL, 0, index));
    let mut seed = Seed::new(6326);
    let genuine = announcement(claimed);

    let neighbour = SocketAddrV6::new(ATTACKER, BABEL, 0, index);
    let packets: Vec<_> = (0..PACKETS).map(|_| mutated(&genuine, &mut seed)).collect();
    send(&hostile, neighbour, victim, &packets)?;
    witness.counted(network, "babel.dropped: bad packet")?;
    witness.counted(network, "babel.dropped: bad tlv")?;
    let from_afar = SocketAddrV6::new(ROUTABLE, BABEL, 0, 0);
    send(&hostile, from_afar, victim, std::slice::from_ref(&genuine))?;
    witness.counted(network, "babel.dropped: bad source address")?;
    let from_elsewhere = SocketAddrV6::new(ATTACKER, BABEL + 1, 0, index);
    send(&hostile, from_elsewhere, victim, &[genuine])?;
    witness.counted(network, "babel.wrong_source_port")?;

    witness.counted(network, "babel.log_lines_suppressed")?;
    witness.unchanged(network)?;
    let lines = witness.new_lines()?;
    ensure!(lines.len() < 110, "{} lines; the last: {:?}", lines.len(), lines.last());
    let grown = network.node(0)?.daemon()?.resident_kib()?.saturating_sub(memory);
    ensure!(grown < 16 * 1024, "grew by {grown} KiB");
    network.wait_reachable(Duration::from_secs(10)).map(drop)
}

/// Datagrams that are no QUIC, and beginnings of QUIC that are broken: no answer, no line for each, no effect.
///
/// # Errors
/// What did not happen.
pub fn noise_on_the_signalling_port_is_ignored(network: &mut Network) -> Result<()> {
    let host = network.underlay.host(&mut network.lab, 1, "noise")?;
    settle(network)?;
    let witness = Witness::call(network)?;
    let memory = network.node(0)?.daemon()?.resident_kib()?;
    let victim = SocketAddr::from((network.node(0)?.host.address, 6326));
    let mut seed = Seed::new(9000);
    // The first octets of a QUIC version 1 Initial packet (RFC 9000 §17.2.2) with ids of eight octets.
    let initial = [&[0xc3, 0, 0, 0, 1, 8][..], &[7; 8], &[8], &[9; 8], &[0, 0x44, 0x9e]].concat();
    let socket = host.namespace.within(|| UdpSocket::bind((host.address, 0)))??;
    for number in 0..PACKETS {
        let mut packet = if number % 2 == 0 { initial.clone() } else { Vec::new() };
        let length = usize::try_from(seed.next_u64() % 1300)?;
        packet.extend((0..length).map(|_| seed.next_u64().to_le_bytes()[0]));
        socket.send_to(&packet, victim)?;
    }
    wait_for("the node to answer still", Duration::from_secs(10), || {
        witness.unchanged(network).map_err(|error| format!("{error:#}"))
    })?;
    let lines = witness.new_lines()?;
    ensure!(lines.len() < 50, "{} lines; the last: {:?}", lines.len(), lines.last());
    let grown = network.node(0)?.daemon()?.resident_kib()?.saturating_sub(memory);
    ensure!(grown < 16 * 1024, "grew by {grown} KiB");
    network.wait_reachable(Duration::from_secs(10)).map(drop)
}

/// Ties a hostile machine to the first node, which is told to run Babel there.
fn wire(network: &mut Network) -> Result<Namespace> {
    let hostile = network.lab.namespace("hostile")?;
    let node = network.node(0)?;
    node.host.namespace.ip(&format!(
        "link add lan type veth peer name lan netns {}\n\
         addr add {VICTIM}/64 dev lan nodad\n\
         addr add fd66::1/64 dev lan nodad\n\
         link set lan up\n",
        hostile.name()
    ))?;
    hostile.ip(&format!(
        "addr add {ATTACKER}/64 dev lan nodad\naddr add {ROUTABLE}/64 dev lan nodad\nlink set lan up\n"
    ))?;
    node.configure("[[babel.interface]]\nname = \"lan\"\n")?;
    Ok(hostile)
}

fn send(from: &Namespace, source: SocketAddrV6, to: SocketAddr, packets: &[Vec<u8>]) -> Result<()> {
    let socket = from.within(|| UdpSocket::bind(source))?.with_context(|| source.to_string())?;
    for packet in packets {
        socket.send_to(packet, to)?;
    }
    Ok(())
}

/// A packet of a neighbour that says Hello, has heard us, and announces an address that is not its own
/// (RFC 8966 §4.6).
fn announcement(claimed: Ipv6Addr) -> Vec<u8> {
    let hello = [4, 6, 0, 0, 0, 1, 1, 0x90];
    let ihu = [&[5, 14, 3, 0, 0, 96, 1, 0x90][..], &VICTIM.octets()[8..]].concat();
    let router_id = [6, 10, 0, 0, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66];
    let update = [&[8, 26, 2, 0, 128, 0, 6, 0x40, 0, 1, 0, 0][..], &claimed.octets()].concat();
    let request = [&[9, 18, 2, 128][..], &claimed.octets()].concat();
    let body = [&hello[..], &ihu, &router_id, &update, &request].concat();
    let length = u16::try_from(body.len()).unwrap_or(u16::MAX).to_be_bytes();
    [&[42, 2], &length[..], &body].concat()
}

/// Some octets changed, some cut off, some added.
fn mutated(packet: &[u8], seed: &mut Seed) -> Vec<u8> {
    let mut packet = packet.to_vec();
    let mut below = |limit: usize| usize::try_from(seed.next_u64()).unwrap_or(0) % limit.max(1);
    for _ in 0..=below(6) {
        let (at, value) = (below(packet.len()), u8::try_from(below(256)).unwrap_or(0));
        if let Some(octet) = packet.get_mut(at) {
            *octet = value;
        }
    }
    match below(4) {
        0 => packet.truncate(below(packet.len())),
        1 => packet.extend(std::iter::repeat_n(0x66, below(200))),
        _ => {}
    }
    packet
}

const PACKETS: usize = 2000;
const BABEL: u16 = 6696;
const VICTIM: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);
const ATTACKER: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0x66);
const ROUTABLE: Ipv6Addr = Ipv6Addr::new(0xfd66, 0, 0, 0, 0, 0, 0, 0x66);

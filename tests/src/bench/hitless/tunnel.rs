//! Two machines, two tunnels between them side by side; everything that can be changed on a living tunnel is.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::num::NonZeroU8;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use sixwire_dataplane::model::{
    Change, IfName, Mark, NextHop, Peer, Role, RouteKey, RouteTarget, Tunnel, TunnelUpdate,
    WireGuard, WireGuardUpdate,
};
use sixwire_dataplane::{Applied, Dataplane, RouteWriter};
use sixwire_proto::keys::{WgPrivateKey, WgPublicKey};
use sixwire_proto::link::LinkId;
use sixwire_proto::prefix::Prefix;
use sixwire_proto::router_id::RouterId;
use sixwire_proto::uplink::UplinkNumber;
use tokio::sync::Mutex;

use super::{Outcome, TIMES, under_load};
use crate::bench::seat::Seat;
use crate::lab::{Host, Lab, Namespace, Node, Plane};
use crate::ping::Flow;

pub(super) fn run(lab: &mut Lab, plane: Plane) -> Result<Vec<Outcome>> {
    let pair = Pair::new(lab, plane)?;
    let flows = [pair.flow(0), pair.flow(1)];
    let first = 0;
    let mut outcomes = vec![under_load(&flows, ("nothing", TIMES), |_| Ok(()))?];
    let mut event = |name: &'static str, happen: &dyn Fn(usize) -> Result<()>| -> Result<()> {
        outcomes.push(under_load(&flows, (name, TIMES), happen)?);
        Ok(())
    };
    event("next hop moves to the other tunnel", &|time| pair.lead(0, (time + 1) % 2))?;
    pair.lead(0, first)?;
    event("endpoint changes", &|time| {
        let address = B_ADDRESSES[(time + 1) % 2];
        pair.change_peer(|peer| peer.endpoint = Some((address, PORT).into()))
    })?;
    event("port changes", &|time| {
        let port = if time % 2 == 0 { PORT + 100 } else { PORT };
        pair.change(|change| change.wireguard.port = Some(port))
    })?;
    event("MTU changes", &|time| {
        pair.change(|change| change.mtu = Some(if time % 2 == 0 { 1380 } else { 1420 }))
    })?;
    event("fwmark changes", &|time| {
        let mark = u32::try_from(time % 2)? + 1;
        pair.change(|change| change.wireguard.fwmark = Some(mark))
    })?;
    event("keepalive changes", &|time| {
        let seconds = if time % 2 == 0 { 20 } else { 25 };
        pair.change_peer(|peer| peer.keepalive = Some(seconds))
    })?;
    Ok(outcomes)
}

/// Machines `a` and `b` on one cable, and their two tunnels.
struct Pair {
    seats: [Seat; 2],
    planes: [Arc<Dataplane>; 2],
    writers: [Arc<Mutex<RouteWriter>>; 2],
    spaces: [Namespace; 2],
    /// Of each machine, of each tunnel.
    links: [[LinkId; 2]; 2],
    _nodes: Vec<Node>,
}

impl Pair {
    fn new(lab: &mut Lab, plane: Plane) -> Result<Self> {
        let mut nodes = Vec::new();
        for (name, address) in [("a", A_ADDRESS), ("b", B_ADDRESSES[0])] {
            let host = Host::alone(lab.namespace(name)?, address);
            nodes.push(Node::new(lab, host, name, plane)?);
        }
        let spaces = [0, 1].map(|index: usize| nodes[index].host.namespace.clone());
        let other = spaces[1].name();
        spaces[0].ip(&format!(
            "link add cable type veth peer name cable netns {other}\n\
             addr add {A_ADDRESS}/24 dev cable\nlink set cable up\n"
        ))?;
        let [one, two] = B_ADDRESSES;
        spaces[1].ip(&format!(
            "addr add {one}/24 dev cable\naddr add {two}/24 dev cable\nlink set cable up\n"
        ))?;
        let seats = [Seat::take(&nodes[0])?, Seat::take(&nodes[1])?];
        let planes = [seats[0].open(plane)?, seats[1].open(plane)?];
        let mut links = [[LinkId(0); 2]; 2];
        let mut writers = Vec::new();
        for machine in [0, 1] {
            let own = address(machine);
            apply(&seats[machine], &planes[machine], Change::AddAddress(own.into()))?;
            for number in [0, 1] {
                let (name, tunnel) = tunnel(machine, number);
                let made = Change::CreateTunnel(name, tunnel);
                let applied = apply(&seats[machine], &planes[machine], made)?;
                let Applied::Tunnel(link) = applied else { anyhow::bail!("no tunnel was made") };
                links[machine][number] = link;
            }
            let plane = Arc::clone(&planes[machine]);
            let writer = seats[machine].run(|| async move { plane.router().writer() })??;
            writers.push(Arc::new(Mutex::new(writer)));
        }
        let writers = <[_; 2]>::try_from(writers).ok().context("two machines")?;
        let pair = Self { seats, planes, writers, spaces, links, _nodes: nodes };
        pair.lead(0, 0)?;
        pair.lead(1, 0)?;
        Ok(pair)
    }

    /// Pings from a machine to the other.
    fn flow(&self, machine: usize) -> Flow {
        let (source, to) = (Some(address(machine)), address(1 - machine));
        Flow { from: self.spaces[machine].clone(), source, to }
    }

    /// Leads a machine's packets for the other through one of the tunnels.
    fn lead(&self, machine: usize, number: usize) -> Result<()> {
        let hop = NextHop {
            link: self.links[machine][number],
            gateway: id(1 - machine).link_local().into(),
            preferred_source: Some(address(machine).into()),
        };
        let key = RouteKey::to(Prefix::host(address(1 - machine).into()));
        let writer = Arc::clone(&self.writers[machine]);
        let refused = self.seats[machine].run(move || async move {
            let mut writer = writer.lock().await;
            writer.write(vec![(key, Some(RouteTarget::Via(hop)))]).await
        })?;
        ensure!(refused.is_empty(), "{refused:?}");
        Ok(())
    }

    /// Changes the first tunnel of the first machine, which carries the packets.
    fn change(&self, edit: impl FnOnce(&mut TunnelUpdate)) -> Result<()> {
        let mut update = TunnelUpdate::default();
        edit(&mut update);
        let change = Change::UpdateTunnel(tunnel(0, 0).0, update);
        apply(&self.seats[0], &self.planes[0], change).map(drop)
    }

    fn change_peer(&self, edit: impl FnOnce(&mut Peer)) -> Result<()> {
        let (_, tunnel) = tunnel(0, 0);
        let (key, mut peer) = tunnel.wireguard.peers.into_iter().next().context("one peer")?;
        peer.endpoint = None;
        edit(&mut peer);
        self.change(|change| {
            change.wireguard =
                WireGuardUpdate { peers: [(key, peer)].into(), ..WireGuardUpdate::default() };
        })
    }
}

fn apply(seat: &Seat, plane: &Arc<Dataplane>, change: Change) -> Result<Applied> {
    let plane = Arc::clone(plane);
    Ok(seat.run(|| async move { plane.apply(&change).await })??)
}

/// One end of a tunnel.
fn tunnel(machine: usize, number: usize) -> (IfName, Tunnel) {
    let other = 1 - machine;
    let count = NonZeroU8::MIN.saturating_add(u8::from(number == 1));
    let port = PORT + u16::from(number == 1);
    let endpoint = if machine == 0 { B_ADDRESSES[0] } else { A_ADDRESS };
    let peer = Peer {
        endpoint: Some(SocketAddr::new(IpAddr::V4(endpoint), port)),
        keepalive: Some(25),
        allowed_ips: [Prefix::V6_DEFAULT, Prefix::V4_DEFAULT].into(),
        ..Peer::default()
    };
    let peers: BTreeMap<WgPublicKey, Peer> = [(key(other, number).public(), peer)].into();
    let wireguard =
        WireGuard { private_key: Some(key(machine, number)), port, fwmark: Some(1), peers };
    let mark = Mark { node: id(other), role: Role::Dialled, uplink: UplinkNumber::FIRST };
    let tunnel = Tunnel { mark, link_local: id(machine).link_local(), mtu: 1420, wireguard };
    (IfName::tunnel(id(other), count), tunnel)
}

fn id(machine: usize) -> RouterId {
    RouterId::new([octet(machine) + 1; 8]).expect("neither all zeros nor all ones")
}

fn key(machine: usize, number: usize) -> WgPrivateKey {
    WgPrivateKey::from_octets([octet(machine) * 2 + octet(number) + 1; 32])
}

fn address(machine: usize) -> Ipv6Addr {
    Ipv6Addr::new(0xfd43, 0, 0, u16::from(octet(machine)), 0, 0, 0, 1)
}

fn octet(number: usize) -> u8 {
    u8::try_from(number).unwrap_or(u8::MAX)
}

const A_ADDRESS: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const B_ADDRESSES: [Ipv4Addr; 2] = [Ipv4Addr::new(192, 0, 2, 2), Ipv4Addr::new(192, 0, 2, 3)];
/// Of the first tunnel; the second has the next.
const PORT: u16 = 5000;

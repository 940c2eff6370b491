//! Tunnels to nodes that are not there, and routes through them: what a kernel holds, at any size.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::num::NonZeroU8;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, bail, ensure};
use sixwire_dataplane::model::{
    Change, IfName, Mark, NextHop, Peer, Role, RouteKey, RouteTarget, Tunnel, WireGuard,
};
use sixwire_dataplane::{Applied, Dataplane, RouteWriter};
use sixwire_proto::keys::WgPrivateKey;
use sixwire_proto::link::LinkId;
use sixwire_proto::prefix::Prefix;
use sixwire_proto::router_id::RouterId;
use sixwire_proto::uplink::UplinkNumber;
use tokio::sync::Mutex;

use super::seat::Seat;
use crate::clock::now;

/// A data plane with tunnels, and what writes its routes.
pub(super) struct Strangers {
    pub(super) links: Vec<LinkId>,
    writer: Arc<Mutex<RouteWriter>>,
    dataplane: Arc<Dataplane>,
    own: RouterId,
}

impl Strangers {
    /// Makes as many tunnels of the node `own`; and how long each took.
    pub(super) fn meet(
        seat: &Seat,
        dataplane: Arc<Dataplane>,
        own: RouterId,
        count: u8,
    ) -> Result<(Self, Duration)> {
        let plane = Arc::clone(&dataplane);
        let begin = now();
        let links = seat.run(move || async move {
            let mut links = Vec::new();
            for number in 0..count {
                let (name, tunnel) = tunnel(own, number);
                match plane.apply(&Change::CreateTunnel(name, tunnel)).await? {
                    Applied::Tunnel(link) => links.push(link),
                    Applied::Removing | Applied::Done => bail!("no tunnel was made"),
                }
            }
            Ok(links)
        })??;
        let took = now() - begin;
        let plane = Arc::clone(&dataplane);
        let writer = seat.run(|| async move { plane.router().writer() })??;
        Ok((Self { links, writer: Arc::new(Mutex::new(writer)), dataplane, own }, took))
    }

    /// Leads routes by number through the tunnels that `choose` names; how long it took.
    pub(super) fn route(
        &self,
        seat: &Seat,
        count: u32,
        choose: impl Fn(u32) -> usize,
    ) -> Result<Duration> {
        let target = |number: u32| {
            let tunnel = choose(number) % self.links.len();
            RouteTarget::Via(NextHop {
                link: self.links[tunnel],
                gateway: stranger(u8::try_from(tunnel).unwrap_or(u8::MAX)).link_local().into(),
                preferred_source: None,
            })
        };
        let wanted: Vec<_> = (0..count).map(|n| (prefix(n), Some(target(n)))).collect();
        let writer = Arc::clone(&self.writer);
        let (refused, took) = seat.run(move || async move {
            let mut writer = writer.lock().await;
            let begin = now();
            let refused = writer.write(wanted).await;
            (refused, now() - begin)
        })?;
        ensure!(refused.is_empty(), "{} routes refused: {:?}", refused.len(), refused.first());
        Ok(took)
    }

    /// Leaves everything in the kernel, and its sockets to the next.
    pub(super) fn leave(self, seat: &Seat) -> Result<RouterId> {
        let own = self.own;
        seat.run(move || async move { drop((self.writer, self.dataplane)) })?;
        Ok(own)
    }
}

fn tunnel(own: RouterId, number: u8) -> (IfName, Tunnel) {
    let node = stranger(number);
    let peer = Peer {
        endpoint: Some((NOBODY, FIRST_PORT + u16::from(number)).into()),
        keepalive: Some(25),
        allowed_ips: [Prefix::V6_DEFAULT, Prefix::V4_DEFAULT].into(),
        ..Peer::default()
    };
    let key = WgPrivateKey::from_octets([number ^ 0x80; 32]);
    let wireguard = WireGuard {
        private_key: Some(key.clone()),
        port: FIRST_PORT + u16::from(number),
        fwmark: None,
        peers: [(WgPrivateKey::from_octets([number; 32]).public(), peer)].into(),
    };
    let mark = Mark { node, role: Role::Dialled, uplink: UplinkNumber::FIRST };
    let tunnel = Tunnel { mark, link_local: own.link_local(), mtu: 1420, wireguard };
    (IfName::tunnel(node, NonZeroU8::MIN), tunnel)
}

fn stranger(number: u8) -> RouterId {
    let octets = [number, 0x57, 0x72, 0x61, 0x6e, 0x67, 0x65, number];
    RouterId::new(octets).expect("neither all zeros nor all ones")
}

fn prefix(number: u32) -> RouteKey {
    let [_, _, high, low] = number.to_be_bytes().map(u16::from);
    let address = Ipv6Addr::new(0xfd45, 0, 0, high << 8 | low, 0, 0, 0, 0);
    RouteKey::to(Prefix::containing(address.into(), 64).expect("64 is a length"))
}

/// In the documentation's range, where nobody answers.
const NOBODY: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 200);
const FIRST_PORT: u16 = 40_000;

//! Opens, replaces and closes the interfaces of tunnels.

use std::collections::{BTreeMap, BTreeSet};

use sixwire_dataplane::model::{Change, IfName, Mark, Role, Tunnel, TunnelUpdate, WireGuardUpdate};
use sixwire_dataplane::{Applied, Error};
use sixwire_proto::keys::WgPublicKey;
use sixwire_proto::link::LinkId;
use sixwire_proto::peer::{Answer, Request, TunnelRequest};
use sixwire_proto::router_id::RouterId;
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tracing::{info, warn};

use super::{TunnelDriver, routing};
use crate::babel::{Announcers, Delay, LinkParams, LinkStart, RttCost};
use crate::tunnel::{self, Adopted, CloseReason, Input, Lane, Notify, Output};

/// A tunnel whose interface exists.
#[derive(Debug)]
pub(super) struct OpenTunnel {
    pub(super) name: IfName,
    pub(super) link: LinkId,
    mark: Mark,
    port: u16,
    peers: BTreeSet<WgPublicKey>,
    /// UDP port of the other end; after an adoption it may not be known.
    their_port: Option<u16>,
    /// UDP port of the other end's signalling.
    pub(super) signalling_port: u16,
}

/// What both ends agreed on, before its interface exists.
pub(super) struct Agreed {
    pub(super) tunnel: Tunnel,
    /// UDP port of the other end.
    pub(super) their_port: u16,
    /// UDP port of the other end's signalling.
    pub(super) signalling_port: u16,
    /// Whose routes the other end may announce.
    pub(super) announcers: Announcers,
    /// The answer that the other end waits for until the interface exists.
    pub(super) answer: Option<(oneshot::Sender<Answer>, TunnelRequest)>,
}

/// A tunnel found in the kernel at start.
#[derive(Clone, Debug)]
pub(in crate::daemon) struct AdoptedTunnel {
    /// Its interface.
    pub(in crate::daemon) name: IfName,
    /// Its index.
    pub(in crate::daemon) link: LinkId,
    /// Who is at the other end, and who asked.
    pub(in crate::daemon) mark: Mark,
    /// UDP port of this end.
    pub(in crate::daemon) port: u16,
    /// Keys of its peers; one.
    pub(in crate::daemon) peers: BTreeSet<WgPublicKey>,
    /// UDP port of the other end, as last seen.
    pub(in crate::daemon) their_port: Option<u16>,
    /// Whose routes it may bring.
    pub(in crate::daemon) announcers: Announcers,
}

impl TunnelDriver {
    /// Takes over what the kernel has.
    pub(super) async fn adopt(&mut self, adopted: Vec<AdoptedTunnel>) {
        let mut tunnels = Vec::new();
        for found in adopted {
            let AdoptedTunnel { name, link, mark, port, peers, their_port, announcers } = found;
            info!(interface = %name, node = %mark.node, role = %mark.role, "tunnel adopted");
            let lane = Lane { node: mark.node, uplink: mark.uplink };
            tunnels.push(Adopted { lane, role: mark.role.into(), port });
            let signalling_port = self.context.signalling_port;
            let open = OpenTunnel { name, link, mark, port, peers, their_port, signalling_port };
            self.open.insert(lane, open);
            self.link_up(link, (LinkStart::Resumed, announcers)).await;
        }
        self.input(Input::Adopt { tunnels: &tunnels }).await;
    }

    /// Makes the interface of an agreed tunnel, in place of one that leads to the same node. What
    /// comes back is for the manager.
    pub(super) async fn open<'a>(
        &mut self,
        lane: Lane,
        role: Role,
        port: u16,
    ) -> Option<Input<'a>> {
        let Some(agreed) = self.agreed.remove(&(lane.node, port)) else {
            if let Some(before) = self.open.remove(&lane) {
                self.remove(lane, &before).await;
            }
            return Some(Input::InterfaceGone { lane });
        };
        let (name, mark) = (IfName::tunnel(lane.node, lane.uplink.get()), agreed.tunnel.mark);
        let peers = agreed.tunnel.wireguard.peers.keys().copied().collect();
        let change = match self.open.get(&lane) {
            Some(before) => {
                Change::UpdateTunnel(name.clone(), replacement(&before.peers, &agreed.tunnel))
            }
            None => Change::CreateTunnel(name.clone(), agreed.tunnel),
        };
        let link = match self.context.dataplane.apply(&change).await {
            Ok(Applied::Tunnel(link)) => link,
            Ok(Applied::Removing | Applied::Done) => return Some(Input::InterfaceGone { lane }),
            Err(error) => return Some(self.not_opened((lane, port), role, &error).await),
        };
        let (their_port, signalling_port) = (Some(agreed.their_port), agreed.signalling_port);
        let open = OpenTunnel { name, link, mark, port, peers, their_port, signalling_port };
        self.open.insert(lane, open);
        self.link_up(link, (LinkStart::Fresh, agreed.announcers)).await;
        if let Some((reply, half)) = agreed.answer {
            // A peer that went away comes back with a new request.
            let _ = reply.send(Answer::TunnelAnswer(half));
        }
        None
    }

    async fn not_opened<'a>(
        &mut self,
        (lane, port): (Lane, u16),
        role: Role,
        error: &Error,
    ) -> Input<'a> {
        warn!(node = %lane, %role, %error, "tunnel not opened");
        if let Some(before) = self.open.remove(&lane) {
            self.remove(lane, &before).await;
        }
        match error {
            Error::PortTaken { .. } => Input::PortTaken { node: lane.node, port },
            _ => Input::InterfaceGone { lane },
        }
    }

    /// Removes the interface of a tunnel.
    pub(super) async fn close(&mut self, (lane, port): (Lane, u16), reason: CloseReason) {
        if self.open.get(&lane).is_none_or(|open| open.port != port) {
            return;
        }
        let Some(open) = self.open.remove(&lane) else { return };
        info!(interface = %open.name, node = %lane, %reason, "tunnel closed");
        self.remove(lane, &open).await;
    }

    /// Tells the peers of tunnels about to be closed, all at once: a courtesy that waits only as long as
    /// the interfaces still carry it. A peer that misses it finds out by itself.
    pub(super) async fn tell_closed(&self, outputs: impl Iterator<Item = &Output>) {
        let mut calls = JoinSet::new();
        for output in outputs {
            if let Output::Close { lane, notify: Notify::Peer, reason, .. } = output
                && let Some(port) = self.open.get(lane).and_then(|open| open.their_port)
            {
                let (signalling, node) = (self.context.signalling.clone(), lane.node);
                // At the start there is no connection yet.
                let unconnected = *reason == CloseReason::NoUplink;
                let address = self.address_in_tunnel(node).filter(|_| unconnected);
                calls.spawn(async move {
                    let request = Request::TunnelClose { port };
                    signalling
                        .call(node, address.as_slice(), request, CLOSE_TIMEOUT)
                        .await
                        .map(|_| ())
                });
            }
        }
        calls.join_all().await;
    }

    /// Forgets what was agreed on with a node whose tunnel is not wanted any more.
    pub(super) fn decline(&mut self, (node, port): (RouterId, u16), notify: Notify) {
        let Some(agreed) = self.agreed.remove(&(node, port)) else { return };
        if notify == Notify::Peer {
            let signalling = self.context.signalling.clone();
            tokio::spawn(async move {
                let request = Request::TunnelClose { port: agreed.their_port };
                // The peer finds out by itself when this is lost.
                let _ = signalling.call(node, &[], request, CLOSE_TIMEOUT).await;
            });
        }
    }

    /// Forgets the tunnels whose interfaces are gone, and tells the manager.
    pub(super) async fn interfaces_gone(&mut self, gone: impl Fn(&OpenTunnel) -> bool) {
        let lanes: Vec<Lane> =
            self.open.iter().filter(|(_, open)| gone(open)).map(|(lane, _)| *lane).collect();
        for lane in lanes {
            if let Some(open) = self.open.remove(&lane) {
                let (interface, node) = (&open.name, lane);
                warn!(%interface, %node, "somebody removed the interface of a tunnel");
                self.link_down(lane, open.link).await;
            }
            self.input(Input::InterfaceGone { lane }).await;
        }
    }

    /// Takes a link from the routing engine. What the engine says of it later concerns no tunnel, so the
    /// neighbour goes now, and is greeted anew when it comes back.
    async fn link_down(&mut self, lane: Lane, link: LinkId) {
        if self.neighbours.remove(&lane) {
            self.context.signalling.keep(self.neighbour_nodes());
        }
        self.tell_of_tunnels();
        self.command_routing(routing::Command::LinkDown(link)).await;
    }

    /// Tells the kernel writer which tunnels lead to the same node. It is told of a tunnel before the routing
    /// engine is.
    fn tell_of_tunnels(&self) {
        let mut tunnels: BTreeMap<_, BTreeMap<_, _>> = BTreeMap::new();
        for (lane, open) in &self.open {
            let links = tunnels.entry(lane.node.link_local()).or_default();
            links.insert(open.link, self.context.uplinks.weight(&open.mark));
        }
        self.context.neighbours.amend(|news| news.tunnels = Some(tunnels));
    }

    async fn remove(&mut self, lane: Lane, open: &OpenTunnel) {
        self.link_down(lane, open.link).await;
        if let Err(error) =
            self.context.dataplane.apply(&Change::RemoveTunnel(open.name.clone())).await
        {
            warn!(interface = %open.name, %error, "interface not removed");
        }
    }

    async fn link_up(&self, link: LinkId, (start, announcers): (LinkStart, Announcers)) {
        self.tell_of_tunnels();
        let wired = LinkParams::wired(self.context.own.link_local());
        let delay = Delay::Charged(RttCost::WORLDWIDE);
        let params = LinkParams { start, announcers, delay, ..wired };
        self.command_routing(routing::Command::LinkUp(link, params)).await;
    }

    async fn command_routing(&self, command: routing::Command) {
        // The routing task ends only with the daemon.
        let _ = self.context.routing.send(command).await;
    }
}

/// What turns a living interface into the end of a new tunnel to the same node.
fn replacement(before: &BTreeSet<WgPublicKey>, tunnel: &Tunnel) -> TunnelUpdate {
    let peers = tunnel.wireguard.peers.clone();
    let removed = before.iter().filter(|key| !peers.contains_key(key)).copied().collect();
    TunnelUpdate {
        mark: Some(tunnel.mark),
        link_local: None,
        mtu: Some(tunnel.mtu),
        wireguard: WireGuardUpdate {
            private_key: tunnel.wireguard.private_key.clone(),
            port: Some(tunnel.wireguard.port),
            fwmark: Some(tunnel.wireguard.fwmark.unwrap_or(0)),
            peers,
            removed,
        },
        bring_up: true,
    }
}

/// The manager's word for who asked, in the data plane's type, and back.
impl From<tunnel::Role> for Role {
    fn from(role: tunnel::Role) -> Self {
        match role {
            tunnel::Role::Dialled => Self::Dialled,
            tunnel::Role::Served => Self::Served,
        }
    }
}

impl From<Role> for tunnel::Role {
    fn from(role: Role) -> Self {
        match role {
            Role::Dialled => Self::Dialled,
            Role::Served => Self::Served,
        }
    }
}

/// How long a goodbye may take; it goes over a connection that exists.
const CLOSE_TIMEOUT: std::time::Duration = std::time::Duration::from_millis(500);

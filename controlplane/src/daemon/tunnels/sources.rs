//! Where the manager learns of peers: the registry, other nodes; and what it learns of its tunnels.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use sixwire_proto::peer::{Answer, PeerRecord, Request};
use sixwire_proto::registry::Presence;
use sixwire_proto::router_id::RouterId;
use tokio::sync::oneshot;
use tracing::debug;

use super::{Context, Done, TunnelDriver, routing};
use crate::tunnel::Usage;

impl TunnelDriver {
    /// Asks the registry; the answer comes back as [`Done::Registry`].
    pub(super) fn ask_registry(&self) {
        let (registry, done) = (Arc::clone(&self.registry), self.done.0.clone());
        let presence = Presence { addresses: self.signalling_addresses() };
        tokio::spawn(async move {
            let peers = registry.peers(&presence).await;
            // The driver ends only with the daemon.
            let _ = done.send(Done::Registry(peers)).await;
        });
    }

    /// Asks a neighbour; an answer comes back as [`Done::Peer`].
    pub(super) fn ask_peer(&self, node: RouterId) {
        let (context, done) = (self.context.clone(), self.done.0.clone());
        let address = self.address_in_tunnel(node);
        tokio::spawn(async move {
            let addresses: Vec<SocketAddr> = address.into_iter().collect();
            let asked = Request::AddressAsk;
            let reply = context.signalling.call(node, &addresses, asked, ASK_TIMEOUT).await;
            match reply.map(|reply| reply.answer) {
                Ok(Answer::Addresses(answer)) => {
                    let mut peers = answer.peers;
                    peers.push(PeerRecord { node, addresses: answer.own });
                    // The driver ends only with the daemon.
                    let _ = done.send(Done::Peer(node, peers)).await;
                }
                Ok(_) => debug!(%node, "no answer about addresses"),
                Err(error) => debug!(%node, %error, "no answer about addresses"),
            }
        });
    }

    /// Counts the routes through each tunnel; the answer comes back as [`Done::Uses`].
    pub(super) fn ask_uses(&self) {
        let (Context { routing, .. }, done) = (self.context.clone(), self.done.0.clone());
        let links: BTreeMap<_, _> =
            self.open.iter().map(|(lane, open)| (open.link, lane.node)).collect();
        tokio::spawn(async move {
            let (reply, view) = oneshot::channel();
            // The routing task ends only with the daemon.
            let _ = routing.send(routing::Command::View(reply)).await;
            let Ok(view) = view.await else { return };
            let mut uses: BTreeMap<RouterId, usize> = links.values().map(|n| (*n, 0)).collect();
            for route in view.routes.values() {
                if let Some(count) = links.get(&route.link).and_then(|node| uses.get_mut(node)) {
                    *count += 1;
                }
            }
            let uses = uses.into_iter().map(|(node, routes)| Usage { node, routes }).collect();
            // The driver ends only with the daemon.
            let _ = done.send(Done::Uses(uses)).await;
        });
    }

    /// Makes sure that a connection with a new neighbour exists, so that both learn whose network
    /// state is newer. Each end does it: one of them may not get through.
    pub(super) fn greet(&self, node: RouterId) {
        let (context, address) = (self.context.clone(), self.address_in_tunnel(node));
        tokio::spawn(async move {
            let addresses: Vec<SocketAddr> = address.into_iter().collect();
            let epoch = context.members.membership().state.epoch;
            let hello = Request::StateEpoch { epoch };
            match context.signalling.call(node, &addresses, hello, ASK_TIMEOUT).await {
                Ok(reply) => {
                    context.members.met(&reply.peer.chain).await;
                    if let Answer::StateEpoch { epoch: theirs } = reply.answer
                        && theirs > epoch
                    {
                        context.members.fetch_state(node, &context.signalling).await;
                    }
                }
                Err(error) => debug!(%node, %error, "neighbour not greeted"),
            }
        });
    }
}

/// One question to a neighbour.
const ASK_TIMEOUT: Duration = Duration::from_secs(5);

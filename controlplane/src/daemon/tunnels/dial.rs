//! Asks nodes for tunnels, and agrees to what they ask.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use sixwire_dataplane::model::Role;
use sixwire_proto::certificate::{self, Certificate};
use sixwire_proto::peer::{Answer, Refusal, Request, TunnelRequest};
use sixwire_proto::router_id::RouterId;
use sixwire_proto::uplink::UplinkNumber;
use tracing::{debug, warn};

use super::interface::Agreed;
use super::{Context, Done, TunnelDriver};
use crate::babel::Announcers;
use crate::daemon::members::refused;
use crate::daemon::offer::{
    Counterpart, Offer, endpoint_of_dialler, endpoint_of_server, is_underlay,
};
use crate::daemon::signalling::{CallError, Incoming, Reply};
use crate::daemon::underlay::own_addresses;
use crate::tunnel::{Accepted, DialFailure, Input, Lane};

/// The outcome of a dial.
pub(super) struct Dialled {
    node: RouterId,
    port: u16,
    outcome: Result<(Agreed, Accepted), DialFailure>,
}

impl TunnelDriver {
    /// Starts to ask a node for a tunnel; the outcome comes back as [`Done::Dialled`].
    pub(super) fn dial(&self, lane: Lane, addresses: Vec<SocketAddr>, port: u16) {
        let (context, done) = (self.context.clone(), self.done.0.clone());
        tokio::spawn(async move {
            let outcome = context.dial(lane, &addresses, port).await;
            // The driver ends only with the daemon.
            let dialled = Box::new(Dialled { node: lane.node, port, outcome });
            let _ = done.send(Done::Dialled(dialled)).await;
        });
    }

    pub(super) async fn dialled(&mut self, dialled: Dialled) {
        let Dialled { node, port, outcome } = dialled;
        let outcome = outcome.map(|(agreed, accepted)| {
            self.agreed.insert((node, port), agreed);
            accepted
        });
        self.input(Input::Dialled { node, port, outcome }).await;
    }

    /// Agrees to a request; the answer leaves when the interface exists.
    pub(super) fn accept(&mut self, incoming: Incoming, port: u16) {
        let (Request::TunnelRequest(theirs) | Request::TunnelFurther(theirs)) = &incoming.request
        else {
            return;
        };
        let context = &self.context;
        let overlay = context.members.membership().state.prefix;
        let offer = match Offer::new(port, context.mtu(), theirs.uplink) {
            Ok(offer) => offer,
            Err(error) => {
                warn!(%error, "no randomness for the keys of a tunnel");
                // The peer may be gone.
                let _ = incoming.reply.send(refused(Refusal::Busy));
                return;
            }
        };
        let with = Counterpart {
            certificate: &incoming.peer.certificate,
            half: theirs,
            endpoint: endpoint_of_dialler(theirs, incoming.remote.ip(), overlay),
        };
        let tunnel = offer.agree(context.own, Role::Served, &with);
        let half = context.half(&offer);
        let agreed = Agreed {
            tunnel,
            their_port: theirs.port,
            signalling_port: theirs.signalling_port,
            announcers: announcers(&incoming.peer.certificate),
            answer: Some((incoming.reply, half)),
        };
        self.agreed.insert((incoming.peer.node, port), agreed);
        let (members, chain) = (context.members.clone(), incoming.peer.chain.clone());
        tokio::spawn(async move { members.met(&chain).await });
    }
}

impl Context {
    async fn dial(
        &self,
        lane: Lane,
        addresses: &[SocketAddr],
        port: u16,
    ) -> Result<(Agreed, Accepted), DialFailure> {
        let node = lane.node;
        let overlay = self.members.membership().state.prefix;
        let mut tried: Vec<SocketAddr> =
            addresses.iter().copied().filter(|a| is_underlay(a.ip(), overlay)).collect();
        if tried.is_empty() {
            tried.extend(self.overlay_address(node));
        }
        let offer = Offer::new(port, self.mtu(), lane.uplink).map_err(|error| {
            warn!(%error, "no randomness for the keys of a tunnel");
            DialFailure::Local
        })?;
        let mut half = self.half(&offer);
        if self.uplinks.are_configured() {
            // The other end is to wait for our first packet, which tells where the uplink's packets come from.
            half.addresses.clear();
        }
        let request = match lane.uplink {
            UplinkNumber::FIRST => Request::TunnelRequest(half),
            _ => Request::TunnelFurther(half),
        };
        let reply = self
            .signalling
            .call(node, &tried, request, DIAL_TIMEOUT)
            .await
            .map_err(|error| failure(node, &error))?;
        let agreed = self.agree(&offer, node, &reply)?;
        self.members.met(&reply.peer.chain).await;
        let address = is_underlay(reply.remote.ip(), overlay).then_some(reply.remote);
        Ok((agreed, Accepted { address }))
    }

    fn agree(&self, offer: &Offer, node: RouterId, reply: &Reply) -> Result<Agreed, DialFailure> {
        let theirs = match &reply.answer {
            Answer::TunnelAnswer(theirs) => theirs,
            Answer::Refused { reason, text } => {
                debug!(%node, %reason, text, "tunnel refused");
                return Err(DialFailure::Refused(*reason));
            }
            _ => return Err(DialFailure::Refused(Refusal::Malformed)),
        };
        theirs.check().map_err(|rule| {
            warn!(%node, rule, "malformed answer to a request for a tunnel");
            DialFailure::Refused(Refusal::Malformed)
        })?;
        let overlay = self.members.membership().state.prefix;
        let with = Counterpart {
            certificate: &reply.peer.certificate,
            half: theirs,
            endpoint: endpoint_of_server(theirs, reply.remote, overlay),
        };
        let mut tunnel = offer.agree(self.own, Role::Dialled, &with);
        tunnel.wireguard.fwmark = self.uplinks.fwmark(&tunnel.mark);
        Ok(Agreed {
            tunnel,
            their_port: theirs.port,
            signalling_port: theirs.signalling_port,
            announcers: announcers(&reply.peer.certificate),
            answer: None,
        })
    }

    /// Signalling of a node inside the overlay, for one that has no other address.
    fn overlay_address(&self, node: RouterId) -> Option<SocketAddr> {
        let certificate = self.members.certificate(node)?;
        Some(SocketAddr::new(certificate.prefix.node_address(), self.signalling_port))
    }

    fn half(&self, offer: &Offer) -> TunnelRequest {
        offer.half(self.underlay_addresses(), self.signalling_port)
    }

    fn underlay_addresses(&self) -> Vec<IpAddr> {
        if self.advertised.is_empty() {
            return own_addresses(self.members.membership().state.prefix);
        }
        self.advertised.iter().map(SocketAddr::ip).collect()
    }

    fn mtu(&self) -> u16 {
        self.members.membership().state.parameters.tunnel_mtu
    }
}

/// Whose routes a node may announce: a leaf its own only.
fn announcers(certificate: &Certificate) -> Announcers {
    if certificate.has(certificate::Role::Transit) {
        Announcers::Anyone
    } else {
        Announcers::Only(certificate.router_id())
    }
}

fn failure(node: RouterId, error: &CallError) -> DialFailure {
    debug!(%node, %error, "dial failed");
    match error {
        CallError::Refused { reason, .. } => DialFailure::Refused(*reason),
        CallError::Rejected { .. } | CallError::OwnNode(_) => DialFailure::WrongNode,
        CallError::Busy(_) => DialFailure::Local,
        _ => DialFailure::Unreachable,
    }
}

/// Shorter than the manager's own limit: three retransmissions of a QUIC handshake.
const DIAL_TIMEOUT: Duration = Duration::from_secs(8);

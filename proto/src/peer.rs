//! What nodes say to each other before and beside their tunnels: small JSON messages, one request
//! and one answer on each stream of an authenticated connection. Unknown fields are ignored.

use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

use crate::certificate::Chain;
use crate::keys::{PresharedKey, WgPublicKey};
use crate::router_id::RouterId;
use crate::uplink::UplinkNumber;

/// Version of these messages.
pub const PROTOCOL: u16 = 1;
/// Largest message, in octets: a network state in its envelope, with room.
pub const MESSAGE_LIMIT: usize = 1024 * 1024;
/// Most addresses of one node.
pub const ADDRESS_LIMIT: usize = 8;
/// Most peers in one answer.
pub const PEER_LIMIT: usize = 50;

/// A node and where its signalling port can be tried. A hint: the connection proves who is there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerRecord {
    /// The node.
    pub node: RouterId,
    /// Signalling addresses, best first, at most [`ADDRESS_LIMIT`].
    pub addresses: Vec<SocketAddr>,
}

/// A question of one node to another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type")]
pub enum Request {
    /// First of all: who I am, by whose word. Nothing else is answered before.
    #[serde(rename = "hello")]
    Hello(Hello),
    /// Let us have a tunnel.
    #[serde(rename = "tunnel.request")]
    TunnelRequest(TunnelRequest),
    /// Let us have one more tunnel, over another uplink of mine. A message of its own, so that a node which
    /// knows one tunnel for each other node refuses it and keeps that.
    #[serde(rename = "tunnel.further")]
    TunnelFurther(TunnelRequest),
    /// I am taking our tunnel down.
    #[serde(rename = "tunnel.close")]
    TunnelClose {
        /// UDP port of the receiver's end, so that an older tunnel is told from its successor.
        port: u16,
    },
    /// Where can you be reached, where do you see me, and whom else do you know?
    #[serde(rename = "address.ask")]
    AddressAsk,
    /// My network state has this epoch; which has yours?
    #[serde(rename = "state.epoch")]
    StateEpoch {
        /// The asker's epoch.
        epoch: u64,
    },
    /// Give me your network state.
    #[serde(rename = "state.get")]
    StateGet,
    /// Give me that node's certificate.
    #[serde(rename = "cert.get")]
    CertGet {
        /// Whose.
        node: RouterId,
    },
    /// What are you?
    #[serde(rename = "node.info")]
    NodeInfo,
}

/// The answer to a [`Request`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type")]
pub enum Answer {
    /// To `hello`.
    #[serde(rename = "hello")]
    Hello(Hello),
    /// To `tunnel.request`.
    #[serde(rename = "tunnel.answer")]
    TunnelAnswer(TunnelRequest),
    /// To `tunnel.close`.
    #[serde(rename = "tunnel.closed")]
    TunnelClosed,
    /// To `address.ask`.
    #[serde(rename = "address.answer")]
    Addresses(Addresses),
    /// To `state.epoch`.
    #[serde(rename = "state.epoch")]
    StateEpoch {
        /// The answerer's epoch.
        epoch: u64,
    },
    /// To `state.get`.
    #[serde(rename = "state")]
    State {
        /// The signed state.
        state: Chain,
    },
    /// To `cert.get`.
    #[serde(rename = "cert")]
    Cert {
        /// The certificate, if known.
        certificate: Option<Chain>,
    },
    /// To `node.info`.
    #[serde(rename = "node.info")]
    NodeInfo(NodeInfo),
    /// To anything: no.
    #[serde(rename = "refused")]
    Refused {
        /// For programs.
        reason: Refusal,
        /// For people.
        #[serde(default)]
        text: String,
    },
}

/// Who a node is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// [`PROTOCOL`] of the sender.
    pub protocol: u16,
    /// Its certificate; its key must be the one the connection was made with.
    pub certificate: Chain,
    /// Epoch of its network state.
    pub epoch: u64,
}

/// One end of a tunnel, as its node describes it to the other.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TunnelRequest {
    /// Made for this tunnel.
    pub public_key: WgPublicKey,
    /// This side's share of the preshared key.
    pub share: PresharedKey,
    /// UDP port of this end.
    pub port: u16,
    /// Own addresses the port may be reached at; a node behind NAT lists them too, so that the
    /// other end can tell.
    #[serde(default)]
    pub addresses: Vec<IpAddr>,
    /// UDP port of this node's signalling, which the tunnel's link-local address answers on too.
    pub signalling_port: u16,
    /// Largest packet inside, octets. The smaller of both ends holds.
    pub mtu: u16,
    /// Which of the dialler's uplinks the tunnel takes; only what the dialler says counts.
    #[serde(default, skip_serializing_if = "UplinkNumber::is_first")]
    pub uplink: UplinkNumber,
}

impl TunnelRequest {
    /// Rules beyond the syntax: ports that exist, no more addresses than a node may have, an MTU that
    /// IPv6 can live with (RFC 8200 §5).
    ///
    /// # Errors
    /// A text that names the field and the rule.
    pub fn check(&self) -> Result<(), &'static str> {
        match self {
            Self { port: 0, .. } => Err("port: zero is none"),
            Self { signalling_port: 0, .. } => Err("signalling_port: zero is none"),
            Self { addresses, .. } if addresses.len() > ADDRESS_LIMIT => {
                Err("addresses: more than 8")
            }
            Self { mtu: ..1280, .. } => Err("mtu: below 1280"),
            Self { .. } => Ok(()),
        }
    }
}

/// The answer to `address.ask`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Addresses {
    /// Where the asker's packets come from.
    pub observed: SocketAddr,
    /// Where the answerer can be reached; empty if it cannot.
    #[serde(default)]
    pub own: Vec<SocketAddr>,
    /// Others it knows, at most [`PEER_LIMIT`].
    #[serde(default)]
    pub peers: Vec<PeerRecord>,
}

/// The answer to `node.info`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeInfo {
    /// Program version.
    pub version: String,
    /// Seconds since its daemon started.
    pub uptime_s: u64,
    /// Nodes it has tunnels to.
    pub links: Vec<RouterId>,
}

/// Why a node says no.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Refusal {
    /// No `hello` came before.
    NoHello,
    /// The certificate does not hold; the text says why.
    Certificate,
    /// The protocol is older than the network allows.
    Protocol,
    /// Serves as many tunnels as it may.
    Full,
    /// Dials the asker at this moment, and that dial wins.
    Glare,
    /// The asker is itself.
    OwnRequest,
    /// Does not serve tunnels.
    DialOnly,
    /// Is shutting down.
    Stopping,
    /// Cannot just now: too many requests, or the system refused a resource.
    Busy,
    /// Not understood.
    Malformed,
    /// Any reason a newer program may have.
    #[serde(other)]
    Other,
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::NoHello => "no hello came first",
            Self::Certificate => "the certificate does not hold",
            Self::Protocol => "the protocol version is too old for this network",
            Self::Full => "it serves as many tunnels as it may",
            Self::Glare => "it dials us at the same time",
            Self::OwnRequest => "it is this node itself",
            Self::DialOnly => "it serves no tunnels",
            Self::Stopping => "it is shutting down",
            Self::Busy => "it is busy",
            Self::Malformed => "it did not understand the message",
            Self::Other => "of a reason this version does not know",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_out_of_range_are_refused_by_name() {
        let good = TunnelRequest {
            public_key: WgPublicKey([1; 32]),
            share: PresharedKey::from_octets([2; 32]),
            port: 1,
            addresses: Vec::new(),
            signalling_port: 1,
            mtu: 1280,
            uplink: UplinkNumber::FIRST,
        };
        assert_eq!(good.check(), Ok(()));
        let many = vec![IpAddr::from([192, 0, 2, 1]); 9];
        for (bad, field) in [
            (TunnelRequest { port: 0, ..good.clone() }, "port"),
            (TunnelRequest { signalling_port: 0, ..good.clone() }, "signalling_port"),
            (TunnelRequest { addresses: many, ..good.clone() }, "addresses"),
            (TunnelRequest { mtu: 1279, ..good.clone() }, "mtu"),
        ] {
            assert!(bad.check().unwrap_err().starts_with(field));
        }
    }

    #[test]
    fn messages_are_tagged_and_tolerate_unknown_fields() {
        let text = r#"{"type":"cert.get","node":"0123456789abcdef","future":1}"#;
        let node = "0123456789abcdef".parse().unwrap();
        assert_eq!(serde_json::from_str::<Request>(text).unwrap(), Request::CertGet { node });
        let text = r#"{"type":"refused","reason":"of_the_future"}"#;
        let refused = Answer::Refused { reason: Refusal::Other, text: String::new() };
        assert_eq!(serde_json::from_str::<Answer>(text).unwrap(), refused);
        assert!(serde_json::from_str::<Request>(r#"{"type":"unheard.of"}"#).is_err());
    }
}

//! What the tunnel manager wants done.

use std::fmt;
use std::net::SocketAddr;

use serde::Serialize;
use sixwire_proto::router_id::RouterId;

use super::input::{DialFailure, RequestId, Role};
use super::lane::Lane;
use sixwire_proto::peer::{PeerRecord, Refusal};

/// One thing to do, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Ask the node for a tunnel. The outcome comes back as `Input::Dialled`, exactly once.
    Dial {
        /// Whom, and over which uplink.
        lane: Lane,
        /// Where, best first. Empty: only through the overlay, which routing says reaches it.
        addresses: Vec<SocketAddr>,
        /// The UDP port of this node's end. Also names the dial in its outcome.
        port: u16,
    },
    /// Answer a request. An accepted one is followed by its `Open`; the interface should exist
    /// before the answer leaves, or the first handshake of the peer is lost.
    Answer {
        /// Which.
        id: RequestId,
        /// What to say.
        verdict: Verdict,
    },
    /// Create the interface with what was negotiated for this node and port.
    Open {
        /// The node at the other end, and the uplink.
        lane: Lane,
        /// Who asked.
        role: Role,
        /// The UDP port of this node's end.
        port: u16,
    },
    /// Remove the interface.
    Close {
        /// The node at the other end, and the uplink.
        lane: Lane,
        /// The port it was opened with.
        port: u16,
        /// Why.
        reason: CloseReason,
        /// Whether to tell the peer.
        notify: Notify,
    },
    /// The peer accepted a dial that is not wanted any more: forget what was negotiated.
    Decline {
        /// The node that accepted.
        node: RouterId,
        /// The port of the dial.
        port: u16,
        /// Whether to tell the peer.
        notify: Notify,
    },
    /// Ask the registry for peers.
    AskRegistry,
    /// Ask this neighbour for the peers it knows.
    AskPeer {
        /// Whom.
        node: RouterId,
    },
    /// Count the routes through each tunnel and answer with `Input::Uses`.
    AskUses,
    /// Write the cache.
    Remember(Vec<PeerRecord>),
    /// Something worth a line in the log.
    Event(Event),
}

/// The answer to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Yes.
    Accept {
        /// The UDP port of this node's end.
        port: u16,
    },
    /// No.
    Refuse(Refusal),
}

/// Whether the peer is told about the end of a tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notify {
    /// Send it a close, as a courtesy: nothing waits for its arrival.
    Peer,
    /// It knows, or it must not know.
    Nobody,
}

/// Why a tunnel was closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CloseReason {
    /// No neighbour showed up on it in time.
    HandshakeTimeout,
    /// Its neighbour was gone for too long.
    Dead,
    /// Another one took its place: it carried least.
    Refreshed,
    /// There are more than wanted.
    Surplus,
    /// A newer tunnel with the same node stands in its place.
    Replaced,
    /// The peer closed its end.
    PeerClosed,
    /// Its port could not be bound.
    PortTaken,
    /// Its interface was deleted by somebody else.
    InterfaceGone,
    /// The peer's certificate is revoked.
    Revoked,
    /// An adopted interface leads to a node that already has one, or to this node.
    Duplicate,
    /// An adopted interface took an uplink that there is not any more.
    NoUplink,
    /// This node stops.
    Shutdown,
}

/// One change, for the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "event")]
pub enum Event {
    /// A tunnel exists; nothing is known yet about the other end.
    Opened {
        /// With whom.
        lane: Lane,
        /// Who asked.
        role: Role,
        /// The UDP port of this end.
        port: u16,
    },
    /// A tunnel was found in the kernel and kept.
    Adopted {
        /// With whom.
        lane: Lane,
        /// Who asked.
        role: Role,
    },
    /// The tunnel has its neighbour.
    Up {
        /// With whom.
        lane: Lane,
        /// Who asked.
        role: Role,
    },
    /// The tunnel lost its neighbour.
    Down {
        /// With whom.
        lane: Lane,
    },
    /// The tunnel is gone.
    Closed {
        /// With whom.
        lane: Lane,
        /// Who asked.
        role: Role,
        /// Why.
        reason: CloseReason,
    },
    /// A dial came to nothing.
    DialFailed {
        /// Who was dialled.
        lane: Lane,
        /// Why.
        failure: DialFailure,
    },
    /// A request was refused.
    Refused {
        /// Who asked.
        lane: Lane,
        /// Why.
        refusal: Refusal,
    },
    /// The first neighbour came.
    Connected,
    /// The last neighbour went.
    Disconnected,
    /// A node dialled us with success for the first time.
    Reached {
        /// Which.
        node: RouterId,
    },
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Dialled => "dialled",
            Self::Served => "served",
        })
    }
}

impl fmt::Display for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::HandshakeTimeout => "no neighbour showed up in time",
            Self::Dead => "neighbour gone for too long",
            Self::Refreshed => "carried least, replaced by another",
            Self::Surplus => "more than wanted",
            Self::Replaced => "replaced by a newer tunnel with the same node",
            Self::PeerClosed => "closed by the peer",
            Self::PortTaken => "port in use",
            Self::InterfaceGone => "interface deleted by somebody else",
            Self::Revoked => "certificate revoked",
            Self::Duplicate => "second interface to the same node",
            Self::NoUplink => "its uplink is not configured any more",
            Self::Shutdown => "shutting down",
        })
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Opened { lane, role, port } => {
                write!(f, "{role} tunnel to {lane} on port {port}")
            }
            Self::Adopted { lane, role } => write!(f, "{role} tunnel to {lane} adopted"),
            Self::Up { lane, role } => write!(f, "{role} tunnel to {lane} up"),
            Self::Down { lane } => write!(f, "tunnel to {lane} lost its neighbour"),
            Self::Closed { lane, role, reason } => {
                write!(f, "{role} tunnel to {lane} closed: {reason}")
            }
            Self::DialFailed { lane, failure } => write!(f, "dial of {lane} failed: {failure}"),
            Self::Refused { lane, refusal } => write!(f, "request of {lane} refused: {refusal}"),
            Self::Connected => f.write_str("connected: has a neighbour"),
            Self::Disconnected => f.write_str("disconnected: no neighbour left"),
            Self::Reached { node } => write!(f, "reachable from outside: {node} dialled us"),
        }
    }
}

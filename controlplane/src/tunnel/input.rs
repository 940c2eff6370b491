//! What the driver tells the tunnel manager.

use std::net::SocketAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use sixwire_proto::peer::{PeerRecord, Refusal};
use sixwire_proto::router_id::RouterId;
use sixwire_proto::uplink::UplinkNumber;

use super::lane::Lane;
use super::params::Counts;

/// One thing that happened.
#[derive(Clone, Copy, Debug)]
pub enum Input<'a> {
    /// The network parameters changed.
    Parameters {
        /// The new counts.
        counts: Counts,
        /// The new refresh interval.
        refresh: Duration,
    },
    /// Tunnels found in the kernel at start. They are kept, and die after the dead interval unless
    /// a neighbour shows up on them. Comes before anything else.
    Adopt {
        /// All of them.
        tunnels: &'a [Adopted],
    },
    /// Peers and their addresses became known. Also the answer to `AskRegistry` and `AskPeer`.
    Learned {
        /// Who says so.
        source: Source,
        /// At most [`MAX_RECORDS`](super::MAX_RECORDS) are looked at.
        peers: &'a [PeerRecord],
    },
    /// `AskRegistry` failed.
    LearnedNothing,
    /// Routing has a route to the node, through anyone.
    Reachable {
        /// The destination.
        node: RouterId,
    },
    /// Routing has no route to the node any more.
    Lost {
        /// The destination.
        node: RouterId,
    },
    /// Babel has the node as a neighbour.
    NeighbourUp {
        /// The neighbour.
        node: RouterId,
        /// Where.
        medium: Medium,
    },
    /// Babel lost the neighbour.
    NeighbourDown {
        /// The neighbour.
        node: RouterId,
        /// Where.
        medium: Medium,
    },
    /// Installed routes through each node: the answer to `AskUses`. A node not named has none.
    Uses(&'a [Usage]),
    /// The outcome of a `Dial`: exactly one for each.
    Dialled {
        /// The node that was dialled.
        node: RouterId,
        /// The port of the `Dial`.
        port: u16,
        /// What came of it.
        outcome: Result<Accepted, DialFailure>,
    },
    /// An authenticated node asks for a tunnel.
    Request {
        /// Names the request in its one `Answer`.
        id: RequestId,
        /// Who asks, and over which uplink of its own.
        lane: Lane,
    },
    /// The peer closed its end of the tunnel whose end here has `port`.
    CloseAsked {
        /// The peer.
        node: RouterId,
        /// This node's port, as negotiated: a late message about an older tunnel is told apart.
        port: u16,
    },
    /// The port of a dial or an open tunnel could not be bound.
    PortTaken {
        /// The node it was meant for.
        node: RouterId,
        /// The port.
        port: u16,
    },
    /// Somebody deleted the interface.
    InterfaceGone {
        /// Which.
        lane: Lane,
    },
    /// The node's certificate is revoked: hang up, neither dial nor serve it.
    Revoked {
        /// The node.
        node: RouterId,
    },
    /// The node has a valid certificate again.
    Reinstated {
        /// The node.
        node: RouterId,
    },
    /// The underlay changed (an interface, an address): what failed before may work now.
    UnderlayChanged,
    /// Close everything and stay closed.
    Shutdown,
    /// Time passed: [`next_deadline`](super::Tunnels::next_deadline) was reached.
    Deadline,
}

/// A tunnel found in the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Adopted {
    /// The node at the other end, and the uplink.
    pub lane: Lane,
    /// Who asked for it.
    pub role: Role,
    /// Its UDP port.
    pub port: u16,
}

/// Who told about a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The registry.
    Registry,
    /// This node. What it says of itself counts more than what it says of others.
    Peer(RouterId),
    /// The file of the last run.
    Cache,
}

/// What a neighbour was met on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Medium {
    /// The tunnel to that node over this uplink of the dialler.
    Tunnel(UplinkNumber),
    /// A link the manager did not make: such a neighbour is never dialled.
    Lan,
}

/// How many installed routes go through a node's tunnels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// The node at their other end.
    pub node: RouterId,
    /// Routes.
    pub routes: usize,
}

/// The peer accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// The address that answered; `None` when it was reached through the overlay.
    pub address: Option<SocketAddr>,
}

/// Why a dial came to nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum DialFailure {
    /// No address answered.
    #[error("no address answered")]
    Unreachable,
    /// The peer refused.
    #[error("refused: {0}")]
    Refused(Refusal),
    /// Another node answered at these addresses, or its certificate does not verify.
    #[error("somebody else answered there")]
    WrongNode,
    /// This node could not even try.
    #[error("could not try")]
    Local,
}

/// Names a request until it is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RequestId(pub u64);

/// Who asked for a tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// This node.
    Dialled,
    /// The other.
    Served,
}

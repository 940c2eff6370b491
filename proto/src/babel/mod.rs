//! Babel packets (RFC 8966 §4): what a core reads and writes, with parser state already applied.
//!
//! [`read`] turns a datagram into [`Tlv`]s whose prefixes, router-ids and next hops are complete;
//! [`Writer`] packs them back, with compression. State that lives within one packet (RFC 8966 §4.5)
//! stays in here, so that a core never sees it.

mod address;
mod cursor;
mod error;
mod mac;
mod mac_tlv;
mod packet;
mod parser_state;
mod reader;
mod sub_tlv;
mod tlv_type;
mod writer;

use std::net::{IpAddr, Ipv6Addr};

use serde::{Deserialize, Serialize};

use crate::interval::Interval;
use crate::metric::{Cost, Metric};
use crate::prefix::Prefix;
use crate::router_id::RouterId;
use crate::seqno::Seqno;

pub use error::{PacketError, TlvError};
pub use mac::{
    MacAlgorithm, MacError, MacKey, MacKeyError, PseudoHeader, mac_room, sign_anew, verify,
};
pub use mac_tlv::{GREATEST_INDEX, GREATEST_NONCE, MacTlv, PACKET_COUNTER_ROOM, mac_tlvs};
pub use packet::{Packet, Signing};
pub use reader::{Reader, read};
pub use writer::{Full, GREATEST_LIMIT, LEAST_LIMIT, Writer};

/// The UDP port of Babel (RFC 8966 §4).
pub const PORT: u16 = 6696;
/// The link-local multicast group of Babel.
pub const GROUP: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 1, 6);

/// What a route leads to: a destination, and for a source-specific route (RFC 9079) the sources
/// it holds for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct RouteKey {
    /// Destination prefix.
    pub destination: Prefix,
    /// Source prefix; `None` for a route that holds for any source. Never of length zero.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<Prefix>,
}

impl RouteKey {
    /// The key of a route that holds for any source.
    #[must_use]
    pub fn to(destination: Prefix) -> Self {
        Self { destination, source: None }
    }
}

impl std::fmt::Display for RouteKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.source {
            None => self.destination.fmt(f),
            Some(source) => write!(f, "{} from {source}", self.destination),
        }
    }
}

/// Where a packet was sent, or is to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Destination {
    /// To [`GROUP`].
    Multicast,
    /// To one neighbour's link-local address.
    Unicast(Ipv6Addr),
}

/// One TLV with its sub-TLVs, complete in itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tlv {
    /// Acknowledgement Request (RFC 8966 §4.6.3).
    AckRequest {
        /// To be echoed.
        opaque: u16,
        /// The answer must leave within this time; never zero.
        interval: Interval,
    },
    /// Acknowledgement (§4.6.4).
    Ack {
        /// Copied from the request.
        opaque: u16,
    },
    /// Hello (§4.6.5).
    Hello(Hello),
    /// IHU, "I heard you" (§4.6.6).
    Ihu(Ihu),
    /// Update (§4.6.9), retraction or wildcard retraction.
    Update(Update),
    /// Route Request (§4.6.10); `None` asks for the full table.
    RouteRequest(Option<RouteKey>),
    /// Seqno Request (§4.6.11).
    SeqnoRequest(SeqnoRequest),
}

/// Hello (RFC 8966 §4.6.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hello {
    /// Which of the two histories it belongs to (the U flag).
    pub kind: HelloKind,
    /// Sequence number of that history.
    pub seqno: Seqno,
    /// Time to the next one; zero if unscheduled.
    pub interval: Interval,
    /// Transmit time in microseconds (RFC 9616 §3.2). On writing, its value is replaced at send time.
    pub timestamp: Option<u32>,
}

/// The two kinds of Hello, counted apart (RFC 8966 §3.4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum HelloKind {
    /// Sent to the group.
    Multicast,
    /// Sent to one neighbour.
    Unicast,
}

/// IHU (RFC 8966 §4.6.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ihu {
    /// Whom it is about; `None` (AE 0) means the receiver and is only legal in unicast.
    pub address: Option<IpAddr>,
    /// Cost of receiving from that node.
    pub rxcost: Cost,
    /// Time to the next one; never zero.
    pub interval: Interval,
    /// Origin and receive time (RFC 9616 §3.3).
    pub timestamps: Option<EchoedTimes>,
}

/// The two stamps of an IHU (RFC 9616 §3.3), microseconds modulo 2^32.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EchoedTimes {
    /// Transmit time of the last stamped Hello heard from the addressee, by the addressee's clock.
    pub origin: u32,
    /// When that Hello came, by the sender's clock.
    pub receive: u32,
}

/// Update (RFC 8966 §4.6.9).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Update {
    /// What it is about; `None` (AE 0) retracts everything the sender announced.
    pub route: Option<RouteKey>,
    /// Originator; always there when the metric is finite. A retraction has none when read; when written, its own only
    /// takes the place of another that is in force.
    pub router_id: Option<RouterId>,
    /// Where to send packets; there or not as the router-id is. An IPv6 next hop of an IPv4
    /// destination is v4-via-v6 (RFC 9229, AE 4).
    pub next_hop: Option<IpAddr>,
    /// Sequence number of the originator.
    pub seqno: Seqno,
    /// Sender's metric; infinity retracts.
    pub metric: Metric,
    /// Time to the next update of this route; never zero.
    pub interval: Interval,
}

/// Seqno Request (RFC 8966 §4.6.11).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SeqnoRequest {
    /// Which route.
    pub route: RouteKey,
    /// The sequence number wanted, or a later one.
    pub seqno: Seqno,
    /// How many times it may still travel; never zero.
    pub hop_count: u8,
    /// Originator of the route.
    pub router_id: RouterId,
}

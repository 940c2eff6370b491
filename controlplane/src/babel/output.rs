//! What a Babel instance wants done.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

use sixwire_proto::babel::{Destination, MacError, Packet, PacketError, RouteKey, TlvError};
use sixwire_proto::link::LinkId;
use sixwire_proto::metric::{Cost, Metric};
use sixwire_proto::router_id::RouterId;
use sixwire_proto::seqno::Seqno;

use super::authentication::Refusal;

/// One thing to do, in the order given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Send a datagram from our address on the link.
    Send {
        /// By which link.
        link: LinkId,
        /// To the group, or to one neighbour.
        to: Destination,
        /// What; the octets to send are [`Packet::seal`]'s.
        packet: Packet,
    },
    /// What the kernel shall do with packets for a route. The latest for a route replaces all before.
    Route {
        /// The route.
        route: RouteKey,
        /// Where its packets go.
        target: Target,
        /// The originator of the route of a neighbour that is left for it.
        left: Option<RouterId>,
    },
    /// Our sequence number, to be on disk before any [`Output::Send`] behind it leaves.
    Seqno(Seqno),
    /// It must be known which prefixes a router-id may originate. Answered by
    /// [`super::Input::Origin`]; asked again until it is.
    OriginWanted {
        /// The router-id.
        router_id: RouterId,
        /// A link to a neighbour that routes to it, and so should know.
        link: LinkId,
        /// That neighbour.
        neighbour: Ipv6Addr,
    },
    /// A neighbour is silent: ask its kernel whether the link still carries packets. An answer is
    /// handed in as [`super::Input::Answered`]; silence needs no word.
    Probe {
        /// By which link.
        link: LinkId,
        /// Whom.
        neighbour: Ipv6Addr,
    },
    /// Something worth a line in the log.
    Event(Event),
}

/// Where the kernel sends packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// To a neighbour.
    Via {
        /// By this link.
        link: LinkId,
        /// To this address on it.
        next_hop: IpAddr,
        /// Our metric to the destination.
        metric: Metric,
        /// Who originates it.
        router_id: RouterId,
    },
    /// Nowhere, and by no shorter prefix either (RFC 8966 §3.5.4).
    Unreachable,
    /// Not our business: the route is to be removed.
    Gone,
}

/// A change that people want to see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A neighbour can be used.
    NeighbourUp {
        /// On this link.
        link: LinkId,
        /// Its address.
        neighbour: Ipv6Addr,
        /// The cost of the link to it.
        cost: Cost,
    },
    /// The cost of the link to a neighbour changed.
    NeighbourCost {
        /// On this link.
        link: LinkId,
        /// Its address.
        neighbour: Ipv6Addr,
        /// The new cost.
        cost: Cost,
    },
    /// A neighbour can no longer be used.
    NeighbourDown {
        /// On this link.
        link: LinkId,
        /// Its address.
        neighbour: Ipv6Addr,
        /// Why.
        cause: DownCause,
    },
    /// A neighbour has restarted; its routes are kept until it speaks of them.
    NeighbourRestarted {
        /// On this link.
        link: LinkId,
        /// Its address.
        neighbour: Ipv6Addr,
    },
    /// A destination has no usable route left, and its originator is asked for a newer one.
    Starved {
        /// The destination.
        route: RouteKey,
        /// Its originator.
        router_id: RouterId,
        /// The sequence number asked for.
        seqno: Seqno,
    },
    /// Something that came was refused, wholly or in part. Not every time: see the counters.
    Refused {
        /// The link it came by.
        link: LinkId,
        /// Its source address.
        source: Ipv6Addr,
        /// What is wrong with it.
        complaint: Complaint,
    },
    /// Someone announces our router-id with a sequence number we have not used yet.
    SeqnoAhead {
        /// The number heard.
        heard: Seqno,
    },
}

/// What is wrong with a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Complaint {
    /// Its source is not link-local, or is our own address.
    Source,
    /// Its header.
    Packet(PacketError),
    /// It is not signed, or not with a key of the link.
    Mac(MacError),
    /// It is signed, but has no packet counter.
    NoPacketCounter,
    /// One of its TLVs; the others count.
    Tlv(TlvError),
}

impl Complaint {
    /// What is worth saying of a packet that did not pass: not what happens at every start, or by
    /// reordering.
    pub(super) fn of(refusal: Refusal) -> Option<Self> {
        match refusal {
            Refusal::Mac(error) => Some(Self::Mac(error)),
            Refusal::NoCounter => Some(Self::NoPacketCounter),
            Refusal::UnknownIndex | Refusal::StaleCounter | Refusal::TooManyPeers => None,
        }
    }
}

/// Why a neighbour is not used any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DownCause {
    /// Its Hellos are missing.
    Unheard,
    /// Its Hello is late, and its kernel does not answer as it used to.
    Unanswering,
    /// It does not hear us.
    Unhearing,
    /// Its link is gone.
    LinkDown,
}

impl fmt::Display for DownCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unheard => "its hellos are missing",
            Self::Unanswering => "its hello is late and its kernel does not answer",
            Self::Unhearing => "it does not hear us",
            Self::LinkDown => "its link is down",
        })
    }
}

impl fmt::Display for Complaint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Source => f.write_str("its source address is not link-local, or is our own"),
            Self::Packet(error) | Self::Mac(MacError::Packet(error)) => error.fmt(f),
            Self::Mac(MacError::NoMac) => f.write_str("it is not signed, and the link has keys"),
            Self::Mac(MacError::WrongMac) => f.write_str("no key of the link has signed it"),
            Self::NoPacketCounter => f.write_str("it is signed, but has no packet counter"),
            Self::Tlv(error) => error.fmt(f),
        }
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NeighbourUp { link, neighbour, cost } => {
                write!(f, "neighbour {neighbour} on {link} is up at cost {cost}")
            }
            Self::NeighbourCost { link, neighbour, cost } => {
                write!(f, "neighbour {neighbour} on {link} has cost {cost}")
            }
            Self::NeighbourDown { link, neighbour, cause } => {
                write!(f, "neighbour {neighbour} on {link} is down: {cause}")
            }
            Self::NeighbourRestarted { link, neighbour } => {
                write!(f, "neighbour {neighbour} on {link} has restarted")
            }
            Self::Starved { route, router_id, seqno } => {
                write!(f, "no usable route to {route}, asking {router_id} for seqno {seqno}")
            }
            Self::Refused { link, source, complaint } => {
                write!(f, "packet from {source} on {link} refused: {complaint}")
            }
            Self::SeqnoAhead { heard } => {
                write!(f, "our router-id was announced with seqno {heard}, going beyond it")
            }
        }
    }
}

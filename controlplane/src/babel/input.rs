//! What can happen to a Babel instance.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde::{Deserialize, Serialize};
use sixwire_proto::babel::{Destination, RouteKey};
use sixwire_proto::link::LinkId;
use sixwire_proto::metric::{Cost, Metric};
use sixwire_proto::prefix::Prefix;
use sixwire_proto::router_id::RouterId;

use super::authentication::Authentication;
use super::filter::LinkTag;
use super::params::LinkQuality;
use super::rtt::Delay;

/// One event. Each is handled completely before the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input<'a> {
    /// A link can be used from now on. A link that is already up is started afresh.
    LinkUp {
        /// The link.
        link: LinkId,
        /// How it is to be used.
        params: LinkParams,
    },
    /// A link is gone, and all that was heard on it.
    LinkDown {
        /// The link.
        link: LinkId,
    },
    /// A link has keys from now on, other keys, or (`None`) none any more. Keys belong to the link's
    /// number, whether it is up or not: they are given before it comes up, and outlast it.
    Authentication {
        /// The link.
        link: LinkId,
        /// What is signed with, and believed.
        authentication: Option<&'a Authentication>,
    },
    /// A link is dearer than its nominal cost from now on: a tunnel is being drained.
    LinkCost {
        /// The link.
        link: LinkId,
        /// What it costs more; zero ends it.
        extra: Cost,
    },
    /// Our IPv4 address on a link is another one, or there is none any more. What we announce for IPv4 is
    /// announced anew.
    LinkV4 {
        /// The link.
        link: LinkId,
        /// The address.
        address: Option<Ipv4Addr>,
    },
    /// A datagram came.
    Packet {
        /// The link it came by.
        link: LinkId,
        /// Its source address.
        source: Ipv6Addr,
        /// Its destination address.
        destination: Destination,
        /// Its payload.
        bytes: &'a [u8],
    },
    /// A destination of our own is to be announced, or its metric changes.
    Originate {
        /// The route.
        route: RouteKey,
        /// The metric to announce; infinite is the same as [`Input::Withdraw`].
        metric: Metric,
    },
    /// It is no longer to be announced.
    Withdraw {
        /// The route.
        route: RouteKey,
    },
    /// A router-id may originate these prefixes and what lies inside them; replaces what was known.
    Origin {
        /// The router-id.
        router_id: RouterId,
        /// Its prefixes.
        prefixes: &'a [Prefix],
    },
    /// A router-id may originate nothing from now on.
    OriginGone {
        /// The router-id.
        router_id: RouterId,
    },
    /// A neighbour's kernel answered an [`super::Output::Probe`].
    Answered {
        /// The link the answer came by.
        link: LinkId,
        /// Who answered.
        neighbour: Ipv6Addr,
    },
    /// Everything is retracted, and nothing done from then on. The kernel's routes are left as they are.
    Shutdown,
    /// [`super::Babel::next_deadline`] has passed. Any input does what is due; this one does only that.
    Deadline,
}

/// How a link is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkParams {
    /// Our own link-local address on it.
    pub address: Ipv6Addr,
    /// Our IPv4 address on it: the next hop of IPv4 routes. Without one they lead through IPv6 (RFC 9229).
    pub v4: Option<Ipv4Addr>,
    /// What filters know it by.
    pub tag: Option<LinkTag>,
    /// What it costs as long as it is up; zero counts as one.
    pub cost: Cost,
    /// The largest UDP payload to send.
    pub largest_datagram: usize,
    /// Whether routes are announced on the link they lead through.
    pub split_horizon: SplitHorizon,
    /// Whether neighbours may still use what we announced there.
    pub start: LinkStart,
    /// Whose routes are believed there.
    pub announcers: Announcers,
    /// How its quality is estimated; `None` as [`super::Params::link_sensing`] has it.
    pub quality: Option<LinkQuality>,
    /// What its delay is good for.
    pub delay: Delay,
}

/// Whose routes a link may bring.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Announcers {
    /// Everybody's: the other end forwards for others.
    Anyone,
    /// Those of one node: a leaf, which does not.
    Only(RouterId),
}

/// What neighbours may know of us when a link comes up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LinkStart {
    /// Nothing that still holds: it is retracted.
    Fresh,
    /// What an earlier run announced; the kernel forwards it still, and the sequence number was kept.
    Resumed,
}

/// Split horizon (RFC 8966 §3.7.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SplitHorizon {
    /// A route is not announced where it was learnt: for tunnels and wired LANs, where all hear all.
    On,
    /// Every route is announced: for links on which two neighbours may not hear each other.
    Off,
}

impl LinkParams {
    /// A wired link or tunnel of nominal cost, for datagrams that fit a path of the least IPv6 MTU.
    #[must_use]
    pub fn wired(address: Ipv6Addr) -> Self {
        Self {
            address,
            v4: None,
            tag: None,
            cost: Cost::WIRED,
            largest_datagram: LARGEST_DATAGRAM,
            split_horizon: SplitHorizon::On,
            start: LinkStart::Fresh,
            announcers: Announcers::Anyone,
            quality: None,
            delay: Delay::Measured,
        }
    }

    /// Where neighbours on the link are to send packets for a destination.
    pub(super) fn next_hop(&self, destination: Prefix) -> IpAddr {
        match self.v4 {
            Some(v4) if !destination.is_v6() => IpAddr::V4(v4),
            _ => IpAddr::V6(self.address),
        }
    }
}

/// 1280 octets (RFC 8200 §5) less the IPv6 and UDP headers.
const LARGEST_DATAGRAM: usize = 1280 - 40 - 8;

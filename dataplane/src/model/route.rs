//! Routes and policy rules.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::num::NonZeroU8;

use sixwire_proto::link::LinkId;
use sixwire_proto::prefix::Prefix;

/// What names a route in our table; table, metric and protocol are the same for all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RouteKey {
    /// Destination.
    pub prefix: Prefix,
    /// Only packets from here (RFC 9079); IPv6 only, `None` for all.
    pub source: Option<Prefix>,
}

/// Where a route leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RouteTarget {
    /// To a neighbour.
    Via(NextHop),
    /// Nowhere: answered with "unreachable", never handed to a shorter prefix.
    Unreachable,
}

/// A neighbour on a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct NextHop {
    /// The link.
    pub link: LinkId,
    /// Its address there; IPv6 also for IPv4 destinations (RFC 9229).
    pub gateway: IpAddr,
    /// Source address of the node's own packets on this route.
    pub preferred_source: Option<IpAddr>,
}

/// The links to one neighbour, which has the same address on each, and the share of its flows that each takes:
/// `None` while it cannot be used.
pub type Shares = BTreeMap<LinkId, Option<NonZeroU8>>;

/// Whether the kernel has to be told that a neighbour's address is on the link, whatever prefixes our own
/// addresses there have. Of link-local ones it knows.
pub(crate) fn is_onlink(gateway: IpAddr) -> bool {
    match gateway {
        IpAddr::V4(_) => true,
        IpAddr::V6(v6) => !v6.is_unicast_link_local(),
    }
}

/// A change of one route.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RouteChange {
    /// Add it, or put it in the place of the one with the same key, without a gap.
    Replace(RouteKey, RouteTarget),
    /// Remove it; that it is gone already is fine.
    Remove(RouteKey),
}

/// A policy rule: packets with a mark are looked up in a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rule {
    /// For IPv6 or IPv4 packets.
    pub family: Family,
    /// Rules are tried in ascending order.
    pub priority: u32,
    /// The mark.
    pub fwmark: u32,
    /// The table.
    pub table: u32,
}

/// An address family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl RouteKey {
    /// The route to `prefix` from everywhere.
    #[must_use]
    pub fn to(prefix: Prefix) -> Self {
        Self { prefix, source: None }
    }
}

impl RouteChange {
    /// The route it is about.
    #[must_use]
    pub fn key(&self) -> RouteKey {
        match self {
            Self::Replace(key, _) | Self::Remove(key) => *key,
        }
    }
}

impl std::fmt::Display for RouteKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.prefix)?;
        self.source.map_or(Ok(()), |source| write!(f, " from {source}"))
    }
}

impl std::fmt::Display for RouteChange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Replace(key, RouteTarget::Via(hop)) => {
                write!(f, "set route to {key} via {} on interface {}", hop.gateway, hop.link)
            }
            Self::Replace(key, RouteTarget::Unreachable) => write!(f, "make {key} unreachable"),
            Self::Remove(key) => write!(f, "remove route to {key}"),
        }
    }
}

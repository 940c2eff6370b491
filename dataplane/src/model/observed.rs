//! What the kernel has that bears our mark, and what stands in our way.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use sixwire_proto::keys::{PresharedKey, WgPrivateKey, WgPublicKey};
use sixwire_proto::link::LinkId;
use sixwire_proto::prefix::Prefix;

use super::{IfName, Mark, ObservedGuards, RouteKey, RouteTarget, Rule};

/// All that bears our mark.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Observed {
    /// Our tunnels by interface name.
    pub tunnels: BTreeMap<IfName, ObservedTunnel>,
    /// Interfaces named like ours that are not: never touched.
    pub foreign: BTreeSet<IfName>,
    /// Our addresses on the address interface.
    pub addresses: BTreeSet<IpAddr>,
    /// Our routes of [`ROUTE_METRIC`](super::ROUTE_METRIC). `None`: ours, but not as we make them.
    pub routes: BTreeMap<RouteKey, Option<RouteTarget>>,
    /// Our unreachable prefixes.
    pub unreachable: BTreeSet<Prefix>,
    /// Our policy rules.
    pub rules: BTreeSet<Rule>,
    /// Our nftables table.
    pub guards: ObservedGuards,
}

/// An interface of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObservedTunnel {
    /// Its index.
    pub link: LinkId,
    /// What its alias says; `None` for one whose creation was cut off.
    pub mark: Option<Mark>,
    /// Whether it is up.
    pub up: bool,
    /// In octets.
    pub mtu: u32,
    /// Its link-local addresses.
    pub link_local: BTreeSet<Ipv6Addr>,
    /// Its WireGuard device; `None` if it is none, or not of the backend in use.
    pub wireguard: Option<ObservedWireGuard>,
}

/// A WireGuard device.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ObservedWireGuard {
    /// Kept in memory only, so that a lost interface can be made again.
    pub private_key: Option<WgPrivateKey>,
    /// UDP port.
    pub port: u16,
    /// Mark on its own packets.
    pub fwmark: Option<u32>,
    /// Its peers.
    pub peers: BTreeMap<WgPublicKey, ObservedPeer>,
}

/// A peer of a WireGuard device.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ObservedPeer {
    /// Its preshared key.
    pub preshared_key: Option<PresharedKey>,
    /// Where it was seen last.
    pub endpoint: Option<SocketAddr>,
    /// Seconds between keepalives.
    pub keepalive: Option<u16>,
    /// Its prefixes.
    pub allowed_ips: BTreeSet<Prefix>,
}

//! What there should be and what there is, as plain values.

mod guards;
mod name;
mod observed;
mod route;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use sixwire_proto::keys::{PresharedKey, WgPrivateKey, WgPublicKey};
use sixwire_proto::prefix::Prefix;

pub use guards::{GuardedNetwork, Guards, ObservedGuards, Sources};
pub use name::{IfName, IfNameError, Mark, Role};
pub use observed::{Observed, ObservedPeer, ObservedTunnel, ObservedWireGuard};
pub(crate) use route::is_onlink;
pub use route::{Family, NextHop, RouteChange, RouteKey, RouteTarget, Rule, Shares};

/// All that should be there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Desired {
    /// Tunnels by interface name.
    pub tunnels: BTreeMap<IfName, Tunnel>,
    /// Addresses of this node, each alone (/128 or /32) on the address interface.
    pub addresses: BTreeSet<IpAddr>,
    /// Routes of the mesh, all of [`ROUTE_METRIC`].
    pub routes: BTreeMap<RouteKey, RouteTarget>,
    /// Prefixes that must never leak to another route: unreachable, of [`UNREACHABLE_METRIC`].
    pub unreachable: BTreeSet<Prefix>,
    /// Policy rules.
    pub rules: BTreeSet<Rule>,
    /// What is guarded; `None` for nothing.
    pub guards: Option<GuardedNetwork>,
}

/// One tunnel: a WireGuard interface to one other node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tunnel {
    /// The node at the other end and who dialled: written into the interface's alias.
    pub mark: Mark,
    /// Our link-local address on it (/64).
    pub link_local: Ipv6Addr,
    /// In octets.
    pub mtu: u32,
    /// The WireGuard device.
    pub wireguard: WireGuard,
}

/// The configuration of a WireGuard device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WireGuard {
    /// `None` keeps the key of an adopted interface.
    pub private_key: Option<WgPrivateKey>,
    /// UDP port it listens on.
    pub port: u16,
    /// Mark on its own UDP packets, for the rules that keep them out of tunnels.
    pub fwmark: Option<u32>,
    /// Its peers; a tunnel has one.
    pub peers: BTreeMap<WgPublicKey, Peer>,
}

/// A peer of a WireGuard device.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Peer {
    /// `None` keeps the key of an existing peer; a new peer then has none.
    pub preshared_key: Option<PresharedKey>,
    /// `None` keeps what WireGuard knows (it learns from authentic packets).
    pub endpoint: Option<SocketAddr>,
    /// Seconds between persistent keepalives; `None` sends none.
    pub keepalive: Option<u16>,
    /// Prefixes sent to and accepted from it.
    pub allowed_ips: BTreeSet<Prefix>,
}

/// One step from what is to what should be. Each can be repeated without harm.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Make a prefix unreachable unless a better route exists.
    AddUnreachable(Prefix),
    /// Undo that.
    RemoveUnreachable(Prefix),
    /// Give the node an address.
    AddAddress(IpAddr),
    /// Take it away.
    RemoveAddress(IpAddr),
    /// Add a policy rule.
    AddRule(Rule),
    /// Remove it.
    RemoveRule(Rule),
    /// Make a tunnel that is not there, or finish or rebuild one that is not in working order.
    CreateTunnel(IfName, Tunnel),
    /// Change a living tunnel in place.
    UpdateTunnel(IfName, TunnelUpdate),
    /// Remove a tunnel, in the background.
    RemoveTunnel(IfName),
    /// Set or remove a route.
    Route(RouteChange),
    /// Make our nftables table say this, at once.
    Guard(Guards),
    /// Remove it.
    Unguard,
}

/// What to change on a living tunnel; `None` and empty leave things as they are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TunnelUpdate {
    /// New alias.
    pub mark: Option<Mark>,
    /// New link-local address, in place of all others.
    pub link_local: Option<Ipv6Addr>,
    /// New MTU.
    pub mtu: Option<u32>,
    /// Changes of the WireGuard device.
    pub wireguard: WireGuardUpdate,
    /// Whether the interface must be brought up.
    pub bring_up: bool,
}

/// Changes of a WireGuard device, sent in one message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WireGuardUpdate {
    /// New private key.
    pub private_key: Option<WgPrivateKey>,
    /// New port.
    pub port: Option<u16>,
    /// New mark; zero removes it.
    pub fwmark: Option<u32>,
    /// Peers to add or to change, each with its new settings.
    pub peers: BTreeMap<WgPublicKey, Peer>,
    /// Peers to remove.
    pub removed: BTreeSet<WgPublicKey>,
}

impl TunnelUpdate {
    /// Whether it changes nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl WireGuardUpdate {
    /// Whether it changes nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Kernel metric of every route of the mesh: constant, because the kernel replaces in place only
/// where prefix, table and metric are equal; odd, so that it meets nobody else's route.
pub const ROUTE_METRIC: u32 = 6326;
/// Kernel metric of the unreachable routes: behind everything else (the largest that is no "unset").
pub const UNREACHABLE_METRIC: u32 = u32::MAX - 1;
/// Route metric on our addresses, by which they are known again (`ip address` shows it).
pub const ADDRESS_METRIC: u32 = 6326;
/// Interface group of our tunnels: set with their creation, so that a tunnel without its alias yet
/// is known as ours after a crash.
pub const LINK_GROUP: u32 = 6326;
/// Start of the name of every tunnel.
pub const NAME_PREFIX: &str = "sw-";

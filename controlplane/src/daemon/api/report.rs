//! What the daemon tells: the same for people, as tables, and for programs, as JSON. Fields are
//! added, never changed; a change of meaning is another schema.

use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use sixwire_proto::certificate::{NetworkId, Role};
use sixwire_proto::prefix::Prefix;
use sixwire_proto::router_id::RouterId;
use sixwire_proto::time::Timestamp;
use sixwire_proto::uplink::UplinkNumber;

/// Version of these reports: the number 1. Another number does not parse.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Schema;

/// The answer to a [`Request`](super::Request).
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Report {
    /// To `status`.
    Status(Box<StatusReport>),
    /// To `peers`.
    Peers(PeersReport),
    /// To `routes`.
    Routes(RoutesReport),
    /// To `down`.
    Down(DownReport),
}

/// Health at a glance.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StatusReport {
    /// Version of the report.
    pub schema: Schema,
    /// The verdict.
    pub health: Health,
    /// Why it is not healthy, one sentence each; empty if it is.
    pub reasons: Vec<String>,
    /// What could be better on this machine, and how; one sentence each.
    #[serde(default)]
    pub warnings: Vec<String>,
    /// The program.
    pub daemon: DaemonReport,
    /// This node.
    pub node: NodeReport,
    /// Its network.
    pub network: NetworkReport,
    /// Its certificate.
    pub certificate: CertificateReport,
    /// Its tunnels.
    pub tunnels: TunnelsReport,
    /// Its routing engine.
    pub routing: RoutingReport,
    /// The registry, as it was seen last.
    pub registry: RegistryReport,
    /// Limits that were reached, by name, and how often.
    pub limits: Vec<Counter>,
    /// What was dropped, by reason; zeros are left out.
    pub counters: Vec<Counter>,
}

/// Whether the node does its work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Health {
    /// All of it.
    Healthy,
    /// Some of it.
    Degraded,
    /// None of it.
    Down,
}

/// The program.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DaemonReport {
    /// Program version.
    pub version: String,
    /// Seconds since it started.
    pub uptime_s: u64,
}

/// A node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeReport {
    /// Its router-id.
    pub router_id: RouterId,
    /// Name for people.
    pub name: Option<String>,
    /// Its prefix.
    pub prefix: Prefix,
    /// Its address.
    pub address: IpAddr,
    /// Its roles.
    pub roles: Vec<Role>,
}

/// A network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkReport {
    /// Its id.
    pub id: NetworkId,
    /// Its prefix.
    pub prefix: Prefix,
    /// Epoch of the network state in force.
    pub epoch: u64,
}

/// The node's certificate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CertificateReport {
    /// Its serial number.
    pub serial: u64,
    /// First second of its validity, since 1970 UTC.
    pub not_before: Timestamp,
    /// Last second of its validity, since 1970 UTC.
    pub not_after: Timestamp,
}

/// How many tunnels.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TunnelsReport {
    /// Which WireGuard carries them.
    pub wireguard: WireguardKind,
    /// That this node asked for.
    pub dialled: u32,
    /// That were asked of this node.
    pub served: u32,
    /// That pass packets.
    pub up: u32,
    /// The process of the embedded WireGuard; none where the kernel's carries them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub helper: Option<HelperReport>,
    /// Uplinks, where they are configured.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub uplinks: Vec<UplinkReport>,
}

/// An uplink.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UplinkReport {
    /// Its name.
    pub name: String,
    /// Tunnels that take it.
    pub tunnels: u32,
    /// Those of them that pass packets.
    pub up: u32,
}

/// The process of the embedded WireGuard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HelperReport {
    /// Times it ended by itself and was started again, with its tunnels.
    pub restarts: u64,
    /// Seconds since the last of them.
    pub last_restart_s: Option<u64>,
}

/// Which WireGuard carries a tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WireguardKind {
    /// The kernel's.
    Kernel,
    /// The embedded one.
    Embedded,
}

/// The routing engine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoutingReport {
    /// Babel neighbours.
    pub neighbours: u32,
    /// Selected routes.
    pub routes: u32,
}

/// The registry, as it was seen last.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegistryReport {
    /// `HOST:PORT`.
    pub host: String,
    /// Whether the last call succeeded; none before the first.
    pub reachable: Option<bool>,
    /// Seconds since the last call that succeeded.
    pub last_success_s: Option<u64>,
    /// Why the last call failed, if it did.
    pub last_error: Option<String>,
}

/// A count with its name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counter {
    /// Its name.
    pub label: String,
    /// How often.
    pub value: u64,
}

/// The links to other nodes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PeersReport {
    /// Version of the report.
    pub schema: Schema,
    /// One for each link.
    pub peers: Vec<PeerReport>,
}

/// A link to another node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PeerReport {
    /// The other node.
    pub router_id: RouterId,
    /// Its name for people.
    pub name: Option<String>,
    /// The interface.
    pub interface: String,
    /// Who asked for it.
    pub role: LinkRole,
    /// How far it is: `up` once it passes packets.
    pub state: String,
    /// Which of the dialler's uplinks it takes, from 1; left out of the JSON where it is the first.
    #[serde(default, skip_serializing_if = "UplinkNumber::is_first")]
    pub uplink_number: UplinkNumber,
    /// The name of that uplink, where it is this node's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uplink: Option<String>,
    /// Where its packets go.
    pub endpoint: Option<SocketAddr>,
    /// Babel's cost; none while it is unusable.
    pub cost: Option<u16>,
    /// Smoothed round-trip time, milliseconds.
    pub rtt_ms: Option<f64>,
    /// Octets received.
    pub rx_bytes: u64,
    /// Octets sent.
    pub tx_bytes: u64,
    /// Seconds since the last WireGuard handshake.
    pub handshake_age_s: Option<u64>,
}

/// Who asked for a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LinkRole {
    /// This node.
    Dialled,
    /// The other node.
    Served,
    /// Nobody: an interface that Babel was told to run on.
    Native,
}

/// The routing table.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoutesReport {
    /// Version of the report.
    pub schema: Schema,
    /// Selected routes.
    pub routes: Vec<RouteReport>,
}

/// A route.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteReport {
    /// Where it leads.
    pub destination: Prefix,
    /// For which sources only (RFC 9079); none: for all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<Prefix>,
    /// The node that announces the destination.
    pub router_id: RouterId,
    /// Its name for people.
    pub name: Option<String>,
    /// The next node on the way; none where it has no certificate.
    pub via: Option<RouterId>,
    /// The interface; of several, the one that the routing engine prefers.
    pub interface: String,
    /// All of them, where flows are spread over several.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub interfaces: Vec<String>,
    /// The next hop's address.
    pub next_hop: IpAddr,
    /// Babel's metric.
    pub metric: u16,
    /// Whether the kernel has it.
    pub installed: bool,
}

/// The node is down.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DownReport {
    /// Version of the report.
    pub schema: Schema,
    /// What could not be removed, one sentence each.
    pub left_behind: Vec<String>,
}

impl Serialize for Schema {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u8(1)
    }
}

impl<'de> Deserialize<'de> for Schema {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match u64::deserialize(deserializer)? {
            1 => Ok(Self),
            other => Err(de::Error::custom(format!(
                "schema {other}, where this program knows 1: use the same version on both sides"
            ))),
        }
    }
}

//! The keys of the file, which are the flags and variables of `sixwire up` as well: one definition
//! for all three, every key optional.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::Args;
use serde::Deserialize;
use sixwire_proto::router_id::RouterId;

use super::uplink::Uplink;
use super::value::{
    BabelInterface, Count, InterfaceName, LogFormat, LogLevel, Period, Port, PortRange, Table,
    Underlay, Wireguard,
};

/// Every key that may be set, none of them set by default.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Args)]
#[serde(deny_unknown_fields, default)]
pub struct Keys {
    /// Where the key, the certificate and the caches lie.
    #[arg(skip)]
    pub state_dir: Option<PathBuf>,
    /// Where the socket of the local API lies.
    #[arg(skip)]
    pub run_dir: Option<PathBuf>,
    /// Which WireGuard carries the tunnels [default: auto]
    #[arg(long, env = "SIXWIRE_WIREGUARD", value_name = "WHICH")]
    pub wireguard: Option<Wireguard>,
    /// Kernel routing table for the routes [default: 254, main]
    #[arg(long, env = "SIXWIRE_TABLE", value_name = "NUMBER")]
    pub table: Option<Table>,
    /// Interface that holds the node's address [default: lo]
    #[arg(long, env = "SIXWIRE_ADDRESS_INTERFACE", value_name = "NAME")]
    pub address_interface: Option<InterfaceName>,
    /// Dial each node over this uplink too, by its routing table
    #[serde(rename = "uplink")]
    #[arg(
        long = "uplink",
        env = "SIXWIRE_UPLINK",
        value_name = "NAME=TABLE[*WEIGHT]",
        value_delimiter = ','
    )]
    pub uplinks: Option<Vec<Uplink>>,
    /// Set kernel parameters of the whole network namespace, which nobody else uses
    #[arg(
        long,
        env = "SIXWIRE_OWN_NAMESPACE",
        value_name = "BOOL",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true"
    )]
    pub own_namespace: Option<bool>,
    /// First contact between nodes.
    #[command(flatten)]
    pub signalling: SignallingKeys,
    /// How many tunnels, and where.
    #[command(flatten)]
    pub tunnels: TunnelKeys,
    /// The routing engine.
    #[command(flatten)]
    pub babel: BabelKeys,
    /// What is logged, and how.
    #[command(flatten)]
    pub log: LogKeys,
}

/// `[signalling]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Args)]
#[serde(deny_unknown_fields, default)]
#[command(next_help_heading = "Signalling")]
pub struct SignallingKeys {
    /// Local addresses to open the port on [default: all]
    #[arg(
        long = "signalling-listen",
        env = "SIXWIRE_SIGNALLING_LISTEN",
        value_name = "IP",
        value_delimiter = ','
    )]
    pub listen: Option<Vec<IpAddr>>,
    /// UDP port [default: 6326]
    #[arg(long = "signalling-port", env = "SIXWIRE_SIGNALLING_PORT", value_name = "PORT")]
    pub port: Option<Port>,
    /// Addresses to tell other nodes [default: those of the local interfaces]
    #[arg(
        long = "signalling-addresses",
        env = "SIXWIRE_SIGNALLING_ADDRESSES",
        value_name = "IP[:PORT]",
        value_delimiter = ','
    )]
    pub addresses: Option<Vec<Underlay>>,
    /// Never serve tunnels, only dial them
    #[arg(
        long = "signalling-dial-only",
        env = "SIXWIRE_SIGNALLING_DIAL_ONLY",
        value_name = "BOOL",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true"
    )]
    pub dial_only: Option<bool>,
}

/// `[tunnels]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Args)]
#[serde(deny_unknown_fields, default)]
#[command(next_help_heading = "Tunnels")]
pub struct TunnelKeys {
    /// UDP ports, one for each tunnel [default: 51820-51899]
    #[arg(long = "tunnels-ports", env = "SIXWIRE_TUNNELS_PORTS", value_name = "FIRST-LAST")]
    pub ports: Option<PortRange>,
    /// Tunnels to dial [default: as the network says]
    #[arg(long = "tunnels-dialled", env = "SIXWIRE_TUNNELS_DIALLED", value_name = "COUNT")]
    pub dialled: Option<Count<1, 100>>,
    /// Tunnels to serve at the most [default: as the network says]
    #[arg(long = "tunnels-served", env = "SIXWIRE_TUNNELS_SERVED", value_name = "COUNT")]
    pub served: Option<Count<0, 1000>>,
    /// Nodes to keep tunnels to
    #[arg(
        long = "tunnels-preferred",
        env = "SIXWIRE_TUNNELS_PREFERRED",
        value_name = "ROUTER-ID",
        value_delimiter = ','
    )]
    pub preferred: Option<Vec<RouterId>>,
}

/// `[babel]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Args)]
#[serde(deny_unknown_fields, default)]
#[command(next_help_heading = "Babel")]
pub struct BabelKeys {
    /// Time between two Hellos, such as 4s [default: as the network says]
    #[arg(
        long = "babel-hello-interval",
        env = "SIXWIRE_BABEL_HELLO_INTERVAL",
        value_name = "TIME"
    )]
    pub hello_interval: Option<Period<100, 600_000>>,
    /// Time between two full updates, such as 16s [default: as the network says]
    #[arg(
        long = "babel-update-interval",
        env = "SIXWIRE_BABEL_UPDATE_INTERVAL",
        value_name = "TIME"
    )]
    pub update_interval: Option<Period<400, 600_000>>,
    /// Run Babel on this existing interface too [default cost: 96]
    #[serde(rename = "interface")]
    #[arg(
        long = "babel-interface",
        env = "SIXWIRE_BABEL_INTERFACE",
        value_name = "NAME[=COST]",
        value_delimiter = ','
    )]
    pub interfaces: Option<Vec<BabelInterface>>,
    /// Write down all that the routing engine is told, for `sixwire replay`
    #[arg(long = "babel-record", env = "SIXWIRE_BABEL_RECORD", value_name = "FILE")]
    pub record: Option<PathBuf>,
}

/// `[log]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Args)]
#[serde(deny_unknown_fields, default)]
#[command(next_help_heading = "Log")]
pub struct LogKeys {
    /// The least severe level that is written [default: info]
    #[arg(long = "log-level", env = "SIXWIRE_LOG_LEVEL", value_name = "LEVEL")]
    pub level: Option<LogLevel>,
    /// Form of a line [default: logfmt]
    #[arg(long = "log-format", env = "SIXWIRE_LOG_FORMAT", value_name = "FORMAT")]
    pub format: Option<LogFormat>,
}

impl Keys {
    /// These keys, and those of `below` where they are silent.
    #[must_use]
    pub fn or(self, below: Self) -> Self {
        Self {
            state_dir: self.state_dir.or(below.state_dir),
            run_dir: self.run_dir.or(below.run_dir),
            wireguard: self.wireguard.or(below.wireguard),
            table: self.table.or(below.table),
            address_interface: self.address_interface.or(below.address_interface),
            own_namespace: self.own_namespace.or(below.own_namespace),
            signalling: self.signalling.or(below.signalling),
            uplinks: self.uplinks.or(below.uplinks),
            tunnels: self.tunnels.or(below.tunnels),
            babel: self.babel.or(below.babel),
            log: self.log.or(below.log),
        }
    }
}

impl SignallingKeys {
    fn or(self, below: Self) -> Self {
        Self {
            listen: self.listen.or(below.listen),
            port: self.port.or(below.port),
            addresses: self.addresses.or(below.addresses),
            dial_only: self.dial_only.or(below.dial_only),
        }
    }
}

impl TunnelKeys {
    fn or(self, below: Self) -> Self {
        Self {
            ports: self.ports.or(below.ports),
            dialled: self.dialled.or(below.dialled),
            served: self.served.or(below.served),
            preferred: self.preferred.or(below.preferred),
        }
    }
}

impl BabelKeys {
    fn or(self, below: Self) -> Self {
        Self {
            hello_interval: self.hello_interval.or(below.hello_interval),
            update_interval: self.update_interval.or(below.update_interval),
            interfaces: self.interfaces.or(below.interfaces),
            record: self.record.or(below.record),
        }
    }
}

impl LogKeys {
    pub(in crate::daemon) fn or(self, below: Self) -> Self {
        Self { level: self.level.or(below.level), format: self.format.or(below.format) }
    }
}

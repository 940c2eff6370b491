//! What the node was told: `/etc/sixwire/node.toml`, flags of `sixwire up` and `SIXWIRE_*`
//! variables. A flag beats a variable, a variable beats the file, the file beats the default.

mod error;
mod keys;
pub(super) mod source;
mod uplink;
mod value;

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use sixwire_proto::metric::Cost;
use sixwire_proto::router_id::RouterId;

pub use error::ConfigError;
pub(super) use error::Rule;
pub use keys::{BabelKeys, Keys, LogKeys, SignallingKeys, TunnelKeys};
use source::Source;
pub use uplink::{Uplink, UplinkName};
pub use value::{
    BabelInterface, Count, InterfaceName, LogFormat, LogLevel, Period, PortRange, Table, Underlay,
    ValueError, Wireguard,
};

/// The settings of a node, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Where the key, the certificate and the caches lie.
    pub state_dir: PathBuf,
    /// Where the socket of the local API lies.
    pub run_dir: PathBuf,
    /// Which WireGuard carries the tunnels.
    pub wireguard: Wireguard,
    /// Kernel routing table.
    pub table: u32,
    /// Interface that holds the node's address.
    pub address_interface: String,
    /// Whether nobody else uses the network namespace.
    pub own_namespace: bool,
    /// First contact between nodes.
    pub signalling: Signalling,
    /// How many tunnels, and where.
    pub tunnels: Tunnels,
    /// Providers that tunnels leave by; none: the machine's default route alone.
    pub uplinks: Vec<Uplink>,
    /// The routing engine.
    pub babel: Babel,
    /// What is logged, and how.
    pub log: Log,
}

/// First contact between nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signalling {
    /// Local addresses the port is opened on; `::` is every address of both families.
    pub listen: Vec<IpAddr>,
    /// UDP port.
    pub port: u16,
    /// Addresses told to others; empty: those of the local interfaces.
    pub addresses: Vec<SocketAddr>,
    /// Never serve tunnels.
    pub dial_only: bool,
}

/// How many tunnels, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tunnels {
    /// UDP ports, one for each tunnel.
    pub ports: PortRange,
    /// Tunnels to dial, where the network's number is not to hold.
    pub dialled: Option<u16>,
    /// Tunnels to serve at the most, where the network's number is not to hold.
    pub served: Option<u16>,
    /// Nodes to keep tunnels to.
    pub preferred: Vec<RouterId>,
}

/// The routing engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Babel {
    /// Time between two Hellos, where the network's is not to hold.
    pub hello_interval: Option<Duration>,
    /// Time between two full updates, where the network's is not to hold.
    pub update_interval: Option<Duration>,
    /// Existing interfaces to run on.
    pub interfaces: Vec<BabelInterface>,
    /// Where all that the engine is told is written down.
    pub record: Option<PathBuf>,
}

/// What is logged, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Log {
    /// The least severe level that is written.
    pub level: LogLevel,
    /// Form of a line.
    pub format: LogFormat,
}

/// Where the file is looked for unless told otherwise; it may be missing.
pub const DEFAULT_FILE: &str = "/etc/sixwire/node.toml";

/// What holds where nothing is said.
mod default {
    use super::{InterfaceName, Ipv6Addr, PortRange};

    /// FHS 3.0 §5.8: state of a program that survives a reboot.
    pub(super) const STATE_DIR: &str = "/var/lib/sixwire";
    /// FHS 3.0 §3.15: sockets of running programs.
    pub(super) const RUN_DIR: &str = "/run/sixwire";
    /// `main`: the table every other program looks at.
    pub(super) const TABLE: u32 = 254;
    /// Up in every namespace, and never in the underlay.
    pub(super) const ADDRESS_INTERFACE: InterfaceName = InterfaceName::LOOPBACK;
    /// Our own choice; Babel's port (RFC 8966 §5: 6696) is another one.
    pub(super) const SIGNALLING_PORT: u16 = 6326;
    /// Every address of both families.
    pub(super) const LISTEN: Ipv6Addr = Ipv6Addr::UNSPECIFIED;
    /// WireGuard's customary port and the 79 behind it: room for 10 dialled and 20 served tunnels,
    /// and as many on a second uplink.
    pub(super) const TUNNEL_PORTS: PortRange = PortRange::new(51820, 51899);
}

impl Config {
    /// Reads `file` (the default file, which may be missing, if none is named) and lays `over`,
    /// flags and variables, on top.
    ///
    /// # Errors
    /// [`ConfigError`], which names file, line and key.
    pub fn load(file: Option<&Path>, over: Keys) -> Result<Self, ConfigError> {
        let source = match file {
            Some(named) => Source::read(named)?,
            None => Source::read_if_there(Path::new(DEFAULT_FILE))?,
        };
        let keys: Keys = source.keys()?;
        Self::check(keys.clone()).map_err(|rule| source.locate(&rule))?;
        Self::check(over.or(keys)).map_err(ConfigError::from)
    }

    /// Fills in the defaults and applies the rules that span several keys.
    fn check(keys: Keys) -> Result<Self, Rule> {
        let table = keys.table.map_or(default::TABLE, Table::number);
        let name = keys.address_interface.unwrap_or(default::ADDRESS_INTERFACE);
        let config = Self {
            state_dir: keys.state_dir.unwrap_or_else(|| default::STATE_DIR.into()),
            run_dir: keys.run_dir.unwrap_or_else(|| default::RUN_DIR.into()),
            wireguard: keys.wireguard.unwrap_or(Wireguard::Auto),
            table,
            address_interface: name.to_string(),
            own_namespace: keys.own_namespace.unwrap_or(false),
            signalling: Signalling::check(keys.signalling)?,
            tunnels: Tunnels::check(keys.tunnels),
            uplinks: uplink::check(keys.uplinks.unwrap_or_default())?,
            babel: Babel::check(keys.babel)?,
            log: Log::of(keys.log),
        };
        if config.state_dir == config.run_dir {
            let problem = "the same as state_dir: what survives a reboot and what does not need \
                           a directory each";
            return Err(Rule::new("run_dir", problem));
        }
        if config.tunnels.ports.contains(config.signalling.port) {
            let problem = format!(
                "{} includes {}, the signalling port: change one of them",
                config.tunnels.ports, config.signalling.port
            );
            return Err(Rule::new("tunnels.ports", problem));
        }
        Ok(config)
    }
}

impl Signalling {
    fn check(keys: SignallingKeys) -> Result<Self, Rule> {
        let port = keys.port.map_or(default::SIGNALLING_PORT, |port| port.0);
        let listen = keys.listen.unwrap_or_else(|| vec![IpAddr::V6(default::LISTEN)]);
        if listen.is_empty() {
            let problem = "the list is empty: leave the key out to listen on every address";
            return Err(Rule::new("signalling.listen", problem));
        }
        let advertised = keys.addresses.unwrap_or_default();
        let limit = sixwire_proto::peer::ADDRESS_LIMIT;
        if advertised.len() > limit {
            return Err(Rule::new("signalling.addresses", format!("more than {limit} addresses")));
        }
        let dial_only = keys.dial_only.unwrap_or(false);
        if dial_only && !advertised.is_empty() {
            let problem = "a node that only dials has no address to tell: \
                           remove signalling.addresses or set this to false";
            return Err(Rule::new("signalling.dial_only", problem));
        }
        let addresses = advertised.iter().map(|underlay| underlay.with_port(port)).collect();
        Ok(Self { listen, port, addresses, dial_only })
    }
}

impl Tunnels {
    fn check(keys: TunnelKeys) -> Self {
        Self {
            ports: keys.ports.unwrap_or(default::TUNNEL_PORTS),
            dialled: keys.dialled.map(|count| count.0),
            served: keys.served.map(|count| count.0),
            preferred: keys.preferred.unwrap_or_default(),
        }
    }
}

impl Babel {
    fn check(keys: BabelKeys) -> Result<Self, Rule> {
        let interfaces = keys.interfaces.unwrap_or_default();
        for (i, interface) in interfaces.iter().enumerate() {
            if interfaces[..i].iter().any(|other| other.name == interface.name) {
                let problem = format!("{} is listed twice", interface.name);
                return Err(Rule::new("babel.interface", problem));
            }
        }
        let hello_interval = keys.hello_interval.map(Period::duration);
        let update_interval = keys.update_interval.map(Period::duration);
        if let (Some(hello), Some(update)) = (hello_interval, update_interval)
            && update < hello
        {
            let problem = "shorter than babel.hello_interval: updates come less often than Hellos";
            return Err(Rule::new("babel.update_interval", problem));
        }
        Ok(Self { hello_interval, update_interval, interfaces, record: keys.record })
    }
}

impl Log {
    /// Lines of level info in logfmt, unless told otherwise.
    pub(super) fn of(keys: LogKeys) -> Self {
        Self {
            level: keys.level.unwrap_or(LogLevel::Info),
            format: keys.format.unwrap_or(LogFormat::Logfmt),
        }
    }
}

impl BabelInterface {
    /// Cost of an interface that names none.
    pub const DEFAULT_COST: Cost = Cost::WIRED;
}

#[cfg(test)]
mod tests;

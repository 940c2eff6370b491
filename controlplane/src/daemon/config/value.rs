//! The values that keys take. Each says what is allowed when it refuses.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;
use std::time::Duration;

use clap::ValueEnum;
use serde::{Deserialize, Deserializer, de};
use sixwire_proto::metric::Cost;
use sixwire_proto::prefix::Prefix;

use crate::daemon::mac_key::KeyFile;

/// What is wrong with a value, and what is allowed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ValueError(String);

/// Which WireGuard carries the tunnels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Wireguard {
    /// The kernel's, or the embedded one where the kernel has none
    Auto,
    /// The kernel's only
    Kernel,
    /// The embedded one only
    Embedded,
}

/// Severities of log lines, most severe first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    /// Something failed for good
    Error,
    /// Something failed, and is tried again or done without
    Warn,
    /// Changes
    Info,
    /// Decisions behind the changes
    Debug,
    /// Every message
    Trace,
}

/// Forms of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// key=value
    Logfmt,
    /// One JSON object a line
    Json,
}

/// A kernel routing table, 1 to 4294967295 without 255, which is the kernel's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "i64")]
pub struct Table(u32);

/// A UDP port, 1 to 65535.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "i64")]
pub struct Port(pub u16);

/// A number from `LEAST` to `MOST`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "i64")]
pub struct Count<const LEAST: u16, const MOST: u16>(pub u16);

/// A time from `LEAST` to `MOST` milliseconds, written with its unit: `500ms`, `4s`, `2m`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Period<const LEAST: u64, const MOST: u64>(Duration);

/// UDP ports, both ends included: `51820-51899`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortRange {
    first: u16,
    last: u16,
}

/// An address in the underlay, with the signalling port where none is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Underlay {
    address: IpAddr,
    port: Option<u16>,
}

/// A name the kernel takes for an interface: 1 to 15 octets, no slash, no space.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InterfaceName(std::borrow::Cow<'static, str>);

/// An existing interface that Babel runs on.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BabelInterface {
    /// Its name.
    pub name: InterfaceName,
    /// Cost of its links.
    #[serde(default = "default_cost", deserialize_with = "link_cost")]
    pub cost: Cost,
    /// Keys that packets there are signed and checked with.
    #[serde(default)]
    pub keys: Vec<KeyFile>,
    /// Takes packets that no key has signed, while keys are being rolled out.
    #[serde(default)]
    pub accept_unauthenticated: bool,
    /// Prefixes that routers without a certificate may announce there, and what lies inside.
    #[serde(default)]
    pub accept: Vec<Prefix>,
}

impl ValueError {
    pub(super) fn new(problem: impl Into<String>) -> Self {
        Self(problem.into())
    }
}

fn refuse<T>(problem: impl Into<String>) -> Result<T, ValueError> {
    Err(ValueError(problem.into()))
}

impl Table {
    /// `main`, the one every other program looks at.
    pub(in crate::daemon) const MAIN: Self = Self(254);

    /// Its number.
    #[must_use]
    pub fn number(self) -> u32 {
        self.0
    }
}

impl TryFrom<i64> for Table {
    type Error = ValueError;

    fn try_from(number: i64) -> Result<Self, ValueError> {
        match u32::try_from(number) {
            Ok(255) => refuse("table 255 is the kernel's own (local): use 254 (main) or another"),
            Ok(table) if table != 0 => Ok(Self(table)),
            _ => refuse(format!("{number} is no routing table: want 1 to 4294967295")),
        }
    }
}

impl TryFrom<i64> for Port {
    type Error = ValueError;

    fn try_from(number: i64) -> Result<Self, ValueError> {
        match u16::try_from(number) {
            Ok(port) if port != 0 => Ok(Self(port)),
            _ => refuse(format!("{number} is no port: want 1 to 65535")),
        }
    }
}

impl<const LEAST: u16, const MOST: u16> TryFrom<i64> for Count<LEAST, MOST> {
    type Error = ValueError;

    fn try_from(number: i64) -> Result<Self, ValueError> {
        match u16::try_from(number) {
            Ok(count) if (LEAST..=MOST).contains(&count) => Ok(Self(count)),
            _ => refuse(format!("{number} is not within {LEAST} to {MOST}")),
        }
    }
}

fn integer(text: &str) -> Result<i64, ValueError> {
    text.parse().or_else(|_| refuse(format!("{text:?} is no number")))
}

impl FromStr for Table {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        integer(text)?.try_into()
    }
}

impl FromStr for Port {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        integer(text)?.try_into()
    }
}

impl<const LEAST: u16, const MOST: u16> FromStr for Count<LEAST, MOST> {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        integer(text)?.try_into()
    }
}

impl<const LEAST: u64, const MOST: u64> Period<LEAST, MOST> {
    /// The same as a duration.
    #[must_use]
    pub fn duration(self) -> Duration {
        self.0
    }
}

impl<const LEAST: u64, const MOST: u64> FromStr for Period<LEAST, MOST> {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let unit_at = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let (digits, unit) = text.split_at(unit_at);
        let factor = match unit {
            "ms" => 1,
            "s" => 1000,
            "m" => 60_000,
            _ => return refuse(format!("{text:?} is no time: write 500ms, 4s or 2m")),
        };
        let millis = digits.parse::<u64>().ok().and_then(|number| number.checked_mul(factor));
        match millis {
            Some(millis) if (LEAST..=MOST).contains(&millis) => {
                Ok(Self(Duration::from_millis(millis)))
            }
            _ => refuse(format!("{text} is not within {LEAST}ms to {MOST}ms")),
        }
    }
}

impl PortRange {
    /// The ports from `first` to `last`, which is not below `first`.
    pub(super) const fn new(first: u16, last: u16) -> Self {
        Self { first, last }
    }

    /// Whether the port is one of them.
    #[must_use]
    pub fn contains(self, port: u16) -> bool {
        (self.first..=self.last).contains(&port)
    }

    /// The ports, lowest first.
    pub fn range(self) -> std::ops::RangeInclusive<u16> {
        self.first..=self.last
    }
}

impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.first, self.last)
    }
}

impl FromStr for PortRange {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        match (first.trim().parse(), last.trim().parse()) {
            (Ok(first), Ok(last)) if first != 0 && first <= last => Ok(Self { first, last }),
            _ => refuse(format!("{text:?} is no range of ports: write FIRST-LAST, as 51820-51899")),
        }
    }
}

impl Underlay {
    /// The socket address, at `port` unless one was written.
    #[must_use]
    pub fn with_port(self, port: u16) -> SocketAddr {
        SocketAddr::new(self.address, self.port.unwrap_or(port))
    }
}

impl FromStr for Underlay {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let read = match (text.parse::<IpAddr>(), text.parse::<SocketAddr>()) {
            (Ok(address), _) => Self { address, port: None },
            (Err(_), Ok(socket)) => Self { address: socket.ip(), port: Some(socket.port()) },
            (Err(_), Err(_)) => {
                let form = "write IP, IPv4:PORT or [IPv6]:PORT";
                return refuse(format!("{text:?} is no address: {form}"));
            }
        };
        if read.address.is_unspecified() || read.address.is_multicast() || read.port == Some(0) {
            return refuse(format!("{text} is nothing another node could reach"));
        }
        Ok(read)
    }
}

impl InterfaceName {
    /// The loopback interface.
    pub const LOOPBACK: Self = Self(std::borrow::Cow::Borrowed("lo"));
}

impl fmt::Display for InterfaceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for InterfaceName {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let legal = |c: char| c.is_ascii_graphic() && c != '/' && c != ':';
        if text.is_empty() || text.len() > 15 || text == "." || text == ".." {
            return refuse(format!("{text:?} is no interface name: want 1 to 15 characters"));
        }
        if !text.chars().all(legal) {
            return refuse(format!("{text:?} is no interface name: no spaces, slashes and colons"));
        }
        Ok(Self(text.to_owned().into()))
    }
}

impl FromStr for BabelInterface {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let (name, cost) = match text.split_once('=') {
            Some((name, cost)) => (name, Count::<1, 65534>::from_str(cost)?.0),
            None => (text, Self::DEFAULT_COST.0),
        };
        Ok(Self {
            name: name.parse()?,
            cost: Cost(cost),
            keys: Vec::new(),
            accept_unauthenticated: false,
            accept: Vec::new(),
        })
    }
}

fn default_cost() -> Cost {
    BabelInterface::DEFAULT_COST
}

/// A finite cost above zero.
fn link_cost<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Cost, D::Error> {
    Count::<1, 65534>::deserialize(deserializer).map(|count| Cost(count.0))
}

fn text<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: FromStr<Err = ValueError>,
{
    String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
}

impl<'de, const LEAST: u64, const MOST: u64> Deserialize<'de> for Period<LEAST, MOST> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        text(deserializer)
    }
}

impl<'de> Deserialize<'de> for PortRange {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        text(deserializer)
    }
}

impl<'de> Deserialize<'de> for Underlay {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        text(deserializer)
    }
}

impl<'de> Deserialize<'de> for InterfaceName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        text(deserializer)
    }
}

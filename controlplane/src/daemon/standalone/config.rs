//! What a routing engine alone is told: a TOML file and flags. A flag beats the file.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use clap::Args;
use serde::Deserialize;
use sixwire_dataplane::model::IfName;
use sixwire_proto::metric::Cost;
use sixwire_proto::prefix::Prefix;
use sixwire_proto::router_id::RouterId;

use super::keys::{NamedKey, require_secret, resolve};
use super::redistribution::Redistribute;
use crate::babel::{Authentication, HELLO_INTERVAL, Unauthenticated};
use crate::daemon::config::source::Source;
use crate::daemon::config::{ConfigError, Count, Log, LogKeys, Period, Rule, Table};

/// Every key that may be set. Nothing lies at a place of its own choice.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Args)]
#[serde(deny_unknown_fields, default)]
pub struct Keys {
    /// Run Babel on this interface, when and as long as it is there [default cost: 96]
    #[serde(rename = "interface")]
    #[arg(short, long = "interface", value_name = "NAME[=COST]")]
    pub interfaces: Option<Vec<Interface>>,
    /// Keys that sign and check packets; in the file only.
    #[serde(rename = "key")]
    #[arg(skip)]
    pub keys: Option<Vec<NamedKey>>,
    /// Announce this prefix
    #[arg(long, value_name = "PREFIX")]
    pub announce: Option<Vec<Prefix>>,
    /// Announce routes of the kernel: `table=254,protocol=static,prefix=fd00::/8,metric=0`, each
    /// part as needed
    #[arg(long, value_name = "RULE")]
    pub redistribute: Option<Vec<Redistribute>>,
    /// Our router-id [default: that of the state file, or a random one]
    #[arg(long, value_name = "ROUTER-ID")]
    pub router_id: Option<RouterId>,
    /// File that keeps router-id and sequence number over restarts
    #[arg(long, value_name = "FILE")]
    pub state_file: Option<PathBuf>,
    /// Socket of the local API
    #[arg(long, value_name = "PATH")]
    pub socket: Option<PathBuf>,
    /// File for the process number
    #[arg(long, value_name = "FILE")]
    pub pid_file: Option<PathBuf>,
    /// Kernel routing table for the routes; no two instances share one [default: 254, main]
    #[arg(long, value_name = "NUMBER")]
    pub table: Option<Table>,
    /// Time between two Hellos [default: 4s]
    #[arg(long, value_name = "TIME")]
    pub hello_interval: Option<Period<100, 600_000>>,
    /// Time between two full updates [default: four Hello intervals]
    #[arg(long, value_name = "TIME")]
    pub update_interval: Option<Period<400, 600_000>>,
    /// What is logged, and how.
    #[command(flatten)]
    pub log: LogKeys,
}

/// An interface that Babel runs on.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(from = "RawInterface")]
pub struct Interface {
    /// Its name.
    pub name: IfName,
    /// Cost of its links, above zero and finite.
    pub cost: Cost,
    /// Ids of the keys that its packets are signed with.
    pub keys: Vec<String>,
    /// What is done with packets that none of them has signed.
    pub unauthenticated: Unauthenticated,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawInterface {
    name: IfName,
    cost: Option<Count<1, 65_534>>,
    #[serde(default)]
    keys: Vec<String>,
    #[serde(default)]
    accept_unauthenticated: bool,
}

/// The settings, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Interfaces to run on.
    pub interfaces: Vec<Interface>,
    /// What packets of an interface are signed and checked with.
    pub authentication: BTreeMap<IfName, Authentication>,
    /// Prefixes of our own.
    pub announce: Vec<Prefix>,
    /// Kernel routes to announce.
    pub redistribute: Vec<Redistribute>,
    /// Our router-id, if it is given.
    pub router_id: Option<RouterId>,
    /// What outlives us.
    pub state_file: Option<PathBuf>,
    /// The local API.
    pub socket: Option<PathBuf>,
    /// Where our process number is written.
    pub pid_file: Option<PathBuf>,
    /// Kernel routing table.
    pub table: u32,
    /// Time between two Hellos.
    pub hello_interval: Duration,
    /// Time between two full updates.
    pub update_interval: Duration,
    /// What is logged, and how.
    pub log: Log,
}

impl Config {
    /// Reads `file`, if one is named, and lays `over` on top.
    ///
    /// # Errors
    /// [`ConfigError`], which names file, line and key.
    pub fn load(file: Option<&Path>, over: Keys) -> Result<Self, ConfigError> {
        let below = match file {
            Some(named) => {
                let keys: Keys = Source::read(named)?.keys()?;
                require_secret(named, keys.keys.as_deref().unwrap_or_default())?;
                keys
            }
            None => Keys::default(),
        };
        Self::check(over.or(below)).map_err(ConfigError::from)
    }

    fn check(keys: Keys) -> Result<Self, Rule> {
        let interfaces = keys.interfaces.unwrap_or_default();
        if interfaces.is_empty() {
            return Err(Rule::new("interface", "none is named: name one with --interface"));
        }
        for (i, interface) in interfaces.iter().enumerate() {
            if interfaces[..i].iter().any(|other| other.name == interface.name) {
                return Err(Rule::new("interface", format!("{} is listed twice", interface.name)));
            }
        }
        let authentication = resolve(&keys.keys.unwrap_or_default(), &interfaces)?;
        let hello_interval = keys.hello_interval.map_or(HELLO_INTERVAL, Period::duration);
        let four_hellos = hello_interval * UPDATE_PER_HELLO;
        let update_interval = keys.update_interval.map_or(four_hellos, Period::duration);
        if update_interval < hello_interval {
            let problem = "shorter than hello_interval: updates come less often than Hellos";
            return Err(Rule::new("update_interval", problem));
        }
        Ok(Self {
            interfaces,
            authentication,
            announce: keys.announce.unwrap_or_default(),
            redistribute: keys.redistribute.unwrap_or_default(),
            router_id: keys.router_id,
            state_file: keys.state_file,
            socket: keys.socket,
            pid_file: keys.pid_file,
            table: keys.table.map_or(MAIN_TABLE, Table::number),
            hello_interval,
            update_interval,
            log: Log::of(keys.log),
        })
    }
}

impl Keys {
    fn or(self, below: Self) -> Self {
        Self {
            interfaces: self.interfaces.or(below.interfaces),
            keys: self.keys.or(below.keys),
            announce: self.announce.or(below.announce),
            redistribute: self.redistribute.or(below.redistribute),
            router_id: self.router_id.or(below.router_id),
            state_file: self.state_file.or(below.state_file),
            socket: self.socket.or(below.socket),
            pid_file: self.pid_file.or(below.pid_file),
            table: self.table.or(below.table),
            hello_interval: self.hello_interval.or(below.hello_interval),
            update_interval: self.update_interval.or(below.update_interval),
            log: self.log.or(below.log),
        }
    }
}

impl FromStr for Interface {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, cost) = match text.split_once('=') {
            Some((name, cost)) => (name, cost.parse::<Count<1, 65_534>>().map(Some)),
            None => (text, Ok(None)),
        };
        let name = name
            .parse()
            .map_err(|error: sixwire_dataplane::model::IfNameError| error.to_string())?;
        let cost = cost.map_err(|error| error.to_string())?;
        Ok(RawInterface { name, cost, keys: Vec::new(), accept_unauthenticated: false }.into())
    }
}

impl From<RawInterface> for Interface {
    fn from(raw: RawInterface) -> Self {
        Self {
            name: raw.name,
            cost: raw.cost.map_or(Cost::WIRED, |count| Cost(count.0)),
            keys: raw.keys,
            unauthenticated: if raw.accept_unauthenticated {
                Unauthenticated::Accept
            } else {
                Unauthenticated::Refuse
            },
        }
    }
}

/// `main`: the table every other program looks at.
pub(super) const MAIN_TABLE: u32 = 254;
/// RFC 8966 appendix B: an update interval is four Hello intervals.
const UPDATE_PER_HELLO: u32 = 4;

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Flags {
        #[command(flatten)]
        keys: Keys,
    }

    fn load(text: &str, flags: &[&str]) -> Result<Config, String> {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("babel.toml");
        std::fs::write(&file, text).unwrap();
        let over = Flags::try_parse_from([&["run"], flags].concat()).unwrap().keys;
        Config::load(Some(&file), over).map_err(|error| error.to_string())
    }

    #[test]
    fn a_file_says_all_that_flags_say_and_a_flag_beats_it() {
        let text = "announce = [\"fd00:1::/64\"]\ntable = 1000\nhello_interval = \"2s\"\n\
                    [[interface]]\nname = \"eth0\"\n[[interface]]\nname = \"eth1\"\ncost = 200\n\
                    [[redistribute]]\nprotocol = \"static\"\nprefix = \"fd00::/8\"\n";
        let flags = [
            "-i",
            "eth0",
            "-i",
            "eth1=200",
            "--announce",
            "fd00:1::/64",
            "--table",
            "1000",
            "--hello-interval",
            "2s",
            "--redistribute",
            "protocol=static,prefix=fd00::/8",
        ];
        let file = load(text, &[]).unwrap();
        assert_eq!(load("", &flags).unwrap(), file);
        assert_eq!(file.interfaces[1].cost, Cost(200));
        assert_eq!(file.update_interval, Duration::from_secs(8));
        let over = load(text, &["--table", "7", "-i", "eth2"]).unwrap();
        assert_eq!((over.table, over.interfaces.len()), (7, 1));
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_its_place() {
        for (text, about) in [
            ("", "interface"),
            ("[[interface]]\nname = \"a\"\n[[interface]]\nname = \"a\"\n", "listed twice"),
            ("[[interface]]\nname = \"a\"\ncots = 1\n", "line 3"),
            ("update_interval = \"1s\"\n[[interface]]\nname = \"a\"\n", "update_interval"),
            ("[[redistribute]]\nprotocol = 42\n", "never fed back"),
            ("[[redistribute]]\nmetric = 65535\n", "metric"),
        ] {
            let refused = load(text, &[]).unwrap_err();
            assert!(refused.contains(about), "{text}: {refused}");
        }
    }
}

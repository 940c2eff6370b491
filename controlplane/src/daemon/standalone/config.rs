//! What a routing engine alone is told: a TOML file and flags. A flag beats the file.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use clap::Args;
use serde::Deserialize;
use sixwire_dataplane::model::IfName;
use sixwire_proto::router_id::RouterId;

use super::announced::Announced;
use super::filter::{FilterRule, MOST_FILTERS};
use super::keys::{NamedKey, require_secret, resolve};
use super::link_options::{LinkKeys, LinkOptions, Profile, Quality, RttBound};
use super::redistribution::Redistribute;
use crate::babel::{Authentication, Unauthenticated};
use crate::daemon::config::source::Source;
use crate::daemon::config::{ConfigError, Count, Log, LogKeys, Period, Rule, Table};

/// Every key that may be set. Nothing lies at a place of its own choice.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Args)]
#[serde(deny_unknown_fields, default)]
pub struct Keys {
    /// Run Babel on this interface, when and as long as it is there: `eth0`, `eth0=96`,
    /// `eth0=quality=etx`, `wg0=quality=2/3,rtt-min=10ms,rtt-max=120ms,rtt-penalty=150`
    #[serde(rename = "interface")]
    #[arg(short, long = "interface", value_name = "NAME[=COST,KEY=VALUE]")]
    pub interfaces: Option<Vec<Interface>>,
    /// Keys that sign and check packets; in the file only.
    #[serde(rename = "key")]
    #[arg(skip)]
    pub keys: Option<Vec<NamedKey>>,
    /// Announce this prefix, or `PREFIX from SOURCE-PREFIX`
    #[arg(long, value_name = "PREFIX")]
    pub announce: Option<Vec<Announced>>,
    /// Announce routes of the kernel:
    /// `table=254,protocol=static,prefix=fd00::/8,longest=64,source=none,metric=0`, each part as needed
    #[arg(long, value_name = "RULE")]
    pub redistribute: Option<Vec<Redistribute>>,
    /// A rule about routes, the first that matches decides:
    /// `direction=in,prefix=fd00::/8,length=48-64,interface=eth0,action=deny`
    #[serde(rename = "filter")]
    #[arg(long = "filter", value_name = "RULE")]
    pub filters: Option<Vec<FilterRule>>,
    /// Make the machine forward packets, IPv6 and IPv4
    #[arg(
        long,
        value_name = "BOOL",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true"
    )]
    pub forwarding: Option<bool>,
    /// Source address of the machine's own packets on our routes; one for each family
    #[arg(long, value_name = "IP", value_delimiter = ',')]
    pub preferred_source: Option<Vec<IpAddr>>,
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
    /// How soon a silent link is noticed, and what that costs [default: default]
    #[arg(long, value_name = "PROFILE")]
    pub profile: Option<Profile>,
    /// Time between two Hellos [default: 2.5s, with profile fast 400ms]
    #[arg(long, value_name = "TIME")]
    pub hello_interval: Option<Period<100, 600_000>>,
    /// Time between two full updates [default: 20s, or four times a given Hello interval]
    #[arg(long, value_name = "TIME")]
    pub update_interval: Option<Period<400, 600_000>>,
    /// Write down all that the engine is told, for `sixwire replay`
    #[arg(long, value_name = "FILE")]
    pub record: Option<PathBuf>,
    /// What is logged, and how.
    #[command(flatten)]
    pub log: LogKeys,
}

/// An interface that Babel runs on.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "RawInterface")]
pub struct Interface {
    /// Its name.
    pub name: IfName,
    /// How it is used.
    pub options: LinkOptions,
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
    quality: Option<Quality>,
    rtt_min: Option<RttBound>,
    rtt_max: Option<RttBound>,
    rtt_penalty: Option<Count<0, 65_534>>,
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
    pub announce: Vec<Announced>,
    /// Kernel routes to announce.
    pub redistribute: Vec<Redistribute>,
    /// Rules about routes.
    pub filters: Vec<FilterRule>,
    /// Whether to make the machine forward packets.
    pub forwarding: bool,
    /// Source addresses of the machine's own packets.
    pub preferred_source: Vec<IpAddr>,
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
    /// Timers.
    pub profile: Profile,
    /// Time between two Hellos.
    pub hello_interval: Duration,
    /// Time between two full updates.
    pub update_interval: Duration,
    /// Where all that the engine is told is written down.
    pub record: Option<PathBuf>,
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
        let filters = keys.filters.unwrap_or_default();
        check_filters(&filters, &interfaces)?;
        let preferred_source = keys.preferred_source.unwrap_or_default();
        if preferred_source.iter().filter(|one| one.is_ipv6()).count() > 1
            || preferred_source.iter().filter(|one| one.is_ipv4()).count() > 1
        {
            return Err(Rule::new("preferred_source", "one IPv6 and one IPv4 address at the most"));
        }
        let profile = keys.profile.unwrap_or_default();
        let (hello, update) = (keys.hello_interval, keys.update_interval);
        let (hello_interval, update_interval) =
            profile.intervals(hello.map(Period::duration), update.map(Period::duration));
        if update_interval < hello_interval {
            let problem = "shorter than hello_interval: updates come less often than Hellos";
            return Err(Rule::new("update_interval", problem));
        }
        Ok(Self {
            interfaces,
            authentication,
            announce: keys.announce.unwrap_or_default(),
            redistribute: keys.redistribute.unwrap_or_default(),
            filters,
            forwarding: keys.forwarding.unwrap_or(false),
            preferred_source,
            router_id: keys.router_id,
            state_file: keys.state_file,
            socket: keys.socket,
            pid_file: keys.pid_file,
            table: keys.table.unwrap_or(Table::MAIN).number(),
            profile,
            hello_interval,
            update_interval,
            record: keys.record,
            log: Log::of(keys.log),
        })
    }
}

/// Rules are about interfaces that there are, and not too many.
fn check_filters(filters: &[FilterRule], interfaces: &[Interface]) -> Result<(), Rule> {
    if filters.len() > MOST_FILTERS {
        let (count, most) = (filters.len(), MOST_FILTERS);
        return Err(Rule::new(
            "filter",
            format!("{count} rules are too many: want {most} or fewer"),
        ));
    }
    let listed = |name: &IfName| interfaces.iter().any(|one| one.name == *name);
    match filters.iter().filter_map(FilterRule::interface).find(|name| !listed(name)) {
        Some(name) => Err(Rule::new("filter", format!("Babel does not run on interface {name}"))),
        None => Ok(()),
    }
}

impl Keys {
    fn or(self, below: Self) -> Self {
        Self {
            interfaces: self.interfaces.or(below.interfaces),
            keys: self.keys.or(below.keys),
            announce: self.announce.or(below.announce),
            redistribute: self.redistribute.or(below.redistribute),
            filters: self.filters.or(below.filters),
            forwarding: self.forwarding.or(below.forwarding),
            preferred_source: self.preferred_source.or(below.preferred_source),
            router_id: self.router_id.or(below.router_id),
            state_file: self.state_file.or(below.state_file),
            socket: self.socket.or(below.socket),
            pid_file: self.pid_file.or(below.pid_file),
            table: self.table.or(below.table),
            profile: self.profile.or(below.profile),
            hello_interval: self.hello_interval.or(below.hello_interval),
            update_interval: self.update_interval.or(below.update_interval),
            record: self.record.or(below.record),
            log: self.log.or(below.log),
        }
    }
}

impl FromStr for Interface {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, keys) = match text.split_once('=') {
            Some((name, keys)) => (name, LinkKeys::parse(keys)?),
            None => (text, LinkKeys::default()),
        };
        let name = name
            .parse()
            .map_err(|error: sixwire_dataplane::model::IfNameError| error.to_string())?;
        Ok(Self {
            name,
            options: keys.check()?,
            keys: Vec::new(),
            unauthenticated: Unauthenticated::Refuse,
        })
    }
}

impl TryFrom<RawInterface> for Interface {
    type Error = String;

    fn try_from(raw: RawInterface) -> Result<Self, String> {
        let RawInterface { name, cost, quality, rtt_min, rtt_max, rtt_penalty, .. } = raw;
        let link = LinkKeys { cost, quality, rtt_min, rtt_max, rtt_penalty };
        let unauthenticated = match raw.accept_unauthenticated {
            true => Unauthenticated::Accept,
            false => Unauthenticated::Refuse,
        };
        Ok(Self { name, options: link.check()?, keys: raw.keys, unauthenticated })
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use sixwire_proto::metric::Cost;

    use super::*;
    use crate::babel::{Delay, LinkQuality};

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
                    [[redistribute]]\nprotocol = \"static\"\nprefix = \"fd00::/8\"\n\
                    [[filter]]\ndirection = \"out\"\ninterface = \"eth1\"\nmetric = \"+96\"\n";
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
            "--filter",
            "direction=out,interface=eth1,metric=+96",
        ];
        let file = load(text, &[]).unwrap();
        assert_eq!(load("", &flags).unwrap(), file);
        assert_eq!(file.interfaces[1].options.cost, Cost(200));
        assert_eq!(file.update_interval, Duration::from_secs(8));
        let over = load(text, &["--table", "7", "-i", "eth1"]).unwrap();
        assert_eq!((over.table, over.interfaces.len()), (7, 1));
    }

    #[test]
    fn a_link_says_the_same_in_a_file_and_in_a_flag() {
        let text = "profile = \"fast\"\n[[interface]]\nname = \"wg0\"\ncost = 100\n\
                    quality = \"12/16\"\nrtt_min = \"20ms\"\nrtt_max = \"1s\"\n\
                    rtt_penalty = 500\n[[interface]]\nname = \"wlan0\"\nquality = \"etx\"\n";
        let wg0 = "wg0=100,quality=12/16,rtt-min=20ms,rtt-max=1s,rtt-penalty=500";
        let file = load(text, &[]).unwrap();
        let flags = ["--profile", "fast", "-i", wg0, "-i", "wlan0=quality=etx"];
        assert_eq!(load("", &flags).unwrap(), file);
        assert_eq!(file.hello_interval, Duration::from_millis(400));
        let [wg0, wlan0] = [&file.interfaces[0], &file.interfaces[1]].map(|one| one.options);
        assert!(matches!(wg0.delay, Delay::Charged(rule) if rule.penalty == Cost(500)));
        assert_eq!((wlan0.cost, wlan0.quality), (Cost(256), Some(LinkQuality::Etx)));
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_its_place() {
        for (text, about) in [
            ("", "interface"),
            ("[[interface]]\nname = \"a\"\n[[interface]]\nname = \"a\"\n", "listed twice"),
            ("[[interface]]\nname = \"a\"\ncots = 1\n", "line 3"),
            ("update_interval = \"1s\"\n[[interface]]\nname = \"a\"\n", "update_interval"),
            ("[[interface]]\nname = \"a\"\nquality = \"3/2\"\n", "K <= J"),
            ("[[interface]]\nname = \"a\"\nrtt_min = \"1s\"\n", "rtt_max"),
            ("profile = \"slow\"\n", "profile"),
            ("[[redistribute]]\nprotocol = 42\n", "never fed back"),
            ("[[redistribute]]\nmetric = 65535\n", "metric"),
            ("[[filter]]\ndirection = \"in\"\n", "does nothing"),
            (
                "[[interface]]\nname = \"a\"\n[[filter]]\ndirection = \"in\"\ninterface = \"b\"\n\
                 action = \"deny\"\n",
                "does not run on interface b",
            ),
            (
                "preferred_source = [\"fd00::1\", \"fd00::2\"]\n[[interface]]\nname = \"a\"\n",
                "preferred_source",
            ),
        ] {
            let refused = load(text, &[]).unwrap_err();
            assert!(refused.contains(about), "{text}: {refused}");
        }
    }
}

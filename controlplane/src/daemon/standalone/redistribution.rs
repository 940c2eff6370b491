//! Announces routes that others put into the kernel, as long as they are there.

use std::fmt::Display;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, de};
use sixwire_dataplane::{ForeignChange, ForeignRoute, ForeignRoutes};
use sixwire_proto::babel::RouteKey;
use sixwire_proto::metric::Metric;
use sixwire_proto::prefix::Prefix;
use tokio::sync::mpsc;
use tracing::{debug, error};

use super::filter::Source;
use crate::daemon::config::{Count, Table};
use crate::daemon::routing::Command;

/// Which routes are announced, and how. What is not named is not asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Redistribute {
    /// Of this kernel routing table.
    pub table: Table,
    /// Made by this routing protocol.
    pub protocol: Option<Protocol>,
    /// This prefix, or inside it.
    pub prefix: Option<Prefix>,
    /// At most this long.
    pub longest: Option<Count<0, 128>>,
    /// With such a source prefix.
    pub source: Option<Source>,
    /// Announced with this metric, which is finite.
    #[serde(deserialize_with = "finite")]
    pub metric: u16,
}

/// A routing protocol by the kernel's number or its customary name (`/etc/iproute2/rt_protos`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Written")]
pub struct Protocol(pub u8);

#[derive(Deserialize)]
#[serde(untagged)]
enum Written {
    Number(u8),
    Name(String),
}

/// The task that follows the kernel.
pub(super) struct Redistribution {
    /// What it follows.
    pub(super) routes: ForeignRoutes,
    /// How it is announced.
    pub(super) rules: Vec<Redistribute>,
    /// To whom it says so.
    pub(super) routing: mpsc::Sender<Command>,
}

impl Default for Redistribute {
    fn default() -> Self {
        Self {
            table: Table::MAIN,
            protocol: None,
            prefix: None,
            longest: None,
            source: None,
            metric: 0,
        }
    }
}

impl Redistribute {
    /// Whether the rule is about this route.
    pub(super) fn matches(&self, route: &ForeignRoute) -> bool {
        let destination = route.key.prefix;
        route.table == self.table.number()
            && self.protocol.is_none_or(|protocol| protocol.0 == route.protocol)
            && self.prefix.is_none_or(|prefix| prefix.contains(destination))
            && self.longest.is_none_or(|Count(longest)| u16::from(destination.length()) <= longest)
            && self.source.is_none_or(|Source(source)| source.matches(route.key.source))
    }
}

impl Redistribution {
    /// Runs until the routing task or the kernel's news end.
    pub(super) async fn run(mut self) {
        loop {
            let changes = match self.routes.next().await {
                Ok(changes) => changes,
                Err(error) => return error!(%error, "kernel routes cannot be followed any more"),
            };
            debug!(changes = changes.len(), "routes of the kernel");
            for change in changes {
                if self.routing.send(self.command(change)).await.is_err() {
                    return;
                }
            }
        }
    }

    fn command(&self, change: ForeignChange) -> Command {
        let key = |key: sixwire_dataplane::model::RouteKey| RouteKey {
            destination: key.prefix,
            source: key.source,
        };
        match change {
            ForeignChange::Appeared(route) => {
                let rule = self.rules.iter().find(|rule| rule.matches(&route));
                let metric = rule.map_or(Metric::INFINITY, |rule| Metric(rule.metric));
                Command::Originate(key(route.key), metric)
            }
            ForeignChange::Vanished(route) => Command::Withdraw(key(route)),
        }
    }
}

impl FromStr for Redistribute {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut rule = Self::default();
        for part in text.split(',').filter(|part| !part.is_empty()) {
            let (key, value) =
                part.split_once('=').ok_or_else(|| format!("{part:?} is no KEY=VALUE"))?;
            match key {
                "table" => rule.table = number(key, value)?,
                "protocol" => rule.protocol = Some(value.parse()?),
                "prefix" => rule.prefix = Some(value.parse().map_err(|e| format!("{key}: {e}"))?),
                "source" => rule.source = Some(value.parse()?),
                "longest" => rule.longest = Some(number(key, value)?),
                "metric" => rule.metric = number::<Count<0, 65_534>>(key, value)?.0,
                _ => {
                    let allowed = "table, protocol, prefix, longest, source, metric";
                    return Err(format!("no such key {key:?} (allowed: {allowed})"));
                }
            }
        }
        Ok(rule)
    }
}

fn finite<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u16, D::Error> {
    let metric = Count::<0, 65_534>::deserialize(deserializer);
    metric.map(|count| count.0).map_err(|error| de::Error::custom(format!("metric: {error}")))
}

fn number<T: FromStr<Err: Display>>(key: &str, value: &str) -> Result<T, String> {
    value.parse().map_err(|error| format!("{key}: {error}"))
}

impl FromStr for Protocol {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let known = NAMES.iter().find(|(name, _)| *name == text).map(|(_, number)| *number);
        let number = known.or_else(|| text.parse().ok()).ok_or_else(|| {
            let names: Vec<_> = NAMES.iter().map(|(name, _)| *name).collect();
            format!("{text:?} is no routing protocol: want a number or {}", names.join(", "))
        })?;
        if number == BABEL {
            return Err("protocol 42 is Babel's own: its routes are never fed back".to_owned());
        }
        Ok(Self(number))
    }
}

impl TryFrom<Written> for Protocol {
    type Error = String;

    fn try_from(written: Written) -> Result<Self, String> {
        match written {
            Written::Number(number) => number.to_string().parse(),
            Written::Name(name) => name.parse(),
        }
    }
}

/// `linux/rtnetlink.h`, RTPROT_*.
const NAMES: [(&str, u8); 11] = [
    ("kernel", 2),
    ("boot", 3),
    ("static", 4),
    ("ra", 9),
    ("bird", 12),
    ("dhcp", 16),
    ("bgp", 186),
    ("isis", 187),
    ("ospf", 188),
    ("rip", 189),
    ("eigrp", 192),
];
/// RTPROT_BABEL.
const BABEL: u8 = 42;

#[cfg(test)]
mod tests {
    use super::*;

    fn route(prefix: &str, table: u32, protocol: u8) -> ForeignRoute {
        let key = sixwire_dataplane::model::RouteKey::to(prefix.parse().unwrap());
        ForeignRoute { key, table, protocol }
    }

    #[test]
    fn a_rule_asks_for_what_it_names_and_nothing_else() {
        let rule: Redistribute = "protocol=static,prefix=fd00::/16,longest=64".parse().unwrap();
        for (prefix, table, protocol, matches) in [
            ("fd00:1::/64", 254, 4, true),
            ("fd00:1::1/128", 254, 4, false),
            ("fd01::/64", 254, 4, false),
            ("fd00:1::/64", 100, 4, false),
            ("fd00:1::/64", 254, 3, false),
        ] {
            assert_eq!(rule.matches(&route(prefix, table, protocol)), matches, "{prefix}");
        }
        let mut specific = route("fd00:1::/64", 254, 4);
        specific.key.source = Some("fd00:2::/64".parse().unwrap());
        assert!(rule.matches(&specific), "with a source or without");
        for (source, matches) in [("none", false), ("::/0", true), ("fd00:3::/64", false)] {
            let rule: Redistribute = format!("source={source}").parse().unwrap();
            assert_eq!(rule.matches(&specific), matches, "{source}");
        }
        let any: Redistribute = "table=100,metric=7".parse().unwrap();
        assert!(any.matches(&route("::/0", 100, 99)) && any.metric == 7);
    }

    #[test]
    fn a_rule_that_means_nothing_is_refused() {
        for (text, about) in [
            ("tabel=1", "no such key"),
            ("protocol=babel", "no routing protocol"),
            ("protocol=42", "never fed back"),
            ("metric=70000", "not within 0 to 65534"),
            ("longest=129", "not within 0 to 128"),
            ("table=0", "no routing table"),
            ("table=255", "the kernel's own"),
            ("static", "KEY=VALUE"),
            ("prefix=fd00::1/64", "prefix"),
        ] {
            let refused = text.parse::<Redistribute>().unwrap_err();
            assert!(refused.contains(about), "{text}: {refused}");
        }
    }
}

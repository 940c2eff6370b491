//! Uplinks: the providers that tunnels leave by.

use std::num::NonZeroU8;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, de};
use sixwire_proto::uplink::UplinkNumber;

use super::error::Rule;
use super::value::{Count, Table, ValueError};

/// A provider, with the routing table whose default route leads to it. The operator keeps the table.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Uplink {
    /// For people.
    pub name: UplinkName,
    /// Kernel routing table.
    pub table: Table,
    /// Its share of the flows, in proportion to the weights of the others.
    #[serde(default = "one", deserialize_with = "weight")]
    pub weight: NonZeroU8,
}

/// The name of an uplink: 1 to 15 letters, digits, dots, dashes and underscores.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UplinkName(String);

impl UplinkName {
    /// As text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for UplinkName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(&self.0)
    }
}

impl FromStr for UplinkName {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let legal = |c: char| c.is_ascii_alphanumeric() || ".-_".contains(c);
        if !(1..=15).contains(&text.len()) || !text.chars().all(legal) {
            return Err(ValueError::new(format!(
                "{text:?} is no name of an uplink: want 1 to 15 letters, digits, dots, dashes and \
                 underscores"
            )));
        }
        Ok(Self(text.to_owned()))
    }
}

impl<'de> Deserialize<'de> for UplinkName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

impl FromStr for Uplink {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let Some((name, table)) = text.split_once('=') else {
            return Err(ValueError::new(format!(
                "{text:?} is no uplink: write NAME=TABLE or NAME=TABLE*WEIGHT"
            )));
        };
        let (table, weight) = match table.split_once('*') {
            Some((table, weight)) => (table, of_count(weight.parse()?)),
            None => (table, one()),
        };
        Ok(Self { name: name.parse()?, table: table.parse()?, weight })
    }
}

/// Uplinks that can be used side by side.
pub(super) fn check(uplinks: Vec<Uplink>) -> Result<Vec<Uplink>, Rule> {
    let most = usize::from(UplinkNumber::LAST.get().get());
    if uplinks.len() > most {
        return Err(Rule::new("uplink", format!("more than {most} uplinks")));
    }
    for (i, uplink) in uplinks.iter().enumerate() {
        for other in &uplinks[..i] {
            let (name, table) = (&uplink.name, uplink.table.number());
            if other.name == uplink.name {
                return Err(Rule::new("uplink", format!("{name} is listed twice")));
            }
            if other.table == uplink.table {
                let problem = format!(
                    "{} and {name} both have table {table}: each provider needs a table of its own",
                    other.name
                );
                return Err(Rule::new("uplink", problem));
            }
        }
    }
    Ok(uplinks)
}

fn one() -> NonZeroU8 {
    NonZeroU8::MIN
}

fn weight<'de, D: Deserializer<'de>>(deserializer: D) -> Result<NonZeroU8, D::Error> {
    Count::<1, 255>::deserialize(deserializer).map(of_count)
}

fn of_count(count: Count<1, 255>) -> NonZeroU8 {
    u8::try_from(count.0).ok().and_then(NonZeroU8::new).expect("a count from 1 to 255")
}

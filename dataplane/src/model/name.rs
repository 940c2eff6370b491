//! Interface names and the alias that marks an interface as ours.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sixwire_proto::router_id::RouterId;
use sixwire_proto::uplink::UplinkNumber;

use super::NAME_PREFIX;

/// The name of a network interface: 1 to 15 octets.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct IfName(String);

/// Not the name of an interface.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no interface name: want 1 to 15 characters, no space, slash or colon")]
pub struct IfNameError(String);

/// Who asked for a tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// We did.
    Dialled,
    /// The other node did.
    Served,
}

/// What the alias of a tunnel says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mark {
    /// The node at the other end.
    pub node: RouterId,
    /// Who asked for the tunnel.
    pub role: Role,
    /// Which uplink of that node it takes.
    pub uplink: UplinkNumber,
}

impl IfName {
    /// The name of the tunnel to `node`: `sw-` and eight digits; `.2` and so on for further ones.
    #[must_use]
    pub fn tunnel(node: RouterId, number: std::num::NonZeroU8) -> Self {
        match number.get() {
            1 => Self(format!("{NAME_PREFIX}{}", node.short())),
            more => Self(format!("{NAME_PREFIX}{}.{more}", node.short())),
        }
    }

    /// `lo`.
    #[must_use]
    pub fn loopback() -> Self {
        Self("lo".to_owned())
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it looks like one of our tunnels. The alias decides.
    #[must_use]
    pub fn is_tunnel_like(&self) -> bool {
        self.0.starts_with(NAME_PREFIX)
    }
}

impl fmt::Display for IfName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for IfName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for IfName {
    type Err = IfNameError;

    fn from_str(text: &str) -> Result<Self, IfNameError> {
        let length_fits = (1..=LONGEST_NAME).contains(&text.len());
        let allowed = |c: char| !c.is_whitespace() && !c.is_control() && c != '/' && c != ':';
        if !length_fits || !text.chars().all(allowed) || text == "." || text == ".." {
            return Err(IfNameError(text.to_owned()));
        }
        Ok(Self(text.to_owned()))
    }
}

impl TryFrom<String> for IfName {
    type Error = IfNameError;

    fn try_from(text: String) -> Result<Self, IfNameError> {
        text.parse()
    }
}

impl From<IfName> for String {
    fn from(name: IfName) -> Self {
        name.0
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Dialled => "dialled",
            Self::Served => "served",
        })
    }
}

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sixwire {} {}", self.node, self.role)?;
        if self.uplink.is_first() {
            return Ok(());
        }
        write!(f, " {}", self.uplink)
    }
}

impl Mark {
    /// Reads an alias; `None` if it is not ours.
    #[must_use]
    pub fn from_alias(alias: &str) -> Option<Self> {
        let (node, role) = alias.strip_prefix("sixwire ")?.split_once(' ')?;
        let (role, uplink) = match role.split_once(' ') {
            Some((role, number)) => (role, number.parse::<u8>().ok()?.try_into().ok()?),
            None => (role, UplinkNumber::FIRST),
        };
        let role = match role {
            "dialled" => Role::Dialled,
            "served" => Role::Served,
            _ => return None,
        };
        Some(Self { node: node.parse().ok()?, role, uplink })
    }
}

/// The kernel's IFNAMSIZ less its end mark.
const LONGEST_NAME: usize = 15;

#[cfg(test)]
mod tests {
    use std::num::NonZeroU8;

    use super::*;

    #[test]
    fn names_fit_the_kernel() {
        let node: RouterId = "0123456789abcdef".parse().unwrap();
        assert_eq!(IfName::tunnel(node, NonZeroU8::MIN).as_str(), "sw-01234567");
        assert_eq!(IfName::tunnel(node, NonZeroU8::MAX).as_str(), "sw-01234567.255");
        for name in [NonZeroU8::MIN, NonZeroU8::MAX].map(|n| IfName::tunnel(node, n)) {
            assert_eq!(name.as_str().parse(), Ok(name));
        }
        for bad in ["", "sixteen-octets-x", "a b", "a/b", ".."] {
            assert!(bad.parse::<IfName>().is_err(), "{bad}");
        }
    }

    #[test]
    fn only_our_own_alias_is_a_mark() {
        let node = "0123456789abcdef".parse().unwrap();
        let mark = Mark { node, role: Role::Served, uplink: UplinkNumber::FIRST };
        assert_eq!(mark.to_string(), "sixwire 0123456789abcdef served");
        let third = Mark { role: Role::Dialled, uplink: 3.try_into().unwrap(), ..mark };
        assert_eq!(third.to_string(), "sixwire 0123456789abcdef dialled 3");
        for mark in [mark, third] {
            assert_eq!(Mark::from_alias(&mark.to_string()), Some(mark));
        }
        for foreign in [
            "",
            "sixwire",
            "sixwire x served",
            "sixwire 0123456789abcdef kept",
            "sixwire 0123456789abcdef served 0",
            "sixwire 0123456789abcdef served 9",
        ] {
            assert_eq!(Mark::from_alias(foreign), None, "{foreign}");
        }
    }
}

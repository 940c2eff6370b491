//! Network prefixes of both families, always without host bits.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::encoding::deserialize_text;

/// A prefix whose bits behind its length are zero.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Prefix(IpNet);

/// Why a prefix was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PrefixError {
    /// Longer than its address family allows.
    #[error("prefix length {0} is too long for its address family")]
    TooLong(u8),
    /// Bits are set behind the length.
    #[error("{given} has bits set behind its prefix length; did you mean {meant}?")]
    HostBits {
        /// What was written.
        given: String,
        /// The prefix without those bits.
        meant: Prefix,
    },
    /// Not ADDRESS/LENGTH.
    #[error("{0:?} is not a prefix; write ADDRESS/LENGTH, such as fd00:1234::/48")]
    Malformed(String),
}

impl Prefix {
    /// The IPv6 default route, `::/0`.
    pub const V6_DEFAULT: Self = Self(IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::UNSPECIFIED, 0)));
    /// The IPv4 default route, `0.0.0.0/0`.
    pub const V4_DEFAULT: Self = Self(IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::UNSPECIFIED, 0)));

    /// The prefix of `length` bits that holds `address`; bits behind the length are cleared.
    ///
    /// # Errors
    /// [`PrefixError::TooLong`].
    pub fn containing(address: IpAddr, length: u8) -> Result<Self, PrefixError> {
        let net = IpNet::new(address, length).map_err(|_| PrefixError::TooLong(length))?;
        Ok(Self(net.trunc()))
    }

    /// The prefix of one address.
    #[must_use]
    pub fn host(address: IpAddr) -> Self {
        Self(IpNet::from(address))
    }

    /// Its first address.
    #[must_use]
    pub fn address(self) -> IpAddr {
        self.0.addr()
    }

    /// Its length in bits.
    #[must_use]
    pub fn length(self) -> u8 {
        self.0.prefix_len()
    }

    /// Whether it is an IPv6 prefix.
    #[must_use]
    pub fn is_v6(self) -> bool {
        matches!(self.0, IpNet::V6(_))
    }

    /// Whether it is a default route.
    #[must_use]
    pub fn is_default(self) -> bool {
        self.length() == 0
    }

    /// Whether `other` lies inside (or is the same).
    #[must_use]
    pub fn contains(self, other: Self) -> bool {
        self.0.contains(&other.0)
    }

    /// Whether the address lies inside.
    #[must_use]
    pub fn contains_address(self, address: IpAddr) -> bool {
        self.0.contains(&address)
    }

    /// Whether the two share an address.
    #[must_use]
    pub fn overlaps(self, other: Self) -> bool {
        self.contains(other) || other.contains(self)
    }

    /// Whether packets can be routed there: it is not of one link, one machine or a group, nor inside such
    /// a prefix (RFC 4291 §2.4, RFC 6890 §2.2).
    #[must_use]
    pub fn is_routable(self) -> bool {
        !UNROUTABLE.iter().any(|unroutable| unroutable.contains(self))
    }

    /// The address a node with this prefix uses for itself: `::1` in it, or the only one there is.
    #[must_use]
    pub fn node_address(self) -> IpAddr {
        match self.0 {
            IpNet::V6(net) if net.prefix_len() < 128 => {
                IpAddr::V6(Ipv6Addr::from(u128::from(net.addr()) | 1))
            }
            IpNet::V4(net) if net.prefix_len() < 32 => {
                IpAddr::V4(Ipv4Addr::from(u32::from(net.addr()) | 1))
            }
            net => net.addr(),
        }
    }
}

/// Unspecified, loopback, link-local, multicast, broadcast.
const UNROUTABLE: [Prefix; 9] = [
    v6(Ipv6Addr::UNSPECIFIED, 128),
    v6(Ipv6Addr::LOCALHOST, 128),
    v6(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0), 10),
    v6(Ipv6Addr::new(0xff00, 0, 0, 0, 0, 0, 0, 0), 8),
    v4(Ipv4Addr::UNSPECIFIED, 8),
    v4(Ipv4Addr::new(127, 0, 0, 0), 8),
    v4(Ipv4Addr::new(169, 254, 0, 0), 16),
    v4(Ipv4Addr::new(224, 0, 0, 0), 4),
    v4(Ipv4Addr::BROADCAST, 32),
];

const fn v6(address: Ipv6Addr, length: u8) -> Prefix {
    Prefix(IpNet::V6(Ipv6Net::new_assert(address, length)))
}

const fn v4(address: Ipv4Addr, length: u8) -> Prefix {
    Prefix(IpNet::V4(Ipv4Net::new_assert(address, length)))
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0.to_string())
    }
}

impl fmt::Debug for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl FromStr for Prefix {
    type Err = PrefixError;

    fn from_str(text: &str) -> Result<Self, PrefixError> {
        let net: IpNet = text.parse().map_err(|_| PrefixError::Malformed(text.to_owned()))?;
        if net.trunc() != net {
            return Err(PrefixError::HostBits { given: text.to_owned(), meant: Self(net.trunc()) });
        }
        Ok(Self(net))
    }
}

impl Serialize for Prefix {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Prefix {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserialize_text(deserializer, str::parse)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefix(text: &str) -> Prefix {
        text.parse().unwrap()
    }

    #[test]
    fn host_bits_are_named_in_the_error() {
        let error = "fd00::1/48".parse::<Prefix>().unwrap_err().to_string();
        assert!(error.contains("did you mean fd00::/48?"), "{error}");
        assert!("fd00::/129".parse::<Prefix>().is_err());
        assert!("hello".parse::<Prefix>().is_err());
    }

    #[test]
    fn a_node_address_is_the_first_one_after_the_prefix() {
        assert_eq!(prefix("fd00:1:2:3::/64").node_address().to_string(), "fd00:1:2:3::1");
        assert_eq!(prefix("fd00::7/128").node_address().to_string(), "fd00::7");
        assert_eq!(prefix("10.1.2.0/24").node_address().to_string(), "10.1.2.1");
    }

    #[test]
    fn containment_never_crosses_families() {
        assert!(prefix("fd00::/16").contains(prefix("fd00:1::/32")));
        assert!(!prefix("fd00:1::/32").contains(prefix("fd00::/16")));
        assert!(prefix("fd00:1::/32").overlaps(prefix("fd00::/16")));
        assert!(!prefix("::/0").contains(prefix("0.0.0.0/0")));
    }

    #[test]
    fn what_is_of_one_link_or_machine_or_group_is_not_routable() {
        let routable = |text: &str| text.parse::<Prefix>().unwrap().is_routable();
        for yes in
            ["::/0", "0.0.0.0/0", "fd00::/64", "2000::/3", "::2/128", "10.0.0.0/8", "128.0.0.0/1"]
        {
            assert!(routable(yes), "{yes}");
        }
        for no in [
            "::/128",
            "::1/128",
            "fe80::/10",
            "fe80::/64",
            "fe80::1/128",
            "ff00::/8",
            "ff02::/16",
            "0.0.0.0/8",
            "127.0.0.0/8",
            "127.0.0.1/32",
            "169.254.0.0/16",
            "224.0.0.0/4",
            "239.1.0.0/16",
            "255.255.255.255/32",
        ] {
            assert!(!routable(no), "{no}");
        }
    }
}

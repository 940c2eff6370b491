//! Router-ids: eight octets that name a node (RFC 8966 §4.1.2).

use std::fmt;
use std::net::Ipv6Addr;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::encoding::deserialize_text;

/// A router-id. All zeros and all ones are reserved and cannot be made.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RouterId([u8; 8]);

/// Why a router-id was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RouterIdError {
    /// All zeros or all ones (RFC 8966 §4.1.2).
    #[error("router-id is reserved: all zeros or all ones")]
    Reserved,
    /// Not 16 hexadecimal digits.
    #[error("router-id is not 16 hexadecimal digits")]
    Malformed,
}

impl RouterId {
    /// A router-id of these octets.
    ///
    /// # Errors
    /// [`RouterIdError::Reserved`] for all zeros and all ones.
    pub fn new(octets: [u8; 8]) -> Result<Self, RouterIdError> {
        if octets == [0; 8] || octets == [0xff; 8] {
            return Err(RouterIdError::Reserved);
        }
        Ok(Self(octets))
    }

    /// The octets, as they travel.
    #[must_use]
    pub fn octets(self) -> [u8; 8] {
        self.0
    }

    /// The link-local address of this node's end of every tunnel: `fe80::` and the router-id.
    #[must_use]
    pub fn link_local(self) -> Ipv6Addr {
        let mut octets = [0; 16];
        octets[..2].copy_from_slice(&[0xfe, 0x80]);
        octets[8..].copy_from_slice(&self.0);
        Ipv6Addr::from(octets)
    }

    /// The router-id inside such a link-local address.
    #[must_use]
    pub fn from_link_local(address: Ipv6Addr) -> Option<Self> {
        let octets = address.octets();
        let (prefix, id) = octets.split_at(8);
        if prefix != [0xfe, 0x80, 0, 0, 0, 0, 0, 0] {
            return None;
        }
        Self::new(id.try_into().ok()?).ok()
    }

    /// The first eight hexadecimal digits, for interface names and tables.
    #[must_use]
    pub fn short(self) -> String {
        self.to_string()[..8].to_owned()
    }
}

impl fmt::Display for RouterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{:016x}", u64::from_be_bytes(self.0)))
    }
}

impl fmt::Debug for RouterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl FromStr for RouterId {
    type Err = RouterIdError;

    /// Reads 16 hexadecimal digits, with or without colons between octets (as BIRD prints them).
    fn from_str(text: &str) -> Result<Self, RouterIdError> {
        let digits: String = text.chars().filter(|c| *c != ':').collect();
        if digits.len() != 16 || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(RouterIdError::Malformed);
        }
        let value = u64::from_str_radix(&digits, 16).map_err(|_| RouterIdError::Malformed)?;
        Self::new(value.to_be_bytes())
    }
}

impl Serialize for RouterId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for RouterId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserialize_text(deserializer, str::parse)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reserved_ids_cannot_be_made() {
        assert_eq!(RouterId::new([0; 8]), Err(RouterIdError::Reserved));
        assert_eq!(RouterId::new([0xff; 8]), Err(RouterIdError::Reserved));
        assert!("ffffffffffffffff".parse::<RouterId>().is_err());
    }

    #[test]
    fn text_and_link_local_round_trip() {
        let id: RouterId = "0123456789abcdef".parse().unwrap();
        assert_eq!(id.to_string(), "0123456789abcdef");
        assert_eq!("01:23:45:67:89:ab:cd:ef".parse(), Ok(id));
        assert_eq!(id.link_local().to_string(), "fe80::123:4567:89ab:cdef");
        assert_eq!(RouterId::from_link_local(id.link_local()), Some(id));
        assert_eq!(RouterId::from_link_local("fd00::1".parse().unwrap()), None);
    }

    #[test]
    fn malformed_text_is_refused() {
        for text in ["", "0123", "0123456789abcdeg", "+123456789abcdef", "0123456789abcdef0"] {
            assert_eq!(text.parse::<RouterId>(), Err(RouterIdError::Malformed), "{text}");
        }
    }
}

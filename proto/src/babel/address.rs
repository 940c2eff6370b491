//! Addresses and prefixes in their encodings (RFC 8966 §4.1.4, §4.1.5; RFC 9229 §4).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::cursor::Cursor;
use super::error::TlvError;
use crate::prefix::Prefix;

pub(super) const AE_WILDCARD: u8 = 0;
pub(super) const AE_V4: u8 = 1;
pub(super) const AE_V6: u8 = 2;
pub(super) const AE_LINK_LOCAL: u8 = 3;
pub(super) const AE_V4_VIA_V6: u8 = 4;

const LINK_LOCAL: [u8; 8] = [0xfe, 0x80, 0, 0, 0, 0, 0, 0];

/// An address of either family: IPv4 in the first four octets, zeros behind.
pub(super) type Octets = [u8; 16];

/// The encodings a prefix can have; AE 3 is for addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PrefixEncoding {
    V4,
    V6,
    V4ViaV6,
}

impl PrefixEncoding {
    /// Reads an AE; `None` is the wildcard.
    pub(super) fn read(ae: u8) -> Result<Option<Self>, TlvError> {
        match ae {
            AE_WILDCARD => Ok(None),
            AE_V4 => Ok(Some(Self::V4)),
            AE_V6 => Ok(Some(Self::V6)),
            AE_V4_VIA_V6 => Ok(Some(Self::V4ViaV6)),
            _ => Err(TlvError::AddressEncoding),
        }
    }

    /// The encoding of a prefix where no next hop matters (RFC 9229 §2.1, §2.3: AE 4 is not for
    /// retractions and requests).
    pub(super) fn of(prefix: Prefix) -> Self {
        if prefix.is_v6() { Self::V6 } else { Self::V4 }
    }

    pub(super) fn ae(self) -> u8 {
        match self {
            Self::V4 => AE_V4,
            Self::V6 => AE_V6,
            Self::V4ViaV6 => AE_V4_VIA_V6,
        }
    }

    /// Reads a prefix of `length` bits, nothing omitted.
    pub(super) fn read_prefix(self, length: u8, body: &mut Cursor<'_>) -> Result<Prefix, TlvError> {
        self.complete_prefix(length, &[], body)
    }

    /// Reads a prefix of `length` bits whose first octets are `omitted`.
    pub(super) fn complete_prefix(
        self,
        length: u8,
        omitted: &[u8],
        body: &mut Cursor<'_>,
    ) -> Result<Prefix, TlvError> {
        if length > self.bits() {
            return Err(TlvError::PrefixLength);
        }
        let missing = octets_for(length).checked_sub(omitted.len()).ok_or(TlvError::Omitted)?;
        let given = body.take(missing)?.octets();
        let mut octets = Octets::default();
        for (to, from) in octets.iter_mut().zip(omitted.iter().chain(given)) {
            *to = *from;
        }
        // Clears the bits behind the length (RFC 8966 §4.6.9).
        Prefix::containing(self.address(octets), length).map_err(|_| TlvError::PrefixLength)
    }

    fn bits(self) -> u8 {
        match self {
            Self::V4 | Self::V4ViaV6 => 32,
            Self::V6 => 128,
        }
    }

    fn address(self, octets: Octets) -> IpAddr {
        match self {
            Self::V6 => Ipv6Addr::from(octets).into(),
            Self::V4 | Self::V4ViaV6 => {
                let [a, b, c, d, ..] = octets;
                Ipv4Addr::new(a, b, c, d).into()
            }
        }
    }
}

/// The octets that hold `length` bits.
pub(super) fn octets_for(length: u8) -> usize {
    usize::from(length).div_ceil(8)
}

/// An address as octets.
pub(super) fn octets_of(address: IpAddr) -> Octets {
    match address {
        IpAddr::V6(address) => address.octets(),
        IpAddr::V4(address) => {
            let [a, b, c, d] = address.octets();
            [a, b, c, d, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]
        }
    }
}

/// The part of a prefix that travels when nothing is omitted.
pub(super) fn write_prefix(prefix: Prefix, out: &mut Vec<u8>) {
    out.extend(octets_of(prefix.address()).iter().take(octets_for(prefix.length())));
}

/// Reads the address of a neighbour or next hop; `None` is the wildcard.
pub(super) fn read_address(ae: u8, body: &mut Cursor<'_>) -> Result<Option<IpAddr>, TlvError> {
    match ae {
        AE_WILDCARD => Ok(None),
        AE_V4 => Ok(Some(Ipv4Addr::from(body.array::<4>()?).into())),
        AE_V6 => Ok(Some(Ipv6Addr::from(body.array::<16>()?).into())),
        AE_LINK_LOCAL => {
            let mut octets = Octets::default();
            let id = body.array::<8>()?;
            for (to, from) in octets.iter_mut().zip(LINK_LOCAL.iter().chain(&id)) {
                *to = *from;
            }
            Ok(Some(Ipv6Addr::from(octets).into()))
        }
        _ => Err(TlvError::AddressEncoding),
    }
}

/// The AE of an address: the shortest that can hold it.
pub(super) fn address_encoding(address: IpAddr) -> u8 {
    match address {
        IpAddr::V4(_) => AE_V4,
        IpAddr::V6(address) if address.octets().starts_with(&LINK_LOCAL) => AE_LINK_LOCAL,
        IpAddr::V6(_) => AE_V6,
    }
}

/// Writes the octets of an address as [`address_encoding`] says.
pub(super) fn write_address(address: IpAddr, out: &mut Vec<u8>) {
    match address {
        IpAddr::V4(address) => out.extend(address.octets()),
        IpAddr::V6(address) => {
            let octets = address.octets();
            out.extend(octets.strip_prefix(&LINK_LOCAL).unwrap_or(&octets));
        }
    }
}

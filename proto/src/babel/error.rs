//! Why a packet or one TLV of it was refused. Names are stable: they label counters.

use std::fmt;

use super::cursor::End;

/// Why a whole datagram was refused (RFC 8966 §4.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PacketError {
    /// Shorter than the packet header.
    Short,
    /// The first octet is not 42: not Babel.
    Magic,
    /// Not version 2 of Babel.
    Version,
    /// The body is said to be longer than the datagram.
    BodyLength,
}

/// Why one TLV was refused. All but [`TlvError::Overrun`] leave the rest of the packet readable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TlvError {
    /// Its length reaches past the packet body, which ends the packet (RFC 8966 §4.3).
    Overrun,
    /// It ends before its last field (RFC 8966 §4.6).
    Short,
    /// A sub-TLV reaches past the end of the TLV (RFC 8966 §4.4).
    SubTlvOverrun,
    /// It has an unknown sub-TLV with the mandatory bit (RFC 8966 §4.4).
    UnknownMandatorySubTlv,
    /// Its address encoding is unknown, or not allowed in this TLV (RFC 8966 §4.1.4, RFC 9229 §4).
    AddressEncoding,
    /// Its prefix length exceeds 32 or 128 bits.
    PrefixLength,
    /// More octets are omitted than the prefix has (RFC 8966 §4.6.9).
    Omitted,
    /// Octets are omitted with no default prefix to take them from (RFC 8966 §4.6.9).
    NoDefaultPrefix,
    /// A route without router-id (RFC 8966 §4.6.9).
    NoRouterId,
    /// A route without next hop in the address family it needs (RFC 8966 §4.6.9).
    NoNextHop,
    /// The router-id is all zeros or all ones (RFC 8966 §4.1.3).
    ReservedRouterId,
    /// An interval that must not be zero is (RFC 8966 §4.6.3, §4.6.6, §4.6.9).
    ZeroInterval,
    /// The hop count is zero (RFC 8966 §4.6.11).
    ZeroHopCount,
    /// A wildcard (AE 0) with a finite metric (RFC 8966 §4.6.9).
    WildcardMetric,
    /// A wildcard (AE 0) with a prefix length or omitted octets (RFC 8966 §4.6.9, §4.6.10).
    WildcardPrefix,
    /// A wildcard (AE 0) with a source prefix (RFC 9079 §5.2).
    WildcardSourcePrefix,
    /// The source prefix is cut off, too long, or of length zero (RFC 9079 §7.1).
    SourcePrefix,
    /// There is more than one source prefix (RFC 9079 §7).
    DuplicateSourcePrefix,
}

impl PacketError {
    /// Its name as a counter label.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Short => "packet_short",
            Self::Magic => "packet_magic",
            Self::Version => "packet_version",
            Self::BodyLength => "packet_body_length",
        }
    }
}

impl TlvError {
    /// Its name as a counter label.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Overrun => "tlv_overrun",
            Self::Short => "tlv_short",
            Self::SubTlvOverrun => "sub_tlv_overrun",
            Self::UnknownMandatorySubTlv => "unknown_mandatory_sub_tlv",
            Self::AddressEncoding => "address_encoding",
            Self::PrefixLength => "prefix_length",
            Self::Omitted => "omitted",
            Self::NoDefaultPrefix => "no_default_prefix",
            Self::NoRouterId => "no_router_id",
            Self::NoNextHop => "no_next_hop",
            Self::ReservedRouterId => "reserved_router_id",
            Self::ZeroInterval => "zero_interval",
            Self::ZeroHopCount => "zero_hop_count",
            Self::WildcardMetric => "wildcard_metric",
            Self::WildcardPrefix => "wildcard_prefix",
            Self::WildcardSourcePrefix => "wildcard_source_prefix",
            Self::SourcePrefix => "source_prefix",
            Self::DuplicateSourcePrefix => "duplicate_source_prefix",
        }
    }
}

impl From<End> for TlvError {
    fn from(End: End) -> Self {
        Self::Short
    }
}

impl fmt::Display for PacketError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Display for TlvError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl std::error::Error for PacketError {}
impl std::error::Error for TlvError {}

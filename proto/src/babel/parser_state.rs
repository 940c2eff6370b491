//! What one TLV leaves behind for the next ones of its packet (RFC 8966 §4.5).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::address::{Octets, PrefixEncoding, octets_of};
use super::cursor::Cursor;
use super::error::TlvError;
use super::tlv_type::{UPDATE_PREFIX, UPDATE_ROUTER_ID};
use crate::prefix::Prefix;
use crate::router_id::RouterId;

/// The state of a parser, and of whoever writes for one.
#[derive(Clone, Copy, Debug)]
pub(super) struct ParserState {
    /// Originator of the updates to come.
    pub(super) router_id: Option<RouterId>,
    /// IPv4 next hop. The packet travels over IPv6, so there is none at first.
    pub(super) next_hop_v4: Option<Ipv4Addr>,
    /// IPv6 next hop, at first the source of the packet.
    pub(super) next_hop_v6: Ipv6Addr,
    default_v4: Option<Octets>,
    default_v6: Option<Octets>,
    default_v4_via_v6: Option<Octets>,
}

/// The fields of an Update that say what its prefix is.
#[derive(Clone, Copy, Debug)]
pub(super) struct CompressedPrefix {
    pub(super) ae: u8,
    pub(super) flags: u8,
    pub(super) length: u8,
    pub(super) omitted: u8,
}

impl ParserState {
    /// The state at the start of a packet from `source`.
    pub(super) fn new(source: Ipv6Addr) -> Self {
        Self {
            router_id: None,
            next_hop_v4: None,
            next_hop_v6: source,
            default_v4: None,
            default_v6: None,
            default_v4_via_v6: None,
        }
    }

    /// The prefix that octets are omitted from.
    pub(super) fn default_prefix(&mut self, encoding: PrefixEncoding) -> &mut Option<Octets> {
        match encoding {
            PrefixEncoding::V4 => &mut self.default_v4,
            PrefixEncoding::V6 => &mut self.default_v6,
            PrefixEncoding::V4ViaV6 => &mut self.default_v4_via_v6,
        }
    }

    /// The next hop of a route whose prefix is encoded so.
    pub(super) fn next_hop(&self, encoding: PrefixEncoding) -> Option<IpAddr> {
        match encoding {
            PrefixEncoding::V4 => self.next_hop_v4.map(IpAddr::V4),
            PrefixEncoding::V6 | PrefixEncoding::V4ViaV6 => Some(self.next_hop_v6.into()),
        }
    }

    /// Takes the address of a Next Hop TLV.
    pub(super) fn set_next_hop(&mut self, address: IpAddr) {
        match address {
            IpAddr::V4(address) => self.next_hop_v4 = Some(address),
            IpAddr::V6(address) => self.next_hop_v6 = address,
        }
    }

    /// Reads the prefix of an Update and applies its P and R flags, which hold even if the TLV is
    /// refused later. `None` is the wildcard.
    ///
    /// Where a flag is set but the prefix cannot be known, the state it would set becomes
    /// undefined: what follows was written with a state that we do not have.
    pub(super) fn read_destination(
        &mut self,
        field: CompressedPrefix,
        body: &mut Cursor<'_>,
    ) -> Result<Option<(PrefixEncoding, Prefix)>, TlvError> {
        let encoding = PrefixEncoding::read(field.ae);
        if encoding == Ok(None) {
            let empty = field.length == 0 && field.omitted == 0;
            return if empty { Ok(None) } else { Err(TlvError::WildcardPrefix) };
        }
        let destination = match encoding {
            Ok(Some(encoding)) => self.complete(encoding, field, body).map(|p| Some((encoding, p))),
            Ok(None) => Ok(None),
            Err(error) => Err(error),
        };
        let prefix = destination.ok().flatten().map(|(_, prefix)| prefix);
        if let Ok(Some(encoding)) = encoding
            && field.flags & UPDATE_PREFIX != 0
        {
            *self.default_prefix(encoding) = prefix.map(|prefix| octets_of(prefix.address()));
        }
        if field.flags & UPDATE_ROUTER_ID != 0 {
            self.router_id = prefix.and_then(router_id_in);
        }
        destination
    }

    fn complete(
        &mut self,
        encoding: PrefixEncoding,
        field: CompressedPrefix,
        body: &mut Cursor<'_>,
    ) -> Result<Prefix, TlvError> {
        if field.omitted == 0 {
            return encoding.read_prefix(field.length, body);
        }
        let default = self.default_prefix(encoding).ok_or(TlvError::NoDefaultPrefix)?;
        let omitted = default.get(..usize::from(field.omitted)).ok_or(TlvError::Omitted)?;
        encoding.complete_prefix(field.length, omitted, body)
    }
}

/// The router-id that the R flag takes from a prefix (RFC 8966 §4.6.9), unless it is reserved.
fn router_id_in(prefix: Prefix) -> Option<RouterId> {
    let id = match prefix.address() {
        IpAddr::V6(address) => {
            let [.., a, b, c, d, e, f, g, h] = address.octets();
            [a, b, c, d, e, f, g, h]
        }
        IpAddr::V4(address) => u64::from(u32::from(address)).to_be_bytes(),
    };
    RouterId::new(id).ok()
}

//! From a datagram to TLVs that are complete in themselves.

use std::iter::FusedIterator;
use std::net::Ipv6Addr;

use super::address::{PrefixEncoding, read_address};
use super::cursor::{Cursor, End};
use super::error::{PacketError, TlvError};
use super::parser_state::{CompressedPrefix, ParserState};
use super::{
    Hello, HelloKind, Ihu, RouteKey, SeqnoRequest, Tlv, Update, packet, sub_tlv, tlv_type,
};
use crate::interval::Interval;
use crate::metric::{Cost, Metric};
use crate::router_id::RouterId;
use crate::seqno::Seqno;

/// Opens a datagram that came from `source`, an IPv6 link-local address.
///
/// # Errors
/// [`PacketError`] if it is not a Babel packet; nothing of it is to be used then.
pub fn read(datagram: &[u8], source: Ipv6Addr) -> Result<Reader<'_>, PacketError> {
    let (body, trailer) = packet::split(datagram)?;
    Ok(Reader { body, trailer, state: ParserState::new(source), unknown: 0 })
}

/// The TLVs of a packet, in their order. A refused TLV is an error and the rest still follows,
/// except after [`TlvError::Overrun`]. Padding, TLVs of MAC authentication and of unknown type yield
/// nothing.
///
/// A retraction comes without router-id and next hop, whatever was in force (RFC 8966 §4.6.9).
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    body: Cursor<'a>,
    trailer: &'a [u8],
    state: ParserState,
    unknown: usize,
}

impl<'a> Reader<'a> {
    /// What follows the packet body: the place of MAC TLVs (RFC 8967).
    #[must_use]
    pub fn trailer(&self) -> &'a [u8] {
        self.trailer
    }

    /// How many TLVs of unknown type were passed over so far.
    #[must_use]
    pub fn unknown(&self) -> usize {
        self.unknown
    }

    fn frame(&mut self) -> Result<(u8, Cursor<'a>), End> {
        let kind = self.body.u8()?;
        if kind == tlv_type::PAD1 {
            return Ok((kind, Cursor::new(&[])));
        }
        let length = self.body.u8()?;
        Ok((kind, self.body.take(usize::from(length))?))
    }

    fn tlv(&mut self, kind: u8, body: Cursor<'_>) -> Result<Option<Tlv>, TlvError> {
        match kind {
            tlv_type::PAD1 | tlv_type::PAD_N => Ok(None),
            // Read ahead of all others, see `mac_tlvs` (RFC 8967 §4.3).
            tlv_type::MAC
            | tlv_type::PACKET_COUNTER
            | tlv_type::CHALLENGE_REQUEST
            | tlv_type::CHALLENGE_REPLY => Ok(None),
            tlv_type::ACK_REQUEST => ack_request(body).map(Some),
            tlv_type::ACK => ack(body).map(Some),
            tlv_type::HELLO => hello(body).map(Some),
            tlv_type::IHU => ihu(body).map(Some),
            tlv_type::ROUTER_ID => self.router_id(body).map(|()| None),
            tlv_type::NEXT_HOP => self.next_hop(body).map(|()| None),
            tlv_type::UPDATE => self.update(body).map(Some),
            tlv_type::ROUTE_REQUEST => route_request(body).map(Some),
            tlv_type::SEQNO_REQUEST => seqno_request(body).map(Some),
            _ => {
                self.unknown += 1;
                Ok(None)
            }
        }
    }

    /// Router-Id (RFC 8966 §4.6.7). A reserved one leaves no router-id in force: the updates after
    /// it are not by the one before.
    fn router_id(&mut self, mut body: Cursor<'_>) -> Result<(), TlvError> {
        let _reserved = body.u16()?;
        self.state.router_id = RouterId::new(body.array()?).ok();
        sub_tlv::read_none(body)?;
        self.state.router_id.map(|_| ()).ok_or(TlvError::ReservedRouterId)
    }

    /// Next Hop (RFC 8966 §4.6.8).
    fn next_hop(&mut self, mut body: Cursor<'_>) -> Result<(), TlvError> {
        let ae = body.u8()?;
        let _reserved = body.u8()?;
        let address = read_address(ae, &mut body)?.ok_or(TlvError::AddressEncoding)?;
        self.state.set_next_hop(address);
        sub_tlv::read_none(body)
    }

    /// Update (RFC 8966 §4.6.9).
    fn update(&mut self, mut body: Cursor<'_>) -> Result<Tlv, TlvError> {
        let [ae, flags, length, omitted] = body.array()?;
        let interval = Interval(body.u16()?);
        let seqno = Seqno(body.u16()?);
        let metric = Metric(body.u16()?);
        let field = CompressedPrefix { ae, flags, length, omitted };
        let destination = self.state.read_destination(field, &mut body)?;
        let source = sub_tlv::read_source_prefix(destination.map(|(encoding, _)| encoding), body)?;
        nonzero(interval)?;
        let route = destination.map(|(_, destination)| RouteKey { destination, source });
        let mut update = Update { route, router_id: None, next_hop: None, seqno, metric, interval };
        if metric.is_finite() {
            let (encoding, _) = destination.ok_or(TlvError::WildcardMetric)?;
            let missing = if flags & tlv_type::UPDATE_ROUTER_ID == 0 {
                TlvError::NoRouterId
            } else {
                TlvError::ReservedRouterId
            };
            update.router_id = Some(self.state.router_id.ok_or(missing)?);
            update.next_hop = Some(self.state.next_hop(encoding).ok_or(TlvError::NoNextHop)?);
        }
        Ok(Tlv::Update(update))
    }
}

impl Iterator for Reader<'_> {
    type Item = Result<Tlv, TlvError>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.body.is_empty() {
            let Ok((kind, body)) = self.frame() else {
                self.body = Cursor::new(&[]);
                return Some(Err(TlvError::Overrun));
            };
            if let Some(item) = self.tlv(kind, body).transpose() {
                return Some(item);
            }
        }
        None
    }
}

impl FusedIterator for Reader<'_> {}

/// Acknowledgement Request (RFC 8966 §4.6.3).
fn ack_request(mut body: Cursor<'_>) -> Result<Tlv, TlvError> {
    let _reserved = body.u16()?;
    let opaque = body.u16()?;
    let interval = Interval(body.u16()?);
    sub_tlv::read_none(body)?;
    nonzero(interval)?;
    Ok(Tlv::AckRequest { opaque, interval })
}

/// Acknowledgement (RFC 8966 §4.6.4).
fn ack(mut body: Cursor<'_>) -> Result<Tlv, TlvError> {
    let opaque = body.u16()?;
    sub_tlv::read_none(body)?;
    Ok(Tlv::Ack { opaque })
}

/// Hello (RFC 8966 §4.6.5).
fn hello(mut body: Cursor<'_>) -> Result<Tlv, TlvError> {
    let flags = body.u16()?;
    let seqno = Seqno(body.u16()?);
    let interval = Interval(body.u16()?);
    let timestamp = sub_tlv::read_timestamp(body)?;
    let kind = if flags & tlv_type::HELLO_UNICAST == 0 {
        HelloKind::Multicast
    } else {
        HelloKind::Unicast
    };
    Ok(Tlv::Hello(Hello { kind, seqno, interval, timestamp }))
}

/// IHU (RFC 8966 §4.6.6).
fn ihu(mut body: Cursor<'_>) -> Result<Tlv, TlvError> {
    let [ae, _reserved] = body.array()?;
    let rxcost = Cost(body.u16()?);
    let interval = Interval(body.u16()?);
    let address = read_address(ae, &mut body)?;
    let timestamps = sub_tlv::read_echoed_times(body)?;
    nonzero(interval)?;
    Ok(Tlv::Ihu(Ihu { address, rxcost, interval, timestamps }))
}

/// Route Request (RFC 8966 §4.6.10).
fn route_request(mut body: Cursor<'_>) -> Result<Tlv, TlvError> {
    let [ae, length] = body.array()?;
    let Some(encoding) = PrefixEncoding::read(ae)? else {
        if length != 0 {
            return Err(TlvError::WildcardPrefix);
        }
        sub_tlv::read_source_prefix(None, body)?;
        return Ok(Tlv::RouteRequest(None));
    };
    let destination = encoding.read_prefix(length, &mut body)?;
    let source = sub_tlv::read_source_prefix(Some(encoding), body)?;
    Ok(Tlv::RouteRequest(Some(RouteKey { destination, source })))
}

/// Seqno Request (RFC 8966 §4.6.11).
fn seqno_request(mut body: Cursor<'_>) -> Result<Tlv, TlvError> {
    let [ae, length] = body.array()?;
    let seqno = Seqno(body.u16()?);
    let [hop_count, _reserved] = body.array()?;
    let router_id = body.array()?;
    let encoding = PrefixEncoding::read(ae)?.ok_or(TlvError::AddressEncoding)?;
    let destination = encoding.read_prefix(length, &mut body)?;
    let source = sub_tlv::read_source_prefix(Some(encoding), body)?;
    if hop_count == 0 {
        return Err(TlvError::ZeroHopCount);
    }
    let router_id = RouterId::new(router_id).map_err(|_| TlvError::ReservedRouterId)?;
    let route = RouteKey { destination, source };
    Ok(Tlv::SeqnoRequest(SeqnoRequest { route, seqno, hop_count, router_id }))
}

fn nonzero(interval: Interval) -> Result<(), TlvError> {
    if interval.is_zero() { Err(TlvError::ZeroInterval) } else { Ok(()) }
}

#[cfg(test)]
mod tests;

//! From TLVs to datagrams, with the implied TLVs and the compression of RFC 8966 §4.5.

use std::net::{IpAddr, Ipv6Addr};

use super::address::{
    AE_WILDCARD, PrefixEncoding, address_encoding, octets_for, octets_of, write_address,
    write_prefix,
};
use super::packet::{EMPTY_HEADER, Packet, set_body_length};
use super::parser_state::ParserState;
use super::{Hello, HelloKind, Ihu, RouteKey, SeqnoRequest, Tlv, Update, sub_tlv, tlv_type};
use crate::interval::Interval;
use crate::prefix::Prefix;
use crate::router_id::RouterId;

/// The least a limit can be: every speaker can receive this much (RFC 8966 §4), and any one TLV
/// with all it implies fits.
pub const LEAST_LIMIT: usize = 512;
/// The most a limit can be: the largest UDP payload over IPv6.
pub const GREATEST_LIMIT: usize = 65_527;
/// The most that can be left free: a packet counter and eight MACs (RFC 8967).
const GREATEST_ROOM: usize = 286;

/// Packs TLVs into one datagram after the other.
#[derive(Clone, Debug)]
pub struct Writer {
    limit: usize,
    source: Ipv6Addr,
    /// Empty, or a header and at least one TLV.
    bytes: Vec<u8>,
    stamps: Vec<usize>,
    state: ParserState,
    unencodable: u64,
}

/// The TLV does not fit behind what the datagram holds already. It fits after
/// [`Writer::finish`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("datagram is full")]
pub struct Full;

/// The TLV breaks a rule of its type, such as a finite metric without next hop.
struct Unencodable;

impl Writer {
    /// A writer of datagrams of at most `limit` octets (clamped to [`LEAST_LIMIT`] and
    /// [`GREATEST_LIMIT`]) that will leave from `source`, the next hop that needs no saying.
    #[must_use]
    pub fn new(limit: usize, source: Ipv6Addr) -> Self {
        Self {
            limit: limit.clamp(LEAST_LIMIT, GREATEST_LIMIT),
            source,
            bytes: Vec::new(),
            stamps: Vec::new(),
            state: ParserState::new(source),
            unencodable: 0,
        }
    }

    /// Leaves `octets` of each datagram free for what is added to it later: at most 286, so that any
    /// one TLV still fits.
    #[must_use]
    pub fn leaving(self, octets: usize) -> Self {
        Self { limit: self.limit.saturating_sub(octets).max(LEAST_LIMIT - GREATEST_ROOM), ..self }
    }

    /// Adds a TLV and the Router-Id and Next Hop TLVs it needs, or changes nothing.
    ///
    /// The router-id and next hop of a retraction are not written. A TLV that every receiver would
    /// have to refuse (its documentation is violated: zero interval or hop count, finite metric
    /// without router-id or next hop, families that do not match) is left out and counted, see
    /// [`Writer::unencodable`].
    ///
    /// # Errors
    /// [`Full`], never for the first TLV of a datagram.
    pub fn push(&mut self, tlv: &Tlv) -> Result<(), Full> {
        let (length, stamps, state) = (self.bytes.len(), self.stamps.len(), self.state);
        if length == 0 {
            self.bytes.reserve_exact(self.limit);
            self.bytes.extend(EMPTY_HEADER);
        }
        let written = self.write(tlv);
        if written.is_ok() && self.bytes.len() <= self.limit {
            return Ok(());
        }
        self.bytes.truncate(length);
        self.stamps.truncate(stamps);
        self.state = state;
        match written {
            Ok(()) => Err(Full),
            Err(Unencodable) => {
                self.unencodable += 1;
                Ok(())
            }
        }
    }

    /// Whether no TLV was added since the last datagram.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Octets of the datagram so far; zero when empty.
    #[must_use]
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// How many TLVs were left out because they cannot be written. Each is a bug of the caller.
    #[must_use]
    pub fn unencodable(&self) -> u64 {
        self.unencodable
    }

    /// Ends the datagram and starts the next; `None` when empty.
    pub fn finish(&mut self) -> Option<Packet> {
        if self.is_empty() {
            return None;
        }
        self.state = ParserState::new(self.source);
        let mut bytes = std::mem::take(&mut self.bytes);
        set_body_length(&mut bytes);
        Some(Packet { bytes, stamps: std::mem::take(&mut self.stamps), signing: None })
    }

    fn write(&mut self, tlv: &Tlv) -> Result<(), Unencodable> {
        match tlv {
            Tlv::AckRequest { opaque, interval } => self.ack_request(*opaque, *interval),
            Tlv::Ack { opaque } => {
                let start = self.open(tlv_type::ACK);
                self.u16(*opaque);
                self.close(start);
                Ok(())
            }
            Tlv::Hello(hello) => {
                self.hello(hello);
                Ok(())
            }
            Tlv::Ihu(ihu) => self.ihu(ihu),
            Tlv::Update(update) => self.update(update),
            Tlv::RouteRequest(route) => self.route_request(route.as_ref()),
            Tlv::SeqnoRequest(request) => self.seqno_request(request),
        }
    }

    fn ack_request(&mut self, opaque: u16, interval: Interval) -> Result<(), Unencodable> {
        require(!interval.is_zero())?;
        let start = self.open(tlv_type::ACK_REQUEST);
        self.u16(0);
        self.u16(opaque);
        self.u16(interval.0);
        self.close(start);
        Ok(())
    }

    fn hello(&mut self, hello: &Hello) {
        let start = self.open(tlv_type::HELLO);
        self.u16(match hello.kind {
            HelloKind::Multicast => 0,
            HelloKind::Unicast => tlv_type::HELLO_UNICAST,
        });
        self.u16(hello.seqno.0);
        self.u16(hello.interval.0);
        if let Some(timestamp) = hello.timestamp {
            self.stamps.push(sub_tlv::write_timestamp(timestamp, &mut self.bytes));
        }
        self.close(start);
    }

    fn ihu(&mut self, ihu: &Ihu) -> Result<(), Unencodable> {
        require(!ihu.interval.is_zero())?;
        let start = self.open(tlv_type::IHU);
        self.bytes.extend([ihu.address.map_or(AE_WILDCARD, address_encoding), 0]);
        self.u16(ihu.rxcost.0);
        self.u16(ihu.interval.0);
        if let Some(address) = ihu.address {
            write_address(address, &mut self.bytes);
        }
        if let Some(times) = ihu.timestamps {
            sub_tlv::write_echoed_times(times, &mut self.bytes);
        }
        self.close(start);
        Ok(())
    }

    fn update(&mut self, update: &Update) -> Result<(), Unencodable> {
        require(!update.interval.is_zero())?;
        let Some(route) = update.route else {
            require(!update.metric.is_finite())?;
            let start = self.open(tlv_type::UPDATE);
            self.bytes.extend([AE_WILDCARD, 0, 0, 0]);
            self.update_tail(update);
            self.close(start);
            return Ok(());
        };
        let destination = route.destination;
        let encoding = if update.metric.is_finite() {
            self.implied(destination, update)?
        } else {
            // babeld reads its seqno with the router-id in force as a feasibility distance, although neither is to be
            // used (RFC 8966 §4.6.9).
            let others = |own| self.state.router_id.is_some_and(|in_force| in_force != own);
            if let Some(own) = update.router_id.filter(|own| others(*own)) {
                self.router_id(own);
            }
            PrefixEncoding::of(destination)
        };
        let (flags, omitted) = self.compress(encoding, destination);
        let start = self.open(tlv_type::UPDATE);
        self.bytes.extend([encoding.ae(), flags, destination.length(), omitted]);
        self.update_tail(update);
        let octets = octets_of(destination.address());
        let given = octets.iter().take(octets_for(destination.length()));
        self.bytes.extend(given.skip(usize::from(omitted)));
        self.source_prefix(&route)?;
        self.close(start);
        Ok(())
    }

    fn update_tail(&mut self, update: &Update) {
        self.u16(update.interval.0);
        self.u16(update.seqno.0);
        self.u16(update.metric.0);
    }

    /// Writes what a route needs before it, and says how its prefix is encoded (RFC 9229 §2.1).
    fn implied(
        &mut self,
        destination: Prefix,
        update: &Update,
    ) -> Result<PrefixEncoding, Unencodable> {
        let router_id = update.router_id.ok_or(Unencodable)?;
        let next_hop = update.next_hop.ok_or(Unencodable)?;
        let encoding = match (destination.is_v6(), next_hop) {
            (true, IpAddr::V6(_)) => PrefixEncoding::V6,
            (false, IpAddr::V6(_)) => PrefixEncoding::V4ViaV6,
            (false, IpAddr::V4(_)) => PrefixEncoding::V4,
            (true, IpAddr::V4(_)) => return Err(Unencodable),
        };
        if self.state.router_id != Some(router_id) {
            self.router_id(router_id);
        }
        if self.state.next_hop(encoding) != Some(next_hop) {
            self.next_hop(next_hop);
        }
        Ok(encoding)
    }

    fn router_id(&mut self, router_id: RouterId) {
        let start = self.open(tlv_type::ROUTER_ID);
        self.u16(0);
        self.bytes.extend(router_id.octets());
        self.close(start);
        self.state.router_id = Some(router_id);
    }

    fn next_hop(&mut self, next_hop: IpAddr) {
        let start = self.open(tlv_type::NEXT_HOP);
        self.bytes.extend([address_encoding(next_hop), 0]);
        write_address(next_hop, &mut self.bytes);
        self.close(start);
        self.state.set_next_hop(next_hop);
    }

    /// The flags of an Update and the number of octets it can omit. Only IPv6 is compressed: no
    /// other daemon does it for IPv4, so none is known to read it well. Every prefix becomes the
    /// default for the next, except a default route, which has nothing to share. Only whole octets
    /// are omitted, as a peer may hold Omitted against plen / 8 rounded down.
    fn compress(&mut self, encoding: PrefixEncoding, prefix: Prefix) -> (u8, u8) {
        if encoding != PrefixEncoding::V6 || prefix.is_default() {
            return (0, 0);
        }
        let octets = octets_of(prefix.address());
        let default = self.state.default_prefix(encoding).replace(octets);
        let whole_octets = prefix.length() / 8;
        let shared = default.map_or(0, |default| {
            (0..whole_octets)
                .zip(octets.iter().zip(&default))
                .take_while(|(_, (a, b))| a == b)
                .count()
        });
        let omitted = u8::try_from(shared).expect("at most 16 octets");
        (tlv_type::UPDATE_PREFIX, omitted)
    }

    fn route_request(&mut self, route: Option<&RouteKey>) -> Result<(), Unencodable> {
        let start = self.open(tlv_type::ROUTE_REQUEST);
        match route {
            None => self.bytes.extend([AE_WILDCARD, 0]),
            Some(route) => {
                self.encoding_and_length(route.destination);
                write_prefix(route.destination, &mut self.bytes);
                self.source_prefix(route)?;
            }
        }
        self.close(start);
        Ok(())
    }

    fn seqno_request(&mut self, request: &SeqnoRequest) -> Result<(), Unencodable> {
        require(request.hop_count != 0)?;
        let start = self.open(tlv_type::SEQNO_REQUEST);
        self.encoding_and_length(request.route.destination);
        self.u16(request.seqno.0);
        self.bytes.extend([request.hop_count, 0]);
        self.bytes.extend(request.router_id.octets());
        write_prefix(request.route.destination, &mut self.bytes);
        self.source_prefix(&request.route)?;
        self.close(start);
        Ok(())
    }

    fn encoding_and_length(&mut self, prefix: Prefix) {
        self.bytes.extend([PrefixEncoding::of(prefix).ae(), prefix.length()]);
    }

    fn source_prefix(&mut self, route: &RouteKey) -> Result<(), Unencodable> {
        if let Some(source) = route.source {
            require(source.is_v6() == route.destination.is_v6() && !source.is_default())?;
            sub_tlv::write_source_prefix(source, &mut self.bytes);
        }
        Ok(())
    }

    fn u16(&mut self, value: u16) {
        self.bytes.extend(value.to_be_bytes());
    }

    /// Starts a TLV; its length is filled in by [`Self::close`].
    fn open(&mut self, kind: u8) -> usize {
        self.bytes.extend([kind, 0]);
        self.bytes.len()
    }

    fn close(&mut self, start: usize) {
        let length = self.bytes.len().saturating_sub(start);
        let length = u8::try_from(length).expect("no TLV written here is longer than 47 octets");
        if let Some(field) = start.checked_sub(1).and_then(|at| self.bytes.get_mut(at)) {
            *field = length;
        }
    }
}

fn require(condition: bool) -> Result<(), Unencodable> {
    if condition { Ok(()) } else { Err(Unencodable) }
}

#[cfg(test)]
mod tests;

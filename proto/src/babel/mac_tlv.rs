//! TLVs of MAC authentication (RFC 8967 §6): MACs in the trailer, the others in the body.

use super::cursor::Cursor;
use super::error::PacketError;
use super::packet::split;
use super::tlv_type::{CHALLENGE_REPLY, CHALLENGE_REQUEST, MAC, PACKET_COUNTER, PAD1};

/// A TLV of the packet body that is for the MAC protocol alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MacTlv<'a> {
    /// PC (RFC 8967 §6.2).
    PacketCounter {
        /// Grows with every packet of one index.
        counter: u32,
        /// At most [`GREATEST_INDEX`] octets.
        index: &'a [u8],
    },
    /// Challenge Request (§6.3): a nonce, of at most [`GREATEST_NONCE`] octets.
    ChallengeRequest(&'a [u8]),
    /// Challenge Reply (§6.4): the nonce of the request.
    ChallengeReply(&'a [u8]),
}

/// The most octets of an index; a longer one is as if it were not there (RFC 8967 §6.2).
pub const GREATEST_INDEX: usize = 32;
/// The most octets of a nonce; a longer one is as if it were not there (RFC 8967 §6.3).
pub const GREATEST_NONCE: usize = 192;
/// Octets of a PC TLV with an index of eight octets.
pub const PACKET_COUNTER_ROOM: usize = FRAME + 4 + 8;
/// Type and length of a TLV.
pub(super) const FRAME: usize = 2;

/// The TLVs of the MAC protocol in a packet's body, in their order, other TLVs unread: the "preparse
/// phase" of RFC 8967 §4.3.
///
/// # Errors
/// [`PacketError`] if it is no Babel packet.
pub fn mac_tlvs(datagram: &[u8]) -> Result<impl Iterator<Item = MacTlv<'_>>, PacketError> {
    let (body, _) = split(datagram)?;
    Ok(frames(body).filter_map(|(kind, body)| read(kind, body)))
}

/// The MACs in a trailer.
pub(super) fn macs(trailer: &[u8]) -> impl Iterator<Item = &[u8]> {
    frames(Cursor::new(trailer)).filter(|(kind, _)| *kind == MAC).map(|(_, body)| body.octets())
}

/// Writes a TLV of the body.
pub(super) fn write(tlv: &MacTlv<'_>, out: &mut Vec<u8>) {
    match tlv {
        MacTlv::PacketCounter { counter, index } => {
            let body = [&counter.to_be_bytes(), *index].concat();
            write_frame(PACKET_COUNTER, &body, out);
        }
        MacTlv::ChallengeRequest(nonce) => write_frame(CHALLENGE_REQUEST, nonce, out),
        MacTlv::ChallengeReply(nonce) => write_frame(CHALLENGE_REPLY, nonce, out),
    }
}

/// Writes a MAC TLV.
pub(super) fn write_mac(mac: &[u8], out: &mut Vec<u8>) {
    write_frame(MAC, mac, out);
}

fn write_frame(kind: u8, body: &[u8], out: &mut Vec<u8>) {
    let length = u8::try_from(body.len()).expect("at most 192 octets are written");
    out.extend([kind, length]);
    out.extend_from_slice(body);
}

/// TLVs up to the first that is cut off. Pad1 has no length.
fn frames(mut octets: Cursor<'_>) -> impl Iterator<Item = (u8, Cursor<'_>)> {
    std::iter::from_fn(move || {
        let kind = octets.u8().ok()?;
        if kind == PAD1 {
            return Some((kind, Cursor::new(&[])));
        }
        let length = octets.u8().ok()?;
        Some((kind, octets.take(usize::from(length)).ok()?))
    })
}

fn read(kind: u8, mut body: Cursor<'_>) -> Option<MacTlv<'_>> {
    match kind {
        PACKET_COUNTER => {
            let counter = body.u32().ok()?;
            let index = at_most(GREATEST_INDEX, body)?;
            Some(MacTlv::PacketCounter { counter, index })
        }
        CHALLENGE_REQUEST => at_most(GREATEST_NONCE, body).map(MacTlv::ChallengeRequest),
        CHALLENGE_REPLY => at_most(GREATEST_NONCE, body).map(MacTlv::ChallengeReply),
        _ => None,
    }
}

fn at_most(limit: usize, body: Cursor<'_>) -> Option<&[u8]> {
    Some(body.octets()).filter(|octets| octets.len() <= limit)
}

//! The packet around the TLVs (RFC 8966 §4.2): header, body, trailer.

use super::cursor::{Cursor, End};
use super::error::PacketError;

const MAGIC: u8 = 42;
const VERSION: u8 = 2;
/// What a packet starts with, its body still empty.
pub(super) const EMPTY_HEADER: [u8; 4] = [MAGIC, VERSION, 0, 0];

/// Takes a datagram apart into body and trailer.
pub(super) fn split(datagram: &[u8]) -> Result<(Cursor<'_>, &[u8]), PacketError> {
    let mut cursor = Cursor::new(datagram);
    let [magic, version] = cursor.array().map_err(|End| PacketError::Short)?;
    let length = cursor.u16().map_err(|End| PacketError::Short)?;
    if magic != MAGIC {
        return Err(PacketError::Magic);
    }
    if version != VERSION {
        return Err(PacketError::Version);
    }
    let body = cursor.take(usize::from(length)).map_err(|End| PacketError::BodyLength)?;
    Ok((body, cursor.octets()))
}

/// A datagram ready to leave, but for the times its Hellos leave at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    /// The whole datagram.
    pub bytes: Vec<u8>,
    /// Where in [`Packet::bytes`] the transmit times of stamped Hellos lie, four octets each.
    pub stamps: Vec<usize>,
}

impl Packet {
    /// Overwrites every transmit time (RFC 9616 §3.2). To be called at the last moment before
    /// sending, and before the packet is signed; `micros` is the sender's clock in microseconds
    /// modulo 2^32.
    pub fn stamp(&mut self, micros: u32) {
        for &position in &self.stamps {
            let end = position.saturating_add(4);
            if let Some(field) = self.bytes.get_mut(position..end) {
                field.copy_from_slice(&micros.to_be_bytes());
            }
        }
    }
}

/// Completes the header of a datagram that consists of header and body.
pub(super) fn set_body_length(datagram: &mut [u8]) {
    let length = datagram.len().saturating_sub(EMPTY_HEADER.len());
    let length = u16::try_from(length).expect("a writer's limit is below 2^16");
    if let Some(field) = datagram.get_mut(2..4) {
        field.copy_from_slice(&length.to_be_bytes());
    }
}

//! The packet around the TLVs (RFC 8966 §4.2): header, body, trailer.

use std::sync::Arc;

use super::cursor::{Cursor, End};
use super::error::PacketError;
use super::mac::{MacKey, PseudoHeader, append_macs};
use super::mac_tlv::{self, MacTlv};

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

/// A datagram ready to leave, but for the times its Hellos leave at and its signature: [`Packet::seal`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    /// Header and body.
    pub bytes: Vec<u8>,
    /// Where in [`Packet::bytes`] the transmit times of stamped Hellos lie, four octets each.
    pub stamps: Vec<usize>,
    /// What is needed to sign it, if it is to be signed.
    pub signing: Option<Signing>,
}

/// What a packet is to be signed with (RFC 8967 §4.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signing {
    /// Each makes a MAC.
    pub keys: Arc<[MacKey]>,
    /// The addresses it will travel with.
    pub header: PseudoHeader,
}

impl Packet {
    /// A packet without TLVs.
    #[must_use]
    pub fn empty() -> Self {
        Self { bytes: EMPTY_HEADER.to_vec(), stamps: Vec::new(), signing: None }
    }

    /// Adds a TLV of the MAC protocol to the body.
    pub fn append(&mut self, tlv: &MacTlv<'_>) {
        mac_tlv::write(tlv, &mut self.bytes);
        set_body_length(&mut self.bytes);
    }

    /// Overwrites every transmit time (RFC 9616 §3.2); `micros` is the sender's clock in microseconds
    /// modulo 2^32.
    pub fn stamp(&mut self, micros: u32) {
        for &position in &self.stamps {
            let end = position.saturating_add(4);
            if let Some(field) = self.bytes.get_mut(position..end) {
                field.copy_from_slice(&micros.to_be_bytes());
            }
        }
    }

    /// The datagram to send, stamped and then signed: a MAC covers the stamps. To be called at the last
    /// moment before sending, once; `micros` as for [`Packet::stamp`].
    #[must_use]
    pub fn seal(mut self, micros: u32) -> Vec<u8> {
        self.stamp(micros);
        if let Some(Signing { keys, header }) = &self.signing {
            append_macs(&mut self.bytes, *header, keys);
        }
        self.bytes
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

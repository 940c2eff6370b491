//! Cuts what the kernel hands over in one piece into packets that fit the tunnel, with their
//! checksums (the reverse of `coalesce`).

use super::checksum::Sum;
use super::packet::{Layout, UDP, Version, number16, number32, short, tcp, udp};
use super::virtio::{Checksum, Kind, Offload, Segments};

/// What the kernel said about a packet does not fit the packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Malformed;

/// Calls `each` with every packet in the first `length` octets of `buffer`: with the buffer it is in
/// and its length. Behind it there is room of at least [`ROOM`] octets.
///
/// # Errors
/// When offsets point outside of the packet; the kernel never does that.
pub(super) fn split(
    (buffer, length): (&mut [u8], usize),
    offload: Offload,
    scratch: &mut [u8],
    mut each: impl FnMut(&mut [u8], usize),
) -> Result<(), Malformed> {
    if let Some(segments) = offload.segments {
        return cut(&buffer[..length], segments, scratch, each);
    }
    if let Some(checksum) = offload.checksum {
        complete(&mut buffer[..length], checksum)?;
    }
    each(buffer, length);
    Ok(())
}

fn complete(packet: &mut [u8], checksum: Checksum) -> Result<(), Malformed> {
    let start = usize::from(checksum.start);
    let at = start + usize::from(checksum.offset);
    if packet.len() < at + 2 {
        return Err(Malformed);
    }
    // The field holds the sum of the pseudo-header.
    let sum = Sum::default().octets(&packet[start..]).checksum();
    packet[at..at + 2].copy_from_slice(&or_all_ones(sum));
    Ok(())
}

fn cut(
    packet: &[u8],
    segments: Segments,
    scratch: &mut [u8],
    mut each: impl FnMut(&mut [u8], usize),
) -> Result<(), Malformed> {
    let layout = Layout::of(packet).ok_or(Malformed)?;
    let headers = match segments.kind {
        Kind::Tcp4 | Kind::Tcp6 => layout.tcp_headers(packet).ok_or(Malformed)?,
        Kind::Udp if layout.protocol == UDP => layout.transport + udp::HEADER,
        Kind::Udp => return Err(Malformed),
    };
    let size = usize::from(segments.size);
    if size == 0 || packet.len() < headers || headers + size + ROOM > scratch.len() {
        return Err(Malformed);
    }
    let (headers, payload) = packet.split_at(headers);
    let last = payload.len().div_ceil(size).saturating_sub(1);
    for (place, chunk) in payload.chunks(size).enumerate() {
        let length = headers.len() + chunk.len();
        scratch[..headers.len()].copy_from_slice(headers);
        scratch[headers.len()..length].copy_from_slice(chunk);
        let segment = &mut scratch[..length];
        // A packet of 64 KiB has fewer segments than that, and each is shorter.
        let (place, total) = (short(place), short(length));
        if layout.version == Version::V4 {
            let id = number16(segment, 4).wrapping_add(place);
            segment[4..6].copy_from_slice(&id.to_be_bytes());
        }
        layout.set_length(segment, total);
        match segments.kind {
            Kind::Tcp4 | Kind::Tcp6 => {
                let offset = u32::from(place) * u32::from(segments.size);
                finish_tcp(layout, segment, offset);
                let flags = &mut segment[layout.transport + tcp::FLAGS];
                if usize::from(place) < last {
                    *flags &= !(tcp::FIN | tcp::PSH);
                }
                if place > 0 {
                    *flags &= !tcp::CWR;
                }
                set_checksum(layout, segment, tcp::CHECKSUM);
            }
            Kind::Udp => {
                let length = total - short(layout.transport);
                let at = layout.transport + udp::LENGTH;
                segment[at..at + 2].copy_from_slice(&length.to_be_bytes());
                set_checksum(layout, segment, udp::CHECKSUM);
            }
        }
        each(scratch, length);
    }
    Ok(())
}

fn finish_tcp(layout: Layout, segment: &mut [u8], offset: u32) {
    let at = layout.transport + tcp::SEQUENCE;
    let sequence = number32(segment, at).wrapping_add(offset);
    segment[at..at + 4].copy_from_slice(&sequence.to_be_bytes());
}

fn set_checksum(layout: Layout, segment: &mut [u8], field: usize) {
    let at = layout.transport + field;
    segment[at..at + 2].fill(0);
    let length = short(segment.len() - layout.transport);
    let sum = layout.pseudo_header(segment, length).octets(&segment[layout.transport..]);
    segment[at..at + 2].copy_from_slice(&or_all_ones(sum.checksum()));
}

/// A UDP checksum of zero means none (RFC 768); for TCP the two forms of zero are equal.
fn or_all_ones(checksum: [u8; 2]) -> [u8; 2] {
    if checksum == [0, 0] { [0xff, 0xff] } else { checksum }
}

/// Octets kept free behind a packet, for padding.
pub(super) const ROOM: usize = 16;

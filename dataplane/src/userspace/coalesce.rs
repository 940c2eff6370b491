//! Joins TCP segments that follow each other to one packet for the kernel (the reverse of
//! `segment`). Only what the kernel would make of that packet again, octet for octet, is joined, and
//! only segments whose checksums are right: the kernel does not look at them any more.

use std::ops::Range;

use super::checksum::Sum;
use super::packet::{Layout, TCP, V4_HEADER, Version, number16, number32, short, tcp};
use super::virtio::{Checksum, Kind, Offload, Segments};

/// Packets that follow each other, as places in a buffer.
#[derive(Default)]
pub(super) struct Run {
    /// The first packet whole, of the others the payload.
    parts: Vec<Range<usize>>,
    /// `None` if nothing can be joined to it.
    open: Option<Open>,
}

/// What the next segment must be like.
struct Open {
    layout: Layout,
    headers: usize,
    /// Octets of payload of each segment but the last.
    size: usize,
    sequence: u32,
    id: u16,
    /// Octets of the whole.
    total: usize,
    verified: bool,
    push: bool,
}

impl Run {
    /// Joins a packet, or says that it cannot be.
    pub(super) fn join(&mut self, buffer: &[u8], packet: &Range<usize>) -> bool {
        let (Some(open), Some(first)) = (&mut self.open, self.parts.first()) else { return false };
        let joined = self.parts.len() < PARTS
            && open.matches(&buffer[first.clone()], &buffer[packet.clone()]);
        if !joined {
            return false;
        }
        let payload = packet.start + open.headers..packet.end;
        let is_last = open.add(&buffer[packet.clone()]);
        self.parts.push(payload);
        if is_last {
            open.size = 0;
        }
        true
    }

    /// Starts anew with a packet.
    pub(super) fn start(&mut self, buffer: &[u8], packet: Range<usize>) {
        self.open = Open::new(&buffer[packet.clone()]);
        self.parts.clear();
        self.parts.push(packet);
    }

    /// Completes the headers. Gives what the kernel must be told, and the parts in order; no part if
    /// there is no packet.
    pub(super) fn finish(&mut self, buffer: &mut [u8]) -> (Offload, &[Range<usize>]) {
        let offload = match (&self.open, &self.parts[..]) {
            (Some(open), [first, _, ..]) => open.finish(&mut buffer[first.clone()]),
            _ => Offload::default(),
        };
        (offload, &self.parts)
    }

    /// Forgets all.
    pub(super) fn clear(&mut self) {
        self.parts.clear();
        self.open = None;
    }
}

impl Open {
    fn new(packet: &[u8]) -> Option<Self> {
        let layout = Layout::of(packet)?;
        let headers = layout.tcp_headers(packet)?;
        let size = packet.len() - headers;
        // One with PSH is the last of its kind.
        let plain = packet[layout.transport + tcp::FLAGS] == tcp::ACK;
        (size > 0 && plain && is_joinable(layout, packet)).then(|| Self {
            layout,
            headers,
            size,
            sequence: sequence(layout, packet).wrapping_add(u32::from(short(size))),
            id: number16(packet, 4).wrapping_add(1),
            total: packet.len(),
            verified: false,
            push: false,
        })
    }

    /// Whether a segment goes on where the last ended.
    fn matches(&mut self, first: &[u8], packet: &[u8]) -> bool {
        let (layout, headers) = (self.layout, self.headers);
        if packet.len() <= headers || packet.len() - headers > self.size {
            return false;
        }
        let fits = self.total + packet.len() - headers <= usize::from(u16::MAX);
        if !fits || !same_flow(layout, &first[..headers], &packet[..headers]) {
            return false;
        }
        let flags = packet[layout.transport + tcp::FLAGS];
        let follows = flags & !tcp::PSH == tcp::ACK
            && sequence(layout, packet) == self.sequence
            && (layout.version == Version::V6
                || number16(packet, 6) & DONT_FRAGMENT != 0
                || number16(packet, 4) == self.id);
        if !follows || !is_joinable(layout, packet) || !is_whole(layout, packet) {
            return false;
        }
        // Looked at only now: most packets stay alone.
        self.verified = self.verified || is_whole(layout, first);
        self.verified
    }

    /// Takes a segment in; whether no other can follow.
    fn add(&mut self, packet: &[u8]) -> bool {
        let payload = packet.len() - self.headers;
        self.sequence = self.sequence.wrapping_add(u32::from(short(payload)));
        self.id = self.id.wrapping_add(1);
        self.total += payload;
        self.push = packet[self.layout.transport + tcp::FLAGS] & tcp::PSH != 0;
        self.push || payload < self.size
    }

    fn finish(&self, packet: &mut [u8]) -> Offload {
        let Layout { version, transport, .. } = self.layout;
        let size = short(packet.len() - self.headers);
        // `matches` keeps the total within 16 bits.
        let total = short(self.total);
        self.layout.set_length(packet, total);
        if self.push {
            packet[transport + tcp::FLAGS] |= tcp::PSH;
        }
        let sum = self.layout.pseudo_header(packet, total - short(transport)).partial();
        let at = transport + tcp::CHECKSUM;
        packet[at..at + 2].copy_from_slice(&sum);
        let kind = match version {
            Version::V4 => Kind::Tcp4,
            Version::V6 => Kind::Tcp6,
        };
        Offload {
            checksum: Some(Checksum { start: short(transport), offset: short(tcp::CHECKSUM) }),
            segments: Some(Segments { kind, header: short(self.headers), size }),
        }
    }
}

/// Whether it is no fragment, without IPv4 options, and as long as it says.
fn is_joinable(layout: Layout, packet: &[u8]) -> bool {
    match layout.version {
        Version::V4 => {
            layout.transport == V4_HEADER
                && number16(packet, 6) & FRAGMENT == 0
                && usize::from(number16(packet, 2)) == packet.len()
        }
        Version::V6 => usize::from(number16(packet, 4)) + layout.transport == packet.len(),
    }
}

/// Whether two headers differ only in what differs from segment to segment.
fn same_flow(layout: Layout, first: &[u8], other: &[u8]) -> bool {
    let same = |range: Range<usize>| first[range.clone()] == other[range];
    let ip = match layout.version {
        // Version, class; fragmentation, hop limit, protocol; addresses.
        Version::V4 => same(0..2) && same(6..10) && same(12..20),
        // Version, class, flow label; next header, hop limit, addresses.
        Version::V6 => same(0..4) && same(6..40),
    };
    let t = layout.transport;
    ip && same(t..t + tcp::SEQUENCE)
        && same(t + tcp::ACKNOWLEDGEMENT..t + tcp::FLAGS)
        && same(t + tcp::WINDOW..t + tcp::CHECKSUM)
        && same(t + tcp::URGENT..t + tcp::OPTIONS)
        && same(t + tcp::OPTIONS..first.len())
}

fn is_whole(layout: Layout, packet: &[u8]) -> bool {
    let transport = layout.transport;
    debug_assert_eq!(layout.protocol, TCP, "only TCP gets here");
    let header =
        layout.version == Version::V6 || Sum::default().octets(&packet[..transport]).is_valid();
    let length = short(packet.len() - transport);
    header && layout.pseudo_header(packet, length).octets(&packet[transport..]).is_valid()
}

fn sequence(layout: Layout, packet: &[u8]) -> u32 {
    number32(packet, layout.transport + tcp::SEQUENCE)
}

/// Of the IPv4 field at octet 6: more fragments, and the offset.
const FRAGMENT: u16 = 0x3fff;
const DONT_FRAGMENT: u16 = 0x4000;
/// Parts of a run: 64 KiB in segments of the least MTU are 53.
pub(super) const PARTS: usize = 63;

#[cfg(test)]
mod tests;

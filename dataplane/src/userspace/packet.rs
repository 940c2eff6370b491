//! Where things are in an IP packet.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::checksum::Sum;

/// The layout of an IP packet, checked against its length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Layout {
    pub(super) version: Version,
    /// Protocol of the transport header; of IPv6 only what follows the fixed header.
    pub(super) protocol: u8,
    /// Where the transport header starts.
    pub(super) transport: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Version {
    V4,
    V6,
}

impl Layout {
    /// Of a packet at least as long as its headers.
    pub(super) fn of(packet: &[u8]) -> Option<Self> {
        let layout = match packet.first()? >> 4 {
            4 => Self {
                version: Version::V4,
                protocol: *packet.get(9)?,
                transport: usize::from(packet[0] & 0x0f) * 4,
            },
            6 => Self { version: Version::V6, protocol: *packet.get(6)?, transport: V6_HEADER },
            _ => return None,
        };
        let least = match layout.version {
            Version::V4 => V4_HEADER,
            Version::V6 => V6_HEADER,
        };
        (layout.transport >= least && packet.len() >= layout.transport).then_some(layout)
    }

    /// Octets of all headers of a TCP segment.
    pub(super) fn tcp_headers(self, packet: &[u8]) -> Option<usize> {
        let offset = packet.get(self.transport + tcp::DATA_OFFSET)? >> 4;
        let headers = self.transport + usize::from(offset) * 4;
        (self.protocol == TCP && offset >= 5 && packet.len() >= headers).then_some(headers)
    }

    /// The sum of the pseudo-header for `length` octets of transport (RFC 9293 §3.1, RFC 8200 §8.1).
    pub(super) fn pseudo_header(self, packet: &[u8], length: u16) -> Sum {
        let addresses = match self.version {
            Version::V4 => &packet[12..20],
            Version::V6 => &packet[8..40],
        };
        Sum::default().octets(addresses).number(length).number(u16::from(self.protocol))
    }

    /// Writes the length of the packet, all in all `length` octets, into its header, whose own
    /// checksum follows.
    pub(super) fn set_length(self, packet: &mut [u8], length: u16) {
        match self.version {
            Version::V4 => {
                packet[2..4].copy_from_slice(&length.to_be_bytes());
                packet[10..12].fill(0);
                let checksum = Sum::default().octets(&packet[..self.transport]).checksum();
                packet[10..12].copy_from_slice(&checksum);
            }
            Version::V6 => {
                let payload = length.saturating_sub(short(V6_HEADER));
                packet[4..6].copy_from_slice(&payload.to_be_bytes());
            }
        }
    }
}

/// Where a packet comes from.
pub(super) fn source(packet: &[u8]) -> Option<IpAddr> {
    match Layout::of(packet)?.version {
        Version::V4 => address4(&packet[12..16]),
        Version::V6 => address6(&packet[8..24]),
    }
}

/// Where a packet goes.
pub(super) fn destination(packet: &[u8]) -> Option<IpAddr> {
    match Layout::of(packet)?.version {
        Version::V4 => address4(&packet[16..20]),
        Version::V6 => address6(&packet[24..40]),
    }
}

/// The ports of a UDP packet, or of its first fragment: from and to.
pub(super) fn udp_ports(packet: &[u8]) -> Option<[u16; 2]> {
    let layout = Layout::of(packet).filter(|layout| layout.protocol == UDP)?;
    let ports = packet.get(layout.transport..layout.transport + udp::LENGTH)?;
    Some([number16(ports, 0), number16(ports, 2)])
}

fn address4(octets: &[u8]) -> Option<IpAddr> {
    octets.first_chunk::<4>().map(|octets| Ipv4Addr::from(*octets).into())
}

fn address6(octets: &[u8]) -> Option<IpAddr> {
    octets.first_chunk::<16>().map(|octets| Ipv6Addr::from(*octets).into())
}

/// A length inside a packet, which has at most 64 KiB, as headers write it.
pub(super) fn short(length: usize) -> u16 {
    u16::try_from(length).unwrap_or(u16::MAX)
}

/// Reads a number of 16 bits.
pub(super) fn number16(packet: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([packet[at], packet[at + 1]])
}

/// Reads a number of 32 bits.
pub(super) fn number32(packet: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([packet[at], packet[at + 1], packet[at + 2], packet[at + 3]])
}

/// Where things are in a TCP header (RFC 9293 §3.1).
pub(super) mod tcp {
    pub(crate) const SEQUENCE: usize = 4;
    pub(crate) const ACKNOWLEDGEMENT: usize = 8;
    pub(crate) const DATA_OFFSET: usize = 12;
    pub(crate) const FLAGS: usize = 13;
    pub(crate) const WINDOW: usize = 14;
    pub(crate) const CHECKSUM: usize = 16;
    pub(crate) const URGENT: usize = 18;
    pub(crate) const OPTIONS: usize = 20;

    pub(crate) const FIN: u8 = 0x01;
    pub(crate) const PSH: u8 = 0x08;
    pub(crate) const ACK: u8 = 0x10;
    pub(crate) const CWR: u8 = 0x80;
}

/// Where things are in a UDP header (RFC 768).
pub(super) mod udp {
    pub(crate) const LENGTH: usize = 4;
    pub(crate) const CHECKSUM: usize = 6;
    pub(crate) const HEADER: usize = 8;
}

pub(super) const TCP: u8 = 6;
pub(super) const UDP: u8 = 17;
pub(super) const V4_HEADER: usize = 20;
pub(super) const V6_HEADER: usize = 40;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_udp_has_udp_ports() {
        let mut packet = [0; 24];
        (packet[0], packet[9]) = (0x45, UDP);
        packet[20..].copy_from_slice(&[1, 2, 3, 4]);
        assert_eq!(udp_ports(&packet), Some([0x102, 0x304]));
        assert_eq!(udp_ports(&packet[..23]), None);
        packet[9] = TCP;
        assert_eq!(udp_ports(&packet), None);
    }

    #[test]
    fn short_and_foreign_packets_have_no_layout() {
        assert_eq!(Layout::of(&[]), None);
        assert_eq!(Layout::of(&[0x45; 19]), None);
        assert_eq!(Layout::of(&[0x44; 60]), None, "header shorter than the least");
        assert_eq!(Layout::of(&[0x4f; 59]), None, "header longer than the packet");
        assert_eq!(Layout::of(&[0x60; 39]), None);
        assert_eq!(Layout::of(&[0x50; 60]), None);
        assert_eq!(destination(&[0x45; 20]), Some([0x45; 4].into()));
        assert_eq!(destination(&[0x60; 40]), Some([0x60; 16].into()));
    }
}

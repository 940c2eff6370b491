//! Congestion marks between a packet and the datagram that carries it, as the kernel's WireGuard has
//! them (RFC 6040): the mark goes out with the packet, the class does not, and a mark set on the way
//! comes back.

use super::checksum::Sum;
use super::packet::{Layout, Version};

/// The traffic class of the datagram that carries a packet: its mark, but one that says "congestion
/// experienced" starts anew.
pub(super) fn outer(packet: &[u8]) -> u8 {
    match inner(packet) {
        Some((_, CONGESTED)) => CAPABLE,
        Some((_, mark)) => mark,
        None => 0,
    }
}

/// Tells a packet that its datagram met congestion, if it can say so.
pub(super) fn decapsulate(class: u8, packet: &mut [u8]) {
    if class & MASK != CONGESTED {
        return;
    }
    let Some((layout, CAPABLE | CAPABLE_1)) = inner(packet) else { return };
    match layout.version {
        Version::V6 => packet[1] |= CONGESTED << 4,
        Version::V4 => {
            packet[1] |= CONGESTED;
            packet[10..12].fill(0);
            let checksum = Sum::default().octets(&packet[..layout.transport]).checksum();
            packet[10..12].copy_from_slice(&checksum);
        }
    }
}

fn inner(packet: &[u8]) -> Option<(Layout, u8)> {
    let layout = Layout::of(packet)?;
    let mark = match layout.version {
        Version::V4 => packet[1],
        Version::V6 => packet[1] >> 4,
    };
    Some((layout, mark & MASK))
}

/// The class of handshakes: as the kernel has it, so that they get through where data does not.
pub(super) const HANDSHAKE: u8 = 0x88;
const MASK: u8 = 3;
const CAPABLE_1: u8 = 1;
const CAPABLE: u8 = 2;
const CONGESTED: u8 = 3;

#[cfg(test)]
mod tests {
    use super::*;

    fn packets(mark: u8) -> [Vec<u8>; 2] {
        let mut v4 = vec![0; 40];
        (v4[0], v4[1]) = (0x45, 0xb8 | mark);
        Layout::of(&v4).unwrap().set_length(&mut v4, 40);
        let mut v6 = vec![0; 60];
        (v6[0], v6[1]) = (0x6b, 0x8f | mark << 4);
        [v4, v6]
    }

    #[test]
    fn the_mark_goes_out_and_the_class_does_not() {
        for (mark, wanted) in [(0, 0), (1, 1), (2, 2), (3, 2)] {
            assert_eq!(packets(mark).map(|packet| outer(&packet)), [wanted; 2]);
        }
        assert_eq!(outer(&[0x45, 3]), 0);
    }

    #[test]
    fn congestion_on_the_way_is_told_to_who_can_hear_of_it() {
        for (class, mark, wanted) in
            [(3, 0, 0), (3, 1, 3), (3, 2, 3), (3, 3, 3), (2, 1, 1), (0, 2, 2), (0xff, 2, 3)]
        {
            for (mut packet, wanted) in packets(mark).into_iter().zip(packets(wanted)) {
                decapsulate(class, &mut packet);
                assert_eq!(packet, wanted, "{class} {mark}");
            }
        }
        decapsulate(3, &mut []);
    }
}

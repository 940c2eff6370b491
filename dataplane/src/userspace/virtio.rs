//! The virtio-net header that stands before each packet of the TUN interface and says what is left
//! to do with it (virtio 1.2 §5.1.6).

/// What is left to do with a packet. Numbers in the machine's byte order: the legacy form.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Offload {
    /// The checksum field holds the sum of the pseudo-header only.
    pub(super) checksum: Option<Checksum>,
    /// The packet stands for several.
    pub(super) segments: Option<Segments>,
}

/// A checksum to be completed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Checksum {
    /// From here on, to the end of the packet.
    pub(super) start: u16,
    /// Where it goes, from `start`.
    pub(super) offset: u16,
}

/// Packets in one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Segments {
    /// Of what.
    pub(super) kind: Kind,
    /// Octets of headers.
    pub(super) header: u16,
    /// Octets of payload of each but the last.
    pub(super) size: u16,
}

/// What the packets are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// TCP over IPv4.
    Tcp4,
    /// TCP over IPv6.
    Tcp6,
    /// UDP.
    Udp,
}

impl Offload {
    /// Reads it; `None` for a kind that was not agreed on.
    pub(super) fn read(header: [u8; LEN]) -> Option<Self> {
        let number = |at: usize| u16::from_ne_bytes([header[at], header[at + 1]]);
        let kind = match header[1] & !ECN {
            0 => None,
            TCP4 => Some(Kind::Tcp4),
            TCP6 => Some(Kind::Tcp6),
            UDP => Some(Kind::Udp),
            _ => return None,
        };
        let checksum = (header[0] & NEEDS_CHECKSUM != 0)
            .then(|| Checksum { start: number(6), offset: number(8) });
        let segments = kind.map(|kind| Segments { kind, header: number(2), size: number(4) });
        Some(Self { checksum, segments })
    }

    /// Writes it.
    pub(super) fn write(self) -> [u8; LEN] {
        let mut header = [0; LEN];
        if let Some(Checksum { start, offset }) = self.checksum {
            header[0] = NEEDS_CHECKSUM;
            header[6..8].copy_from_slice(&start.to_ne_bytes());
            header[8..10].copy_from_slice(&offset.to_ne_bytes());
        }
        if let Some(Segments { kind, header: length, size }) = self.segments {
            header[1] = match kind {
                Kind::Tcp4 => TCP4,
                Kind::Tcp6 => TCP6,
                Kind::Udp => UDP,
            };
            header[2..4].copy_from_slice(&length.to_ne_bytes());
            header[4..6].copy_from_slice(&size.to_ne_bytes());
        }
        header
    }
}

/// Octets of it.
pub(super) const LEN: usize = 10;
const NEEDS_CHECKSUM: u8 = 1;
const TCP4: u8 = 1;
const TCP6: u8 = 4;
const UDP: u8 = 5;
/// A flag beside the kind: the first packet carries CWR.
const ECN: u8 = 0x80;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_unknown_kinds_are_refused() {
        for kind in [Kind::Tcp4, Kind::Tcp6, Kind::Udp] {
            let checksum = Some(Checksum { start: 40, offset: 16 });
            let segments = Some(Segments { kind, header: 60, size: 1348 });
            for offload in [Offload { checksum, segments }, Offload { checksum, segments: None }] {
                assert_eq!(Offload::read(offload.write()), Some(offload));
            }
        }
        assert_eq!(Offload::read([0; LEN]), Some(Offload::default()));
        assert_eq!(Offload::read([0, 3, 0, 0, 0, 0, 0, 0, 0, 0]), None, "UDP fragments");
    }
}

use proptest::prelude::*;

use super::*;
use crate::userspace::packet::{V6_HEADER, udp};
use crate::userspace::segment::{ROOM, split};

/// A packet of the kernel that stands for several, as it would make it.
#[derive(Clone, Debug)]
struct Giant {
    version: Version,
    options: usize,
    payload: usize,
    size: u16,
    sequence: u32,
    id: u16,
    push: bool,
}

impl Giant {
    fn any() -> impl Strategy<Value = Self> {
        let version = prop_oneof![Just(Version::V4), Just(Version::V6)];
        let (options, payload, size) = (0usize..=10, 2usize..20_000, 500u16..1400);
        (version, options, payload, size, any::<u32>(), any::<u16>(), any::<bool>()).prop_map(
            |(version, options, payload, size, sequence, id, push)| {
                // At least two segments, or it is no giant.
                let payload = payload.max(usize::from(size) + 1);
                Self { version, options: options * 4, payload, size, sequence, id, push }
            },
        )
    }

    fn headers(&self) -> usize {
        self.ip() + tcp::OPTIONS + self.options
    }

    fn ip(&self) -> usize {
        match self.version {
            Version::V4 => V4_HEADER,
            Version::V6 => V6_HEADER,
        }
    }

    /// Its octets, the pseudo-header's sum in its checksum.
    fn build(&self) -> (Vec<u8>, Offload) {
        let transport = self.ip();
        let mut packet: Vec<u8> = (0..self.headers() + self.payload).map(mixed).collect();
        match self.version {
            Version::V4 => {
                packet[0] = 0x45;
                packet[4..6].copy_from_slice(&self.id.to_be_bytes());
                packet[6..8].fill(0);
                packet[9] = TCP;
            }
            Version::V6 => {
                packet[0] = 0x60;
                packet[6] = TCP;
            }
        }
        let at = transport + tcp::SEQUENCE;
        packet[at..at + 4].copy_from_slice(&self.sequence.to_be_bytes());
        let words = u8::try_from((tcp::OPTIONS + self.options) / 4).unwrap();
        packet[transport + tcp::DATA_OFFSET] = words << 4;
        packet[transport + tcp::FLAGS] = tcp::ACK | if self.push { tcp::PSH } else { 0 };
        let layout = Layout::of(&packet).unwrap();
        layout.set_length(&mut packet, short(self.headers() + self.payload));
        let length = short(packet.len() - transport);
        let at = transport + tcp::CHECKSUM;
        let sum = layout.pseudo_header(&packet, length).partial();
        packet[at..at + 2].copy_from_slice(&sum);
        let kind = if self.version == Version::V4 { Kind::Tcp4 } else { Kind::Tcp6 };
        let segments = Segments { kind, header: short(self.headers()), size: self.size };
        let checksum = Checksum { start: short(transport), offset: short(tcp::CHECKSUM) };
        (packet, Offload { checksum: Some(checksum), segments: Some(segments) })
    }
}

fn mixed(at: usize) -> u8 {
    (at * 31 + at / 256).to_le_bytes()[0]
}

/// Cuts a packet; the segments one after the other, and where they are.
fn cut(packet: &[u8], offload: Offload) -> (Vec<u8>, Vec<Range<usize>>) {
    let mut buffer = [packet, &[0; ROOM]].concat();
    let mut scratch = vec![0; 70_000];
    let (mut all, mut places) = (Vec::new(), Vec::new());
    split((&mut buffer, packet.len()), offload, &mut scratch, |segment, length| {
        places.push(all.len()..all.len() + length);
        all.extend_from_slice(&segment[..length]);
    })
    .unwrap();
    (all, places)
}

/// Joins packets as far as they can be; gives each result with what the kernel is told.
fn join(buffer: &mut [u8], places: &[Range<usize>]) -> Vec<(Vec<u8>, Offload)> {
    let mut run = Run::default();
    let mut results = Vec::new();
    for place in places {
        if !run.join(buffer, place) {
            finish(&mut run, buffer, &mut results);
            run.start(buffer, place.clone());
        }
    }
    finish(&mut run, buffer, &mut results);
    results
}

fn finish(run: &mut Run, buffer: &mut [u8], results: &mut Vec<(Vec<u8>, Offload)>) {
    let (offload, parts) = run.finish(buffer);
    if !parts.is_empty() {
        let packet = parts.iter().flat_map(|part| buffer[part.clone()].to_vec()).collect();
        results.push((packet, offload));
    }
    run.clear();
}

proptest! {
    #[test]
    fn what_was_cut_is_joined_to_what_it_was(giant in Giant::any()) {
        let (packet, offload) = giant.build();
        let (mut segments, places) = cut(&packet, offload);
        prop_assert_eq!(places.len(), giant.payload.div_ceil(giant.size.into()));
        for place in &places {
            let segment = &segments[place.clone()];
            prop_assert!(is_whole(Layout::of(segment).unwrap(), segment), "{place:?}");
        }
        prop_assert_eq!(join(&mut segments, &places), [(packet, offload)]);
    }

    #[test]
    fn a_damaged_segment_is_never_joined(giant in Giant::any(), which: usize, bit: usize) {
        let (packet, offload) = giant.build();
        let (mut segments, places) = cut(&packet, offload);
        let damaged = places[which % places.len()].clone();
        let at = damaged.start + bit / 8 % damaged.len();
        segments[at] ^= 1 << (bit % 8);
        let wrong = segments[damaged.clone()].to_vec();
        let results = join(&mut segments, &places);
        let alone = (wrong, Offload::default());
        // An IPv6 header has fields that no checksum covers; then it is another flow.
        prop_assert!(results.contains(&alone), "{} results", results.len());
        let octets: usize = results.iter().map(|(packet, _)| packet.len()).sum();
        let joined = places.len() - results.len();
        prop_assert_eq!(octets + joined * giant.headers(), segments.len(), "nothing is lost");
    }

    #[test]
    fn whatever_comes_nothing_panics_and_what_is_not_joined_is_untouched(
        packets in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..200), 1..6),
        version in prop_oneof![Just(0x45u8), Just(0x60)],
    ) {
        let mut buffer = Vec::new();
        let mut places = Vec::new();
        for mut packet in packets {
            packet[0] = version;
            places.push(buffer.len()..buffer.len() + packet.len());
            buffer.append(&mut packet);
        }
        let before = buffer.clone();
        let results = join(&mut buffer, &places);
        prop_assert_eq!(results.len(), places.len());
        prop_assert_eq!(buffer, before);
    }
}

/// Two segments that follow each other, and what `change` makes of the second, its checksum right.
fn pair(change: impl FnOnce(&mut [u8])) -> usize {
    let giant = Giant {
        version: Version::V4,
        options: 12,
        payload: 2000,
        size: 1000,
        sequence: u32::MAX - 500,
        id: u16::MAX,
        push: false,
    };
    let (packet, offload) = giant.build();
    let (mut segments, places) = cut(&packet, offload);
    let second = &mut segments[places[1].clone()];
    change(second);
    let layout = Layout::of(second).unwrap();
    layout.set_length(second, short(second.len()));
    let at = layout.transport + tcp::CHECKSUM;
    second[at..at + 2].fill(0);
    let sum = layout.pseudo_header(second, short(second.len() - layout.transport));
    let sum = sum.octets(&second[layout.transport..]).checksum();
    second[at..at + 2].copy_from_slice(&sum);
    join(&mut segments, &places).len()
}

#[test]
fn only_segments_that_follow_each_other_are_joined() {
    const T: usize = V4_HEADER;
    assert_eq!(pair(|_| {}), 1, "also where sequence and identification wrap");
    assert_eq!(pair(|p| p[T + tcp::FLAGS] |= tcp::PSH), 1);
    assert_eq!(pair(|p| p[T + tcp::FLAGS] |= tcp::FIN), 2, "FIN");
    assert_eq!(pair(|p| p[T + tcp::FLAGS] |= tcp::CWR), 2, "CWR");
    assert_eq!(pair(|p| p[T + tcp::SEQUENCE + 3] ^= 1), 2, "sequence");
    assert_eq!(pair(|p| p[T + tcp::ACKNOWLEDGEMENT] ^= 1), 2, "acknowledgement");
    assert_eq!(pair(|p| p[T + tcp::WINDOW] ^= 1), 2, "window");
    assert_eq!(pair(|p| p[T + tcp::OPTIONS] ^= 1), 2, "options");
    assert_eq!(pair(|p| p[T] ^= 1), 2, "port");
    assert_eq!(pair(|p| p[1] ^= 1), 2, "class");
    assert_eq!(pair(|p| p[8] ^= 1), 2, "hop limit");
    assert_eq!(pair(|p| p[5] ^= 1), 2, "identification");
    assert_eq!(pair(|p| p[6] ^= 0x20), 2, "fragment");
    assert_eq!(pair(|p| p[15] ^= 1), 2, "address");
}

#[test]
fn udp_in_one_piece_is_cut_to_whole_datagrams() {
    let headers = V6_HEADER + udp::HEADER;
    let mut packet: Vec<u8> = (0..headers + 2500).map(mixed).collect();
    packet[0] = 0x60;
    packet[6] = crate::userspace::packet::UDP;
    let segments = Segments { kind: Kind::Udp, header: short(headers), size: 1000 };
    let (datagrams, places) = cut(&packet, Offload { checksum: None, segments: Some(segments) });
    assert_eq!(places.iter().map(ExactSizeIterator::len).collect::<Vec<_>>(), [1048, 1048, 548]);
    let mut payload = Vec::new();
    for place in places {
        let datagram = &datagrams[place];
        let layout = Layout::of(datagram).unwrap();
        assert!(is_joinable(layout, datagram));
        let length = number16(datagram, V6_HEADER + udp::LENGTH);
        assert_eq!(usize::from(length), datagram.len() - V6_HEADER);
        let sum = layout.pseudo_header(datagram, length).octets(&datagram[V6_HEADER..]);
        assert!(sum.is_valid());
        payload.extend_from_slice(&datagram[headers..]);
    }
    assert_eq!(payload, packet[headers..]);
}

#[test]
fn a_single_packet_gets_its_checksum_completed_and_nonsense_is_refused() {
    let giant = Giant {
        version: Version::V6,
        options: 0,
        payload: 700,
        size: 1000,
        sequence: 1,
        id: 0,
        push: true,
    };
    let (packet, Offload { checksum, segments }) = giant.build();
    let (whole, places) = cut(&packet, Offload { checksum, segments: None });
    assert_eq!(places, vec![0..packet.len()]);
    assert!(is_whole(Layout::of(&whole).unwrap(), &whole));
    let refused = |offload, length: usize| {
        let mut buffer = [&packet[..length], &[0; ROOM]].concat();
        split((&mut buffer, length), offload, &mut vec![0; 2000], |_, _| {}).is_err()
    };
    let none = Segments { size: 0, ..segments.unwrap() };
    assert!(refused(Offload { checksum, segments: Some(none) }, packet.len()));
    assert!(refused(Offload { checksum, segments }, 30));
    let beyond = Checksum { start: 750, offset: 16 };
    assert!(refused(Offload { checksum: Some(beyond), segments: None }, packet.len()));
    let large = Segments { size: 2000, ..segments.unwrap() };
    assert!(refused(Offload { checksum, segments: Some(large) }, packet.len()));
}

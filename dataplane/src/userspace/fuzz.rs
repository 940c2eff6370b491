//! What is fuzzed of the embedded WireGuard: functions that take any octets and panic when something is
//! wrong.

mod session;

use std::ops::Range;

use super::checksum::Sum;
use super::coalesce::Run;
use super::ecn;
use super::noise::Noise;
use super::packet::{Layout, Version, number16, number32, short, tcp};
use super::protocol;
use super::segment::{self, ROOM};
use super::uapi::{Request, Update};
use super::virtio::{self, Offload};
pub use session::session;

/// A configuration as text. What a device says of itself afterwards makes another one the same.
///
/// # Panics
/// When it does not.
pub fn configuration(octets: &[u8]) {
    // Refused or not: it must come back.
    let _ = serde_json::from_slice::<protocol::Request>(octets);
    let _ = serde_json::from_slice::<protocol::Answer>(octets);
    let Ok(text) = std::str::from_utf8(octets) else { return };
    let Ok(Request::Set(update)) = Request::parse(text) else { return };
    let mut noise = Noise::default();
    if noise.check(&update).is_err() {
        return;
    }
    noise.set(update);
    let described = noise.describe().text();
    let restoring = Update::restoring(&described).expect("what is written is read");
    let mut successor = Noise::default();
    successor.set(restoring);
    assert_eq!(successor.describe().text(), described);
}

/// A packet as the kernel hands it over, behind the header that says what is left to do. Its segments are
/// no longer than they may be, whole, and come together again.
///
/// # Panics
/// When they are not.
pub fn offload(octets: &[u8]) {
    let Some((header, packet)) = octets.split_first_chunk::<{ virtio::LEN }>() else { return };
    let Some(offload) = Offload::read(*header) else { return };
    assert_eq!(Offload::read(offload.write()), Some(offload));
    let Some(parts) = cut(packet, offload) else { return };
    if let Some(segments) = offload.segments {
        let most = usize::from(segments.size);
        let payload = |part: &Vec<u8>| {
            let layout = Layout::of(part).expect("a segment has the headers of the whole");
            let headers = layout.tcp_headers(part).unwrap_or(layout.transport + 8);
            part.len() - headers
        };
        assert!(parts.iter().all(|part| (1..=most).contains(&payload(part))));
    }
    comes_apart_again(&parts);
}

/// Packets as a peer may send them: some octets of the input are packets, others say how the next differs
/// from the one before. Whatever is joined comes apart again to what it was.
///
/// # Panics
/// When it does not.
pub fn coalesce(octets: &[u8]) {
    comes_apart_again(&packets(octets));
}

fn packets(octets: &[u8]) -> Vec<Vec<u8>> {
    let mut octets = Octets(octets);
    let mut packets: Vec<Vec<u8>> = Vec::new();
    while !octets.0.is_empty() && packets.len() < PACKETS {
        let choice = octets.next();
        let mut packet = match packets.last() {
            Some(last) if choice & 1 != 0 => follower(last, &mut octets),
            _ => {
                let length = usize::from(octets.next());
                octets.take(length).to_vec()
            }
        };
        if choice & 2 != 0 {
            let (at, value) = (usize::from(octets.next()), octets.next());
            if let Some(octet) = packet.get_mut(at) {
                *octet ^= value;
            }
        }
        if choice & 4 != 0 {
            complete(&mut packet);
        }
        ecn::decapsulate(choice >> 6, &mut packet);
        if !packet.is_empty() {
            packets.push(packet);
        }
    }
    packets
}

/// Octets that are taken one after the other; zeros follow them.
struct Octets<'a>(&'a [u8]);

impl<'a> Octets<'a> {
    fn next(&mut self) -> u8 {
        self.take(1).first().copied().unwrap_or(0)
    }

    fn take(&mut self, count: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(count.min(self.0.len()));
        self.0 = rest;
        taken
    }
}

/// The segment that follows one of TCP: as long, shorter or longer.
fn follower(last: &[u8], octets: &mut Octets<'_>) -> Vec<u8> {
    let layout = Layout::of(last);
    let headers = layout.and_then(|layout| layout.tcp_headers(last));
    let (Some(layout), Some(headers)) = (layout, headers) else { return last.to_vec() };
    let length = match octets.next() {
        0..200 => last.len() - headers,
        other => usize::from(other),
    };
    let mut packet = last[..headers].to_vec();
    packet.extend((0..length).map(|_| octets.next()));
    let at = layout.transport + tcp::SEQUENCE;
    let sequence = number32(last, at).wrapping_add(u32::from(short(last.len() - headers)));
    packet[at..at + 4].copy_from_slice(&sequence.to_be_bytes());
    if layout.version == Version::V4 {
        let id = number16(last, 4).wrapping_add(1);
        packet[4..6].copy_from_slice(&id.to_be_bytes());
    }
    packet
}

/// Makes length and checksums of a TCP segment right.
fn complete(packet: &mut [u8]) {
    let Some(layout) = Layout::of(packet).filter(|layout| layout.tcp_headers(packet).is_some())
    else {
        return;
    };
    let length = short(packet.len());
    layout.set_length(packet, length);
    let at = layout.transport + tcp::CHECKSUM;
    packet[at..at + 2].fill(0);
    let sum = layout.pseudo_header(packet, length - short(layout.transport));
    let sum = sum.octets(&packet[layout.transport..]).checksum();
    packet[at..at + 2].copy_from_slice(&sum);
}

/// Joins packets as far as they can be, and cuts the results.
fn comes_apart_again(packets: &[Vec<u8>]) {
    let apart: Vec<Vec<u8>> = join(packets)
        .iter()
        .flat_map(|(packet, offload)| cut(packet, *offload).expect("what is joined can be cut"))
        .collect();
    assert_eq!(apart.len(), packets.len());
    for (before, after) in packets.iter().zip(&apart) {
        assert_eq!(canonical(before), canonical(after));
    }
}

/// Joins as the device does; each result with what the kernel is told.
fn join(packets: &[Vec<u8>]) -> Vec<(Vec<u8>, Offload)> {
    let mut buffer = packets.concat();
    let (mut run, mut results, mut start) = (Run::default(), Vec::new(), 0);
    let mut finish = |run: &mut Run, buffer: &mut [u8]| {
        let (offload, parts) = run.finish(buffer);
        if !parts.is_empty() {
            let part = |part: &Range<usize>| buffer[part.clone()].to_vec();
            results.push((parts.iter().flat_map(part).collect(), offload));
        }
        run.clear();
    };
    for packet in packets {
        let place = start..start + packet.len();
        start = place.end;
        if !run.join(&buffer, &place) {
            finish(&mut run, &mut buffer);
            run.start(&buffer, place);
        }
    }
    finish(&mut run, &mut buffer);
    results
}

/// Cuts a packet; `None` if it is not what it is said to be.
fn cut(packet: &[u8], offload: Offload) -> Option<Vec<Vec<u8>>> {
    let mut buffer = [packet, &[0; ROOM]].concat();
    let mut scratch = vec![0; (64 << 10) + 512];
    let mut parts = Vec::new();
    segment::split((&mut buffer, packet.len()), offload, &mut scratch, |part, length| {
        parts.push(part[..length].to_vec());
    })
    .ok()?;
    Some(parts)
}

/// The same for all forms of one packet: zero has two in a checksum, and a packet that is never fragmented
/// may have any identification (RFC 6864 §4.1).
fn canonical(packet: &[u8]) -> Vec<u8> {
    let mut packet = packet.to_vec();
    let Some(layout) = Layout::of(&packet) else { return packet };
    let one_zero = |field: &mut [u8]| {
        if field == [0xff, 0xff] {
            field.fill(0);
        }
    };
    if layout.version == Version::V4 {
        let is_whole = Sum::default().octets(&packet[..layout.transport]).is_valid();
        if packet[6] & 0x40 != 0 && is_whole {
            packet[4..6].fill(0);
            packet[10..12].fill(0);
        }
        one_zero(&mut packet[10..12]);
    }
    if layout.tcp_headers(&packet).is_some() {
        let at = layout.transport + tcp::CHECKSUM;
        one_zero(&mut packet[at..at + 2]);
    }
    packet
}

/// In an input: as many as stay in one run, and some more.
const PACKETS: usize = 100;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inputs_make_runs() {
        let mut first = [0; 80];
        (first[0], first[9], first[32], first[33]) = (0x45, 6, 0x50, 0x10);
        let mut octets = [&[4, 80], &first[..]].concat();
        (0..5).for_each(|_| octets.extend([[5, 0].as_slice(), &[9; 40]].concat()));
        let packets = packets(&octets);
        assert_eq!((packets.len(), join(&packets).len()), (6, 1));
        coalesce(&octets);
    }
}

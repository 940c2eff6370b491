use std::cell::Cell;

use blake2::digest::common::KeySizeUser;
use blake2::digest::{FixedOutput, InvalidLength, MacMarker, Update};

use super::super::{Hello, HelloKind, MacTlv, Packet, Signing, Tlv, Writer, mac_tlvs, read};
use super::*;
use crate::interval::Interval;
use crate::seqno::Seqno;

const SOURCE: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);
const OTHER: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 2);
const HEADER: PseudoHeader = PseudoHeader { source: SOURCE, destination: Destination::Multicast };

fn key(algorithm: MacAlgorithm, octet: u8) -> MacKey {
    MacKey::new(algorithm, &[octet; 32]).unwrap()
}

fn hmac(octet: u8) -> MacKey {
    key(MacAlgorithm::HmacSha256, octet)
}

fn blake(octet: u8) -> MacKey {
    key(MacAlgorithm::Blake2s128, octet)
}

fn hello() -> Packet {
    let (seqno, interval, kind) = (Seqno(7), Interval(400), HelloKind::Multicast);
    let mut writer = Writer::new(512, SOURCE);
    writer.push(&Tlv::Hello(Hello { kind, seqno, interval, timestamp: Some(0) })).unwrap();
    let mut packet = writer.finish().unwrap();
    packet.append(&MacTlv::PacketCounter { counter: 9, index: b"index" });
    packet
}

fn signed(keys: &[MacKey]) -> Vec<u8> {
    let mut packet = hello();
    packet.signing = Some(Signing { keys: keys.into(), header: HEADER });
    packet.seal(0xaabb_ccdd)
}

#[test]
fn the_pseudo_header_is_both_addresses_each_with_the_port() {
    let octets = HEADER.octets();
    assert_eq!(octets[..16], SOURCE.octets());
    assert_eq!(octets[16..18], [0x1a, 0x28]);
    assert_eq!(octets[18..34], GROUP.octets());
    assert_eq!(octets[34..], [0x1a, 0x28]);
}

#[test]
fn any_key_of_the_receiver_suffices_and_none_else() {
    let both = [hmac(1), blake(2)];
    for (sent, held, outcome) in [
        (&both[..], &both[..], Ok(())),
        (&both[..1], &both[..], Ok(())),
        (&both[..], &both[1..], Ok(())),
        (&both[..1], &both[1..], Err(MacError::WrongMac)),
        (&[hmac(2)], &both[..1], Err(MacError::WrongMac)),
        (&[], &both[..], Err(MacError::NoMac)),
        (&both[..], &[], Err(MacError::WrongMac)),
    ] {
        assert_eq!(verify(&signed(sent), HEADER, held), outcome, "{sent:?} {held:?}");
    }
}

#[test]
fn a_mac_covers_every_octet_of_header_and_body_and_both_addresses() {
    for key in [hmac(1), blake(1)] {
        let keys = [key];
        let datagram = signed(&keys);
        let body = hello().bytes.len();
        for position in 4..body {
            let mut forged = datagram.clone();
            forged[position] ^= 1;
            assert_eq!(verify(&forged, HEADER, &keys), Err(MacError::WrongMac), "{position}");
        }
        let wrong = MacError::WrongMac;
        let from_other = PseudoHeader { source: OTHER, ..HEADER };
        assert_eq!(verify(&datagram, from_other, &keys), Err(wrong));
        let to_other = PseudoHeader { destination: Destination::Unicast(OTHER), ..HEADER };
        assert_eq!(verify(&datagram, to_other, &keys), Err(wrong));
    }
}

#[test]
fn a_mac_covers_the_transmit_time() {
    let datagram = signed(&[hmac(1)]);
    assert_eq!(verify(&datagram, HEADER, &[hmac(1)]), Ok(()));
    let Some(Ok(Tlv::Hello(hello))) = read(&datagram, SOURCE).unwrap().next() else {
        panic!("no Hello in {datagram:?}")
    };
    assert_eq!(hello.timestamp, Some(0xaabb_ccdd));
}

#[test]
fn a_trailer_is_walked_over_padding_and_unknown_tlvs() {
    let keys = [blake(3)];
    let datagram = signed(&keys);
    let body = hello().bytes.len();
    let (signed, mac) = datagram.split_at(body);
    let padded = [signed, &[0, 0, 1, 2, 9, 9, 200, 1, 9], mac].concat();
    assert_eq!(verify(&padded, HEADER, &keys), Ok(()));
    let cut = &padded[..padded.len() - 1];
    assert_eq!(verify(cut, HEADER, &keys), Err(MacError::NoMac), "the MAC is cut off");
    let short = [signed, &[16, 0, 16, 2, 1, 2]].concat();
    assert_eq!(verify(&short, HEADER, &keys), Err(MacError::WrongMac));
}

#[test]
fn a_mac_in_the_body_is_none() {
    let mut packet = hello();
    let key = hmac(1);
    let mac = key.sign(HEADER, &packet.bytes);
    mac_tlv::write_mac(&mac, &mut packet.bytes);
    packet.append(&MacTlv::ChallengeReply(b""));
    assert_eq!(verify(&packet.bytes, HEADER, &[key]), Err(MacError::NoMac));
}

#[test]
fn what_is_no_packet_is_refused_before_any_mac_is_computed() {
    let refused = verify(&[42, 2, 0, 9], HEADER, &[hmac(1)]);
    assert_eq!(refused, Err(MacError::Packet(PacketError::BodyLength)));
}

thread_local! {
    static COMPUTED: Cell<usize> = const { Cell::new(0) };
}

/// HMAC that counts how often it is computed.
struct Counting(Hmac<Sha256>);

impl OutputSizeUser for Counting {
    type OutputSize = <Hmac<Sha256> as OutputSizeUser>::OutputSize;
}

impl KeySizeUser for Counting {
    type KeySize = <Hmac<Sha256> as KeySizeUser>::KeySize;
}

impl KeyInit for Counting {
    fn new(key: &blake2::digest::Key<Self>) -> Self {
        Self(Hmac::new(key))
    }

    fn new_from_slice(key: &[u8]) -> Result<Self, InvalidLength> {
        Hmac::new_from_slice(key).map(Self)
    }
}

impl Update for Counting {
    fn update(&mut self, octets: &[u8]) {
        Update::update(&mut self.0, octets);
    }
}

impl FixedOutput for Counting {
    fn finalize_into(self, out: &mut Output<Self>) {
        COMPUTED.set(COMPUTED.get() + 1);
        self.0.finalize_into(out);
    }
}

impl MacMarker for Counting {}

#[test]
fn a_mac_is_computed_once_for_each_key_and_not_for_each_mac_of_the_packet() {
    let (key, body) = (hmac(1), hello().bytes);
    let right = key.sign(HEADER, &body);
    let wrong: Vec<[u8; 32]> = (0..100).map(|octet| [octet; 32]).collect();
    let mut macs: Vec<&[u8]> = wrong.iter().map(<[u8; 32]>::as_slice).collect();
    assert!(!key.made::<Counting>(&macs, HEADER, &body));
    assert_eq!(COMPUTED.get(), 1);
    macs.push(&right);
    assert!(key.made::<Counting>(&macs, HEADER, &body));
    assert_eq!(COMPUTED.get(), 2);
}

#[test]
fn only_the_tlvs_of_the_protocol_are_preparsed_and_long_ones_are_ignored() {
    let mut packet = hello();
    let (index, nonce) = ([1; 33], [2; 193]);
    for tlv in [
        MacTlv::PacketCounter { counter: 1, index: &index },
        MacTlv::ChallengeRequest(&nonce),
        MacTlv::ChallengeRequest(&nonce[1..]),
        MacTlv::ChallengeReply(b""),
        MacTlv::PacketCounter { counter: u32::MAX, index: &index[1..] },
    ] {
        packet.append(&tlv);
    }
    // A PC too short for a counter.
    packet.bytes.extend([17, 3, 0, 0, 0, 16, 1, 0]);
    packet.append(&MacTlv::ChallengeReply(b"x"));
    let found: Vec<_> = mac_tlvs(&packet.bytes).unwrap().collect();
    let expected = [
        MacTlv::PacketCounter { counter: 9, index: b"index" },
        MacTlv::ChallengeRequest(&nonce[1..]),
        MacTlv::ChallengeReply(b""),
        MacTlv::PacketCounter { counter: u32::MAX, index: &index[1..] },
        MacTlv::ChallengeReply(b"x"),
    ];
    assert_eq!(found, expected);
    let mut reader = read(&packet.bytes, SOURCE).unwrap();
    assert_eq!(reader.by_ref().count(), 1, "the Hello alone");
    assert_eq!(reader.unknown(), 0);
}

#[test]
fn keys_have_lengths_that_their_algorithm_takes() {
    let lengths = |algorithm| {
        let takes = |length: usize| MacKey::new(algorithm, &vec![1; length]).is_ok();
        (0..100).filter(|length| takes(*length)).collect::<Vec<_>>()
    };
    assert_eq!(lengths(MacAlgorithm::HmacSha256), (16..=64).collect::<Vec<_>>());
    assert_eq!(lengths(MacAlgorithm::Blake2s128), (16..=32).collect::<Vec<_>>());
    let error = MacKey::new(MacAlgorithm::Blake2s128, &[1; 33]).unwrap_err();
    assert_eq!(error.to_string(), "a key for blake2s128 has 16 to 32 octets, not 33");
}

#[test]
fn keys_do_not_print() {
    assert_eq!(format!("{:?}", hmac(0x55)), "MacKey(hmac-sha256, secret)");
    let mut packet = hello();
    packet.signing = Some(Signing { keys: [hmac(0x55)].into(), header: HEADER });
    assert!(!format!("{packet:?}").contains("85, 85"));
}

#[test]
fn room_for_macs_and_counter_is_what_they_take() {
    let keys = [hmac(1), blake(2), blake(3)];
    let without = hello().bytes.len();
    assert_eq!(signed(&keys).len(), without + mac_room(&keys));
    let mut packet = Packet::empty();
    packet.append(&MacTlv::PacketCounter { counter: 1, index: &[0; 8] });
    assert_eq!(packet.bytes.len(), 4 + super::super::PACKET_COUNTER_ROOM);
}

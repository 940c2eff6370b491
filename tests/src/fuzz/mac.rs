//! Authenticated packets (RFC 8967): what is signed verifies, and nothing else does.

use std::net::Ipv6Addr;
use std::slice;

use sixwire_proto::babel::{
    Destination, MacAlgorithm, MacError, MacKey, PseudoHeader, mac_room, mac_tlvs, sign_anew,
    verify,
};

/// A datagram, behind what says which keys it is signed with and where it is damaged.
pub(super) fn packet(octets: &[u8]) {
    let Some((&[choice, length, at, bit], datagram)) = octets.split_first_chunk() else { return };
    lengths_of_keys_are_checked(length);
    let keys = keys(choice, length);
    let header = header(choice);
    // Whatever it is, it must come back; that it passes would be a great coincidence.
    let verdict = verify(datagram, header, &keys);
    let Some(signed) = sign_anew(datagram, header, &keys) else {
        assert!(matches!(verdict, Err(MacError::Packet(_))), "{verdict:?}");
        return;
    };
    assert!(mac_tlvs(datagram).is_ok_and(|tlvs| tlvs.count() <= datagram.len()));
    assert!(signed.len() <= datagram.len() + mac_room(&keys));
    for key in &keys {
        assert_eq!(verify(&signed, header, slice::from_ref(key)), Ok(()), "{key:?}");
    }
    let elsewhere = PseudoHeader { source: Ipv6Addr::LOCALHOST, ..header };
    assert_eq!(verify(&signed, elsewhere, &keys), Err(MacError::WrongMac));
    assert_eq!(verify(&signed, header, &[stranger()]), Err(MacError::WrongMac));
    assert_eq!(verify(&signed, header, &[]), Err(MacError::WrongMac));
    let first = &keys[..1];
    let mut damaged = sign_anew(datagram, header, first).expect("it was signed before");
    assert!(verify(&damaged[..damaged.len() - 1], header, first).is_err());
    let at = (usize::from(at) * damaged.len()) >> 8;
    damaged[at] ^= 1 << (bit & 7);
    assert!(verify(&damaged, header, first).is_err(), "octet {at} was changed");
}

fn lengths_of_keys_are_checked(length: u8) {
    let octets = vec![1; usize::from(length)];
    for (algorithm, greatest) in [(MacAlgorithm::HmacSha256, 64), (MacAlgorithm::Blake2s128, 32)] {
        let fits = (16..=greatest).contains(&length);
        assert_eq!(MacKey::new(algorithm, &octets).is_ok(), fits, "{length} for {algorithm}");
    }
}

/// One to four keys of both kinds.
fn keys(choice: u8, length: u8) -> Vec<MacKey> {
    let key = |number: u8| {
        let (algorithm, most) = match (choice >> 2 ^ number) & 1 {
            0 => (MacAlgorithm::HmacSha256, 64),
            _ => (MacAlgorithm::Blake2s128, 32),
        };
        let length = 16 + length.wrapping_add(number) % (most - 15);
        let octets = vec![number + 1; usize::from(length)];
        MacKey::new(algorithm, &octets).expect("the length is right")
    };
    (0..=choice & 3).map(key).collect()
}

fn stranger() -> MacKey {
    MacKey::new(MacAlgorithm::Blake2s128, &[0xee; 16]).expect("the length is right")
}

fn header(choice: u8) -> PseudoHeader {
    let destination = match choice & 8 {
        0 => Destination::Multicast,
        _ => Destination::Unicast(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 2)),
    };
    PseudoHeader { source: Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1), destination }
}

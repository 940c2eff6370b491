use super::*;

#[test]
fn an_exhausted_counter_begins_again_under_a_new_index() {
    let key = MacKey::new(sixwire_proto::babel::MacAlgorithm::HmacSha256, &[1; 32]).unwrap();
    let authentication = Authentication::new(vec![key], Unauthenticated::Refuse).unwrap();
    let mut seed = Seed::new(1);
    let mut guard = Guard::new(authentication, &mut seed);
    guard.counter = u32::MAX - 1;
    let header = PseudoHeader { source: Ipv6Addr::LOCALHOST, destination: Destination::Multicast };
    let mut said = Vec::new();
    for _ in 0..4 {
        let mut packet = Packet::empty();
        guard.sign(&mut packet, header, &mut seed);
        let mut found = mac_tlvs(&packet.bytes).unwrap();
        let Some(MacTlv::PacketCounter { counter, index }) = found.next() else { panic!() };
        said.push((counter, index.to_vec()));
    }
    let counters: Vec<u32> = said.iter().map(|(counter, _)| *counter).collect();
    assert_eq!(counters, [u32::MAX - 1, u32::MAX, 0, 1]);
    assert_eq!(said[0].1, said[1].1);
    assert_ne!(said[1].1, said[2].1);
    assert_eq!(said[2].1, said[3].1);
}

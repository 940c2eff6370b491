use super::super::{EchoedTimes, read};
use super::*;
use crate::metric::{Cost, Metric};
use crate::seqno::Seqno;

const SOURCE: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);

fn id(n: u64) -> RouterId {
    RouterId::new(n.to_be_bytes()).unwrap()
}

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn announce(destination: &str, router_id: u64, next_hop: &str) -> Update {
    Update {
        route: Some(RouteKey::to(destination.parse().unwrap())),
        router_id: Some(id(router_id)),
        next_hop: Some(address(next_hop)),
        seqno: Seqno(7),
        metric: Metric(96),
        interval: Interval(400),
    }
}

fn retract(route: Option<RouteKey>) -> Update {
    Update {
        route,
        router_id: None,
        next_hop: None,
        metric: Metric::INFINITY,
        ..announce("::/0", 1, "::1")
    }
}

/// The TLVs of the one datagram these fill, as type and body.
fn frames(tlvs: &[Tlv]) -> Vec<(u8, Vec<u8>)> {
    let mut writer = Writer::new(1400, SOURCE);
    for tlv in tlvs {
        writer.push(tlv).unwrap();
    }
    assert_eq!(writer.unencodable(), 0);
    let bytes = writer.finish().unwrap().bytes;
    let (header, mut rest) = bytes.split_at(4);
    assert_eq!(usize::from(u16::from_be_bytes([header[2], header[3]])), rest.len());
    let mut frames = Vec::new();
    while let [kind, length, tail @ ..] = rest {
        let (body, next) = tail.split_at(usize::from(*length));
        frames.push((*kind, body.to_vec()));
        rest = next;
    }
    frames
}

fn kinds(updates: &[Update]) -> Vec<u8> {
    let tlvs: Vec<_> = updates.iter().copied().map(Tlv::Update).collect();
    frames(&tlvs).into_iter().map(|(kind, _)| kind).collect()
}

#[test]
fn router_id_and_next_hop_are_written_when_they_change() {
    let cases: [(&[Update], &[u8]); 5] = [
        (&[announce("fd00::/64", 1, "fe80::1"), announce("fd01::/64", 1, "fe80::1")], &[6, 8, 8]),
        (
            &[announce("fd00::/64", 1, "fe80::1"), announce("fd01::/64", 2, "fe80::1")],
            &[6, 8, 6, 8],
        ),
        (
            &[announce("fd00::/64", 1, "fe80::2"), announce("fd01::/64", 1, "fe80::1")],
            &[6, 7, 8, 7, 8],
        ),
        (
            &[announce("10.0.0.0/8", 1, "10.0.0.1"), announce("10.1.0.0/16", 1, "10.0.0.1")],
            &[6, 7, 8, 8],
        ),
        (&[announce("10.0.0.0/8", 1, "fe80::1"), announce("fd00::/64", 1, "fe80::1")], &[6, 8, 8]),
    ];
    for (updates, expected) in cases {
        assert_eq!(kinds(updates), expected, "{updates:?}");
    }
}

#[test]
fn next_hops_take_the_shortest_address_encoding() {
    for (destination, hop, expected) in [
        ("fd00::/64", "fe80::2", vec![3, 0, 0, 0, 0, 0, 0, 0, 0, 2]),
        ("10.0.0.0/8", "10.0.0.1", vec![1, 0, 10, 0, 0, 1]),
        ("fd00::/64", "fd00::2", [&[2, 0, 0xfd][..], &[0; 14], &[2]].concat()),
        ("fd00::/64", "fe80:1::2", [&[2, 0, 0xfe, 0x80, 0, 1][..], &[0; 11], &[2]].concat()),
    ] {
        let frames = frames(&[Tlv::Update(announce(destination, 1, hop))]);
        assert_eq!(frames[1], (7, expected), "{hop}");
    }
}

#[test]
fn ipv4_travels_with_the_family_of_its_next_hop_and_retractions_as_plain_ipv4() {
    let ae = |update: Update| frames(&[Tlv::Update(update)]).pop().unwrap().1[0];
    assert_eq!(ae(announce("10.0.0.0/8", 1, "10.0.0.1")), 1);
    assert_eq!(ae(announce("10.0.0.0/8", 1, "fe80::1")), 4);
    assert_eq!(ae(retract(Some(RouteKey::to("10.0.0.0/8".parse().unwrap())))), 1);
    assert_eq!(ae(retract(None)), 0);
}

#[test]
fn a_retraction_costs_no_router_id_and_no_next_hop() {
    let with_both = Update { metric: Metric::INFINITY, ..announce("fd00::/64", 1, "fe80::9") };
    assert_eq!(kinds(&[with_both]), [8]);
}

#[test]
fn ipv6_prefixes_omit_what_they_share_with_the_one_before() {
    let shared = |updates: &[&str]| -> Vec<(u8, u8)> {
        let tlvs: Vec<_> =
            updates.iter().map(|text| Tlv::Update(announce(text, 1, "fe80::1"))).collect();
        frames(&tlvs)[1..].iter().map(|(_, body)| (body[1], body[3])).collect()
    };
    assert_eq!(shared(&["fd00:1:2::/48", "fd00:1:3::/48"]), [(0x80, 0), (0x80, 5)]);
    assert_eq!(shared(&["fd00::/64", "::/0", "fd00::/64"]), [(0x80, 0), (0, 0), (0x80, 8)]);
    assert_eq!(shared(&["fd00::/60", "fd00::/60"]), [(0x80, 0), (0x80, 7)]);
    assert_eq!(shared(&["fd00::/8", "fd00::/64"]), [(0x80, 0), (0x80, 8)]);
    assert_eq!(shared(&["fd00::/64", "2001:db8::/32"]), [(0x80, 0), (0x80, 0)]);
    assert_eq!(shared(&["fd00::1/128", "fd00::1/128"]), [(0x80, 0), (0x80, 16)]);
}

/// A /48 with a seventh of its /64s at random places, and a /32 numbered through, as benchmarks do.
#[test]
fn a_sorted_table_costs_at_most_fourteen_octets_a_prefix() {
    let mut spread: Vec<u64> = (1..=10_000).map(|n: u64| n * 0x9e37 % 0x1_0000).collect();
    spread.sort_unstable();
    for nets in [spread, (0..10_000).collect()] {
        let mut writer = Writer::new(1432, SOURCE);
        let mut packets = Vec::new();
        for net in &nets {
            let destination = Ipv6Addr::from(0xfd00_1234_u128 << 96 | u128::from(*net) << 64);
            let tlv = Tlv::Update(announce(&format!("{destination}/64"), 1, "fe80::1"));
            if writer.push(&tlv).is_err() {
                packets.extend(writer.finish());
                writer.push(&tlv).unwrap();
            }
        }
        packets.extend(writer.finish());
        let octets: usize = packets.iter().map(|packet| packet.bytes.len()).sum();
        let read_back: usize =
            packets.iter().map(|packet| read(&packet.bytes, SOURCE).unwrap().count()).sum();
        assert_eq!(read_back, nets.len());
        assert!(octets <= 14 * nets.len(), "{octets} octets for {} prefixes", nets.len());
    }
}

#[test]
fn a_full_datagram_refuses_without_a_trace() {
    let plain = Tlv::Update(announce("fd00::/64", 2, "fe80::1"));
    let mut long = announce("fd00::1/128", 2, "fe80::1");
    long.route.as_mut().unwrap().source = Some("fd00::1/128".parse().unwrap());
    let mut writer = Writer::new(LEAST_LIMIT, SOURCE);
    let mut expected = Vec::new();
    while writer.len() + 40 < LEAST_LIMIT {
        expected.push(Tlv::Ack { opaque: 1 });
        writer.push(&Tlv::Ack { opaque: 1 }).unwrap();
    }
    let length = writer.len();
    assert_eq!(writer.push(&Tlv::Update(long)), Err(Full));
    assert_eq!(writer.len(), length);
    // The same router-id and a like prefix, neither of which the refused TLV has put in force.
    writer.push(&plain).unwrap();
    expected.push(plain);
    let packet = writer.finish().unwrap();
    let back: Vec<_> = read(&packet.bytes, SOURCE).unwrap().map(Result::unwrap).collect();
    assert_eq!(back, expected);
}

#[test]
fn each_datagram_starts_afresh() {
    let tlv = Tlv::Update(announce("fd00::/64", 1, "fe80::9"));
    let mut writer = Writer::new(1400, SOURCE);
    assert!(writer.is_empty());
    assert_eq!((writer.len(), writer.finish()), (0, None));
    let mut next = || {
        writer.push(&tlv).unwrap();
        writer.finish()
    };
    let first = next();
    assert!(first.is_some());
    assert_eq!(first, next());
}

#[test]
fn limits_are_clamped_to_what_can_be_sent_and_received() {
    for (asked, most) in [(0, LEAST_LIMIT), (usize::MAX, GREATEST_LIMIT)] {
        let mut writer = Writer::new(asked, SOURCE);
        while writer.push(&Tlv::Ack { opaque: 1 }).is_ok() {}
        assert!((most - 3..=most).contains(&writer.len()));
    }
}

#[test]
fn hello_stamps_are_known_and_filled_at_once() {
    let hello = |timestamp| {
        Tlv::Hello(Hello {
            kind: HelloKind::Unicast,
            seqno: Seqno(1),
            interval: Interval::ZERO,
            timestamp,
        })
    };
    let times = Some(EchoedTimes { origin: 5, receive: 6 });
    let ihu =
        Tlv::Ihu(Ihu { address: None, rxcost: Cost(96), interval: Interval(1), timestamps: times });
    let mut writer = Writer::new(1400, SOURCE);
    for tlv in [hello(Some(0)), hello(None), ihu, hello(Some(1))] {
        writer.push(&tlv).unwrap();
    }
    let mut packet = writer.finish().unwrap();
    assert_eq!(packet.stamps.len(), 2);
    packet.stamp(0xdead_beef);
    let back: Vec<_> = read(&packet.bytes, SOURCE).unwrap().map(Result::unwrap).collect();
    let stamped = hello(Some(0xdead_beef));
    assert_eq!(back, [stamped, hello(None), ihu, stamped]);
    writer.push(&Tlv::Ack { opaque: 1 }).unwrap();
    assert!(writer.finish().unwrap().stamps.is_empty());
}

/// babeld 1.12.1 reads the two together as a distance of the prefix, and believes nothing older for minutes.
#[test]
fn the_seqno_of_a_retraction_never_stands_under_the_router_id_of_somebody_else() {
    let of_1 = announce("fd00::/64", 1, "fe80::9");
    let ours = Update {
        router_id: Some(id(2)),
        ..retract(Some(RouteKey::to("fd00:1::/64".parse().unwrap())))
    };
    let (router_id, next_hop, update) = (tlv_type::ROUTER_ID, tlv_type::NEXT_HOP, tlv_type::UPDATE);
    assert_eq!(
        kinds(&[of_1, ours, ours]),
        [router_id, next_hop, update, router_id, update, update]
    );
    // With none in force there is nothing to be mistaken for it.
    assert_eq!(kinds(&[ours, ours]), [update, update]);
    let of_2 = Update { router_id: Some(id(2)), ..of_1 };
    assert_eq!(kinds(&[ours, of_2, ours]), [update, router_id, next_hop, update, update]);
}

#[test]
fn what_no_receiver_may_accept_is_left_out_and_counted() {
    let good = announce("fd00::/64", 1, "fe80::9");
    let source = |destination: &str, source: &str| RouteKey {
        destination: destination.parse().unwrap(),
        source: Some(source.parse().unwrap()),
    };
    let request = |route, hop_count| {
        Tlv::SeqnoRequest(SeqnoRequest { route, seqno: Seqno(1), hop_count, router_id: id(1) })
    };
    let refused = [
        Tlv::AckRequest { opaque: 1, interval: Interval::ZERO },
        Tlv::Ihu(Ihu {
            address: None,
            rxcost: Cost(96),
            interval: Interval::ZERO,
            timestamps: None,
        }),
        Tlv::Update(Update { interval: Interval::ZERO, ..good }),
        Tlv::Update(Update { router_id: None, ..good }),
        Tlv::Update(Update { next_hop: None, ..good }),
        Tlv::Update(Update { next_hop: Some(address("10.0.0.1")), ..good }),
        Tlv::Update(Update { route: None, ..good }),
        Tlv::Update(Update { route: Some(source("::/0", "::/0")), ..good }),
        Tlv::Update(retract(Some(source("::/0", "10.0.0.0/8")))),
        Tlv::RouteRequest(Some(source("10.0.0.0/8", "fd00::/8"))),
        request(source("::/0", "::/0"), 1),
        request(source("::/0", "fd00::/8"), 0),
    ];
    let mut writer = Writer::new(1400, SOURCE);
    for (count, tlv) in (1..).zip(&refused) {
        assert_eq!(writer.push(tlv), Ok(()));
        assert_eq!((writer.unencodable(), writer.len()), (count, 0), "{tlv:?}");
    }
    // What a refused TLV implied is written again by the next one.
    writer.push(&Tlv::Update(good)).unwrap();
    let bytes = writer.finish().unwrap().bytes;
    assert_eq!(read(&bytes, SOURCE).unwrap().collect::<Vec<_>>(), [Ok(Tlv::Update(good))]);
}

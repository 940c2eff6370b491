//! Properties of the Babel codec: what is written is read back, and no input can hurt.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use sixwire_proto::babel::{
    EchoedTimes, Hello, HelloKind, Ihu, LEAST_LIMIT, Packet, Reader, RouteKey, SeqnoRequest, Tlv,
    TlvError, Update, Writer, read,
};
use sixwire_proto::interval::Interval;
use sixwire_proto::metric::{Cost, Metric};
use sixwire_proto::prefix::Prefix;
use sixwire_proto::router_id::RouterId;
use sixwire_proto::seqno::Seqno;

const SOURCE: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);

/// Addresses that share much, little and nothing, so that compression has work.
fn v6() -> impl Strategy<Value = Ipv6Addr> {
    prop_oneof![
        any::<u128>().prop_map(Ipv6Addr::from),
        any::<u32>().prop_map(|low| Ipv6Addr::from(0xfd00_1234_u128 << 96 | u128::from(low) << 64)),
        (0..4u128).prop_map(|low| Ipv6Addr::from(0xfe80_u128 << 112 | low)),
    ]
}

fn v4() -> impl Strategy<Value = Ipv4Addr> {
    prop_oneof![any::<u32>(), 0x0a00_0000..0x0a00_0400_u32].prop_map(Ipv4Addr::from)
}

fn prefix(address: impl Strategy<Value = IpAddr>, shortest: u8) -> impl Strategy<Value = Prefix> {
    (address, any::<u8>()).prop_map(move |(address, length)| {
        let most: u8 = if address.is_ipv6() { 128 } else { 32 };
        let length = shortest + length % (most - shortest + 1);
        Prefix::containing(address, length).expect("the length is in range")
    })
}

fn route() -> impl Strategy<Value = RouteKey> {
    let v6 = || v6().prop_map(IpAddr::V6);
    let v4 = || v4().prop_map(IpAddr::V4);
    prop_oneof![
        4 => (prefix(v6(), 0), option::weighted(0.2, prefix(v6(), 1))),
        2 => (prefix(v4(), 0), option::weighted(0.2, prefix(v4(), 1))),
    ]
    .prop_map(|(destination, source)| RouteKey { destination, source })
}

fn router_id() -> impl Strategy<Value = RouterId> {
    prop_oneof![1..3u64, 1..u64::MAX]
        .prop_map(|id| RouterId::new(id.to_be_bytes()).expect("not reserved"))
}

fn interval() -> impl Strategy<Value = Interval> {
    (1..=u16::MAX).prop_map(Interval)
}

fn seqno() -> impl Strategy<Value = Seqno> {
    any::<u16>().prop_map(Seqno)
}

fn announcement() -> impl Strategy<Value = Tlv> {
    let via = (v6(), v4(), 0..3u8);
    (route(), router_id(), via, seqno(), 0..u16::MAX, interval()).prop_map(
        |(route, router_id, (v6, v4, choice), seqno, metric, interval)| {
            let next_hop = match choice {
                0 => SOURCE.into(),
                1 if !route.destination.is_v6() => v4.into(),
                _ => IpAddr::V6(v6),
            };
            Tlv::Update(Update {
                route: Some(route),
                router_id: Some(router_id),
                next_hop: Some(next_hop),
                seqno,
                metric: Metric(metric),
                interval,
            })
        },
    )
}

fn retraction() -> impl Strategy<Value = Tlv> {
    (option::weighted(0.9, route()), seqno(), interval()).prop_map(|(route, seqno, interval)| {
        Tlv::Update(Update {
            route,
            router_id: None,
            next_hop: None,
            seqno,
            metric: Metric::INFINITY,
            interval,
        })
    })
}

fn hello() -> impl Strategy<Value = Tlv> {
    let kind = prop_oneof![Just(HelloKind::Multicast), Just(HelloKind::Unicast)];
    (kind, seqno(), any::<u16>(), option::of(any::<u32>())).prop_map(
        |(kind, seqno, interval, timestamp)| {
            Tlv::Hello(Hello { kind, seqno, interval: Interval(interval), timestamp })
        },
    )
}

fn ihu() -> impl Strategy<Value = Tlv> {
    let address = prop_oneof![v6().prop_map(IpAddr::V6), v4().prop_map(IpAddr::V4)];
    let times = (any::<u32>(), any::<u32>());
    (option::of(address), any::<u16>(), interval(), option::of(times)).prop_map(
        |(address, rxcost, interval, times)| {
            let timestamps = times.map(|(origin, receive)| EchoedTimes { origin, receive });
            Tlv::Ihu(Ihu { address, rxcost: Cost(rxcost), interval, timestamps })
        },
    )
}

fn tlv() -> impl Strategy<Value = Tlv> {
    prop_oneof![
        1 => (any::<u16>(), interval())
            .prop_map(|(opaque, interval)| Tlv::AckRequest { opaque, interval }),
        1 => any::<u16>().prop_map(|opaque| Tlv::Ack { opaque }),
        1 => hello(),
        1 => ihu(),
        6 => announcement(),
        2 => retraction(),
        1 => option::of(route()).prop_map(Tlv::RouteRequest),
        1 => (route(), seqno(), 1..=u8::MAX, router_id()).prop_map(
            |(route, seqno, hop_count, router_id)| {
                Tlv::SeqnoRequest(SeqnoRequest { route, seqno, hop_count, router_id })
            }
        ),
    ]
}

/// Writes all of it, in as many datagrams as it takes.
fn pack(tlvs: &[Tlv], limit: usize) -> Vec<Packet> {
    let mut writer = Writer::new(limit, SOURCE);
    let mut packets = Vec::new();
    for tlv in tlvs {
        if writer.push(tlv).is_err() {
            packets.extend(writer.finish());
            assert_eq!(writer.push(tlv), Ok(()), "one TLV always fits an empty datagram");
        }
    }
    packets.extend(writer.finish());
    assert_eq!(writer.unencodable(), 0);
    packets
}

/// Reads to the end; the number of items is bounded by the number of octets.
fn drain(datagram: &[u8]) -> Vec<Result<Tlv, TlvError>> {
    read(datagram, SOURCE)
        .map(|reader: Reader<'_>| reader.take(datagram.len() + 1).collect())
        .unwrap_or_default()
}

proptest! {
    #[test]
    fn whatever_is_pushed_is_read_back(tlvs in vec(tlv(), 0..60), limit in 0..1500usize) {
        let packets = pack(&tlvs, limit);
        let mut back = Vec::new();
        for packet in &packets {
            prop_assert!(packet.bytes.len() <= limit.max(LEAST_LIMIT));
            for tlv in read(&packet.bytes, SOURCE).unwrap() {
                back.push(tlv.unwrap());
            }
        }
        prop_assert_eq!(back, tlvs);
    }

    #[test]
    fn stamping_changes_the_hellos_and_nothing_else(tlvs in vec(tlv(), 0..20), now in any::<u32>()) {
        for mut packet in pack(&tlvs, 1400) {
            let before = drain(&packet.bytes);
            packet.stamp(now);
            for (before, after) in before.into_iter().zip(drain(&packet.bytes)) {
                let expected = match before {
                    Ok(Tlv::Hello(hello)) => {
                        Ok(Tlv::Hello(Hello { timestamp: hello.timestamp.map(|_| now), ..hello }))
                    }
                    other => other,
                };
                prop_assert_eq!(after, expected);
            }
        }
    }

    #[test]
    fn arbitrary_octets_are_read_to_their_end(body in vec(any::<u8>(), 0..400)) {
        drain(&body);
        let length = u16::try_from(body.len()).unwrap().to_be_bytes();
        let items = drain(&[&[42, 2], &length[..], &body].concat());
        prop_assert!(items.len() <= body.len());
    }

    #[test]
    fn mutated_packets_are_read_to_their_end(
        tlvs in vec(tlv(), 1..20),
        changes in vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
    ) {
        for mut packet in pack(&tlvs, 1400) {
            for (index, value) in &changes {
                let at = index.index(packet.bytes.len());
                packet.bytes[at] = *value;
            }
            prop_assert!(drain(&packet.bytes).len() <= packet.bytes.len());
        }
    }

    #[test]
    fn what_is_read_from_a_mutated_packet_can_be_written(
        tlvs in vec(tlv(), 1..20),
        changes in vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
    ) {
        for mut packet in pack(&tlvs, 1400) {
            for (index, value) in &changes {
                let at = index.index(packet.bytes.len());
                packet.bytes[at] = *value;
            }
            let good: Vec<_> = drain(&packet.bytes).into_iter().flatten().collect();
            let back: Vec<_> =
                pack(&good, 1400).iter().flat_map(|packet| drain(&packet.bytes)).collect();
            prop_assert_eq!(back, good.into_iter().map(Ok).collect::<Vec<_>>());
        }
    }
}

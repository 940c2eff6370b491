use super::super::EchoedTimes;
use super::*;
use crate::prefix::Prefix;

const SOURCE: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);
/// Interval 4 s, seqno 7, metric 96.
const TAIL: [u8; 6] = [0x01, 0x90, 0, 7, 0, 96];
/// The same with infinite metric.
const RETRACT: [u8; 6] = [0x01, 0x90, 0, 7, 0xff, 0xff];
/// fd00:1:2:3::/64 as octets.
const NET: [u8; 8] = [0xfd, 0, 0, 1, 0, 2, 0, 3];
const ID: [u8; 8] = [1, 2, 3, 4, 5, 6, 7, 8];
const P: u8 = tlv_type::UPDATE_PREFIX;
const R: u8 = tlv_type::UPDATE_ROUTER_ID;
/// An unknown sub-TLV that may be ignored, and one that may not.
const OPTIONAL: [u8; 3] = [100, 1, 9];
const MANDATORY: [u8; 3] = [200, 1, 9];

type Items = Vec<Result<Tlv, TlvError>>;

fn tlv(kind: u8, parts: &[&[u8]]) -> Vec<u8> {
    let body = parts.concat();
    [&[kind, u8::try_from(body.len()).unwrap()], &body[..]].concat()
}

fn router_id_tlv(id: [u8; 8]) -> Vec<u8> {
    tlv(6, &[&[0, 0], &id])
}

/// An Update: AE, flags, plen and omitted; then the rest.
fn update(head: [u8; 4], tail: [u8; 6], rest: &[u8]) -> Vec<u8> {
    tlv(8, &[&head, &tail, rest])
}

fn datagram(tlvs: &[Vec<u8>]) -> Vec<u8> {
    let body = tlvs.concat();
    let length = u16::try_from(body.len()).unwrap().to_be_bytes();
    [&[42, 2], &length[..], &body].concat()
}

fn items(tlvs: &[Vec<u8>]) -> Items {
    read(&datagram(tlvs), SOURCE).unwrap().collect()
}

/// The updates among the items.
fn updates(tlvs: &[Vec<u8>]) -> Vec<Update> {
    let update = |item| match item {
        Ok(Tlv::Update(update)) => Some(update),
        _ => None,
    };
    items(tlvs).into_iter().filter_map(update).collect()
}

fn destinations(tlvs: &[Vec<u8>]) -> Vec<String> {
    updates(tlvs).iter().map(|u| u.route.map_or("*".into(), |r| r.to_string())).collect()
}

fn id(octets: [u8; 8]) -> Option<RouterId> {
    Some(RouterId::new(octets).unwrap())
}

fn prefix(text: &str) -> Prefix {
    text.parse().unwrap()
}

#[test]
fn what_is_no_babel_packet_is_refused_whole() {
    for (bytes, expected) in [
        (&[][..], PacketError::Short),
        (&[42, 2, 0], PacketError::Short),
        (&[41, 2, 0, 0], PacketError::Magic),
        (&[42, 1, 0, 0], PacketError::Version),
        (&[42, 3, 0, 0], PacketError::Version),
        (&[42, 2, 0, 1], PacketError::BodyLength),
        (&[42, 2, 0xff, 0xff, 0, 0], PacketError::BodyLength),
    ] {
        assert_eq!(read(bytes, SOURCE).unwrap_err(), expected, "{bytes:?}");
    }
}

#[test]
fn the_trailer_is_kept_and_not_read_as_tlvs() {
    let bytes = [42, 2, 0, 4, 3, 2, 0, 9, 16, 1, 7];
    let mut reader = read(&bytes, SOURCE).unwrap();
    assert_eq!(reader.next(), Some(Ok(Tlv::Ack { opaque: 9 })));
    assert_eq!(reader.next(), None);
    assert_eq!(reader.trailer(), [16, 1, 7]);
}

#[test]
fn padding_and_unknown_tlvs_yield_nothing_and_the_unknown_are_counted() {
    let bytes = datagram(&[
        vec![0, 0],
        tlv(1, &[&[7, 7, 7]]),
        tlv(20, &[&MANDATORY]),
        tlv(99, &[]),
        tlv(3, &[&[0, 9]]),
        vec![0],
    ]);
    let mut reader = read(&bytes, SOURCE).unwrap();
    assert_eq!(reader.by_ref().collect::<Items>(), [Ok(Tlv::Ack { opaque: 9 })]);
    assert_eq!(reader.unknown(), 2);
}

#[test]
fn a_length_past_the_body_ends_the_packet_and_a_short_tlv_does_not() {
    let ack = Ok(Tlv::Ack { opaque: 9 });
    let good = tlv(3, &[&[0, 9]]);
    for bad in [vec![3, 200, 0, 9], vec![3], vec![99, 9]] {
        assert_eq!(items(&[good.clone(), bad]), [ack, Err(TlvError::Overrun)]);
    }
    for kind in 2..=10 {
        let short = tlv(kind, &[&[1]]);
        assert_eq!(items(&[short, good.clone()]), [Err(TlvError::Short), ack], "type {kind}");
    }
}

#[test]
fn every_tlv_type_checks_its_sub_tlvs() {
    let hop = |ae: u8, address: &[u8]| tlv(7, &[&[ae, 0], address]);
    let whole: [(Vec<u8>, usize); 10] = [
        (tlv(2, &[&[0, 0, 0, 9, 0, 1]]), 1),
        (tlv(3, &[&[0, 9]]), 1),
        (tlv(4, &[&[0, 0, 0, 9, 0, 0]]), 1),
        (tlv(5, &[&[0, 0, 0, 96, 0, 1]]), 1),
        (router_id_tlv(ID), 0),
        (hop(3, &ID), 0),
        (update([2, 0, 64, 0], RETRACT, &NET), 1),
        (update([0, 0, 0, 0], RETRACT, &[]), 1),
        (tlv(9, &[&[0, 0]]), 1),
        (tlv(10, &[&[2, 64, 0, 9, 1, 0], &ID, &NET]), 1),
    ];
    for (bytes, yields) in whole {
        let with = |sub: &[u8]| items(&[tlv(bytes[0], &[&bytes[2..], sub])]);
        let plain = items(std::slice::from_ref(&bytes));
        assert_eq!((plain.len(), plain.iter().all(Result::is_ok)), (yields, true), "{bytes:?}");
        for harmless in [&OPTIONAL[..], &[0], &[1, 2, 7, 7], &[0, 100, 0, 0]] {
            assert_eq!(with(harmless), plain, "{bytes:?} with {harmless:?}");
        }
        assert_eq!(with(&MANDATORY), [Err(TlvError::UnknownMandatorySubTlv)], "{bytes:?}");
        let late = [OPTIONAL, MANDATORY].concat();
        assert_eq!(with(&late), [Err(TlvError::UnknownMandatorySubTlv)], "{bytes:?}");
        for cut in [&[100][..], &[100, 2, 0], &[1, 9]] {
            assert_eq!(with(cut), [Err(TlvError::SubTlvOverrun)], "{bytes:?} with {cut:?}");
        }
    }
}

#[test]
fn intervals_and_hop_counts_of_zero_are_refused_where_they_must_not_be() {
    for (bytes, expected) in [
        (tlv(2, &[&[0, 0, 0, 9, 0, 0]]), TlvError::ZeroInterval),
        (tlv(5, &[&[0, 0, 0, 96, 0, 0]]), TlvError::ZeroInterval),
        (update([2, 0, 64, 0], [0, 0, 0, 7, 0xff, 0xff], &NET), TlvError::ZeroInterval),
        (tlv(10, &[&[2, 64, 0, 9, 0, 0], &ID, &NET]), TlvError::ZeroHopCount),
    ] {
        assert_eq!(items(std::slice::from_ref(&bytes)), [Err(expected)], "{bytes:?}");
    }
}

#[test]
fn reserved_fields_and_flags_are_ignored() {
    let clean = [
        tlv(2, &[&[0, 0, 0, 9, 0, 1]]),
        tlv(4, &[&[0x80, 0, 0, 9, 0, 0]]),
        tlv(5, &[&[3, 0, 0, 96, 0, 1], &ID]),
        router_id_tlv(ID),
        tlv(7, &[&[3, 0], &ID]),
        update([2, P, 64, 0], TAIL, &NET),
        tlv(10, &[&[2, 64, 0, 9, 1, 0], &ID, &NET]),
    ];
    let dirty = [
        tlv(2, &[&[9, 9, 0, 9, 0, 1]]),
        tlv(4, &[&[0xff, 0xff, 0, 9, 0, 0]]),
        tlv(5, &[&[3, 9, 0, 96, 0, 1], &ID]),
        tlv(6, &[&[9, 9], &ID]),
        tlv(7, &[&[3, 9], &ID]),
        update([2, P | 0x3f, 64, 0], TAIL, &NET),
        tlv(10, &[&[2, 64, 0, 9, 1, 9], &ID, &NET]),
    ];
    assert_eq!(items(&clean), items(&dirty));
    assert!(items(&dirty).iter().all(Result::is_ok));
}

#[test]
fn address_encodings_are_refused_where_they_are_not_allowed() {
    let some = [1; 20];
    for (bytes, name) in [
        (tlv(5, &[&[4, 0, 0, 96, 0, 1], &some]), "IHU, AE 4"),
        (tlv(5, &[&[9, 0, 0, 96, 0, 1], &some]), "IHU, unknown AE"),
        (tlv(7, &[&[0, 0]]), "Next Hop, AE 0"),
        (tlv(7, &[&[4, 0], &some]), "Next Hop, AE 4"),
        (update([3, 0, 64, 0], RETRACT, &some), "Update, AE 3"),
        (update([5, 0, 64, 0], RETRACT, &some), "Update, unknown AE"),
        (tlv(9, &[&[3, 64], &some]), "Route Request, AE 3"),
        (tlv(10, &[&[0, 0, 0, 9, 1, 0], &ID]), "Seqno Request, AE 0"),
        (tlv(10, &[&[3, 64, 0, 9, 1, 0], &ID, &some]), "Seqno Request, AE 3"),
    ] {
        assert_eq!(items(&[bytes]), [Err(TlvError::AddressEncoding)], "{name}");
    }
}

#[test]
fn an_ihu_names_its_neighbour_in_any_address_encoding() {
    let global = [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
    for (ae, address, expected) in [
        (0, &[][..], None),
        (1, &[10, 0, 0, 1], Some("10.0.0.1")),
        (2, &global, Some("2001:db8::1")),
        (3, &ID, Some("fe80::102:304:506:708")),
    ] {
        let bytes = tlv(5, &[&[ae, 0, 0, 96, 0, 1], address]);
        let expected = Ihu {
            address: expected.map(|text| text.parse().unwrap()),
            rxcost: Cost(96),
            interval: Interval(1),
            timestamps: None,
        };
        assert_eq!(items(&[bytes]), [Ok(Tlv::Ihu(expected))]);
    }
}

#[test]
fn timestamps_are_read_from_longer_bodies_and_absent_from_shorter_ones() {
    let hello = |sub: &[u8]| match items(&[tlv(4, &[&[0, 0, 0, 9, 0, 0], sub])])[..] {
        [Ok(Tlv::Hello(hello))] => hello.timestamp,
        ref other => panic!("{other:?}"),
    };
    assert_eq!(hello(&[3, 4, 0, 0, 1, 0]), Some(256));
    assert_eq!(hello(&[3, 4, 0, 0, 0, 0]), Some(0));
    assert_eq!(hello(&[3, 6, 0, 0, 1, 0, 7, 7]), Some(256));
    assert_eq!(hello(&[1, 1, 0, 3, 4, 0, 0, 1, 0, 100, 0]), Some(256));
    assert_eq!(hello(&[3, 3, 0, 0, 1]), None);

    let ihu = |sub: &[u8]| match items(&[tlv(5, &[&[0, 0, 0, 9, 0, 1], sub])])[..] {
        [Ok(Tlv::Ihu(ihu))] => ihu.timestamps,
        ref other => panic!("{other:?}"),
    };
    let times = Some(EchoedTimes { origin: 256, receive: 1 });
    assert_eq!(ihu(&[3, 8, 0, 0, 1, 0, 0, 0, 0, 1]), times);
    assert_eq!(ihu(&[3, 9, 0, 0, 1, 0, 0, 0, 0, 1, 7]), times);
    assert_eq!(ihu(&[3, 4, 0, 0, 1, 0]), None);
}

#[test]
fn an_update_takes_router_id_and_next_hop_from_what_came_before() {
    let hop = [10, 0, 0, 1];
    let got = updates(&[
        router_id_tlv(ID),
        update([2, 0, 64, 0], TAIL, &NET),
        tlv(7, &[&[3, 0], &ID]),
        update([2, 0, 0, 0], TAIL, &[]),
        update([4, 0, 8, 0], TAIL, &[10]),
        tlv(7, &[&[1, 0], &hop]),
        update([1, 0, 12, 0], TAIL, &[10, 0xff]),
        update([4, 0, 32, 0], TAIL, &hop),
    ]);
    let got: Vec<_> = got
        .iter()
        .map(|u| (u.route.unwrap().to_string(), u.next_hop.unwrap().to_string()))
        .collect();
    let expected = [
        ("fd00:1:2:3::/64", "fe80::1"),
        ("::/0", "fe80::102:304:506:708"),
        ("10.0.0.0/8", "fe80::102:304:506:708"),
        ("10.240.0.0/12", "10.0.0.1"),
        ("10.0.0.1/32", "fe80::102:304:506:708"),
    ];
    assert_eq!(got, expected.map(|(route, hop)| (route.to_owned(), hop.to_owned())));
}

#[test]
fn a_route_without_router_id_or_next_hop_is_refused() {
    assert_eq!(items(&[update([2, 0, 64, 0], TAIL, &NET)]), [Err(TlvError::NoRouterId)]);
    let v4 = update([1, 0, 8, 0], TAIL, &[10]);
    assert_eq!(items(&[router_id_tlv(ID), v4]), [Err(TlvError::NoNextHop)]);
}

#[test]
fn a_retraction_needs_and_shows_neither_router_id_nor_next_hop() {
    for tlvs in [
        vec![update([2, 0, 64, 0], RETRACT, &NET), update([1, 0, 8, 0], RETRACT, &[10])],
        vec![router_id_tlv(ID), update([4, 0, 8, 0], RETRACT, &[10])],
        vec![update([2, R, 64, 0], RETRACT, &NET)],
    ] {
        assert!(items(&tlvs).iter().all(Result::is_ok), "{tlvs:?}");
        for update in updates(&tlvs) {
            assert_eq!((update.router_id, update.next_hop), (None, None));
            assert_eq!((update.metric, update.seqno), (Metric::INFINITY, Seqno(7)));
        }
    }
}

#[test]
fn a_wildcard_update_is_a_bare_retraction_or_refused() {
    assert_eq!(destinations(&[update([0, P | R, 0, 0], RETRACT, &[])]), ["*"]);
    for (head, tail, expected) in [
        ([0, 0, 0, 0], TAIL, TlvError::WildcardMetric),
        ([0, 0, 8, 0], RETRACT, TlvError::WildcardPrefix),
        ([0, 0, 0, 1], RETRACT, TlvError::WildcardPrefix),
    ] {
        assert_eq!(items(&[router_id_tlv(ID), update(head, tail, &[])]), [Err(expected)]);
    }
}

#[test]
fn prefix_lengths_and_omissions_are_bounded_by_the_family() {
    let some = [1; 20];
    let default = |ae| update([ae, P, 32, 0], RETRACT, &[10, 0, 0, 1]);
    for (head, expected) in [
        ([1, 0, 33, 0], TlvError::PrefixLength),
        ([4, 0, 33, 0], TlvError::PrefixLength),
        ([2, 0, 129, 0], TlvError::PrefixLength),
        ([1, 0, 16, 3], TlvError::Omitted),
        ([2, 0, 128, 17], TlvError::Omitted),
        ([2, 0, 0, 1], TlvError::Omitted),
    ] {
        let got = items(&[default(head[0]), update(head, RETRACT, &some)]);
        assert_eq!(got.last(), Some(&Err(expected)), "{head:?}");
    }
    for ae in [1, 2, 4] {
        let got = items(&[update([ae, 0, 32, 1], RETRACT, &some)]);
        assert_eq!(got, [Err(TlvError::NoDefaultPrefix)], "AE {ae}");
    }
    let requests = [tlv(9, &[&[1, 33], &some]), tlv(10, &[&[2, 129, 0, 9, 1, 0], &ID, &some])];
    assert_eq!(items(&requests), [Err(TlvError::PrefixLength); 2]);
}

#[test]
fn each_address_encoding_has_its_own_default_prefix() {
    let got = destinations(&[
        update([1, P, 24, 0], RETRACT, &[10, 1, 2]),
        update([4, P, 24, 0], RETRACT, &[10, 7, 7]),
        update([2, P, 64, 0], RETRACT, &NET),
        update([1, 0, 24, 2], RETRACT, &[3]),
        update([4, 0, 24, 2], RETRACT, &[8]),
        update([2, 0, 64, 7], RETRACT, &[9]),
        update([1, 0, 24, 3], RETRACT, &[]),
    ]);
    let expected = [
        "10.1.2.0/24",
        "10.7.7.0/24",
        "fd00:1:2:3::/64",
        "10.1.3.0/24",
        "10.7.8.0/24",
        "fd00:1:2:9::/64",
        "10.1.2.0/24",
    ];
    assert_eq!(got, expected);
}

#[test]
fn without_the_p_flag_the_default_prefix_stays() {
    let got = destinations(&[
        update([2, P, 64, 0], RETRACT, &NET),
        update([2, 0, 64, 0], RETRACT, &[0x20; 8]),
        update([2, 0, 60, 6], RETRACT, &[0, 0xff]),
    ]);
    assert_eq!(got.last().unwrap(), "fd00:1:2:f0::/60");
}

#[test]
fn the_default_prefix_has_no_bits_behind_its_length() {
    let got = destinations(&[
        update([2, P, 12, 0], RETRACT, &[0xfd, 0xff]),
        update([2, 0, 24, 2], RETRACT, &[1]),
    ]);
    assert_eq!(got, ["fdf0::/12", "fdf0:100::/24"]);
}

#[test]
fn an_ignored_update_still_sets_prefix_and_router_id() {
    let host = [&NET[..], &ID].concat();
    let ignored = [
        update([2, P | R, 128, 0], TAIL, &[&host[..], &MANDATORY].concat()),
        update([2, P | R, 128, 0], TAIL, &[&host[..], &[100, 9]].concat()),
        update([2, P | R, 128, 0], [0, 0, 0, 7, 0, 96], &host),
        update([2, P | R, 128, 0], TAIL, &[&host[..], &[128, 1, 0]].concat()),
    ];
    for bad in ignored {
        let got = items(&[bad.clone(), update([2, 0, 64, 7], TAIL, &[9])]);
        assert!(matches!(got[..], [Err(_), Ok(_)]), "{bad:?}: {got:?}");
        let got = updates(&[bad, update([2, 0, 64, 7], TAIL, &[9])]);
        assert_eq!(got[0].route, Some(RouteKey::to(prefix("fd00:1:2:9::/64"))));
        assert_eq!(got[0].router_id, id(ID));
    }
}

#[test]
fn router_id_and_next_hop_tlvs_hold_even_when_ignored() {
    let got = updates(&[
        tlv(6, &[&[0, 0], &ID, &MANDATORY]),
        tlv(7, &[&[3, 0], &ID, &MANDATORY]),
        update([2, 0, 64, 0], TAIL, &NET),
    ]);
    assert_eq!(got[0].router_id, id(ID));
    assert_eq!(got[0].next_hop, Some("fe80::102:304:506:708".parse().unwrap()));
}

#[test]
fn the_r_flag_takes_the_last_octets_of_the_prefix() {
    let host = [&NET[..], &ID].concat();
    let other = [9; 8];
    let got = updates(&[
        router_id_tlv(other),
        update([2, R, 128, 0], TAIL, &host),
        update([2, 0, 64, 0], TAIL, &NET),
        update([4, R, 24, 0], TAIL, &[10, 1, 2]),
        router_id_tlv(other),
        update([2, 0, 64, 0], TAIL, &NET),
    ]);
    let expected = [id(ID), id(ID), id([0, 0, 0, 0, 10, 1, 2, 0]), id(other)];
    assert_eq!(got.iter().map(|u| u.router_id).collect::<Vec<_>>(), expected);
}

#[test]
fn reserved_router_ids_are_refused_and_leave_none_in_force() {
    let next = || update([2, 0, 64, 0], TAIL, &NET);
    for reserved in [[0; 8], [0xff; 8]] {
        let got = items(&[router_id_tlv(ID), router_id_tlv(reserved), next()]);
        assert_eq!(got, [Err(TlvError::ReservedRouterId), Err(TlvError::NoRouterId)]);
        let host = [NET, reserved].concat();
        let got = items(&[router_id_tlv(ID), update([2, R, 128, 0], TAIL, &host), next()]);
        assert_eq!(got, [Err(TlvError::ReservedRouterId), Err(TlvError::NoRouterId)]);
        let request = tlv(10, &[&[2, 64, 0, 9, 1, 0], &reserved, &NET]);
        assert_eq!(items(&[request]), [Err(TlvError::ReservedRouterId)]);
    }
}

#[test]
fn a_flag_on_an_unreadable_prefix_leaves_its_state_undefined() {
    let got = items(&[
        router_id_tlv(ID),
        update([2, P, 64, 0], TAIL, &NET),
        update([2, P | R, 129, 0], TAIL, &[1; 20]),
        update([2, 0, 64, 7], RETRACT, &[9]),
        update([2, 0, 64, 0], TAIL, &NET),
    ]);
    let expected = [TlvError::PrefixLength, TlvError::NoDefaultPrefix, TlvError::NoRouterId];
    assert_eq!(got[1..], expected.map(Err));
}

#[test]
fn requests_treat_both_ipv4_encodings_alike() {
    let route = RouteKey::to(prefix("10.1.0.0/16"));
    for ae in [1, 4] {
        let asked = items(&[tlv(9, &[&[ae, 16, 10, 1]])]);
        assert_eq!(asked, [Ok(Tlv::RouteRequest(Some(route)))]);
        let asked = items(&[tlv(10, &[&[ae, 16, 0, 9, 3, 0], &ID, &[10, 1]])]);
        let router_id = RouterId::new(ID).unwrap();
        let expected = SeqnoRequest { route, seqno: Seqno(9), hop_count: 3, router_id };
        assert_eq!(asked, [Ok(Tlv::SeqnoRequest(expected))]);
    }
}

#[test]
fn a_wildcard_route_request_has_no_prefix() {
    assert_eq!(items(&[tlv(9, &[&[0, 0]])]), [Ok(Tlv::RouteRequest(None))]);
    assert_eq!(items(&[tlv(9, &[&[0, 8, 10]])]), [Err(TlvError::WildcardPrefix)]);
}

#[test]
fn source_prefixes_are_read_in_the_family_of_the_destination() {
    let v6 = [128, 3, 16, 0xfd, 7];
    let got = destinations(&[
        update([2, 0, 64, 0], RETRACT, &[&NET[..], &v6].concat()),
        update([2, 0, 0, 0], RETRACT, &[&OPTIONAL[..], &v6, &OPTIONAL].concat()),
        update([4, 0, 8, 0], RETRACT, &[10, 128, 3, 12, 10, 0xff]),
        update([2, 0, 0, 0], RETRACT, &[128, 5, 16, 0xfd, 7, 9, 9]),
    ]);
    let expected = [
        "fd00:1:2:3::/64 from fd07::/16",
        "::/0 from fd07::/16",
        "10.0.0.0/8 from 10.240.0.0/12",
        "::/0 from fd07::/16",
    ];
    assert_eq!(got, expected);
    let route = RouteKey { destination: Prefix::V6_DEFAULT, source: Some(prefix("fd07::/16")) };
    assert_eq!(items(&[tlv(9, &[&[2, 0], &v6])]), [Ok(Tlv::RouteRequest(Some(route)))]);
    let asked = items(&[tlv(10, &[&[2, 0, 0, 9, 3, 0], &ID, &v6])]);
    assert!(matches!(asked[..], [Ok(Tlv::SeqnoRequest(request))] if request.route == route));
}

#[test]
fn bad_source_prefixes_cost_the_tlv() {
    let good = [128, 2, 8, 0xfd];
    for (ae, sub, expected) in [
        (2, &[128, 0][..], TlvError::SourcePrefix),
        (2, &[128, 1, 0], TlvError::SourcePrefix),
        (2, &[128, 2, 16, 0xfd], TlvError::SourcePrefix),
        (
            2,
            &[128, 18, 129, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1],
            TlvError::SourcePrefix,
        ),
        (1, &[128, 6, 33, 1, 1, 1, 1, 1], TlvError::SourcePrefix),
        (2, &[good, good].concat(), TlvError::DuplicateSourcePrefix),
        (0, &good, TlvError::WildcardSourcePrefix),
    ] {
        let refused = [Err(expected)];
        assert_eq!(items(&[update([ae, 0, 0, 0], RETRACT, sub)]), refused, "{sub:?}");
        assert_eq!(items(&[tlv(9, &[&[ae, 0], sub])]), refused, "{sub:?}");
        if ae != 0 {
            assert_eq!(items(&[tlv(10, &[&[ae, 0, 0, 9, 3, 0], &ID, sub])]), refused, "{sub:?}");
        }
    }
    let hello = tlv(4, &[&[0, 0, 0, 9, 0, 0], &good]);
    assert_eq!(items(&[hello]), [Err(TlvError::UnknownMandatorySubTlv)]);
}

//! MAC authentication of one engine, sentence by sentence of RFC 8967 §3 and §4.

use std::time::Duration;

use sixwire_proto::babel::{Destination, MacTlv, PseudoHeader, Tlv, mac_tlvs, verify};

use super::super::{Authentication, Authenticity, Input, LinkParams, Unauthenticated};
use super::network::secs;
use super::probe::{OWN, Probe, address, hello, link};
use super::signer::{
    GROUP, Signer, challenge, hear, key, keyed, probe, probe_with, replies, sent, to_us,
};

fn neighbours(probe: &Probe) -> usize {
    probe.babel.neighbours().count()
}

#[test]
fn a_link_has_one_to_eight_keys() {
    for count in 0..12 {
        let made = Authentication::new(vec![key(1); count], Unauthenticated::Refuse);
        assert_eq!(made.is_ok(), (1..=8).contains(&count), "{count}");
    }
}

#[test]
fn every_packet_carries_one_counter_greater_than_the_last_and_a_mac_for_each_key() {
    let keys = [key(1), key(2)];
    let mut probe = probe_with(&keyed(&keys));
    probe.wait(secs(60));
    let mut last = None;
    let packets = sent(&probe);
    assert!(packets.len() > 10);
    for (to, bytes) in packets {
        let found: Vec<_> = mac_tlvs(&bytes).unwrap().collect();
        let [MacTlv::PacketCounter { counter, index }] = found[..] else { panic!("{found:?}") };
        if let Some((before, old_index)) = last.replace((counter, index.to_vec())) {
            assert!(counter > before && old_index == index);
        }
        let header = PseudoHeader { source: address(OWN), destination: to };
        for key in &keys {
            assert_eq!(verify(&bytes, header, std::slice::from_ref(key)), Ok(()));
        }
    }
}

#[test]
fn packets_with_counter_and_macs_keep_within_the_links_limit() {
    for largest_datagram in [512, 1232] {
        let mut probe = Probe::new();
        let authentication = Some(&keyed(&vec![key(1); 8]));
        probe.input(Input::Authentication { link: link(1), authentication });
        let params = LinkParams { largest_datagram, ..LinkParams::wired(address(OWN)) };
        probe.input(Input::LinkUp { link: link(1), params });
        for n in 0..200 {
            probe.originate(&format!("fd00:{n:x}:1:2:3:4:5:6/128"), 0);
        }
        let mut signer = Signer::new(1);
        signer.prove(&mut probe);
        let bytes = signer.hello(GROUP);
        hear(&mut probe, &signer, GROUP, &bytes);
        probe.wait(secs(20));
        let lengths: Vec<usize> = sent(&probe).iter().map(|(_, bytes)| bytes.len()).collect();
        let greatest = lengths.iter().copied().max().unwrap();
        assert!(greatest <= largest_datagram && greatest + 60 > largest_datagram, "{lengths:?}");
    }
}

#[test]
fn packets_without_mac_or_with_a_wrong_one_are_dropped_and_leave_nothing() {
    let mut probe = probe();
    let mut signer = Signer::new(1);
    signer.keys = vec![key(9)];
    for n in 0..100 {
        signer.address = address(n);
        let bytes = signer.hello(GROUP);
        hear(&mut probe, &signer, GROUP, &bytes);
    }
    probe.hear(1, &[hello(1, 400)]);
    assert_eq!(probe.count("dropped: wrong mac"), 100);
    assert_eq!(probe.count("dropped: no mac"), 1);
    assert_eq!(neighbours(&probe), 0);
    assert!(sent(&probe).is_empty(), "and are not answered");
}

#[test]
fn a_packet_from_a_wrong_address_or_to_another_destination_is_dropped() {
    let mut probe = probe();
    let mut signer = Signer::new(1);
    signer.prove(&mut probe);
    let bytes = signer.hello(GROUP);
    let moved = Signer { address: address(2), ..Signer::new(1) };
    hear(&mut probe, &moved, GROUP, &bytes);
    hear(&mut probe, &signer, to_us(), &bytes);
    assert_eq!(probe.count("dropped: wrong mac"), 2);
    hear(&mut probe, &signer, GROUP, &bytes);
    assert_eq!(neighbours(&probe), 1);
}

#[test]
fn a_signed_packet_without_counter_is_dropped() {
    let mut probe = probe();
    let signer = Signer::new(1);
    let bytes = signer.packet_with(GROUP, &[hello(1, 400)], &[]);
    hear(&mut probe, &signer, GROUP, &bytes);
    assert_eq!(probe.count("dropped: no packet counter"), 1);
    assert_eq!((neighbours(&probe), challenge(&probe)), (0, None));
}

#[test]
fn of_several_counters_the_first_holds() {
    let mut probe = probe();
    let mut signer = Signer::new(1);
    signer.prove(&mut probe);
    let own = MacTlv::PacketCounter { counter: 12, index: b"first" };
    let other = MacTlv::PacketCounter { counter: 1000, index: b"other" };
    let bytes = signer.packet_with(GROUP, &[hello(1, 400)], &[other, own]);
    hear(&mut probe, &signer, GROUP, &bytes);
    assert_eq!(probe.count("dropped: unknown index"), 2);
    let own = MacTlv::PacketCounter { counter: 13, index: b"first" };
    let bytes = signer.packet_with(GROUP, &[hello(1, 400)], &[own, other]);
    hear(&mut probe, &signer, GROUP, &bytes);
    assert_eq!(neighbours(&probe), 1);
}

#[test]
fn an_unknown_sender_is_challenged_and_its_packets_are_dropped_until_it_replies() {
    let mut probe = probe();
    let mut signer = Signer::new(1);
    let bytes = signer.hello(GROUP);
    hear(&mut probe, &signer, GROUP, &bytes);
    assert_eq!(neighbours(&probe), 0);
    let nonce = challenge(&probe).unwrap();
    let (to, _) = sent(&probe)[0];
    assert_eq!(to, Destination::Unicast(signer.address));
    let reply = signer.packet(to_us(), &[hello(1, 400)], &[MacTlv::ChallengeReply(&nonce)]);
    hear(&mut probe, &signer, to_us(), &reply);
    assert_eq!(neighbours(&probe), 1, "the packet with the reply counts as a whole");
    let seen = probe.babel.neighbours().next().unwrap();
    assert_eq!(seen.authenticity, Authenticity::Authenticated);
    hear(&mut probe, &signer, GROUP, &bytes);
    assert_eq!(probe.count("dropped: stale packet counter"), 1);
}

#[test]
fn a_new_index_is_challenged_and_the_old_one_holds_until_the_reply() {
    let mut probe = probe();
    let mut signer = Signer::new(1);
    signer.prove(&mut probe);
    probe.wait(secs(1));
    probe.outputs.clear();
    let counter = MacTlv::PacketCounter { counter: 99, index: b"second" };
    let bytes = signer.packet_with(GROUP, &[hello(1, 400)], &[counter]);
    hear(&mut probe, &signer, GROUP, &bytes);
    let nonce = challenge(&probe).unwrap();
    assert_eq!(neighbours(&probe), 0);
    let bytes = signer.hello(GROUP);
    hear(&mut probe, &signer, GROUP, &bytes);
    assert_eq!(neighbours(&probe), 1);
    signer.index = b"second";
    let reply = signer.packet(to_us(), &[], &[MacTlv::ChallengeReply(&nonce)]);
    hear(&mut probe, &signer, to_us(), &reply);
    let before = probe.count("dropped: unknown index");
    let bytes = signer.hello(GROUP);
    hear(&mut probe, &signer, GROUP, &bytes);
    assert_eq!(probe.count("dropped: unknown index"), before);
}

#[test]
fn a_counter_that_was_seen_is_dropped_without_a_challenge_and_without_a_reply() {
    let mut probe = probe();
    let mut signer = Signer::new(1);
    signer.prove(&mut probe);
    let asking = signer.packet(to_us(), &[], &[MacTlv::ChallengeRequest(b"nonce")]);
    hear(&mut probe, &signer, to_us(), &asking);
    assert_eq!(replies(&probe).len(), 1);
    probe.wait(secs(1));
    probe.outputs.clear();
    hear(&mut probe, &signer, to_us(), &asking);
    assert_eq!(probe.count("dropped: stale packet counter"), 1);
    assert!(sent(&probe).is_empty());
}

#[test]
fn unicast_and_multicast_are_counted_apart_and_may_be_reordered() {
    let mut probe = probe();
    let mut signer = Signer::new(1);
    signer.prove(&mut probe);
    let multicast = [signer.hello(GROUP), signer.hello(GROUP)];
    let unicast = [signer.hello(to_us()), signer.hello(to_us())];
    for _ in 0..2 {
        for bytes in unicast.iter().rev() {
            hear(&mut probe, &signer, to_us(), bytes);
        }
        for bytes in multicast.iter().rev() {
            hear(&mut probe, &signer, GROUP, bytes);
        }
        assert_eq!(probe.count("dropped: stale packet counter") % 4, 0);
    }
    assert_eq!(probe.count("dropped: stale packet counter"), 4, "the second time");
}

#[test]
fn challenges_are_limited_to_one_in_300_milliseconds() {
    let mut probe = probe();
    let mut signer = Signer::new(1);
    for _ in 0..100 {
        let bytes = signer.hello(GROUP);
        hear(&mut probe, &signer, GROUP, &bytes);
        probe.wait(Duration::from_millis(10));
    }
    assert_eq!(probe.count("challenges sent"), 4);
}

#[test]
fn a_reply_copies_the_nonce_leaves_by_unicast_and_before_all_else() {
    let mut probe = probe();
    let mut signer = Signer::new(1);
    signer.prove(&mut probe);
    let nonce = [7; 192];
    let asking = signer.packet(to_us(), &[hello(1, 400)], &[MacTlv::ChallengeRequest(&nonce)]);
    hear(&mut probe, &signer, to_us(), &asking);
    assert_eq!(replies(&probe), [(Destination::Unicast(signer.address), nonce.to_vec())]);
    let packets = sent(&probe);
    assert!(packets.len() > 1, "a Hello follows, which the challenger takes now");
    assert!(mac_tlvs(&packets[0].1).unwrap().any(|tlv| tlv == MacTlv::ChallengeReply(&nonce)));
}

#[test]
fn an_unknown_sender_is_replied_to_as_well() {
    let mut probe = probe();
    let mut signer = Signer::new(1);
    let asking = signer.packet(to_us(), &[], &[MacTlv::ChallengeRequest(b"")]);
    hear(&mut probe, &signer, to_us(), &asking);
    assert_eq!(replies(&probe).len(), 1);
    assert!(challenge(&probe).is_some(), "and challenged in the same packet");
    assert_eq!(sent(&probe)[0].0, Destination::Unicast(signer.address));
}

#[test]
fn a_challenge_to_the_group_is_ignored_and_replies_are_limited() {
    let mut probe = probe();
    let mut signer = Signer::new(1);
    signer.prove(&mut probe);
    let asking = signer.packet(GROUP, &[], &[MacTlv::ChallengeRequest(b"nonce")]);
    hear(&mut probe, &signer, GROUP, &asking);
    assert_eq!(replies(&probe), []);
    for _ in 0..100 {
        let asking = signer.packet(to_us(), &[], &[MacTlv::ChallengeRequest(b"nonce")]);
        hear(&mut probe, &signer, to_us(), &asking);
        probe.wait(Duration::from_millis(10));
    }
    assert_eq!(probe.count("challenges answered"), 4);
}

#[test]
fn a_reply_that_is_late_wrong_or_not_wanted_proves_nothing() {
    let mut probe = probe();
    let mut signer = Signer::new(1);
    let unasked = signer.packet(to_us(), &[], &[MacTlv::ChallengeReply(b"12345678")]);
    hear(&mut probe, &signer, to_us(), &unasked);
    let nonce = challenge(&probe).unwrap();
    let wrong = signer.packet(to_us(), &[], &[MacTlv::ChallengeReply(&nonce[1..])]);
    hear(&mut probe, &signer, to_us(), &wrong);
    assert_eq!(probe.count("dropped: unknown index"), 2);
    probe.now += secs(30);
    let late = signer.packet(to_us(), &[hello(1, 400)], &[MacTlv::ChallengeReply(&nonce)]);
    hear(&mut probe, &signer, to_us(), &late);
    assert_eq!(probe.count("dropped: unknown index"), 3);
    assert_eq!(neighbours(&probe), 0);
    let nonce = challenge(&probe).unwrap();
    let wrong = signer.packet(to_us(), &[], &[MacTlv::ChallengeReply(b"")]);
    hear(&mut probe, &signer, to_us(), &wrong);
    let right = signer.packet(to_us(), &[hello(1, 400)], &[MacTlv::ChallengeReply(&nonce)]);
    hear(&mut probe, &signer, to_us(), &right);
    assert_eq!(neighbours(&probe), 1, "a wrong reply does not discard the nonce");
}

#[test]
fn counters_are_forgotten_five_minutes_after_the_last_packet_that_passed() {
    let mut probe = probe();
    let mut signer = Signer::new(1);
    signer.prove(&mut probe);
    probe.now += secs(299);
    let bytes = signer.packet(GROUP, &[], &[]);
    hear(&mut probe, &signer, GROUP, &bytes);
    assert_eq!(probe.count("dropped: unknown index"), 1);
    // Failed challenges in between do not put it off.
    for _ in 0..30 {
        probe.now += secs(10);
        let counter = MacTlv::PacketCounter { counter: 99, index: b"second" };
        let replayed = signer.packet_with(GROUP, &[], &[counter]);
        hear(&mut probe, &signer, GROUP, &replayed);
    }
    assert_eq!(probe.count("dropped: unknown index"), 31);
    let bytes = signer.packet(GROUP, &[], &[]);
    hear(&mut probe, &signer, GROUP, &bytes);
    assert_eq!(probe.count("dropped: unknown index"), 32);
}

#[test]
fn keys_are_replaced_without_a_new_proof_and_taken_away_by_name_only() {
    let mut probe = probe();
    let mut signer = Signer::new(1);
    signer.prove(&mut probe);
    let both = keyed(&[key(2), key(1)]);
    probe.input(Input::Authentication { link: link(1), authentication: Some(&both) });
    let bytes = signer.hello(GROUP);
    hear(&mut probe, &signer, GROUP, &bytes);
    probe.input(Input::Authentication { link: link(1), authentication: Some(&keyed(&[key(2)])) });
    let bytes = signer.hello(GROUP);
    hear(&mut probe, &signer, GROUP, &bytes);
    assert_eq!(probe.count("dropped: wrong mac"), 1);
    signer.keys = vec![key(2)];
    let bytes = signer.hello(GROUP);
    hear(&mut probe, &signer, GROUP, &bytes);
    assert_eq!(probe.count("dropped: unknown index"), 1, "only before the first proof");
    probe.input(Input::LinkDown { link: link(1) });
    probe.link_up(1);
    probe.hear(1, &[hello(1, 400)]);
    assert_eq!(probe.count("dropped: no mac"), 1, "keys outlast the link");
    probe.input(Input::Authentication { link: link(1), authentication: None });
    probe.hear(1, &[hello(2, 400)]);
    assert_eq!(neighbours(&probe), 1);
    assert_eq!(probe.babel.neighbours().next().unwrap().authenticity, Authenticity::Unneeded);
}

#[test]
fn while_keys_are_rolled_out_unsigned_packets_count_and_ours_are_signed() {
    let rolling = Authentication::new(vec![key(1)], Unauthenticated::Accept).unwrap();
    let mut probe = probe_with(&rolling);
    probe.greet(1);
    let seen = probe.babel.neighbours().next().unwrap();
    assert_eq!(seen.authenticity, Authenticity::Unauthenticated);
    let mut signer = Signer::new(1);
    let bytes = signer.hello(GROUP);
    hear(&mut probe, &signer, GROUP, &bytes);
    assert_eq!(probe.count("unauthenticated packets accepted"), 2);
    let nonce = challenge(&probe).expect("whoever signs is asked to prove it");
    let reply = signer.packet(to_us(), &[], &[MacTlv::ChallengeReply(&nonce)]);
    hear(&mut probe, &signer, to_us(), &reply);
    let seen = probe.babel.neighbours().next().unwrap();
    assert_eq!(seen.authenticity, Authenticity::Authenticated);
    for (to, bytes) in sent(&probe) {
        let header = PseudoHeader { source: address(OWN), destination: to };
        assert_eq!(verify(&bytes, header, &[key(1)]), Ok(()));
    }
}

#[test]
fn senders_that_never_reply_are_forgotten_for_others_and_the_proven_stay() {
    let mut probe = Probe::with(|params| {
        let limits = super::super::Limits { neighbours_per_link: 4, ..params.limits };
        super::super::Params { limits, ..params }
    });
    let authentication = Some(&keyed(&[key(1)]));
    probe.input(Input::Authentication { link: link(1), authentication });
    probe.link_up(1);
    let mut known: Vec<Signer> = (1..=3).map(Signer::new).collect();
    known.iter_mut().for_each(|signer| signer.prove(&mut probe));
    for n in 10..200 {
        let mut replayed = Signer::new(n);
        let bytes = replayed.hello(GROUP);
        hear(&mut probe, &replayed, GROUP, &bytes);
    }
    for signer in &mut known {
        let bytes = signer.hello(GROUP);
        hear(&mut probe, signer, GROUP, &bytes);
    }
    assert_eq!(neighbours(&probe), 3);
    let mut fourth = Signer::new(4);
    probe.outputs.clear();
    fourth.prove(&mut probe);
    let bytes = Signer::new(5).hello(GROUP);
    hear(&mut probe, &Signer::new(5), GROUP, &bytes);
    assert_eq!(probe.count("dropped: too many neighbours"), 1, "all are proven");
}

#[test]
fn a_fresh_link_says_again_to_a_challenger_that_all_before_is_void() {
    let mut probe = probe();
    let mut signer = Signer::new(1);
    let asking = signer.packet(to_us(), &[], &[MacTlv::ChallengeRequest(b"n")]);
    hear(&mut probe, &signer, to_us(), &asking);
    let wildcard = |(to, tlv): &(Destination, Tlv)| {
        matches!(tlv, Tlv::Update(update) if update.route.is_none()) && *to != GROUP
    };
    assert!(probe.sent_on(link(1)).iter().any(wildcard));
    signer.prove(&mut probe);
    let bytes = signer.hello(GROUP);
    hear(&mut probe, &signer, GROUP, &bytes);
    probe.wait(secs(1));
    probe.outputs.clear();
    let asking = signer.packet(to_us(), &[], &[MacTlv::ChallengeRequest(b"n")]);
    hear(&mut probe, &signer, to_us(), &asking);
    assert!(!probe.sent_on(link(1)).iter().any(wildcard), "a neighbour that uses our routes");
}

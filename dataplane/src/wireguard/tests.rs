use std::collections::BTreeSet;

use super::*;

fn prefixes(count: u16) -> BTreeSet<Prefix> {
    (0..count).map(|n| format!("fd00:0:0:{n:x}::/64").parse().unwrap()).collect()
}

fn update(count: u16) -> WireGuardUpdate {
    let peer = Peer { allowed_ips: prefixes(count), ..Peer::default() };
    WireGuardUpdate { peers: [(WgPublicKey([1; 32]), peer)].into(), ..WireGuardUpdate::default() }
}

#[test]
fn a_usual_update_is_one_message_and_many_prefixes_are_split() {
    let count = |update| messages(&update, &BTreeMap::new()).len();
    assert_eq!((count(update(2)), count(update(128)), count(update(300))), (1, 1, 3));
}

#[test]
fn prefixes_that_a_peer_has_are_not_said_again_unless_it_is_new_or_loses_some() {
    let known = |count| {
        let peer = ObservedPeer { allowed_ips: prefixes(count), ..ObservedPeer::default() };
        [(WgPublicKey([1; 32]), peer)].into()
    };
    assert_eq!(messages(&update(300), &known(300)).len(), 1);
    assert_eq!(messages(&update(300), &known(100)).len(), 2);
    assert_eq!(messages(&update(300), &known(301)).len(), 3);
    let mut again = update(300);
    again.removed.insert(WgPublicKey([1; 32]));
    assert_eq!(messages(&again, &known(300)).len(), 3);
}

#[test]
fn entries_of_one_peer_are_merged() {
    let mut whole = PeerInfo::from_public_key(Key([1; 32]));
    whole.config.allowed_ips = vec!["fd00::/64".parse().unwrap()];
    whole.stats.rx_bytes = 7;
    let mut rest = PeerInfo::from_public_key(Key([1; 32]));
    rest.config.allowed_ips = vec!["fd01::/64".parse().unwrap()];
    let (mut config, mut stats) = (ObservedPeer::default(), PeerStats::default());
    for part in [&whole, &rest] {
        merge_config(&mut config, part);
        merge_stats(&mut stats, part);
    }
    assert_eq!(config.allowed_ips.len(), 2);
    assert_eq!(stats.rx_bytes, 7);
}

#[test]
fn a_refusal_never_repeats_the_librarys_words() {
    let error = io::Error::new(io::ErrorKind::InvalidInput, "peer psk AAAA is too large");
    let shown = refusal("configure tunnel sw-1".to_owned(), &error);
    assert!(!format!("{shown} {shown:?}").contains("AAAA"), "{shown:?}");
}

//! Keys that change alive.

use sixwire_proto::keys::{PresharedKey, WgPrivateKey};

use super::ground::{End, Family, cabled, two, until};

#[test]
fn private_keys_are_replaced_in_place() {
    let [a, b] = two([91, 92]);
    a.reaches_both(&b);
    let before = a.observe().tunnels[&a.name()].link;
    let private_key = WgPrivateKey::from_octets([191; 32]);
    let (old, new) = (a.node.key().public(), private_key.public());
    a.update(|update| update.wireguard.private_key = Some(private_key));
    let mut peers = b.tunnel().wireguard.peers.clone();
    let peer = peers.remove(&old).unwrap();
    b.update(|update| {
        update.wireguard.removed = [old].into();
        update.wireguard.peers = [(new, peer)].into();
    });
    // At once, not when the old session ends.
    a.reaches_both(&b);
    b.reaches_both(&a);
    let (device, of_b) = (a.observe().tunnels[&a.name()].clone(), b.observe());
    assert_eq!(device.link, before);
    let of_b = of_b.tunnels[&b.name()].wireguard.clone().unwrap();
    assert_eq!(of_b.peers.into_keys().collect::<Vec<_>>(), [new]);
    a.down();
    b.down();
}

#[test]
fn a_peer_with_the_key_of_the_device_itself_is_none() {
    let [a, b] = two([93, 94]);
    a.reaches_both(&b);
    a.update(|update| update.wireguard.private_key = Some(b.node.key()));
    let device = a.observe().tunnels[&a.name()].wireguard.clone().unwrap();
    assert!(device.peers.is_empty(), "nobody is a peer of itself");
    assert!(!a.hears(b.inner(Family::V6), 10, 3));
    a.update(|update| {
        update.wireguard.private_key = Some(a.node.key());
        update.wireguard.peers = a.tunnel().wireguard.peers.clone();
    });
    a.reaches_both(&b);
    a.down();
    b.down();
}

/// Gives an end's peer anew, with a preshared key.
fn preshare(end: &End, octet: u8) {
    let mut peers = end.tunnel().wireguard.peers.clone();
    let peer = peers.values_mut().next().unwrap();
    peer.preshared_key = Some(PresharedKey::from_octets([octet; 32]));
    end.update(|update| {
        update.wireguard.removed = peers.keys().copied().collect();
        update.wireguard.peers = peers;
    });
}

#[test]
fn nothing_passes_between_different_preshared_keys_and_all_between_equal_ones() {
    let [a, b] = two([95, 96]);
    a.reaches_both(&b);
    preshare(&a, 1);
    preshare(&b, 2);
    let hears = a.hears(b.inner(Family::V6), 10, 3);
    // b takes the question for one of a's, and its answer proves that it has not the key.
    until("an answer", || {
        let _ = a.hears(b.inner(Family::V6), 10, 1);
        (b.seen(&a).tx_bytes >= 92).then_some(())
    });
    assert!(!hears && !a.hears(b.inner(Family::V6), 10, 3));
    assert_eq!(a.seen(&b).handshake_age, None);
    // In place: the next handshake has it.
    a.change_peer(|peer| peer.preshared_key = Some(PresharedKey::from_octets([2; 32])));
    a.reaches_both(&b);
    b.reaches_both(&a);
    assert!(a.seen(&b).handshake_age.is_some());
    a.down();
    b.down();
}

#[test]
fn a_peer_unknown_to_the_other_end_gets_no_answer_until_it_is_known() {
    let [mut a, mut b] = [97, 98].map(End::start);
    cabled(&a, &b);
    a.wants(&b, Some(b.endpoint(Family::V4)));
    let stranger = End::start(99);
    b.wants(&stranger, None);
    a.up();
    b.up();
    assert!(!a.hears(b.inner(Family::V6), 10, 10));
    assert_eq!(b.seen(&stranger).rx_bytes, 0);
    b.clear();
    b.wants(&a, None);
    b.up();
    a.reaches_both(&b);
    for end in [&a, &b, &stranger] {
        end.down();
    }
}

use sixwire_proto::certificate::Issuer;
use sixwire_proto::envelope::Envelope;
use sixwire_proto::join::Token;
use sixwire_proto::peer::PeerRecord;
use sixwire_proto::state::Parameters;

use super::*;

const NOW: Timestamp = Timestamp(1_795_354_140);

fn key(n: u8) -> SecretKey {
    SecretKey::from_octets(&[n; 32])
}

fn string() -> JoinString {
    JoinString {
        host: "192.0.2.1".to_owned(),
        port: 8443,
        root: key(1).public(),
        token: Token::from_octets(&[9; 16]),
        tls_pin: None,
    }
}

fn certificate(days: u64) -> Certificate {
    Certificate {
        version: 1,
        network: NetworkId::of(&key(1).public()),
        serial: 1,
        name: Some("paris".to_owned()),
        node: key(3).public(),
        prefix: "fd00:1:2:3::/64".parse().unwrap(),
        extra_prefixes: Vec::new(),
        roles: Vec::new(),
        tags: Vec::new(),
        not_before: Timestamp(0),
        not_after: NOW + Duration::from_secs(days * 86_400),
    }
}

fn state(epoch: u64) -> NetworkState {
    NetworkState {
        version: 1,
        network: NetworkId::of(&key(1).public()),
        epoch,
        issued: Timestamp(0),
        prefix: "fd00:1:2::/48".parse().unwrap(),
        parameters: Parameters::default(),
        issuers: vec![key(2).public()],
        revoked_serials: Vec::new(),
        revoked_keys: Vec::new(),
    }
}

fn chain<D: Document>(document: &D) -> Chain {
    let issuer = Issuer {
        version: 1,
        network: NetworkId::of(&key(1).public()),
        key: key(2).public(),
        not_before: Timestamp(0),
        not_after: Timestamp(u64::MAX),
    };
    Chain { issuer: Envelope::seal(&key(1), &issuer), document: Envelope::seal(&key(2), document) }
}

fn answer(certificate: &Certificate, state: &NetworkState) -> JoinAnswer {
    JoinAnswer {
        certificate: chain(certificate),
        state: chain(state),
        peers: Vec::<PeerRecord>::new(),
        time: NOW,
    }
}

fn verify(certificate: &Certificate, state: &NetworkState) -> Result<Membership, String> {
    Membership::verify(key(3), Network::from(&string()), answer(certificate, state))
        .map_err(|error| error.to_string())
}

/// A store that has joined with a certificate that is good for as many days.
fn joined(days: u64) -> (tempfile::TempDir, Store) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&dir.path().join("state")).unwrap();
    store.save_node_key(&key(3)).unwrap();
    verify(&certificate(days), &state(7)).unwrap().keep(&store, NOW).unwrap();
    (dir, store)
}

fn wish() -> Wish {
    Wish { name: None, patience: Duration::ZERO, on_retry: |_, _| () }
}

#[test]
fn a_good_answer_is_taken() {
    let membership = verify(&certificate(1), &state(7)).unwrap();
    assert_eq!(membership.certificate, certificate(1));
    assert_eq!(membership.state.epoch, 7);
}

#[test]
fn an_answer_is_refused_for_every_claim_that_does_not_hold() {
    let good = (certificate(1), state(7));
    let foreign = Certificate { node: key(4).public(), ..good.0.clone() };
    let outside = Certificate { prefix: "fd00:9::/64".parse().unwrap(), ..good.0.clone() };
    let expired = Certificate { not_after: Timestamp(NOW.0 - 1), ..good.0.clone() };
    let other_network = Certificate { network: NetworkId::of(&key(8).public()), ..good.0.clone() };
    let revoking = NetworkState { revoked_serials: vec![1], ..good.1.clone() };
    let unissued = NetworkState { issuers: vec![key(8).public()], ..good.1.clone() };
    for ((certificate, state), word) in [
        ((&foreign, &good.1), "which is not ours"),
        ((&outside, &good.1), "outside the network"),
        ((&expired, &good.1), "expired"),
        ((&other_network, &good.1), "belongs to network"),
        ((&good.0, &revoking), "revoked"),
        ((&good.0, &unissued), "not by the key it must be"),
    ] {
        let error = verify(certificate, state).unwrap_err();
        assert!(error.contains("answer does not hold") && error.contains(word), "{error}");
    }
}

#[test]
fn an_answer_by_another_root_is_refused() {
    let other = Network { root: key(8).public(), ..Network::from(&string()) };
    let answer = answer(&certificate(1), &state(7));
    assert!(matches!(Membership::verify(key(3), other, answer), Err(JoinError::Answer(_))));
}

#[tokio::test]
async fn a_node_that_has_joined_does_not_call_again() {
    let (_dir, store) = joined(1_000_000);
    let Joined::Before(before) = join(&store, &string(), &wish()).await.unwrap() else {
        panic!("it joined again");
    };
    assert_eq!(before.certificate.name.as_deref(), Some("paris"));
}

#[tokio::test]
async fn a_registry_that_moved_is_taken_over() {
    let (_dir, store) = joined(1_000_000);
    let moved = JoinString { host: "192.0.2.7".to_owned(), ..string() };
    assert!(matches!(join(&store, &moved, &wish()).await, Ok(Joined::Before(_))));
    assert_eq!(store.network().unwrap().unwrap().host, "192.0.2.7");
}

#[tokio::test]
async fn a_node_of_another_network_is_left_alone() {
    let (_dir, store) = joined(1_000_000);
    let other = JoinString { root: key(8).public(), ..string() };
    let error = join(&store, &other, &wish()).await.unwrap_err().to_string();
    assert!(error.contains("a node of another network"), "{error}");
    assert!(error.contains("sixwire down") && error.contains("--state-dir"), "{error}");
    assert_eq!(store.network().unwrap().unwrap().root, string().root);
}

#[tokio::test]
async fn a_failed_join_keeps_the_key_for_the_next_try_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&dir.path().join("state")).unwrap();
    // Nothing listens on port 1; the pin spares the trust store.
    let pin = Some(sixwire_proto::join::TlsPin([0; 32]));
    let closed = JoinString { host: "127.0.0.1".to_owned(), port: 1, tls_pin: pin, ..string() };
    let error = join(&store, &closed, &wish()).await.unwrap_err();
    assert!(matches!(error, JoinError::Registry(RegistryError::Unreachable { .. })), "{error}");
    let first = store.node_key().unwrap().unwrap().public();
    assert!(join(&store, &closed, &wish()).await.is_err());
    assert_eq!(store.node_key().unwrap().unwrap().public(), first);
    assert!(Membership::load(&store).unwrap().is_none());
}

#[test]
fn an_expired_certificate_does_not_count_as_joined() {
    let (_dir, store) = joined(0);
    store.save_clock_floor(NOW + Duration::from_secs(1)).unwrap();
    assert!(joined_before(&store, &string()).unwrap().is_none());
}

#[test]
fn an_older_state_does_not_replace_a_newer_one() {
    let (_dir, store) = joined(1);
    let mut rejoined = verify(&certificate(1), &state(6)).unwrap();
    keep_newer_state(&store, &mut rejoined).unwrap();
    assert_eq!(rejoined.state.epoch, 7);
}

#[test]
fn a_certificate_on_disk_that_does_not_verify_is_an_error() {
    let (_dir, store) = joined(1);
    store.save_network(&Network { root: key(8).public(), ..Network::from(&string()) }).unwrap();
    let error = Membership::load(&store).unwrap_err().to_string();
    assert!(error.contains("not good") && error.contains("join again"), "{error}");
}

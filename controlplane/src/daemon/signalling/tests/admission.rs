//! Nodes whose papers do not hold, on either end of a connection.

use sixwire_proto::peer::Refusal;

use super::*;

/// A change to the papers of node 2 or to the state of node 1, and what the error says of it.
type Flaw = (fn(&mut Membership, &mut NetworkState), &'static str);

const FLAWS: [Flaw; 7] = [
    (|papers, _| *papers = Network { seed: 110 }.membership(&key(2)), "signed by"),
    (
        |papers, _| {
            let mut expired = NETWORK.certificate(&key(2));
            expired.not_after = Timestamp(NOW.0 - 1);
            papers.certificate = NETWORK.sign(&expired);
        },
        "expired at",
    ),
    (
        |papers, _| {
            let mut early = NETWORK.certificate(&key(2));
            early.not_before = Timestamp(NOW.0 + 1);
            papers.certificate = NETWORK.sign(&early);
        },
        "check the clock",
    ),
    (|_, state| state.revoked_keys.push(key(2).public()), "revoked"),
    (|_, state| state.issuers = vec![key(9).public()], "signed by"),
    (|papers, _| papers.certificate = NETWORK.membership(&key(3)).certificate, "was made with key"),
    (
        |papers, _| {
            let mut outside = NETWORK.certificate(&key(2));
            outside.prefix = "fd00:9::/64".parse().unwrap();
            papers.certificate = NETWORK.sign(&outside);
        },
        "outside the network",
    ),
];

/// Node 1 with its side of the flaw, node 2 with its own. Node 2 finds no fault with node 1.
fn pair((spoil, _): Flaw) -> (Node, Node) {
    let mut good = NETWORK.membership(&key(1));
    let mut bad = NETWORK.membership(&key(2));
    spoil(&mut bad, &mut good.state);
    bad.root = NETWORK.root().public();
    bad.state = NETWORK.state();
    (Node::with(1, good, Limits::default()), Node::with(2, bad, Limits::default()))
}

#[tokio::test]
async fn a_node_with_bad_papers_is_refused_with_the_reason() {
    for flaw in FLAWS {
        let (mut good, bad) = pair(flaw);
        let error = bad.ask(&good).await.unwrap_err();
        assert!(
            matches!(error, CallError::Refused { reason: Refusal::Certificate, .. }),
            "{error} for {}",
            flaw.1
        );
        assert!(error.to_string().contains(flaw.1), "{error} for {}", flaw.1);
        assert_eq!(good.counted("refused_certificate"), 1, "{}", flaw.1);
        assert_eq!(bad.counted("dialled_refused_by_peer"), 1, "{}", flaw.1);
        assert_eq!((good.signalling.connections(), bad.signalling.connections()), (0, 0));
        assert!(good.events.try_recv().is_err(), "nothing reaches the daemon");
    }
}

#[tokio::test]
async fn a_dialled_node_with_bad_papers_gets_no_request() {
    for flaw in FLAWS {
        let (good, mut bad) = pair(flaw);
        let error = good.ask(&bad).await.unwrap_err();
        assert!(matches!(error, CallError::Rejected { .. }), "{error} for {}", flaw.1);
        assert!(error.to_string().contains(flaw.1), "{error} for {}", flaw.1);
        assert_eq!(good.counted("dialled_rejected"), 1, "{}", flaw.1);
        assert_eq!(good.signalling.connections(), 0);
        until("the bad one forgets us", || bad.signalling.connections() == 0).await;
        assert!(bad.events.try_recv().is_err(), "no request reached it");
    }
}

#[tokio::test]
async fn an_old_protocol_is_refused() {
    let mut strict = NETWORK.membership(&key(1));
    strict.state.parameters.minimum_protocol = sixwire_proto::peer::PROTOCOL + 1;
    let (a, b) = (Node::with(1, strict, Limits::default()), Node::new(2));
    let error = b.ask(&a).await.unwrap_err();
    assert!(matches!(error, CallError::Refused { reason: Refusal::Protocol, .. }), "{error}");
    assert_eq!(a.counted("refused_protocol"), 1);
    assert!(matches!(a.ask(&b).await, Err(CallError::Rejected { .. })));
}

#[tokio::test]
async fn a_copy_of_the_own_key_is_refused() {
    let a = Node::new(1);
    let copy = stranger(1, &a).await;
    let answer = send_raw(&copy, &hello(&NETWORK.membership(&key(1)))).await.unwrap();
    assert!(matches!(answer, Answer::Refused { reason: Refusal::OwnRequest, .. }), "{answer:?}");
    assert_eq!(a.counted("refused_own_key"), 1);
}

#[tokio::test]
async fn a_renewed_certificate_is_shown_in_new_connections() {
    let (a, mut b) = (Node::new(1), Node::new(2));
    b.answer_all();
    assert_eq!(a.ask(&b).await.unwrap().peer.certificate.serial, 1);
    let mut renewed = NETWORK.certificate(&key(2));
    renewed.serial = 2;
    let certificate = NETWORK.sign(&renewed);
    b.membership.send_modify(|membership| {
        let membership = Arc::make_mut(membership);
        membership.certificate = certificate;
    });
    assert_eq!(a.ask(&b).await.unwrap().peer.certificate.serial, 1, "the old connection lives");
    let c = Node::new(3);
    assert_eq!(c.ask(&b).await.unwrap().peer.certificate.serial, 2);
}

#[tokio::test]
async fn a_revocation_ends_connections_that_exist() {
    let (a, mut b) = (Node::new(1), Node::new(2));
    b.answer_all();
    a.ask(&b).await.unwrap();
    b.membership.send_modify(|membership| {
        let membership = Arc::make_mut(membership);
        membership.state.epoch += 1;
        membership.state.revoked_keys.push(key(1).public());
    });
    until("b hangs up", || a.signalling.connections() + b.signalling.connections() == 0).await;
    assert_eq!(b.counted("connections_no_longer_admitted"), 1);
    let error = a.ask(&b).await.unwrap_err();
    assert!(matches!(error, CallError::Refused { reason: Refusal::Certificate, .. }), "{error}");
}

#[tokio::test]
async fn a_certificate_that_expires_ends_its_connection_at_the_next_request() {
    let clock = Arc::new(std::sync::atomic::AtomicU64::new(NOW.0));
    let (sender, membership) = watch::channel(Arc::new(NETWORK.membership(&key(2))));
    let now = clock.clone();
    let config = Config {
        addresses: vec![loopback()],
        mark: None,
        key: key(2),
        membership,
        now: Arc::new(move || Timestamp(now.load(std::sync::atomic::Ordering::Relaxed))),
        limits: Limits::default(),
    };
    let (signalling, events) = Signalling::bind(config).unwrap();
    let mut b = Node { signalling, events, membership: sender, id: id(2) };
    b.answer_all();
    let a = Node::new(1);
    a.ask(&b).await.unwrap();
    clock.store(1001, std::sync::atomic::Ordering::Relaxed);
    let error = a.ask(&b).await.unwrap_err();
    assert!(matches!(error, CallError::Refused { reason: Refusal::Certificate, .. }), "{error}");
    assert_eq!(b.counted("connections_no_longer_admitted"), 1);
}

//! Strangers and members that break the rules of the wire.

use sixwire_proto::peer::Refusal;

use tokio::time::timeout;

use super::*;

fn reason(answer: Option<Answer>) -> Option<Refusal> {
    match answer {
        Some(Answer::Refused { reason, .. }) => Some(reason),
        _ => None,
    }
}

/// A bare connection of node 2 that has said hello properly.
async fn member(node: &Node) -> quinn::Connection {
    let connection = stranger(2, node).await;
    let answer = send_raw(&connection, &hello(&NETWORK.membership(&key(2)))).await;
    assert!(matches!(answer, Some(Answer::Hello(_))), "{answer:?}");
    connection
}

#[tokio::test]
async fn a_key_that_is_shown_and_not_owned_convinces_nobody() {
    let forged = tls::Handshake::showing(&key(2).public(), &key(3)).unwrap();
    let sockets = socket::bind(&[loopback()], None).unwrap();
    let (endpoints, _) = endpoint::open(sockets, &key(3), &Limits::default()).unwrap();
    let server = quinn::ServerConfig::with_crypto(Arc::new(forged.server().unwrap()));
    endpoints[0].set_server_config(Some(server));
    let a = Node::new(1);

    let client = quinn::ClientConfig::new(Arc::new(forged.client().unwrap()));
    let name = tls::expected_name(a.id);
    let connection = endpoints[0].connect_with(client, a.addresses()[0], &name).unwrap();
    if let Ok(connection) = connection.await {
        // The client side of TLS 1.3 is done before the server has judged it.
        timeout(PATIENCE, connection.closed()).await.unwrap();
    }
    until("a refuses the client", || a.counted("handshakes_failed") == 1).await;

    let addresses = [endpoints[0].local_addr().unwrap()];
    let accepting = tokio::spawn(async move { endpoints[0].accept().await.unwrap().await.err() });
    let error = a.signalling.call(id(2), &addresses, Request::NodeInfo, PATIENCE).await;
    let error = error.unwrap_err();
    assert!(error.to_string().contains("BadSignature"), "{error}");
    assert!(accepting.await.unwrap().is_some(), "the server saw the handshake fail");
    assert_eq!(a.signalling.connections(), 0);
}

#[tokio::test]
async fn nothing_is_answered_before_hello() {
    let mut a = Node::new(1);
    let huge = vec![b' '; stream::REQUEST_LIMIT + 1];
    let cases: [(&[u8], Refusal, &str); 6] = [
        (br#"{"type":"node.info"}"#, Refusal::NoHello, "refused_no_hello"),
        (b"\x00\xff garbage", Refusal::Malformed, "refused_malformed"),
        (br#"{"type":"unheard.of"}"#, Refusal::Malformed, "refused_malformed"),
        (br#"{"type":"hello","protocol":1,"#, Refusal::Malformed, "refused_malformed"),
        (b"", Refusal::Malformed, "refused_malformed"),
        (&huge, Refusal::Malformed, "refused_malformed"),
    ];
    for (octets, refusal, label) in cases {
        let before = a.counted(label);
        let connection = stranger(2, &a).await;
        let text = String::from_utf8_lossy(&octets[..octets.len().min(40)]).into_owned();
        assert_eq!(reason(send_raw(&connection, octets).await), Some(refusal), "{text}");
        assert_eq!(a.counted(label), before + 1, "{text}");
        let closed = tokio::time::timeout(PATIENCE, connection.closed()).await.unwrap();
        assert!(closed.to_string().contains("refused"), "{closed} for {text}");
    }
    assert_eq!(a.signalling.connections(), 0);
    assert!(a.events.try_recv().is_err(), "nothing reaches the daemon");
}

#[tokio::test]
async fn malformed_requests_of_a_member_are_refused_and_harm_nothing() {
    let mut a = Node::new(1);
    let connection = member(&a).await;
    let huge = vec![b' '; stream::REQUEST_LIMIT + 1];
    let again = hello(&NETWORK.membership(&key(2)));
    let cases: [&[u8]; 5] =
        [b"\xff\xfe", br#"{"type":"unheard.of"}"#, b"{\"type\":", &huge, &again];
    for (index, octets) in (1..).zip(cases) {
        assert_eq!(reason(send_raw(&connection, octets).await), Some(Refusal::Malformed));
        assert_eq!(a.counted("requests_malformed"), index);
    }
    assert!(a.events.try_recv().is_err(), "nothing reached the daemon");
    a.answer_all();
    let answer = send_raw(&connection, br#"{"type":"node.info","future":[1]}"#).await;
    assert_eq!(answer, Some(info()), "the connection is as good as before");
}

#[tokio::test]
async fn a_request_cut_off_by_its_sender_leaves_no_trace() {
    let mut a = Node::new(1);
    let connection = member(&a).await;
    let (mut send, mut recv) = connection.open_bi().await.unwrap();
    send.write_all(br#"{"type":"node."#).await.unwrap();
    send.reset(quinn::VarInt::from_u32(0)).unwrap();
    let _ = tokio::time::timeout(PATIENCE, recv.read_to_end(100)).await.unwrap();
    assert!(a.events.try_recv().is_err());
    a.answer_all();
    assert_eq!(send_raw(&connection, br#"{"type":"node.info"}"#).await, Some(info()));
}

#[tokio::test]
async fn a_request_that_never_ends_is_given_up() {
    let limits = Limits { request: Duration::from_millis(100), ..Limits::default() };
    let a = Node::with(1, NETWORK.membership(&key(1)), limits);
    let connection = member(&a).await;
    let (mut send, mut recv) = connection.open_bi().await.unwrap();
    send.write_all(b"{").await.unwrap();
    let text = tokio::time::timeout(PATIENCE, recv.read_to_end(1000)).await.unwrap().unwrap();
    assert_eq!(reason(serde_json::from_slice(&text).ok()), Some(Refusal::Malformed));
}

#[tokio::test]
async fn a_member_has_at_most_eight_requests_open_and_the_others_wait() {
    let mut a = Node::new(1);
    let connection = member(&a).await;
    let mut asking = tokio::task::JoinSet::new();
    for _ in 0..12 {
        let connection = connection.clone();
        asking.spawn(async move { send_raw(&connection, br#"{"type":"node.info"}"#).await });
    }
    let mut waiting = Vec::new();
    while let Ok(request) = timeout(Duration::from_millis(300), a.next_request()).await {
        waiting.push(request);
    }
    // Seven, if the peer was not told yet that the stream of its hello is free again.
    assert!((7..=8).contains(&waiting.len()), "{} arrived", waiting.len());
    for request in waiting {
        request.reply.send(info()).unwrap();
    }
    a.answer_all();
    while let Some(answer) = asking.join_next().await {
        assert_eq!(answer.unwrap(), Some(info()));
    }
}

#[tokio::test]
async fn requests_beyond_the_limit_are_busy() {
    let limits = Limits { requests: 1, ..Limits::default() };
    let mut a = Node::with(1, NETWORK.membership(&key(1)), limits);
    let connection = member(&a).await;
    let ask = || send_raw(&connection, br#"{"type":"node.info"}"#);
    let (first, ()) = tokio::join!(ask(), async {
        let held = a.next_request().await;
        assert_eq!(reason(ask().await), Some(Refusal::Busy));
        held.reply.send(info()).unwrap();
    });
    assert_eq!(first, Some(info()));
    assert_eq!(a.counted("requests_busy"), 1);
}

#[tokio::test]
async fn a_full_node_refuses_when_all_are_busy_and_evicts_when_one_is_idle() {
    let limits = Limits { connections: 1, ..Limits::default() };
    let mut a = Node::with(1, NETWORK.membership(&key(1)), limits);
    let (b, c) = (Node::new(3), Node::new(4));
    let (first, ()) = tokio::join!(b.ask(&a), async {
        let held = a.next_request().await;
        let error = c.signalling.call(id(1), &a.addresses(), Request::NodeInfo, PATIENCE).await;
        let error = error.unwrap_err();
        assert!(matches!(error, CallError::Refused { reason: Refusal::Busy, .. }), "{error}");
        held.reply.send(info()).unwrap();
    });
    first.unwrap();
    assert_eq!(a.counted("refused_full"), 1);
    a.answer_all();
    c.ask(&a).await.unwrap();
    assert_eq!((a.counted("connections_evicted"), a.signalling.connections()), (1, 1));
    until("b has heard it", || b.signalling.connections() == 0).await;
}

#[tokio::test]
async fn a_stranger_that_says_nothing_is_dropped() {
    let limits = Limits { handshake: Duration::from_millis(100), ..Limits::default() };
    let a = Node::with(1, NETWORK.membership(&key(1)), limits);
    let connection = stranger(2, &a).await;
    tokio::time::timeout(PATIENCE, connection.closed()).await.unwrap();
    assert_eq!(a.counted("handshakes_timed_out"), 1);
}

#[tokio::test]
async fn many_silent_strangers_are_made_to_prove_their_address_and_then_refused() {
    let limits = Limits { unproven: 2, handshakes_per_source: 4, ..Limits::default() };
    let a = Node::with(1, NETWORK.membership(&key(1)), limits);
    let mut silent = Vec::new();
    for _ in 0..4 {
        silent.push(stranger(2, &a).await);
    }
    assert_eq!(a.counted("retries_sent"), 2);
    let b = Node::new(3);
    let error = b.ask(&a).await.unwrap_err();
    assert!(matches!(error, CallError::Unreachable { .. }), "{error}");
    assert_eq!(a.counted("handshakes_over_limit"), 1);
}

#[tokio::test]
async fn a_node_that_dials_again_replaces_its_old_connection() {
    let a = Node::new(1);
    let old = member(&a).await;
    let _new = member(&a).await;
    let closed = tokio::time::timeout(PATIENCE, old.closed()).await.unwrap();
    assert!(closed.to_string().contains("newer connection"), "{closed}");
    assert_eq!((a.signalling.connections(), a.counted("connections_replaced")), (1, 1));
}

#[tokio::test]
async fn packets_that_are_no_quic_do_nothing() {
    let mut a = Node::new(1);
    let noise = tokio::net::UdpSocket::bind(loopback()).await.unwrap();
    for length in [0, 1, 20, 1200] {
        noise.send_to(&vec![0xa5; length], a.addresses()[0]).await.unwrap();
    }
    let mut b = Node::new(3);
    b.answer_all();
    a.ask(&b).await.unwrap();
    assert!(a.events.try_recv().is_err());
    assert_eq!(a.counted("connections_accepted"), 0);
}

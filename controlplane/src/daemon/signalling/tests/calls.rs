//! Nodes that get along.

use sixwire_proto::peer::MESSAGE_LIMIT;

use super::*;

#[tokio::test]
async fn two_nodes_ask_each_other_both_ways_over_one_connection() {
    let (mut a, mut b) = (Node::new(1), Node::new(2));
    a.answer_all();
    let a_asks = a.ask(&b);
    let b_answers = async {
        let incoming = b.next_request().await;
        assert_eq!(incoming.peer.node, a.id);
        assert_eq!(incoming.peer.certificate.node, key(1).public());
        assert_eq!(incoming.remote, a.addresses()[0], "dials from the port it serves");
        incoming.reply.send(info()).unwrap();
    };
    let (reply, ()) = tokio::join!(a_asks, b_answers);
    let reply = reply.unwrap();
    assert_eq!((reply.answer, reply.peer.node), (info(), b.id));
    assert_eq!(reply.remote, b.addresses()[0]);
    assert_eq!(b.ask_back(a.id).await.unwrap().peer.node, a.id);
    assert_eq!((a.signalling.connections(), b.signalling.connections()), (1, 1));
    assert_eq!((a.counted("connections_dialled"), b.counted("connections_dialled")), (1, 0));
}

#[tokio::test]
async fn ipv6_and_a_socket_for_both_families_work_and_show_plain_addresses() {
    let any = any_address(0)[0];
    let a = Node::at(any, 1, NETWORK.membership(&key(1)), Limits::default());
    let mut b = Node::at(any, 2, NETWORK.membership(&key(2)), Limits::default());
    b.answer_all();
    let port = b.addresses()[0].port();
    for target in ["127.0.0.1", "::1"] {
        let c = Node::at(any, 3, NETWORK.membership(&key(3)), Limits::default());
        let address = SocketAddr::new(target.parse().unwrap(), port);
        let reply = c.signalling.call(b.id, &[address], Request::NodeInfo, PATIENCE).await;
        assert_eq!(reply.unwrap().remote, address);
    }
    drop(a);
}

#[tokio::test]
async fn of_several_addresses_the_one_that_answers_wins() {
    let (a, mut b, c) = (Node::new(1), Node::new(2), Node::new(3));
    b.answer_all();
    let silent = std::net::UdpSocket::bind(loopback()).unwrap();
    let zero = SocketAddr::from(([127, 0, 0, 1], 0));
    let addresses = [zero, silent.local_addr().unwrap(), c.addresses()[0], b.addresses()[0]];
    let reply = a.signalling.call(b.id, &addresses, Request::NodeInfo, PATIENCE).await.unwrap();
    assert_eq!(reply.remote, b.addresses()[0]);
    assert_eq!(a.counted("dialled_unexpected_node"), 1);
}

#[tokio::test]
async fn calls_at_once_share_one_connection() {
    let (a, mut b) = (Node::new(1), Node::new(2));
    b.answer_all();
    let (x, y, z) = tokio::join!(a.ask(&b), a.ask(&b), a.ask(&b));
    assert!(x.is_ok() && y.is_ok() && z.is_ok());
    assert_eq!(a.counted("connections_dialled"), 1);
}

#[tokio::test]
async fn a_node_that_nobody_knows_how_to_reach_is_an_error_and_so_is_oneself() {
    let a = Node::new(1);
    assert!(matches!(a.ask_back(id(2)).await, Err(CallError::NoAddress(_))));
    assert!(matches!(a.ask(&a).await, Err(CallError::OwnNode(_))));
    assert_eq!(a.counted("calls_failed"), 2);
}

#[tokio::test]
async fn an_unexpected_node_is_not_talked_to() {
    let (a, b) = (Node::new(1), Node::new(2));
    let result = a.signalling.call(id(3), &b.addresses(), Request::NodeInfo, PATIENCE).await;
    let error = result.unwrap_err();
    assert!(matches!(error, CallError::Unreachable { .. }), "{error}");
    assert!(error.to_string().contains("another node is there"), "{error}");
    until("b has seen the handshake fail", || b.counted("handshakes_failed") == 1).await;
    assert_eq!((a.signalling.connections(), b.signalling.connections()), (0, 0));
}

#[tokio::test]
async fn a_silent_address_ends_by_its_own_timeout_and_by_the_caller_s() {
    let limits = Limits { handshake: Duration::from_millis(100), ..Limits::default() };
    let a = Node::with(1, NETWORK.membership(&key(1)), limits);
    let silent = std::net::UdpSocket::bind(loopback()).unwrap();
    let addresses = [silent.local_addr().unwrap()];
    let ask = |patience| a.signalling.call(id(2), &addresses, Request::NodeInfo, patience);
    let error = ask(PATIENCE).await.unwrap_err();
    assert!(error.to_string().contains("no answer"), "{error}");
    let error = ask(Duration::from_millis(20)).await.unwrap_err();
    assert!(matches!(error, CallError::Timeout(..)), "{error}");
}

#[tokio::test]
async fn a_daemon_that_drops_a_request_or_never_answers_makes_it_busy() {
    let limits = Limits { answer: Duration::from_millis(100), ..Limits::default() };
    let (a, mut b) = (Node::new(1), Node::with(2, NETWORK.membership(&key(2)), limits));
    let busy = |reply: Reply| match reply.answer {
        Answer::Refused { reason, .. } => reason == sixwire_proto::peer::Refusal::Busy,
        _ => false,
    };
    let (reply, ()) = tokio::join!(a.ask(&b), async { drop(b.next_request().await) });
    assert!(busy(reply.unwrap()));
    assert!(busy(a.ask(&b).await.unwrap()), "left unanswered in the channel");
    assert_eq!(b.counted("requests_unanswered"), 2);
}

#[tokio::test]
async fn a_peer_that_was_killed_and_restarted_is_reached_by_the_next_call() {
    let a = Node::new(1);
    let first = Apart::start(loopback());
    let address = first.address;
    let ask =
        || a.signalling.call(id(2), std::slice::from_ref(&address), Request::NodeInfo, PATIENCE);
    ask().await.unwrap();
    first.kill();
    let second = Apart::start(address);
    let started = tokio::time::Instant::now();
    ask().await.unwrap();
    assert!(started.elapsed() < Duration::from_secs(1), "reset at once, not timed out");
    assert_eq!((a.counted("connections_stale"), a.counted("connections_dialled")), (1, 2));
    assert_eq!(a.signalling.connections(), 1);
    second.kill();
}

#[tokio::test]
async fn a_peer_that_moved_without_a_word_is_found_at_its_new_address() {
    let a = Node::new(1);
    let first = Apart::start(loopback());
    a.signalling.call(id(2), &[first.address], Request::NodeInfo, PATIENCE).await.unwrap();
    let old = first.address;
    first.kill();
    let _mute = std::net::UdpSocket::bind(old).unwrap();
    let second = Apart::start(loopback());
    let addresses = [second.address];
    let reply = a.signalling.call(id(2), &addresses, Request::NodeInfo, PATIENCE).await.unwrap();
    assert_eq!(reply.remote, second.address);
    second.kill();
}

#[tokio::test]
async fn an_answer_may_be_as_large_as_a_message_and_no_larger() {
    let (a, mut b) = (Node::new(1), Node::new(2));
    let frame = stream::encode(&Answer::NodeInfo(NodeInfo {
        version: String::new(),
        uptime_s: 0,
        links: Vec::new(),
    }));
    let fits = MESSAGE_LIMIT - frame.len();
    for (size, arrives) in [(fits, true), (fits + 1, false)] {
        let version = "x".repeat(size);
        let large = Answer::NodeInfo(NodeInfo { version, uptime_s: 0, links: Vec::new() });
        let (reply, ()) = tokio::join!(a.ask(&b), async {
            b.next_request().await.reply.send(large.clone()).unwrap();
        });
        let answer = reply.unwrap().answer;
        assert_eq!(answer == large, arrives);
        assert_eq!(matches!(answer, Answer::Refused { .. }), !arrives);
    }
}

#[tokio::test]
async fn epochs_travel_with_hello_and_with_every_new_state() {
    let mut newer = NETWORK.membership(&key(2));
    newer.state.epoch = 7;
    let (mut a, mut b) = (Node::new(1), Node::with(2, newer.clone(), Limits::default()));
    b.answer_all();
    a.ask(&b).await.unwrap();
    let event = tokio::time::timeout(PATIENCE, a.events.recv()).await.unwrap().unwrap();
    assert!(matches!(event, Event::NewerState { peer, epoch: 7 } if peer == b.id), "{event:?}");
    newer.state.epoch = 9;
    b.membership.send_replace(Arc::new(newer));
    let event = tokio::time::timeout(PATIENCE, a.events.recv()).await.unwrap().unwrap();
    assert!(matches!(event, Event::NewerState { peer, epoch: 9 } if peer == b.id), "{event:?}");
}

#[tokio::test]
async fn only_kept_connections_outlive_the_idle_timeout() {
    let idle = Duration::from_millis(600);
    let limits = Limits { idle, keep: Duration::from_millis(100), ..Limits::default() };
    let node = |seed| Node::with(seed, NETWORK.membership(&key(seed)), limits);
    let (a, mut kept, mut idle) = (node(1), node(2), node(3));
    kept.answer_all();
    idle.answer_all();
    a.signalling.keep([kept.id].into());
    a.ask(&kept).await.unwrap();
    a.ask(&idle).await.unwrap();
    until("the idle one is gone here", || a.signalling.connections() == 1).await;
    until("and there", || idle.signalling.connections() == 0).await;
    assert_eq!(kept.signalling.connections(), 1);
    assert!(kept.counted("requests") > 2, "signs of life");
    a.ask_back(kept.id).await.unwrap();
}

#[tokio::test]
async fn stop_tells_the_peers() {
    let (a, mut b) = (Node::new(1), Node::new(2));
    b.answer_all();
    a.ask(&b).await.unwrap();
    a.signalling.stop().await;
    until("b has heard it", || b.signalling.connections() == 0).await;
    assert!(matches!(a.ask(&b).await, Err(CallError::Unreachable { .. })));
}

/// Node 2 on a thread of its own, which can die without a word to its peers.
struct Apart {
    address: SocketAddr,
    kill: tokio::sync::oneshot::Sender<()>,
    thread: std::thread::JoinHandle<()>,
}

impl Apart {
    fn start(address: SocketAddr) -> Self {
        let (kill, killed) = tokio::sync::oneshot::channel();
        let (bound, address_of) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let membership = NETWORK.membership(&key(2));
                let mut node = Node::at(address, 2, membership, Limits::default());
                node.answer_all();
                bound.send(node.addresses()[0]).unwrap();
                let _ = killed.await;
            });
        });
        Self { address: address_of.recv().unwrap(), kill, thread }
    }

    fn kill(self) {
        self.kill.send(()).unwrap();
        self.thread.join().unwrap();
    }
}

//! An authenticated connection: both sides may ask, whoever dialled.

use std::sync::Arc;

use quinn::{Connection, RecvStream, SendStream, VarInt};
use sixwire_proto::peer::{Answer, Refusal, Request};
use tokio::sync::oneshot;
use tokio::time::{Instant, MissedTickBehavior, interval_at, timeout};

use super::counters::Count;
use super::membership::Peer;
use super::stream::{self, StreamError, refused};
use super::{CloseCode, Core, Event, Incoming, canonical};

/// Who opened a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Origin {
    /// This node.
    Dialled,
    /// The other one.
    Served,
}

/// A connection whose two ends know each other.
pub(super) struct Session {
    pub(super) connection: Connection,
    pub(super) peer: Arc<Peer>,
    pub(super) origin: Origin,
    in_use: Arc<()>,
}

impl Session {
    /// Takes over a connection whose `hello` has passed, and opens it to as many streams as a
    /// known peer may have.
    pub(super) fn new(connection: Connection, peer: Peer, origin: Origin) -> Self {
        connection.set_max_concurrent_bi_streams(VarInt::from_u32(STREAMS));
        connection.set_receive_window(VarInt::from_u32(RECEIVE_WINDOW));
        Self { connection, peer: Arc::new(peer), origin, in_use: Arc::new(()) }
    }

    /// Keeps the session from being evicted while the returned token lives.
    pub(super) fn hold(&self) -> Arc<()> {
        self.in_use.clone()
    }

    pub(super) fn is_idle(&self) -> bool {
        Arc::strong_count(&self.in_use) == 1
    }

    pub(super) fn is_closed(&self) -> bool {
        self.connection.close_reason().is_some()
    }

    /// Asks the peer.
    ///
    /// # Errors
    /// [`StreamError`].
    pub(super) async fn ask(&self, request: &[u8]) -> Result<Answer, StreamError> {
        let _held = self.hold();
        stream::ask(&self.connection, request).await
    }
}

/// Serves the peer's requests until the connection ends, follows the membership, and tells the
/// peer our epoch when it changes or the connection is to be kept alive.
pub(super) async fn run(core: Arc<Core>, session: Arc<Session>) {
    let mut membership = core.membership.clone();
    let mut told = membership.borrow_and_update().state.epoch;
    let mut keep = interval_at(Instant::now() + core.limits.keep, core.limits.keep);
    keep.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            streams = session.connection.accept_bi() => match streams {
                Ok(streams) => drop(tokio::spawn(serve(core.clone(), session.clone(), streams))),
                Err(_) => break,
            },
            Ok(()) = membership.changed() => {
                let epoch = membership.borrow_and_update().state.epoch;
                if core.still_admits(&session) && epoch != told {
                    told = epoch;
                    tokio::spawn(tell_epoch(core.clone(), session.clone()));
                }
            }
            _ = keep.tick() => if core.sessions().keeps(session.peer.node) {
                tokio::spawn(tell_epoch(core.clone(), session.clone()));
            },
        }
    }
    core.sessions().remove(&session);
}

async fn tell_epoch(core: Arc<Core>, session: Arc<Session>) {
    let epoch = core.membership().state.epoch;
    let request = stream::encode(&Request::StateEpoch { epoch });
    let answer = timeout(core.limits.request, session.ask(&request)).await;
    if let Ok(Ok(Answer::StateEpoch { epoch })) = answer {
        core.heard_epoch(session.peer.node, epoch);
    }
}

async fn serve(core: Arc<Core>, session: Arc<Session>, (mut send, recv): (SendStream, RecvStream)) {
    let _held = session.hold();
    core.counters.add(Count::Request);
    if !core.still_admits(&session) {
        return;
    }
    let Some(answer) = answer(&core, &session, recv).await else { return };
    // A peer that does not take its answer loses it: the stream ends with this function.
    let _ = timeout(core.limits.request, stream::write_answer(&mut send, &answer)).await;
}

/// The answer to what comes on a stream; none where the stream ended first.
async fn answer(core: &Core, session: &Session, recv: RecvStream) -> Option<Answer> {
    let Ok(_permit) = core.requests.try_acquire() else {
        core.counters.add(Count::RequestBusy);
        return Some(refused(Refusal::Busy, "too many requests at once"));
    };
    let malformed = |text: String| {
        core.counters.add(Count::RequestMalformed);
        core.log_peer(&session.connection, "request refused", &text);
        Some(refused(Refusal::Malformed, text))
    };
    match timeout(core.limits.request, stream::read_request(recv)).await {
        Ok(Ok(Request::Hello(_))) => malformed("hello came already".to_owned()),
        Ok(Ok(Request::StateEpoch { epoch })) => {
            core.heard_epoch(session.peer.node, epoch);
            Some(Answer::StateEpoch { epoch: core.membership().state.epoch })
        }
        Ok(Ok(request)) => Some(ask_daemon(core, session, request).await),
        Ok(Err(StreamError::Malformed(text))) => malformed(text),
        Ok(Err(StreamError::Lost(_))) => None,
        Err(_) => malformed("the request did not come to its end".to_owned()),
    }
}

async fn ask_daemon(core: &Core, session: &Session, request: Request) -> Answer {
    let (reply, answer) = oneshot::channel();
    let peer = session.peer.clone();
    let remote = canonical(session.connection.remote_address());
    let incoming = Box::new(Incoming { peer, remote, request, reply });
    if !core.deliver(Event::Request(incoming)) {
        core.counters.add(Count::RequestBusy);
        return refused(Refusal::Busy, "too many requests are waiting");
    }
    match timeout(core.limits.answer, answer).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(_)) | Err(_) => {
            core.counters.add(Count::RequestUnanswered);
            refused(Refusal::Busy, "no answer was found in time")
        }
    }
}

impl Core {
    /// Whether the peer would be let in at this moment; closes the connection if not.
    pub(super) fn still_admits(&self, session: &Session) -> bool {
        let Err(rejection) = self.membership().readmit(&session.peer, (self.now)()) else {
            return true;
        };
        if !session.is_closed() {
            self.counters.add(Count::NoLongerAdmitted);
            self.log_peer(&session.connection, "connection closed", &rejection);
            CloseCode::NotAdmitted.close(&session.connection);
        }
        false
    }
}

/// Requests a peer may have open at once.
const STREAMS: u32 = 8;
/// Octets a known peer may have on the way to us, unread.
const RECEIVE_WINDOW: u32 = 1024 * 1024;

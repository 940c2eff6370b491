//! A question to another node, from the choice of a connection to the answer.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use sixwire_proto::peer::{Answer, Refusal, Request};
use sixwire_proto::router_id::RouterId;

use super::counters::Count;
use super::membership::{Peer, Rejection};
use super::session::Session;
use super::stream::{self, StreamError};
use super::{CloseCode, Core, canonical};

/// What a node answered, and who and where it is.
#[derive(Clone, Debug)]
pub struct Reply {
    /// The answer; [`Answer::Refused`] is one as well.
    pub answer: Answer,
    /// Who answered.
    pub peer: Arc<Peer>,
    /// Address it was reached at.
    pub remote: SocketAddr,
}

/// Why a call brought no answer.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// It is this node.
    #[error("{0} is this node itself")]
    OwnNode(RouterId),
    /// More calls are under way than may be.
    #[error("cannot ask {0}: too many calls are under way")]
    Busy(RouterId),
    /// There is no connection, and none of the addresses can be tried from here.
    #[error("cannot ask {0}: not connected, and no usable address is known")]
    NoAddress(RouterId),
    /// No address led to the node.
    #[error("cannot reach {node}: {tried}")]
    Unreachable {
        /// Who was asked.
        node: RouterId,
        /// Each address with its failure.
        tried: String,
    },
    /// It does not want to talk to us.
    #[error("{node} at {remote} refuses us: {reason} ({text})")]
    Refused {
        /// Who was asked.
        node: RouterId,
        /// Where.
        remote: SocketAddr,
        /// Its reason.
        reason: Refusal,
        /// Its explanation.
        text: String,
    },
    /// We do not want to talk to it.
    #[error("{node} at {remote} is not to be trusted: {rejection}")]
    Rejected {
        /// Who was asked.
        node: RouterId,
        /// Where.
        remote: SocketAddr,
        /// Our reason.
        rejection: Rejection,
    },
    /// It answered something else.
    #[error("{node} at {remote} sent an answer that is none: {text}")]
    Malformed {
        /// Who was asked.
        node: RouterId,
        /// Where.
        remote: SocketAddr,
        /// What is wrong with it.
        text: String,
    },
    /// The connection ended before the answer. The request may have been received.
    #[error("lost {node} at {remote}: {text}")]
    Lost {
        /// Who was asked.
        node: RouterId,
        /// Where.
        remote: SocketAddr,
        /// How.
        text: String,
    },
    /// The time given to the call is over. The request may have been received.
    #[error("no answer from {0} within {1:?}")]
    Timeout(RouterId, Duration),
}

impl CallError {
    pub(super) fn of(error: StreamError, node: RouterId, remote: SocketAddr) -> Self {
        match error {
            StreamError::Lost(text) => Self::Lost { node, remote, text },
            StreamError::Malformed(text) => Self::Malformed { node, remote, text },
        }
    }
}

impl Core {
    pub(super) async fn call(
        self: &Arc<Self>,
        node: RouterId,
        addresses: &[SocketAddr],
        request: &Request,
    ) -> Result<Reply, CallError> {
        if node == self.node {
            return Err(CallError::OwnNode(node));
        }
        let _permit = self.calls.try_acquire().map_err(|_| CallError::Busy(node))?;
        let request = stream::encode(request);
        if let Some(session) = self.live_session(node) {
            match ask(&session, &request).await {
                Err(error @ CallError::Lost { .. }) if addresses.is_empty() => {
                    self.discard(&session);
                    return Err(error);
                }
                Err(CallError::Lost { .. }) => self.discard(&session),
                ended => return ended,
            }
        }
        let session = self.fresh_session(node, addresses).await?;
        ask(&session, &request).await
    }

    /// Dials, or takes the connection that another call has made meanwhile.
    async fn fresh_session(
        self: &Arc<Self>,
        node: RouterId,
        addresses: &[SocketAddr],
    ) -> Result<Arc<Session>, CallError> {
        let lock = self.sessions().dial_lock(node);
        let _dialling = lock.lock().await;
        match self.live_session(node) {
            Some(session) => Ok(session),
            None => self.dial(node, addresses).await,
        }
    }

    fn live_session(&self, node: RouterId) -> Option<Arc<Session>> {
        let session = self.sessions().find(node)?;
        self.still_admits(&session).then_some(session)
    }

    /// The other end has lost this connection, whatever our end believes.
    fn discard(&self, session: &Arc<Session>) {
        self.counters.add(Count::Stale);
        CloseCode::Stale.close(&session.connection);
        self.sessions().remove(session);
    }
}

async fn ask(session: &Session, request: &[u8]) -> Result<Reply, CallError> {
    let remote = canonical(session.connection.remote_address());
    match session.ask(request).await {
        Ok(answer) => Ok(Reply { answer, peer: session.peer.clone(), remote }),
        Err(error) => Err(CallError::of(error, session.peer.node, remote)),
    }
}

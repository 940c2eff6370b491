//! Refusals: why the registry says no, in words for people and a code for programs.

use std::time::Duration;

use sixwire_proto::envelope::DocumentError;
use sixwire_proto::registry::{CLOCK_TOLERANCE_S, ErrorCode};
use sixwire_proto::time::Timestamp;

use crate::pool::PoolError;

/// A call that is refused, with nothing changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The call or its body is not understood.
    #[error("the call is malformed: {0}")]
    Malformed(String),
    /// The join request is no valid signed document.
    #[error("the join request is refused: {0}")]
    JoinRequest(DocumentError),
    /// No such token.
    #[error("the token is not known here: ask for a new join string")]
    TokenUnknown,
    /// The token was revoked.
    #[error("the token was revoked at {0}: ask for a new join string")]
    TokenRevoked(Timestamp),
    /// The token's time is over.
    #[error("the token expired at {0}: ask for a new join string")]
    TokenExpired(Timestamp),
    /// The token was used as often as it may.
    #[error("the token was already used by another node: ask for a new join string")]
    TokenSpent,
    /// Another key has the same router-id.
    #[error("another node has the same router-id: make a new node key")]
    RouterIdTaken,
    /// The key has no certificate here.
    #[error("this node is not known here: join with a new join string")]
    NodeUnknown,
    /// The certificate is past its grace.
    #[error(
        "the node's certificate expired at {0}, longer than {days} days ago: join with a new join \
         string",
        days = crate::authority::GRACE.as_secs() / 86_400
    )]
    NodeLapsed(Timestamp),
    /// The node's key was revoked.
    #[error("this node's key was revoked at {0}: it may not take part any more")]
    KeyRevoked(Timestamp),
    /// The node's certificate was revoked.
    #[error("this node's certificate was revoked at {0}: join with a new join string")]
    CertificateRevoked(Timestamp),
    /// The call is not signed, or its signature does not hold.
    #[error("the signature of the call does not hold: {0}")]
    Signature(&'static str),
    /// The call's time is too far away.
    #[error(
        "the call is dated {call}, more than {CLOCK_TOLERANCE_S} s from the registry's {now}: \
         set the clock"
    )]
    Clock {
        /// When the node says it is.
        call: Timestamp,
        /// When it is.
        now: Timestamp,
    },
    /// The call was made before.
    #[error("this call was made before: use a new nonce for each call")]
    Replayed,
    /// No prefix is left.
    #[error("{0}: the operator must free prefixes or give shorter ones")]
    PoolEmpty(PoolError),
    /// Too many calls at once, or from one place.
    #[error("too many calls: try again in {} s", .0.as_secs())]
    Busy(Duration),
    /// The database is locked by another program.
    #[error("the registry's database is in use by another program: try again")]
    Locked,
    /// The registry failed.
    #[error("the registry failed; its log says why")]
    Internal,
}

impl Refusal {
    /// The code that travels.
    #[must_use]
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::JoinRequest(DocumentError::BadSignature(_)) | Self::Signature(_) => {
                ErrorCode::Signature
            }
            Self::Malformed(_) | Self::JoinRequest(_) | Self::RouterIdTaken => ErrorCode::Malformed,
            Self::TokenUnknown => ErrorCode::TokenUnknown,
            Self::TokenRevoked(_) => ErrorCode::TokenRevoked,
            Self::TokenExpired(_) => ErrorCode::TokenExpired,
            Self::TokenSpent => ErrorCode::TokenSpent,
            Self::NodeUnknown | Self::NodeLapsed(_) => ErrorCode::NodeUnknown,
            Self::KeyRevoked(_) | Self::CertificateRevoked(_) => ErrorCode::Revoked,
            Self::Clock { .. } => ErrorCode::Clock,
            Self::Replayed => ErrorCode::Replayed,
            Self::PoolEmpty(_) => ErrorCode::PoolEmpty,
            Self::Busy(_) | Self::Locked => ErrorCode::Busy,
            Self::Internal => ErrorCode::Internal,
        }
    }
}

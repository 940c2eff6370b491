//! Why a call to the registry brought no answer, and what to do about it.

use std::io;
use std::time::Duration;

use hyper::StatusCode;
use sixwire_proto::registry::ErrorCode;
use sixwire_proto::time::Timestamp;

use super::tls::PIN_MISMATCH;

/// A call that failed. `place` is `HOST:PORT`.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// The host is nothing TLS could verify.
    #[error("{0:?} is neither a host name nor an address: check the join string")]
    Name(String),
    /// No pin, and no authorities either.
    #[error(
        "this machine has no certificate authorities to verify the registry by: install \
         ca-certificates, or use a join string with a TLS pin"
    )]
    TrustStore,
    /// The system gave no random octets.
    #[error("the system has no randomness to give")]
    Randomness,
    /// No address answered.
    #[error(
        "cannot reach the registry at {place}: {reason}; check that it runs, that its TCP port is \
         open in every firewall, and that the name is right"
    )]
    Unreachable {
        /// Which registry.
        place: String,
        /// Of the last address tried.
        reason: io::Error,
    },
    /// It took too long.
    #[error(
        "the registry at {place} did not answer within {} seconds; check that it runs and is not \
         overloaded", limit.as_secs()
    )]
    TimedOut {
        /// Which registry.
        place: String,
        /// How long was waited.
        limit: Duration,
    },
    /// The key is another one than the join string named.
    #[error(
        "the registry at {place} has another TLS key than the one pinned at join: either its key \
         was replaced, then join with a new join string, or something else answers in its place"
    )]
    Pin {
        /// Which registry.
        place: String,
    },
    /// TLS failed otherwise.
    #[error("no TLS with the registry at {place}: {reason}")]
    Tls {
        /// Which registry.
        place: String,
        /// TLS's reason.
        reason: String,
    },
    /// The connection broke off.
    #[error("the connection to the registry at {place} broke off: {reason}; try again")]
    Broken {
        /// Which registry.
        place: String,
        /// HTTP's reason.
        reason: hyper::Error,
    },
    /// What answers is no registry, or one of another age.
    #[error(
        "what answers at {place} does not speak like a sixwire registry (HTTP {status}): check \
         host and port, and any proxy in front of it"
    )]
    NotARegistry {
        /// Which registry.
        place: String,
        /// HTTP status.
        status: StatusCode,
    },
    /// The registry says no.
    #[error("the registry at {place} refuses: {message}")]
    Refused {
        /// Which registry.
        place: String,
        /// For programs.
        code: ErrorCode,
        /// The registry's words: what failed, and what to do.
        message: String,
        /// The registry's clock.
        time: Timestamp,
    },
}

impl RegistryError {
    /// The error of a TLS handshake.
    pub(super) fn of_handshake(place: String, reason: &io::Error) -> Self {
        use rustls::{CertificateError as Bad, Error};
        let tls = reason.get_ref().and_then(|inner| inner.downcast_ref::<Error>());
        let advice = match tls {
            Some(Error::General(text)) if text == PIN_MISMATCH => return Self::Pin { place },
            Some(Error::InvalidCertificate(
                Bad::NotValidYet
                | Bad::NotValidYetContext { .. }
                | Bad::Expired
                | Bad::ExpiredContext { .. },
            )) => "; check this machine's clock, and the registry's certificate",
            Some(Error::InvalidCertificate(_)) => {
                "; if the registry has a certificate of its own, use a join string with its TLS pin"
            }
            _ => "",
        };
        Self::Tls { place, reason: format!("{reason}{advice}") }
    }

    /// Whether the same call may succeed later, with nothing changed here.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::TimedOut { .. } | Self::Broken { .. } => true,
            Self::NotARegistry { status, .. } => status.is_server_error(),
            Self::Refused { code, .. } => matches!(code, ErrorCode::Busy | ErrorCode::Internal),
            Self::Name(_)
            | Self::TrustStore
            | Self::Randomness
            | Self::Pin { .. }
            | Self::Tls { .. } => false,
        }
    }
}

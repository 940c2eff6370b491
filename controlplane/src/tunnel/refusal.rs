//! Why a request for a tunnel was refused.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The reason a node gives when it refuses a tunnel. Travels in the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Refusal {
    /// It serves as many tunnels as it may.
    Full,
    /// It is dialling the asker itself, and its dial wins.
    Glare,
    /// The asker's certificate is revoked.
    Revoked,
    /// The asker is the node itself.
    SelfDial,
    /// It serves nobody.
    DialOnly,
    /// It cannot right now: no free port, or the same node asked a moment ago.
    Busy,
    /// It is shutting down.
    Draining,
    /// A reason this version does not know.
    #[serde(other)]
    Other,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full => "serves as many tunnels as it may",
            Self::Glare => "is dialling us itself",
            Self::Revoked => "certificate revoked",
            Self::SelfDial => "it is the same node",
            Self::DialOnly => "serves nobody",
            Self::Busy => "busy",
            Self::Draining => "shutting down",
            Self::Other => "unknown reason",
        })
    }
}

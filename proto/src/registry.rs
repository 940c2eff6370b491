//! What nodes and the registry say to each other over HTTPS.
//!
//! | call | body | answer |
//! |---|---|---|
//! | `POST /v1/join` | [`Envelope`](crate::envelope::Envelope) of a [`Join`], signed by the node | [`JoinAnswer`] |
//! | `POST /v1/renew` | empty, with a [`CallSignature`] | [`JoinAnswer`] |
//! | `POST /v1/peers` | [`Presence`], with a [`CallSignature`] | [`PeersAnswer`] |
//! | `GET /v1/state` | none, with a [`CallSignature`] | [`Chain`] |
//! | `GET /v1/health` | none, unsigned | [`Health`] |
//!
//! A refusal is an [`ErrorBody`] with a fitting HTTP status.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::certificate::{Certificate, Chain, is_label};
use crate::encoding::{from_base64url, to_base64url};
use crate::envelope::Document;
use crate::keys::{PublicKey, Purpose, SecretKey, Signature};
use crate::peer::PeerRecord;
use crate::time::Timestamp;

/// HTTP header of a [`CallSignature`].
pub const CALL_HEADER: &str = "sixwire-call";
/// Largest body of a call, in octets.
pub const BODY_LIMIT: usize = 64 * 1024;
/// How far a call's time may be from the registry's, in seconds.
pub const CLOCK_TOLERANCE_S: u64 = 300;

/// A node's request to be certified. The signer of its envelope is the node's key, which proves
/// that the asker holds it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Join {
    /// Format version.
    pub version: u16,
    /// The token's text.
    pub token: String,
    /// Name the node would like.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// A certificate, and what a node needs beside it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JoinAnswer {
    /// The node's certificate.
    pub certificate: Chain,
    /// The network state.
    pub state: Chain,
    /// Whom to dial first.
    #[serde(default)]
    pub peers: Vec<PeerRecord>,
    /// The registry's clock.
    pub time: Timestamp,
}

/// Where a node believes it can be reached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Presence {
    /// Signalling addresses; the registry publishes those that match what it sees itself.
    pub addresses: Vec<SocketAddr>,
}

/// Whom a node may dial.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeersAnswer {
    /// Where the call came from.
    pub observed: IpAddr,
    /// A random sample of reachable nodes.
    pub peers: Vec<PeerRecord>,
    /// Epoch of the network state.
    pub epoch: u64,
    /// The registry's clock.
    pub time: Timestamp,
}

/// How the registry fares, for monitoring.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// Format version of this body.
    pub schema: u16,
    /// Epoch of the network state.
    pub epoch: u64,
    /// Last second of the issuer's validity: past it nothing can be certified.
    pub issuer_not_after: Timestamp,
    /// The registry's clock.
    pub time: Timestamp,
}

/// A refusal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorBody {
    /// For programs.
    pub code: ErrorCode,
    /// For people: what failed, on what, and what to do.
    pub message: String,
    /// The registry's clock, so that a node with a wrong one can call again.
    pub time: Timestamp,
}

/// Kinds of refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorCode {
    /// The call or its body is not understood.
    Malformed,
    /// The token is not known.
    TokenUnknown,
    /// The token was revoked.
    TokenRevoked,
    /// The token's time is over.
    TokenExpired,
    /// The token was used as often as it may.
    TokenSpent,
    /// No such node, or its certificate is past its grace.
    NodeUnknown,
    /// The node was revoked.
    Revoked,
    /// The signature of the call does not hold.
    Signature,
    /// The time of the call is too far from the registry's.
    Clock,
    /// The call was made before.
    Replayed,
    /// No prefix is left.
    PoolEmpty,
    /// Too many calls at once.
    Busy,
    /// The registry failed; its log says why.
    Internal,
    /// Any code a newer registry may have.
    #[serde(other)]
    Other,
}

/// A node's signature over one call: method, path, body, time and nonce.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallSignature {
    /// The node's key.
    pub key: PublicKey,
    /// When the call was made, by the node's clock.
    pub time: Timestamp,
    /// Random, never used twice within [`CLOCK_TOLERANCE_S`].
    pub nonce: [u8; 16],
    signature: Signature,
}

/// What a [`CallSignature`] covers.
#[derive(Clone, Copy, Debug)]
pub struct Call<'a> {
    /// `GET`, `POST`.
    pub method: &'a str,
    /// With query, if there is one.
    pub path: &'a str,
    /// Empty if there is none.
    pub body: &'a [u8],
}

impl Call<'_> {
    fn bytes(&self, time: Timestamp, nonce: &[u8; 16]) -> Vec<u8> {
        let head = format!("{}\n{}\n{}\n", self.method, self.path, time.0);
        let body = Sha256::digest(self.body);
        [head.as_bytes(), nonce, body.as_slice()].concat()
    }

    /// Signs the call.
    #[must_use]
    pub fn sign(&self, key: &SecretKey, time: Timestamp, nonce: [u8; 16]) -> CallSignature {
        let signature = key.sign(Purpose::Call, &self.bytes(time, &nonce));
        CallSignature { key: key.public(), time, nonce, signature }
    }
}

impl CallSignature {
    /// Whether the signature is over this call. Time and nonce are the caller's to judge.
    #[must_use]
    pub fn covers(&self, call: &Call<'_>) -> bool {
        self.key.verifies(Purpose::Call, &call.bytes(self.time, &self.nonce), &self.signature)
    }
}

impl fmt::Display for CallSignature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nonce = to_base64url(&self.nonce);
        write!(f, "{}.{}.{nonce}.{}", self.key, self.time.0, self.signature)
    }
}

impl FromStr for CallSignature {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, &'static str> {
        let parts: Vec<&str> = text.splitn(5, '.').collect();
        let [key, time, nonce, signature] = parts[..] else {
            return Err("want key.time.nonce.signature");
        };
        Ok(Self {
            key: key.parse().map_err(|_| "the key is damaged")?,
            time: Timestamp(time.parse().map_err(|_| "the time is no number")?),
            nonce: from_base64url(nonce)
                .and_then(|octets| octets.try_into().ok())
                .ok_or("the nonce is damaged")?,
            signature: signature.parse().map_err(|_| "the signature is damaged")?,
        })
    }
}

impl Document for Join {
    const PURPOSE: Purpose = Purpose::Join;
    const NAME: &'static str = "join request";
    const VERSION: u16 = 1;
    const LIMIT: usize = 1024;

    fn check(&self) -> Result<(), String> {
        if self.name.as_ref().is_some_and(|name| !is_label(name, Certificate::NAME_LIMIT)) {
            return Err(format!(
                "name: want letters, digits, - and _, at most {}",
                Certificate::NAME_LIMIT
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_signature_covers_every_part() {
        let key = SecretKey::from_octets(&[1; 32]);
        let call = Call { method: "POST", path: "/v1/peers", body: b"{}" };
        let signed = call.sign(&key, Timestamp(9), [7; 16]);
        let read: CallSignature = signed.to_string().parse().unwrap();
        assert!(read.covers(&call));
        assert!(!read.covers(&Call { method: "GET", ..call }));
        assert!(!read.covers(&Call { path: "/v1/state", ..call }));
        assert!(!read.covers(&Call { body: b"{ }", ..call }));
        assert!(!CallSignature { time: Timestamp(10), ..read.clone() }.covers(&call));
        assert!(!CallSignature { nonce: [8; 16], ..read }.covers(&call));
    }

    #[test]
    fn damaged_headers_are_refused() {
        for text in ["", "a.b.c", "a.b.c.d", "a.b.c.d.e"] {
            assert!(text.parse::<CallSignature>().is_err(), "{text}");
        }
    }
}

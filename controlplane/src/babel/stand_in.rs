//! Keys that stand in for those of a recorded link, and are no secret.
//!
//! What keys do to an engine is known without them: how long its MACs are, and which packets pass. So a recording has
//! the algorithms of the keys, and a packet that has passed is signed anew with stand-ins for them.

use serde::{Deserialize, Serialize};
use sixwire_proto::babel::{MacAlgorithm, MacKey, PseudoHeader, sign_anew, verify};

use super::authentication::{Authentication, KeyCountError, Unauthenticated};

/// An [`Authentication`] whose keys everybody knows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Outline", into = "Outline")]
pub struct StandIn(Authentication);

/// What is written down of it.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Outline {
    keys: Vec<MacAlgorithm>,
    unauthenticated: Unauthenticated,
}

impl StandIn {
    /// What stands in for these keys.
    #[must_use]
    pub fn of(real: &Authentication) -> Self {
        Self(real.with_keys(real.keys().iter().map(|key| public(key.algorithm()))))
    }

    /// What an engine is given.
    #[must_use]
    pub fn authentication(&self) -> &Authentication {
        &self.0
    }

    /// A datagram that passes here if it passes `real`.
    #[must_use]
    pub fn packet(&self, datagram: &[u8], header: PseudoHeader, real: &Authentication) -> Vec<u8> {
        match verify(datagram, header, real.keys()) {
            Ok(()) => sign_anew(datagram, header, self.0.keys()),
            Err(_) => None,
        }
        .unwrap_or_else(|| datagram.to_vec())
    }
}

/// A key of this algorithm that is no secret.
fn public(algorithm: MacAlgorithm) -> MacKey {
    MacKey::new(algorithm, b"a key in place of another one...")
        .expect("32 octets suit every algorithm")
}

impl From<StandIn> for Outline {
    fn from(StandIn(authentication): StandIn) -> Self {
        let keys = authentication.keys().iter().map(MacKey::algorithm).collect();
        Self { keys, unauthenticated: authentication.unauthenticated() }
    }
}

impl TryFrom<Outline> for StandIn {
    type Error = KeyCountError;

    fn try_from(outline: Outline) -> Result<Self, KeyCountError> {
        let keys = outline.keys.into_iter().map(public).collect();
        Authentication::new(keys, outline.unauthenticated).map(Self)
    }
}

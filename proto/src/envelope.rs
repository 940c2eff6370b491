//! Signed documents. The signature covers the exact bytes that travel; they are never serialised
//! again to be verified.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::keys::{PublicKey, Purpose, SecretKey, Signature};

/// A document as bytes, with the signature over them and the key that made it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Envelope {
    /// The document, JSON.
    #[serde(with = "crate::encoding::bytes")]
    payload: Vec<u8>,
    /// Who signed. A reader compares it with the key it expects.
    key: PublicKey,
    signature: Signature,
}

/// A kind of signed document.
pub trait Document: Serialize + DeserializeOwned {
    /// What its signature is for.
    const PURPOSE: Purpose;
    /// Its name in errors.
    const NAME: &'static str;
    /// The version of its format that this program reads and writes.
    const VERSION: u16;
    /// Largest payload, in octets.
    const LIMIT: usize;

    /// Rules beyond the syntax: value ranges and counts.
    ///
    /// # Errors
    /// A text that names the field and the rule.
    fn check(&self) -> Result<(), String>;
}

/// Why a signed document was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DocumentError {
    /// Larger than any honest one.
    #[error("{name} of {size} octets exceeds the limit of {limit}")]
    TooLarge {
        /// Which document.
        name: &'static str,
        /// Its size in octets.
        size: usize,
        /// The limit in octets.
        limit: usize,
    },
    /// Signed by another key than the one that must sign it.
    #[error("{0} is signed by {1}, not by the key it must be signed by")]
    WrongSigner(&'static str, PublicKey),
    /// The signature does not match the bytes.
    #[error("{0} has a wrong signature")]
    BadSignature(&'static str),
    /// Of a format version this program does not know.
    #[error("{0} has format version {1}; this program knows version {2}: update it")]
    Version(&'static str, u16, u16),
    /// Signed, but not a document of this kind.
    #[error("{0} does not parse: {1}")]
    Malformed(&'static str, String),
    /// Belongs to another network.
    #[error("{0} belongs to network {1}, not to ours")]
    WrongNetwork(&'static str, crate::certificate::NetworkId),
    /// Before its first day.
    #[error("{0} is valid only from {1}; now is {2}: check the clock")]
    NotYetValid(&'static str, crate::time::Timestamp, crate::time::Timestamp),
    /// Past its last day.
    #[error("{0} expired at {1}; now is {2}")]
    Expired(&'static str, crate::time::Timestamp, crate::time::Timestamp),
    /// Withdrawn by the network state.
    #[error("{0} is revoked")]
    Revoked(&'static str),
}

impl Envelope {
    /// Serialises and signs a document.
    #[must_use]
    pub fn seal<D: Document>(key: &SecretKey, document: &D) -> Self {
        let payload = serde_json::to_vec(document).expect("documents have text keys only");
        let signature = key.sign(D::PURPOSE, &payload);
        Self { payload, key: key.public(), signature }
    }

    /// The key that claims to have signed; proven by [`Self::open`] only.
    #[must_use]
    pub fn signer(&self) -> PublicKey {
        self.key
    }

    /// The document, once its size, signer, signature, version and values have passed.
    ///
    /// # Errors
    /// [`DocumentError`], the first that applies, in that order.
    pub fn open<D: Document>(&self, signer: &PublicKey) -> Result<D, DocumentError> {
        let (name, size) = (D::NAME, self.payload.len());
        if size > D::LIMIT {
            return Err(DocumentError::TooLarge { name, size, limit: D::LIMIT });
        }
        if self.key != *signer {
            return Err(DocumentError::WrongSigner(name, self.key));
        }
        if !signer.verifies(D::PURPOSE, &self.payload, &self.signature) {
            return Err(DocumentError::BadSignature(name));
        }
        parse(&self.payload)
    }
}

/// What every document starts with, so that a newer one is named as such.
#[derive(Deserialize)]
struct Versioned {
    version: u16,
}

fn parse<D: Document>(payload: &[u8]) -> Result<D, DocumentError> {
    let malformed = |e: serde_json::Error| DocumentError::Malformed(D::NAME, e.to_string());
    let Versioned { version } = serde_json::from_slice(payload).map_err(malformed)?;
    if version != D::VERSION {
        return Err(DocumentError::Version(D::NAME, version, D::VERSION));
    }
    let document: D = serde_json::from_slice(payload).map_err(malformed)?;
    document.check().map_err(|rule| DocumentError::Malformed(D::NAME, rule))?;
    Ok(document)
}

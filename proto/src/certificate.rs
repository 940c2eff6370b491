//! Who may be what: the root certifies issuers, an issuer certifies nodes.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest as _, Sha256};

use crate::encoding::deserialize_text;
use crate::envelope::{Document, DocumentError, Envelope};
use crate::keys::{PublicKey, Purpose};
use crate::prefix::Prefix;
use crate::router_id::RouterId;
use crate::time::Timestamp;

/// A network, named by the first 16 octets of the SHA-256 of its root key.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct NetworkId([u8; 16]);

/// What a node may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Forwards for others. A node without this role is a leaf.
    Transit,
    /// Announces a default route for sources inside the network.
    Gateway,
}

/// The root's word that a key may sign certificates and network states.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Issuer {
    /// Format version.
    pub version: u16,
    /// Network it holds for.
    pub network: NetworkId,
    /// The issuer's key.
    pub key: PublicKey,
    /// First second of its validity.
    pub not_before: Timestamp,
    /// Last second of its validity.
    pub not_after: Timestamp,
}

/// An issuer's word about a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Certificate {
    /// Format version.
    pub version: u16,
    /// Network the node belongs to.
    pub network: NetworkId,
    /// Number of this certificate, unique within the network.
    pub serial: u64,
    /// Name for people; not unique by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The node's key.
    pub node: PublicKey,
    /// The node's own prefix inside the network.
    pub prefix: Prefix,
    /// Further prefixes it may announce, IPv4 ones included.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub extra_prefixes: Vec<Prefix>,
    /// What it may be.
    #[serde(default)]
    pub roles: Vec<Role>,
    /// Labels for policy.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// First second of its validity.
    pub not_before: Timestamp,
    /// Last second of its validity.
    pub not_after: Timestamp,
}

/// A signed document with the certificate of the issuer that signed it: verifiable with nothing
/// but the root key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chain {
    /// An [`Issuer`], signed by the root.
    pub issuer: Envelope,
    /// The document, signed by that issuer.
    pub document: Envelope,
}

/// Documents an issuer signs.
pub trait Issued: Document {
    /// Network it belongs to.
    fn network(&self) -> NetworkId;
}

impl NetworkId {
    /// The network with this root key.
    #[must_use]
    pub fn of(root: &PublicKey) -> Self {
        let hash = Sha256::digest(root.octets());
        Self(std::array::from_fn(|i| hash[i]))
    }
}

impl Certificate {
    /// Longest name, in octets: a DNS label.
    pub const NAME_LIMIT: usize = 63;
    /// Most prefixes beside the node's own.
    pub const EXTRA_PREFIX_LIMIT: usize = 32;
    /// Most tags, and the longest tag in octets.
    pub const TAG_LIMIT: usize = 32;

    /// The node's router-id.
    ///
    /// # Panics
    /// Never for a certificate that was opened: a key with a reserved router-id does not pass.
    #[must_use]
    pub fn router_id(&self) -> RouterId {
        self.node.router_id().expect("checked when the certificate was opened")
    }

    /// Every prefix the node may announce.
    pub fn prefixes(&self) -> impl Iterator<Item = Prefix> {
        std::iter::once(self.prefix).chain(self.extra_prefixes.iter().copied())
    }

    /// Whether the node has the role.
    #[must_use]
    pub fn has(&self, role: Role) -> bool {
        self.roles.contains(&role)
    }

    /// Whether `now` lies within its validity.
    ///
    /// # Errors
    /// [`DocumentError::NotYetValid`], [`DocumentError::Expired`].
    pub fn valid_at(&self, now: Timestamp) -> Result<(), DocumentError> {
        valid_at(Self::NAME, (self.not_before, self.not_after), now)
    }
}

impl Chain {
    /// The issuer and the document, once both signatures and both networks have passed.
    /// Dates are the caller's: see [`Self::open_at`].
    ///
    /// # Errors
    /// [`DocumentError`].
    pub fn open<D: Issued>(&self, root: &PublicKey) -> Result<(Issuer, D), DocumentError> {
        let network = NetworkId::of(root);
        let issuer: Issuer = self.issuer.open(root)?;
        if issuer.network != network {
            return Err(DocumentError::WrongNetwork(Issuer::NAME, issuer.network));
        }
        let document: D = self.document.open(&issuer.key)?;
        if document.network() != network {
            return Err(DocumentError::WrongNetwork(D::NAME, document.network()));
        }
        Ok((issuer, document))
    }

    /// As [`Self::open`], and the issuer is valid at `now`.
    ///
    /// # Errors
    /// [`DocumentError`].
    pub fn open_at<D: Issued>(&self, root: &PublicKey, now: Timestamp) -> Result<D, DocumentError> {
        let (issuer, document) = self.open(root)?;
        valid_at(Issuer::NAME, (issuer.not_before, issuer.not_after), now)?;
        Ok(document)
    }

    /// A node's certificate that is valid at `now`, issuer included: what a peer must present.
    ///
    /// # Errors
    /// [`DocumentError`].
    pub fn certificate_at(
        &self,
        root: &PublicKey,
        now: Timestamp,
    ) -> Result<Certificate, DocumentError> {
        let certificate: Certificate = self.open_at(root, now)?;
        certificate.valid_at(now)?;
        Ok(certificate)
    }
}

fn valid_at(
    name: &'static str,
    (first, last): (Timestamp, Timestamp),
    now: Timestamp,
) -> Result<(), DocumentError> {
    if now < first {
        return Err(DocumentError::NotYetValid(name, first, now));
    }
    if now > last {
        return Err(DocumentError::Expired(name, last, now));
    }
    Ok(())
}

impl Document for Issuer {
    const PURPOSE: Purpose = Purpose::Issuer;
    const NAME: &'static str = "issuer certificate";
    const VERSION: u16 = 1;
    const LIMIT: usize = 1024;

    fn check(&self) -> Result<(), String> {
        Ok(())
    }
}

impl Document for Certificate {
    const PURPOSE: Purpose = Purpose::Certificate;
    const NAME: &'static str = "node certificate";
    const VERSION: u16 = 1;
    const LIMIT: usize = 8 * 1024;

    fn check(&self) -> Result<(), String> {
        self.node.router_id().map_err(|e| format!("node: {e}"))?;
        if !self.prefix.is_v6() || self.prefix.is_default() {
            return Err(format!("prefix: {} is no IPv6 prefix of a node", self.prefix));
        }
        if self.name.as_ref().is_some_and(|name| !is_label(name, Self::NAME_LIMIT)) {
            return Err("name: not a DNS label".to_owned());
        }
        if self.extra_prefixes.len() > Self::EXTRA_PREFIX_LIMIT {
            return Err(format!("extra_prefixes: more than {}", Self::EXTRA_PREFIX_LIMIT));
        }
        if self.tags.len() > Self::TAG_LIMIT
            || !self.tags.iter().all(|tag| is_label(tag, Self::TAG_LIMIT))
        {
            return Err(format!(
                "tags: more than {0}, or no labels of {0} octets",
                Self::TAG_LIMIT
            ));
        }
        Ok(())
    }
}

impl Issued for Certificate {
    fn network(&self) -> NetworkId {
        self.network
    }
}

/// Whether `text` is letters, digits, `-` and `_`, at least one and at most `limit`, not starting
/// with `-`: what names and tags may be.
#[must_use]
pub fn is_label(text: &str, limit: usize) -> bool {
    (1..=limit).contains(&text.len())
        && !text.starts_with('-')
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}

impl fmt::Display for NetworkId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{:032x}", u128::from_be_bytes(self.0)))
    }
}

impl fmt::Debug for NetworkId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl FromStr for NetworkId {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let error = || format!("{text:?} is not a network id: want 32 hexadecimal digits");
        if text.len() != 32 || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(error());
        }
        u128::from_str_radix(text, 16).map(|n| Self(n.to_be_bytes())).map_err(|_| error())
    }
}

impl Serialize for NetworkId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for NetworkId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserialize_text(deserializer, str::parse)
    }
}

#[cfg(test)]
mod tests;

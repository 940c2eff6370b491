//! The authority: who may join, what a node is certified for, which state comes next.
//!
//! Pure: rows of the database and the time go in, decisions and signed documents come out.

use std::time::Duration;

use sixwire_proto::certificate::{Certificate, Chain, Issuer, NetworkId, Role};
use sixwire_proto::envelope::{Document as _, DocumentError, Envelope};
use sixwire_proto::keys::{PublicKey, SecretKey};
use sixwire_proto::prefix::Prefix;
use sixwire_proto::registry::CLOCK_TOLERANCE_S;
use sixwire_proto::state::{NetworkState, Parameters};
use sixwire_proto::time::Timestamp;

use crate::refusal::Refusal;

/// Signs in the name of one network.
pub struct Authority {
    key: SecretKey,
    issuer: Issuer,
    envelope: Envelope,
    prefix: Prefix,
}

/// A token as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenRow {
    /// Its number, for people and logs.
    pub id: i64,
    /// How often it may be used in all.
    pub uses: u32,
    /// How often it may still be used.
    pub uses_left: u32,
    /// When it was made.
    pub created: Timestamp,
    /// Its last second.
    pub expires: Timestamp,
    /// When it was revoked.
    pub revoked: Option<Timestamp>,
    /// What it buys.
    pub grant: Grant,
}

/// What a token buys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// Length of the node's prefix.
    pub prefix_length: u8,
    /// Roles of the node.
    pub roles: Vec<Role>,
    /// Tags of the node.
    pub tags: Vec<String>,
}

/// A node as it is stored, with its latest certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeRow {
    /// Its latest certificate.
    pub certificate: Certificate,
    /// The same as it was signed.
    pub chain: Chain,
    /// When that certificate was revoked.
    pub revoked: Option<Timestamp>,
}

/// What the database knows about the key that asks to join.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Applicant {
    /// When the key was revoked.
    pub banned: Option<Timestamp>,
    /// The node it already is.
    pub node: Option<NodeRow>,
    /// When it spent this very token.
    pub spent: Option<Timestamp>,
}

/// How a join goes on, before the token is spent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JoinDecision {
    /// The answer was lost: give it again, spend nothing.
    Repeat(Box<Chain>),
    /// Spend the token; the node keeps the prefix it has.
    Rejoin(Prefix),
    /// Spend the token; the node needs a prefix.
    Join,
}

/// How a renewal goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RenewDecision {
    /// The present certificate lives long enough.
    Keep(Chain),
    /// Certify this again.
    Certify(Admission),
}

/// A node to certify.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admission {
    /// Its key.
    pub node: PublicKey,
    /// Its name.
    pub name: Option<String>,
    /// Its prefix.
    pub prefix: Prefix,
    /// Further prefixes it may announce.
    pub extra_prefixes: Vec<Prefix>,
    /// Its roles.
    pub roles: Vec<Role>,
    /// Its tags.
    pub tags: Vec<String>,
}

/// Revocations in force.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Revocations {
    /// Of certificates.
    pub serials: Vec<u64>,
    /// Of keys.
    pub keys: Vec<PublicKey>,
}

/// Life of a node's certificate.
pub const CERTIFICATE_LIFE: Duration = Duration::from_secs(90 * 86_400);
/// How long after its certificate expired a node may renew it and keeps its prefix.
pub const GRACE: Duration = Duration::from_secs(100 * 86_400);
/// Life of an issuer. It is renewed from one third left, which is longer than a certificate lives.
pub const ISSUER_LIFE: Duration = Duration::from_secs(365 * 86_400);
/// Documents start this much in the past, for readers whose clocks are slow.
pub const BACKDATE: Duration = Duration::from_secs(CLOCK_TOLERANCE_S);

impl Authority {
    /// The authority of the issuer that `root` vouches for in `envelope`.
    ///
    /// # Errors
    /// [`DocumentError`] when the envelope is not the root's word about this key.
    pub fn new(
        root: &PublicKey,
        prefix: Prefix,
        envelope: Envelope,
        key: SecretKey,
    ) -> Result<Self, DocumentError> {
        let issuer: Issuer = envelope.open(root)?;
        if issuer.network != NetworkId::of(root) {
            return Err(DocumentError::WrongNetwork(Issuer::NAME, issuer.network));
        }
        if issuer.key != key.public() {
            return Err(DocumentError::WrongSigner(Issuer::NAME, issuer.key));
        }
        Ok(Self { key, issuer, envelope, prefix })
    }

    /// The network's prefix.
    #[must_use]
    pub fn prefix(&self) -> Prefix {
        self.prefix
    }

    /// Last second in which it can sign.
    #[must_use]
    pub fn not_after(&self) -> Timestamp {
        self.issuer.not_after
    }

    /// A copy of the issuer key, for the root to vouch for again.
    #[must_use]
    pub fn signing_key(&self) -> SecretKey {
        self.key.clone()
    }

    /// Whether less than a third of the issuer's life is left.
    #[must_use]
    pub fn wants_renewal(&self, now: Timestamp) -> bool {
        let (left, life) = left_of(self.issuer.not_before, self.issuer.not_after, now);
        left < life / 3
    }

    /// A certificate for the node. The serial number must be new.
    ///
    /// # Errors
    /// [`Refusal::Internal`] when the issuer has expired.
    pub fn certify(
        &self,
        admission: Admission,
        serial: u64,
        now: Timestamp,
    ) -> Result<(Certificate, Chain), Refusal> {
        if now > self.issuer.not_after {
            return Err(Refusal::Internal);
        }
        let certificate = Certificate {
            version: Certificate::VERSION,
            network: self.issuer.network,
            serial,
            name: admission.name,
            node: admission.node,
            prefix: admission.prefix,
            extra_prefixes: admission.extra_prefixes,
            roles: admission.roles,
            tags: admission.tags,
            not_before: backdated(now),
            not_after: self.certificate_end(now),
        };
        certificate.check().map_err(Refusal::Malformed)?;
        let chain = self.seal(&certificate);
        Ok((certificate, chain))
    }

    /// Whether the node gets a new certificate.
    ///
    /// # Errors
    /// See [`standing`].
    pub fn judge_renewal(&self, node: &NodeRow, now: Timestamp) -> Result<RenewDecision, Refusal> {
        standing(node, now)?;
        let Certificate { not_before, not_after, .. } = node.certificate;
        let (left, life) = left_of(not_before, not_after, now);
        if left > life / 3 * 2 || self.certificate_end(now) <= not_after {
            return Ok(RenewDecision::Keep(node.chain.clone()));
        }
        Ok(RenewDecision::Certify(Admission::again(&node.certificate)))
    }

    /// The first state of the network.
    ///
    /// # Errors
    /// A text that names the parameter out of range.
    pub fn first_state(&self, now: Timestamp) -> Result<(u64, Chain), String> {
        let state = NetworkState {
            version: NetworkState::VERSION,
            network: self.issuer.network,
            epoch: 0,
            issued: now,
            prefix: self.prefix,
            parameters: Parameters::default(),
            issuers: Vec::new(),
            revoked_serials: Vec::new(),
            revoked_keys: Vec::new(),
        };
        self.next_state(state, Revocations::default(), now)
    }

    /// The state after `last`, with these revocations and the parameters `last` has.
    ///
    /// Its epoch is one more than the last, or the seconds since 1970 if that is higher, so that
    /// a registry restored from a backup does not repeat epochs it gave out since.
    ///
    /// # Errors
    /// A text that names what is out of range: a parameter, or more revocations than fit.
    pub fn next_state(
        &self,
        last: NetworkState,
        revoked: Revocations,
        now: Timestamp,
    ) -> Result<(u64, Chain), String> {
        let mut issuers = last.issuers;
        if !issuers.contains(&self.issuer.key) {
            issuers.push(self.issuer.key);
        }
        let state = NetworkState {
            epoch: (last.epoch + 1).max(now.0),
            issued: now,
            issuers,
            revoked_serials: revoked.serials,
            revoked_keys: revoked.keys,
            ..last
        };
        state.check()?;
        Ok((state.epoch, self.seal(&state)))
    }

    fn certificate_end(&self, now: Timestamp) -> Timestamp {
        (now + CERTIFICATE_LIFE).min(self.issuer.not_after)
    }

    fn seal<D: sixwire_proto::certificate::Issued>(&self, document: &D) -> Chain {
        Chain { issuer: self.envelope.clone(), document: Envelope::seal(&self.key, document) }
    }
}

impl Admission {
    /// A newcomer with what its token grants.
    #[must_use]
    pub fn of(node: PublicKey, name: Option<String>, prefix: Prefix, grant: Grant) -> Self {
        let Grant { roles, tags, .. } = grant;
        Self { node, name, prefix, extra_prefixes: Vec::new(), roles, tags }
    }

    fn again(certificate: &Certificate) -> Self {
        Self {
            node: certificate.node,
            name: certificate.name.clone(),
            prefix: certificate.prefix,
            extra_prefixes: certificate.extra_prefixes.clone(),
            roles: certificate.roles.clone(),
            tags: certificate.tags.clone(),
        }
    }
}

/// The root's word that `key` may sign for its network from `now` on.
#[must_use]
pub fn vouch(root: &SecretKey, key: PublicKey, now: Timestamp) -> Envelope {
    let issuer = Issuer {
        version: Issuer::VERSION,
        network: NetworkId::of(&root.public()),
        key,
        not_before: backdated(now),
        not_after: now + ISSUER_LIFE,
    };
    Envelope::seal(root, &issuer)
}

/// What a join comes to before its token is looked at.
///
/// The same key with the same token gets the same answer for as long as that is of use. With
/// another token it is certified anew, for what the new token grants, and keeps its prefix.
///
/// # Errors
/// [`Refusal::KeyRevoked`]; [`Refusal::CertificateRevoked`] for a repeat after a revocation.
pub fn judge_join(applicant: &Applicant, now: Timestamp) -> Result<JoinDecision, Refusal> {
    if let Some(at) = applicant.banned {
        return Err(Refusal::KeyRevoked(at));
    }
    let Some(node) = &applicant.node else { return Ok(JoinDecision::Join) };
    if applicant.spent.is_some() {
        if let Some(at) = node.revoked {
            return Err(Refusal::CertificateRevoked(at));
        }
        if now <= node.certificate.not_after {
            return Ok(JoinDecision::Repeat(Box::new(node.chain.clone())));
        }
    }
    Ok(JoinDecision::Rejoin(node.certificate.prefix))
}

/// Why a token buys nothing now.
#[must_use]
pub fn token_refusal(token: Option<&TokenRow>, now: Timestamp) -> Refusal {
    let Some(token) = token else { return Refusal::TokenUnknown };
    if let Some(at) = token.revoked {
        return Refusal::TokenRevoked(at);
    }
    if token.uses_left == 0 {
        return Refusal::TokenSpent;
    }
    if token.expires < now {
        return Refusal::TokenExpired(token.expires);
    }
    Refusal::TokenUnknown
}

/// Whether a certified node may call: its certificate not revoked, and at most [`GRACE`] past its
/// end.
///
/// # Errors
/// [`Refusal::CertificateRevoked`], [`Refusal::NodeLapsed`].
pub fn standing(node: &NodeRow, now: Timestamp) -> Result<(), Refusal> {
    if let Some(at) = node.revoked {
        return Err(Refusal::CertificateRevoked(at));
    }
    let end = node.certificate.not_after;
    if now > end + GRACE {
        return Err(Refusal::NodeLapsed(end));
    }
    Ok(())
}

/// The latest end of a certificate whose node has lapsed at `now`: its prefix is free again.
#[must_use]
pub fn lapsed_before(now: Timestamp) -> Timestamp {
    Timestamp(now.0.saturating_sub(GRACE.as_secs()))
}

/// The number after `last`, or the seconds since 1970 if that is higher: a registry restored from
/// a backup does not repeat serial numbers it gave out since.
#[must_use]
pub fn next_serial(last: u64, now: Timestamp) -> u64 {
    (last + 1).max(now.0)
}

fn backdated(now: Timestamp) -> Timestamp {
    Timestamp(now.0.saturating_sub(BACKDATE.as_secs()))
}

/// Seconds left of a life, and all of it.
fn left_of(first: Timestamp, last: Timestamp, now: Timestamp) -> (u64, u64) {
    (now.until(last).as_secs(), first.until(last).as_secs())
}

#[cfg(test)]
mod tests;

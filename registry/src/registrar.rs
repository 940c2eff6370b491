//! The registrar: each call of a node and each order of the operator, as one transaction.
//!
//! Rows go from the store to the authority, its decision back to the store. Whatever fails on the
//! way changes nothing.

use std::net::IpAddr;
use std::time::Duration;

use sixwire_proto::certificate::Chain;
use sixwire_proto::join::TlsPin;
use sixwire_proto::keys::{PublicKey, SecretKey};
use sixwire_proto::peer::PeerRecord;
use sixwire_proto::registry::{CallSignature, Health, JoinAnswer, PeersAnswer, Presence};
use sixwire_proto::state::{NetworkState, Parameters};
use sixwire_proto::time::Timestamp;
use tracing::{info, warn};

use crate::Error;
use crate::authority::{
    self, Admission, Authority, JoinDecision, NodeRow, RenewDecision, TokenRow,
};
use crate::directory::Directory;
use crate::pool::{self, PoolError};
use crate::presence::publishable;
use crate::refusal::Refusal;
use crate::replay::Replays;
use crate::store::{Database, Holder, StoreError, TokenHash, Transaction};

/// The registry without its network side.
pub struct Registrar {
    database: Database,
    authority: Authority,
    replays: Replays,
    root: PublicKey,
}

/// A join request whose signature holds.
#[derive(Clone, Debug)]
pub struct JoinRequest {
    /// The node's key.
    pub key: PublicKey,
    /// Hash of its token.
    pub token: TokenHash,
    /// Name it would like.
    pub name: Option<String>,
}

/// Why a call has no answer.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// It is refused.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A peer is offered for this long after it was last heard of.
pub const PRESENCE_LIFE: Duration = Duration::from_secs(3600);

impl Registrar {
    /// Opens the registry that lies in the directory.
    ///
    /// # Errors
    /// [`Error`].
    pub fn open(directory: &Directory) -> Result<Self, Error> {
        let key = directory.issuer_key()?;
        let mut database = Database::open(&directory.database())?;
        let transaction = database.begin()?;
        let network = transaction.network()?;
        transaction.commit()?;
        let authority = Authority::new(&network.root, network.prefix, network.issuer, key)
            .map_err(|cause| Error::Issuer { path: directory.path().to_owned(), cause })?;
        Ok(Self { database, authority, replays: Replays::default(), root: network.root })
    }

    /// Its database.
    pub fn database(&mut self) -> &mut Database {
        &mut self.database
    }

    /// Its authority.
    #[must_use]
    pub fn authority(&self) -> &Authority {
        &self.authority
    }

    /// The network's root key.
    #[must_use]
    pub fn root(&self) -> PublicKey {
        self.root
    }

    /// Certifies a node for its token, or answers a repeated request again.
    ///
    /// # Errors
    /// [`Failure`].
    pub fn join(&mut self, request: &JoinRequest, now: Timestamp) -> Result<JoinAnswer, Failure> {
        let transaction = self.database.begin()?;
        let applicant = transaction.applicant(&request.key, &request.token)?;
        let certificate = match authority::judge_join(&applicant, now)? {
            JoinDecision::Repeat(chain) => *chain,
            decision => admit(&transaction, &self.authority, (request, &decision), now)?,
        };
        let answer = answer(&transaction, &request.key, certificate, now)?;
        transaction.commit()?;
        Ok(answer)
    }

    /// Certifies a node again, once a third of its certificate's life has passed.
    ///
    /// # Errors
    /// [`Failure`].
    pub fn renew(&mut self, call: &CallSignature, now: Timestamp) -> Result<JoinAnswer, Failure> {
        let transaction = self.database.begin()?;
        let node = caller(&transaction, &mut self.replays, call, now)?;
        let certificate = match self.authority.judge_renewal(&node, now)? {
            RenewDecision::Keep(chain) => chain,
            RenewDecision::Certify(admission) => {
                certify(&transaction, &self.authority, admission, now)?
            }
        };
        let answer = answer(&transaction, &call.key, certificate, now)?;
        transaction.commit()?;
        Ok(answer)
    }

    /// Records where a node can be reached, and tells it some others. A presence that cannot be
    /// written, on a full disk, does not keep the node from its answer.
    ///
    /// # Errors
    /// [`Failure`].
    pub fn peers(
        &mut self,
        call: &CallSignature,
        (presence, source): (&Presence, IpAddr),
        now: Timestamp,
    ) -> Result<PeersAnswer, Failure> {
        let transaction = self.database.begin()?;
        caller(&transaction, &mut self.replays, call, now)?;
        let peers = sample(&transaction, &call.key, now)?;
        let (epoch, _) = transaction.state()?;
        let network = self.authority.prefix();
        let addresses = publishable(&presence.addresses, source, network);
        let recorded = transaction
            .record_presence(&call.key, &addresses, now)
            .and_then(|()| transaction.commit());
        match recorded {
            Err(error @ StoreError::Full(_)) => warn!(%error, "presence is not recorded"),
            recorded => recorded?,
        }
        Ok(PeersAnswer { observed: source, peers, epoch, time: now })
    }

    /// The network state, for a node.
    ///
    /// # Errors
    /// [`Failure`].
    pub fn state(&mut self, call: &CallSignature, now: Timestamp) -> Result<Chain, Failure> {
        let transaction = self.database.begin()?;
        caller(&transaction, &mut self.replays, call, now)?;
        Ok(transaction.state()?.1)
    }

    /// How the registry fares.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn health(&mut self, now: Timestamp) -> Result<Health, StoreError> {
        let (epoch, _) = self.database.begin()?.state()?;
        Ok(Health { schema: 1, epoch, issuer_not_after: self.authority.not_after(), time: now })
    }

    /// Revokes a node and puts the state that says so in force; gives its epoch.
    ///
    /// By router-id its key is revoked for good. By serial number that certificate and the node's
    /// earlier ones are; the node can come back with a new token and keeps its prefix.
    ///
    /// # Errors
    /// [`Error::NoSuchNode`], [`Error::AlreadyRevoked`] and others.
    pub fn revoke(&mut self, holder: Holder, now: Timestamp) -> Result<u64, Error> {
        let transaction = self.database.begin()?;
        let key = transaction.key_of(holder)?.ok_or(Error::NoSuchNode)?;
        let news = match holder {
            Holder::RouterId(_) => transaction.ban(&key, now)?,
            Holder::Serial(serial) => transaction.revoke_serial(serial, now)? > 0,
        };
        if !news {
            return Err(Error::AlreadyRevoked);
        }
        let last = last_state(&transaction)?;
        let epoch = sign_state(&transaction, &self.authority, last, now)?;
        transaction.commit()?;
        Ok(epoch)
    }

    /// Stores a token; gives its number.
    ///
    /// # Errors
    /// [`Error::Pool`] when the network cannot hold prefixes of its length.
    pub fn create_token(&mut self, hash: &TokenHash, token: &TokenRow) -> Result<i64, Error> {
        pool::check_length(self.authority.prefix(), token.grant.prefix_length)?;
        let transaction = self.database.begin()?;
        let id = transaction.insert_token(hash, token)?;
        transaction.commit()?;
        Ok(id)
    }

    /// The network's parameters, and the epoch that brought them.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn parameters(&mut self) -> Result<(u64, Parameters), StoreError> {
        let state = last_state(&self.database.begin()?)?;
        Ok((state.epoch, state.parameters))
    }

    /// When the network state in force was signed.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn state_signed_at(&mut self) -> Result<Timestamp, StoreError> {
        Ok(last_state(&self.database.begin()?)?.issued)
    }

    /// Puts parameters in force; gives the epoch that does so.
    ///
    /// # Errors
    /// [`Error::State`] names a parameter that is out of range.
    pub fn set_parameters(
        &mut self,
        parameters: &Parameters,
        now: Timestamp,
    ) -> Result<u64, Error> {
        let transaction = self.database.begin()?;
        let last = last_state(&transaction)?;
        let last = NetworkState { parameters: parameters.clone(), ..last };
        let epoch = sign_state(&transaction, &self.authority, last, now)?;
        transaction.commit()?;
        Ok(epoch)
    }

    /// Has join strings carry this pin from now on.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn set_tls_pin(&mut self, pin: Option<TlsPin>) -> Result<(), StoreError> {
        let transaction = self.database.begin()?;
        if transaction.network()?.tls_pin != pin {
            transaction.set_tls_pin(pin)?;
            transaction.commit()?;
        }
        Ok(())
    }

    /// Lets the root vouch for the issuer again, and signs the state anew in its name. Returns
    /// the new end of its validity.
    ///
    /// # Errors
    /// [`Error`].
    pub fn renew_issuer(&mut self, root: &SecretKey, now: Timestamp) -> Result<Timestamp, Error> {
        let key = self.authority.signing_key();
        let envelope = authority::vouch(root, key.public(), now);
        let prefix = self.authority.prefix();
        let renewed = Authority::new(&self.root, prefix, envelope.clone(), key)
            .map_err(|cause| Error::WrongRoot { cause })?;
        let transaction = self.database.begin()?;
        transaction.set_issuer(&envelope)?;
        let last = last_state(&transaction)?;
        sign_state(&transaction, &renewed, last, now)?;
        transaction.commit()?;
        self.authority = renewed;
        Ok(self.authority.not_after())
    }

    /// Forgets tokens and nodes past their grace.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn forget_lapsed(&mut self, now: Timestamp) -> Result<(), StoreError> {
        let before = authority::lapsed_before(now);
        let transaction = self.database.begin()?;
        let tokens = transaction.forget_tokens(before)?;
        let nodes = transaction.forget_nodes(before)?;
        transaction.commit()?;
        if tokens + nodes > 0 {
            info!(tokens, nodes, "forgot what is past its grace");
        }
        Ok(())
    }
}

/// The node that calls, if it may.
fn caller(
    transaction: &Transaction<'_>,
    replays: &mut Replays,
    call: &CallSignature,
    now: Timestamp,
) -> Result<NodeRow, Failure> {
    if let Some(at) = transaction.banned(&call.key)? {
        return Err(Refusal::KeyRevoked(at).into());
    }
    let node = transaction.node(&call.key)?.ok_or(Refusal::NodeUnknown)?;
    authority::standing(&node, now)?;
    replays.admit(call, now)?;
    Ok(node)
}

/// Spends the token and certifies its bearer.
fn admit(
    transaction: &Transaction<'_>,
    authority: &Authority,
    (request, decision): (&JoinRequest, &JoinDecision),
    now: Timestamp,
) -> Result<Chain, Failure> {
    let Some(token) = transaction.spend(&request.token, now)? else {
        let token = transaction.token(&request.token)?;
        return Err(authority::token_refusal(token.as_ref(), now).into());
    };
    let router_id = request.key.router_id().map_err(|e| Refusal::Malformed(e.to_string()))?;
    let holder = transaction.key_of(Holder::RouterId(router_id))?;
    if holder.is_some_and(|key| key != request.key) {
        return Err(Refusal::RouterIdTaken.into());
    }
    let prefix = match decision {
        JoinDecision::Rejoin(prefix) => *prefix,
        JoinDecision::Join | JoinDecision::Repeat(_) => {
            transaction.forget_nodes(authority::lapsed_before(now))?;
            let taken = transaction.prefixes()?;
            pool::allocate(authority.prefix(), token.grant.prefix_length, &taken)
                .map_err(Refusal::from)?
        }
    };
    let admission = Admission::of(request.key, request.name.clone(), prefix, token.grant);
    let chain = certify(transaction, authority, admission, now)?;
    transaction.insert_spending(token.id, &request.key, now)?;
    info!(node = %router_id, %prefix, token = token.id, "joined");
    Ok(chain)
}

fn certify(
    transaction: &Transaction<'_>,
    authority: &Authority,
    admission: Admission,
    now: Timestamp,
) -> Result<Chain, Failure> {
    let serial = authority::next_serial(transaction.last_serial()?, now);
    let (certificate, chain) = authority.certify(admission, serial, now)?;
    transaction.insert_certificate(&certificate, &chain, now)?;
    info!(node = %certificate.router_id(), serial, not_after = %certificate.not_after, "certified");
    Ok(chain)
}

fn answer(
    transaction: &Transaction<'_>,
    key: &PublicKey,
    certificate: Chain,
    now: Timestamp,
) -> Result<JoinAnswer, Failure> {
    let (_, state) = transaction.state()?;
    let peers = sample(transaction, key, now)?;
    Ok(JoinAnswer { certificate, state, peers, time: now })
}

fn sample(
    transaction: &Transaction<'_>,
    asker: &PublicKey,
    now: Timestamp,
) -> Result<Vec<PeerRecord>, StoreError> {
    let since = Timestamp(now.0.saturating_sub(PRESENCE_LIFE.as_secs()));
    transaction.sample_peers(asker, since, now)
}

fn last_state(transaction: &Transaction<'_>) -> Result<NetworkState, StoreError> {
    let (_, chain) = transaction.state()?;
    let opened = chain.document.open(&chain.document.signer());
    opened.map_err(|error| StoreError::Damaged(error.to_string()))
}

/// Signs the state after `last`, with the revocations that stand in the store.
fn sign_state(
    transaction: &Transaction<'_>,
    authority: &Authority,
    last: NetworkState,
    now: Timestamp,
) -> Result<u64, Error> {
    let revocations = transaction.revocations(authority::lapsed_before(now))?;
    let (epoch, next) = authority.next_state(last, revocations, now).map_err(Error::State)?;
    transaction.set_state(epoch, &next)?;
    info!(epoch, "network state signed");
    Ok(epoch)
}

impl From<PoolError> for Refusal {
    fn from(error: PoolError) -> Self {
        Self::PoolEmpty(error)
    }
}

#[cfg(test)]
mod tests;

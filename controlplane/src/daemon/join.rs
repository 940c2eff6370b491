//! Joining a network: a key of our own, a token spent, and every answer verified against the root
//! key that the join string pins.

use std::path::PathBuf;
use std::time::Duration;

use sixwire_proto::certificate::{Certificate, Chain, NetworkId};
use sixwire_proto::envelope::{Document, DocumentError};
use sixwire_proto::join::JoinString;
use sixwire_proto::keys::{PublicKey, SecretKey};
use sixwire_proto::registry::{Join, JoinAnswer};
use sixwire_proto::state::NetworkState;
use sixwire_proto::time::Timestamp;
use tokio::time::{Instant, sleep};
use zeroize::Zeroizing;

use super::clock::{Clock, Reading};
use super::registry_client::{RegistryClient, RegistryError};
use super::store::{LockError, Network, Store, StoreError};

/// What a node has once it has joined: its key, and documents that the root key vouches for. Dates
/// are the caller's to check.
#[derive(Clone, Debug)]
pub struct Membership {
    /// The node's key.
    pub key: SecretKey,
    /// Root key and registry.
    pub network: Network,
    /// The node's certificate.
    pub certificate: Certificate,
    /// The same, as it is shown to peers.
    pub certificate_chain: Chain,
    /// The network state.
    pub state: NetworkState,
    /// The same, as it is handed on.
    pub state_chain: Chain,
}

/// How to join.
#[derive(Clone, Debug)]
pub struct Wish {
    /// Name the node would like.
    pub name: Option<String>,
    /// How long to go on while the registry cannot be reached.
    pub patience: Duration,
    /// Told before each wait for another try.
    pub on_retry: fn(&RegistryError, Duration),
}

/// How a join ended well.
#[derive(Clone, Debug)]
pub enum Joined {
    /// The token was spent.
    Now(Membership),
    /// It had joined before, and still belongs to the network. The token was not used.
    Before(Membership),
}

/// Why a node did not join. Nothing is kept then but the node's key.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    /// The state directory does not serve.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Another process has the state directory.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// The registry gave no answer, or refused.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// The system gave no random octets.
    #[error("the system has no randomness to make a key of")]
    Randomness,
    /// The directory belongs to a node of another network.
    #[error(
        "{} holds a node of another network ({network}): stop it with `sixwire down` and remove \
         that directory, or join into another one with --state-dir", dir.display()
    )]
    OtherNetwork {
        /// State directory.
        dir: PathBuf,
        /// Its network.
        network: NetworkId,
    },
    /// The registry's answer does not hold.
    #[error(
        "the registry's answer does not hold: {0}; nothing was kept. Check that the join string \
         is of this network, and tell whoever runs the registry"
    )]
    Answer(DocumentError),
    /// The registry certified somebody else.
    #[error("the registry's answer does not hold: it certifies the key {0}, which is not ours")]
    ForeignKey(PublicKey),
    /// A document on disk does not hold.
    #[error("{} holds a document that is not good: {problem}; remove it and join again", dir.display())]
    OnDisk {
        /// State directory.
        dir: PathBuf,
        /// Which document, and why.
        problem: DocumentError,
    },
}

/// First wait between two tries; it doubles.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// Longest wait between two tries.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

impl Membership {
    /// What `store` holds, signatures verified; `None` before a join has succeeded.
    ///
    /// # Errors
    /// [`JoinError::Store`], [`JoinError::OnDisk`].
    pub fn load(store: &Store) -> Result<Option<Self>, JoinError> {
        let (Some(key), Some(network), Some(certificate_chain), Some(state_chain)) =
            (store.node_key()?, store.network()?, store.certificate()?, store.state()?)
        else {
            return Ok(None);
        };
        let on_disk = |problem| JoinError::OnDisk { dir: store.dir().to_owned(), problem };
        let (_, certificate) = certificate_chain.open(&network.root).map_err(on_disk)?;
        let (_, state) = state_chain.open(&network.root).map_err(on_disk)?;
        Ok(Some(Self { key, network, certificate, certificate_chain, state, state_chain }))
    }

    /// The answer of the registry, every claim of it checked.
    fn verify(key: SecretKey, network: Network, answer: JoinAnswer) -> Result<Self, JoinError> {
        let JoinAnswer { certificate: certificate_chain, state: state_chain, time, .. } = answer;
        // Dates are judged by the registry's clock: ours may be wrong, and is corrected by it.
        let certificate =
            certificate_chain.certificate_at(&network.root, time).map_err(JoinError::Answer)?;
        let (issuer, _) =
            certificate_chain.open::<Certificate>(&network.root).map_err(JoinError::Answer)?;
        if certificate.node != key.public() {
            return Err(JoinError::ForeignKey(certificate.node));
        }
        let state: NetworkState =
            state_chain.open_at(&network.root, time).map_err(JoinError::Answer)?;
        state.admits(&certificate, issuer.key).map_err(JoinError::Answer)?;
        Ok(Self { key, network, certificate, certificate_chain, state, state_chain })
    }

    /// Puts everything on disk; the network last, which makes the join count.
    fn keep(&self, store: &Store, time: Timestamp) -> Result<(), StoreError> {
        store.save_clock_floor(time)?;
        store.save_state(&self.state_chain)?;
        store.save_certificate(&self.certificate_chain)?;
        store.save_network(&self.network)
    }
}

/// Joins the network of `string`, or finds that the node in `store` already belongs to it.
///
/// # Errors
/// [`JoinError`]. Repeating with the same string is safe, however far it came.
pub async fn join(store: &Store, string: &JoinString, wish: &Wish) -> Result<Joined, JoinError> {
    if let Some(before) = joined_before(store, string)? {
        return Ok(Joined::Before(before));
    }
    let _lock = store.lock()?;
    let network = Network::from(string);
    let client = RegistryClient::new(&network)?;
    let key = node_key(store)?;
    let request = Join {
        version: Join::VERSION,
        token: string.token.reveal().to_owned(),
        name: wish.name.clone(),
    };
    let answer = ask(&client, (&key, &request), wish).await?;
    let (time, peers) = (answer.time, answer.peers.clone());
    let mut membership = Membership::verify(key, network, answer)?;
    keep_newer_state(store, &mut membership)?;
    store.save_peers(&peers)?;
    membership.keep(store, time)?;
    Ok(Joined::Now(membership))
}

/// The membership that `store` holds, if it is of the same network and has not expired. A registry
/// that moved is taken over from the string.
fn joined_before(store: &Store, string: &JoinString) -> Result<Option<Membership>, JoinError> {
    let Some(network) = store.network()? else { return Ok(None) };
    if network.root != string.root {
        return Err(JoinError::OtherNetwork {
            dir: store.dir().to_owned(),
            network: NetworkId::of(&network.root),
        });
    }
    let Some(mut membership) = Membership::load(store)? else { return Ok(None) };
    let clock = Clock::new(store.clock_floor().unwrap_or_default(), Reading::take());
    if membership.certificate.not_after < clock.now() {
        return Ok(None);
    }
    if network != Network::from(string) {
        membership.network = Network::from(string);
        store.save_network(&membership.network)?;
    }
    Ok(Some(membership))
}

/// The node's key: that of a join that was cut off, or a new one.
fn node_key(store: &Store) -> Result<SecretKey, JoinError> {
    if let Some(key) = store.node_key()? {
        return Ok(key);
    }
    loop {
        let mut octets = Zeroizing::new([0; 32]);
        getrandom::fill(octets.as_mut_slice()).map_err(|_| JoinError::Randomness)?;
        let key = SecretKey::from_octets(&octets);
        // Two keys in 2^64 have a reserved router-id.
        if key.public().router_id().is_ok() {
            store.save_node_key(&key)?;
            return Ok(key);
        }
    }
}

/// Asks until there is an answer that waiting cannot change, or patience is at its end.
async fn ask(
    client: &RegistryClient,
    (key, request): (&SecretKey, &Join),
    wish: &Wish,
) -> Result<JoinAnswer, RegistryError> {
    let deadline = Instant::now() + wish.patience;
    let mut pause = FIRST_PAUSE;
    loop {
        match client.join(key, request).await {
            Err(error) if error.is_transient() && Instant::now() + pause < deadline => {
                (wish.on_retry)(&error, pause);
                sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
            answer => return answer,
        }
    }
}

/// A registry restored from a backup may hand out an older state than the node has seen: the
/// newer one stays.
fn keep_newer_state(store: &Store, membership: &mut Membership) -> Result<(), StoreError> {
    let Some(chain) = store.state()? else { return Ok(()) };
    if let Ok((_, state)) = chain.open::<NetworkState>(&membership.network.root)
        && state.epoch > membership.state.epoch
    {
        (membership.state, membership.state_chain) = (state, chain);
    }
    Ok(())
}

#[cfg(test)]
mod tests;

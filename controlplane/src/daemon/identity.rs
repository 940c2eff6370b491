//! Who this node is, as its state directory says: read once, verified, before anything starts.

use sixwire_proto::certificate::{Certificate, Chain};
use sixwire_proto::envelope::DocumentError;
use sixwire_proto::keys::SecretKey;
use sixwire_proto::router_id::RouterId;
use sixwire_proto::state::NetworkState;

use super::store::{Network, Store, StoreError};

/// The papers of this node.
pub(super) struct Identity {
    /// Its key.
    pub(super) key: SecretKey,
    /// Its router-id.
    pub(super) node: RouterId,
    /// Its network and the way to its registry.
    pub(super) network: Network,
    /// What its certificate says. It may have expired: then the registry must renew it.
    pub(super) certificate: Certificate,
    /// The certificate, to show.
    pub(super) chain: Chain,
    /// The network state.
    pub(super) state: NetworkState,
    /// The network state, to pass on.
    pub(super) state_chain: Chain,
}

/// Why there is no identity.
#[derive(Debug, thiserror::Error)]
pub(super) enum IdentityError {
    /// `sixwire join` was not run, or did not succeed.
    #[error(
        "this machine has not joined a network: run `sixwire join STRING` with a join string \
             from the registry"
    )]
    NotJoined,
    /// A file cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A file does not verify.
    #[error(
        "{file} in {dir}: {error}; restore it from a backup, or remove the directory and join again"
    )]
    Document {
        /// Which file.
        file: &'static str,
        /// Its directory.
        dir: String,
        /// What is wrong with it.
        error: DocumentError,
    },
    /// Key and certificate are of different nodes.
    #[error(
        "the key and the certificate in {0} belong to different nodes; restore them from one \
             backup, or remove the directory and join again"
    )]
    OtherNode(String),
}

impl Identity {
    /// Reads and verifies the papers in a state directory.
    ///
    /// # Errors
    /// [`IdentityError`].
    pub(super) fn load(store: &Store) -> Result<Self, IdentityError> {
        let missing = IdentityError::NotJoined;
        let network = store.network()?.ok_or(missing)?;
        let key = store.node_key()?.ok_or(IdentityError::NotJoined)?;
        let chain = store.certificate()?.ok_or(IdentityError::NotJoined)?;
        let state_chain = store.state()?.ok_or(IdentityError::NotJoined)?;
        let dir = store.dir().display().to_string();
        let refused = |file| {
            let dir = dir.clone();
            move |error| IdentityError::Document { file, dir, error }
        };
        let (_, certificate): (_, Certificate) =
            chain.open(&network.root).map_err(refused("certificate.json"))?;
        let (_, state) = state_chain.open(&network.root).map_err(refused("state.json"))?;
        if certificate.node != key.public() {
            return Err(IdentityError::OtherNode(dir));
        }
        let node = certificate.router_id();
        Ok(Self { key, node, network, certificate, chain, state, state_chain })
    }
}

//! Papers for impostors: the test holds the issuer's key, as nobody outside the registry does.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use sixwire_controlplane::daemon::clock::Reading;
use sixwire_controlplane::daemon::join::Membership as OnDisk;
use sixwire_controlplane::daemon::signalling::{Config, Event, Limits, Membership, Signalling};
use sixwire_controlplane::daemon::store::Store;
use sixwire_proto::certificate::{Certificate, Chain};
use sixwire_proto::envelope::Envelope;
use sixwire_proto::keys::SecretKey;
use sixwire_proto::router_id::RouterId;
use sixwire_proto::time::Timestamp;
use sixwire_registry::directory::Directory;
use tokio::sync::{mpsc, watch};

use crate::lab::{Host, Node};
use crate::network::Network;

/// The genuine papers of a node, and what makes others.
pub(super) struct Press {
    /// What the node has on disk.
    pub(super) genuine: OnDisk,
    issuer: SecretKey,
}

/// Someone who speaks signalling: a key, and papers that may or may not belong to it.
#[derive(Clone)]
pub(super) struct Impostor {
    pub(super) key: SecretKey,
    pub(super) membership: Membership,
}

impl Press {
    /// With the papers of `node`.
    pub(super) fn of(network: &Network, node: &Node) -> Result<Self> {
        let store = Store::open(node.state_directory())?;
        let genuine = OnDisk::load(&store)?.context("the node has joined")?;
        let issuer = Directory::new(network.registry.directory()).issuer_key()?;
        Ok(Self { genuine, issuer })
    }

    /// Signs with the issuer's key.
    pub(super) fn sign<D: sixwire_proto::envelope::Document>(&self, document: &D) -> Chain {
        self.sign_with(&self.issuer, document)
    }

    /// Signs with any key, and adds the genuine issuer's certificate.
    pub(super) fn sign_with<D: sixwire_proto::envelope::Document>(
        &self,
        key: &SecretKey,
        document: &D,
    ) -> Chain {
        let issuer = self.genuine.certificate_chain.issuer.clone();
        Chain { issuer, document: Envelope::seal(key, document) }
    }

    /// A certificate for `key`, like the genuine one but for what `change` does.
    pub(super) fn certificate(
        &self,
        key: &SecretKey,
        change: impl FnOnce(&mut Certificate),
    ) -> Certificate {
        let serial = self.genuine.certificate.serial + 1000;
        let mut certificate =
            Certificate { node: key.public(), serial, ..self.genuine.certificate.clone() };
        change(&mut certificate);
        certificate
    }

    /// Someone with this key who shows this certificate.
    pub(super) fn impostor(&self, key: &SecretKey, certificate: Chain) -> Impostor {
        let (root, state) = (self.genuine.network.root, self.genuine.state.clone());
        let membership = Membership { root, certificate, state };
        Impostor { key: key.clone(), membership }
    }
}

impl Impostor {
    /// Runs `work` with signalling open on a host.
    pub(super) fn on<T: Send>(
        &self,
        host: &Host,
        work: impl AsyncFnOnce(&Signalling, mpsc::Receiver<Event>) -> T + Send,
    ) -> Result<T> {
        let (_sender, membership) = watch::channel(Arc::new(self.membership.clone()));
        let config = Config {
            addresses: vec![(host.address, 0).into()],
            mark: None,
            key: self.key.clone(),
            membership,
            now: Arc::new(|| Reading::take().time),
            limits: Limits::default(),
        };
        host.namespace.within(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(async {
                let (signalling, events) = Signalling::bind(config)?;
                let result = work(&signalling, events).await;
                signalling.stop().await;
                Ok(result)
            })
        })?
    }
}

/// Who and where the first node is.
pub(super) fn target(network: &Network) -> Result<(RouterId, SocketAddr)> {
    let node = network.nodes.first().context("there is a first node")?;
    Ok((node.status()?.node.router_id.parse()?, (node.host.address, 6326).into()))
}

pub(super) fn key(octet: u8) -> SecretKey {
    SecretKey::from_octets(&[octet; 32])
}

pub(super) fn today() -> Timestamp {
    Reading::take().time
}

/// The longest a call may take.
pub(super) const CALL: Duration = Duration::from_secs(10);

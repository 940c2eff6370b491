//! Who takes part: our own papers, and the judgement over those of a peer.

use sixwire_proto::certificate::{Certificate, Chain};
use sixwire_proto::envelope::DocumentError;
use sixwire_proto::keys::PublicKey;
use sixwire_proto::peer::{Hello, PROTOCOL, Refusal};
use sixwire_proto::router_id::RouterId;
use sixwire_proto::state::NetworkState;
use sixwire_proto::time::Timestamp;

/// What this node shows, and what it judges others by. Replaced as a whole when the certificate
/// is renewed or a newer state arrives.
#[derive(Clone, Debug)]
pub struct Membership {
    /// The network's root key.
    pub root: PublicKey,
    /// Own certificate, shown in every new connection.
    pub certificate: Chain,
    /// Network state in force.
    pub state: NetworkState,
}

/// The other side of an authenticated connection.
#[derive(Clone, Debug)]
pub struct Peer {
    /// Its router-id.
    pub node: RouterId,
    /// Its certificate, verified.
    pub certificate: Certificate,
    /// The same as it came, to pass on.
    pub chain: Chain,
    /// The message version it speaks.
    pub protocol: u16,
    /// Epoch of its network state when the connection was made.
    pub epoch: u64,
}

/// Why a peer was not let in.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// Something else came before `hello`.
    #[error("no hello came first")]
    NoHello,
    /// The first message was not understood.
    #[error("malformed hello: {0}")]
    Malformed(String),
    /// Its protocol is older than the network allows.
    #[error("protocol {0} is too old, the network demands {1}: update the node")]
    Protocol(u16, u16),
    /// Its certificate does not hold.
    #[error(transparent)]
    Certificate(#[from] DocumentError),
    /// The certificate is someone else's.
    #[error("node certificate is for key {0}, but the connection was made with key {1}")]
    OtherKey(PublicKey, PublicKey),
    /// It is this node, or one with a copy of its key.
    #[error("it has this node's own key")]
    OwnKey,
    /// Every connection is in use.
    #[error("all connections are in use")]
    Full,
}

impl Membership {
    /// What we say first.
    pub(super) fn hello(&self) -> Hello {
        Hello { protocol: PROTOCOL, certificate: self.certificate.clone(), epoch: self.state.epoch }
    }

    /// The peer that said `hello` on a connection made with `key`.
    ///
    /// # Errors
    /// [`Rejection`].
    pub(super) fn admit(
        &self,
        hello: Hello,
        key: PublicKey,
        now: Timestamp,
    ) -> Result<Peer, Rejection> {
        let minimum = self.state.parameters.minimum_protocol;
        if hello.protocol < minimum {
            return Err(Rejection::Protocol(hello.protocol, minimum));
        }
        let certificate = self.certificate_of(&hello.certificate, now)?;
        if certificate.node != key {
            return Err(Rejection::OtherKey(certificate.node, key));
        }
        Ok(Peer {
            node: certificate.router_id(),
            certificate,
            chain: hello.certificate,
            protocol: hello.protocol,
            epoch: hello.epoch,
        })
    }

    /// Whether a peer admitted once would be admitted still.
    ///
    /// # Errors
    /// [`Rejection`].
    pub(super) fn readmit(&self, peer: &Peer, now: Timestamp) -> Result<(), Rejection> {
        let minimum = self.state.parameters.minimum_protocol;
        if peer.protocol < minimum {
            return Err(Rejection::Protocol(peer.protocol, minimum));
        }
        self.certificate_of(&peer.chain, now)?;
        Ok(())
    }

    fn certificate_of(&self, chain: &Chain, now: Timestamp) -> Result<Certificate, DocumentError> {
        let certificate = chain.certificate_at(&self.root, now)?;
        self.state.admits(&certificate, chain.document.signer())?;
        Ok(certificate)
    }
}

impl Rejection {
    /// As it is told to the peer.
    pub(super) fn refusal(&self) -> Refusal {
        match self {
            Self::NoHello => Refusal::NoHello,
            Self::Malformed(_) => Refusal::Malformed,
            Self::Protocol(..) => Refusal::Protocol,
            Self::Certificate(_) | Self::OtherKey(..) => Refusal::Certificate,
            Self::OwnKey => Refusal::OwnRequest,
            Self::Full => Refusal::Busy,
        }
    }
}

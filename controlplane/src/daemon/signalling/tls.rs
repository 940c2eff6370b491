//! TLS 1.3 with raw public keys (RFC 7250): both sides show their Ed25519 node key, no more. What
//! the key may do is the certificate's affair, which comes in the `hello` afterwards.

use std::sync::Arc;

use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{AlwaysResolvesClientRawPublicKeys, Resumption};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, ring};
use rustls::pki_types::{
    CertificateDer, PrivatePkcs8KeyDer, ServerName, SubjectPublicKeyInfoDer, UnixTime,
};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{AlwaysResolvesServerRawPublicKeys, NoServerSessionStorage};
use rustls::sign::CertifiedKey;
use rustls::version::TLS13;
use rustls::{
    AlertDescription, CertificateError, DigitallySignedStruct, DistinguishedName, PeerMisbehaved,
    SignatureScheme,
};
use sixwire_proto::keys::{PublicKey, SecretKey};
use sixwire_proto::router_id::RouterId;

/// What a node shows and demands in every handshake, in both roles.
pub(super) struct Handshake {
    provider: Arc<CryptoProvider>,
    certified: Arc<CertifiedKey>,
    verifier: Arc<NodeKeyVerifier>,
}

impl Handshake {
    /// The handshake of the node with this key.
    ///
    /// # Errors
    /// When the TLS library cannot take the key.
    pub(super) fn new(key: &SecretKey) -> Result<Self, rustls::Error> {
        Self::showing(&key.public(), key)
    }

    /// A handshake that shows one key and signs with another; with any but its own half, the other
    /// side has to notice.
    pub(super) fn showing(shown: &PublicKey, key: &SecretKey) -> Result<Self, rustls::Error> {
        let provider = Arc::new(ring::default_provider());
        let pkcs8 = key.to_pkcs8();
        let signer = ring::sign::any_eddsa_type(&PrivatePkcs8KeyDer::from(pkcs8.as_slice()))?;
        let shown = CertificateDer::from(subject_public_key_info(shown));
        let certified = Arc::new(CertifiedKey::new(vec![shown], signer));
        let algorithms = provider.signature_verification_algorithms;
        Ok(Self { provider, certified, verifier: Arc::new(NodeKeyVerifier { algorithms }) })
    }

    /// The dialling side. Sessions are never resumed and nothing is sent early: every connection
    /// is authenticated afresh, and nothing can be replayed.
    ///
    /// # Errors
    /// When the TLS library lacks TLS 1.3.
    pub(super) fn client(&self) -> Result<QuicClientConfig, rustls::Error> {
        let resolver = AlwaysResolvesClientRawPublicKeys::new(self.certified.clone());
        let mut config = rustls::ClientConfig::builder_with_provider(self.provider.clone())
            .with_protocol_versions(&[&TLS13])?
            .dangerous()
            .with_custom_certificate_verifier(self.verifier.clone())
            .with_client_cert_resolver(Arc::new(resolver));
        config.alpn_protocols = vec![ALPN.to_vec()];
        config.enable_sni = false;
        config.resumption = Resumption::disabled();
        QuicClientConfig::try_from(config).map_err(|e| rustls::Error::General(e.to_string()))
    }

    /// The serving side.
    ///
    /// # Errors
    /// As [`Self::client`].
    pub(super) fn server(&self) -> Result<QuicServerConfig, rustls::Error> {
        let resolver = AlwaysResolvesServerRawPublicKeys::new(self.certified.clone());
        let mut config = rustls::ServerConfig::builder_with_provider(self.provider.clone())
            .with_protocol_versions(&[&TLS13])?
            .with_client_cert_verifier(self.verifier.clone())
            .with_cert_resolver(Arc::new(resolver));
        config.alpn_protocols = vec![ALPN.to_vec()];
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        QuicServerConfig::try_from(config).map_err(|e| rustls::Error::General(e.to_string()))
    }
}

/// The name under which the dialling side tells the verifier whom it expects. It stays inside this
/// process: no server name is sent.
pub(super) fn expected_name(node: RouterId) -> String {
    format!("{node}{NAME_SUFFIX}")
}

/// The key a connection's other side has proven to own.
pub(super) fn peer_key(connection: &quinn::Connection) -> Option<PublicKey> {
    let identity = connection.peer_identity()?.downcast::<Vec<CertificateDer<'static>>>().ok()?;
    node_key(identity.first()?).ok()
}

/// Whether a handshake ended because another node than the expected one showed its key.
pub(super) fn is_unexpected_node(error: &quinn::ConnectionError) -> bool {
    let code = quinn::TransportErrorCode::crypto(AlertDescription::AccessDenied.into());
    matches!(error, quinn::ConnectionError::TransportError(error) if error.code == code)
}

fn subject_public_key_info(key: &PublicKey) -> Vec<u8> {
    [SPKI_PREFIX.as_slice(), key.octets()].concat()
}

fn node_key(shown: &CertificateDer<'_>) -> Result<PublicKey, rustls::Error> {
    shown
        .strip_prefix(&SPKI_PREFIX)
        .and_then(|octets| octets.try_into().ok())
        .map(PublicKey::from_octets)
        .ok_or(CertificateError::BadEncoding.into())
}

#[derive(Debug)]
struct NodeKeyVerifier {
    algorithms: WebPkiSupportedAlgorithms,
}

impl NodeKeyVerifier {
    fn verify(
        &self,
        message: &[u8],
        shown: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let key = SubjectPublicKeyInfoDer::from(shown.as_ref());
        rustls::crypto::verify_tls13_signature_with_raw_key(
            message,
            &key,
            signature,
            &self.algorithms,
        )
    }
}

impl ServerCertVerifier for NodeKeyVerifier {
    fn verify_server_cert(
        &self,
        shown: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let node = node_key(shown)?.router_id().ok().map(expected_name);
        if node.as_deref() == Some(name.to_str().as_ref()) {
            return Ok(ServerCertVerified::assertion());
        }
        Err(CertificateError::ApplicationVerificationFailure.into())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _shown: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(PeerMisbehaved::SignedHandshakeWithUnadvertisedSigScheme.into())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        shown: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.verify(message, shown, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}

impl ClientCertVerifier for NodeKeyVerifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        shown: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        node_key(shown).map(|_| ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _shown: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(PeerMisbehaved::SignedHandshakeWithUnadvertisedSigScheme.into())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        shown: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.verify(message, shown, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}

/// Protocol name; a change of framing gets a new one.
const ALPN: &[u8] = b"sixwire/1";
const NAME_SUFFIX: &str = ".node";
/// DER of a SubjectPublicKeyInfo up to the 32 octets of an Ed25519 key (RFC 8410 §4).
const SPKI_PREFIX: [u8; 12] =
    [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

//! TLS to the registry: by the pin of the join string, or by the authorities this machine trusts.

use std::sync::Arc;
use std::time::Duration;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::time_provider::TimeProvider;
use rustls::{ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use sha2::{Digest as _, Sha256};
use sixwire_proto::join::TlsPin;
use sixwire_proto::time::Timestamp;

use super::RegistryError;

/// What the verifier says about another key; the caller looks for it.
pub(super) const PIN_MISMATCH: &str = "the server's key is not the pinned one";

/// TLS with the server that has the pinned key, whatever names and dates its certificate shows.
pub(super) fn pinned(pin: TlsPin) -> ClientConfig {
    let provider = Arc::new(ring::default_provider());
    let verifier = Arc::new(PinVerifier { pin, provider: Arc::clone(&provider) });
    ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("ring supports the default versions")
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth()
}

/// TLS with the server that an authority vouches for.
pub(super) fn by_authorities() -> Result<ClientConfig, RegistryError> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() {
        return Err(RegistryError::TrustStore);
    }
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("ring supports the default versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(config)
}

/// The same TLS, with the dates of certificates judged by the node's own idea of the time: a
/// system clock that lost its battery must not keep the node from the registry that corrects it.
pub(super) fn judged_at(config: &ClientConfig, now: Timestamp) -> Arc<ClientConfig> {
    let mut config = config.clone();
    config.time_provider = Arc::new(Fixed(now));
    Arc::new(config)
}

/// A clock that stands still, for the time of one handshake.
#[derive(Debug)]
struct Fixed(Timestamp);

impl TimeProvider for Fixed {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(Duration::from_secs(self.0.0)))
    }
}

/// The host as TLS names it.
pub(super) fn server_name(host: &str) -> Result<ServerName<'static>, RegistryError> {
    // A scope such as %eth0 is for the socket; no certificate knows it.
    let unscoped = host.split('%').next().unwrap_or(host);
    ServerName::try_from(unscoped.to_owned()).map_err(|_| RegistryError::Name(host.to_owned()))
}

/// Accepts one key. The handshake's signature is verified as always: it proves that the server has
/// the key's secret half.
#[derive(Debug)]
struct PinVerifier {
    pin: TlsPin,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for PinVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let key = ParsedCertificate::try_from(end_entity)?.subject_public_key_info();
        let hash: [u8; 32] = Sha256::digest(&key).into();
        if hash != self.pin.0 {
            return Err(Error::General(PIN_MISMATCH.to_owned()));
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, cert, dss, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, cert, dss, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

//! TLS: the registry's own certificate, pinned in join strings, or one given as files.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{CertificateParams, KeyPair, PublicKeyData as _};
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use sha2::{Digest as _, Sha256};
use sixwire_proto::join::TlsPin;
use zeroize::Zeroizing;

use crate::Error;
use crate::directory::{Directory, TLS_CERTIFICATE, TLS_KEY};

/// A certificate chain and its key, as PEM files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate, then its issuers.
    pub certificate: PathBuf,
    /// The key.
    pub key: PathBuf,
}

/// A certificate the registry made for itself, as PEM.
pub struct OwnCertificate {
    /// The certificate.
    pub certificate: String,
    /// Its key.
    pub key: Zeroizing<String>,
    /// What join strings pin.
    pub pin: TlsPin,
}

/// Makes a self-signed certificate for `host`. It does not expire: the pin vouches for it.
///
/// # Errors
/// [`Error::Tls`].
pub fn make_own(host: &str) -> Result<OwnCertificate, Error> {
    let failed =
        |e: rcgen::Error| Error::Tls { path: TLS_CERTIFICATE.into(), reason: e.to_string() };
    let key = KeyPair::generate().map_err(failed)?;
    let parameters = CertificateParams::new(vec![host.to_owned()]).map_err(failed)?;
    let certificate = parameters.self_signed(&key).map_err(failed)?;
    let pin = TlsPin(Sha256::digest(key.subject_public_key_info()).into());
    Ok(OwnCertificate {
        certificate: certificate.pem(),
        key: Zeroizing::new(key.serialize_pem()),
        pin,
    })
}

impl TlsFiles {
    /// The registry's own files in its directory.
    #[must_use]
    pub fn own(directory: &Directory) -> Self {
        Self {
            certificate: directory.path().join(TLS_CERTIFICATE),
            key: directory.path().join(TLS_KEY),
        }
    }

    /// Reads them.
    ///
    /// # Errors
    /// [`Error::Tls`], [`Error::File`].
    pub fn load(&self) -> Result<Arc<ServerConfig>, Error> {
        let certificate = read(&self.certificate)?;
        let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(&certificate)
            .collect::<Result<_, _>>()
            .map_err(|e| failed(&self.certificate, e))?;
        if chain.is_empty() {
            return Err(failed(&self.certificate, "it holds no PEM certificate"));
        }
        let key = Zeroizing::new(read(&self.key)?);
        let key = PrivateKeyDer::from_pem_slice(&key).map_err(|e| failed(&self.key, e))?;
        let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|e| failed(&self.certificate, e))?
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .map_err(|e| failed(&self.certificate, e))?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }

    /// The pin of the first certificate's key.
    ///
    /// # Errors
    /// [`Error::Tls`], [`Error::File`].
    pub fn pin(&self) -> Result<TlsPin, Error> {
        let key = Zeroizing::new(read(&self.key)?);
        let key = PrivateKeyDer::from_pem_slice(&key).map_err(|e| failed(&self.key, e))?;
        let key = ring::sign::any_supported_type(&key).map_err(|e| failed(&self.key, e))?;
        let info = key.public_key().ok_or_else(|| failed(&self.key, "no public key in it"))?;
        Ok(TlsPin(Sha256::digest(info.as_ref()).into()))
    }
}

fn read(path: &Path) -> Result<Vec<u8>, Error> {
    fs::read(path).map_err(|cause| Error::File { action: "read", path: path.to_owned(), cause })
}

fn failed(path: &Path, reason: impl std::fmt::Display) -> Error {
    Error::Tls { path: path.to_owned(), reason: reason.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pin_made_is_the_pin_read_back() {
        let place = tempfile::tempdir().unwrap();
        let directory = Directory::new(place.path());
        let own = make_own("vpn.example.net").unwrap();
        directory.write_new(TLS_CERTIFICATE, own.certificate.as_bytes()).unwrap();
        directory.write_new(TLS_KEY, own.key.as_bytes()).unwrap();
        let files = TlsFiles::own(&directory);
        assert_eq!(files.pin().unwrap(), own.pin);
        files.load().unwrap();
    }

    #[test]
    fn a_key_of_another_certificate_is_refused() {
        let place = tempfile::tempdir().unwrap();
        let directory = Directory::new(place.path());
        let (one, other) = (make_own("a").unwrap(), make_own("b").unwrap());
        directory.write_new(TLS_CERTIFICATE, one.certificate.as_bytes()).unwrap();
        directory.write_new(TLS_KEY, other.key.as_bytes()).unwrap();
        assert!(matches!(TlsFiles::own(&directory).load(), Err(Error::Tls { .. })));
    }
}

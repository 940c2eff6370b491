//! Keys: Ed25519 for identities and signatures, X25519 for WireGuard tunnels.
//!
//! Secret keys are wiped when dropped and never print themselves.

use std::fmt;
use std::str::FromStr;

use ed25519_dalek::pkcs8::EncodePrivateKey as _;
use ed25519_dalek::{Signer as _, SigningKey, VerifyingKey};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use crate::encoding::{deserialize_text, from_base64, from_base64url, to_base64, to_base64url};
use crate::router_id::RouterId;

/// An Ed25519 secret key: of a network's root, of an issuer or of a node.
#[derive(Clone)]
pub struct SecretKey(SigningKey);

/// The public half of a [`SecretKey`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct PublicKey([u8; 32]);

/// An Ed25519 signature.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Signature([u8; 64]);

/// A WireGuard private key (X25519).
#[derive(Clone, PartialEq, Eq)]
pub struct WgPrivateKey(Zeroizing<[u8; 32]>);

/// A WireGuard public key.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct WgPublicKey(pub [u8; 32]);

/// 32 secret octets: a WireGuard preshared key, or one side's share of it.
#[derive(Clone, PartialEq, Eq)]
pub struct PresharedKey(Zeroizing<[u8; 32]>);

/// Why text or octets are no key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Wrong alphabet or length.
    #[error("not a key: want the base64 form of {0} octets")]
    Malformed(usize),
}

/// What a signature is for. Bytes signed for one purpose never verify for another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// The root certifies an issuer key.
    Issuer,
    /// An issuer certifies a node.
    Certificate,
    /// An issuer publishes the network state.
    State,
    /// A node asks to be certified.
    Join,
    /// A node calls the registry.
    Call,
}

impl Purpose {
    fn context(self) -> &'static [u8] {
        match self {
            Self::Issuer => b"sixwire issuer v1\0",
            Self::Certificate => b"sixwire certificate v1\0",
            Self::State => b"sixwire network state v1\0",
            Self::Join => b"sixwire join v1\0",
            Self::Call => b"sixwire registry call v1\0",
        }
    }

    fn message(self, bytes: &[u8]) -> Vec<u8> {
        [self.context(), bytes].concat()
    }
}

impl SecretKey {
    /// The key made of 32 random octets.
    #[must_use]
    pub fn from_octets(octets: &[u8; 32]) -> Self {
        Self(SigningKey::from_bytes(octets))
    }

    /// Reads the text written by [`Self::to_text`].
    ///
    /// # Errors
    /// [`KeyError::Malformed`].
    pub fn from_text(text: &str) -> Result<Self, KeyError> {
        let octets = Zeroizing::new(octets_of::<32>(from_base64url(text.trim()))?);
        Ok(Self::from_octets(&octets))
    }

    /// The secret as text, for a file of mode 0600.
    #[must_use]
    pub fn to_text(&self) -> Zeroizing<String> {
        Zeroizing::new(to_base64url(self.0.as_bytes()))
    }

    /// The secret as PKCS #8 DER, as TLS libraries want it.
    #[must_use]
    pub fn to_pkcs8(&self) -> Zeroizing<Vec<u8>> {
        let document = self.0.to_pkcs8_der().expect("a fixed-size key always encodes");
        Zeroizing::new(document.as_bytes().to_vec())
    }

    /// The public half.
    #[must_use]
    pub fn public(&self) -> PublicKey {
        PublicKey(self.0.verifying_key().to_bytes())
    }

    /// Signs `bytes` for `purpose`.
    #[must_use]
    pub fn sign(&self, purpose: Purpose, bytes: &[u8]) -> Signature {
        Signature(self.0.sign(&purpose.message(bytes)).to_bytes())
    }
}

impl PublicKey {
    /// The key with these octets. Whether they are a point of the curve shows when it verifies.
    #[must_use]
    pub fn from_octets(octets: [u8; 32]) -> Self {
        Self(octets)
    }

    /// The octets, as they travel.
    #[must_use]
    pub fn octets(&self) -> &[u8; 32] {
        &self.0
    }

    /// Whether `signature` is this key's over `bytes` for `purpose`, by the strict rules: no
    /// small-order points, one encoding only.
    #[must_use]
    pub fn verifies(&self, purpose: Purpose, bytes: &[u8], signature: &Signature) -> bool {
        let signature = ed25519_dalek::Signature::from_bytes(&signature.0);
        VerifyingKey::from_bytes(&self.0)
            .and_then(|key| key.verify_strict(&purpose.message(bytes), &signature))
            .is_ok()
    }

    /// The router-id of the node with this key: the first eight octets of its SHA-256.
    ///
    /// # Errors
    /// For the two keys in 2^64 whose hash starts with a reserved id: make another key.
    pub fn router_id(&self) -> Result<RouterId, crate::router_id::RouterIdError> {
        let hash = Sha256::digest(self.0);
        RouterId::new(std::array::from_fn(|i| hash[i]))
    }
}

impl WgPrivateKey {
    /// The key made of 32 random octets.
    #[must_use]
    pub fn from_octets(octets: [u8; 32]) -> Self {
        let secret = x25519_dalek::StaticSecret::from(octets);
        Self(Zeroizing::new(secret.to_bytes()))
    }

    /// The octets, for the kernel.
    #[must_use]
    pub fn octets(&self) -> &[u8; 32] {
        &self.0
    }

    /// The public half.
    #[must_use]
    pub fn public(&self) -> WgPublicKey {
        let secret = x25519_dalek::StaticSecret::from(*self.0);
        WgPublicKey(x25519_dalek::PublicKey::from(&secret).to_bytes())
    }
}

impl PresharedKey {
    /// The key made of 32 random octets.
    #[must_use]
    pub fn from_octets(octets: [u8; 32]) -> Self {
        Self(Zeroizing::new(octets))
    }

    /// The octets, for the kernel.
    #[must_use]
    pub fn octets(&self) -> &[u8; 32] {
        &self.0
    }

    /// The preshared key of a tunnel, to which the dialling and the serving side give a share each.
    #[must_use]
    pub fn from_shares(dialler: &Self, server: &Self) -> Self {
        let mut hash = Sha256::new();
        hash.update(b"sixwire preshared key v1\0");
        hash.update(dialler.octets());
        hash.update(server.octets());
        Self::from_octets(hash.finalize().into())
    }
}

fn octets_of<const N: usize>(decoded: Option<Vec<u8>>) -> Result<[u8; N], KeyError> {
    let decoded = Zeroizing::new(decoded.ok_or(KeyError::Malformed(N))?);
    decoded.as_slice().try_into().map_err(|_| KeyError::Malformed(N))
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&to_base64url(&self.0))
    }
}

impl FromStr for PublicKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        octets_of(from_base64url(text)).map(Self)
    }
}

impl fmt::Display for WgPublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&to_base64(&self.0))
    }
}

impl FromStr for WgPublicKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        octets_of(from_base64(text)).map(Self)
    }
}

impl fmt::Display for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&to_base64url(&self.0))
    }
}

impl FromStr for Signature {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        octets_of(from_base64url(text)).map(Self)
    }
}

/// A share travels inside an encrypted connection, and nowhere else.
impl Serialize for PresharedKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&Zeroizing::new(to_base64url(self.octets())))
    }
}

impl<'de> Deserialize<'de> for PresharedKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserialize_text(deserializer, |text| {
            octets_of(from_base64url(text)).map(Self::from_octets)
        })
    }
}

macro_rules! text_serde {
    ($($name:ident),*) => {$(
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserialize_text(deserializer, str::parse)
            }
        }
    )*};
}
text_serde!(PublicKey, WgPublicKey, Signature);

macro_rules! redacted_debug {
    ($($name:ident),*) => {$(
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(concat!(stringify!($name), "(secret)"))
            }
        }
    )*};
}
redacted_debug!(SecretKey, WgPrivateKey, PresharedKey);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_holds_for_its_purpose_key_and_bytes_only() {
        let (key, other) = (SecretKey::from_octets(&[1; 32]), SecretKey::from_octets(&[2; 32]));
        let signature = key.sign(Purpose::State, b"text");
        assert!(key.public().verifies(Purpose::State, b"text", &signature));
        assert!(!key.public().verifies(Purpose::Certificate, b"text", &signature));
        assert!(!key.public().verifies(Purpose::State, b"texT", &signature));
        assert!(!other.public().verifies(Purpose::State, b"text", &signature));
    }

    #[test]
    fn a_small_order_key_verifies_nothing() {
        let mut weak = [0; 32];
        weak[0] = 1;
        let mut signature = [0; 64];
        signature[0] = 1;
        let verdict =
            PublicKey::from_octets(weak).verifies(Purpose::State, b"any", &Signature(signature));
        assert!(!verdict);
    }

    #[test]
    fn keys_survive_text() {
        let key = SecretKey::from_octets(&[7; 32]);
        assert_eq!(SecretKey::from_text(&key.to_text()).unwrap().public(), key.public());
        assert_eq!(key.public().to_string().parse(), Ok(key.public()));
        let wireguard = WgPrivateKey::from_octets([9; 32]).public();
        assert_eq!(wireguard.to_string().parse(), Ok(wireguard));
        assert_eq!("short".parse::<PublicKey>(), Err(KeyError::Malformed(32)));
    }

    #[test]
    fn secrets_do_not_print() {
        let text = format!(
            "{:?} {:?} {:?}",
            SecretKey::from_octets(&[7; 32]),
            WgPrivateKey::from_octets([7; 32]),
            PresharedKey::from_octets([7; 32])
        );
        assert_eq!(text, "SecretKey(secret) WgPrivateKey(secret) PresharedKey(secret)");
    }

    #[test]
    fn both_ends_derive_the_same_preshared_key_and_its_sides_differ() {
        let (a, b) = (PresharedKey::from_octets([1; 32]), PresharedKey::from_octets([2; 32]));
        assert_eq!(PresharedKey::from_shares(&a, &b), PresharedKey::from_shares(&a, &b));
        assert_ne!(PresharedKey::from_shares(&a, &b), PresharedKey::from_shares(&b, &a));
    }
}

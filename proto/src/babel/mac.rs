//! Message authentication codes of packets (RFC 8967 §4.1).

use std::fmt;
use std::net::Ipv6Addr;
use std::str::FromStr;
use std::sync::Arc;

use blake2::Blake2sMac;
use blake2::digest::consts::U16;
use blake2::digest::{CtOutput, Output, OutputSizeUser};
use hmac::{Hmac, KeyInit, Mac};
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use zeroize::Zeroizing;

use super::error::PacketError;
use super::mac_tlv::{self, FRAME};
use super::packet::split;
use super::{Destination, GROUP, PORT};

/// How a MAC is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum MacAlgorithm {
    /// HMAC with SHA-256, 32 octets (RFC 2104, RFC 6234).
    #[serde(rename = "hmac-sha256")]
    HmacSha256,
    /// Keyed BLAKE2s of 16 octets (RFC 7693).
    #[serde(rename = "blake2s128")]
    Blake2s128,
}

/// A key that packets of a link are signed with. It never prints itself, and is wiped when its last
/// copy goes.
#[derive(Clone, PartialEq, Eq)]
pub struct MacKey {
    algorithm: MacAlgorithm,
    octets: Arc<Zeroizing<Vec<u8>>>,
}

/// The octets are too few or too many for the algorithm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a key for {algorithm} has {LEAST_KEY} to {} octets, not {length}", algorithm.greatest_key())]
pub struct MacKeyError {
    /// What the key was for.
    pub algorithm: MacAlgorithm,
    /// How many octets it has.
    pub length: usize,
}

/// Addresses of a datagram, which its MAC covers (the pseudo-header of RFC 8967 §4.1). Both ports are
/// [`PORT`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PseudoHeader {
    /// Who sends it.
    pub source: Ipv6Addr,
    /// Whom to.
    pub destination: Destination,
}

/// Why a datagram does not pass the MAC test (RFC 8967 §4.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MacError {
    /// It is no Babel packet.
    Packet(PacketError),
    /// It has no MAC at all.
    NoMac,
    /// None of its MACs was made with one of the keys.
    WrongMac,
}

impl MacAlgorithm {
    /// Its name in configuration files.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::HmacSha256 => "hmac-sha256",
            Self::Blake2s128 => "blake2s128",
        }
    }

    /// Octets of a MAC TLV.
    fn tlv_length(self) -> usize {
        match self {
            Self::HmacSha256 => FRAME + 32,
            Self::Blake2s128 => FRAME + 16,
        }
    }

    /// The most octets of a key: a block of SHA-256, and what BLAKE2s takes.
    fn greatest_key(self) -> usize {
        match self {
            Self::HmacSha256 => 64,
            Self::Blake2s128 => 32,
        }
    }
}

impl MacKey {
    /// The key with these octets.
    ///
    /// # Errors
    /// [`MacKeyError`] for fewer than 16, and for more than 64 (HMAC) or 32 (BLAKE2s).
    pub fn new(algorithm: MacAlgorithm, octets: &[u8]) -> Result<Self, MacKeyError> {
        let length = octets.len();
        if !(LEAST_KEY..=algorithm.greatest_key()).contains(&length) {
            return Err(MacKeyError { algorithm, length });
        }
        Ok(Self { algorithm, octets: Arc::new(Zeroizing::new(octets.to_vec())) })
    }

    /// What it is for.
    #[must_use]
    pub fn algorithm(&self) -> MacAlgorithm {
        self.algorithm
    }

    /// The MAC of header and body.
    fn sign(&self, header: PseudoHeader, signed: &[u8]) -> Vec<u8> {
        match self.algorithm {
            MacAlgorithm::HmacSha256 => {
                self.compute::<Hmac<Sha256>>(header, signed).into_bytes().to_vec()
            }
            MacAlgorithm::Blake2s128 => {
                self.compute::<Blake2sMac<U16>>(header, signed).into_bytes().to_vec()
            }
        }
    }

    /// Whether one of the MACs is this key's.
    fn made_one_of(&self, macs: &[&[u8]], header: PseudoHeader, signed: &[u8]) -> bool {
        match self.algorithm {
            MacAlgorithm::HmacSha256 => self.made::<Hmac<Sha256>>(macs, header, signed),
            MacAlgorithm::Blake2s128 => self.made::<Blake2sMac<U16>>(macs, header, signed),
        }
    }

    /// Computes the MAC once, however many there are to compare it with (RFC 8967 §4.3).
    fn made<M: Mac + KeyInit>(&self, macs: &[&[u8]], header: PseudoHeader, signed: &[u8]) -> bool {
        is_among(&self.compute::<M>(header, signed), macs)
    }

    fn compute<M: Mac + KeyInit>(&self, header: PseudoHeader, signed: &[u8]) -> CtOutput<M> {
        let mut mac = <M as KeyInit>::new_from_slice(&self.octets)
            .expect("the length of a key is checked when it is made");
        mac.update(&header.octets());
        mac.update(signed);
        mac.finalize()
    }
}

impl PseudoHeader {
    fn octets(self) -> [u8; 36] {
        let destination = match self.destination {
            Destination::Multicast => GROUP,
            Destination::Unicast(address) => address,
        };
        let mut octets = [0; 36];
        let (source, rest) = octets.split_at_mut(18);
        for (half, address) in [(source, self.source), (rest, destination)] {
            half[..16].copy_from_slice(&address.octets());
            half[16..].copy_from_slice(&PORT.to_be_bytes());
        }
        octets
    }
}

/// The MAC test (RFC 8967 §4.3), on an unread datagram.
///
/// # Errors
/// [`MacError`]; nothing of the datagram is to be used then.
pub fn verify(datagram: &[u8], header: PseudoHeader, keys: &[MacKey]) -> Result<(), MacError> {
    let (_, trailer) = split(datagram).map_err(MacError::Packet)?;
    let macs: Vec<&[u8]> = mac_tlv::macs(trailer).collect();
    if macs.is_empty() {
        return Err(MacError::NoMac);
    }
    let signed = &datagram[..datagram.len() - trailer.len()];
    if keys.iter().any(|key| key.made_one_of(&macs, header, signed)) {
        Ok(())
    } else {
        Err(MacError::WrongMac)
    }
}

/// A datagram with the MACs of `keys` in place of its own trailer, or none if it is no Babel packet.
#[must_use]
pub fn sign_anew(datagram: &[u8], header: PseudoHeader, keys: &[MacKey]) -> Option<Vec<u8>> {
    let (_, trailer) = split(datagram).ok()?;
    let mut signed = datagram[..datagram.len() - trailer.len()].to_vec();
    append_macs(&mut signed, header, keys);
    Some(signed)
}

/// Octets that the MACs of these keys take in a datagram.
#[must_use]
pub fn mac_room(keys: &[MacKey]) -> usize {
    keys.iter().map(|key| key.algorithm.tlv_length()).sum()
}

/// Appends a MAC for each key to a datagram that has no trailer yet (RFC 8967 §4.2).
pub(super) fn append_macs(datagram: &mut Vec<u8>, header: PseudoHeader, keys: &[MacKey]) {
    let signed = datagram.len();
    for key in keys {
        let mac = key.sign(header, &datagram[..signed]);
        mac_tlv::write_mac(&mac, datagram);
    }
}

/// Compares in constant time.
fn is_among<M: OutputSizeUser>(own: &CtOutput<M>, macs: &[&[u8]]) -> bool {
    macs.iter().any(|mac| Output::<M>::try_from(*mac).is_ok_and(|mac| *own == CtOutput::from(mac)))
}

impl fmt::Debug for MacKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MacKey({}, secret)", self.algorithm)
    }
}

impl fmt::Display for MacAlgorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for MacAlgorithm {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        [Self::HmacSha256, Self::Blake2s128]
            .into_iter()
            .find(|one| one.as_str() == text)
            .ok_or_else(|| format!("{text:?} is no algorithm: want hmac-sha256 or blake2s128"))
    }
}

impl From<PacketError> for MacError {
    fn from(error: PacketError) -> Self {
        Self::Packet(error)
    }
}

impl fmt::Display for MacError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Packet(error) => error.fmt(f),
            Self::NoMac => f.pad("no_mac"),
            Self::WrongMac => f.pad("wrong_mac"),
        }
    }
}

impl std::error::Error for MacError {}

/// 128 bits: fewer can be guessed (RFC 8967 §7 asks for 32 octets).
const LEAST_KEY: usize = 16;

#[cfg(test)]
mod tests;

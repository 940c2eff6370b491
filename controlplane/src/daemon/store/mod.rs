//! What survives a restart: `/var/lib/sixwire`, mode 0700.
//!
//! | file | holds | if damaged |
//! |---|---|---|
//! | `node.key` | the node's secret key, mode 0600 | error |
//! | `network.json` | root key and registry | error |
//! | `certificate.json` | the node's certificate | error |
//! | `state.json` | the network state | error |
//! | `peers.json` | where peers were reached | empty, with a warning |
//! | `seqno` | the last Babel seqno that was announced | none, with a warning |
//! | `clock` | the last time that was certain | none, with a warning |
//!
//! Every write goes to a new file that replaces the old one once it is on disk.

pub(super) mod file;
mod lock;

use std::fs::DirBuilder;
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sixwire_proto::certificate::Chain;
use sixwire_proto::join::{JoinString, TlsPin};
use sixwire_proto::keys::{PublicKey, SecretKey};
use sixwire_proto::peer::{ADDRESS_LIMIT, PeerRecord};
use sixwire_proto::seqno::Seqno;
use sixwire_proto::time::Timestamp;

pub use file::StoreError;
pub use lock::{Lock, LockError};

/// The state directory of one node.
#[derive(Clone, Debug)]
pub struct Store {
    dir: PathBuf,
}

/// The network a node belongs to, and where its registry is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Network {
    /// Root key, pinned at join.
    pub root: PublicKey,
    /// Host name or address of the registry.
    pub host: String,
    /// TCP port of the registry.
    pub port: u16,
    /// SHA-256 of the registry's TLS public key, where no authority vouches for it.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "pin")]
    pub tls_pin: Option<TlsPin>,
}

impl From<&JoinString> for Network {
    fn from(string: &JoinString) -> Self {
        Self {
            root: string.root,
            host: string.host.clone(),
            port: string.port,
            tls_pin: string.tls_pin,
        }
    }
}

impl Store {
    /// Most peers that are kept; the first ones of a longer list.
    pub const PEER_LIMIT: usize = 256;

    /// Opens the directory, which is made if it is missing.
    ///
    /// # Errors
    /// [`StoreError`]: cannot be made, or is open to other users.
    pub fn open(dir: &Path) -> Result<Self, StoreError> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(dir)
            .map_err(|reason| StoreError::write(dir, reason))?;
        let metadata = dir.metadata().map_err(|reason| StoreError::read(dir, reason))?;
        if metadata.mode() & 0o077 != 0 {
            return Err(StoreError::OpenDirectory {
                dir: dir.to_owned(),
                mode: metadata.mode() & 0o7777,
            });
        }
        Ok(Self { dir: dir.to_owned() })
    }

    /// Opens the directory if it is there, without making it: for those who only look.
    ///
    /// # Errors
    /// [`StoreError`], as [`Self::open`].
    pub fn open_if_there(dir: &Path) -> Result<Option<Self>, StoreError> {
        match dir.try_exists() {
            Ok(true) => Self::open(dir).map(Some),
            Ok(false) => Ok(None),
            Err(reason) => Err(StoreError::read(dir, reason)),
        }
    }

    /// Takes the directory for this process alone, until the lock is dropped.
    ///
    /// # Errors
    /// [`LockError`].
    pub fn lock(&self) -> Result<Lock, LockError> {
        Lock::take(&self.dir)
    }

    /// Where it lies.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The node's key; `None` before the first join.
    ///
    /// # Errors
    /// [`StoreError`]: unreadable, damaged, or readable by other users.
    pub fn node_key(&self) -> Result<Option<SecretKey>, StoreError> {
        let path = self.path(NODE_KEY);
        let Some(text) = file::read_secret(&path)? else { return Ok(None) };
        let key = SecretKey::from_text(&text).map_err(|error| StoreError::damaged(&path, error))?;
        Ok(Some(key))
    }

    /// Keeps the node's key.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn save_node_key(&self, key: &SecretKey) -> Result<(), StoreError> {
        file::replace(&self.path(NODE_KEY), key.to_text().as_bytes())
    }

    /// The network; `None` before a join has succeeded.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn network(&self) -> Result<Option<Network>, StoreError> {
        self.read_json(NETWORK)
    }

    /// Keeps the network.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn save_network(&self, network: &Network) -> Result<(), StoreError> {
        self.write_json(NETWORK, network)
    }

    /// The node's certificate, not verified.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn certificate(&self) -> Result<Option<Chain>, StoreError> {
        self.read_json(CERTIFICATE)
    }

    /// Keeps the node's certificate.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn save_certificate(&self, certificate: &Chain) -> Result<(), StoreError> {
        self.write_json(CERTIFICATE, certificate)
    }

    /// The network state, not verified.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn state(&self) -> Result<Option<Chain>, StoreError> {
        self.read_json(STATE)
    }

    /// Keeps the network state.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn save_state(&self, state: &Chain) -> Result<(), StoreError> {
        self.write_json(STATE, state)
    }

    /// The peers that were known last.
    #[must_use]
    pub fn peers(&self) -> Vec<PeerRecord> {
        self.hint(PEERS, |text| serde_json::from_str(text).ok()).unwrap_or_default()
    }

    /// Keeps the first [`Self::PEER_LIMIT`] peers, with the first [`ADDRESS_LIMIT`] addresses each.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn save_peers(&self, peers: &[PeerRecord]) -> Result<(), StoreError> {
        let bounded = |peer: &PeerRecord| PeerRecord {
            node: peer.node,
            addresses: peer.addresses.iter().take(ADDRESS_LIMIT).copied().collect(),
        };
        let kept: Vec<PeerRecord> = peers.iter().take(Self::PEER_LIMIT).map(bounded).collect();
        self.write_json(PEERS, &kept)
    }

    /// The last seqno that was reserved; none up to it may be announced anew.
    #[must_use]
    pub fn seqno(&self) -> Option<Seqno> {
        self.hint(SEQNO, |text| text.trim().parse().ok().map(Seqno))
    }

    /// Puts the seqno on disk: before it is announced, or a restart would announce an older one,
    /// which others refuse (RFC 8966 §3.5.1).
    ///
    /// # Errors
    /// [`StoreError`]. Do not announce it then.
    pub fn save_seqno(&self, seqno: Seqno) -> Result<(), StoreError> {
        file::replace(&self.path(SEQNO), seqno.to_string().as_bytes())
    }

    /// The last time that was certain: no clock is right that shows less.
    #[must_use]
    pub fn clock_floor(&self) -> Option<Timestamp> {
        self.hint(CLOCK, |text| text.trim().parse().ok().map(Timestamp))
    }

    /// Keeps a time that is certain: one that the registry or a signed document told.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn save_clock_floor(&self, floor: Timestamp) -> Result<(), StoreError> {
        file::replace(&self.path(CLOCK), floor.0.to_string().as_bytes())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    fn read_json<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>, StoreError> {
        let path = self.path(name);
        let Some(text) = file::read(&path)? else { return Ok(None) };
        serde_json::from_str(&text).map(Some).map_err(|error| StoreError::damaged(&path, error))
    }

    fn write_json<T: Serialize + ?Sized>(&self, name: &str, value: &T) -> Result<(), StoreError> {
        let mut text = serde_json::to_vec(value)
            .map_err(|error| StoreError::write(&self.path(name), error.into()))?;
        text.push(b'\n');
        file::replace(&self.path(name), &text)
    }

    /// A file the node can do without: a damaged one is as good as none.
    fn hint<T>(&self, name: &str, parse: impl FnOnce(&str) -> Option<T>) -> Option<T> {
        let path = self.path(name);
        let read = file::read(&path).and_then(|text| match text {
            None => Ok(None),
            Some(text) => match parse(&text) {
                Some(value) => Ok(Some(value)),
                None => Err(StoreError::damaged(&path, ErrorKind::InvalidData)),
            },
        });
        read.unwrap_or_else(|error| {
            tracing::warn!(%error, "doing without a cached file");
            None
        })
    }
}

/// A pin as text.
mod pin {
    use serde::{Deserialize as _, Deserializer, Serializer, de};
    use sixwire_proto::join::TlsPin;

    #[expect(clippy::ref_option, reason = "serde hands the field over by reference")]
    pub(super) fn serialize<S: Serializer>(pin: &Option<TlsPin>, s: S) -> Result<S::Ok, S::Error> {
        match pin {
            Some(pin) => s.collect_str(pin),
            None => s.serialize_none(),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Option<TlsPin>, D::Error> {
        let text = Option::<String>::deserialize(d)?;
        text.map(|text| text.parse().map_err(de::Error::custom)).transpose()
    }
}

const NODE_KEY: &str = "node.key";
const NETWORK: &str = "network.json";
const CERTIFICATE: &str = "certificate.json";
const STATE: &str = "state.json";
const PEERS: &str = "peers.json";
const SEQNO: &str = "seqno";
const CLOCK: &str = "clock";

#[cfg(test)]
mod tests;

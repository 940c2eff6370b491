//! The network state: what the registry tells every node, spread from neighbour to neighbour.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::certificate::{Certificate, Issued, NetworkId};
use crate::envelope::{Document, DocumentError};
use crate::keys::{PublicKey, Purpose};
use crate::prefix::Prefix;
use crate::time::Timestamp;

/// A network's state at one epoch. A higher epoch replaces a lower one, never the reverse.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkState {
    /// Format version.
    pub version: u16,
    /// Network it belongs to.
    pub network: NetworkId,
    /// Grows by at least one with every change.
    pub epoch: u64,
    /// When it was signed.
    pub issued: Timestamp,
    /// The network's own prefix; every node's prefix lies inside.
    pub prefix: Prefix,
    /// What nodes agree on.
    #[serde(default)]
    pub parameters: Parameters,
    /// Issuer keys in force. Certificates of others are refused.
    pub issuers: Vec<PublicKey>,
    /// Serial numbers of certificates that no longer hold.
    #[serde(default)]
    pub revoked_serials: Vec<u64>,
    /// Node keys that may not take part any more, whatever their certificate.
    #[serde(default)]
    pub revoked_keys: Vec<PublicKey>,
}

/// Parameters of a network. Each has a default, so that a state may leave it out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Parameters {
    /// Time between two Babel Hellos, milliseconds. RFC 8966 appendix B has 4 s; with 1 s a silent
    /// failure is over in 3 s, at some 80 octets a second and tunnel.
    pub hello_interval_ms: u32,
    /// Time between two full updates, milliseconds (RFC 8966 appendix B: 16 s).
    pub update_interval_ms: u32,
    /// Tunnels a node dials.
    pub dialled_tunnels: u16,
    /// Tunnels a node serves at the most.
    pub served_tunnels: u16,
    /// Time between two exchanges of the least used tunnel, seconds.
    pub refresh_interval_s: u32,
    /// Largest packet inside a tunnel, octets: 1420 fits an underlay of 1500 on IPv4 and IPv6.
    pub tunnel_mtu: u16,
    /// Nodes of an older signalling protocol may not take part.
    pub minimum_protocol: u16,
}

impl Default for Parameters {
    fn default() -> Self {
        Self {
            hello_interval_ms: 1_000,
            update_interval_ms: 16_000,
            dialled_tunnels: 10,
            served_tunnels: 20,
            refresh_interval_s: 300,
            tunnel_mtu: 1420,
            minimum_protocol: 1,
        }
    }
}

impl Parameters {
    /// Time between two Babel Hellos.
    #[must_use]
    pub fn hello_interval(&self) -> Duration {
        Duration::from_millis(self.hello_interval_ms.into())
    }

    /// Time between two full updates.
    #[must_use]
    pub fn update_interval(&self) -> Duration {
        Duration::from_millis(self.update_interval_ms.into())
    }

    /// Time between two exchanges of the least used tunnel.
    #[must_use]
    pub fn refresh_interval(&self) -> Duration {
        Duration::from_secs(self.refresh_interval_s.into())
    }

    fn check(&self) -> Result<(), String> {
        let in_range = |field: &str, value: u32, (least, most): (u32, u32)| {
            if (least..=most).contains(&value) {
                return Ok(());
            }
            Err(format!("parameters.{field}: {value} is not within {least} to {most}"))
        };
        in_range("hello_interval_ms", self.hello_interval_ms, (100, 600_000))?;
        in_range("update_interval_ms", self.update_interval_ms, (400, 600_000))?;
        in_range("dialled_tunnels", self.dialled_tunnels.into(), (1, 100))?;
        in_range("served_tunnels", self.served_tunnels.into(), (0, 1000))?;
        in_range("refresh_interval_s", self.refresh_interval_s, (10, 604_800))?;
        in_range("tunnel_mtu", self.tunnel_mtu.into(), (1280, 9000))
    }
}

impl NetworkState {
    /// Most revoked serials, and most revoked keys.
    pub const REVOKED_LIMIT: usize = 4096;
    /// Most issuers.
    pub const ISSUER_LIMIT: usize = 16;

    /// Whether a certificate, opened and dated, still holds under this state.
    ///
    /// # Errors
    /// [`DocumentError::Revoked`] for a revoked serial or key, [`DocumentError::WrongSigner`] for
    /// an issuer no longer in force, [`DocumentError::Malformed`] for a prefix outside the network.
    pub fn admits(
        &self,
        certificate: &Certificate,
        issuer: PublicKey,
    ) -> Result<(), DocumentError> {
        if !self.issuers.contains(&issuer) {
            return Err(DocumentError::WrongSigner(Certificate::NAME, issuer));
        }
        if self.revoked_serials.contains(&certificate.serial)
            || self.revoked_keys.contains(&certificate.node)
        {
            return Err(DocumentError::Revoked(Certificate::NAME));
        }
        if !self.prefix.contains(certificate.prefix) {
            let rule = format!("prefix {} is outside the network", certificate.prefix);
            return Err(DocumentError::Malformed(Certificate::NAME, rule));
        }
        Ok(())
    }
}

impl Document for NetworkState {
    const PURPOSE: Purpose = Purpose::State;
    const NAME: &'static str = "network state";
    const VERSION: u16 = 1;
    const LIMIT: usize = 384 * 1024;

    fn check(&self) -> Result<(), String> {
        if !self.prefix.is_v6() || self.prefix.length() < 16 || self.prefix.length() > 120 {
            return Err(format!("prefix: {} is no IPv6 prefix of 16 to 120 bits", self.prefix));
        }
        if self.issuers.is_empty() || self.issuers.len() > Self::ISSUER_LIMIT {
            return Err(format!("issuers: none, or more than {}", Self::ISSUER_LIMIT));
        }
        let most = self.revoked_serials.len().max(self.revoked_keys.len());
        if most > Self::REVOKED_LIMIT {
            return Err(format!("revoked: more than {}", Self::REVOKED_LIMIT));
        }
        self.parameters.check()
    }
}

impl Issued for NetworkState {
    fn network(&self) -> NetworkId {
        self.network
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::envelope::Envelope;
    use crate::keys::SecretKey;

    fn state() -> NetworkState {
        let root = SecretKey::from_octets(&[1; 32]).public();
        NetworkState {
            version: 1,
            network: NetworkId::of(&root),
            epoch: 7,
            issued: Timestamp(100),
            prefix: "fd00:1:2::/48".parse().unwrap(),
            parameters: Parameters::default(),
            issuers: vec![SecretKey::from_octets(&[2; 32]).public()],
            revoked_serials: vec![4],
            revoked_keys: Vec::new(),
        }
    }

    fn certificate(serial: u64, prefix: &str) -> Certificate {
        Certificate {
            version: 1,
            network: state().network,
            serial,
            name: None,
            node: SecretKey::from_octets(&[3; 32]).public(),
            prefix: prefix.parse().unwrap(),
            extra_prefixes: Vec::new(),
            roles: Vec::new(),
            tags: Vec::new(),
            not_before: Timestamp(0),
            not_after: Timestamp(1),
        }
    }

    #[test]
    fn a_state_admits_what_it_does_not_revoke() {
        let issuer = state().issuers[0];
        let good = certificate(5, "fd00:1:2:3::/64");
        assert_eq!(state().admits(&good, issuer), Ok(()));
        assert!(matches!(
            state().admits(&certificate(4, "fd00:1:2:3::/64"), issuer),
            Err(DocumentError::Revoked(_))
        ));
        let mut by_key = state();
        by_key.revoked_keys.push(good.node);
        assert!(matches!(by_key.admits(&good, issuer), Err(DocumentError::Revoked(_))));
        assert!(state().admits(&certificate(5, "fd00:9::/64"), issuer).is_err());
        assert!(state().admits(&good, good.node).is_err(), "an issuer not in force");
    }

    #[test]
    fn unknown_fields_are_ignored_and_missing_parameters_have_defaults() {
        let mut json = serde_json::to_value(state()).unwrap();
        json["parameters"] = serde_json::json!({"hello_interval_ms": 2000, "future": true});
        json["future"] = serde_json::json!([1, 2]);
        let read: NetworkState = serde_json::from_value(json).unwrap();
        assert_eq!(read.parameters.hello_interval(), Duration::from_secs(2));
        assert_eq!(read.parameters.dialled_tunnels, 10);
    }

    #[test]
    fn parameters_out_of_range_are_refused_by_name() {
        let key = SecretKey::from_octets(&[2; 32]);
        let mut bad = state();
        bad.parameters.hello_interval_ms = 1;
        let refused = Envelope::seal(&key, &bad).open::<NetworkState>(&key.public()).unwrap_err();
        assert!(refused.to_string().contains("hello_interval_ms"), "{refused}");
    }
}

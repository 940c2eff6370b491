//! The network's own row, and the state in force.

use rusqlite::{OptionalExtension as _, params};
use sixwire_proto::certificate::Chain;
use sixwire_proto::envelope::Envelope;
use sixwire_proto::join::TlsPin;
use sixwire_proto::keys::PublicKey;
use sixwire_proto::prefix::Prefix;

use super::rows::{from_json, integer, json, number, optional_text, parsed};
use super::{StoreError, Transaction};

/// What a registry knows about its network and itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Network {
    /// The root key.
    pub root: PublicKey,
    /// The network's prefix.
    pub prefix: Prefix,
    /// Host that join strings name.
    pub host: String,
    /// Port that join strings name.
    pub port: u16,
    /// Pin that join strings carry; none where an authority vouches for the TLS certificate.
    pub tls_pin: Option<TlsPin>,
    /// The root's word about the issuer key.
    pub issuer: Envelope,
}

impl Transaction<'_> {
    /// Writes the network's row, once.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn insert_network(&self, network: &Network) -> Result<(), StoreError> {
        self.0.execute(
            "INSERT INTO network (id, root, prefix, host, port, tls_pin, issuer) \
             VALUES (1, ?, ?, ?, ?, ?, ?)",
            params![
                network.root.to_string(),
                network.prefix.to_string(),
                network.host,
                network.port,
                optional_text(network.tls_pin.map(|pin| pin.to_string())),
                json(&network.issuer),
            ],
        )?;
        Ok(())
    }

    /// Reads the network's row.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn network(&self) -> Result<Network, StoreError> {
        type Row = (String, String, String, u16, Option<String>, String);
        let row: Option<Row> = self
            .0
            .query_row(
                "SELECT root, prefix, host, port, tls_pin, issuer FROM network WHERE id = 1",
                [],
                |row| row.try_into(),
            )
            .optional()?;
        let (root, prefix, host, port, pin, issuer) =
            row.ok_or_else(|| StoreError::Damaged("it names no network".to_owned()))?;
        Ok(Network {
            root: parsed(&root)?,
            prefix: parsed(&prefix)?,
            host,
            port,
            tls_pin: pin.as_deref().map(parsed).transpose()?,
            issuer: from_json(&issuer)?,
        })
    }

    /// Replaces the root's word about the issuer key.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn set_issuer(&self, issuer: &Envelope) -> Result<(), StoreError> {
        self.0.execute("UPDATE network SET issuer = ?", [json(issuer)])?;
        Ok(())
    }

    /// Replaces the pin of join strings.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn set_tls_pin(&self, pin: Option<TlsPin>) -> Result<(), StoreError> {
        let pin = optional_text(pin.map(|pin| pin.to_string()));
        self.0.execute("UPDATE network SET tls_pin = ?", [pin])?;
        Ok(())
    }

    /// The network state in force, with its epoch.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn state(&self) -> Result<(u64, Chain), StoreError> {
        let row: Option<(i64, String)> = self
            .0
            .query_row("SELECT epoch, chain FROM state ORDER BY epoch DESC LIMIT 1", [], |row| {
                row.try_into()
            })
            .optional()?;
        let (epoch, chain) =
            row.ok_or_else(|| StoreError::Damaged("it has no network state".to_owned()))?;
        Ok((number(epoch)?, from_json(&chain)?))
    }

    /// Puts a network state in force.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn set_state(&self, epoch: u64, chain: &Chain) -> Result<(), StoreError> {
        let row = params![integer(epoch), json(chain)];
        self.0.execute("INSERT INTO state (epoch, chain) VALUES (?, ?)", row)?;
        self.0.execute("DELETE FROM state WHERE epoch < ?", [integer(epoch)])?;
        Ok(())
    }
}

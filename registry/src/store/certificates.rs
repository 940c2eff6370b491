//! Nodes, their certificates, and what was revoked of them.

use rusqlite::{OptionalExtension as _, params};
use sixwire_proto::certificate::{Certificate, Chain};
use sixwire_proto::keys::PublicKey;
use sixwire_proto::prefix::Prefix;
use sixwire_proto::router_id::RouterId;
use sixwire_proto::time::Timestamp;

use super::rows::{from_json, integer, json, number, optional_time, parsed};
use super::{StoreError, Transaction};
use crate::authority::{Applicant, NodeRow, Revocations};
use crate::store::tokens::TokenHash;

/// A node as an operator names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holder {
    /// By its router-id.
    RouterId(RouterId),
    /// By the serial number of one of its certificates.
    Serial(u64),
}

impl Transaction<'_> {
    /// What is known about a key that asks to join with a token.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn applicant(&self, key: &PublicKey, token: &TokenHash) -> Result<Applicant, StoreError> {
        Ok(Applicant {
            banned: self.banned(key)?,
            node: self.node(key)?,
            spent: self.spending(token, key)?,
        })
    }

    /// The node with this key.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn node(&self, key: &PublicKey) -> Result<Option<NodeRow>, StoreError> {
        let row: Option<(String, Option<i64>)> = self
            .0
            .query_row(
                "SELECT certificate.chain, certificate.revoked FROM node \
                 JOIN certificate ON certificate.serial = node.serial WHERE node.key = ?",
                [key.to_string()],
                |row| row.try_into(),
            )
            .optional()?;
        row.map(node_row).transpose()
    }

    /// All nodes, with the time they were last heard of, oldest first.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn nodes(&self) -> Result<Vec<(NodeRow, Option<Timestamp>)>, StoreError> {
        let mut query = self.0.prepare(
            "SELECT certificate.chain, certificate.revoked, presence.seen FROM node \
             JOIN certificate ON certificate.serial = node.serial \
             LEFT JOIN presence ON presence.node = node.key ORDER BY node.joined, node.key",
        )?;
        let rows = query.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
        rows.map(|row| {
            let (chain, revoked, seen) = row?;
            Ok((node_row((chain, revoked))?, optional_time(seen)?))
        })
        .collect()
    }

    /// The key of the node that an operator names.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn key_of(&self, holder: Holder) -> Result<Option<PublicKey>, StoreError> {
        let key: Option<String> = match holder {
            Holder::RouterId(id) => self
                .0
                .query_row("SELECT key FROM node WHERE router_id = ?", [id.to_string()], |row| {
                    row.get(0)
                })
                .optional()?,
            Holder::Serial(serial) => self
                .0
                .query_row(
                    "SELECT node FROM certificate WHERE serial = ?",
                    [integer(serial)],
                    |row| row.get(0),
                )
                .optional()?,
        };
        key.as_deref().map(parsed).transpose()
    }

    /// Every prefix that belongs to a node.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn prefixes(&self) -> Result<Vec<Prefix>, StoreError> {
        let mut query = self.0.prepare("SELECT prefix FROM node")?;
        let rows = query.query_map([], |row| row.get::<_, String>(0))?;
        rows.map(|text| parsed(&text?)).collect()
    }

    /// The highest serial number given so far; 0 if there is none.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn last_serial(&self) -> Result<u64, StoreError> {
        let last: i64 =
            self.0.query_row("SELECT coalesce(max(serial), 0) FROM certificate", [], |row| {
                row.get(0)
            })?;
        number(last)
    }

    /// Stores a certificate as its node's latest; a new node is made, a known one keeps its prefix.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn insert_certificate(
        &self,
        certificate: &Certificate,
        chain: &Chain,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let (key, serial) = (certificate.node.to_string(), integer(certificate.serial));
        self.0.execute(
            "INSERT INTO node (key, router_id, prefix, serial, joined) VALUES (?, ?, ?, ?, ?) \
             ON CONFLICT (key) DO UPDATE SET serial = excluded.serial",
            params![
                key,
                certificate.router_id().to_string(),
                certificate.prefix.to_string(),
                serial,
                integer(now.0),
            ],
        )?;
        self.0.execute(
            "INSERT INTO certificate (serial, node, not_after, chain) VALUES (?, ?, ?, ?)",
            params![serial, key, integer(certificate.not_after.0), json(chain)],
        )?;
        Ok(())
    }

    /// Revokes the certificate of this serial number and the earlier ones of its node.
    /// The number of certificates that were not revoked before.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn revoke_serial(&self, serial: u64, now: Timestamp) -> Result<usize, StoreError> {
        Ok(self.0.execute(
            "UPDATE certificate SET revoked = ?1 WHERE revoked IS NULL AND serial <= ?2 \
             AND node = (SELECT node FROM certificate WHERE serial = ?2)",
            params![integer(now.0), integer(serial)],
        )?)
    }

    /// Revokes a key for good. `false` if it was revoked before.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn ban(&self, key: &PublicKey, now: Timestamp) -> Result<bool, StoreError> {
        let changed = self.0.execute(
            "INSERT INTO banned (key, revoked, not_after) \
             SELECT ?1, ?2, coalesce(max(not_after), ?2) FROM certificate WHERE node = ?1 \
             ON CONFLICT (key) DO NOTHING",
            params![key.to_string(), integer(now.0)],
        )?;
        Ok(changed > 0)
    }

    /// When the key was revoked, if it was.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn banned(&self, key: &PublicKey) -> Result<Option<Timestamp>, StoreError> {
        let query = "SELECT revoked FROM banned WHERE key = ?";
        let at: Option<i64> =
            self.0.query_row(query, [key.to_string()], |row| row.get(0)).optional()?;
        optional_time(at)
    }

    /// Revocations of certificates that end at `oldest` or later.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn revocations(&self, oldest: Timestamp) -> Result<Revocations, StoreError> {
        let mut query = self.0.prepare(
            "SELECT serial FROM certificate WHERE revoked IS NOT NULL AND not_after >= ? \
             ORDER BY serial",
        )?;
        let serials = query.query_map([integer(oldest.0)], |row| row.get(0))?;
        let serials = serials.map(|serial| number(serial?)).collect::<Result<_, StoreError>>()?;
        let mut query =
            self.0.prepare("SELECT key FROM banned WHERE not_after >= ? ORDER BY revoked, key")?;
        let keys = query.query_map([integer(oldest.0)], |row| row.get::<_, String>(0))?;
        let keys = keys.map(|key| parsed(&key?)).collect::<Result<_, StoreError>>()?;
        Ok(Revocations { serials, keys })
    }

    /// Forgets certificates that ended before `time`, and nodes whose latest did: their prefixes
    /// are free again.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn forget_nodes(&self, time: Timestamp) -> Result<usize, StoreError> {
        let time = integer(time.0);
        let nodes = self.0.execute(
            "DELETE FROM node WHERE serial IN (SELECT serial FROM certificate WHERE not_after < ?)",
            [time],
        )?;
        self.0.execute(
            "DELETE FROM certificate WHERE not_after < ? \
             AND serial NOT IN (SELECT serial FROM node)",
            [time],
        )?;
        Ok(nodes)
    }
}

fn node_row((chain, revoked): (String, Option<i64>)) -> Result<NodeRow, StoreError> {
    let chain: Chain = from_json(&chain)?;
    let certificate = chain
        .document
        .open(&chain.document.signer())
        .map_err(|error| StoreError::Damaged(error.to_string()))?;
    Ok(NodeRow { certificate, chain, revoked: optional_time(revoked)? })
}

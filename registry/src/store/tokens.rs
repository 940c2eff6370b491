//! Tokens: stored as hashes, spent in one conditional write.

use std::fmt;

use rusqlite::{OptionalExtension as _, Row, params};
use sha2::{Digest as _, Sha256};
use sixwire_proto::join::Token;
use sixwire_proto::keys::PublicKey;
use sixwire_proto::time::Timestamp;

use super::rows::{from_json, integer, json, optional_time, time};
use super::{StoreError, Transaction};
use crate::authority::{Grant, TokenRow};

/// SHA-256 of a token's text, in hexadecimal. It finds the token and does not give it away.
#[derive(Clone, PartialEq, Eq)]
pub struct TokenHash(String);

impl TokenHash {
    /// The hash of a token.
    #[must_use]
    pub fn of(token: &Token) -> Self {
        let hash = Sha256::digest(token.reveal().as_bytes());
        Self(hash.iter().map(|octet| format!("{octet:02x}")).collect())
    }
}

impl fmt::Debug for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenHash(..)")
    }
}

const COLUMNS: &str = "id, uses, uses_left, created, expires, revoked, prefix_length, roles, tags";

impl Transaction<'_> {
    /// Stores a token under its hash; gives its number. The row's own number is not read.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn insert_token(&self, hash: &TokenHash, token: &TokenRow) -> Result<i64, StoreError> {
        self.0.execute(
            "INSERT INTO token \
             (hash, uses, uses_left, created, expires, revoked, prefix_length, roles, tags) \
             VALUES (?, ?, ?, ?, ?, NULL, ?, ?, ?)",
            params![
                hash.0,
                token.uses,
                token.uses_left,
                integer(token.created.0),
                integer(token.expires.0),
                token.grant.prefix_length,
                json(&token.grant.roles),
                json(&token.grant.tags),
            ],
        )?;
        Ok(self.0.last_insert_rowid())
    }

    /// Takes one use of the token, if it has one left at `now`, in one conditional write.
    /// `None` if it has not, with nothing changed.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn spend(&self, hash: &TokenHash, now: Timestamp) -> Result<Option<TokenRow>, StoreError> {
        let changed = self.0.execute(
            "UPDATE token SET uses_left = uses_left - 1 \
             WHERE hash = ? AND uses_left > 0 AND revoked IS NULL AND expires >= ?",
            params![hash.0, integer(now.0)],
        )?;
        if changed == 0 { Ok(None) } else { self.token(hash) }
    }

    /// Remembers which node spent the token.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn insert_spending(
        &self,
        token: i64,
        node: &PublicKey,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.0.execute(
            "INSERT INTO spending (token, node, spent) VALUES (?, ?, ?) \
             ON CONFLICT (token, node) DO UPDATE SET spent = excluded.spent",
            params![token, node.to_string(), integer(now.0)],
        )?;
        Ok(())
    }

    /// When the node spent the token, if it did.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn spending(
        &self,
        hash: &TokenHash,
        node: &PublicKey,
    ) -> Result<Option<Timestamp>, StoreError> {
        let spent: Option<i64> = self
            .0
            .query_row(
                "SELECT spent FROM spending JOIN token ON token.id = spending.token \
                 WHERE token.hash = ? AND spending.node = ?",
                params![hash.0, node.to_string()],
                |row| row.get(0),
            )
            .optional()?;
        optional_time(spent)
    }

    /// The token with this hash.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn token(&self, hash: &TokenHash) -> Result<Option<TokenRow>, StoreError> {
        let query = format!("SELECT {COLUMNS} FROM token WHERE hash = ?");
        self.0.query_row(&query, [&hash.0], columns).optional()?.map(token).transpose()
    }

    /// All tokens, oldest first.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn tokens(&self) -> Result<Vec<TokenRow>, StoreError> {
        let mut query = self.0.prepare(&format!("SELECT {COLUMNS} FROM token ORDER BY id"))?;
        let rows = query.query_map([], columns)?;
        rows.map(|row| token(row?)).collect()
    }

    /// Revokes a token; the nodes that joined with it stay. `false` if there is none with this
    /// number, or it is revoked already.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn revoke_token(&self, id: i64, now: Timestamp) -> Result<bool, StoreError> {
        let row = params![integer(now.0), id];
        Ok(self.0.execute("UPDATE token SET revoked = ? WHERE id = ? AND revoked IS NULL", row)?
            > 0)
    }

    /// Forgets tokens that expired before `time`.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn forget_tokens(&self, time: Timestamp) -> Result<usize, StoreError> {
        Ok(self.0.execute("DELETE FROM token WHERE expires < ?", [integer(time.0)])?)
    }
}

type Columns = (i64, u32, u32, i64, i64, Option<i64>, u8, String, String);

fn columns(row: &Row<'_>) -> rusqlite::Result<Columns> {
    row.try_into()
}

fn token(columns: Columns) -> Result<TokenRow, StoreError> {
    let (id, uses, uses_left, created, expires, revoked, prefix_length, roles, tags) = columns;
    Ok(TokenRow {
        id,
        uses,
        uses_left,
        created: time(created)?,
        expires: time(expires)?,
        revoked: optional_time(revoked)?,
        grant: Grant { prefix_length, roles: from_json(&roles)?, tags: from_json(&tags)? },
    })
}

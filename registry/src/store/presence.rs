//! Presence: where nodes were last heard of.

use rusqlite::params;
use sixwire_proto::keys::PublicKey;
use sixwire_proto::peer::{PEER_LIMIT, PeerRecord};
use sixwire_proto::time::Timestamp;
use std::net::SocketAddr;

use super::rows::{from_json, integer, json, parsed};
use super::{StoreError, Transaction};

/// Most nodes whose presence is kept; the newest win.
pub const PRESENCE_LIMIT: u32 = 10_000;
/// A presence is written again after this many seconds, or at once if its addresses change.
const REFRESH_S: u64 = 60;

impl Transaction<'_> {
    /// Records where a node can be reached.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn record_presence(
        &self,
        node: &PublicKey,
        addresses: &[SocketAddr],
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let changed = self.0.execute(
            "INSERT INTO presence (node, addresses, seen) VALUES (?1, ?2, ?3) \
             ON CONFLICT (node) DO UPDATE SET addresses = excluded.addresses, seen = excluded.seen \
             WHERE addresses <> excluded.addresses OR excluded.seen >= seen + ?4",
            params![node.to_string(), json(&addresses), integer(now.0), integer(REFRESH_S)],
        )?;
        if changed > 0 {
            self.0.execute(
                "DELETE FROM presence WHERE node IN \
                 (SELECT node FROM presence ORDER BY seen DESC LIMIT -1 OFFSET ?)",
                [PRESENCE_LIMIT],
            )?;
        }
        Ok(())
    }

    /// A random sample of reachable nodes other than the asker: heard of since `since`, certified
    /// at `now`, not revoked.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn sample_peers(
        &self,
        asker: &PublicKey,
        since: Timestamp,
        now: Timestamp,
    ) -> Result<Vec<PeerRecord>, StoreError> {
        let mut query = self.0.prepare(
            "SELECT node.router_id, presence.addresses FROM presence \
             JOIN node ON node.key = presence.node \
             JOIN certificate ON certificate.serial = node.serial \
             WHERE presence.seen >= ? AND presence.addresses <> '[]' AND node.key <> ? \
             AND certificate.not_after >= ? AND certificate.revoked IS NULL \
             AND node.key NOT IN (SELECT key FROM banned) \
             ORDER BY random() LIMIT ?",
        )?;
        let rows = query.query_map(
            params![
                integer(since.0),
                asker.to_string(),
                integer(now.0),
                integer(PEER_LIMIT as u64)
            ],
            |row| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?)),
        )?;
        rows.map(|row| {
            let (node, addresses) = row?;
            Ok(PeerRecord { node: parsed(&node)?, addresses: from_json(&addresses)? })
        })
        .collect()
    }
}

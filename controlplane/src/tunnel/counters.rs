//! What happened how often.

use std::collections::BTreeMap;

use serde::Serialize;

/// Counts since start.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counters {
    /// Dials sent.
    pub dials: u64,
    /// Dials that the peer accepted.
    pub dials_accepted: u64,
    /// Dials that came to nothing.
    pub dials_failed: u64,
    /// Requests of others.
    pub requests: u64,
    /// Those that were accepted.
    pub requests_accepted: u64,
    /// Tunnels closed.
    pub closed: u64,
    /// Questions to the registry.
    pub registry_asked: u64,
    /// Questions to neighbours.
    pub peers_asked: u64,
    /// Peers that made room for others in the full table.
    pub evicted: u64,
    /// Inputs, or parts of them, that were not used.
    pub dropped: BTreeMap<DropReason, u64>,
}

/// Why something was not used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum DropReason {
    /// It names a dial or tunnel that does not exist (any more).
    Stale,
    /// The table of peers is full of peers worth keeping.
    TableFull,
    /// More records in one input than are looked at.
    TooManyRecords,
    /// An address nobody can be reached at, or one too many for its peer.
    Address,
    /// It is about this node itself or a revoked one.
    Unwanted,
    /// The list of revoked nodes or of LAN neighbours is full.
    ListFull,
    /// The peer accepted when there was no place left.
    Surplus,
}

impl Counters {
    pub(super) fn drop(&mut self, reason: DropReason) {
        *self.dropped.entry(reason).or_default() += 1;
    }

    pub(super) fn drop_many(&mut self, reason: DropReason, count: usize) {
        if count > 0 {
            *self.dropped.entry(reason).or_default() += u64::try_from(count).unwrap_or(u64::MAX);
        }
    }
}

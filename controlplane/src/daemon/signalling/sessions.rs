//! The authenticated connections that live: at most one dialled and one served for each node.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Weak};

use sixwire_proto::router_id::RouterId;

use super::counters::{Count, Counters};
use super::membership::Rejection;
use super::session::{Origin, Session};
use super::{CloseCode, KEPT_LIMIT};

/// Sessions by node and origin.
pub(super) struct Sessions {
    live: BTreeMap<(RouterId, Origin), Entry>,
    limit: usize,
    kept: BTreeSet<RouterId>,
    dials: BTreeMap<RouterId, Weak<tokio::sync::Mutex<()>>>,
    turn: u64,
}

struct Entry {
    session: Arc<Session>,
    /// Turn of its insertion.
    since: u64,
    /// Turn of its last use.
    used: u64,
}

impl Sessions {
    pub(super) fn new(limit: usize) -> Self {
        let (live, kept, dials) = (BTreeMap::new(), BTreeSet::new(), BTreeMap::new());
        Self { live, limit, kept, dials, turn: 0 }
    }

    /// Adds a session. It replaces the one of the same node and origin: a node that dials again has
    /// lost the old one. At the limit the idle one that was used longest ago gives way.
    ///
    /// # Errors
    /// [`Rejection::Full`] when none is idle.
    pub(super) fn insert(
        &mut self,
        session: Arc<Session>,
        counters: &Counters,
    ) -> Result<(), Rejection> {
        let key = (session.peer.node, session.origin);
        if let Some(old) = self.live.remove(&key).filter(|old| !old.session.is_closed()) {
            counters.add(Count::Replaced);
            CloseCode::Replaced.close(&old.session.connection);
        }
        if self.live.len() >= self.limit {
            self.live.retain(|_, entry| !entry.session.is_closed());
        }
        if self.live.len() >= self.limit {
            let victim = self.longest_idle().ok_or(Rejection::Full)?;
            let entry = self.live.remove(&victim).expect("found in the map just now");
            counters.add(Count::Evicted);
            CloseCode::Evicted.close(&entry.session.connection);
        }
        self.turn += 1;
        self.live.insert(key, Entry { session, since: self.turn, used: self.turn });
        Ok(())
    }

    /// The newest live session with a node.
    pub(super) fn find(&mut self, node: RouterId) -> Option<Arc<Session>> {
        self.turn += 1;
        let range = (node, Origin::Dialled)..=(node, Origin::Served);
        let entry = self
            .live
            .range_mut(range)
            .map(|(_, entry)| entry)
            .filter(|entry| !entry.session.is_closed())
            .max_by_key(|entry| entry.since)?;
        entry.used = self.turn;
        Some(entry.session.clone())
    }

    /// Forgets this very session.
    pub(super) fn remove(&mut self, session: &Arc<Session>) {
        let key = (session.peer.node, session.origin);
        if self.live.get(&key).is_some_and(|entry| Arc::ptr_eq(&entry.session, session)) {
            self.live.remove(&key);
        }
    }

    pub(super) fn len(&self) -> usize {
        self.live.len()
    }

    /// Which nodes' connections are kept alive, the first [`KEPT_LIMIT`] of them.
    pub(super) fn keep(&mut self, nodes: BTreeSet<RouterId>) {
        self.kept = nodes.into_iter().take(KEPT_LIMIT).collect();
    }

    pub(super) fn keeps(&self, node: RouterId) -> bool {
        self.kept.contains(&node)
    }

    /// The lock that makes all who want to dial a node wait for the first.
    pub(super) fn dial_lock(&mut self, node: RouterId) -> Arc<tokio::sync::Mutex<()>> {
        self.dials.retain(|_, lock| lock.strong_count() > 0);
        self.dials.get(&node).and_then(Weak::upgrade).unwrap_or_else(|| {
            let lock = Arc::new(tokio::sync::Mutex::new(()));
            self.dials.insert(node, Arc::downgrade(&lock));
            lock
        })
    }

    fn longest_idle(&self) -> Option<(RouterId, Origin)> {
        self.live
            .iter()
            .filter(|((node, _), entry)| entry.session.is_idle() && !self.kept.contains(node))
            .min_by_key(|(_, entry)| entry.used)
            .map(|(key, _)| *key)
    }
}

//! Whom this node knows: addresses, reachability, and how trying them went.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use sixwire_proto::peer::PeerRecord;
use sixwire_proto::router_id::RouterId;
use sixwire_proto::seed::Seed;
use sixwire_proto::time::Instant;

use super::pace::jitter;

/// Everybody known, and everybody banned.
#[derive(Debug, Default)]
pub(super) struct Peers {
    known: BTreeMap<RouterId, Known>,
    revoked: BTreeSet<RouterId>,
    /// Whether the cache would be different from the one written last.
    pub(super) changed: bool,
}

/// One known peer.
#[derive(Clone, Debug, Default)]
pub(super) struct Known {
    /// Signalling addresses, best first.
    pub(super) addresses: Vec<SocketAddr>,
    /// Whether routing has a route to it.
    pub(super) reachable: bool,
    /// Whether it ever was a neighbour on a tunnel.
    pub(super) proven: bool,
    /// Failures since the last success.
    pub(super) failures: u32,
    /// When its request was last answered with a dial of ours.
    pub(super) countered: Option<Instant>,
    /// Not to be dialled before this while there are other neighbours.
    retry_at: Instant,
    /// Not to be dialled before this while there is no neighbour at all.
    retry_alone_at: Instant,
}

/// How much a record is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// From the registry or the peer itself.
    Authoritative,
    /// From somebody else or from long ago.
    Hearsay,
}

/// Whether this node has a neighbour: without one, waits are cut short.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Company {
    /// It has.
    Connected,
    /// It has none.
    Alone,
}

impl Known {
    /// Whether there is any way to dial it.
    pub(super) fn is_dialable(&self) -> bool {
        self.reachable || !self.addresses.is_empty()
    }

    /// When it may be dialled.
    pub(super) fn eligible_at(&self, company: Company) -> Instant {
        match company {
            Company::Connected => self.retry_at,
            Company::Alone => self.retry_alone_at,
        }
    }

    /// Leaves it alone for about `wait`, less when this node is alone.
    pub(super) fn hold(&mut self, now: Instant, wait: Duration, seed: &mut Seed) {
        self.retry_at = now + wait;
        self.retry_alone_at = now + wait.min(jitter(seed, ALONE_MAX));
    }

    /// Routing reaches it again, so it lives: one more try soon, whatever came before.
    fn appear(&mut self, now: Instant, soon: Duration) {
        if self.failures > 0 && !self.reachable {
            self.retry_at = self.retry_at.min(now + soon);
        }
        self.reachable = true;
    }

    fn forgive(&mut self, now: Instant) {
        self.failures = 0;
        self.retry_at = now;
        self.retry_alone_at = now;
    }
}

impl Peers {
    pub(super) fn get(&self, node: RouterId) -> Option<&Known> {
        self.known.get(&node)
    }

    pub(super) fn get_mut(&mut self, node: RouterId) -> Option<&mut Known> {
        self.known.get_mut(&node)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (RouterId, &Known)> {
        self.known.iter().map(|(node, known)| (*node, known))
    }

    pub(super) fn len(&self) -> usize {
        self.known.len()
    }

    pub(super) fn is_full(&self) -> bool {
        self.known.len() >= MAX_PEERS
    }

    /// Adds a peer about which nothing is known yet. The caller has made room.
    pub(super) fn insert(&mut self, node: RouterId, now: Instant) {
        debug_assert!(!self.is_full());
        self.known.entry(node).or_insert(Known {
            retry_at: now,
            retry_alone_at: now,
            ..Known::default()
        });
    }

    pub(super) fn remove(&mut self, node: RouterId) {
        let had_address = self.known.remove(&node).is_some_and(|known| !known.addresses.is_empty());
        self.changed |= had_address;
    }

    /// Merges addresses. News with standing go to the front and clear the failures; hearsay goes
    /// behind what works, and before what failed. Returns how many addresses were left out.
    pub(super) fn merge(
        &mut self,
        node: RouterId,
        addresses: &[SocketAddr],
        standing: Standing,
        now: Instant,
    ) -> usize {
        let Some(known) = self.known.get_mut(&node) else { return addresses.len() };
        let news = usable(addresses);
        let is_news = news.iter().any(|address| !known.addresses.contains(address));
        let front = match standing {
            Standing::Authoritative => true,
            Standing::Hearsay => known.failures > 0,
        };
        let merged =
            if front { join(&news, &known.addresses) } else { join(&known.addresses, &news) };
        let left_out = addresses.iter().filter(|address| !merged.contains(address)).count();
        if is_news && standing == Standing::Authoritative {
            known.forgive(now);
        }
        self.changed |= merged != known.addresses;
        known.addresses = merged;
        left_out
    }

    /// The peer answered at `address`: try it first the next time.
    pub(super) fn answered_at(&mut self, node: RouterId, address: SocketAddr) {
        let Some(known) = self.known.get_mut(&node) else { return };
        if known.addresses.first() != Some(&address) {
            known.addresses = join(&[address], &known.addresses);
            self.changed = true;
        }
    }

    /// Routing has a route to the peer. Its wait is cut to about `soon`.
    pub(super) fn appeared(
        &mut self,
        node: RouterId,
        now: Instant,
        soon: Duration,
        seed: &mut Seed,
    ) {
        let soon = jitter(seed, soon);
        if let Some(known) = self.known.get_mut(&node) {
            known.appear(now, soon);
        }
    }

    /// The peer is a neighbour.
    pub(super) fn proved(&mut self, node: RouterId, now: Instant) {
        let Some(known) = self.known.get_mut(&node) else { return };
        known.forgive(now);
        self.changed |= !known.proven;
        known.proven = true;
    }

    /// What failed before may work now.
    pub(super) fn forgive_all(&mut self, now: Instant) {
        for known in self.known.values_mut() {
            known.forgive(now);
        }
    }

    pub(super) fn is_revoked(&self, node: RouterId) -> bool {
        self.revoked.contains(&node)
    }

    /// Bans a node; `false` when the list is full.
    pub(super) fn revoke(&mut self, node: RouterId) -> bool {
        self.remove(node);
        if self.revoked.len() >= MAX_REVOKED && !self.revoked.contains(&node) {
            return false;
        }
        self.revoked.insert(node);
        true
    }

    pub(super) fn reinstate(&mut self, node: RouterId) {
        self.revoked.remove(&node);
    }

    /// At most `limit` records, random within each class: proven peers, then those without
    /// failure, then the rest.
    pub(super) fn records(&self, seed: &mut Seed, limit: usize) -> Vec<PeerRecord> {
        let with_address = self.known.iter().filter(|(_, known)| !known.addresses.is_empty());
        let mut ranked: Vec<_> = with_address
            .map(|(node, known)| {
                ((known.failures > 0, !known.proven, seed.next_u64()), node, known)
            })
            .collect();
        ranked.sort_by_key(|(rank, _, _)| *rank);
        ranked.truncate(limit);
        ranked
            .into_iter()
            .map(|(_, node, known)| PeerRecord { node: *node, addresses: known.addresses.clone() })
            .collect()
    }
}

/// The addresses somebody can be reached at, without repetitions.
fn usable(addresses: &[SocketAddr]) -> Vec<SocketAddr> {
    let fits = |address: &&SocketAddr| {
        let ip = address.ip();
        address.port() != 0 && !ip.is_unspecified() && !ip.is_multicast()
    };
    let fitting: Vec<_> = addresses.iter().filter(fits).copied().collect();
    join(&fitting, &[])
}

/// Both lists in order, each address once, at most [`MAX_ADDRESSES`].
fn join(first: &[SocketAddr], second: &[SocketAddr]) -> Vec<SocketAddr> {
    let mut joined = Vec::new();
    for address in first.iter().chain(second) {
        if joined.len() < MAX_ADDRESSES && !joined.contains(address) {
            joined.push(*address);
        }
    }
    joined
}

/// Addresses kept of one peer.
pub const MAX_ADDRESSES: usize = 8;
/// Peers in the table. At the limit, news evict a random peer without tunnel, failed ones first.
pub const MAX_PEERS: usize = 1000;
/// Revoked nodes remembered. Beyond it the certificate check of the signalling still holds.
pub const MAX_REVOKED: usize = 4096;
/// A node without any neighbour tries a failed peer again after this at the latest.
const ALONE_MAX: Duration = Duration::from_secs(30);

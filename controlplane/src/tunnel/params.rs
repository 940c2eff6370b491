//! What the tunnel manager is told once, and what of it may change at run time.

use std::ops::RangeInclusive;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use sixwire_proto::router_id::RouterId;
use sixwire_proto::uplink::UplinkNumber;

/// Everything a [`Tunnels`](super::Tunnels) is made with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Params {
    /// This node.
    pub own: RouterId,
    /// How many tunnels of each kind.
    pub counts: Counts,
    /// UDP ports that tunnels may use, one each.
    pub ports: RangeInclusive<u16>,
    /// How long things take at most.
    pub timers: Timers,
    /// Records that [`Output::Remember`](super::Output::Remember) carries at most.
    pub cache_limit: usize,
    /// Nodes to dial first and never to drop for a better one.
    pub preferred: Vec<RouterId>,
    /// Whether requests of others are accepted.
    pub service: Service,
    /// The last of this node's uplinks; a node that is dialled is dialled over each.
    pub uplinks: UplinkNumber,
}

/// How many nodes a node wants tunnels to. A network parameter: it may change at run time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Dialled nodes to keep.
    pub dialled: usize,
    /// Nodes to serve at most.
    pub served: usize,
    /// Dialled nodes to keep while no served tunnel has ever worked: a node that nobody can
    /// reach takes places from others and gives none.
    pub unreached: usize,
}

/// Durations of the manager.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timers {
    /// Time between two replacements of the least used dialled tunnel.
    pub refresh: Duration,
    /// A dial without outcome is given up after this. The driver's own limit is shorter.
    pub dial: Duration,
    /// An open tunnel without neighbour is closed after this.
    pub handshake: Duration,
    /// A tunnel that lost its neighbour is closed after this.
    pub dead: Duration,
    /// Wait after the first failure of a peer; doubles with each further one.
    pub backoff_min: Duration,
    /// Where the doubling ends.
    pub backoff_max: Duration,
}

/// Whether this node accepts requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Service {
    /// Requests are accepted up to [`Counts::served`].
    Serve,
    /// Every request is refused.
    DialOnly,
}

impl Params {
    /// The defaults for node `own`.
    #[must_use]
    pub fn new(own: RouterId) -> Self {
        Self {
            own,
            counts: Counts::default(),
            // The range of the published port plan: more than dialled + served + a refresh.
            ports: 51_820..=51_899,
            timers: Timers::default(),
            // Enough that a reboot after a long outage still finds somebody; some 20 kB of file.
            cache_limit: 200,
            preferred: Vec::new(),
            service: Service::Serve,
            uplinks: UplinkNumber::FIRST,
        }
    }
}

impl Default for Counts {
    fn default() -> Self {
        Self {
            // With about as many served, half of all nodes can die and the rest stays connected.
            dialled: 10,
            // Twice the average, so that refusals are rare and hubs stay bounded.
            served: 20,
            // One to live on and one to survive its loss.
            unreached: 2,
        }
    }
}

impl Default for Timers {
    fn default() -> Self {
        Self {
            // Slow enough that routes settle between two changes.
            refresh: Duration::from_secs(300),
            // Three retransmissions of a QUIC handshake and a look through NAT.
            dial: Duration::from_secs(10),
            // Two WireGuard handshake attempts (5 s apart) and a few Hellos.
            handshake: Duration::from_secs(20),
            // Babel has already waited for several Hellos; this covers a reboot of the peer's router.
            dead: Duration::from_secs(30),
            // Long enough for a lost datagram, short enough for a restart.
            backoff_min: Duration::from_secs(2),
            // A dead peer costs four dials an hour.
            backoff_max: Duration::from_secs(900),
        }
    }
}

impl Timers {
    /// The same with no duration so short that the manager would spin.
    pub(super) fn clamped(self) -> Self {
        let least = |d: Duration| d.max(LEAST_TIMER);
        let backoff_min = least(self.backoff_min);
        Self {
            refresh: self.refresh.max(LEAST_REFRESH),
            dial: least(self.dial),
            handshake: least(self.handshake),
            dead: least(self.dead),
            backoff_min,
            backoff_max: self.backoff_max.max(backoff_min),
        }
    }
}

/// The shortest of the timers.
const LEAST_TIMER: Duration = Duration::from_millis(100);
/// The shortest refresh: a tunnel needs that long to show its worth.
const LEAST_REFRESH: Duration = Duration::from_secs(10);

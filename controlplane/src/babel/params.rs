//! What a Babel instance is told once, at its start.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use sixwire_proto::metric::Cost;
use sixwire_proto::router_id::RouterId;
use sixwire_proto::seqno::Seqno;

use super::pulse::{Probing, Silence};

/// Parameters of one instance. [`Params::new`] fills in the defaults.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Params {
    /// Our router-id; fixed for the life of the node.
    pub router_id: RouterId,
    /// The first sequence number to announce: newer than any announced before under this router-id.
    pub seqno: Seqno,
    /// Time between two Hellos on a link.
    pub hello_interval: Duration,
    /// Time between two full updates on a link.
    pub update_interval: Duration,
    /// When a link counts as up, unless it says otherwise itself.
    pub link_sensing: LinkSensing,
    /// How a neighbour whose Hello is late is asked whether it is there.
    pub probing: Probing,
    /// How much lower a metric must be before a working route is left for it.
    pub switch_margin: Cost,
    /// Whether routes need a known origin.
    pub origin_check: OriginCheck,
    /// Whether we forward for others.
    pub forwarding: Forwarding,
    /// Ceilings of all tables.
    pub limits: Limits,
}

/// k-out-of-j link sensing (RFC 8966 §A.2.1): up while no more than `heard_of - least_heard` of the last
/// `heard_of` Hellos are missing. Hellos from before the first one count as heard, so that a new
/// neighbour is usable after one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkSensing {
    /// k: at least this many were heard.
    pub least_heard: u8,
    /// j: among this many, at most 16.
    pub heard_of: u8,
}

/// How the quality of a link is estimated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LinkQuality {
    /// It is up or down (RFC 8966 §A.2.1).
    KOutOfJ(LinkSensing),
    /// It costs the more the more Hellos are lost, either way (§A.2.2).
    Etx,
}

/// Whether a route must belong to a certified origin to be selected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OriginCheck {
    /// Only routes whose router-id is known to own a prefix around them.
    Required,
    /// All routes: a plain Babel network.
    Off,
}

/// Whether a node forwards for others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Forwarding {
    /// Every route is announced.
    Transit,
    /// Only routes of our own are announced, so that nobody sends us what we would drop.
    Leaf,
}

/// Ceilings of the tables. What lies beyond is refused and counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Neighbours on one link; a further one takes the place of one that is of no use, or is ignored.
    pub neighbours_per_link: usize,
    /// Routes one neighbour may announce; further ones are ignored.
    pub routes_per_neighbour: usize,
    /// Routes in the whole table, own ones included; further ones are ignored.
    pub routes: usize,
    /// Feasibility distances; a route without room for its own is not announced.
    pub sources: usize,
    /// Pending seqno requests; further ones are not sent or forwarded.
    pub requests: usize,
    /// Router-ids whose origin is being asked for; further ones wait for room.
    pub origins_wanted: usize,
}

impl LinkSensing {
    /// `least_heard` out of `heard_of`; `None` unless 0 < k <= j <= 16.
    #[must_use]
    pub fn new(least_heard: u8, heard_of: u8) -> Option<Self> {
        let valid = (1..=heard_of).contains(&least_heard) && heard_of <= 16;
        valid.then_some(Self { least_heard, heard_of })
    }
}

impl LinkQuality {
    /// What a kernel says that does not answer any more. Who has a link bear more than one lost Hello, or be
    /// dearer by it, wants the Hellos to decide.
    pub(super) fn silence(self) -> Silence {
        match self {
            Self::KOutOfJ(LinkSensing { least_heard, heard_of })
                if heard_of.saturating_sub(least_heard) <= 1 =>
            {
                Silence::Decides
            }
            Self::KOutOfJ(_) | Self::Etx => Silence::SaysNothing,
        }
    }
}

impl Params {
    /// Defaults for a node with this router-id, which has announced nothing as new as `seqno`.
    #[must_use]
    pub fn new(router_id: RouterId, seqno: Seqno) -> Self {
        Self {
            router_id,
            seqno,
            hello_interval: HELLO_INTERVAL,
            update_interval: UPDATE_INTERVAL,
            link_sensing: LINK_SENSING,
            probing: PROBING,
            switch_margin: SWITCH_MARGIN,
            origin_check: OriginCheck::Off,
            forwarding: Forwarding::Transit,
            limits: LIMITS,
        }
    }

    /// The same for a node that notices a silent link in less than a second, at about four times the
    /// traffic.
    #[must_use]
    pub fn fast(router_id: RouterId, seqno: Seqno) -> Self {
        Self {
            hello_interval: FAST_HELLO_INTERVAL,
            probing: FAST_PROBING,
            ..Self::new(router_id, seqno)
        }
    }
}

/// Less than the 4 s of RFC 8966 appendix B: with [`PROBING`], a silent link is noticed within 3.5 s.
pub const HELLO_INTERVAL: Duration = Duration::from_millis(2500);
/// Five questions, answered by no program: a machine whose kernel stalls for so long is down.
pub const PROBING: Probing = Probing { spacing: Duration::from_millis(150), count: 5 };
/// With [`FAST_PROBING`], a silent link is noticed within 0.7 s.
pub const FAST_HELLO_INTERVAL: Duration = Duration::from_millis(400);
/// Five questions in a quarter of a second.
pub const FAST_PROBING: Probing = Probing { spacing: Duration::from_millis(50), count: 5 };
/// A little more than the 16 s of RFC 8966 appendix B: what has changed is acknowledged and need not wait
/// for it, and 50 nodes of degree 10 stay below 230 octets a second on a link.
pub const UPDATE_INTERVAL: Duration = Duration::from_secs(20);
/// RFC 8966 appendix B: 2-out-of-3 on wired links.
pub const LINK_SENSING: LinkSensing = LinkSensing { least_heard: 2, heard_of: 3 };
/// A sixth of a wired link: less is noise, a hop fewer is always more.
pub const SWITCH_MARGIN: Cost = Cost(16);
/// Room for 100 000 prefixes heard from four sides, and ten times the neighbours of a busy LAN.
pub const LIMITS: Limits = Limits {
    neighbours_per_link: 256,
    routes_per_neighbour: 150_000,
    routes: 500_000,
    sources: 300_000,
    requests: 4_096,
    origins_wanted: 1_024,
};

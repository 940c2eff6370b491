//! Counters: what was dropped and why, and how much went in and out.

/// Why something received was dropped, or something wanted was not done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum DropReason {
    /// Packet on a link that is not up here.
    UnknownLink,
    /// Packet whose source is not link-local, or is our own.
    BadSource,
    /// Packet that is not Babel, or whose length is wrong.
    BadPacket,
    /// Unsigned packet on a link with keys.
    NoMac,
    /// Packet that no key of its link has signed.
    WrongMac,
    /// Signed packet without a packet counter.
    NoPacketCounter,
    /// Signed packet that may be an old one; its sender is challenged (RFC 8967 §4.3).
    UnknownIndex,
    /// Signed packet that came before, or too late.
    StalePacketCounter,
    /// A TLV that breaks its own format; the others of the packet count.
    BadTlv,
    /// A TLV of a node that has not said Hello.
    UnknownNeighbour,
    /// A Hello beyond [`super::Limits::neighbours_per_link`]; a neighbour that was of no use gave way, or
    /// it was ignored.
    TooManyNeighbours,
    /// An update beyond [`super::Limits::routes_per_neighbour`].
    TooManyRoutesOfNeighbour,
    /// An update or own route beyond [`super::Limits::routes`].
    TooManyRoutes,
    /// An announcement beyond [`super::Limits::sources`].
    TooManySources,
    /// A seqno request beyond [`super::Limits::requests`].
    TooManyRequests,
    /// An origin question beyond [`super::Limits::origins_wanted`].
    TooManyOrigins,
    /// A question beyond what may wait for one neighbour.
    TooManyQuestions,
    /// An update with a next hop beyond those one neighbour may have.
    TooManyNextHops,
    /// An update for a prefix of one link, one machine or a group ([`sixwire_proto::prefix::Prefix::is_routable`]).
    UnroutablePrefix,
    /// An update with a next hop that is ours, or no node's.
    BadNextHop,
    /// An update that does not pass the feasibility condition; kept aside or ignored (RFC 8966 §3.5.3).
    Unfeasible,
    /// An update under our own router-id.
    OwnRouterId,
    /// An update of a leaf for a route that is not its own.
    NotItsOwn,
    /// A seqno request seen moments ago.
    RepeatedRequest,
    /// A seqno request that nobody here can answer or pass on.
    HopelessRequest,
    /// Updates a neighbour never acknowledged.
    Unacknowledged,
    /// An update that a filter denies.
    Filtered,
}

/// What was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub(super) enum Done {
    PacketReceived,
    PacketSent,
    UpdateReceived,
    UpdateSent,
    UpdateResent,
    RequestSent,
    RequestForwarded,
    ChallengeSent,
    ChallengeAnswered,
    UnauthenticatedAccepted,
}

/// All counters, from zero at the start.
#[derive(Debug, Default)]
pub(super) struct Counters {
    dropped: [u64; DROPPED.len()],
    done: [u64; DONE.len()],
}

impl Counters {
    pub(super) fn dropped(&mut self, reason: DropReason) {
        self.dropped[reason as usize] += 1;
    }

    pub(super) fn done(&mut self, what: Done) {
        self.done[what as usize] += 1;
    }

    /// All of them, in a fixed order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let done = DONE.iter().copied().zip(self.done);
        done.chain(DROPPED.iter().copied().zip(self.dropped))
    }
}

/// Whether a counter with this label counts how often a limit was reached.
#[must_use]
pub fn is_limit(label: &str) -> bool {
    label.starts_with("dropped: too many ")
}

/// Labels of [`Done`], in its order.
const DONE: [&str; 10] = [
    "packets received",
    "packets sent",
    "updates received",
    "updates sent",
    "updates resent",
    "seqno requests sent",
    "seqno requests forwarded",
    "challenges sent",
    "challenges answered",
    "unauthenticated packets accepted",
];

/// Labels of [`DropReason`], in its order.
const DROPPED: [&str; 27] = [
    "dropped: unknown link",
    "dropped: bad source address",
    "dropped: bad packet",
    "dropped: no mac",
    "dropped: wrong mac",
    "dropped: no packet counter",
    "dropped: unknown index",
    "dropped: stale packet counter",
    "dropped: bad tlv",
    "dropped: unknown neighbour",
    "dropped: too many neighbours",
    "dropped: too many routes of a neighbour",
    "dropped: too many routes",
    "dropped: too many sources",
    "dropped: too many seqno requests",
    "dropped: too many origins wanted",
    "dropped: too many questions of a neighbour",
    "dropped: too many next hops of a neighbour",
    "dropped: unroutable prefix",
    "dropped: bad next hop",
    "dropped: unfeasible update",
    "dropped: own router-id",
    "dropped: leaf announcing for others",
    "dropped: repeated seqno request",
    "dropped: hopeless seqno request",
    "dropped: unacknowledged updates",
    "dropped: filtered update",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_its_label() {
        let mut counters = Counters::default();
        counters.dropped(DropReason::Filtered);
        counters.done(Done::RequestForwarded);
        let counted: Vec<_> = counters.iter().filter(|(_, count)| *count == 1).collect();
        assert_eq!(counted, [("seqno requests forwarded", 1), ("dropped: filtered update", 1)]);
    }

    #[test]
    fn counters_of_limits_are_told_from_others() {
        for limit in [
            DropReason::TooManyNeighbours,
            DropReason::TooManyRoutesOfNeighbour,
            DropReason::TooManyRoutes,
            DropReason::TooManySources,
            DropReason::TooManyRequests,
            DropReason::TooManyOrigins,
            DropReason::TooManyQuestions,
            DropReason::TooManyNextHops,
        ] {
            assert!(is_limit(DROPPED[limit as usize]), "{limit:?}");
        }
        for other in [DropReason::BadTlv, DropReason::UnroutablePrefix, DropReason::Filtered] {
            assert!(!is_limit(DROPPED[other as usize]), "{other:?}");
        }
    }
}

//! The interface table (RFC 8966 §3.2.3).

use std::net::Ipv6Addr;
use std::time::Duration;

use sixwire_proto::metric::Cost;
use sixwire_proto::seqno::Seqno;
use sixwire_proto::time::Instant;

use super::input::LinkParams;
use super::params::{LinkQuality, LinkSensing};
use super::sender::Sender;

/// A link that is up.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) params: LinkParams,
    /// How well it works.
    pub(super) quality: LinkQuality,
    /// What it costs beyond its nominal cost.
    pub(super) extra: Cost,
    /// Number of the next Multicast Hello.
    hello_seqno: Seqno,
    last_hello: Option<Instant>,
    /// What updates to single neighbours promise: at least the configured interval.
    pub(super) update_interval: Duration,
    /// Updates for all on the link at once, used when there are many.
    pub(super) sender: Sender,
}

impl Link {
    /// A link on which nothing was sent yet; its Hellos start anywhere. `sensing` holds where the link
    /// has no word of its own, and updates come at an interval.
    pub(super) fn new(
        params: LinkParams,
        hello_seqno: Seqno,
        (sensing, update_interval): (LinkSensing, Duration),
    ) -> Self {
        Self {
            params,
            quality: params.quality.unwrap_or(LinkQuality::KOutOfJ(sensing)),
            extra: Cost(0),
            hello_seqno,
            last_hello: None,
            update_interval,
            sender: Sender::default(),
        }
    }

    /// Cost of receiving on it while it works: strictly positive (RFC 8966 §3.4.3).
    pub(super) fn cost(&self) -> Cost {
        (self.params.cost + self.extra).max(Cost(1))
    }

    /// Our address on it.
    pub(super) fn address(&self) -> Ipv6Addr {
        self.params.address
    }

    /// Takes the number of a Hello sent now.
    pub(super) fn take_hello_seqno(&mut self, now: Instant) -> Seqno {
        let seqno = self.hello_seqno;
        self.hello_seqno = seqno.next();
        self.last_hello = Some(now);
        seqno
    }

    /// The earliest time for a Hello ahead of its time: not closer than `gap` to the last one.
    pub(super) fn earliest_hello(&self, now: Instant, gap: Duration) -> Instant {
        self.last_hello.map_or(now, |last| now.max(last + gap))
    }
}

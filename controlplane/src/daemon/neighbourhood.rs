//! Which neighbours several tunnels lead to, and which of the tunnels work: put together from what the tunnel
//! driver and the routing engine say, for the kernel writer.
//!
//! A tunnel takes part as long as the routing engine can use its neighbour, whatever its cost: a loaded uplink
//! has a queue and so a long delay, and flows that fled from it would come back as soon as it is empty. The
//! operator's weights say how much each takes.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU8;
use std::sync::{Arc, Mutex};

use sixwire_dataplane::model::Shares;
use sixwire_proto::link::LinkId;
use sixwire_proto::metric::Cost;

use super::mailbox::Mailbox;

/// News for the kernel writer. Only the latest of each kind counts.
#[derive(Debug, Default)]
pub(super) struct NeighbourNews {
    /// All tunnels, by the other end's address in them, and their weights.
    pub(super) tunnels: Option<BTreeMap<Ipv6Addr, BTreeMap<LinkId, NonZeroU8>>>,
    /// Neighbours that can be used from now on, or cannot.
    pub(super) usable: BTreeMap<(LinkId, Ipv6Addr), Usable>,
}

/// Whether a neighbour can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Usable {
    /// It can.
    Yes,
    /// It cannot.
    No,
}

/// The neighbours whose flows are spread over several links, and the links.
pub(super) type Spreads = Arc<Mutex<BTreeMap<IpAddr, BTreeSet<LinkId>>>>;

/// All that was said so far.
#[derive(Debug, Default)]
pub(super) struct Neighbourhood {
    tunnels: BTreeMap<Ipv6Addr, BTreeMap<LinkId, NonZeroU8>>,
    usable: BTreeSet<(LinkId, Ipv6Addr)>,
}

impl Mailbox<NeighbourNews> {
    /// The cost of a neighbour was one thing and is another.
    pub(super) fn cost(
        &self,
        neighbour: (LinkId, Ipv6Addr),
        (before, now): (Option<Cost>, Option<Cost>),
    ) {
        let usable = |cost: Option<Cost>| match cost.is_some_and(Cost::is_finite) {
            true => Usable::Yes,
            false => Usable::No,
        };
        if usable(before) != usable(now) {
            self.amend(|news| {
                news.usable.insert(neighbour, usable(now));
            });
        }
    }
}

impl Neighbourhood {
    /// Takes news in.
    pub(super) fn learn(&mut self, news: NeighbourNews) {
        for (neighbour, usable) in news.usable {
            match usable {
                Usable::Yes => self.usable.insert(neighbour),
                Usable::No => self.usable.remove(&neighbour),
            };
        }
        if let Some(tunnels) = news.tunnels {
            self.tunnels = tunnels;
        }
    }

    /// How the flows to each node with tunnels are to be spread.
    pub(super) fn shares(&self) -> BTreeMap<IpAddr, Shares> {
        let share = |address: Ipv6Addr, (link, weight): (&LinkId, &NonZeroU8)| {
            (*link, self.usable.contains(&(*link, address)).then_some(*weight))
        };
        let shares = self.tunnels.iter().map(|(address, links)| {
            (IpAddr::from(*address), links.iter().map(|one| share(*address, one)).collect())
        });
        shares.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tunnel_has_a_share_while_its_neighbour_can_be_used() {
        let address: Ipv6Addr = "fe80::1".parse().unwrap();
        let weight = |number| NonZeroU8::new(number).unwrap();
        let links = BTreeMap::from([(LinkId(7), weight(1)), (LinkId(8), weight(3))]);
        let mut all = Neighbourhood::default();
        all.learn(NeighbourNews {
            tunnels: Some(BTreeMap::from([(address, links)])),
            usable: BTreeMap::from([((LinkId(8), address), Usable::Yes)]),
        });
        let shares = |all: &Neighbourhood| all.shares()[&IpAddr::from(address)].clone();
        assert_eq!(shares(&all), [(LinkId(7), None), (LinkId(8), Some(weight(3)))].into());
        let other = "fe80::2".parse().unwrap();
        let usable = |link, address, usable| NeighbourNews {
            tunnels: None,
            usable: BTreeMap::from([((LinkId(link), address), usable)]),
        };
        all.learn(usable(7, other, Usable::Yes));
        assert_eq!(shares(&all)[&LinkId(7)], None, "another neighbour's");
        all.learn(usable(7, address, Usable::Yes));
        all.learn(usable(8, address, Usable::No));
        assert_eq!(shares(&all), [(LinkId(7), Some(weight(1))), (LinkId(8), None)].into());
    }
}

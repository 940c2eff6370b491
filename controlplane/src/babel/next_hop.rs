//! The next hops of one neighbour: nearly always itself, so a route holds a number in their place.

use std::net::IpAddr;

use super::Babel;
use super::counter::DropReason;
use super::neighbour::NeighbourId;

/// One of the next hops of a neighbour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NextHopId(pub(super) u8);

/// The next hops that a neighbour's routes name.
#[derive(Debug, Default)]
pub(super) struct NextHops(Vec<IpAddr>);

impl NextHops {
    pub(super) fn get(&self, id: NextHopId) -> Option<IpAddr> {
        self.0.get(usize::from(id.0)).copied()
    }

    /// The number of an address, given now if there is room.
    fn number(&mut self, address: IpAddr) -> Option<NextHopId> {
        let known = self.0.iter().position(|one| *one == address);
        let position = known.or_else(|| {
            (self.0.len() < MOST_NEXT_HOPS).then(|| {
                self.0.push(address);
                self.0.len() - 1
            })
        });
        position.and_then(|position| u8::try_from(position).ok()).map(NextHopId)
    }

    /// Gives the number of one that is not `used` to another address.
    fn reuse(&mut self, used: &[NextHopId], address: IpAddr) -> Option<NextHopId> {
        let free =
            (0_u8..).zip(&mut self.0).find(|(number, _)| !used.contains(&NextHopId(*number)));
        free.map(|(number, slot)| {
            *slot = address;
            NextHopId(number)
        })
    }
}

impl Babel {
    /// The number of a next hop of a neighbour. Only who names a new one after sixteen others makes us
    /// look which are still in use; who uses all at once is refused.
    pub(super) fn next_hop_id(&mut self, of: NeighbourId, address: IpAddr) -> Option<NextHopId> {
        if !self.may_lead(of, address) {
            self.count(DropReason::BadNextHop);
            return None;
        }
        if let Some(id) = self.neighbours.get_mut(of)?.next_hops.number(address) {
            return Some(id);
        }
        let mut used = Vec::new();
        for entry in &self.neighbours.get(of)?.routes {
            let route = self.table.get(*entry).and_then(|entry| entry.route(of));
            if let Some(id) = route.map(|route| route.next_hop).filter(|id| !used.contains(id)) {
                used.push(id);
            }
        }
        let id = self.neighbours.get_mut(of)?.next_hops.reuse(&used, address);
        if id.is_none() {
            self.count(DropReason::TooManyNextHops);
        }
        id
    }

    /// Whether packets can be sent to that address on the link of a neighbour: it is some node's, and not
    /// ours.
    fn may_lead(&self, of: NeighbourId, address: IpAddr) -> bool {
        let Some(link) = self.neighbours.get(of).and_then(|one| self.links.get(&one.link)) else {
            return false;
        };
        match address {
            IpAddr::V6(address) => {
                let nobody =
                    address.is_unspecified() || address.is_loopback() || address.is_multicast();
                !nobody && address != link.address()
            }
            IpAddr::V4(address) => {
                let nobody =
                    address.is_unspecified() || address.is_loopback() || address.is_multicast();
                !nobody && !address.is_broadcast() && Some(address) != link.params.v4
            }
        }
    }
}

/// Next hops of one neighbour at a time: itself in both families, and what it may redirect to.
const MOST_NEXT_HOPS: usize = 16;

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[test]
    fn a_number_is_given_again_when_no_route_has_it() {
        let mut next_hops = NextHops::default();
        let address = |last: u8| IpAddr::V4(Ipv4Addr::new(192, 0, 2, last));
        for last in 0..16 {
            assert_eq!(next_hops.number(address(last)), Some(NextHopId(last)));
        }
        assert_eq!(next_hops.number(address(3)), Some(NextHopId(3)));
        assert_eq!(next_hops.number(address(99)), None);
        let all: Vec<_> = (0..16).map(NextHopId).collect();
        assert_eq!(next_hops.reuse(&all, address(99)), None);
        assert_eq!(next_hops.reuse(&all[..5], address(99)), Some(NextHopId(5)));
        assert_eq!(next_hops.get(NextHopId(5)), Some(address(99)));
    }
}

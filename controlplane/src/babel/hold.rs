//! Lost prefixes: retraction, hold time, end (RFC 8966 §3.5.4).

use sixwire_proto::babel::RouteKey;
use sixwire_proto::router_id::RouterId;

use super::Babel;
use super::announcement::Audience;
use super::neighbour::NeighbourId;
use super::output::{Output, Target};
use super::route::{self, EntryId, Hold, Selection};

impl Babel {
    /// Retracts a prefix that has just lost its last usable route. Until all who may have used us for it
    /// know, or what we told them has expired, it does not fall back to a shorter prefix. Those told by
    /// multicast do not acknowledge: there it is the hold time.
    pub(super) fn retract(&mut self, id: EntryId, key: RouteKey, lost: Selection) {
        let audience = self.link_of(lost.via).map_or(Audience::Everyone, Audience::Beyond);
        let waiting = self.tell(key, audience, self.now);
        let until = self.now + route::hold_time(self.longest_interval());
        if !waiting.is_empty() {
            self.table.holds.insert(id, Hold { until, waiting });
        }
        self.install(id, lost.originator());
    }

    /// A neighbour has acknowledged a retraction.
    pub(super) fn retraction_received(&mut self, from: NeighbourId, key: RouteKey) {
        if let Some(id) = self.table.id(key) {
            self.stop_waiting(id, from);
        }
    }

    /// A neighbour can no longer be using us.
    pub(super) fn stop_waiting_for(&mut self, neighbour: NeighbourId) {
        let held: Vec<EntryId> = self.table.holds.keys().copied().collect();
        for id in held {
            self.stop_waiting(id, neighbour);
        }
    }

    fn stop_waiting(&mut self, id: EntryId, neighbour: NeighbourId) {
        let Some(hold) = self.table.holds.get_mut(&id) else { return };
        hold.waiting.retain(|waiting| *waiting != neighbour);
        if hold.waiting.is_empty() {
            self.release(id);
        }
    }

    /// Ends a hold.
    pub(super) fn release(&mut self, id: EntryId) {
        if self.table.holds.remove(&id).is_some() {
            self.install(id, None);
            self.settle(id);
        }
    }

    /// Tells the kernel what is now to be done with packets for a prefix. A default route is never held:
    /// there is no shorter prefix to fall back to. `left` originates the neighbour's route in use until now.
    pub(super) fn install(&mut self, id: EntryId, left: Option<RouterId>) {
        let Some(entry) = self.table.get(id) else { return };
        let target = match (entry.selected, entry.selected_route()) {
            (Some(selected), Some(route)) => {
                let Some(neighbour) = self.neighbours.get(route.neighbour) else { return };
                let Some(next_hop) = neighbour.next_hops.get(route.next_hop) else { return };
                Target::Via {
                    link: neighbour.link,
                    next_hop,
                    metric: selected.metric,
                    router_id: selected.router_id,
                }
            }
            (Some(_), None) => Target::Gone,
            (None, _) if self.table.is_held(id) && !entry.key.destination.is_default() => {
                Target::Unreachable
            }
            (None, _) => Target::Gone,
        };
        self.outbox.outputs.push_back(Output::Route { route: entry.key, target, left });
    }
}

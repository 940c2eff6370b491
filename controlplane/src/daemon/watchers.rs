//! Those who want to hear of every change of neighbours and selected routes.

use std::collections::BTreeMap;
use std::net::Ipv6Addr;

use sixwire_proto::babel::RouteKey;
use sixwire_proto::link::LinkId;
use sixwire_proto::metric::Cost;
use tokio::sync::mpsc;

use super::routing::SelectedRoute;

/// What happened to something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// It is there now.
    Add,
    /// It is there still, and different.
    Change,
    /// It is gone; this is how it was.
    Flush,
}

/// One change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// A neighbour that can be used, with its cost.
    Neighbour(Kind, (LinkId, Ipv6Addr), Cost),
    /// A selected route.
    Route(Kind, RouteKey, SelectedRoute),
}

/// All watchers. One that falls behind is dropped.
#[derive(Debug, Default)]
pub(super) struct Watchers {
    listeners: Vec<mpsc::Sender<Change>>,
    /// What they know is selected; nothing while there are none.
    selected: BTreeMap<RouteKey, SelectedRoute>,
}

impl Watchers {
    /// One more, until its end of the channel is dropped; it knows what is selected now.
    pub(super) fn add(
        &mut self,
        selected: &BTreeMap<RouteKey, SelectedRoute>,
    ) -> mpsc::Receiver<Change> {
        let (sender, receiver) = mpsc::channel(BACKLOG);
        self.selected.clone_from(selected);
        self.listeners.push(sender);
        receiver
    }

    /// A neighbour was there before, or is after, or both.
    pub(super) fn neighbour(
        &mut self,
        neighbour: (LinkId, Ipv6Addr),
        step: (Option<Cost>, Option<Cost>),
    ) {
        if let Some((kind, cost)) = kind(step) {
            self.tell(Change::Neighbour(kind, neighbour, cost));
        }
    }

    /// A route is selected now, or none any more.
    pub(super) fn route(&mut self, route: RouteKey, selected: Option<SelectedRoute>) {
        if self.listeners.is_empty() {
            return self.selected.clear();
        }
        let before = match selected {
            Some(selected) => self.selected.insert(route, selected),
            None => self.selected.remove(&route),
        };
        if let Some((kind, selected)) = kind((before, selected)) {
            self.tell(Change::Route(kind, route, selected));
        }
    }

    fn tell(&mut self, change: Change) {
        self.listeners.retain(|watcher| watcher.try_send(change).is_ok());
    }
}

fn kind<T: PartialEq>(step: (Option<T>, Option<T>)) -> Option<(Kind, T)> {
    match step {
        (None, Some(after)) => Some((Kind::Add, after)),
        (Some(before), Some(after)) if before != after => Some((Kind::Change, after)),
        (Some(before), None) => Some((Kind::Flush, before)),
        (None, None) | (Some(_), Some(_)) => None,
    }
}

/// Changes that wait for one watcher: more than the engine makes before others get their turn.
const BACKLOG: usize = 65_536;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_neighbour_comes_changes_and_goes_and_a_slow_watcher_is_dropped() {
        let mut watchers = Watchers::default();
        let mut told = watchers.add(&BTreeMap::new());
        let who = (LinkId(1), Ipv6Addr::LOCALHOST);
        watchers.neighbour(who, (None, Some(Cost(96))));
        watchers.neighbour(who, (Some(Cost(96)), Some(Cost(96))));
        watchers.neighbour(who, (Some(Cost(96)), Some(Cost(97))));
        watchers.neighbour(who, (Some(Cost(97)), None));
        assert_eq!(told.try_recv(), Ok(Change::Neighbour(Kind::Add, who, Cost(96))));
        assert_eq!(told.try_recv(), Ok(Change::Neighbour(Kind::Change, who, Cost(97))));
        assert_eq!(told.try_recv(), Ok(Change::Neighbour(Kind::Flush, who, Cost(97))));
        for _ in 0..=BACKLOG {
            watchers.neighbour(who, (None, Some(Cost(96))));
        }
        while told.try_recv().is_ok() {}
        assert_eq!(told.try_recv(), Err(mpsc::error::TryRecvError::Disconnected));
    }
}

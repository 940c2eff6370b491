//! Routes that the kernel has refused: for want of room, because an interface is down, or because somebody else has one
//! of the same prefix, table and metric. They are tried again in turns.

use std::collections::BTreeMap;
use std::ops::Bound;

use nix::errno::Errno;

use super::{RouteWriter, TargetId, Wanted};
use crate::error::Error;
use crate::model::{NextHop, RouteKey, RouteTarget};
use crate::netlink::batch::MOST;

/// Where the refused routes are to lead. None of them is known to be in the kernel.
#[derive(Debug, Default)]
pub(super) struct Refused {
    wanted: BTreeMap<RouteKey, RouteTarget>,
    /// The last that had its turn.
    turn: Option<RouteKey>,
}

/// What became of routes that were tried again.
#[derive(Debug, Default)]
pub struct Retried {
    /// The kernel has these now.
    pub accepted: Vec<RouteKey>,
    /// These it refused again.
    pub refused: Vec<(RouteKey, Error)>,
}

impl Refused {
    pub(super) fn contains(&self, key: RouteKey) -> bool {
        self.wanted.contains_key(&key)
    }

    /// Notes that a route was refused, or that it is settled.
    pub(super) fn note(&mut self, key: RouteKey, refused: Option<RouteTarget>) {
        match refused {
            Some(target) => drop(self.wanted.insert(key, target)),
            None => drop(self.wanted.remove(&key)),
        }
    }

    /// Another link stands for all links to a neighbour.
    pub(super) fn redirect(&mut self, to: NextHop) {
        for (key, target) in &mut self.wanted {
            if let RouteTarget::Via(hop) = target
                && hop.gateway == to.gateway
                && key.source.is_none()
            {
                hop.link = to.link;
            }
        }
    }

    pub(super) fn keys(&self) -> impl Iterator<Item = RouteKey> {
        self.wanted.keys().copied()
    }

    /// The next ones, in a circle.
    fn take_turn(&mut self) -> Vec<Wanted> {
        let after = self.turn.map_or(Bound::Unbounded, Bound::Excluded);
        let until = self.turn.map_or(Bound::Unbounded, Bound::Included);
        let first = self.wanted.range((after, Bound::Unbounded));
        let rest = self.turn.map(|_| self.wanted.range((Bound::Unbounded, until)));
        let turn = first.chain(rest.into_iter().flatten()).take(MOST);
        let turn: Vec<Wanted> = turn.map(|(key, target)| (*key, Some(*target))).collect();
        self.turn = turn.last().map(|(key, _)| *key);
        turn
    }
}

impl RouteWriter {
    /// Tries some of the refused routes again, other ones each time.
    pub async fn retry(&mut self) -> Retried {
        let turn = self.refused.take_turn();
        let keys: Vec<RouteKey> = turn.iter().map(|(key, _)| *key).collect();
        let refused = self.write(turn).await;
        let accepted = keys.into_iter().filter(|key| !self.refused.contains(*key)).collect();
        Retried { accepted, refused }
    }

    /// Where there is a route already that we do not know of, it is removed if it bears our mark. Somebody else's
    /// stays, and ours is refused.
    pub(super) fn make_way(
        &mut self,
        changes: &[Wanted],
        targets: &[Option<TargetId>],
        refused: &mut Vec<(usize, Error)>,
    ) {
        let taken = |(_, error): &(usize, Error)| error.errno() == Some(Errno::EEXIST);
        let taken: Vec<usize> =
            refused.extract_if(.., |one| taken(one)).map(|(at, _)| at).collect();
        for some in taken.chunks(MOST / 2) {
            let pairs = some.iter().filter_map(|at| {
                let (change, target) = (*changes.get(*at)?, *targets.get(*at)?);
                Some([((change.0, None), None), (change, target)])
            });
            let pairs: Vec<(Wanted, Option<TargetId>)> = pairs.flatten().collect();
            let again = self.attempt(pairs.iter().map(|(change, target)| (change, target)));
            refused.extend(again.into_iter().filter_map(|(number, error)| {
                // Each second one is the route itself.
                let at = *some.get(number / 2).filter(|_| number % 2 == 1)?;
                let taken = error.errno() == Some(Errno::EEXIST);
                let named = |(key, _): &Wanted| Error::RouteTaken(key.to_string());
                Some((at, if taken { named(changes.get(at)?) } else { error }))
            }));
        }
    }

    /// The kernel keeps a route whose replacement it refuses. It leads where nothing should go any more.
    pub(super) fn remove_outdated(&mut self, changes: &[Wanted], refused: &[(usize, Error)]) {
        let outdated = refused.iter().filter_map(|(at, _)| {
            let (key, wanted) = changes.get(*at)?;
            (wanted.is_some() && self.routes.get(*key).is_some()).then_some((*key, None))
        });
        let outdated: Vec<Wanted> = outdated.collect();
        // What cannot be removed now makes way when the route is tried again.
        drop(self.attempt(outdated.iter().map(|change| (change, &None))));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_refused_routes_have_their_turn() {
        let mut refused = Refused::default();
        let key = |number: usize| RouteKey::to(format!("fd00:{number:x}::/32").parse().unwrap());
        let count = 2 * MOST + 5;
        for number in 0..count {
            refused.note(key(number), Some(RouteTarget::Unreachable));
        }
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..3 {
            let turn = refused.take_turn();
            assert_eq!(turn.len(), MOST);
            seen.extend(turn.into_iter().map(|(key, _)| key));
        }
        assert_eq!(seen.len(), count);
        (0..count).for_each(|number| refused.note(key(number), None));
        assert_eq!(refused.take_turn(), []);
        assert_eq!(refused.take_turn(), []);
    }
}

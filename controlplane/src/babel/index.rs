//! The entries of the table in the order of their keys, so that neighbouring prefixes share their octets in
//! an Update: sorted runs of ids, five octets a prefix, where a tree of keys takes seventy.

use std::cmp::Ordering;

use super::route::EntryId;

/// Ids in order. Who compares must always say the same of the same two.
#[derive(Debug, Default)]
pub(super) struct Index {
    /// None of them is empty.
    runs: Vec<Vec<EntryId>>,
    len: usize,
}

/// A place in the index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    run: usize,
    position: usize,
}

impl Index {
    /// The id that compares as equal. `compare` says where an id lies from what is looked for.
    pub(super) fn find(&self, compare: impl FnMut(EntryId) -> Ordering) -> Option<EntryId> {
        let place = self.locate(compare).ok()?;
        self.runs.get(place.run)?.get(place.position).copied()
    }

    /// Adds an id where `compare` finds none.
    pub(super) fn insert(&mut self, id: EntryId, compare: impl FnMut(EntryId) -> Ordering) {
        let Err(place) = self.locate(compare) else { return };
        self.len += 1;
        let Some(run) = self.runs.get_mut(place.run) else {
            let mut run = Vec::with_capacity(LONGEST);
            run.push(id);
            return self.runs.push(run);
        };
        run.insert(place.position, id);
        if run.len() == LONGEST {
            // What comes in order fills runs; what does not splits them in halves.
            let kept = if place.position + 1 == LONGEST { LONGEST - 1 } else { LONGEST / 2 };
            let mut rest = Vec::with_capacity(LONGEST);
            rest.extend(run.drain(kept..));
            self.runs.insert(place.run + 1, rest);
        }
    }

    /// Takes out the id that compares as equal.
    pub(super) fn remove(&mut self, compare: impl FnMut(EntryId) -> Ordering) {
        let Ok(place) = self.locate(compare) else { return };
        let Some(run) = self.runs.get_mut(place.run) else { return };
        run.remove(place.position);
        self.len -= 1;
        if run.is_empty() {
            self.runs.remove(place.run);
        }
    }

    /// The first id that lies behind what is looked for.
    pub(super) fn after(&self, compare: impl FnMut(EntryId) -> Ordering) -> Option<EntryId> {
        let place = match self.locate(compare) {
            Ok(found) => Place { position: found.position + 1, ..found },
            Err(place) => place,
        };
        let run = self.runs.get(place.run)?;
        let here = run.get(place.position);
        here.or_else(|| self.runs.get(place.run + 1)?.first()).copied()
    }

    /// The first of all.
    pub(super) fn first(&self) -> Option<EntryId> {
        self.runs.first()?.first().copied()
    }

    /// All, in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = EntryId> {
        self.runs.iter().flatten().copied()
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Where the equal one is, or would be.
    fn locate(&self, mut compare: impl FnMut(EntryId) -> Ordering) -> Result<Place, Place> {
        let begins_by = |run: &Vec<EntryId>| run.first().is_some_and(|id| compare(*id).is_le());
        let run = self.runs.partition_point(begins_by).saturating_sub(1);
        let ids = self.runs.get(run).map(Vec::as_slice).unwrap_or_default();
        match ids.binary_search_by(|id| compare(*id)) {
            Ok(position) => Ok(Place { run, position }),
            Err(position) => Err(Place { run, position }),
        }
    }
}

/// Ids in one run: moving them is one line of cache or sixteen.
const LONGEST: usize = 256;

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_is_a_sorted_set(
            start in 0_u32..3000,
            steps in proptest::collection::vec((any::<bool>(), 0_u32..3000), 0..400),
        ) {
            let (mut index, mut set) = (Index::default(), BTreeSet::new());
            let in_order = (0..start).map(|number| (true, number * 2));
            for (add, number) in in_order.chain(steps) {
                let id = EntryId(number);
                if add {
                    index.insert(id, |other| other.cmp(&id));
                    set.insert(id);
                } else {
                    index.remove(|other| other.cmp(&id));
                    set.remove(&id);
                }
                prop_assert_eq!(index.find(|other| other.cmp(&id)).is_some(), set.contains(&id));
                let next = set.range(id..).find(|other| **other != id).copied();
                prop_assert_eq!(index.after(|other| other.cmp(&id)), next);
            }
            prop_assert!(index.iter().eq(set.iter().copied()));
            prop_assert_eq!((index.len(), index.first()), (set.len(), set.first().copied()));
        }
    }
}

//! A sorted set of very many small things: what comes in order lies densely, where a tree of nodes would be half
//! empty. A table may keep ids in it and the keys elsewhere.

use std::cmp::Ordering;

/// Things in order. Who compares must always say the same of the same two.
#[derive(Clone, Debug)]
pub struct Runs<T> {
    /// None of them is empty.
    runs: Vec<Vec<T>>,
    len: usize,
}

/// A place among them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    run: usize,
    position: usize,
}

impl<T: Copy> Runs<T> {
    /// The one that compares as equal. `compare` says where one lies from what is looked for.
    pub fn find(&self, compare: impl FnMut(T) -> Ordering) -> Option<T> {
        let place = self.locate(compare).ok()?;
        self.runs.get(place.run)?.get(place.position).copied()
    }

    /// The same, to be changed; it must go on to compare as it does.
    pub fn find_mut(&mut self, compare: impl FnMut(T) -> Ordering) -> Option<&mut T> {
        let place = self.locate(compare).ok()?;
        self.runs.get_mut(place.run)?.get_mut(place.position)
    }

    /// Adds one where `compare` finds none.
    pub fn insert(&mut self, new: T, compare: impl FnMut(T) -> Ordering) {
        let Err(place) = self.locate(compare) else { return };
        self.len += 1;
        let Some(run) = self.runs.get_mut(place.run) else {
            let mut run = Vec::with_capacity(LONGEST);
            run.push(new);
            return self.runs.push(run);
        };
        run.insert(place.position, new);
        if run.len() == LONGEST {
            // What comes in order fills runs; what does not splits them in halves.
            let kept = if place.position + 1 == LONGEST { LONGEST - 1 } else { LONGEST / 2 };
            let mut rest = Vec::with_capacity(LONGEST);
            rest.extend(run.drain(kept..));
            self.runs.insert(place.run + 1, rest);
        }
    }

    /// Takes out the one that compares as equal.
    pub fn remove(&mut self, compare: impl FnMut(T) -> Ordering) -> Option<T> {
        let place = self.locate(compare).ok()?;
        let run = self.runs.get_mut(place.run)?;
        let taken = run.remove(place.position);
        self.len -= 1;
        if run.is_empty() {
            self.runs.remove(place.run);
        }
        Some(taken)
    }

    /// The first one that lies behind what is looked for.
    pub fn after(&self, compare: impl FnMut(T) -> Ordering) -> Option<T> {
        let place = match self.locate(compare) {
            Ok(found) => Place { position: found.position + 1, ..found },
            Err(place) => place,
        };
        let run = self.runs.get(place.run)?;
        let here = run.get(place.position);
        here.or_else(|| self.runs.get(place.run + 1)?.first()).copied()
    }

    /// The first of all.
    #[must_use]
    pub fn first(&self) -> Option<T> {
        self.runs.first()?.first().copied()
    }

    /// All, in order.
    pub fn iter(&self) -> impl Iterator<Item = T> {
        self.runs.iter().flatten().copied()
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Where the equal one is, or would be.
    fn locate(&self, mut compare: impl FnMut(T) -> Ordering) -> Result<Place, Place> {
        let begins_by = |run: &Vec<T>| run.first().is_some_and(|first| compare(*first).is_le());
        let run = self.runs.partition_point(begins_by).saturating_sub(1);
        let here = self.runs.get(run).map(Vec::as_slice).unwrap_or_default();
        match here.binary_search_by(|one| compare(*one)) {
            Ok(position) => Ok(Place { run, position }),
            Err(position) => Err(Place { run, position }),
        }
    }
}

impl<T> Default for Runs<T> {
    fn default() -> Self {
        Self { runs: Vec::new(), len: 0 }
    }
}

/// In one run: moving ids is one line of cache or sixteen.
const LONGEST: usize = 256;

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn they_are_a_sorted_set(
            start in 0_u32..3000,
            steps in proptest::collection::vec((any::<bool>(), 0_u32..3000), 0..400),
        ) {
            let (mut runs, mut set) = (Runs::default(), BTreeSet::new());
            let in_order = (0..start).map(|number| (true, number * 2));
            for (add, one) in in_order.chain(steps) {
                if add {
                    runs.insert(one, |other: u32| other.cmp(&one));
                    set.insert(one);
                } else {
                    prop_assert_eq!(runs.remove(|other| other.cmp(&one)), set.take(&one));
                }
                prop_assert_eq!(runs.find(|other| other.cmp(&one)), set.get(&one).copied());
                let next = set.range(one..).find(|other| **other != one).copied();
                prop_assert_eq!(runs.after(|other| other.cmp(&one)), next);
            }
            prop_assert!(runs.iter().eq(set.iter().copied()));
            prop_assert_eq!((runs.len(), runs.first()), (set.len(), set.first().copied()));
            prop_assert_eq!(runs.is_empty(), set.is_empty());
            prop_assert!(runs.runs.iter().all(|run| !run.is_empty() && run.capacity() == LONGEST));
        }

        #[test]
        fn one_is_changed_where_it_is(count in 1_u32..1000, which in 0_u32..1000) {
            let mut runs = Runs::default();
            for key in 0..count {
                runs.insert((key, 0), |(other, _): (u32, u32)| other.cmp(&key));
            }
            let found = runs.find_mut(|(other, _)| other.cmp(&which)).map(|(_, value)| *value = 1);
            prop_assert_eq!(found.is_some(), which < count);
            let expected = (0..count).map(|key| (key, u32::from(key == which)));
            prop_assert!(runs.iter().eq(expected));
        }
    }
}

//! A sorted map for very many small entries: what comes in order lies densely, where a tree of nodes would be half
//! empty.

/// Entries in the order of their keys, in sorted runs.
#[derive(Debug)]
pub(super) struct Runs<K, V>(Vec<Vec<(K, V)>>);

impl<K: Copy + Ord, V: Copy> Runs<K, V> {
    pub(super) fn get(&self, key: &K) -> Option<V> {
        let run = self.0.get(self.run_of(key))?;
        let at = run.binary_search_by_key(key, |(key, _)| *key).ok()?;
        run.get(at).map(|(_, value)| *value)
    }

    /// Gives what was there.
    pub(super) fn insert(&mut self, key: K, value: V) -> Option<V> {
        let number = self.run_of(&key);
        if number == self.0.len() {
            self.0.push(Vec::with_capacity(LONGEST));
        }
        let run = self.0.get_mut(number)?;
        match run.binary_search_by_key(&key, |(key, _)| *key) {
            Ok(at) => run.get_mut(at).map(|(_, before)| std::mem::replace(before, value)),
            Err(at) => {
                run.insert(at, (key, value));
                if run.len() == LONGEST {
                    // Behind the last, a new run begins; elsewhere two halves have room.
                    let kept = if at + 1 == LONGEST { LONGEST - 1 } else { LONGEST / 2 };
                    let mut rest = Vec::with_capacity(LONGEST);
                    rest.extend(run.drain(kept..));
                    self.0.insert(number + 1, rest);
                }
                None
            }
        }
    }

    /// Gives what was there.
    pub(super) fn remove(&mut self, key: &K) -> Option<V> {
        let number = self.run_of(key);
        let run = self.0.get_mut(number)?;
        let at = run.binary_search_by_key(key, |(key, _)| *key).ok()?;
        let (_, value) = run.remove(at);
        if run.is_empty() {
            self.0.remove(number);
        }
        Some(value)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &(K, V)> {
        self.0.iter().flatten()
    }

    /// The run that has, or is to have, a key: the last that begins with it or before it.
    fn run_of(&self, key: &K) -> usize {
        let begins_before = |run: &Vec<(K, V)>| run.first().is_some_and(|(first, _)| first <= key);
        self.0.partition_point(begins_before).saturating_sub(1)
    }
}

impl<K, V> Default for Runs<K, V> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

/// Entries of a run, for which it has room from the start.
const LONGEST: usize = 256;

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_holds_what_a_map_holds(
            steps in proptest::collection::vec((any::<bool>(), 0_u16..2000), 0..4000),
            sorted in 0_u16..2000,
        ) {
            let (mut runs, mut map) = (Runs::default(), BTreeMap::new());
            for key in 0..sorted {
                prop_assert_eq!(runs.insert(key, 0), map.insert(key, 0));
            }
            for (value, (insert, key)) in steps.into_iter().enumerate() {
                if insert {
                    prop_assert_eq!(runs.insert(key, value), map.insert(key, value));
                } else {
                    prop_assert_eq!(runs.remove(&key), map.remove(&key));
                }
                prop_assert_eq!(runs.get(&key), map.get(&key).copied());
            }
            let held: Vec<(u16, usize)> = runs.iter().copied().collect();
            prop_assert_eq!(held, map.into_iter().collect::<Vec<_>>());
            prop_assert!(runs.0.iter().all(|run| !run.is_empty() && run.capacity() == LONGEST));
        }
    }
}

//! A list that is nearly always of one, which then needs no room of its own.

/// One, or none or many.
#[derive(Clone, Debug)]
pub(super) enum Few<T> {
    One(T),
    /// Behind a pointer, so that it is no larger than one.
    #[expect(clippy::box_collection, reason = "a vector would take three times the room")]
    Many(Option<Box<Vec<T>>>),
}

impl<T> Few<T> {
    pub(super) const NONE: Self = Self::Many(None);

    pub(super) fn as_slice(&self) -> &[T] {
        match self {
            Self::One(one) => std::slice::from_ref(one),
            Self::Many(None) => &[],
            Self::Many(Some(many)) => many,
        }
    }

    pub(super) fn as_mut_slice(&mut self) -> &mut [T] {
        match self {
            Self::One(one) => std::slice::from_mut(one),
            Self::Many(None) => &mut [],
            Self::Many(Some(many)) => many,
        }
    }

    pub(super) fn iter(&self) -> std::slice::Iter<'_, T> {
        self.as_slice().iter()
    }

    pub(super) fn iter_mut(&mut self) -> std::slice::IterMut<'_, T> {
        self.as_mut_slice().iter_mut()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.as_slice().is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.as_slice().len()
    }

    /// Adds one at the end.
    pub(super) fn push(&mut self, new: T) {
        *self = match std::mem::replace(self, Self::NONE) {
            Self::Many(None) => Self::One(new),
            Self::One(one) => Self::Many(Some(Box::new(vec![one, new]))),
            Self::Many(Some(mut many)) => {
                many.push(new);
                Self::Many(Some(many))
            }
        };
    }

    /// Takes out the one at this position, if there is one.
    pub(super) fn take(&mut self, position: usize) -> Option<T> {
        if position >= self.len() {
            return None;
        }
        let (rest, taken) = match std::mem::replace(self, Self::NONE) {
            Self::One(one) => (Self::NONE, Some(one)),
            Self::Many(None) => (Self::NONE, None),
            Self::Many(Some(mut many)) => {
                let taken = many.remove(position);
                (Self::of(many), Some(taken))
            }
        };
        *self = rest;
        taken
    }

    /// Keeps those that are wanted.
    pub(super) fn retain(&mut self, mut wanted: impl FnMut(&T) -> bool) {
        *self = match std::mem::replace(self, Self::NONE) {
            Self::One(one) if wanted(&one) => Self::One(one),
            Self::One(_) | Self::Many(None) => Self::NONE,
            Self::Many(Some(mut many)) => {
                many.retain(wanted);
                Self::of(many)
            }
        };
    }

    #[expect(clippy::box_collection, reason = "as it is kept")]
    fn of(mut many: Box<Vec<T>>) -> Self {
        match many.len() {
            0 | 1 => many.pop().map_or(Self::NONE, Self::One),
            _ => Self::Many(Some(many)),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_holds_what_a_vector_holds(steps in proptest::collection::vec((0_u8..4, 0_usize..4), 0..40)) {
            let (mut few, mut many) = (Few::NONE, Vec::new());
            for (number, (step, at)) in steps.into_iter().enumerate() {
                match step {
                    0 | 1 => {
                        few.push(number);
                        many.push(number);
                    }
                    2 => {
                        let expected = (at < many.len()).then(|| many.remove(at));
                        prop_assert_eq!(few.take(at), expected);
                    }
                    _ => {
                        few.retain(|one| one % 4 != at);
                        many.retain(|one| one % 4 != at);
                    }
                }
                prop_assert_eq!(few.as_slice(), many.as_slice());
                prop_assert_eq!(matches!(few, Few::One(_)), many.len() == 1);
            }
        }
    }
}

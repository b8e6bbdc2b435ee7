//! A table whose places are used again, with ids that go stale.

use core::fmt;
use core::num::NonZeroU64;

/// A place in a [`Slab`], and which of its occupants is meant: the index above the generation, in one number.
/// The generation is odd, as nobody has the key of a place that is free.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Key(NonZeroU64);

impl Key {
    /// Names nobody: no occupant has it.
    pub(crate) const NOBODY: Self = Self(NonZeroU64::MAX);

    /// `generation` is odd.
    #[inline]
    fn new(index: u32, generation: u32) -> Self {
        Self(NonZeroU64::MIN | (u64::from(index) << 32 | u64::from(generation)))
    }

    /// The place.
    #[inline]
    pub(crate) const fn index(self) -> u32 {
        (self.0.get() >> 32) as u32
    }

    #[inline]
    const fn generation(self) -> u32 {
        self.0.get() as u32
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.index(), self.generation())
    }
}

/// No place.
const NONE: u32 = u32::MAX;

#[derive(Clone, Debug)]
struct Place<T> {
    /// Odd while it is taken, so that one comparison tells a key that is good.
    generation: u32,
    /// While it is free: the one that is used after it.
    next: u32,
    /// While it is free: what is left of the last one.
    occupant: T,
}

impl<T> Place<T> {
    const fn is_taken(&self) -> bool {
        self.generation % 2 == 1
    }
}

/// Grows to the highest number of occupants ever seen at once; whoever uses it has the cap. What is
/// removed stays in its place until that is used again: for plain values, which own nothing.
#[derive(Clone, Debug)]
pub(crate) struct Slab<T> {
    places: Vec<Place<T>>,
    /// The free place that is used next.
    free: u32,
    len: usize,
}

impl<T> Slab<T> {
    pub(crate) const fn new() -> Self {
        Self { places: Vec::new(), free: NONE, len: 0 }
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    #[inline(always)]
    #[expect(clippy::inline_always, reason = "a few instructions of every call")]
    pub(crate) fn insert(&mut self, occupant: T) -> Key {
        self.len += 1;
        let index = self.free;
        if let Some(place) = self.places.get_mut(index as usize) {
            self.free = place.next;
            place.generation = place.generation.wrapping_add(1);
            place.occupant = occupant;
            return Key::new(index, place.generation);
        }
        let index = u32::try_from(self.places.len()).unwrap_or(NONE);
        self.places.push(Place { generation: 1, next: NONE, occupant });
        Key::new(index, 1)
    }

    /// What was there; `None` for a key that is stale or foreign.
    pub(crate) fn remove(&mut self, key: Key) -> Option<&mut T> {
        let place = self.places.get_mut(key.index() as usize)?;
        if place.generation != key.generation() {
            return None;
        }
        place.generation = place.generation.wrapping_add(1);
        place.next = std::mem::replace(&mut self.free, key.index());
        self.len -= 1;
        Some(&mut place.occupant)
    }

    /// `None` for a key that is stale or foreign.
    pub(crate) fn get(&self, key: Key) -> Option<&T> {
        let place = self.places.get(key.index() as usize)?;
        (place.generation == key.generation()).then_some(&place.occupant)
    }

    /// `None` for a key that is stale or foreign.
    pub(crate) fn get_mut(&mut self, key: Key) -> Option<&mut T> {
        let place = self.places.get_mut(key.index() as usize)?;
        (place.generation == key.generation()).then_some(&mut place.occupant)
    }

    /// Who is at this place now.
    pub(crate) fn key_at(&self, index: u32) -> Option<Key> {
        self.at(index).map(|(key, _)| key)
    }

    /// Who is at this place now, and what is known of it.
    pub(crate) fn at(&self, index: u32) -> Option<(Key, &T)> {
        let place = self.places.get(index as usize)?;
        place.is_taken().then(|| (Key::new(index, place.generation), &place.occupant))
    }

    /// The places without an occupant, the one that is used next in front.
    #[cfg(test)]
    pub(crate) fn free_places(&self) -> impl Iterator<Item = u32> {
        let free = |index: u32| self.places.get(index as usize).map(|place| (index, place.next));
        std::iter::successors(free(self.free), move |(_, next)| free(*next)).map(|(index, _)| index)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (Key, &T)> + Clone {
        (0u32..)
            .zip(&self.places)
            .filter(|(_, place)| place.is_taken())
            .map(|(index, place)| (Key::new(index, place.generation), &place.occupant))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Against a map: keys of those who left, and keys of other tables, name nobody.
        #[test]
        fn equals_a_map(inputs in prop::collection::vec((0..3u8, any::<prop::sample::Index>()), 0..200)) {
            let (mut slab, mut model, mut stale) = (Slab::new(), BTreeMap::new(), Vec::new());
            for (number, (what, pick)) in inputs.into_iter().enumerate() {
                if what > 0 || model.is_empty() {
                    let key = slab.insert(number);
                    prop_assert_eq!(model.insert(key, number), None, "a key is given out once");
                } else {
                    let key = *model.keys().nth(pick.index(model.len())).unwrap();
                    prop_assert_eq!(slab.remove(key).copied(), model.remove(&key));
                    stale.push(key);
                }
                prop_assert_eq!(slab.len(), model.len());
                let known: BTreeMap<Key, usize> = slab.iter().map(|(key, at)| (key, *at)).collect();
                prop_assert_eq!(&known, &model);
                for (key, at) in &mut model {
                    prop_assert_eq!(slab.get(*key), Some(&*at));
                    prop_assert_eq!(slab.get_mut(*key), Some(at));
                    prop_assert_eq!(slab.key_at(key.index()), Some(*key));
                }
                for key in stale.iter().copied().chain([Key::NOBODY]) {
                    prop_assert_eq!(slab.get(key), None);
                    prop_assert_eq!(slab.get_mut(key), None);
                    prop_assert_eq!(slab.remove(key), None);
                }
                // Any key that some table may give out.
                for place in 0..=slab.places.len() as u32 {
                    let taken = slab.key_at(place);
                    for generation in (1..12).step_by(2) {
                        let key = Key::new(place, generation);
                        prop_assert_eq!(slab.get(key).is_some(), taken == Some(key));
                    }
                }
            }
        }
    }
}

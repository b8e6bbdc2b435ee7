//! A table whose places are used again, with ids that go stale.

/// A place in a [`Slab`], and which of its occupants is meant.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) struct Key {
    pub(crate) index: u32,
    pub(crate) generation: u32,
}

impl Key {
    /// Names nobody: no occupant has it.
    pub(crate) const NOBODY: Self = Self { index: u32::MAX, generation: u32::MAX };
}

#[derive(Clone, Debug)]
struct Place<T> {
    generation: u32,
    occupant: Option<T>,
}

/// Grows to the highest number of occupants ever seen at once; whoever uses it has the cap.
#[derive(Clone, Debug)]
pub(crate) struct Slab<T> {
    places: Vec<Place<T>>,
    free: Vec<u32>,
}

impl<T> Slab<T> {
    pub(crate) const fn new() -> Self {
        Self { places: Vec::new(), free: Vec::new() }
    }

    pub(crate) fn len(&self) -> usize {
        self.places.len() - self.free.len()
    }

    pub(crate) fn insert(&mut self, occupant: T) -> Key {
        if let Some(index) = self.free.pop()
            && let Some(place) = self.places.get_mut(index as usize)
        {
            place.occupant = Some(occupant);
            return Key { index, generation: place.generation };
        }
        let index = u32::try_from(self.places.len()).unwrap_or(u32::MAX);
        self.places.push(Place { generation: 0, occupant: Some(occupant) });
        Key { index, generation: 0 }
    }

    pub(crate) fn remove(&mut self, key: Key) -> Option<T> {
        let place = self.places.get_mut(key.index as usize)?;
        if place.generation != key.generation {
            return None;
        }
        let occupant = place.occupant.take()?;
        place.generation = place.generation.wrapping_add(1);
        self.free.push(key.index);
        Some(occupant)
    }

    /// `None` for a key that is stale or foreign.
    pub(crate) fn get(&self, key: Key) -> Option<&T> {
        let place = self.places.get(key.index as usize)?;
        if place.generation == key.generation { place.occupant.as_ref() } else { None }
    }

    /// `None` for a key that is stale or foreign.
    pub(crate) fn get_mut(&mut self, key: Key) -> Option<&mut T> {
        let place = self.places.get_mut(key.index as usize)?;
        if place.generation == key.generation { place.occupant.as_mut() } else { None }
    }

    /// Who is at this place now.
    pub(crate) fn key_at(&self, index: u32) -> Option<Key> {
        let place = self.places.get(index as usize)?;
        place.occupant.as_ref().map(|_| Key { index, generation: place.generation })
    }

    /// The places without an occupant, the one that is used next in front.
    #[cfg(test)]
    pub(crate) fn free_places(&self) -> impl Iterator<Item = u32> {
        self.free.iter().rev().copied()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (Key, &T)> + Clone {
        (0u32..).zip(&self.places).filter_map(|(index, place)| {
            let key = Key { index, generation: place.generation };
            place.occupant.as_ref().map(|occupant| (key, occupant))
        })
    }
}

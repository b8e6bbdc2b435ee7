//! Many timers, one deadline: an indexed binary heap over the places of a table.
//!
//! Armed lazily: each place keeps the earliest time that any of its occupants asked for. When it
//! fires, the owner looks again at what is really due and arms it anew. A call that ends early
//! therefore touches the heap only when it was the first to use its place.

use crate::time::Instant;

#[derive(Clone, Copy, Debug)]
struct Entry {
    at: Instant,
    place: u32,
}

#[derive(Clone, Copy, Debug)]
struct Place {
    /// When it fires; [`Instant::MAX`]: it is not armed.
    at: Instant,
    /// Where in the heap it stands.
    position: u32,
}

impl Place {
    const NOT_ARMED: Self = Self { at: Instant::MAX, position: u32::MAX };
}

/// At most one time for each place.
#[derive(Clone, Debug)]
pub(crate) struct Timers {
    /// The earliest time of all; [`Instant::MAX`]: there is none.
    first: Instant,
    heap: Vec<Entry>,
    places: Vec<Place>,
}

impl Timers {
    pub(crate) const fn new() -> Self {
        Self { first: Instant::MAX, heap: Vec::new(), places: Vec::new() }
    }

    /// The earliest time of all.
    pub(crate) fn first(&self) -> Option<Instant> {
        (self.first < Instant::MAX).then_some(self.first)
    }

    /// Whose time the earliest is, if it is this one.
    pub(crate) fn first_place(&self, at: Instant) -> Option<u32> {
        self.heap.first().filter(|entry| entry.at == at).map(|entry| entry.place)
    }

    /// Makes sure that `place` fires at `at` or earlier. Whether it does so earlier than before.
    #[inline]
    pub(crate) fn arm(&mut self, place: u32, at: Instant) -> bool {
        let armed = self.places.get(place as usize).map_or(Instant::MAX, |place| place.at);
        let earlier = at < armed;
        if earlier {
            self.arm_earlier(place, at);
        }
        earlier
    }

    #[inline(never)]
    fn arm_earlier(&mut self, place: u32, at: Instant) {
        let slot = place as usize;
        if self.places.len() <= slot {
            self.places.resize(slot + 1, Place::NOT_ARMED);
        }
        let Some(known) = self.places.get_mut(slot) else { return };
        known.at = at;
        let stands = known.position as usize;
        if let Some(entry) = self.heap.get_mut(stands) {
            entry.at = at;
            self.rise(stands);
        } else {
            self.heap.push(Entry { at, place });
            let last = self.heap.len() - 1;
            self.note(last);
            self.rise(last);
        }
        self.first = self.at(0);
    }

    /// A place whose time has come; it is armed no more.
    pub(crate) fn pop_due(&mut self, now: Instant) -> Option<u32> {
        let Entry { at, place } = *self.heap.first()?;
        if now < at {
            return None;
        }
        self.heap.swap_remove(0);
        if let Some(known) = self.places.get_mut(place as usize) {
            *known = Place::NOT_ARMED;
        }
        if !self.heap.is_empty() {
            self.note(0);
            self.sink(0);
        }
        self.first = self.at(0);
        Some(place)
    }

    /// When `place` fires.
    #[cfg(test)]
    pub(crate) fn armed(&self, place: u32) -> Option<Instant> {
        let at = self.places.get(place as usize)?.at;
        (at < Instant::MAX).then_some(at)
    }

    fn at(&self, index: usize) -> Instant {
        self.heap.get(index).map_or(Instant::MAX, |entry| entry.at)
    }

    /// Writes down where the entry at `index` stands.
    fn note(&mut self, index: usize) {
        if let Some(entry) = self.heap.get(index)
            && let Some(place) = self.places.get_mut(entry.place as usize)
        {
            place.position = index as u32;
        }
    }

    fn swap(&mut self, a: usize, b: usize) {
        self.heap.swap(a, b);
        self.note(a);
        self.note(b);
    }

    fn rise(&mut self, mut index: usize) {
        while index > 0 {
            let parent = (index - 1) / 2;
            if self.at(parent) <= self.at(index) {
                return;
            }
            self.swap(parent, index);
            index = parent;
        }
    }

    fn sink(&mut self, mut index: usize) {
        loop {
            let (left, right) = (2 * index + 1, 2 * index + 2);
            let child = if self.at(right) < self.at(left) { right } else { left };
            if child >= self.heap.len() || self.at(index) <= self.at(child) {
                return;
            }
            self.swap(index, child);
            index = child;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Against the plainest thing that could work: one time per place, the smallest wins.
        #[test]
        fn fires_in_order_and_never_late(inputs in prop::collection::vec((0..12u32, 0..40u64, any::<bool>()), 0..200)) {
            let (mut timers, mut model) = (Timers::new(), std::collections::BTreeMap::new());
            for (place, at, fire) in inputs {
                let at = Instant::from_nanos(at);
                if fire {
                    while let Some(place) = timers.pop_due(at) {
                        let earliest = model.values().min().copied();
                        let armed = model.remove(&place);
                        prop_assert!(armed.is_some() && armed == earliest);
                    }
                    prop_assert!(model.values().all(|armed| *armed > at));
                } else {
                    timers.arm(place, at);
                    model.entry(place).and_modify(|armed| *armed = at.min(*armed)).or_insert(at);
                }
                prop_assert_eq!(timers.first(), model.values().min().copied());
            }
        }
    }
}

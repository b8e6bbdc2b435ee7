//! Buckets by key, in a fixed number of bytes.

/// Slots that share a place: a cache line of tags.
const WAYS: usize = 8;

/// Bytes of a tag. With the place that a slot has, some 60 bits of the key's hash.
const TAG: usize = 6;

/// Bytes of a slot: tag and state.
pub(super) const SLOT: usize = TAG + size_of::<u64>();

/// Buckets, found by a hash of their key.
///
/// Each key has two places of eight slots. A slot whose bucket is full again is as good as empty: a
/// fresh bucket is full, too, so that nothing changes by forgetting it. A bucket that is not full is
/// never given up.
#[derive(Clone, Debug)]
pub(super) struct Table {
    tags: Box<[[u8; TAG]]>,
    /// When the bucket is full again.
    states: Box<[u64]>,
}

/// Where a bucket is, or may be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Slot(usize);

impl Table {
    /// A table of as many slots as fit into these bytes; some at least. The memory is taken page by
    /// page as it is used.
    pub(super) fn new(bytes: usize) -> Self {
        let slots = (bytes / SLOT / WAYS).max(2) * WAYS;
        Self { tags: vec![[0; TAG]; slots].into(), states: vec![0; slots].into() }
    }

    /// Slots.
    pub(super) fn len(&self) -> usize {
        self.states.len()
    }

    /// The slot of a key: its own, or one that is as good as empty and not `taken`. `now`, like the
    /// states, counts units. `None`: its places are full of buckets that are in use.
    pub(super) fn find(&mut self, hash: u64, now: u64, taken: &[Option<Slot>]) -> Option<Slot> {
        let tag = tag(hash);
        let first = self.first_place(hash);
        let second = self.other_place(tag, first);
        let own = |place: usize| {
            slots(place)
                .find(|slot| self.tags.get(slot.0) == Some(&tag) && !taken.contains(&Some(*slot)))
        };
        if let Some(slot) = own(first).or_else(|| own(second)) {
            return Some(slot);
        }
        // The emptier one of the two.
        let [a, b] = [first, second].map(|place| self.free(place, now, taken).count());
        let place = if a >= b { first } else { second };
        if a + b > 0 {
            return self.free(place, now, taken).next();
        }
        // So a table fills up almost whole before any key is left out.
        // https://doi.org/10.1145/2674005.2674994
        slots(first).chain(slots(second)).find(|slot| self.make_room(*slot, now, taken))
    }

    /// Moves a bucket to the other place of its key, if there is room.
    fn make_room(&mut self, slot: Slot, now: u64, taken: &[Option<Slot>]) -> bool {
        let (Some(tag), Some(state)) = (self.tags.get(slot.0), self.states.get(slot.0)) else {
            return false;
        };
        let (tag, state) = (*tag, *state);
        if taken.contains(&Some(slot)) {
            return false;
        }
        let other = self.other_place(tag, slot.0 / WAYS * WAYS);
        let Some(free) = self.free(other, now, taken).next() else { return false };
        self.write(free, tag, state);
        self.write(slot, [0; TAG], 0);
        true
    }

    /// The slots of a place that are as good as empty.
    fn free(&self, place: usize, now: u64, taken: &[Option<Slot>]) -> impl Iterator<Item = Slot> {
        slots(place).filter(move |slot| {
            self.states.get(slot.0).is_some_and(|state| *state <= now)
                && !taken.contains(&Some(*slot))
        })
    }

    /// When the bucket of this key will be full, if this is its slot; else a fresh one's.
    pub(super) fn get(&self, slot: Slot, hash: u64) -> u64 {
        match (self.tags.get(slot.0), self.states.get(slot.0)) {
            (Some(known), Some(state)) if *known == tag(hash) => *state,
            _ => 0,
        }
    }

    /// Keeps a bucket.
    pub(super) fn set(&mut self, slot: Slot, hash: u64, full_at: u64) {
        self.write(slot, tag(hash), full_at);
    }

    fn write(&mut self, slot: Slot, tag: [u8; TAG], state: u64) {
        if let (Some(old_tag), Some(old_state)) =
            (self.tags.get_mut(slot.0), self.states.get_mut(slot.0))
        {
            (*old_tag, *old_state) = (tag, state);
        }
    }

    /// Buckets that are not full at `now`. Looks at every slot.
    pub(super) fn in_use(&self, now: u64) -> usize {
        self.states.iter().filter(|state| **state > now).count()
    }

    /// The first slot of the place where a key is looked for first.
    fn first_place(&self, hash: u64) -> usize {
        self.scale(hash) * WAYS
    }

    /// The first slot of the other place of a key. It depends on the tag alone, so that a bucket can
    /// be moved by those who do not know its key, and back.
    fn other_place(&self, tag: [u8; TAG], place: usize) -> usize {
        let mut bytes = [0; 8];
        bytes[..TAG].copy_from_slice(&tag);
        let sum = self.scale(u64::from_le_bytes(bytes).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let (place, places) = (place / WAYS, self.states.len() / WAYS);
        (if sum >= place { sum - place } else { sum + places - place }) * WAYS
    }

    /// The number of a place.
    fn scale(&self, hash: u64) -> usize {
        let places = (self.states.len() / WAYS) as u64;
        // https://lemire.me/blog/2016/06/27/a-fast-alternative-to-the-modulo-reduction/
        usize::try_from((u128::from(hash) * u128::from(places)) >> 64).unwrap_or_default()
    }
}

/// The slots of a place.
fn slots(place: usize) -> impl Iterator<Item = Slot> {
    (place..place + WAYS).map(Slot)
}

/// Low bits of the hash; never all zero, which is what empty slots have.
fn tag(hash: u64) -> [u8; TAG] {
    let bytes = hash.to_le_bytes();
    let mut tag = [0; TAG];
    tag.copy_from_slice(&bytes[..TAG]);
    if tag == [0; TAG] {
        tag[0] = 1;
    }
    tag
}

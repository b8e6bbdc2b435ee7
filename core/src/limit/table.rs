//! Buckets by key, in a fixed number of bytes.

/// Slots that share a place: a cache line of states.
const WAYS: usize = 8;

/// Bytes of a tag. With the place that a slot has, some 60 bits of the key's hash.
const TAG: usize = 6;

/// Bytes of a slot: tag and state.
pub(super) const SLOT: usize = TAG + size_of::<u64>();

type Tag = [u8; TAG];

/// Buckets, found by a hash of their key.
///
/// Each key has two places of eight slots. A slot whose bucket is full again is as good as empty: a
/// fresh bucket is full, too, so that nothing changes by forgetting it. A bucket that is not full is
/// never given up.
#[derive(Clone, Debug)]
pub(super) struct Table {
    tags: Box<[[Tag; WAYS]]>,
    /// When the bucket is full again.
    states: Box<[[u64; WAYS]]>,
}

/// Where a bucket is, or may be, and whose.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Slot {
    place: usize,
    way: usize,
    tag: Tag,
}

impl Table {
    /// A table of as many slots as fit into these bytes; some at least. The memory is taken page by
    /// page as it is used.
    pub(super) fn new(bytes: usize) -> Self {
        let places = (bytes / SLOT / WAYS).max(2);
        Self { tags: vec![[[0; TAG]; WAYS]; places].into(), states: vec![[0; WAYS]; places].into() }
    }

    /// Slots.
    pub(super) fn len(&self) -> usize {
        self.states.len() * WAYS
    }

    /// The slot of a key, and when its bucket is full: its own, or one that is as good as empty.
    /// `now`, like the states, counts units. `None`: its places are full of buckets that are in use.
    #[inline]
    pub(super) fn find(&mut self, hash: u64, now: u64) -> Option<(Slot, u64)> {
        let tag = tag(hash);
        let first = self.scale(hash);
        if let Some(found) = self.own(first, tag) {
            return Some(found);
        }
        let second = self.other_place(tag, first);
        if let Some(found) = self.own(second, tag) {
            return Some(found);
        }
        let (place, way) = self.room(first, second, now)?;
        Some((Slot { place, way, tag }, 0))
    }

    #[inline]
    fn own(&self, place: usize, tag: Tag) -> Option<(Slot, u64)> {
        let way = self.tags.get(place)?.iter().position(|known| *known == tag)?;
        Some((Slot { place, way, tag }, *self.states.get(place)?.get(way)?))
    }

    /// A slot for a new key.
    #[inline(never)]
    fn room(&mut self, first: usize, second: usize, now: u64) -> Option<(usize, usize)> {
        let free = |place: usize| {
            let states = self.states.get(place).map(|states| &states[..]).unwrap_or_default();
            let count = states.iter().filter(|state| **state <= now).count();
            (count, states.iter().position(|state| *state <= now).map(|way| (place, way)))
        };
        // The emptier one of the two.
        let ((a, in_first), (b, in_second)) = (free(first), free(second));
        let found = if a >= b { in_first } else { in_second };
        if found.is_some() {
            return found;
        }
        // So a table fills up almost whole before any key is left out.
        // https://doi.org/10.1145/2674005.2674994
        let mut ways = [first, second].into_iter().flat_map(|at| (0..WAYS).map(move |w| (at, w)));
        ways.find(|(place, way)| self.move_away(*place, *way, now))
    }

    /// Moves a bucket to the other place of its key, if there is room.
    fn move_away(&mut self, place: usize, way: usize, now: u64) -> bool {
        let tag = self.tags.get(place).and_then(|tags| tags.get(way)).copied();
        let state = self.states.get(place).and_then(|states| states.get(way)).copied();
        let (Some(tag), Some(state)) = (tag, state) else { return false };
        let other = self.other_place(tag, place);
        let states = self.states.get(other);
        let Some(free) = states.and_then(|states| states.iter().position(|state| *state <= now))
        else {
            return false;
        };
        self.set(Slot { place: other, way: free, tag }, state);
        self.set(Slot { place, way, tag: [0; TAG] }, 0);
        true
    }

    /// Keeps a bucket.
    #[inline]
    pub(super) fn set(&mut self, slot: Slot, full_at: u64) {
        let tag = self.tags.get_mut(slot.place).and_then(|tags| tags.get_mut(slot.way));
        let state = self.states.get_mut(slot.place).and_then(|states| states.get_mut(slot.way));
        if let (Some(tag), Some(state)) = (tag, state) {
            (*tag, *state) = (slot.tag, full_at);
        }
    }

    /// Buckets that are not full at `now`. Looks at every slot.
    pub(super) fn in_use(&self, now: u64) -> usize {
        self.states.as_flattened().iter().filter(|state| **state > now).count()
    }

    /// The other place of a key. It depends on the tag alone, so that a bucket can be moved by those
    /// who do not know its key, and back.
    fn other_place(&self, tag: Tag, place: usize) -> usize {
        let mut bytes = [0; 8];
        bytes[..TAG].copy_from_slice(&tag);
        let sum = self.scale(u64::from_le_bytes(bytes).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        if sum >= place { sum - place } else { sum + self.states.len() - place }
    }

    /// A place, by the high bits.
    fn scale(&self, hash: u64) -> usize {
        // https://lemire.me/blog/2016/06/27/a-fast-alternative-to-the-modulo-reduction/
        let places = self.states.len() as u64;
        usize::try_from((u128::from(hash) * u128::from(places)) >> 64).unwrap_or_default()
    }
}

/// Low bits of the hash; never all zero, which is what empty slots have.
fn tag(hash: u64) -> Tag {
    let bytes = hash.to_le_bytes();
    let mut tag = [0; TAG];
    tag.copy_from_slice(&bytes[..TAG]);
    if tag == [0; TAG] {
        tag[0] = 1;
    }
    tag
}

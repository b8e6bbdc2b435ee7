//! Buckets by key, in a fixed number of bytes.

/// Slots that share a place: a cache line of states.
const WAYS: usize = 8;

/// Bytes of a tag. With the place that a slot has, some 60 bits of the key's hash.
const TAG: usize = 6;

/// Bytes of a slot: tag and state.
const SLOT: usize = TAG + size_of::<u64>();

/// Places of a table, at most.
const MOST: usize = u32::MAX as usize;

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
    place: u32,
    way: u8,
    tag: Tag,
}

/// What a place has to give.
struct Free {
    way: Option<u8>,
    count: usize,
}

impl Table {
    /// A table of as many slots as fit into these bytes; some at least. The memory is taken page by
    /// page as it is used.
    pub(super) fn new(bytes: usize) -> Self {
        let places = (bytes / SLOT / WAYS).clamp(2, MOST);
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
        let found = self.own(first, tag);
        if found.is_some() {
            return found;
        }
        let second = self.other_place(tag, first);
        self.own(second, tag).or_else(|| Some((self.room(first, second, tag, now)?, 0)))
    }

    #[inline]
    fn own(&self, place: u32, tag: Tag) -> Option<(Slot, u64)> {
        let tags = self.tags.get(place as usize)?;
        let way = (0..).zip(tags).find(|(_, known)| **known == tag)?.0;
        let state = self.states.get(place as usize)?.get(usize::from(way))?;
        Some((Slot { place, way, tag }, *state))
    }

    /// A slot for a new key.
    #[inline(never)]
    fn room(&mut self, first: u32, second: u32, tag: Tag, now: u64) -> Option<Slot> {
        let (a, b) = (self.free(first, now), self.free(second, now));
        // The emptier one of the two.
        let found = match (a.count, b.count) {
            (0, 0) => None,
            (in_first, in_second) if in_first >= in_second => a.way.map(|way| (first, way)),
            _ => b.way.map(|way| (second, way)),
        };
        // So a table fills up almost whole before any key is left out.
        // https://doi.org/10.1145/2674005.2674994
        let (place, way) = found.or_else(|| {
            let mut all =
                [first, second].into_iter().flat_map(|at| (0..WAYS as u8).map(move |w| (at, w)));
            all.find(|(place, way)| self.move_away(*place, *way, now))
        })?;
        Some(Slot { place, way, tag })
    }

    /// Moves a bucket to the other place of its key, if there is room.
    fn move_away(&mut self, place: u32, way: u8, now: u64) -> bool {
        let (at, column) = (place as usize, usize::from(way));
        let tag = self.tags.get(at).and_then(|tags| tags.get(column)).copied();
        let state = self.states.get(at).and_then(|states| states.get(column)).copied();
        let (Some(tag), Some(state)) = (tag, state) else { return false };
        let other = self.other_place(tag, place);
        let Some(free) = self.free(other, now).way else { return false };
        self.set(Slot { place: other, way: free, tag }, state);
        self.set(Slot { place, way, tag: [0; TAG] }, 0);
        true
    }

    /// The slots of a place that are as good as empty.
    fn free(&self, place: u32, now: u64) -> Free {
        let states = self.states.get(place as usize).map(|states| &states[..]).unwrap_or_default();
        let mut free = (0..).zip(states).filter(|(_, state)| **state <= now).map(|(way, _)| way);
        let way = free.next();
        Free { way, count: free.count() + usize::from(way.is_some()) }
    }

    /// Keeps a bucket.
    #[inline]
    pub(super) fn set(&mut self, slot: Slot, full_at: u64) {
        let (place, way) = (slot.place as usize, usize::from(slot.way));
        let tag = self.tags.get_mut(place).and_then(|tags| tags.get_mut(way));
        let state = self.states.get_mut(place).and_then(|states| states.get_mut(way));
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
    fn other_place(&self, tag: Tag, place: u32) -> u32 {
        let mut bytes = [0; 8];
        bytes[..TAG].copy_from_slice(&tag);
        let sum = self.scale(u64::from_le_bytes(bytes).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        if sum >= place { sum - place } else { sum + (self.states.len() as u32 - place) }
    }

    /// A place, by the high bits.
    fn scale(&self, hash: u64) -> u32 {
        // https://lemire.me/blog/2016/06/27/a-fast-alternative-to-the-modulo-reduction/
        ((u128::from(hash) * self.states.len() as u128) >> 64) as u32
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

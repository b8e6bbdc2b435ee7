//! Buckets by key, in a fixed number of bytes.

/// Slots that share a place.
const WAYS: usize = 8;

/// Bytes of a tag. With the place that a slot has, some 60 bits of the key's hash.
const TAG: usize = 6;

/// Bytes of a slot: tag and state.
const SLOT: usize = TAG + size_of::<u64>();

/// Bytes of the tags of a place; its states come behind them. Both in one piece, so that who looks for a
/// client waits for one part of the memory.
const TAGS: usize = TAG * WAYS;

/// Places of a table, at most.
const MOST: usize = u32::MAX as usize;

type Tag = [u8; TAG];

/// The tags of its slots, and when the bucket of each is full again.
type Place = [u8; SLOT * WAYS];

/// Buckets, found by a hash of their key.
///
/// Each key has two places of eight slots. A slot whose bucket is full again is as good as empty: a
/// fresh bucket is full, too, so that nothing changes by forgetting it. A bucket that is not full is
/// never given up.
#[derive(Clone, Debug)]
pub(super) struct Table {
    /// Bytes, as memory full of zeros is taken from the system as it is.
    places: Box<[Place]>,
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
        Self { places: vec![[0; SLOT * WAYS]; places].into() }
    }

    /// Slots.
    pub(super) fn len(&self) -> usize {
        self.places.len() * WAYS
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
        let slots = self.places.get(place as usize)?;
        let way = (0..).zip(tags(slots)).find(|(_, known)| **known == tag)?.0;
        let state = states(slots).get(usize::from(way))?;
        Some((Slot { place, way, tag }, u64::from_le_bytes(*state)))
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
        let slots = self.places.get(place as usize);
        let tag = slots.and_then(|slots| tags(slots).get(usize::from(way))).copied();
        let state = slots.and_then(|slots| states(slots).get(usize::from(way))).copied();
        let (Some(tag), Some(state)) = (tag, state) else { return false };
        let state = u64::from_le_bytes(state);
        let other = self.other_place(tag, place);
        let Some(free) = self.free(other, now).way else { return false };
        self.set(Slot { place: other, way: free, tag }, state);
        self.set(Slot { place, way, tag: [0; TAG] }, 0);
        true
    }

    /// The slots of a place that are as good as empty.
    fn free(&self, place: u32, now: u64) -> Free {
        let states = self.places.get(place as usize).map(states).unwrap_or_default();
        let free = (0..).zip(states).filter(|(_, state)| u64::from_le_bytes(**state) <= now);
        let mut free = free.map(|(way, _)| way);
        let way = free.next();
        Free { way, count: free.count() + usize::from(way.is_some()) }
    }

    /// Keeps a bucket.
    #[inline]
    pub(super) fn set(&mut self, slot: Slot, full_at: u64) {
        let Some(slots) = self.places.get_mut(slot.place as usize) else { return };
        let (tags, states) = slots.split_at_mut(TAGS);
        let tag = tags.as_chunks_mut().0.get_mut(usize::from(slot.way));
        let state = states.as_chunks_mut().0.get_mut(usize::from(slot.way));
        if let (Some(tag), Some(state)) = (tag, state) {
            (*tag, *state) = (slot.tag, full_at.to_le_bytes());
        }
    }

    /// Buckets that are not full at `now`. Looks at every slot.
    pub(super) fn in_use(&self, now: u64) -> usize {
        let states = self.places.iter().flat_map(states);
        states.filter(|state| u64::from_le_bytes(**state) > now).count()
    }

    /// The other place of a key. It depends on the tag alone, so that a bucket can be moved by those
    /// who do not know its key, and back.
    fn other_place(&self, tag: Tag, place: u32) -> u32 {
        let mut bytes = [0; 8];
        bytes[..TAG].copy_from_slice(&tag);
        let sum = self.scale(u64::from_le_bytes(bytes).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        if sum >= place { sum - place } else { sum + (self.places.len() as u32 - place) }
    }

    /// A place, by the high bits.
    fn scale(&self, hash: u64) -> u32 {
        // https://lemire.me/blog/2016/06/27/a-fast-alternative-to-the-modulo-reduction/
        ((u128::from(hash) * self.places.len() as u128) >> 64) as u32
    }
}

fn tags(place: &Place) -> &[Tag] {
    place.split_at(TAGS).0.as_chunks().0
}

fn states(place: &Place) -> &[[u8; size_of::<u64>()]] {
    place.split_at(TAGS).1.as_chunks().0
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

//! Buckets by key, in a fixed number of bytes.

use wide::u32x4;

/// Bytes of a cache line.
const LINE: usize = 64;

/// Words of a place: it is a cache line.
const WORDS: usize = LINE / size_of::<u64>();

/// Slots that share a place.
const WAYS: usize = 5;

/// Buckets of a place that are moved for the sake of one that is moved there. Each is one more line to
/// look at, under the lock, while a table is full and strangers ask.
const DEEPER: u8 = 2;

/// Where in a place its states start. The tags are in front of them, two in a word.
const STATES: usize = WAYS.div_ceil(2);

/// Places of a table, at most.
const MOST: usize = u32::MAX as usize;

/// One place: five tags of 32 bits, and five states, which say when the bucket is full again.
type Place = [u64; WORDS];

/// Buckets, found by a hash of their key.
///
/// Each key has two places of five slots; its tag and either place are some 50 bits of its hash. A slot
/// whose bucket is full again is as good as empty: a fresh bucket is full, too, so that nothing changes
/// by forgetting it. A bucket that is not full is never given up.
#[derive(Clone, Debug)]
pub(super) struct Table {
    words: Box<[u64]>,
    /// Words in front of the first cache line.
    skip: usize,
    places: u32,
}

/// Where a bucket is, or may be, and whose.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Slot {
    place: u32,
    way: u8,
    tag: u32,
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
        let places = (bytes / LINE).clamp(2, MOST);
        let words = vec![0; (places + 1) * WORDS].into_boxed_slice();
        // Wherever the memory is, each place is one line of the cache, not parts of two.
        let skip = words.as_ptr().align_offset(LINE).min(WORDS);
        Self { words, skip, places: places as u32 }
    }

    /// Slots.
    pub(super) fn len(&self) -> usize {
        self.places as usize * WAYS
    }

    /// The slot of a key, and when its bucket is full: its own, or one that is as good as empty.
    /// `now`, like the states, counts units. `None`: its places are full of buckets that are in use.
    #[expect(clippy::inline_always, reason = "every check is one, and what it gives is large")]
    #[inline(always)]
    pub(super) fn find(&mut self, hash: u64, now: u64) -> Option<(Slot, u64)> {
        let tag = tag(hash);
        let first = self.scale(hash);
        let second = self.other_place(tag, first);
        // Both are looked at before either is judged: two lines that are far away come at once.
        let (a, b) = (self.place(first)?, self.place(second)?);
        let found = ways(a, tag) | ways(b, tag) << WAYS;
        if found == 0 {
            return Some((self.room(first, second, tag, now)?, 0));
        }
        let at = found.trailing_zeros() as usize;
        let (place, row, way) = if at < WAYS { (first, a, at) } else { (second, b, at - WAYS) };
        let state = row.get(STATES + way)?;
        Some((Slot { place, way: way as u8, tag }, *state))
    }

    /// A slot for a new key.
    #[inline(never)]
    fn room(&mut self, first: u32, second: u32, tag: u32, now: u64) -> Option<Slot> {
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
            let moved = all.clone().find(|(place, way)| self.move_away(*place, *way, now));
            moved.or_else(|| all.find(|(place, way)| self.move_two(*place, *way, now)))
        })?;
        Some(Slot { place, way, tag })
    }

    /// Moves a bucket to the other place of its key, if there is room.
    fn move_away(&mut self, place: u32, way: u8, now: u64) -> bool {
        let Some(row) = self.place(place) else { return false };
        let (tag, state) = (tag_of(row, way), row[STATES + usize::from(way)]);
        let other = self.other_place(tag, place);
        let Some(free) = self.free(other, now).way else { return false };
        self.set(Slot { place: other, way: free, tag }, state);
        self.set(Slot { place, way, tag: 0 }, 0);
        true
    }

    /// The same where there is none, but where there is after another bucket has moved.
    fn move_two(&mut self, place: u32, way: u8, now: u64) -> bool {
        let Some(row) = self.place(place) else { return false };
        let other = self.other_place(tag_of(row, way), place);
        (0..DEEPER).any(|way| self.move_away(other, way, now)) && self.move_away(place, way, now)
    }

    /// The slots of a place that are as good as empty.
    fn free(&self, place: u32, now: u64) -> Free {
        let states = self.place(place).map(|row| &row[STATES..]).unwrap_or_default();
        let mut free = (0..).zip(states).filter(|(_, state)| **state <= now).map(|(way, _)| way);
        let way = free.next();
        Free { way, count: free.count() + usize::from(way.is_some()) }
    }

    /// Keeps a bucket.
    #[inline]
    pub(super) fn set(&mut self, slot: Slot, full_at: u64) {
        let at = self.skip + slot.place as usize * WORDS;
        let way = usize::from(slot.way);
        if let Some(row) = self.words.get_mut(at..at + WORDS)
            && way < WAYS
        {
            let shift = 32 * (way % 2);
            let other = row[way / 2] & !(u64::from(u32::MAX) << shift);
            row[way / 2] = other | u64::from(slot.tag) << shift;
            row[STATES + way] = full_at;
        }
    }

    /// Buckets that are not full at `now`. Looks at every slot.
    pub(super) fn in_use(&self, now: u64) -> usize {
        let rows = (0..self.places).filter_map(|place| self.place(place));
        rows.flat_map(|row| &row[STATES..]).filter(|state| **state > now).count()
    }

    #[inline]
    fn place(&self, place: u32) -> Option<&Place> {
        self.words.get(self.skip + place as usize * WORDS..)?.first_chunk()
    }

    /// The other place of a key. It depends on the tag alone, so that a bucket can be moved by those
    /// who do not know its key, and back.
    #[inline]
    fn other_place(&self, tag: u32, place: u32) -> u32 {
        let sum = self.scale(u64::from(tag).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        if sum >= place { sum - place } else { sum + (self.places - place) }
    }

    /// A place, by the high bits.
    #[inline]
    fn scale(&self, hash: u64) -> u32 {
        // https://lemire.me/blog/2016/06/27/a-fast-alternative-to-the-modulo-reduction/
        ((u128::from(hash) * u128::from(self.places)) >> 64) as u32
    }
}

/// The slots of a place that have this tag, a bit each.
#[inline]
fn ways(row: &Place, tag: u32) -> u32 {
    const { assert!(WAYS == 5, "four in a vector, and one") };
    let tag_of = |way| tag_of(row, way);
    let four = u32x4::new([tag_of(0), tag_of(1), tag_of(2), tag_of(3)]);
    four.simd_eq(u32x4::splat(tag)).to_bitmask() | u32::from(tag_of(4) == tag) << 4
}

#[inline]
fn tag_of(row: &Place, way: u8) -> u32 {
    (row[usize::from(way / 2)] >> (32 * (way % 2))) as u32
}

/// Low bits of the hash; never zero, which is what empty slots have.
#[inline]
fn tag(hash: u64) -> u32 {
    (hash as u32).max(1)
}

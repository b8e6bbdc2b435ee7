//! Each in its turn, as often as its weight says.

use core::cmp::Reverse;
use std::collections::BinaryHeap;

/// What a turn takes at a share of one part, in virtual time. A share is at most 65,535 * 65,536.
const TURN: u64 = 1 << 40;

/// Weighted round robin, spread as evenly as the weights allow: who has the earliest virtual deadline
/// comes next, and the higher its share, the sooner again. With even shares it is round robin.
///
/// Places are numbers that the embedder gives, such as those of a table. Every step takes logarithmic
/// time.
///
/// Earliest eligible virtual deadline first: <https://dl.acm.org/doi/10.5555/890606>
#[derive(Clone, Debug, Default)]
pub struct Turns {
    /// Virtual deadline, then the order in which they were set, then the place.
    heap: BinaryHeap<Reverse<(u64, u64, u32)>>,
    /// By place, the entry that counts, its virtual deadline and its order; the others are stale.
    current: Vec<Option<(u64, u64)>>,
    len: usize,
    /// The latest deadline of a turn that was taken.
    virtual_now: u64,
    order: u64,
}

impl Turns {
    /// Nobody has a turn.
    pub const fn new() -> Self {
        Self { heap: BinaryHeap::new(), current: Vec::new(), len: 0, virtual_now: 0, order: 0 }
    }

    /// Those that take turns.
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether nobody has a turn.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// This place takes part from now on, `share` as in [`pick`](Self::pick). Its first turn comes
    /// when its share says, so that who comes and goes gains nothing.
    pub fn insert(&mut self, place: u32, share: u64) {
        if !self.contains(place) {
            self.len += 1;
            self.set(place, self.virtual_now.saturating_add(stride(share)));
        }
    }

    /// This place takes part no more.
    pub fn remove(&mut self, place: u32) {
        if let Some(current) = self.current.get_mut(place as usize)
            && current.take().is_some()
        {
            self.len -= 1;
            self.shed();
        }
    }

    /// Whether this place takes part.
    pub fn contains(&self, place: u32) -> bool {
        self.current.get(place as usize).is_some_and(Option::is_some)
    }

    /// Whose turn it is. `avoid` is passed over if there is anyone else, and keeps its turn. `None`:
    /// nobody takes part. A turn that is [taken](Self::take) is over, and not before.
    pub fn first(&mut self, avoid: Option<u32>) -> Option<u32> {
        let first = self.peek()?;
        if avoid != Some(first) || self.len < 2 {
            return Some(first);
        }
        let kept = self.heap.pop()?;
        let second = self.peek();
        self.heap.push(kept);
        second
    }

    /// This place has its turn now, whoever's it is, and comes again as its share says beside the
    /// others: parts of 65,536, at least 1.
    pub fn take(&mut self, place: u32, share: u64) {
        let due = self.current.get(place as usize).copied().flatten();
        let Some((at, _)) = due else { return };
        self.virtual_now = self.virtual_now.max(at);
        self.set(place, at.saturating_add(stride(share)));
        self.shed();
    }

    /// Whose turn it is, which it has with that. `share` says how much a place gets from now on.
    pub fn pick(&mut self, avoid: Option<u32>, share: impl Fn(u32) -> u64) -> Option<u32> {
        let place = self.first(avoid)?;
        self.take(place, share(place));
        Some(place)
    }

    fn set(&mut self, place: u32, at: u64) {
        if self.current.len() <= place as usize {
            self.current.resize(place as usize + 1, None);
        }
        self.order += 1;
        if let Some(current) = self.current.get_mut(place as usize) {
            *current = Some((at, self.order));
        }
        self.heap.push(Reverse((at, self.order, place)));
    }

    /// The place of the earliest entry; those before it that are stale are thrown away.
    fn peek(&mut self) -> Option<u32> {
        loop {
            let Reverse(entry) = *self.heap.peek()?;
            if self.is_current(entry) {
                return Some(entry.2);
            }
            self.heap.pop();
        }
    }

    fn is_current(&self, (at, order, place): (u64, u64, u32)) -> bool {
        self.current.get(place as usize).copied().flatten() == Some((at, order))
    }

    /// Stale entries are thrown away before they are more than those that count.
    fn shed(&mut self) {
        if self.heap.len() > 2 * self.len + 8 {
            let all = core::mem::take(&mut self.heap).into_vec();
            self.heap = all.into_iter().filter(|Reverse(entry)| self.is_current(*entry)).collect();
        }
    }
}

fn stride(share: u64) -> u64 {
    (TURN / share.max(1)).max(1)
}

//! Outgoing bytes: big pieces by reference, small ones coalesced, drained as a vector of slices.

use core::cell::Cell;
use core::time::Duration;
use std::collections::VecDeque;
use std::io::IoSlice;

use bytes::{Buf, Bytes, BytesMut};

use crate::time::{Deadline, Instant, Timer};

/// Pieces up to this many bytes are copied behind one another; a copy of that size is cheaper than
/// one more slice for the kernel to walk.
const COALESCE: usize = 1024;

/// Above this many bytes a producer is asked to wait.
pub const HIGH_WATER: usize = 64 * 1024;

/// The queue of bytes that a machine wants written, in order.
///
/// It is a [`Buf`]: write [`chunks_vectored`](Buf::chunks_vectored), then [`advance`](Buf::advance)
/// by what the socket took. Advancing is the only proof of sending.
#[derive(Debug, Default)]
pub struct Outbox {
    queue: VecDeque<Bytes>,
    /// The block for small pieces. What lies beyond `end` is left of earlier ones: room to be written
    /// to, without zeros first.
    block: BytesMut,
    /// The bytes of the block that stand behind the queue.
    start: usize,
    end: usize,
    len: usize,
    drained: u64,
}

impl Outbox {
    /// An empty outbox. Allocates nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Bytes queued.
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether nothing is queued.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Whether the high-water mark is reached: a producer should wait.
    pub const fn is_full(&self) -> bool {
        self.len >= HIGH_WATER
    }

    /// Bytes drained since the outbox was made.
    pub const fn drained(&self) -> u64 {
        self.drained
    }

    /// Queues a copy of `bytes`.
    pub fn put(&mut self, bytes: &[u8]) {
        let mut piece = self.draft();
        piece.put(bytes);
        piece.finish();
    }

    /// Queues `bytes`: by reference if big, as a copy if small.
    pub fn push(&mut self, bytes: Bytes) {
        if bytes.len() <= COALESCE {
            self.put(&bytes);
            return;
        }
        if !self.tail().is_empty() {
            let mut tail = self.block.split_to(self.end).freeze();
            tail.advance(self.start);
            self.queue.push_back(tail);
            (self.start, self.end) = (0, 0);
        }
        self.len += bytes.len();
        self.queue.push_back(bytes);
    }

    /// Queues `n` in hexadecimal and a CR LF: the head of a chunk.
    pub(crate) fn put_hex_line(&mut self, n: usize) {
        let mut line = [0; 18];
        line[16] = b'\r';
        line[17] = b'\n';
        let mut at = 16;
        let mut rest = n;
        loop {
            at -= 1;
            line[at] = b"0123456789abcdef"[rest & 15];
            rest >>= 4;
            if rest == 0 {
                break;
            }
        }
        self.put(&line[at..]);
    }

    /// Starts a head, of which nothing is queued until it is [finished](Draft::finish).
    pub(crate) fn draft(&mut self) -> Draft<'_> {
        Draft { end: self.end, outbox: self }
    }

    /// Moves everything that `other` holds behind what is queued here.
    pub fn append(&mut self, other: &mut Self) {
        while let Some(piece) = other.queue.pop_front() {
            self.push(piece);
        }
        self.put(other.tail());
        other.drained = other.drained.saturating_add(other.len as u64);
        other.clear();
    }

    /// Drops what is queued: nobody will take it. [`drained`](Self::drained) stays true.
    pub fn clear(&mut self) {
        self.queue.clear();
        (self.start, self.end) = (0, 0);
        self.len = 0;
    }

    /// Whether the next small piece would have to be put into fresh memory.
    #[inline]
    pub fn lacks_block(&self) -> bool {
        self.block.capacity() == 0
    }

    /// Exchanges the memory for the small pieces for other memory: for a block that a worker's
    /// connections share, and back. What the other holds is written over. Ignored while this
    /// one holds something that is queued.
    #[inline]
    pub fn swap_block(&mut self, other: &Cell<BytesMut>) {
        if self.start == self.end {
            other.swap(Cell::from_mut(&mut self.block));
        }
    }

    /// Gives spare memory back; called when the connection goes to sleep with nothing queued.
    pub fn rest(&mut self) {
        if self.is_empty() {
            if !self.lacks_block() {
                self.block = BytesMut::new();
            }
            if self.queue.capacity() > 0 {
                self.queue = VecDeque::new();
            }
        }
    }

    fn tail(&self) -> &[u8] {
        &self.block[self.start..self.end]
    }
}

impl Buf for Outbox {
    fn remaining(&self) -> usize {
        self.len
    }

    fn chunk(&self) -> &[u8] {
        self.queue.front().map_or_else(|| self.tail(), |piece| &piece[..])
    }

    fn chunks_vectored<'a>(&'a self, dst: &mut [IoSlice<'a>]) -> usize {
        let pieces = self.queue.iter().map(|piece| &piece[..]);
        let tail = Some(self.tail()).filter(|tail| !tail.is_empty());
        let mut filled = 0;
        for (slot, piece) in dst.iter_mut().zip(pieces.chain(tail)) {
            *slot = IoSlice::new(piece);
            filled += 1;
        }
        filled
    }

    /// # Panics
    ///
    /// When `cnt` exceeds [`remaining`](Buf::remaining), as [`Buf`] prescribes.
    fn advance(&mut self, cnt: usize) {
        assert!(cnt <= self.len, "advanced past the end of the outbox");
        self.len -= cnt;
        self.drained = self.drained.saturating_add(cnt as u64);
        let mut left = cnt;
        while let Some(front) = self.queue.front_mut() {
            if left < front.len() {
                front.advance(left);
                return;
            }
            left -= front.len();
            self.queue.pop_front();
        }
        self.start += left;
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        }
    }
}

/// A head in the making, behind what an outbox has queued. Dropped unfinished, it leaves no trace.
#[derive(Debug)]
pub(crate) struct Draft<'a> {
    outbox: &'a mut Outbox,
    /// Where it ends in the block.
    end: usize,
}

/// What new room is made of, a step at a time.
static ROOM: [u8; 384] = [0; 384];

impl Draft<'_> {
    /// Appends `bytes`.
    #[inline]
    pub(crate) fn put(&mut self, bytes: &[u8]) {
        self.room(bytes.len()).copy_from_slice(bytes);
    }

    /// Appends `n` bytes, for the caller to fill.
    #[inline]
    pub(crate) fn room(&mut self, n: usize) -> &mut [u8] {
        if self.end + n > self.outbox.block.len() {
            self.grow(n);
        }
        let start = self.end;
        self.end += n;
        &mut self.outbox.block[start..self.end]
    }

    #[cold]
    fn grow(&mut self, n: usize) {
        let Outbox { block, start, end, .. } = &mut *self.outbox;
        // What the peer took from the front can be used again.
        block.advance(*start);
        *end -= *start;
        self.end -= core::mem::take(start);
        while block.len() < self.end + n {
            block.extend_from_slice(&ROOM);
        }
    }

    /// Queues the head.
    pub(crate) fn finish(self) {
        self.outbox.len += self.end - self.outbox.end;
        self.outbox.end = self.end;
    }
}

/// Watches an outbox for a peer that takes nothing: bytes queued and none drained for a while.
///
/// The watch compares totals, so that draining need not be reported to it.
#[derive(Debug)]
pub struct WriteStall {
    /// When to look: [`Instant::MAX`] while not watching.
    at: Instant,
    /// What was drained when the watch began.
    mark: u64,
}

impl Default for WriteStall {
    fn default() -> Self {
        Self::new()
    }
}

impl WriteStall {
    /// Not watching.
    pub fn new() -> Self {
        Self { at: Instant::MAX, mark: 0 }
    }

    /// Watches an outbox in which something was queued, unless it does already: what it saw then it
    /// compares when it [expires](Self::expired), and not before. So a stall is noticed within twice the
    /// time. When to look.
    #[cfg(feature = "websocket")]
    #[inline]
    pub(crate) fn watch(&mut self, outbox: &Outbox, now: Instant, after: Duration) -> Instant {
        if self.at == Instant::MAX {
            *self = Self { at: now + after, mark: outbox.drained() };
        }
        self.at
    }

    /// Looks at the outbox after anything may have been queued or drained.
    #[inline]
    pub fn observe(&mut self, outbox: &Outbox, now: Instant, after: Duration) {
        if outbox.is_empty() {
            self.at = Instant::MAX;
        } else if self.at == Instant::MAX || self.mark != outbox.drained() {
            *self = Self { at: now + after, mark: outbox.drained() };
        }
    }

    /// When to look again. `None` while nothing is queued.
    pub fn deadline(&self, outbox: &Outbox) -> Option<Deadline> {
        let watching = self.at < Instant::MAX && !outbox.is_empty();
        watching.then_some(Deadline { at: self.at, why: Timer::WriteStall })
    }

    /// Runs the timer: `true` when the peer took nothing for the whole time.
    #[must_use]
    pub fn expired(&mut self, outbox: &Outbox, now: Instant, after: Duration) -> bool {
        let stalled = self.at < Instant::MAX && self.at <= now && self.mark == outbox.drained();
        if stalled && !outbox.is_empty() {
            self.at = Instant::MAX;
            return true;
        }
        self.observe(outbox, now, after);
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn collect(outbox: &mut Outbox) -> Vec<u8> {
        let mut all = Vec::new();
        while outbox.has_remaining() {
            let chunk = outbox.chunk();
            let n = chunk.len().min(700);
            all.extend_from_slice(&chunk[..n]);
            outbox.advance(n);
        }
        all
    }

    #[test]
    fn keeps_order_over_small_and_big_pieces() {
        let mut outbox = Outbox::new();
        let mut expected = Vec::new();
        for (i, n) in (0u8..).zip([3usize, 2000, 5, 1024, 1025, 0, 9]) {
            let piece = vec![i; n];
            expected.extend_from_slice(&piece);
            outbox.push(Bytes::from(piece));
        }
        assert_eq!(outbox.len(), expected.len());
        assert_eq!(collect(&mut outbox), expected);
        assert_eq!(outbox.drained(), expected.len() as u64);
    }

    #[test]
    fn a_draft_is_queued_whole_or_not_at_all() {
        let mut outbox = Outbox::new();
        outbox.put(b"before ");
        for (pieces, finished) in [(3, false), (3, true), (700, false), (700, true)] {
            let queued = outbox.len();
            let mut draft = outbox.draft();
            for _ in 0..pieces {
                draft.put(b"ab");
                draft.room(1).fill(b'c');
            }
            if finished {
                draft.finish();
            }
            let added = if finished { 3 * pieces } else { 0 };
            assert_eq!(outbox.len(), queued + added);
        }
        outbox.put(b" after");
        let all = format!("before {} after", "abc".repeat(703));
        assert_eq!(collect(&mut outbox), all.as_bytes());
    }

    #[test]
    fn a_block_that_is_used_again_shows_nothing_of_what_it_held() {
        let mut outbox = Outbox::new();
        let shared = Cell::new(BytesMut::from(&b"of another connection"[..]));
        let (mut sent, mut drained) = (Vec::new(), Vec::new());
        for step in 0..600usize {
            match step % 40 {
                0 | 7 => outbox.draft().put(b"given up"),
                1 => {
                    let big = vec![7; COALESCE + 1];
                    sent.extend_from_slice(&big);
                    outbox.push(Bytes::from(big));
                }
                9 | 23 => outbox.swap_block(&shared),
                _ => {}
            }
            let piece = vec![(step % 251) as u8; step * 37 % 150];
            sent.extend_from_slice(&piece);
            outbox.put(&piece);
            // Sometimes all, mostly a part.
            for _ in 0..if step % 40 == 8 { usize::MAX } else { 2 } {
                let some = outbox.chunk().len().min(step * 13 % 90 + 1);
                drained.extend_from_slice(&outbox.chunk()[..some]);
                outbox.advance(some);
                if outbox.is_empty() {
                    break;
                }
            }
        }
        drained.extend(collect(&mut outbox));
        assert!(sent == drained);
    }

    #[test]
    fn only_a_block_of_which_nothing_is_queued_is_given_away() {
        let shared = Cell::new(BytesMut::with_capacity(4096));
        let mut outbox = Outbox::new();
        outbox.swap_block(&shared);
        assert!(!outbox.lacks_block());
        outbox.put(b"queued");
        outbox.swap_block(&shared);
        assert!(!outbox.lacks_block());
        outbox.push(Bytes::from(vec![7; COALESCE + 1]));
        outbox.swap_block(&shared);
        assert!(outbox.lacks_block());
        assert_eq!(outbox.len(), 6 + COALESCE + 1);
        assert!(shared.take().capacity() > 0);
    }

    #[test]
    fn a_vectored_view_shows_every_byte() {
        let mut outbox = Outbox::new();
        outbox.put(b"head");
        outbox.push(Bytes::from(vec![7; 4096]));
        outbox.put(b"tail");
        let mut slices = [IoSlice::new(&[]); 8];
        let n = outbox.chunks_vectored(&mut slices);
        assert_eq!(n, 3);
        assert_eq!(slices[..n].iter().map(|s| s.len()).sum::<usize>(), outbox.len());
    }

    #[test]
    fn a_stall_is_no_progress_for_the_whole_time() {
        let after = Duration::from_secs(1);
        let at = |s| Instant::ZERO + Duration::from_secs(s);
        let mut outbox = Outbox::new();
        let mut stall = WriteStall::new();
        outbox.put(b"abcd");
        stall.observe(&outbox, at(0), after);
        assert_eq!(stall.deadline(&outbox).map(|d| d.at), Some(at(1)));
        outbox.advance(1);
        assert!(!stall.expired(&outbox, at(1), after), "progress re-arms");
        assert!(stall.expired(&outbox, at(2), after));
        outbox.advance(3);
        assert_eq!(stall.deadline(&outbox), None);
    }
}

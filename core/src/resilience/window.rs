//! Counts of the last while.

use core::time::Duration;

use crate::time::Instant;

/// Buckets of a window: it forgets a tenth at a time.
pub(super) const BUCKETS: u64 = 10;

/// `N` counters over a sliding window of ten buckets. What it counts is between nine and ten tenths of
/// the window old at most. A clock that goes back adds to the newest bucket.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct Window<const N: usize> {
    /// Nanoseconds of a bucket, at least 1.
    width: u64,
    /// The number of the newest bucket since the origin of time.
    newest: u64,
    /// Its place among the buckets, and the nanosecond with which the next one begins.
    place: usize,
    ends: u64,
    buckets: [[u32; N]; BUCKETS as usize],
    sums: [u32; N],
}

impl<const N: usize> Window<N> {
    pub(super) fn new(length: Duration) -> Self {
        let nanos = u64::try_from(length.as_nanos()).unwrap_or(u64::MAX);
        let width = (nanos / BUCKETS).max(1);
        Self {
            width,
            newest: 0,
            place: 0,
            ends: width,
            buckets: [[0; N]; BUCKETS as usize],
            sums: [0; N],
        }
    }

    /// Adds one to this counter.
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "a few instructions of every call")]
    pub(super) fn add(&mut self, now: Instant, counter: usize) {
        self.advance(now);
        let bucket = self.buckets.get_mut(self.place);
        let count = bucket.and_then(|bucket| bucket.get_mut(counter));
        // A sum that cannot grow any more must not lose what its buckets lose.
        if let (Some(count), Some(sum)) = (count, self.sums.get_mut(counter))
            && *sum < u32::MAX
        {
            *count += 1;
            *sum += 1;
        }
    }

    /// The counts of the window that ends now.
    pub(super) fn sums(&mut self, now: Instant) -> [u32; N] {
        self.advance(now);
        self.sums
    }

    /// Forgets everything.
    pub(super) fn clear(&mut self) {
        self.buckets = [[0; N]; BUCKETS as usize];
        self.sums = [0; N];
    }

    #[inline]
    fn advance(&mut self, now: Instant) {
        if now.as_nanos() >= self.ends {
            self.advance_to(now.as_nanos() / self.width);
        }
    }

    #[inline(never)]
    fn advance_to(&mut self, current: u64) {
        let passed = (current - self.newest).min(BUCKETS);
        self.newest = current;
        self.place = (current % BUCKETS) as usize;
        self.ends = current.saturating_add(1).saturating_mul(self.width);
        for back in 0..passed {
            let at = (self.newest - back) % BUCKETS;
            let Some(bucket) = self.buckets.get_mut(at as usize) else { continue };
            for (count, sum) in bucket.iter_mut().zip(&mut self.sums) {
                *sum -= *count;
                *count = 0;
            }
        }
    }
}

//! How long things took lately, in a fixed number of bytes.

use core::time::Duration;

use crate::time::Instant;

/// Buckets in each power of two: a value is known to an eighth.
const STEPS: u64 = 8;

/// Latencies are counted in microseconds below this: 134 s.
const END: u64 = 1 << 27;

const BUCKETS: usize = (27 - 3 + 1) * STEPS as usize;

/// What one sample counts when it is new.
const WEIGHT: u32 = 1 << 8;

/// Samples after which each counts half.
const SAMPLES: u32 = 2_048;

/// The time after which each counts half, if so many samples do not come.
const HALF_LIFE: u64 = 60_000_000_000;

/// A log-linear histogram that forgets: after 2,048 samples, and after a minute, what it knows counts
/// half. 832 bytes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Latencies {
    buckets: [u32; BUCKETS],
    total: u32,
    /// Half lives since the origin of time.
    halves: u64,
}

impl Default for Latencies {
    fn default() -> Self {
        Self::new()
    }
}

impl Latencies {
    /// Nothing is known.
    pub const fn new() -> Self {
        Self { buckets: [0; BUCKETS], total: 0, halves: 0 }
    }

    /// Counts one. What took longer than 134 s counts as that.
    pub fn record(&mut self, now: Instant, latency: Duration) {
        self.age(now);
        let micros = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
        if let Some(bucket) = self.buckets.get_mut(bucket(micros)) {
            *bucket += WEIGHT;
            self.total += WEIGHT;
        }
        if self.total >= SAMPLES * WEIGHT {
            self.halve(1);
        }
    }

    /// The time within which so many in a thousand were, an eighth too long at most. `None`: nothing is
    /// known. Looks at 200 buckets.
    pub fn quantile(&self, permille: u32) -> Option<Duration> {
        let rank = (u64::from(self.total) * u64::from(permille.min(1_000))).div_ceil(1_000).max(1);
        let mut below = 0;
        let at = self.buckets.iter().position(|count| {
            below += u64::from(*count);
            below >= rank
        })?;
        Some(Duration::from_micros(longest(at as u64)))
    }

    /// Samples that still count, in whole ones.
    pub const fn samples(&self) -> u32 {
        self.total / WEIGHT
    }

    fn age(&mut self, now: Instant) {
        let halves = now.as_nanos() / HALF_LIFE;
        if halves > self.halves {
            self.halve(u32::try_from(halves - self.halves).unwrap_or(u32::MAX));
            self.halves = halves;
        }
    }

    fn halve(&mut self, times: u32) {
        if self.total == 0 {
            return;
        }
        for bucket in &mut self.buckets {
            *bucket = bucket.checked_shr(times).unwrap_or_default();
        }
        self.total = self.buckets.iter().sum();
    }
}

/// The bucket of so many microseconds.
fn bucket(micros: u64) -> usize {
    let micros = micros.min(END - 1);
    // Below eight each has its own; above, the leading bit says which row, the next three which step.
    let shift = micros.max(STEPS).ilog2() - STEPS.ilog2();
    let row = if micros < STEPS { 0 } else { u64::from(shift) + 1 };
    (row * STEPS + (micros >> shift) % STEPS) as usize
}

/// The most microseconds that a bucket stands for.
const fn longest(bucket: u64) -> u64 {
    let (row, step) = (bucket / STEPS, bucket % STEPS);
    if row == 0 { step } else { ((STEPS + step + 1) << (row - 1)) - 1 }
}

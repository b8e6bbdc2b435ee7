//! Spread from a seed: so that those who started together do not go on together.

use core::time::Duration;

/// A small generator for delays and choices. Its numbers are even, fast and the same everywhere, and
/// anyone can guess the next one: nothing secret is drawn from it.
///
/// `SplitMix64`: <https://doi.org/10.1145/2714064.2660195>
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Jitter(u64);

impl Jitter {
    /// The same seed gives the same numbers.
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Any number.
    pub const fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`; 0 where there is none, and nothing drawn if there is no choice.
    pub const fn below(&mut self, bound: u64) -> u64 {
        if bound <= 1 {
            return 0;
        }
        // https://lemire.me/blog/2016/06/27/a-fast-alternative-to-the-modulo-reduction/
        ((self.draw() as u128 * bound as u128) >> 64) as u64
    }

    /// Two different numbers below `bound`, of one draw; `bound` is at least 2, and below 2^32.
    pub(crate) const fn two_below(&mut self, bound: u64) -> (u64, u64) {
        let drawn = self.draw();
        let first = ((drawn >> 32) * bound) >> 32;
        let other = ((drawn & 0xffff_ffff) * (bound - 1)) >> 32;
        (first, other + (other >= first) as u64)
    }

    /// A duration between these two, both included, to the nanosecond; the first, if the second is
    /// not above it.
    pub fn between(&mut self, low: Duration, high: Duration) -> Duration {
        let width = high.saturating_sub(low).as_nanos();
        let width = u64::try_from(width).unwrap_or(u64::MAX);
        low.saturating_add(Duration::from_nanos(self.below(width.saturating_add(1))))
    }
}

//! Chance from a seed.

use std::time::Duration;

/// splitmix64: <https://prng.di.unimi.it/splitmix64.c>
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % sides
    }

    /// A time below this.
    pub(crate) fn within(&mut self, most: Duration) -> Duration {
        most * u32::try_from(self.roll(1 << 16)).unwrap_or(0) / (1 << 16)
    }
}

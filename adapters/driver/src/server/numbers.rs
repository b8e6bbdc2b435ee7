//! Numbers that nobody can guess.

use std::hash::{BuildHasher as _, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};

/// A secret of this process.
pub(super) fn seed() -> [u8; 16] {
    Numbers::default().draw().to_be_bytes()
}

/// Numbers for request and span ids: no two the same, and not to be guessed from one another.
#[derive(Debug, Default)]
pub(super) struct Numbers {
    drawn: AtomicU64,
    keys: (RandomState, RandomState),
}

impl Numbers {
    pub(super) fn draw(&self) -> u128 {
        let n = self.drawn.fetch_add(1, Ordering::Relaxed);
        let (high, low) = (self.keys.0.hash_one(n), self.keys.1.hash_one(n));
        u128::from(high) << 64 | u128::from(low)
    }
}

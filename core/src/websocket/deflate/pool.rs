//! Compressors that connections share.

use core::fmt;

use flate2::{Compress, Decompress};

/// Compressors for connections that forget their windows between messages
/// ([`Takeover::Forget`](super::Takeover::Forget)): lent at a wake-up and given back at its end, so
/// that a worker needs a few of them, and not one for each connection.
#[derive(Default)]
pub struct Pool {
    capacity: usize,
    deflaters: Vec<(u8, u8, Compress)>,
    inflaters: Vec<(u8, Decompress)>,
}

impl Pool {
    /// An empty pool that keeps so many of each kind, at most.
    pub const fn new(capacity: usize) -> Self {
        Self { capacity, deflaters: Vec::new(), inflaters: Vec::new() }
    }

    /// How many are there to be lent: compressors, and what unpacks.
    pub fn len(&self) -> (usize, usize) {
        (self.deflaters.len(), self.inflaters.len())
    }

    /// Whether nothing is there to be lent.
    pub fn is_empty(&self) -> bool {
        self.len() == (0, 0)
    }

    pub(super) fn deflater(&mut self, level: u8, bits: u8) -> Option<Compress> {
        let found = self.deflaters.iter().position(|(l, b, _)| (*l, *b) == (level, bits))?;
        Some(self.deflaters.swap_remove(found).2)
    }

    pub(super) fn keep_deflater(&mut self, level: u8, bits: u8, deflater: Compress) {
        if self.deflaters.len() < self.capacity {
            self.deflaters.push((level, bits, deflater));
        }
    }

    pub(super) fn inflater(&mut self, bits: u8) -> Option<Decompress> {
        let found = self.inflaters.iter().position(|(b, _)| *b == bits)?;
        Some(self.inflaters.swap_remove(found).1)
    }

    pub(super) fn keep_inflater(&mut self, bits: u8, inflater: Decompress) {
        if self.inflaters.len() < self.capacity {
            self.inflaters.push((bits, inflater));
        }
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").field("len", &self.len()).finish_non_exhaustive()
    }
}

//! Numbers that nobody can guess.

use std::cell::RefCell;
use std::hash::{BuildHasher as _, RandomState};

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng as _, SeedableRng as _};

/// A secret of this process.
pub(super) fn seed() -> [u8; 16] {
    let mut seed = [0; 16];
    fill(&mut seed);
    seed
}

/// Secret bytes: hashes with a key that std has from the operating system.
fn fill(secret: &mut [u8]) {
    let keys = RandomState::new();
    for (place, piece) in secret.chunks_mut(8).enumerate() {
        let hash = keys.hash_one(place).to_be_bytes();
        piece.copy_from_slice(&hash[..piece.len()]);
    }
}

thread_local! {
    /// Each thread draws its own, so that they neither wait for each other nor share a line of memory.
    static NUMBERS: RefCell<ChaCha8Rng> = {
        let mut seed = [0; 32];
        fill(&mut seed);
        RefCell::new(ChaCha8Rng::from_seed(seed))
    };
}

/// A number for the ids of a request and of its span: no two are the same, nor to be guessed from one
/// another.
pub(super) fn draw() -> u128 {
    let (high, low) = NUMBERS.with_borrow_mut(|numbers| (numbers.next_u64(), numbers.next_u64()));
    u128::from(high) << 64 | u128::from(low)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::thread;

    use super::*;

    #[test]
    fn no_two_are_the_same_on_any_thread() {
        let some = || (0..1000).map(|_| draw()).collect::<Vec<u128>>();
        let threads: Vec<_> = (0..4).map(|_| thread::spawn(some)).collect();
        let mut all: Vec<u128> = threads.into_iter().flat_map(|t| t.join().unwrap()).collect();
        all.extend(some());
        let halves = all.iter().flat_map(|number| [*number as u64, (*number >> 64) as u64]);
        let halves: BTreeSet<u64> = halves.collect();
        assert_eq!(halves.len(), 2 * all.len());
        assert_ne!(seed(), seed());
    }
}

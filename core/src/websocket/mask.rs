//! Masks: <https://www.rfc-editor.org/rfc/rfc6455#section-5.3>

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng as _, SeedableRng as _};

/// What is exclusive-ored onto the payload of a frame, over and over.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Mask(pub(super) [u8; 4]);

impl Mask {
    /// Applies it to the bytes that stand at `offset` of the payload; once more undoes it.
    pub(super) fn apply(self, bytes: &mut [u8], offset: usize) {
        let four = u32::from_le_bytes(self.0).rotate_right(8 * (offset % 4) as u32);
        let eight = u64::from(four) << 32 | u64::from(four);
        // Without a way out between its words, a block becomes vectors.
        let (blocks, rest) = bytes.as_chunks_mut::<32>();
        for block in blocks {
            for word in block.as_chunks_mut::<8>().0 {
                xor(word, eight);
            }
        }
        let (words, rest) = rest.as_chunks_mut::<8>();
        for word in words {
            xor(word, eight);
        }
        for (byte, mask) in rest.iter_mut().zip(eight.to_le_bytes()) {
            *byte ^= mask;
        }
    }
}

#[inline]
fn xor(word: &mut [u8; 8], mask: u64) {
    *word = (u64::from_le_bytes(*word) ^ mask).to_le_bytes();
}

/// Draws what no third party may guess: <https://www.rfc-editor.org/rfc/rfc6455#section-10.3>
pub(super) struct Masks(ChaCha20Rng);

/// What is drawn: numbers for one purpose say nothing about those for another.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Purpose {
    Masks = 0,
    Handshake = 1,
    Jitter = 2,
}

impl Masks {
    pub(super) fn new(seed: [u8; 32], purpose: Purpose) -> Self {
        let mut generator = ChaCha20Rng::from_seed(seed);
        generator.set_stream(purpose as u64);
        Self(generator)
    }

    pub(super) fn draw(&mut self) -> Mask {
        Mask(self.0.next_u32().to_ne_bytes())
    }

    pub(super) fn number(&mut self) -> u64 {
        self.0.next_u64()
    }

    pub(super) fn fill(&mut self, bytes: &mut [u8]) {
        self.0.fill_bytes(bytes);
    }
}

impl core::fmt::Debug for Masks {
    /// Nothing of the state: it is a secret.
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Masks")
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_mask_is_applied_byte_by_byte_from_any_offset(
            mask: [u8; 4],
            bytes in vec(any::<u8>(), 0..100),
            offset in 0usize..9,
        ) {
            let mut masked = bytes.clone();
            Mask(mask).apply(&mut masked, offset);
            for (at, (masked, plain)) in masked.iter().zip(&bytes).enumerate() {
                prop_assert_eq!(*masked, plain ^ mask[(offset + at) % 4]);
            }
        }
    }

    #[test]
    fn purposes_draw_different_numbers_and_seeds_the_same() {
        let draw = |seed, purpose| Masks::new([seed; 32], purpose).number();
        assert_eq!(draw(1, Purpose::Masks), draw(1, Purpose::Masks));
        assert_ne!(draw(1, Purpose::Masks), draw(1, Purpose::Handshake));
        assert_ne!(draw(1, Purpose::Masks), draw(1, Purpose::Jitter));
        assert_ne!(draw(1, Purpose::Masks), draw(2, Purpose::Masks));
    }
}

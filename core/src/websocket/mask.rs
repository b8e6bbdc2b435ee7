//! Masks: <https://www.rfc-editor.org/rfc/rfc6455#section-5.3>

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng as _, SeedableRng as _};

/// What is exclusive-ored onto the payload of a frame, over and over.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Mask(pub(super) [u8; 4]);

impl Mask {
    /// Applies it to the bytes that stand at `offset` of the payload; once more undoes it.
    pub(super) fn apply(self, bytes: &mut [u8], offset: usize) {
        let mut offset = offset;
        let mut bytes = bytes;
        if bytes.len() >= LARGE {
            let head = bytes.as_ptr().align_offset(ALIGNED).min(bytes.len());
            let (head, rest) = bytes.split_at_mut(head);
            apply(head, self.eight(offset));
            offset += head.len();
            let (blocks, rest) = rest.as_chunks_mut::<BLOCK>();
            let mask = self.eight(offset);
            for block in blocks {
                apply(block, mask);
            }
            bytes = rest;
        }
        apply(bytes, self.eight(offset));
    }

    /// Applies it to a whole payload. Whether all of that is ASCII then, which is seen on the way.
    #[inline]
    pub(super) fn apply_to_text(self, bytes: &mut [u8]) -> bool {
        apply(bytes, self.eight(0)) & 0x8080_8080_8080_8080 == 0
    }

    /// Twice, from this offset on.
    #[inline]
    fn eight(self, offset: usize) -> u64 {
        let four = u32::from_le_bytes(self.0).rotate_right(8 * (offset % 4) as u32);
        u64::from(four) << 32 | u64::from(four)
    }
}

/// From so many bytes on it is worth to begin where vectors are read and written fastest.
const LARGE: usize = 1024;
/// Bytes of a vector, at least.
const ALIGNED: usize = 16;
/// Bytes between two looks at whether that was all; a multiple of the mask.
const BLOCK: usize = 128;

/// Applies eight bytes of a mask, over and over; the bytes that come out, or-ed.
#[inline]
fn apply(bytes: &mut [u8], mask: u64) -> u64 {
    let mut seen = 0;
    let (words, rest) = bytes.as_chunks_mut::<8>();
    // As simple as this, it becomes vectors.
    for word in words {
        let plain = u64::from_le_bytes(*word) ^ mask;
        *word = plain.to_le_bytes();
        seen |= plain;
    }
    for (byte, mask) in rest.iter_mut().zip(mask.to_le_bytes()) {
        *byte ^= mask;
        seen |= u64::from(*byte);
    }
    seen
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
            bytes in prop_oneof![vec(any::<u8>(), 0..100), vec(any::<u8>(), 1000..1400)],
            from in 0usize..9,
            offset in 0usize..9,
        ) {
            // Wherever it lies in memory.
            let from = from.min(bytes.len());
            let mut copy = bytes.clone();
            let (bytes, masked) = (&bytes[from..], &mut copy[from..]);
            Mask(mask).apply(masked, offset);
            for (at, (masked, plain)) in masked.iter().zip(bytes).enumerate() {
                prop_assert_eq!(*masked, plain ^ mask[(offset + at) % 4]);
            }
            Mask(mask).apply(masked, offset);
            prop_assert_eq!(&*masked, bytes);
            Mask(mask).apply(masked, 0);
            prop_assert_eq!(Mask(mask).apply_to_text(masked), bytes.is_ascii());
            prop_assert_eq!(&*masked, bytes);
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

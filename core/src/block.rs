//! Sixteen bytes at a time: a question is asked of all of them at once.
#![expect(
    clippy::inline_always,
    reason = "every byte of every head passes here: measured by `sinew-benches`"
)]

use core::ops::{BitOr, Not, RangeInclusive};

use wide::u8x16;

/// Bytes that are looked at together: one vector of every processor that has vectors.
pub(crate) const BLOCK: usize = 16;

/// Bytes side by side.
#[derive(Clone, Copy)]
pub(crate) struct Block(u8x16);

/// Which bytes of a block are of a class.
#[derive(Clone, Copy)]
pub(crate) struct Marks(u8x16);

/// Whether a byte of `text` is of the class.
#[inline(always)]
pub(crate) fn any(text: &[u8], class: impl Fn(Block) -> Marks) -> bool {
    let has = |block: &[u8; BLOCK]| class(Block::new(block)).bits() != 0;
    let (blocks, _) = text.as_chunks();
    match text.last_chunk() {
        // It may overlap the block before it.
        Some(last) => blocks.iter().any(has) || has(last),
        None => class(Block::short(text)).bits() & !(u32::MAX << text.len()) != 0,
    }
}

/// Where the first byte stands that is of the class; the length, if none is.
#[inline(always)]
pub(crate) fn find(text: &[u8], class: impl Fn(Block) -> Marks) -> usize {
    let (blocks, _) = text.as_chunks();
    for (at, block) in blocks.iter().enumerate() {
        let bits = class(Block::new(block)).bits();
        if bits != 0 {
            return at * BLOCK + bits.trailing_zeros() as usize;
        }
    }
    find_in_tail(text, class)
}

/// The same, of what the last block leaves.
#[inline(never)]
fn find_in_tail(text: &[u8], class: impl Fn(Block) -> Marks) -> usize {
    let (blocks, tail) = text.as_chunks::<BLOCK>();
    let bits = class(Block::short(tail)).bits();
    blocks.len() * BLOCK + tail.len().min(bits.trailing_zeros() as usize)
}

impl Block {
    #[inline(always)]
    pub(crate) const fn new(bytes: &[u8; BLOCK]) -> Self {
        Self(u8x16::new(*bytes))
    }

    /// What is shorter than a block, and zeros behind it.
    #[inline(always)]
    fn short(text: &[u8]) -> Self {
        let mut block = [0; BLOCK];
        match (text.first_chunk::<8>(), text.last_chunk::<8>()) {
            // The two words may overlap.
            (Some(first), Some(last)) => {
                let beyond = 8 * (BLOCK - text.len()) as u32;
                let words = u128::from(u64::from_le_bytes(*first))
                    | u128::from(u64::from_le_bytes(*last)) << 64 >> beyond;
                block = words.to_le_bytes();
            }
            _ => block.iter_mut().zip(text).for_each(|(place, byte)| *place = *byte),
        }
        Self::new(&block)
    }

    /// Those that are this byte.
    #[inline(always)]
    pub(crate) fn is(self, byte: u8) -> Marks {
        Marks(self.0.simd_eq(u8x16::splat(byte)))
    }

    /// Those that are in this range.
    #[inline(always)]
    pub(crate) fn within(self, range: RangeInclusive<u8>) -> Marks {
        let (first, last) = range.into_inner();
        Marks((self.0 - u8x16::splat(first)).simd_le(u8x16::splat(last - first)))
    }

    /// The bytes with these bits set.
    #[inline(always)]
    pub(crate) fn with(self, bits: u8) -> Self {
        Self(self.0 | u8x16::splat(bits))
    }

    /// Letters of ASCII.
    #[inline(always)]
    pub(crate) fn letters(self) -> Marks {
        self.with(0x20).within(b'a'..=b'z')
    }

    /// Digits of ASCII.
    #[inline(always)]
    pub(crate) fn digits(self) -> Marks {
        self.within(b'0'..=b'9')
    }
}

impl Marks {
    /// One bit a byte, the first in the lowest.
    #[inline(always)]
    pub(crate) fn bits(self) -> u32 {
        self.0.to_bitmask()
    }
}

impl BitOr for Marks {
    type Output = Self;

    #[inline(always)]
    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl Not for Marks {
    type Output = Self;

    #[inline(always)]
    fn not(self) -> Self {
        Self(!self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_byte_is_found_at_every_place_of_texts_of_every_length() {
        let digits = Block::digits;
        for len in 0..=66 {
            let mut text = vec![b'/'; len];
            assert!(!any(&text, digits), "none of {len}");
            assert_eq!(find(&text, digits), len);
            for at in 0..len {
                text[at] = b'5';
                assert!(any(&text, digits), "{at} of {len}");
                assert_eq!(find(&text, digits), at, "{at} of {len}");
                // Others behind it change nothing.
                let before = text.split_off(at + 1);
                text.resize(len, b'6');
                assert_eq!(find(&text, digits), at, "{at} of {len}");
                text.truncate(at);
                text.push(b'/');
                text.extend(before);
            }
            // Nor do the zeros behind a short one.
            assert!(!any(&text, |block| block.is(0)), "none of {len}");
            assert_eq!(find(&text, |block| block.is(0)), len);
        }
    }

    #[test]
    fn every_byte_is_told_by_its_class() {
        for byte in 0..=u8::MAX {
            let has = |class: fn(Block) -> Marks| any(&[byte], class);
            assert_eq!(has(|block| block.is(b'-')), byte == b'-');
            assert_eq!(has(|block| !block.is(b'-')), byte != b'-');
            assert_eq!(has(|block| block.within(b'!'..=b'~')), byte.is_ascii_graphic());
            assert_eq!(has(|block| block.within(0..=0x1f)), byte < 0x20);
            assert!(has(|block| block.within(0..=u8::MAX)));
            assert_eq!(has(|block| block.with(1).is(b'#')), matches!(byte, b'"' | b'#'));
            assert_eq!(has(Block::letters), byte.is_ascii_alphabetic());
            assert_eq!(has(Block::digits), byte.is_ascii_digit());
            assert_eq!(has(|block| block.letters() | block.digits()), byte.is_ascii_alphanumeric());
        }
    }
}

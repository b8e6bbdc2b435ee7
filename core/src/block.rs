//! Sixteen bytes at a time: a question is asked of all of them at once.
#![expect(
    clippy::inline_always,
    reason = "every byte of every head passes here: measured by `sinew-benches`"
)]

use core::ops::{BitAnd, BitOr, Not, RangeInclusive};

use wide::i8x16;

/// Bytes that are looked at together: one vector of every processor that has vectors.
pub(crate) const BLOCK: usize = 16;

/// Bytes side by side.
#[derive(Clone, Copy)]
pub(crate) struct Block(i8x16);

/// Which bytes of a block are of a class: those are zeros. It is the others that are looked for.
#[derive(Clone, Copy)]
pub(crate) struct Marks(i8x16);

/// Whether all bytes of `text` are of the class.
#[inline(always)]
pub(crate) fn all(text: &[u8], class: impl Fn(Block) -> Marks) -> bool {
    let fits = |block: &[u8; BLOCK]| class(Block::new(block)).others() == 0;
    let (blocks, _) = text.as_chunks();
    match text.last_chunk() {
        // It may overlap the block before it.
        Some(last) => blocks.iter().all(fits) && fits(last),
        None => class(Block::short(text)).others() & !(u32::MAX << text.len()) == 0,
    }
}

/// One bit for each byte that is not of the class, the first byte's in the lowest; `None` for a text of
/// more than two blocks.
#[inline(always)]
pub(crate) fn others_in(text: &[u8], class: impl Fn(Block) -> Marks) -> Option<u32> {
    match (text.first_chunk(), text.last_chunk()) {
        // They may overlap.
        (Some(first), Some(last)) if text.len() <= 2 * BLOCK => {
            let (first, last) = (class(Block::new(first)), class(Block::new(last)));
            Some(first.others() | last.others() << (text.len() - BLOCK))
        }
        (Some(_), _) => None,
        (None, _) => Some(class(Block::short(text)).others() & !(u32::MAX << text.len())),
    }
}

/// Bytes of `text` before the first that is not of the class.
#[inline(always)]
pub(crate) fn prefix(text: &[u8], class: impl Fn(Block) -> Marks) -> usize {
    prefix_within(text, text, class)
}

/// The same of a text that is the end of `whole`.
#[inline(always)]
pub(crate) fn prefix_within(text: &[u8], whole: &[u8], class: impl Fn(Block) -> Marks) -> usize {
    let (blocks, _) = text.as_chunks();
    for (at, block) in blocks.iter().enumerate() {
        let others = class(Block::new(block)).others();
        if others != 0 {
            return at * BLOCK + others.trailing_zeros() as usize;
        }
    }
    prefix_in_tail(text, whole, class)
}

/// The same, where the blocks are all of the class.
#[inline(never)]
fn prefix_in_tail(text: &[u8], whole: &[u8], class: impl Fn(Block) -> Marks) -> usize {
    let (blocks, tail) = text.as_chunks::<BLOCK>();
    let others = match whole.last_chunk() {
        // What stands before the tail falls out.
        Some(last) => class(Block::new(last)).others() >> (BLOCK - tail.len()),
        None => class(Block::short(tail)).others(),
    };
    blocks.len() * BLOCK + tail.len().min(others.trailing_zeros() as usize)
}

impl Block {
    #[inline(always)]
    pub(crate) fn new(bytes: &[u8; BLOCK]) -> Self {
        Self(i8x16::new(bytes.map(u8::cast_signed)))
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
        Marks(!self.0.simd_eq(i8x16::splat(byte.cast_signed())))
    }

    /// Those that are in this range, which does not hold all bytes.
    #[inline(always)]
    pub(crate) fn within(self, range: RangeInclusive<u8>) -> Marks {
        // It is moved to the start of all signed numbers, so that one comparison is enough.
        let (first, last) = range.into_inner();
        let by = i8::MIN.cast_unsigned().wrapping_sub(first);
        let moved = self.0 + i8x16::splat(by.cast_signed());
        Marks(moved.simd_gt(i8x16::splat(last.wrapping_add(by).cast_signed())))
    }

    /// The bytes with these bits set.
    #[inline(always)]
    pub(crate) fn with(self, bits: u8) -> Self {
        Self(self.0 | i8x16::splat(bits.cast_signed()))
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
    /// One bit for each byte that is not of the class, the first byte's in the lowest.
    #[inline(always)]
    pub(crate) fn others(self) -> u32 {
        self.0.to_bitmask()
    }
}

#[expect(clippy::suspicious_arithmetic_impl, reason = "it is the others that are kept")]
impl BitAnd for Marks {
    type Output = Self;

    #[inline(always)]
    fn bitand(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

#[expect(clippy::suspicious_arithmetic_impl, reason = "it is the others that are kept")]
impl BitOr for Marks {
    type Output = Self;

    #[inline(always)]
    fn bitor(self, other: Self) -> Self {
        Self(self.0 & other.0)
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
        for len in 0..=66 {
            let mut text = vec![b'5'; len];
            assert!(all(&text, Block::digits), "all of {len}");
            assert_eq!(prefix(&text, Block::digits), len);
            assert_eq!(others_in(&text, Block::digits), (len <= 32).then_some(0), "none of {len}");
            for at in 0..len {
                text[at] = b'/';
                assert!(!all(&text, Block::digits), "{at} of {len}");
                assert_eq!(prefix(&text, Block::digits), at, "{at} of {len}");
                let before = text.len() / 3;
                let end = at.saturating_sub(before);
                assert_eq!(
                    prefix_within(&text[before..], &text, Block::digits),
                    if at < before { len - before } else { end }
                );
                assert_eq!(others_in(&text, Block::digits), (len <= 32).then(|| 1 << at));
                // Others behind it change nothing.
                let mut others = text.clone();
                others[at..].fill(b':');
                assert!(!all(&others, Block::digits), "{at} of {len}");
                assert_eq!(prefix(&others, Block::digits), at, "{at} of {len}");
                text[at] = b'5';
            }
        }
    }

    #[test]
    fn every_byte_is_told_by_its_class() {
        for byte in 0..=u8::MAX {
            let is = |class: fn(Block) -> Marks| all(&[byte], class);
            assert_eq!(is(|block| block.is(b'-')), byte == b'-');
            assert_eq!(is(|block| !block.is(b'-')), byte != b'-');
            assert_eq!(is(|block| block.within(b'!'..=b'~')), byte.is_ascii_graphic());
            assert_eq!(is(|block| block.within(0..=0x1f)), byte < 0x20);
            assert_eq!(is(|block| block.within(0x80..=0xff)), byte >= 0x80);
            assert_eq!(is(|block| block.with(1).is(b'#')), matches!(byte, b'"' | b'#'));
            assert_eq!(is(Block::letters), byte.is_ascii_alphabetic());
            assert_eq!(is(Block::digits), byte.is_ascii_digit());
            assert_eq!(is(|block| block.letters() | block.digits()), byte.is_ascii_alphanumeric());
            assert_eq!(
                is(|block| block.letters() & !block.is(b'x')),
                byte.is_ascii_alphabetic() && byte != b'x'
            );
        }
    }
}

//! Sixteen bytes at a time: asked without a way out between them, they are compared as a vector.
#![expect(
    clippy::inline_always,
    reason = "every byte of every head passes here: measured by `sinew-benches`"
)]

/// Bytes that are looked at together: two words.
pub(crate) const BLOCK: usize = 16;

/// Whether a byte is of a class.
#[inline(always)]
pub(crate) fn any(block: &[u8; BLOCK], class: impl Fn(u8) -> bool) -> bool {
    block.iter().fold(false, |any, &byte| any | class(byte))
}

/// `u8::is_ascii_alphanumeric`, without a way out.
#[inline(always)]
pub(crate) const fn is_alphanumeric(byte: u8) -> bool {
    ((byte | 0x20).wrapping_sub(b'a') < 26) | (byte.wrapping_sub(b'0') < 10)
}

/// Where the first byte stands that is of a class; `BLOCK` if none is.
#[inline(always)]
pub(crate) fn first(block: &[u8; BLOCK], class: impl Fn(u8) -> bool) -> usize {
    let mut marks = [0; BLOCK];
    for (mark, byte) in marks.iter_mut().zip(block) {
        *mark = if class(*byte) { 0xff } else { 0 };
    }
    (u128::from_le_bytes(marks).trailing_zeros() / 8) as usize
}

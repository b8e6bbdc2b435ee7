//! Classes of bytes: which may stand in a text.

use crate::block::{any, is_alphanumeric};

/// The bytes of a class.
pub(crate) struct Class([bool; 256]);

impl Class {
    /// ASCII letters and digits, and these.
    pub(crate) const fn alphanumeric_and(marks: &[u8]) -> Self {
        let mut table = [false; 256];
        let mut byte = 0;
        while byte < 128 {
            table[byte] = (byte as u8).is_ascii_alphanumeric();
            byte += 1;
        }
        let mut at = 0;
        while at < marks.len() {
            table[marks[at] as usize] = true;
            at += 1;
        }
        Self(table)
    }

    /// Whether a text consists of them alone.
    #[inline]
    pub(crate) fn has_all_of(&self, text: &[u8]) -> bool {
        // Letters, digits and dashes, nearly always. The last block may overlap the one before it.
        if let Some(last) = text.last_chunk()
            && self.0[usize::from(b'-')]
            && let (blocks, rest) = text.as_chunks()
            && !blocks.iter().any(|block| any(block, is_unusual))
            && (rest.is_empty() || !any(last, is_unusual))
        {
            return true;
        }
        // No early exit: a byte costs a look-up.
        let (words, rest) = text.as_chunks::<8>();
        let has = |byte: &u8| self.0[usize::from(*byte)];
        let in_words =
            words.iter().fold(true, |all, word| word.iter().fold(all, |all, b| all & has(b)));
        rest.iter().fold(in_words, |all, byte| all & has(byte))
    }
}

/// Neither a letter nor a digit nor a dash.
#[expect(clippy::needless_bitwise_bool, reason = "with short cuts it takes five times as much")]
const fn is_unusual(byte: u8) -> bool {
    !(is_alphanumeric(byte) | (byte == b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_at_every_place_is_looked_at() {
        let class = Class::alphanumeric_and(b"-.");
        for at in 0..19 {
            for byte in 0..=u8::MAX {
                let mut text = *b"abcdefgh01234567-.Z";
                text[at] = byte;
                let fits = byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.');
                assert_eq!(class.has_all_of(&text), fits, "{byte:#x} at {at}");
            }
        }
        assert!(class.has_all_of(b""));
        assert!(!Class::alphanumeric_and(b"").has_all_of(b"0123456789-abcdef"));
    }
}

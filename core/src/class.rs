//! Classes of bytes: which may stand in a text.

use crate::block::{Block, Marks, all};

/// The bytes of a class.
pub(crate) struct Class {
    table: [bool; 256],
    /// Whether the usual ones are among them.
    usual: bool,
}

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
        let usual = table[b'-' as usize] && table[b'.' as usize] && table[b'/' as usize];
        Self { table, usual }
    }

    /// Whether a text consists of them alone.
    #[inline]
    pub(crate) fn has_all_of(&self, text: &[u8]) -> bool {
        // The usual ones, nearly always.
        if self.usual && all(text, usual) {
            return true;
        }
        // No early exit: a byte costs a look-up.
        let (words, rest) = text.as_chunks::<8>();
        let has = |byte: &u8| self.table[usize::from(*byte)];
        let in_words =
            words.iter().fold(true, |all, word| word.iter().fold(all, |all, b| all & has(b)));
        rest.iter().fold(in_words, |all, byte| all & has(byte))
    }
}

/// Letters, digits, and the three marks in front of the digits.
#[inline(always)]
#[expect(clippy::inline_always, reason = "a vector is not passed from function to function")]
fn usual(block: Block) -> Marks {
    block.letters() | block.within(b'-'..=b'9')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_at_every_place_is_looked_at() {
        // With the usual ones, and without one of them.
        for marks in [&b"-./_"[..], b"-."] {
            let class = Class::alphanumeric_and(marks);
            for at in 0..19 {
                for byte in 0..=u8::MAX {
                    let mut text = *b"abcdefgh01234567-.Z";
                    text[at] = byte;
                    let fits = byte.is_ascii_alphanumeric() || marks.contains(&byte);
                    assert_eq!(class.has_all_of(&text), fits, "{byte:#x} at {at}");
                }
            }
        }
        assert!(Class::alphanumeric_and(b"").has_all_of(b""));
        assert!(!Class::alphanumeric_and(b"").has_all_of(b"0123456789-abcdef"));
    }
}

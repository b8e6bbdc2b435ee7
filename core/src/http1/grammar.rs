//! The character classes of RFC 9110.
#![expect(
    clippy::inline_always,
    reason = "every byte of every head passes here: measured by `sinew-benches`"
)]

use crate::block::{BLOCK, Block, Marks, all, prefix, prefix_within};

/// `tchar`: <https://www.rfc-editor.org/rfc/rfc9110#section-5.6.2>
pub(crate) const TOKEN: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 128 {
        table[byte] = (byte as u8).is_ascii_alphanumeric();
        byte += 1;
    }
    let others = b"!#$%&'*+-.^_`|~";
    let mut i = 0;
    while i < others.len() {
        table[others[i] as usize] = true;
        i += 1;
    }
    table
};

/// Whether these bytes are a `token`.
pub(crate) fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty()
        && (all(bytes, usual_in_names) || bytes.iter().all(|&b| TOKEN[usize::from(b)]))
}

/// Whether these bytes may stand in a field value: no control but the tab.
/// <https://www.rfc-editor.org/rfc/rfc9110#section-5.5>
#[inline]
pub(crate) fn is_field_value(bytes: &[u8]) -> bool {
    is_printable(bytes) || value_end(bytes) == bytes.len()
}

/// Whether all of it is printable ASCII, as it is nearly always.
fn is_printable(bytes: &[u8]) -> bool {
    all(bytes, printable)
}

/// Where a field value ends: at the first control that is not a tab.
pub(crate) fn value_end(bytes: &[u8]) -> usize {
    let mut end = printable_prefix(bytes);
    // https://www.rfc-editor.org/rfc/rfc9110#section-5.5: obs-text, of which nobody knows the meaning.
    while bytes.get(end).is_some_and(|byte| *byte == b'\t' || !byte.is_ascii()) {
        end += 1;
        end += printable_prefix(&bytes[end..]);
    }
    end
}

/// Bytes before the first that is not printable ASCII.
#[inline(always)]
pub(crate) fn printable_prefix(bytes: &[u8]) -> usize {
    prefix(bytes, printable)
}

/// The same of a text that is the end of `whole`.
#[inline(always)]
pub(crate) fn printable_prefix_within(text: &[u8], whole: &[u8]) -> usize {
    prefix_within(text, whole, printable)
}

/// `VCHAR` and the space: <https://www.rfc-editor.org/rfc/rfc5234#appendix-B.1>
#[inline(always)]
fn printable(block: Block) -> Marks {
    block.within(b' '..=b'~')
}

/// Bytes before the first that cannot stand in a token.
#[inline(always)]
pub(crate) fn token_prefix(bytes: &[u8]) -> usize {
    rest_of_token(bytes, name_prefix(bytes))
}

/// Bytes at the start of a token, all of it nearly always: names are short, and of letters and dashes.
#[inline(always)]
pub(crate) fn name_prefix(bytes: &[u8]) -> usize {
    bytes.first_chunk::<BLOCK>().map_or(0, |block| prefix(block, usual_in_names))
}

/// Where a token ends that goes on at `at`. Apart, as few do.
#[inline(never)]
fn rest_of_token(bytes: &[u8], mut at: usize) -> usize {
    while bytes.get(at).is_some_and(|&b| TOKEN[usize::from(b)]) {
        at += 1;
    }
    at
}

/// Letters and dashes: what names consist of, nearly always.
#[inline(always)]
fn usual_in_names(block: Block) -> Marks {
    block.letters() | block.is(b'-')
}

/// `SP / HTAB`
pub(crate) const fn is_blank(byte: &u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

/// Takes the white space off both ends: <https://www.rfc-editor.org/rfc/rfc9110#section-5.6.3>
pub(crate) fn trim(bytes: &[u8]) -> &[u8] {
    let start = bytes.iter().position(|byte| !is_blank(byte)).unwrap_or(bytes.len());
    let end = bytes.iter().rposition(|byte| !is_blank(byte)).map_or(start, |i| i + 1);
    &bytes[start..end]
}

/// The elements of a comma-separated list, trimmed; empty ones included.
pub(crate) fn list(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|&b| b == b',').map(trim)
}

/// A number of digits and nothing else, that fits 64 bits.
pub(crate) fn decimal(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0u64, |value, &digit| {
        let digit = digit.is_ascii_digit().then(|| u64::from(digit - b'0'))?;
        value.checked_mul(10)?.checked_add(digit)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn field_values_exclude_controls_wherever_they_stand() {
        for byte in 0..=255u8 {
            let plain = (byte >= 0x20 && byte != 0x7f) || byte == b'\t';
            for len in [1, 7, 8, 15, 16, 17, 31, 32, 33] {
                for at in 0..len {
                    let mut value = vec![b'a'; len];
                    value[at] = byte;
                    assert_eq!(is_field_value(&value), plain, "{byte:#x} at {at} of {len}");
                    let end = if plain { len } else { at };
                    assert_eq!(value_end(&value), end, "{byte:#x} at {at} of {len}");
                }
            }
        }
    }

    #[test]
    fn a_token_ends_where_its_grammar_says() {
        for byte in 0..=255u8 {
            for len in [1, 15, 16, 17, 20] {
                for at in 0..len {
                    let mut text = b"Aa-Zz-Content-Length"[..len].to_vec();
                    text[at] = byte;
                    let expected = if TOKEN[usize::from(byte)] { len } else { at };
                    assert_eq!(token_prefix(&text), expected, "{byte:#x} at {at} of {len}");
                }
            }
        }
    }

    #[test]
    fn every_byte_of_a_token_is_one_of_its_class() {
        for len in 1..=20 {
            for at in 0..len {
                for byte in 0..=255u8 {
                    let mut text = b"Aa-Zz-Content-Length"[..len].to_vec();
                    text[at] = byte;
                    assert_eq!(
                        is_token(&text),
                        TOKEN[usize::from(byte)],
                        "{byte:#x} at {at} of {len}"
                    );
                }
            }
        }
        assert!(!is_token(b""));
    }

    #[test]
    fn decimals_are_digits_that_fit() {
        assert_eq!(decimal(b"18446744073709551615"), Some(u64::MAX));
        for bad in [&b""[..], b"+1", b" 1", b"1_0", b"18446744073709551616"] {
            assert_eq!(decimal(bad), None);
        }
    }
}

//! The character classes of RFC 9110.

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
    !bytes.is_empty() && bytes.iter().all(|&b| TOKEN[usize::from(b)])
}

/// Whether these bytes may stand in a field value: no control but the tab.
/// <https://www.rfc-editor.org/rfc/rfc9110#section-5.5>
pub(crate) fn is_field_value(bytes: &[u8]) -> bool {
    value_end(bytes, 0) == bytes.len()
}

/// Where the field value that starts at `from` ends: at the first control that is not a tab.
#[inline]
pub(crate) fn value_end(bytes: &[u8], from: usize) -> usize {
    let mut at = from;
    loop {
        at += plain_prefix(&bytes[at..]);
        if bytes.get(at) != Some(&b'\t') {
            return at;
        }
        at += 1;
    }
}

/// Bytes before the first control.
#[inline]
fn plain_prefix(bytes: &[u8]) -> usize {
    let (words, rest) = bytes.as_chunks::<8>();
    for (i, word) in words.iter().enumerate() {
        let controls = controls(u64::from_le_bytes(*word));
        if controls != 0 {
            return i * 8 + (controls.trailing_zeros() / 8) as usize;
        }
    }
    let plain = rest.iter().take_while(|&&b| b >= 0x20 && b != 0x7f).count();
    words.len() * 8 + plain
}

/// Bytes before the first that cannot stand in a token.
#[inline]
pub(crate) fn token_prefix(bytes: &[u8]) -> usize {
    let mut at = 0;
    // Names are letters and dashes, nearly always: eight at a time.
    while let Some(word) = bytes.get(at..).and_then(<[u8]>::first_chunk::<8>) {
        let others = others(u64::from_le_bytes(*word));
        if others != 0 {
            at += (others.trailing_zeros() / 8) as usize;
            break;
        }
        at += 8;
    }
    while bytes.get(at).is_some_and(|&b| TOKEN[usize::from(b)]) {
        at += 1;
    }
    at
}

const ONES: u64 = u64::MAX / 255;
const HIGH: u64 = ONES * 0x80;

/// Marks the high bit of bytes below 0x20 and of 0x7f. The lowest mark is always right; a mark
/// above it may be false.
const fn controls(word: u64) -> u64 {
    // A byte underflows where it is below 0x20; where it equals 0x7f the exclusive-or is zero.
    let below = word.wrapping_sub(ONES * 0x20) & !word;
    let delete = word ^ (ONES * 0x7f);
    (below | (delete.wrapping_sub(ONES) & !delete)) & HIGH
}

/// Marks the high bit of bytes that are neither a letter nor a dash.
const fn others(word: u64) -> u64 {
    // Seven bits a byte: no sum reaches the next byte.
    let low = (word | (ONES * 0x20)) & !HIGH;
    let letter = (low + ONES * (0x80 - b'a' as u64)) & !(low + ONES * (0x7f - b'z' as u64));
    let dash = ((word ^ (ONES * b'-' as u64)) & !HIGH) + ONES * 0x7f;
    (!(letter | !dash) | word) & HIGH
}

/// Takes the white space off both ends: <https://www.rfc-editor.org/rfc/rfc9110#section-5.6.3>
pub(crate) fn trim(bytes: &[u8]) -> &[u8] {
    let blank = |b: &u8| matches!(b, b' ' | b'\t');
    let start = bytes.iter().position(|b| !blank(b)).unwrap_or(bytes.len());
    let end = bytes.iter().rposition(|b| !blank(b)).map_or(start, |i| i + 1);
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
            for at in 0..20 {
                let mut value = [b'a'; 20];
                value[at] = byte;
                assert_eq!(is_field_value(&value), plain, "{byte:#x} at {at}");
            }
        }
    }

    #[test]
    fn a_token_ends_where_its_grammar_says() {
        for byte in 0..=255u8 {
            for at in 0..20 {
                let mut text = *b"Aa-Zz-Content-Length";
                text[at] = byte;
                let expected = if TOKEN[usize::from(byte)] { text.len() } else { at };
                assert_eq!(token_prefix(&text), expected, "{byte:#x} at {at}");
            }
        }
    }

    #[test]
    fn decimals_are_digits_that_fit() {
        assert_eq!(decimal(b"18446744073709551615"), Some(u64::MAX));
        for bad in [&b""[..], b"+1", b" 1", b"1_0", b"18446744073709551616"] {
            assert_eq!(decimal(bad), None);
        }
    }
}

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
        let (wide, _) = bytes[at..].as_chunks::<16>();
        at += 16 * wide.iter().take_while(|chunk| !has_control(chunk)).count();
        let (words, _) = bytes[at..].as_chunks::<8>();
        for word in words {
            let controls = controls(u64::from_le_bytes(*word));
            if controls != 0 {
                at += (controls.trailing_zeros() / 8) as usize;
                break;
            }
            at += 8;
        }
        while at < bytes.len() && bytes[at] >= 0x20 && bytes[at] != 0x7f {
            at += 1;
        }
        if bytes.get(at) != Some(&b'\t') {
            return at;
        }
        at += 1;
    }
}

/// Compiles to a few vector instructions.
#[inline]
#[expect(clippy::needless_bitwise_bool, reason = "without branches it vectorizes")]
fn has_control(chunk: &[u8; 16]) -> bool {
    chunk.iter().fold(false, |found, &b| found | (b < 0x20) | (b == 0x7f))
}

/// Marks the high bit of bytes below 0x20 and of 0x7f. The lowest mark is always right; a mark
/// above it may be false.
const fn controls(word: u64) -> u64 {
    const ONES: u64 = u64::MAX / 255;
    // A byte underflows where it is below 0x20; where it equals 0x7f the exclusive-or is zero.
    let below = word.wrapping_sub(ONES * 0x20) & !word;
    let delete = word ^ (ONES * 0x7f);
    (below | (delete.wrapping_sub(ONES) & !delete)) & (ONES * 0x80)
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
    fn decimals_are_digits_that_fit() {
        assert_eq!(decimal(b"18446744073709551615"), Some(u64::MAX));
        for bad in [&b""[..], b"+1", b" 1", b"1_0", b"18446744073709551616"] {
            assert_eq!(decimal(bad), None);
        }
    }
}

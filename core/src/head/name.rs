//! Field names compare without regard to case:
//! <https://www.rfc-editor.org/rfc/rfc9110#section-5.1>

/// Whether a name is `lower`, which consists of small letters and dashes.
///
/// `name` must be free of controls, as every name and value is that was parsed: then only a letter
/// becomes another one by that bit.
#[inline]
#[expect(clippy::needless_bitwise_bool, reason = "without short cuts it is one comparison")]
pub(crate) fn is_name<const N: usize>(name: &[u8], lower: &[u8; N]) -> bool {
    name.len() == N
        && name.iter().zip(lower).fold(true, |same, (byte, lower)| same & (byte | 0x20 == *lower))
}

/// Whether two names are the same, case aside. Eight bytes at a time: a standard comparison folds
/// them one by one, and this is asked for several lines of every head.
#[inline]
pub(crate) fn same_name(a: &[u8], b: &[u8]) -> bool {
    if a.len() != b.len() {
        return false;
    }
    // The last word may overlap the one before it.
    match (a.last_chunk::<8>(), b.last_chunk::<8>()) {
        (Some(a_end), Some(b_end)) => {
            let starts = a.as_chunks::<8>().0.iter().zip(b.as_chunks::<8>().0);
            starts.fold(true, |same, (a, b)| same & (folded(*a) == folded(*b)))
                && folded(*a_end) == folded(*b_end)
        }
        _ => match (halves(a), halves(b)) {
            (Some(a), Some(b)) => folded(a) == folded(b),
            _ => a.eq_ignore_ascii_case(b),
        },
    }
}

/// Four to eight bytes as eight: the first four and the last four.
fn halves(name: &[u8]) -> Option<[u8; 8]> {
    let (first, last) = (name.first_chunk::<4>()?, name.last_chunk::<4>()?);
    let mut word = [0; 8];
    word[..4].copy_from_slice(first);
    word[4..].copy_from_slice(last);
    Some(word)
}

/// Eight bytes with their ASCII letters in lower case.
#[inline]
const fn folded(word: [u8; 8]) -> u64 {
    const ONES: u64 = u64::MAX / 255;
    const HIGH: u64 = ONES * 0x80;
    let word = u64::from_le_bytes(word);
    // Seven bits a byte: no sum reaches the next byte.
    let low = word & !HIGH;
    let upper = (low + ONES * (0x80 - b'A' as u64)) & !(low + ONES * (0x7f - b'Z' as u64)) & !word;
    word | ((upper & HIGH) >> 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_known_name_is_found_in_any_case() {
        for at in 0..10 {
            for byte in (0x20..=255).filter(|byte| *byte != 0x7f) {
                let mut name = *b"kEEp-ALive";
                name[at] = byte;
                let same = name.eq_ignore_ascii_case(b"keep-alive");
                assert_eq!(is_name(&name, b"keep-alive"), same, "{byte:#x} at {at}");
            }
        }
        assert!(!is_name(b"keep-aliv", b"keep-alive") && !is_name(b"", b"keep-alive"));
    }

    #[test]
    fn agrees_with_the_standard_for_every_byte_and_length() {
        for len in 0..20 {
            let name = &b"aZ-_x9Az.~content-le"[..len];
            for at in 0..len {
                for byte in 0..=255 {
                    let mut other = name.to_ascii_uppercase();
                    other[at] = byte;
                    let same = name.eq_ignore_ascii_case(&other);
                    assert_eq!(same_name(name, &other), same, "{byte:#x} at {at} of {len}");
                }
            }
            assert!(!same_name(name, &b"aZ-_x9Az.~content-length"[..=len]));
        }
    }
}

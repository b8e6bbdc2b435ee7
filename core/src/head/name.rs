//! Field names compare without regard to case:
//! <https://www.rfc-editor.org/rfc/rfc9110#section-5.1>

/// Tells most names that are not in a set by their last letter but one and their length, before one is
/// compared.
pub(crate) struct NameFilter([u32; 256]);

impl NameFilter {
    /// For these names, in small letters, of 2 to 31 bytes.
    pub(crate) const fn new(names: &[&[u8]]) -> Self {
        let mut lengths = [0; 256];
        let mut i = 0;
        while i < names.len() {
            let bit = 1 << names[i].len();
            let letter = names[i][names[i].len() - 2];
            lengths[letter as usize] |= bit;
            lengths[letter.to_ascii_uppercase() as usize] |= bit;
            i += 1;
        }
        Self(lengths)
    }

    /// Whether the set may hold this name, in any case; `false` is certain. A name that is longer by a
    /// multiple of 32 is taken for one of the set.
    #[inline]
    pub(crate) fn may_hold(&self, name: &[u8]) -> bool {
        match name {
            [.., letter, _] => self.may_hold_one(*letter, name.len()),
            _ => false,
        }
    }

    /// Whether the set may hold a name with this letter before its last one, and of this length.
    #[inline]
    pub(crate) fn may_hold_one(&self, letter: u8, len: usize) -> bool {
        self.0[usize::from(letter)].wrapping_shr(len as u32) & 1 == 1
    }
}

/// Whether a name is `lower`, which consists of small letters and dashes.
///
/// `name` must be free of controls, as every name and value is that was parsed: then only a letter
/// becomes another one by that bit.
#[inline]
#[expect(clippy::needless_bitwise_bool, reason = "without short cuts it is one comparison")]
pub(crate) fn is_name<const N: usize>(name: &[u8], lower: &[u8; N]) -> bool {
    const CASE: u64 = u64::MAX / 255 * 0x20;
    let Ok(name) = <&[u8; N]>::try_from(name) else { return false };
    // Two words, which may overlap, wherever they are all of it.
    if let (Some(first), Some(last)) = (name.first_chunk::<8>(), name.last_chunk::<8>())
        && let (Some(lower_first), Some(lower_last)) = (lower.first_chunk(), lower.last_chunk())
        && N <= 16
    {
        let differ =
            |a: &[u8; 8], b: &[u8; 8]| (u64::from_ne_bytes(*a) | CASE) ^ u64::from_ne_bytes(*b);
        return differ(first, lower_first) | differ(last, lower_last) == 0;
    }
    name.iter().zip(lower).fold(true, |same, (byte, lower)| same & (byte | 0x20 == *lower))
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
            let mut starts = a.as_chunks::<8>().0.iter().zip(b.as_chunks::<8>().0);
            starts.all(|(a, b)| same_word(*a, *b)) && same_word(*a_end, *b_end)
        }
        _ => match (halves(a), halves(b)) {
            (Some(a), Some(b)) => same_word(a, b),
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

/// Whether eight bytes differ in nothing but the case of ASCII letters.
#[inline]
const fn same_word(a: [u8; 8], b: [u8; 8]) -> bool {
    const ONES: u64 = u64::MAX / 255;
    const HIGH: u64 = ONES * 0x80;
    let (a, b) = (u64::from_le_bytes(a), u64::from_le_bytes(b));
    // Mostly they are written alike.
    if a == b {
        return true;
    }
    // Seven bits a byte: no sum reaches the next byte.
    let low = (a | (ONES * 0x20)) & !HIGH;
    let letter = (low + ONES * (0x80 - b'a' as u64)) & !(low + ONES * (0x7f - b'z' as u64)) & !a;
    (a ^ b) & !((letter & HIGH) >> 2) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_lets_through_what_ends_and_is_as_long_as_a_name_of_its_set() {
        let filter = NameFilter::new(&[b"host", b"expect", b"connection"]);
        for len in 0..100 {
            for letter in 0..=u8::MAX {
                let mut name = vec![b'-'; len];
                if let [.., last_but_one, _] = &mut name[..] {
                    *last_but_one = letter;
                }
                let lengths: &[usize] = match letter {
                    b's' | b'S' => &[4],
                    b'c' | b'C' => &[6],
                    b'o' | b'O' => &[10],
                    _ => &[],
                };
                let may = len > 1 && lengths.contains(&(len % 32));
                assert_eq!(filter.may_hold(&name), may, "{letter:#x}, {len}");
            }
        }
        assert!(!filter.may_hold(b""));
    }

    #[test]
    fn a_known_name_is_found_in_any_case() {
        fn check<const N: usize>(spelled: [u8; N], lower: &[u8; N]) {
            for at in 0..N {
                for byte in (0x20..=255).filter(|byte| *byte != 0x7f) {
                    let mut name = spelled;
                    name[at] = byte;
                    let same = name.eq_ignore_ascii_case(lower);
                    assert_eq!(is_name(&name, lower), same, "{byte:#x} at {at} of {N}");
                }
            }
        }
        check(*b"DAte", b"date");
        check(*b"kEEp-ALive", b"keep-alive");
        check(*b"x-FORWARDED-pROTO", b"x-forwarded-proto");
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

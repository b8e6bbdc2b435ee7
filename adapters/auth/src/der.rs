//! The two DER structures that keys and signatures of JOSE are turned into.

/// `SEQUENCE { INTEGER a, INTEGER b }`, both unsigned and big-endian.
pub(crate) fn two_integers(a: &[u8], b: &[u8]) -> Vec<u8> {
    let mut content = integer(a);
    content.extend(integer(b));
    element(0x30, &content)
}

/// An unsigned integer in its shortest form.
fn integer(bytes: &[u8]) -> Vec<u8> {
    let start = bytes.iter().position(|&byte| byte != 0).unwrap_or(bytes.len());
    let mut content = Vec::with_capacity(bytes.len() + 1);
    // A leading bit would make it negative.
    if bytes.get(start).is_none_or(|&first| first & 0x80 != 0) {
        content.push(0);
    }
    content.extend_from_slice(&bytes[start..]);
    element(0x02, &content)
}

fn element(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut bytes = vec![tag];
    match content.len() {
        len @ 0..0x80 => bytes.push(len as u8),
        len => {
            let len = len.to_be_bytes();
            let start = len.iter().position(|&byte| byte != 0).unwrap_or(len.len());
            bytes.push(0x80 | (len.len() - start) as u8);
            bytes.extend_from_slice(&len[start..]);
        }
    }
    bytes.extend_from_slice(content);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_are_short_and_positive() {
        assert_eq!(two_integers(&[0, 0, 1], &[0x80]), [0x30, 7, 2, 1, 1, 2, 2, 0, 0x80]);
        assert_eq!(two_integers(&[], &[0]), [0x30, 6, 2, 1, 0, 2, 1, 0]);
    }

    #[test]
    fn long_contents_say_their_length_in_bytes() {
        let long = two_integers(&[1; 200], &[1; 200]);
        assert_eq!(long[..7], [0x30, 0x82, 0x01, 0x96, 0x02, 0x81, 200]);
        assert_eq!(long.len(), 4 + 0x196);
    }
}

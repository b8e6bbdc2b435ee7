//! The frame of a TLS record, as far as a layer has to see it.

/// Bytes of a record's header: type, version, length.
const HEADER: usize = 5;
/// The largest record that rustls takes: 2^14 bytes and the expansion of TLS 1.2.
/// <https://www.rfc-editor.org/rfc/rfc5246#section-6.2.3>
const MAX_FRAGMENT: usize = 16 * 1024 + 2048;

/// How many bytes at the front of `bytes` can be handed to rustls as one piece: a whole record, or,
/// where no record can start like this, everything, so that rustls refuses it at once.
///
/// One record at a time keeps the plaintext ahead of the inner machine to one record, and makes
/// what is delivered before an error independent of how the input was cut.
pub(crate) fn next_len(bytes: &[u8]) -> Option<usize> {
    let (&[kind, major, _, high, low], _) = bytes.split_first_chunk::<HEADER>()?;
    let fragment = usize::from(u16::from_be_bytes([high, low]));
    // ChangeCipherSpec, Alert, Handshake, ApplicationData, Heartbeat; a legacy version of the 3.x line.
    if !(20..=24).contains(&kind) || major != 3 || fragment > MAX_FRAGMENT {
        return Some(bytes.len());
    }
    (bytes.len() >= HEADER + fragment).then_some(HEADER + fragment)
}

#[cfg(test)]
mod tests {
    use super::next_len;

    #[test]
    fn a_record_is_taken_whole() {
        let mut bytes = vec![23, 3, 3, 0, 4];
        for byte in 0..4 {
            assert_eq!(next_len(&bytes), None);
            bytes.push(byte);
        }
        assert_eq!(next_len(&bytes), Some(9));
        bytes.extend_from_slice(&[23, 3, 3]);
        assert_eq!(next_len(&bytes), Some(9));
    }

    #[test]
    fn what_is_no_record_is_not_waited_for() {
        assert_eq!(next_len(b"GET "), None);
        assert_eq!(next_len(b"GET /"), Some(5));
        assert_eq!(next_len(&[22, 3, 1, 0xff, 0xff, 0]), Some(6));
    }
}

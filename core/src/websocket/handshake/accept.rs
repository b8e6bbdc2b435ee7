//! The answer to a key: <https://www.rfc-editor.org/rfc/rfc6455#section-4.2.2>

/// What the server appends to the key.
const GUID: &[u8; 36] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// The value of `Sec-WebSocket-Accept`. It proves that the server read the key, and nothing else.
pub(super) fn accept(key: &[u8]) -> [u8; 28] {
    let mut text = [0; 60];
    let (start, end) = text.split_at_mut(24);
    for (to, from) in start.iter_mut().zip(key) {
        *to = *from;
    }
    end.copy_from_slice(GUID);
    let mut value = [0; 28];
    base64(&sha1(&text), &mut value);
    value
}

/// <https://www.rfc-editor.org/rfc/rfc4648#section-4>
pub(super) fn base64(bytes: &[u8], to: &mut [u8]) {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (four, three) in to.chunks_exact_mut(4).zip(bytes.chunks(3)) {
        let byte = |at: usize| three.get(at).map_or(0, |byte| u32::from(*byte));
        let word = byte(0) << 16 | byte(1) << 8 | byte(2);
        for (at, digit) in four.iter_mut().enumerate() {
            let shift = 18 - 6 * at;
            *digit = if at > three.len() { b'=' } else { DIGITS[(word >> shift) as usize & 63] };
        }
    }
}

/// SHA-1 of the sixty bytes that a key and the server's text are.
/// <https://www.rfc-editor.org/rfc/rfc3174#section-6.1>
fn sha1(message: &[u8; 60]) -> [u8; 20] {
    // Sixty bytes, the bit behind them and the length in bits fill two blocks.
    let mut padded = [0; 128];
    padded[..60].copy_from_slice(message);
    padded[60] = 0x80;
    padded[120..].copy_from_slice(&(60u64 * 8).to_be_bytes());
    let mut hash = [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476, 0xc3d2_e1f0];
    for block in padded.as_chunks::<64>().0 {
        compress(&mut hash, block);
    }
    let mut digest = [0; 20];
    for (to, word) in digest.as_chunks_mut::<4>().0.iter_mut().zip(hash) {
        *to = word.to_be_bytes();
    }
    digest
}

#[expect(clippy::many_single_char_names, reason = "the names of the specification")]
fn compress(hash: &mut [u32; 5], block: &[u8; 64]) {
    let mut w = [0u32; 80];
    for (word, bytes) in w.iter_mut().zip(block.as_chunks::<4>().0) {
        *word = u32::from_be_bytes(*bytes);
    }
    for t in 16..80 {
        w[t] = (w[t - 3] ^ w[t - 8] ^ w[t - 14] ^ w[t - 16]).rotate_left(1);
    }
    let [mut a, mut b, mut c, mut d, mut e] = *hash;
    for (t, word) in w.iter().enumerate() {
        let (f, k) = match t {
            0..20 => ((b & c) | (!b & d), 0x5a82_7999),
            20..40 => (b ^ c ^ d, 0x6ed9_eba1),
            40..60 => ((b & c) | (b & d) | (c & d), 0x8f1b_bcdc),
            _ => (b ^ c ^ d, 0xca62_c1d6),
        };
        let next = a.rotate_left(5).wrapping_add(f).wrapping_add(e);
        let next = next.wrapping_add(*word).wrapping_add(k);
        (e, d, c, b, a) = (d, c, b.rotate_left(30), a, next);
    }
    for (sum, word) in hash.iter_mut().zip([a, b, c, d, e]) {
        *sum = sum.wrapping_add(word);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tungstenite::handshake::derive_accept_key;

    use super::*;

    #[test]
    fn the_key_of_the_rfc_has_its_answer() {
        assert_eq!(&accept(b"dGhlIHNhbXBsZSBub25jZQ=="), b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    proptest! {
        #[test]
        fn keys_are_answered_as_by_tungstenite(nonce: [u8; 16]) {
            let mut key = [0; 24];
            base64(&nonce, &mut key);
            let expected = derive_accept_key(&key);
            prop_assert_eq!(&accept(&key)[..], expected.as_bytes());
        }
    }
}

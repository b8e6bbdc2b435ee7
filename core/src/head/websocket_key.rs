//! The key of an opening handshake: <https://www.rfc-editor.org/rfc/rfc6455#section-4.1>

use super::Single;
/// The name of the field that carries it.
pub(crate) const WEBSOCKET_KEY: &str = "sec-websocket-key";

/// The value of the field, if there is one, and one only, and it is sound.
pub(crate) fn websocket_key<'a>(values: impl IntoIterator<Item = &'a [u8]>) -> Option<&'a [u8]> {
    match Single::of(values) {
        Single::Once(key) if is_nonce(key) => Some(key),
        _ => None,
    }
}

/// Base64 of sixteen bytes: 22 digits, of which the last carries two bits, and two pads.
fn is_nonce(key: &[u8]) -> bool {
    let digit = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/');
    key.len() == 24
        && key.ends_with(b"==")
        && key[..22].iter().all(digit)
        && matches!(key[21], b'A' | b'Q' | b'g' | b'w')
}

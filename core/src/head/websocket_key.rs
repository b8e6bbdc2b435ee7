//! The key of an opening handshake: <https://www.rfc-editor.org/rfc/rfc6455#section-4.1>

use super::{Fields, Single};

/// The value of `Sec-WebSocket-Key`, if there is one, and one only, and it is sound.
pub(crate) fn websocket_key(fields: &Fields) -> Option<&[u8]> {
    match fields.single("sec-websocket-key") {
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

//! What a request to switch protocols must look like: <https://www.rfc-editor.org/rfc/rfc9110#section-7.8>

use http::Method;

use super::grammar::list;
use crate::error::Violation;
use crate::head::Fields;

/// Refuses an opening handshake that WebSocket forbids, so that no application answers it.
/// <https://www.rfc-editor.org/rfc/rfc6455#section-4.2.1>
pub(crate) fn check(method: &Method, offered: &[u8], fields: &Fields) -> Result<(), Violation> {
    if !list(offered).any(|protocol| protocol.eq_ignore_ascii_case(b"websocket")) {
        return Ok(());
    }
    let mut keys = fields.get_all("sec-websocket-key");
    let sound = keys.next().is_some_and(is_nonce) && keys.next().is_none();
    if *method == Method::GET && sound { Ok(()) } else { Err(Violation::Upgrade) }
}

/// Base64 of sixteen bytes: 22 digits, of which the last carries two bits, and two pads.
fn is_nonce(key: &[u8]) -> bool {
    let digit = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/');
    key.len() == 24
        && key.ends_with(b"==")
        && key[..22].iter().all(digit)
        && matches!(key[21], b'A' | b'Q' | b'g' | b'w')
}

/// Whether `chosen` is one of the protocols in `offered`.
pub(crate) fn is_offered(offered: &[u8], chosen: &[u8]) -> bool {
    list(chosen).all(|chosen| list(offered).any(|offer| offer.eq_ignore_ascii_case(chosen)))
}

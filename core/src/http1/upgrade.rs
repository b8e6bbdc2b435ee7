//! What a request to switch protocols must look like: <https://www.rfc-editor.org/rfc/rfc9110#section-7.8>

use http::Method;

use super::grammar::list;
use crate::error::Violation;
use crate::head::websocket_key;

/// Refuses an opening handshake that WebSocket forbids, so that no application answers it.
/// <https://www.rfc-editor.org/rfc/rfc6455#section-4.2.1>
pub(crate) fn check<'a>(
    method: &Method,
    offered: &[u8],
    keys: impl IntoIterator<Item = &'a [u8]>,
) -> Result<(), Violation> {
    if !list(offered).any(|protocol| protocol.eq_ignore_ascii_case(b"websocket")) {
        return Ok(());
    }
    let sound = *method == Method::GET && websocket_key(keys).is_some();
    if sound { Ok(()) } else { Err(Violation::Upgrade) }
}

/// Whether `chosen` is one of the protocols in `offered`.
pub(crate) fn is_offered(offered: &[u8], chosen: &[u8]) -> bool {
    list(chosen).all(|chosen| list(offered).any(|offer| offer.eq_ignore_ascii_case(chosen)))
}

//! Names in paths.

use std::fmt::Write as _;

/// A name as one segment of a path. <https://www.rfc-editor.org/rfc/rfc3986#section-3.3>
pub(crate) fn segment(name: &str) -> String {
    let mut segment = String::new();
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            segment.push(char::from(byte));
        } else {
            let _ = write!(segment, "%{byte:02X}");
        }
    }
    segment
}

//! The normal form of a path: what the router matches and what parameters are cut from.
//!
//! Each segment is decoded exactly once. Two escapes stay as they are, because decoding them would
//! change what the path means before it was cut: `%2F`, which must not split a segment, and `%25`,
//! so that the first stays recognisable.

use core::fmt;
use std::borrow::Cow;

/// Why a path is answered with 400 before any route is looked at.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum BadPath {
    /// A `.` or `..` segment, escaped or not, also behind an escaped slash.
    DotSegment,
    /// A backslash, or an escaped control byte such as `%00`.
    Control,
    /// Escapes that do not decode to UTF-8.
    Utf8,
    /// A `%` that is not followed by two hexadecimal digits.
    Escape,
}

impl BadPath {
    /// One phrase in plain words.
    pub const fn explain(self) -> &'static str {
        match self {
            Self::DotSegment => "the path has a dot segment",
            Self::Control => "the path has a control byte or a backslash",
            Self::Utf8 => "the path is not UTF-8",
            Self::Escape => "the path has a malformed escape",
        }
    }
}

impl fmt::Display for BadPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.explain())
    }
}

impl core::error::Error for BadPath {}

const ESCAPE: u8 = 1;
const CONTROL: u8 = 2;
const DOT: u8 = 4;

/// What has to be looked at more closely.
const MARK: [u8; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 0x20 {
        table[byte] = CONTROL;
        byte += 1;
    }
    table[0x7f] = CONTROL;
    table[b'\\' as usize] = CONTROL;
    table[b'%' as usize] = ESCAPE;
    table[b'.' as usize] = DOT;
    table
};

/// Checks a path and brings it into normal form; borrows it where it is in that form already.
pub(super) fn normalise(path: &str) -> Result<Cow<'_, str>, BadPath> {
    // No early exit and no branch: a byte costs a look-up.
    let seen = path.bytes().fold(0, |seen, byte| seen | MARK[usize::from(byte)]);
    let (escape, control, dot) = (seen & ESCAPE != 0, seen & CONTROL != 0, seen & DOT != 0);
    if control {
        return Err(BadPath::Control);
    }
    if !escape {
        return if dot && has_dot_segment(path) {
            Err(BadPath::DotSegment)
        } else {
            Ok(Cow::Borrowed(path))
        };
    }
    let normal = decode_most(path)?;
    // An escaped slash does not split a segment here, but may further on.
    if has_dot_segment(&decode_rest(&normal)) {
        return Err(BadPath::DotSegment);
    }
    Ok(Cow::Owned(normal))
}

fn has_dot_segment(path: &str) -> bool {
    path.split('/').any(|segment| matches!(segment, "." | ".."))
}

/// Decodes the two escapes that the normal form keeps.
pub(super) fn decode_rest(normal: &str) -> Cow<'_, str> {
    if normal.bytes().any(|byte| byte == b'%') {
        Cow::Owned(normal.replace("%2F", "/").replace("%25", "%"))
    } else {
        Cow::Borrowed(normal)
    }
}

/// Decodes every escape but `%2F` and `%25`, which come out in upper case.
fn decode_most(path: &str) -> Result<String, BadPath> {
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path.as_bytes();
    while let Some((&byte, behind)) = rest.split_first() {
        rest = behind;
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let (digits, behind) = rest.split_at_checked(2).ok_or(BadPath::Escape)?;
        rest = behind;
        let value = digits.iter().try_fold(0u8, |value, &digit| {
            let digit = char::from(digit).to_digit(16).ok_or(BadPath::Escape)?;
            Ok(value << 4 | u8::try_from(digit).unwrap_or_default())
        })?;
        match value {
            b'/' => bytes.extend_from_slice(b"%2F"),
            b'%' => bytes.extend_from_slice(b"%25"),
            // What a next hop or a file system could take for something else.
            b'\\' | 0..0x20 | 0x7f => return Err(BadPath::Control),
            value => bytes.push(value),
        }
    }
    String::from_utf8(bytes).map_err(|_| BadPath::Utf8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decodes_once_and_keeps_segments_apart() {
        for (path, normal, decoded) in [
            ("/a/b", "/a/b", "/a/b"),
            ("/%61%2Fb", "/a%2Fb", "/a/b"),
            ("/a%2fb%252F", "/a%2Fb%252F", "/a/b%2F"),
            ("/caf%C3%A9", "/café", "/café"),
            ("/a.b/..c/.d", "/a.b/..c/.d", "/a.b/..c/.d"),
        ] {
            let found = normalise(path).unwrap();
            assert_eq!(found, normal);
            assert_eq!(decode_rest(&found), decoded);
        }
    }

    #[test]
    fn refuses_what_the_next_hop_may_read_otherwise() {
        for (path, why) in [
            ("/a/../b", BadPath::DotSegment),
            ("/a/.", BadPath::DotSegment),
            ("/a/%2e%2E/b", BadPath::DotSegment),
            ("/a/x%2F..%2Fb", BadPath::DotSegment),
            ("/a%00", BadPath::Control),
            ("/a%5Cb", BadPath::Control),
            ("/a\\b", BadPath::Control),
            ("/a%0d%0a", BadPath::Control),
            ("/%ff", BadPath::Utf8),
            ("/%4", BadPath::Escape),
            ("/%zz", BadPath::Escape),
        ] {
            assert_eq!(normalise(path), Err(why), "{path}");
        }
    }
}

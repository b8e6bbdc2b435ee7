//! The request target, split once.

use http::Method;
use memchr::memchr;

/// The four forms of a target.
/// <https://www.rfc-editor.org/rfc/rfc9112#section-3.2>
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum TargetForm {
    /// `/path?query`
    Origin,
    /// `http://authority/path?query`
    Absolute,
    /// `host:port`, for CONNECT alone
    Authority,
    /// `*`, for OPTIONS alone
    Asterisk,
}

/// A target as spans relative to its own first byte.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Target {
    pub(crate) form: TargetForm,
    pub(crate) authority: (u16, u16),
    pub(crate) path: (u16, u16),
    pub(crate) query: Option<(u16, u16)>,
}

impl Target {
    /// Splits a target, or says with `None` that it has none of the forms that fit the method.
    pub(crate) fn split(method: &Method, target: &[u8]) -> Option<Self> {
        // https://www.rfc-editor.org/rfc/rfc9112#section-3.2.3
        if *method == Method::CONNECT {
            let len = u16::try_from(target.len()).ok()?;
            let has_port = target.iter().rposition(|&b| b == b':')? + 1 < target.len();
            return (has_port && is_host(target)).then_some(Self {
                form: TargetForm::Authority,
                authority: (0, len),
                path: (0, 0),
                query: None,
            });
        }
        if target == b"*" {
            // https://www.rfc-editor.org/rfc/rfc9112#section-3.2.4
            return (*method == Method::OPTIONS).then_some(Self {
                form: TargetForm::Asterisk,
                authority: (0, 0),
                path: (0, 1),
                query: None,
            });
        }
        if target.first() == Some(&b'/') {
            return Self::with_path(TargetForm::Origin, (0, 0), target, 0);
        }
        // https://www.rfc-editor.org/rfc/rfc9112#section-3.2.2
        let scheme = target.iter().position(|&b| b == b':')?;
        let known = target[..scheme].eq_ignore_ascii_case(b"http")
            || target[..scheme].eq_ignore_ascii_case(b"https");
        let rest = target[scheme..].strip_prefix(b"://").filter(|_| known)?;
        let start = scheme + 3;
        let len = rest.iter().position(|b| matches!(b, b'/' | b'?')).unwrap_or(rest.len());
        if !is_host(&rest[..len]) {
            return None;
        }
        let authority = (u16::try_from(start).ok()?, u16::try_from(len).ok()?);
        Self::with_path(TargetForm::Absolute, authority, target, start + len)
    }

    fn with_path(
        form: TargetForm,
        authority: (u16, u16),
        target: &[u8],
        at: usize,
    ) -> Option<Self> {
        let rest = &target[at..];
        let seen = rest.iter().fold(0, |seen, &byte| seen | CLASS[usize::from(byte)]);
        if seen & REFUSED != 0 {
            return None;
        }
        let query_at = match seen & QUESTION {
            0 => None,
            _ => memchr(b'?', rest),
        };
        let path = &rest[..query_at.unwrap_or(rest.len())];
        if seen & PERCENT != 0 && !percent_is_sound(path) {
            return None;
        }
        let at = u16::try_from(at).ok()?;
        let path = (at, u16::try_from(path.len()).ok()?);
        let query = match query_at {
            Some(i) => {
                let i = u16::try_from(i).ok()?;
                Some((at + i + 1, u16::try_from(rest.len()).ok()? - i - 1))
            }
            None => None,
        };
        Some(Self { form, authority, path, query })
    }
}

/// Whether every `%` of a path starts a `%XX`: decoding it later cannot fail.
fn percent_is_sound(path: &[u8]) -> bool {
    path.iter().enumerate().filter(|(_, b)| **b == b'%').all(|(i, _)| {
        path.get(i + 1..i + 3).is_some_and(|hex| hex.iter().all(u8::is_ascii_hexdigit))
    })
}

/// Whether this is a host with an optional port, as `Host` and authority-form have it.
///
/// Stricter than <https://www.rfc-editor.org/rfc/rfc3986#section-3.2.2>: no userinfo (RFC 9110
/// 4.2.4), no percent-encoding, no comma, a port that fits 16 bits.
pub(crate) fn is_host(authority: &[u8]) -> bool {
    let (host_ok, rest) = match authority.strip_prefix(b"[") {
        Some(bracketed) => {
            let Some(end) = bracketed.iter().position(|&b| b == b']') else { return false };
            let address = core::str::from_utf8(&bracketed[..end]).unwrap_or_default();
            (address.parse::<core::net::Ipv6Addr>().is_ok(), &bracketed[end + 1..])
        }
        None => {
            let end = authority.iter().position(|&b| !HOST[usize::from(b)]);
            let end = end.unwrap_or(authority.len());
            (end > 0, &authority[end..])
        }
    };
    if !host_ok {
        return false;
    }
    match rest {
        [] => true,
        [b':', port @ ..] => {
            let value = port.iter().try_fold(0u32, |value, digit| {
                digit.is_ascii_digit().then(|| (value * 10 + u32::from(digit - b'0')).min(65_536))
            });
            value.is_some_and(|port| port <= 65_535)
        }
        _ => false,
    }
}

const QUESTION: u8 = 1;
const PERCENT: u8 = 2;
const REFUSED: u8 = 4;

/// What may stand in a path or query. Beyond the grammar of RFC 3986 the bytes that browsers leave
/// unescaped are taken (`[ ] { | } ^` and the back tick); what could be read as something else by
/// the next hop is not (`# \ " < >`, white space, controls, everything above ASCII).
const CLASS: [u8; 256] = {
    let mut table = [REFUSED; 256];
    let mut byte = 0x21;
    while byte < 0x7f {
        table[byte] = match byte as u8 {
            b'#' | b'\\' | b'"' | b'<' | b'>' => REFUSED,
            b'?' => QUESTION,
            b'%' => PERCENT,
            _ => 0,
        };
        byte += 1;
    }
    table
};

/// `unreserved` and `sub-delims` of RFC 3986 without the comma.
const HOST: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 128 {
        table[byte] = (byte as u8).is_ascii_alphanumeric();
        byte += 1;
    }
    let others = b"-._~!$&'()*+;=";
    let mut i = 0;
    while i < others.len() {
        table[others[i] as usize] = true;
        i += 1;
    }
    table
};

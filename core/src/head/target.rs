//! The request target, split once.
#![expect(clippy::inline_always, reason = "a vector is not passed from function to function")]

use http::Method;

use crate::block::{Block, Marks, all, others_in, prefix};

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
    /// Splits what was scanned, or says with `None` that it has none of the forms that fit the
    /// method.
    #[inline]
    pub(crate) fn split(method: &Method, scanned: &Scanned<'_>) -> Option<Self> {
        // Nearly always.
        if scanned.target.first() == Some(&b'/') && *method != Method::CONNECT {
            return Self::with_path(TargetForm::Origin, (0, 0), scanned, 0);
        }
        Self::split_other(method, scanned)
    }

    /// The same, of any form but the origin-form.
    #[inline(never)]
    fn split_other(method: &Method, scanned: &Scanned<'_>) -> Option<Self> {
        let target = scanned.target;
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
        Self::with_path(TargetForm::Absolute, authority, scanned, start + len)
    }

    #[inline]
    fn with_path(
        form: TargetForm,
        authority: (u16, u16),
        scanned: &Scanned<'_>,
        at: usize,
    ) -> Option<Self> {
        let len = scanned.target.len();
        let path_end = scanned.question.unwrap_or(len);
        let path = scanned.target.get(at..path_end)?;
        if scanned.percent && !percent_is_sound(path) {
            return None;
        }
        // Then whatever is within it is no longer.
        u16::try_from(len).ok()?;
        let span = |from: usize, to: usize| (from as u16, (to - from) as u16);
        let query = scanned.question.map(|question| span(question + 1, len));
        Some(Self { form, authority, path: span(at, path_end), query })
    }
}

/// The bytes that may stand in a target, and what was seen among them.
pub(crate) struct Scanned<'a> {
    pub(crate) target: &'a [u8],
    /// Where the first question mark stands.
    question: Option<usize>,
    percent: bool,
}

impl<'a> Scanned<'a> {
    /// Takes all of `target`, if all of it may stand in one.
    pub(crate) fn whole(target: &'a [u8]) -> Option<Self> {
        Some(Self::prefix(target)).filter(|scanned| scanned.target.len() == target.len())
    }

    /// Takes bytes up to the first that cannot stand in a target.
    #[inline]
    pub(crate) fn prefix(bytes: &'a [u8]) -> Self {
        let (mut question, mut percent) = (None, false);
        let mut at = 0;
        loop {
            at += prefix(&bytes[at..], path);
            match bytes.get(at) {
                Some(b'?') => question = question.or(Some(at)),
                Some(b'%') => percent = true,
                _ => break,
            }
            at += 1;
        }
        Self { target: &bytes[..at], question, percent }
    }
}

/// Whether this is an origin-form that needs no closer look: it has no percent.
/// What it takes, [`Scanned::whole`] and [`Target::split`] take as well, unless for CONNECT.
pub(crate) fn is_plain_origin(target: &[u8]) -> bool {
    target.first() == Some(&b'/') && all(target, plain)
}

/// What may stand in a target, without what has a meaning of its own there.
#[inline(always)]
fn path(block: Block) -> Marks {
    plain(block) & !block.is(b'?')
}

/// What may stand in a target, without the percent. Beyond the grammar of RFC 3986 the bytes
/// that browsers leave unescaped are taken (`[ ] { | } ^` and the back tick); what could be read as
/// something else by the next hop is not (`# \ " < >`, white space, controls, everything above ASCII).
#[inline(always)]
fn plain(block: Block) -> Marks {
    block.within(b'!'..=b'~')
        & !(block.with(1).is(b'#') // or "
            | block.with(2).is(b'>') // or <
            | block.is(b'%')
            | block.is(b'\\'))
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
    is_usual_host(authority) || is_any_host(authority)
}

/// Whether this is a name of letters, digits, dots and dashes, and maybe a port of few digits: it is,
/// nearly always.
#[inline(always)]
fn is_usual_host(authority: &[u8]) -> bool {
    // The only other byte is the colon, and digits follow it.
    let Some(unusual) = others_in(authority, usual) else { return false };
    if unusual == 0 {
        return !authority.is_empty();
    }
    let colon = unusual.trailing_zeros() as usize;
    let Some([b':', port @ ..]) = authority.get(colon..) else { return false };
    colon > 0
        && unusual.is_power_of_two()
        && port.len() < 5
        && others_in(authority, Block::digits).is_some_and(|letters| letters >> colon == 1)
}

#[inline(never)]
fn is_any_host(authority: &[u8]) -> bool {
    // Digits at the end, behind a colon, are the port: an address ends in its bracket.
    let digits = authority.iter().rev().take_while(|byte| byte.is_ascii_digit()).count();
    let (before, port) = authority.split_at(authority.len() - digits);
    let (host, port) = match before.strip_suffix(b":") {
        Some(host) => (host, port),
        None => (authority, &[][..]),
    };
    let is_name = !host.is_empty() && all(host, usual);
    (is_name || is_unusual_host(host)) && fits_port(port)
}

/// Whether digits, maybe none, are a number that fits 16 bits.
fn fits_port(digits: &[u8]) -> bool {
    // Fewer than five fit in any case.
    digits.len() < 5
        || digits.iter().fold(0u32, |number, digit| {
            number.saturating_mul(10).saturating_add(u32::from(digit - b'0'))
        }) <= 65_535
}

/// Whether this is an address in brackets or a name of any bytes of [`HOST`].
#[cold]
#[inline(never)]
fn is_unusual_host(host: &[u8]) -> bool {
    match host.strip_prefix(b"[").and_then(|rest| rest.strip_suffix(b"]")) {
        Some(address) => core::str::from_utf8(address)
            .is_ok_and(|address| address.parse::<core::net::Ipv6Addr>().is_ok()),
        None => !host.is_empty() && host.iter().all(|byte| HOST[usize::from(*byte)]),
    }
}

/// Letters, digits, dots and dashes.
#[inline(always)]
fn usual(block: Block) -> Marks {
    block.letters() | block.digits() | block.within(b'-'..=b'.')
}

/// `unreserved` and `sub-delims` of RFC 3986 without the comma.
static HOST: [bool; 256] = {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_that_is_long_is_one_byte_by_byte() {
        // A name up to the first colon, a port behind it.
        let expected = |authority: &[u8]| {
            let mut parts = authority.splitn(2, |byte| *byte == b':');
            let name = parts.next().unwrap_or_default();
            let port = String::from_utf8_lossy(parts.next().unwrap_or(b"0")).into_owned();
            let digits = port.bytes().all(|byte| byte.is_ascii_digit());
            let fits = port.is_empty() || port.parse::<u16>().is_ok();
            !name.is_empty() && name.iter().all(|byte| HOST[usize::from(*byte)]) && digits && fits
        };
        for text in [
            &b"inventory.mesh.local:8080"[..],
            b"A-23456789.bcdef",
            b"a",
            b"mesh.local:80",
            b"10.0.0.1:65535",
            b"a:",
            b"$~12",
        ] {
            for at in 0..text.len() {
                for byte in 0..=255 {
                    let mut authority = text.to_vec();
                    authority[at] = byte;
                    let shown = authority.escape_ascii();
                    assert_eq!(is_host(&authority), expected(&authority), "{shown}");
                }
            }
        }
    }

    #[test]
    fn an_address_in_brackets_is_a_host() {
        for host in [&b"[::1]"[..], b"[::1]:80", b"[::1]:", b"[fe80::1:2]:65535"] {
            assert!(is_host(host), "{}", host.escape_ascii());
        }
        for host in [
            &b"[::1"[..],
            b"::1",
            b"[::1]80",
            b"[::1]]",
            b"[[::1]]",
            b"[::1]:80:80",
            b"[::1]:65536",
            b"[a]",
            b"[]",
            b"[",
            b"]",
            b":80",
            b":",
            b"",
        ] {
            assert!(!is_host(host), "{}", host.escape_ascii());
        }
    }

    #[test]
    fn a_path_ends_where_its_grammar_says() {
        for byte in 0..=255u8 {
            for at in 0..40 {
                let mut text = *b"/a.b-c_d~e!f$g&h'i(j)k*l+m,n;o=p:q@[]{|}";
                text[at] = byte;
                let plain = byte.is_ascii_graphic() && !b"#\\\"<>?%".contains(&byte);
                let expected = if plain { text.len() } else { at };
                assert_eq!(prefix(&text, path), expected, "{byte:#x} at {at}");
            }
        }
    }

    #[test]
    fn a_port_is_a_number_of_16_bits() {
        for host in [&b"a:"[..], b"a:0", b"a:8080", b"a:65535", b"a:0065535"] {
            assert!(is_host(host), "{}", host.escape_ascii());
        }
        for host in [&b"a:65536"[..], b"a:99999", b"a:18446744073709551617", b"a:8o", b"a:-1"] {
            assert!(!is_host(host), "{}", host.escape_ascii());
        }
    }

    #[test]
    fn a_target_that_needs_no_closer_look_is_one_that_passes_it() {
        for len in 0..40 {
            let mut target = vec![b'a'; len];
            target.splice(..len.min(1), [b'/']);
            for at in 0..len {
                for byte in 0..=255 {
                    let before = core::mem::replace(&mut target[at], byte);
                    let looked_at = Scanned::whole(&target)
                        .is_some_and(|scanned| Target::split(&Method::GET, &scanned).is_some());
                    let plain = is_plain_origin(&target);
                    assert!(looked_at || !plain, "{byte:#x} at {at} of {len}");
                    let usual = target[0] == b'/' && byte != b'%';
                    assert!(plain || !looked_at || !usual, "{byte:#x} at {at} of {len}");
                    target[at] = before;
                }
            }
        }
    }
}

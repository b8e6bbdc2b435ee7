//! The first line of a head: a request's and a response's.

use http::{Method, StatusCode, Version};
use memchr::memchr;

use super::lines::narrow;
use crate::error::{Kind, Limit, Violation};
use crate::head::{Scanned, Target};
use crate::http1::framing::Side;
use crate::http1::grammar::{TOKEN, is_field_value, token_prefix, value_end};
use crate::http1::limits::Limits;

/// The first line of a head.
pub(crate) trait FirstLine: Sized {
    const SIDE: Side;

    /// What can be said of a line whose end is not there yet. It must not refuse what
    /// [`parse`](Self::parse) would not refuse for the same reason.
    fn check_partial(line: &[u8], limits: &Limits) -> Result<(), Kind>;

    /// The line at the start of `bytes` and its length, if it is whole, sound and of the usual kind.
    fn usual(bytes: &[u8], limits: &Limits) -> Option<(Self, usize)>;

    /// Parses the whole line, which starts at offset 0.
    fn parse(line: &[u8], limits: &Limits) -> Result<Self, Kind>;
}

/// `method SP request-target SP HTTP-version`
#[derive(Debug)]
pub(crate) struct RequestFirst {
    pub(crate) method: Method,
    pub(super) target_at: (u16, u16),
    pub(super) target: Target,
    pub(crate) version: Version,
}

/// The method's end, where everything before it is a token.
fn method_end(line: &[u8]) -> Result<Option<usize>, Kind> {
    match line.iter().position(|&b| !TOKEN[usize::from(b)]) {
        None => Ok(None),
        Some(at) if line[at] == b' ' => Ok(Some(at)),
        Some(_) => Err(Kind::Peer(Violation::Method)),
    }
}

impl FirstLine for RequestFirst {
    const SIDE: Side = Side::Request;

    fn check_partial(line: &[u8], limits: &Limits) -> Result<(), Kind> {
        let Some(method) = method_end(line)? else { return Ok(()) };
        let rest = &line[method + 1..];
        let target = memchr(b' ', rest).unwrap_or(rest.len());
        if target > limits.target {
            return Err(Kind::Limit(Limit::Target));
        }
        Ok(())
    }

    fn usual(bytes: &[u8], limits: &Limits) -> Option<(Self, usize)> {
        const VERSION: &[u8; 11] = b" HTTP/1.1\r\n";
        let (method, rest) = match bytes.strip_prefix(b"GET ") {
            // The most usual of all.
            Some(rest) => (Method::GET, rest),
            None => {
                let (method, rest) = bytes.split_at_checked(token_prefix(bytes))?;
                (Method::from_bytes(method).ok()?, rest.strip_prefix(b" ")?)
            }
        };
        let scanned = Scanned::prefix(rest);
        let len = scanned.target.len();
        let behind = rest.get(len..)?.strip_prefix(VERSION)?;
        if len == 0 || len > limits.target {
            return None;
        }
        let target_at = (narrow(bytes.len() - rest.len()).ok()?, narrow(len).ok()?);
        let target = Target::split(&method, &scanned)?;
        let first = Self { method, target_at, target, version: Version::HTTP_11 };
        Some((first, bytes.len() - behind.len()))
    }

    fn parse(line: &[u8], limits: &Limits) -> Result<Self, Kind> {
        let malformed = Kind::Peer(Violation::RequestLine);
        let method_len = method_end(line)?.ok_or(malformed)?;
        let rest = &line[method_len + 1..];
        let target_len = memchr(b' ', rest).unwrap_or(rest.len());
        if target_len > limits.target {
            return Err(Kind::Limit(Limit::Target));
        }
        let version = rest.get(target_len + 1..).ok_or(malformed)?;
        if method_len == 0 || target_len == 0 {
            return Err(malformed);
        }
        // The version comes first: with an unknown one the rest of the line means nothing to us.
        let version = http_version(version, Violation::RequestLine)?;
        let method = Method::from_bytes(&line[..method_len]).map_err(|_| malformed)?;
        let target = Scanned::whole(&rest[..target_len])
            .and_then(|scanned| Target::split(&method, &scanned))
            .ok_or(Kind::Peer(Violation::Target))?;
        let target_at = (narrow(method_len + 1)?, narrow(target_len)?);
        Ok(Self { method, target_at, target, version })
    }
}

/// `HTTP/` DIGIT `.` DIGIT: <https://www.rfc-editor.org/rfc/rfc9112#section-2.3>
fn http_version(bytes: &[u8], malformed: Violation) -> Result<Version, Kind> {
    match bytes {
        b"HTTP/1.1" => Ok(Version::HTTP_11),
        b"HTTP/1.0" => Ok(Version::HTTP_10),
        // https://www.rfc-editor.org/rfc/rfc9110#section-2.5: a higher minor is read as ours.
        [b'H', b'T', b'T', b'P', b'/', b'1', b'.', b'2'..=b'9'] => Ok(Version::HTTP_11),
        [b'H', b'T', b'T', b'P', b'/', b'0'..=b'9', b'.', b'0'..=b'9'] => {
            Err(Kind::Peer(Violation::VersionUnsupported))
        }
        _ => Err(Kind::Peer(malformed)),
    }
}

/// `HTTP-version SP status-code SP [ reason-phrase ]`
#[derive(Clone, Copy, Debug)]
pub(crate) struct ResponseFirst {
    pub(crate) status: StatusCode,
    pub(crate) version: Version,
    pub(super) reason: (u16, u16),
}

impl FirstLine for ResponseFirst {
    const SIDE: Side = Side::Response;

    fn check_partial(line: &[u8], _: &Limits) -> Result<(), Kind> {
        let known = line.len().min(5);
        if line[..known] == b"HTTP/"[..known] {
            Ok(())
        } else {
            Err(Kind::Peer(Violation::StatusLine))
        }
    }

    fn usual(bytes: &[u8], _: &Limits) -> Option<(Self, usize)> {
        const OK: &[u8; 17] = b"HTTP/1.1 200 OK\r\n";
        // The most usual of all.
        if bytes.starts_with(OK) {
            let first = Self { status: StatusCode::OK, version: Version::HTTP_11, reason: (13, 2) };
            return Some((first, OK.len()));
        }
        let (code, rest) = bytes.strip_prefix(b"HTTP/1.1 ")?.split_first_chunk::<3>()?;
        let rest = rest.strip_prefix(b" ")?;
        let (reason, rest) = rest.split_at_checked(value_end(rest))?;
        let behind = rest.strip_prefix(b"\r\n")?;
        let end = bytes.len() - behind.len();
        let status = StatusCode::from_bytes(code).ok()?;
        let len = narrow(reason.len()).ok()?;
        let reason = (narrow(end - 2).ok()? - len, len);
        Some((Self { status, version: Version::HTTP_11, reason }, end))
    }

    fn parse(line: &[u8], limits: &Limits) -> Result<Self, Kind> {
        let malformed = Kind::Peer(Violation::StatusLine);
        Self::check_partial(line, limits)?;
        let (version, rest) = line.split_at_checked(8).ok_or(malformed)?;
        let version = http_version(version, Violation::StatusLine)?;
        // https://www.rfc-editor.org/rfc/rfc9112#section-4: the space behind the code is due even
        // without a reason, but servers that leave both out are taken.
        let (code, reason) = match rest {
            [b' ', a, b, c] => ([*a, *b, *c], &rest[4..]),
            [b' ', a, b, c, b' ', reason @ ..] => ([*a, *b, *c], reason),
            _ => return Err(malformed),
        };
        let status = StatusCode::from_bytes(&code).map_err(|_| malformed)?;
        if !is_field_value(reason) {
            return Err(malformed);
        }
        let reason = (narrow(line.len() - reason.len())?, narrow(reason.len())?);
        Ok(Self { status, version, reason })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_usual_request_line_is_taken_for_the_same_as_any() {
        let limits = Limits::default();
        let mut usual = 0;
        for line in [&b"GET /plain?page=2&size=50 HTTP/1.1\r\nHost: a"[..], b"POST / HTTP/1.1\r\n"]
        {
            for at in 0..line.len() {
                for byte in 0..=255 {
                    let mut line = line.to_vec();
                    line[at] = byte;
                    let Some((first, end)) = RequestFirst::usual(&line, &limits) else { continue };
                    assert_eq!(&line[end - 2..end], b"\r\n");
                    let any = RequestFirst::parse(&line[..end - 2], &limits);
                    let any = any.expect("what is usual is sound");
                    assert_eq!(format!("{first:?}"), format!("{any:?}"), "{}", line.escape_ascii());
                    usual += 1;
                }
            }
        }
        assert!(usual > 2_000, "{usual}");
    }
}

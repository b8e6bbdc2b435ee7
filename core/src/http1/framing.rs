//! How a message is framed: <https://www.rfc-editor.org/rfc/rfc9112#section-6.3>
//!
//! One place, strict, without a switch to loosen it.

use http::{Method, StatusCode, Version};

use super::grammar::{decimal, is_token, list};
use crate::error::Violation;
use crate::head::{NameFilter, is_name, same_name};

/// What the framing fields of one head say, collected while the head is indexed.
#[derive(Clone, Default, Debug)]
pub(crate) struct FramingFields {
    content_length: Option<u64>,
    chunked: bool,
    close: bool,
    keep_alive: bool,
    connection_upgrade: bool,
    /// Where the value of `Host` stands.
    pub(crate) host: Option<(u16, u16)>,
    /// Where the first value of `Upgrade` stands.
    pub(crate) upgrade: Option<(u16, u16)>,
    /// `Expect: 100-continue`.
    expects_continue: bool,
}

/// Names that decide framing.
static DECIDE: NameFilter = NameFilter::new(&[
    b"host",
    b"expect",
    b"upgrade",
    b"connection",
    b"content-length",
    b"transfer-encoding",
]);

/// How the body of a message is delimited.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Framing {
    Empty,
    Length(u64),
    Chunked,
    UntilClose,
    /// No longer HTTP: everything behind the head belongs to the tunnel.
    Tunnel,
}

/// Which way a message goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Side {
    Request,
    Response,
}

impl FramingFields {
    /// Whether a field may be one of those below whose name is of this length, and has this letter
    /// before its last one.
    #[inline]
    pub(crate) fn may_decide(letter: u8, len: usize) -> bool {
        DECIDE.may_hold_one(letter, len)
    }

    /// Notes one field line. `Ok(true)`: it is one of those that decide framing.
    pub(crate) fn note(
        &mut self,
        side: Side,
        name: &[u8],
        value: &[u8],
        at: (u16, u16),
    ) -> Result<bool, Violation> {
        // Lengths rule most names out before a byte is compared.
        let known = match name.len() {
            4 if side == Side::Request && is_name(name, b"host") => {
                // https://www.rfc-editor.org/rfc/rfc9112#section-3.2
                if self.host.is_some() || !crate::head::is_host(value) {
                    return Err(Violation::Host);
                }
                self.host = Some(at);
                true
            }
            6 if side == Side::Request && is_name(name, b"expect") => {
                // https://www.rfc-editor.org/rfc/rfc9110#section-10.1.1
                if !value.eq_ignore_ascii_case(b"100-continue") {
                    return Err(Violation::Expectation);
                }
                self.expects_continue = true;
                true
            }
            7 if is_name(name, b"upgrade") => {
                self.upgrade.get_or_insert(at);
                true
            }
            10 if is_name(name, b"connection") => {
                // One option, nearly always.
                if !self.connection(value) {
                    self.connections(value);
                }
                true
            }
            14 if is_name(name, b"content-length") => {
                // Even two equal values are refused: RFC 9112 6.3 (5) allows either.
                if self.content_length.is_some() {
                    return Err(Violation::ContentLength);
                }
                self.content_length = Some(decimal(value).ok_or(Violation::ContentLength)?);
                true
            }
            17 if is_name(name, b"transfer-encoding") => {
                if self.chunked {
                    return Err(Violation::TransferEncoding);
                }
                transfer_encoding(value)?;
                self.chunked = true;
                true
            }
            _ => false,
        };
        Ok(known)
    }

    /// Notes an option of `Connection`, if it is one that concerns us.
    /// <https://www.rfc-editor.org/rfc/rfc9110#section-7.6.1>
    #[inline]
    fn connection(&mut self, option: &[u8]) -> bool {
        let noted = match option.len() {
            5 if is_name(option, b"close") => &mut self.close,
            7 if is_name(option, b"upgrade") => &mut self.connection_upgrade,
            10 if is_name(option, b"keep-alive") => &mut self.keep_alive,
            _ => return false,
        };
        *noted = true;
        true
    }

    /// Notes each of the options. Apart, as few send more than one.
    #[cold]
    fn connections(&mut self, options: &[u8]) {
        for option in list(options) {
            self.connection(option);
        }
    }

    /// How the body of a request is delimited. Never by the end of the connection.
    pub(crate) fn request(&self, version: Version) -> Result<Framing, Violation> {
        if version == Version::HTTP_11 && self.host.is_none() {
            // https://www.rfc-editor.org/rfc/rfc9112#section-3.2
            return Err(Violation::Host);
        }
        self.body(version, Framing::Empty)
    }

    /// How the body of a response is delimited.
    pub(crate) fn response(
        &self,
        version: Version,
        status: StatusCode,
        asked: &Asked,
    ) -> Result<Framing, Violation> {
        // (1) and (2) of RFC 9112 6.3: decided before any framing field counts.
        if status == StatusCode::SWITCHING_PROTOCOLS {
            return Ok(Framing::Tunnel);
        }
        // https://www.rfc-editor.org/rfc/rfc9110#section-9.3.6: any 2xx, so that 204 is no exception.
        if *asked == Asked::Connect && status.is_success() {
            return Ok(Framing::Tunnel);
        }
        if has_no_content(status) || *asked == Asked::Head {
            return Ok(Framing::Empty);
        }
        self.body(version, Framing::UntilClose)
    }

    fn body(&self, version: Version, otherwise: Framing) -> Result<Framing, Violation> {
        match (self.chunked, self.content_length) {
            // (3): the classic smuggling pair.
            (true, Some(_)) => Err(Violation::LengthAndCoding),
            // https://www.rfc-editor.org/rfc/rfc9112#section-6.1: 1.0 knows no transfer codings.
            (true, None) if version == Version::HTTP_10 => Err(Violation::TransferEncoding),
            (true, None) => Ok(Framing::Chunked),
            (false, Some(0)) => Ok(Framing::Empty),
            (false, Some(length)) => Ok(Framing::Length(length)),
            (false, None) => Ok(otherwise),
        }
    }

    /// Whether the sender of this head keeps the connection.
    /// <https://www.rfc-editor.org/rfc/rfc9112#section-9.3>
    pub(crate) fn keeps_alive(&self, version: Version) -> bool {
        !self.close && (version == Version::HTTP_11 || self.keep_alive)
    }

    /// Whether the sender waits for `100 Continue`. A 1.0 client cannot.
    /// <https://www.rfc-editor.org/rfc/rfc9110#section-10.1.1>
    pub(crate) fn expects_continue(&self, version: Version) -> bool {
        self.expects_continue && version == Version::HTTP_11
    }

    /// Where the offered or chosen protocol stands, if `Connection` names it.
    /// <https://www.rfc-editor.org/rfc/rfc9110#section-7.8>
    pub(crate) fn upgrade(&self, version: Version) -> Option<(u16, u16)> {
        self.upgrade.filter(|_| self.connection_upgrade && version == Version::HTTP_11)
    }
}

/// What of a request decides how its response is framed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) enum Asked {
    Head,
    Connect,
    #[default]
    Other,
}

impl From<&Method> for Asked {
    fn from(method: &Method) -> Self {
        match *method {
            Method::HEAD => Self::Head,
            Method::CONNECT => Self::Connect,
            _ => Self::Other,
        }
    }
}

/// Statuses that never have content: <https://www.rfc-editor.org/rfc/rfc9110#section-6.4.1>
pub(crate) fn has_no_content(status: StatusCode) -> bool {
    status.is_informational()
        || status == StatusCode::NO_CONTENT
        || status == StatusCode::NOT_MODIFIED
}

/// Accepts the one coding that is implemented, alone.
/// <https://www.rfc-editor.org/rfc/rfc9112#section-6.1>
fn transfer_encoding(value: &[u8]) -> Result<(), Violation> {
    if is_name(value, b"chunked") { Ok(()) } else { transfer_codings(value) }
}

/// The same of a list. Apart, as hardly anybody sends one.
#[cold]
fn transfer_codings(value: &[u8]) -> Result<(), Violation> {
    let is_chunked = |coding: &[u8]| is_name(coding, b"chunked");
    let well_formed = list(value).all(is_token);
    let chunked = list(value).filter(|coding| is_chunked(coding)).count();
    let ends_chunked = list(value).last().is_some_and(is_chunked);
    // An unknown coding under one final `chunked` could at least be framed: 501. Anything else is
    // malformed or an attempt to be read differently by the next hop.
    if well_formed && (chunked == 0 || (chunked == 1 && ends_chunked)) {
        return Err(Violation::TransferCoding);
    }
    Err(Violation::TransferEncoding)
}

/// Fields that decide framing, routing, authentication or content processing: they must not be
/// taken from, or sent in, a trailer section.
/// <https://www.rfc-editor.org/rfc/rfc9110#section-6.5.1>
pub fn is_forbidden_in_trailers(name: &[u8]) -> bool {
    const FORBIDDEN: [&[u8]; 26] = [
        b"age",
        b"authorization",
        b"cache-control",
        b"connection",
        b"content-encoding",
        b"content-length",
        b"content-range",
        b"content-type",
        b"cookie",
        b"date",
        b"expect",
        b"expires",
        b"host",
        b"keep-alive",
        b"location",
        b"max-forwards",
        b"pragma",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"range",
        b"retry-after",
        b"set-cookie",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    ];
    FORBIDDEN.iter().any(|forbidden| same_name(forbidden, name))
}

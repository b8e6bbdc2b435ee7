//! The plain values that both roles speak in.

use bytes::Bytes;
use http::{Method, StatusCode};

use crate::error::{Error, Misuse, Phase};
use crate::head::{Lines, Scanned, Target, is_host, is_plain_origin};

/// How much body a message has.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum BodySize {
    /// None.
    Empty,
    /// This many bytes.
    Exact(u64),
    /// It ends where it ends: chunked, or delimited by the end of the connection.
    Unknown,
}

/// How much of the bodies of an exchange has passed, in bytes, without what frames them.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct BodyBytes {
    /// Of the request: those that were read or thrown away.
    pub received: u64,
    /// Of the response: those that were queued.
    pub sent: u64,
}

/// No fields, no trailers: `send_end(now, NO_FIELDS)`.
pub const NO_FIELDS: [(&str, &str); 0] = [];

/// The first line of a response to send, and lines that are ready to go with its fields.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct StatusLine<'a> {
    /// The status.
    pub status: StatusCode,
    /// The reason phrase; `None` takes the usual one.
    pub reason: Option<&'a [u8]>,
    /// What policies say of the answer, if anything: it stands behind the other fields.
    pub lines: Option<&'a Lines>,
}

impl From<StatusCode> for StatusLine<'_> {
    fn from(status: StatusCode) -> Self {
        Self { status, reason: None, lines: None }
    }
}

impl<'a> From<(StatusCode, &'a Lines)> for StatusLine<'a> {
    fn from((status, lines): (StatusCode, &'a Lines)) -> Self {
        Self { status, reason: None, lines: Some(lines) }
    }
}

/// The first line of a request to send, and the `Host` that goes with it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RequestLine<'a> {
    /// The method.
    pub method: &'a Method,
    /// The target, as it stands on the wire: `/path?query`, `http://host/path`, `host:port`, `*`.
    pub target: &'a [u8],
    /// The value of `Host`, unless the fields carry one.
    pub authority: &'a [u8],
}

impl RequestLine<'_> {
    /// Says what `send_request` would refuse about it, for those who have no connection yet.
    ///
    /// # Errors
    ///
    /// `Usage`: a target that cannot stand in a request line, an authority that is no host.
    pub fn check(&self) -> Result<(), Error> {
        self.check_target()?;
        if !is_host(self.authority) {
            return Err(Error::usage(Misuse::Host, Phase::Idle));
        }
        Ok(())
    }

    /// The same, of the target alone, for those who know that the authority is a host.
    ///
    /// # Errors
    ///
    /// `Usage`: a target that cannot stand in a request line.
    pub fn check_target(&self) -> Result<(), Error> {
        if self.has_sound_target() {
            Ok(())
        } else {
            Err(Error::usage(Misuse::Target, Phase::Idle))
        }
    }

    pub(crate) fn has_sound_target(&self) -> bool {
        let is_split = |scanned| Target::split(self.method, &scanned).is_some();
        let usual = *self.method != Method::CONNECT && is_plain_origin(self.target);
        u16::try_from(self.target.len()).is_ok()
            && (usual || Scanned::whole(self.target).is_some_and(is_split))
    }
}

/// Why body bytes were not taken.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Rejected {
    /// The outbox is above its high-water mark: ask `can_send` before. The bytes come back.
    Full(Bytes),
    /// They make no sense here, or the machine failed.
    Error(Error),
}

impl From<Error> for Rejected {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

//! How connections end: <https://www.rfc-editor.org/rfc/rfc6455#section-7>

use core::fmt;

use bytes::Bytes;

use super::message::Text;
use super::utf8::Utf8;
use crate::error::{Error, Kind, Limit, Violation};
use crate::time::Timer;

/// Why a connection is closed: <https://www.rfc-editor.org/rfc/rfc6455#section-7.4>
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CloseCode(u16);

impl CloseCode {
    /// 1000: it has served its purpose.
    pub const NORMAL: Self = Self(1000);
    /// 1001: the server stops, or the page is left.
    pub const GOING_AWAY: Self = Self(1001);
    /// 1002: the peer broke the protocol.
    pub const PROTOCOL_ERROR: Self = Self(1002);
    /// 1003: a kind of message that is not understood.
    pub const UNSUPPORTED_DATA: Self = Self(1003);
    /// 1005: the peer gave no code. Never sent.
    pub const NO_STATUS: Self = Self(1005);
    /// 1006: the connection ended without a close frame. Never sent.
    pub const ABNORMAL: Self = Self(1006);
    /// 1007: a text that is not UTF-8, or data that does not unpack.
    pub const INVALID_DATA: Self = Self(1007);
    /// 1008: the peer does what is not allowed.
    pub const POLICY_VIOLATION: Self = Self(1008);
    /// 1009: the message is too large.
    pub const TOO_BIG: Self = Self(1009);
    /// 1010: the server does not have an extension that the client needs.
    pub const MANDATORY_EXTENSION: Self = Self(1010);
    /// 1011: something failed on this side.
    pub const INTERNAL_ERROR: Self = Self(1011);
    /// 1012: the server restarts.
    pub const SERVICE_RESTART: Self = Self(1012);
    /// 1013: the server is overloaded.
    pub const TRY_AGAIN_LATER: Self = Self(1013);

    /// 4401: the token that the socket was opened with has expired; a code of ours, after 401.
    pub const TOKEN_EXPIRED: Self = Self(4401);

    /// The code of this number, whatever it is.
    pub const fn new(code: u16) -> Self {
        Self(code)
    }

    /// The number.
    pub const fn as_u16(self) -> u16 {
        self.0
    }

    /// Whether it may stand in a close frame: those that are registered for it, and those that
    /// libraries (3000 to 3999) and applications (4000 to 4999) give a meaning.
    /// <https://www.iana.org/assignments/websocket/websocket.xhtml#close-code-number>
    pub const fn is_sendable(self) -> bool {
        matches!(self.0, 1000..=1003 | 1007..=1014 | 3000..=4999)
    }

    /// The code that is sent for an error of the peer; `None` where nothing can be sent.
    pub const fn of(error: &Error) -> Option<Self> {
        Some(match error.kind {
            Kind::Peer(Violation::Utf8 | Violation::Deflate) => Self::INVALID_DATA,
            Kind::Peer(_) => Self::PROTOCOL_ERROR,
            Kind::Limit(Limit::Frame | Limit::Message) => Self::TOO_BIG,
            Kind::Limit(_) => Self::POLICY_VIOLATION,
            Kind::Timeout(Timer::WriteStall) | Kind::Closed => return None,
            Kind::Timeout(_) | Kind::Truncated | Kind::InboxEdited | Kind::Usage(_) => {
                Self::INTERNAL_ERROR
            }
        })
    }
}

impl fmt::Debug for CloseCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for CloseCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// How a connection ended.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Closed {
    /// The code in the peer's close frame; [`CloseCode::NO_STATUS`] where it gave none,
    /// [`CloseCode::ABNORMAL`] where there was no such frame.
    pub code: CloseCode,
    /// The peer's words; empty where there are none.
    pub reason: Text,
    /// Who closed first.
    pub by: Side,
}

/// One of the two ends of a connection.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Side {
    /// This one.
    Local,
    /// The other one.
    Peer,
}

/// Bytes of a reason, at most: a control frame less the code.
pub(super) const REASON_MAX: usize = super::frame::CONTROL_MAX - 2;

/// Reads the payload of a close frame: <https://www.rfc-editor.org/rfc/rfc6455#section-5.5.1>
pub(super) fn read(payload: &Bytes) -> Result<(CloseCode, Text), Violation> {
    let Some((code, reason)) = payload.split_first_chunk() else {
        return if payload.is_empty() {
            Ok((CloseCode::NO_STATUS, Text::default()))
        } else {
            Err(Violation::CloseFrame)
        };
    };
    let code = CloseCode(u16::from_be_bytes(*code));
    if !code.is_sendable() {
        return Err(Violation::CloseFrame);
    }
    let mut utf8 = Utf8::default();
    if utf8.push(reason).is_err() || !utf8.is_complete() {
        return Err(Violation::Utf8);
    }
    // It is small, and kept for longer than what surrounds it.
    Ok((code, Text::checked(Bytes::copy_from_slice(reason))))
}

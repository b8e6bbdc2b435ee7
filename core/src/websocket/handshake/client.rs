//! The client's half: <https://www.rfc-editor.org/rfc/rfc6455#section-4.1>

use core::fmt;

use http::StatusCode;

use super::accept::{accept, base64};
use super::{Agreed, VERSION, check_protocols, extension, list};
use crate::error::Error;
use crate::head::{ResponseHead, Single};
#[cfg(feature = "deflate")]
use crate::websocket::deflate::DeflateConfig;
use crate::websocket::mask::{Masks, Purpose};

/// What a client asks for.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ClientHandshake {
    /// Subprotocols, the preferred one first.
    pub protocols: Vec<String>,
    /// Compression, if it is offered. Default: it is not.
    #[cfg(feature = "deflate")]
    pub deflate: Option<DeflateConfig>,
}

/// A handshake that was begun. Send a GET with the [fields](Self::fields) and without a body.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Opening {
    key: [u8; 24],
    protocols: String,
    extensions: Option<String>,
    config: ClientHandshake,
}

/// What is wrong with the answer. The connection is of no use any more.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum BadAnswer {
    /// It is not 101: handle it as any answer, such as 401 or a redirection.
    Status(StatusCode),
    /// `Upgrade` is not `websocket`.
    Upgrade,
    /// `Connection` does not name `upgrade`.
    Connection,
    /// `Sec-WebSocket-Accept` is not the answer to our key.
    Accept,
    /// A subprotocol that we did not ask for, or several.
    Protocol,
    /// An extension that we did not offer, or not with these parameters.
    Extension,
}

impl ClientHandshake {
    /// Refuses what no request can say.
    ///
    /// # Errors
    ///
    /// `Usage` for a subprotocol that is no token or stands twice, or a deflate level or window
    /// out of its range.
    pub fn check(&self) -> Result<(), Error> {
        #[cfg(feature = "deflate")]
        self.deflate.iter().try_for_each(DeflateConfig::check)?;
        check_protocols(&self.protocols)
    }

    /// Begins a handshake. The seed has to be unpredictable, and new for every handshake.
    pub fn open(self, seed: [u8; 32]) -> Opening {
        let mut nonce = [0; 16];
        Masks::new(seed, Purpose::Handshake).fill(&mut nonce);
        let mut key = [0; 24];
        base64(&nonce, &mut key);
        #[cfg(feature = "deflate")]
        let extensions = self.deflate.as_ref().map(DeflateConfig::offer);
        #[cfg(not(feature = "deflate"))]
        let extensions = None;
        Opening { key, protocols: self.protocols.join(", "), extensions, config: self }
    }
}

impl Opening {
    /// The fields of the request.
    pub fn fields(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let key = core::str::from_utf8(&self.key).unwrap_or_default();
        let protocols = Some(&self.protocols[..]).filter(|protocols| !protocols.is_empty());
        let required = [
            ("upgrade", "websocket"),
            ("sec-websocket-version", VERSION),
            ("sec-websocket-key", key),
        ];
        required
            .into_iter()
            .chain(protocols.map(|protocols| ("sec-websocket-protocol", protocols)))
            .chain(self.extensions.as_deref().map(|offer| ("sec-websocket-extensions", offer)))
    }

    /// Checks the answer.
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    pub fn check(&self, head: &ResponseHead) -> Result<Agreed, BadAnswer> {
        let fields = head.fields();
        if head.status() != StatusCode::SWITCHING_PROTOCOLS {
            return Err(BadAnswer::Status(head.status()));
        }
        match fields.single("upgrade") {
            Single::Once(chosen) if chosen.eq_ignore_ascii_case(b"websocket") => {}
            _ => return Err(BadAnswer::Upgrade),
        }
        let mut options = fields.get_all("connection").flat_map(list);
        if !options.any(|option| option.eq_ignore_ascii_case(b"upgrade")) {
            return Err(BadAnswer::Connection);
        }
        if fields.single("sec-websocket-accept") != Single::Once(&accept(&self.key)) {
            return Err(BadAnswer::Accept);
        }
        let chosen = extension::parse(fields).ok_or(BadAnswer::Extension)?;
        let protocol = match fields.single("sec-websocket-protocol") {
            Single::Absent => None,
            Single::Repeated => return Err(BadAnswer::Protocol),
            Single::Once(chosen) => {
                let asked = self.config.protocols.iter();
                let found = asked.into_iter().find(|protocol| protocol.as_bytes() == chosen);
                Some(found.cloned().ok_or(BadAnswer::Protocol)?)
            }
        };
        #[cfg(feature = "deflate")]
        let deflate = match (&self.config.deflate, &chosen[..]) {
            (_, []) => None,
            (Some(config), [chosen]) => Some(config.confirm(chosen).ok_or(BadAnswer::Extension)?),
            _ => return Err(BadAnswer::Extension),
        };
        #[cfg(not(feature = "deflate"))]
        if !chosen.is_empty() {
            return Err(BadAnswer::Extension);
        }
        Ok(Agreed {
            protocol,
            #[cfg(feature = "deflate")]
            deflate,
        })
    }
}

impl BadAnswer {
    /// One phrase in plain words.
    pub const fn explain(self) -> &'static str {
        match self {
            Self::Status(_) => "the server did not switch to WebSocket",
            Self::Upgrade => "Upgrade is not websocket",
            Self::Connection => "Connection does not name upgrade",
            Self::Accept => "Sec-WebSocket-Accept is not the answer to our key",
            Self::Protocol => "the server chose a subprotocol that was not asked for",
            Self::Extension => "the server chose an extension that was not offered",
        }
    }
}

impl fmt::Display for BadAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status(status) => write!(f, "{}: {status}", self.explain()),
            _ => f.write_str(self.explain()),
        }
    }
}

impl core::error::Error for BadAnswer {}

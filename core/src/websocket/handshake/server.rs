//! The server's half: <https://www.rfc-editor.org/rfc/rfc6455#section-4.2>

use core::fmt;

use http::{Method, StatusCode};

use super::accept::accept;
use super::{Agreed, Origins, VERSION, check_protocols, extension, is_token, list};
use crate::error::Error;
use crate::head::{RequestHead, Single, WEBSOCKET_KEY, websocket_key};
use crate::reason::Reason;
#[cfg(feature = "deflate")]
use crate::websocket::deflate::DeflateConfig;

/// What a server offers at one place.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ServerHandshake {
    /// Subprotocols, the preferred one first. A client that asks for others is accepted without
    /// one: what it makes of that is its business.
    pub protocols: Vec<String>,
    /// Which pages may open a socket. Default: those of this server.
    pub origins: Origins,
    /// Compression, if it is offered. Default: it is not.
    #[cfg(feature = "deflate")]
    pub deflate: Option<DeflateConfig>,
}

/// A request that is accepted. Answer it with 101 and the [fields](Self::fields).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Accepted {
    accept: [u8; 28],
    extensions: Option<String>,
    agreed: Agreed,
}

/// Why a request is not accepted.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum Refusal {
    /// It does not ask to switch to WebSocket.
    NoUpgrade,
    /// It does, and not with GET.
    Method,
    /// `Sec-WebSocket-Key` is missing, doubled, or not sixteen bytes in base64.
    Key,
    /// `Sec-WebSocket-Version` is not 13.
    Version,
    /// A page of a foreign origin asks.
    Origin,
    /// `Sec-WebSocket-Protocol` is no list of different tokens.
    Protocols,
    /// `Sec-WebSocket-Extensions` is malformed.
    Extensions,
}

impl ServerHandshake {
    /// Refuses what no answer can say.
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

    /// Accepts a request, or says why not.
    ///
    /// # Errors
    ///
    /// The [`Refusal`], with the status and the fields of an answer that helps.
    pub fn accept(&self, head: &RequestHead) -> Result<Accepted, Refusal> {
        let is_websocket = |offer: &[u8]| offer.eq_ignore_ascii_case(b"websocket");
        if !head.upgrade().is_some_and(|offered| list(offered).any(is_websocket)) {
            return Err(Refusal::NoUpgrade);
        }
        if *head.method() != Method::GET {
            return Err(Refusal::Method);
        }
        // https://www.rfc-editor.org/rfc/rfc6455#section-4.4: before the key, which another version
        // may spell in another way.
        if head.fields().single("sec-websocket-version") != Single::Once(VERSION.as_bytes()) {
            return Err(Refusal::Version);
        }
        let key = websocket_key(head.fields().get_all(WEBSOCKET_KEY)).ok_or(Refusal::Key)?;
        if !self.origins.allow(head) {
            return Err(Refusal::Origin);
        }
        let protocol = self.choose_protocol(head)?;
        let offered = extension::parse(head.fields()).ok_or(Refusal::Extensions)?;
        #[cfg(feature = "deflate")]
        let deflate = self.deflate.as_ref().and_then(|config| config.accept(&offered));
        #[cfg(feature = "deflate")]
        let extensions = deflate.as_ref().map(|(_, answer)| answer.clone());
        #[cfg(not(feature = "deflate"))]
        let (_, extensions) = (offered, None);
        Ok(Accepted {
            accept: accept(key),
            extensions,
            agreed: Agreed {
                protocol,
                #[cfg(feature = "deflate")]
                deflate: deflate.map(|(deflate, _)| deflate),
            },
        })
    }

    fn choose_protocol(&self, head: &RequestHead) -> Result<Option<String>, Refusal> {
        let lines = || head.fields().get_all("sec-websocket-protocol").flat_map(list);
        // https://www.rfc-editor.org/rfc/rfc6455#section-4.1
        let sound = lines().enumerate().all(|(at, protocol)| {
            is_token(protocol) && lines().take(at).all(|other| other != protocol)
        });
        if !sound {
            return Err(Refusal::Protocols);
        }
        let offered = |ours: &&String| lines().any(|theirs| theirs == ours.as_bytes());
        Ok(self.protocols.iter().find(offered).cloned())
    }
}

impl Accepted {
    /// The fields of the answer.
    pub fn fields(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let accept = core::str::from_utf8(&self.accept).unwrap_or_default();
        let protocol = self.agreed.protocol.as_deref();
        [("upgrade", "websocket"), ("sec-websocket-accept", accept)]
            .into_iter()
            .chain(protocol.map(|protocol| ("sec-websocket-protocol", protocol)))
            .chain(self.extensions.as_deref().map(|chosen| ("sec-websocket-extensions", chosen)))
    }

    /// What both sides agreed on.
    pub fn agreed(&self) -> &Agreed {
        &self.agreed
    }

    /// The same, for the connection.
    pub fn into_agreed(self) -> Agreed {
        self.agreed
    }
}

impl Refusal {
    /// The reason in the answer.
    pub const fn reason(self) -> Reason {
        match self {
            Self::NoUpgrade | Self::Version => Reason::UpgradeRequired,
            Self::Method | Self::Key | Self::Protocols | Self::Extensions => Reason::BadUpgrade,
            Self::Origin => Reason::ForeignOrigin,
        }
    }

    /// The status of the answer.
    pub const fn status(self) -> StatusCode {
        self.reason().status()
    }

    /// The fields of the answer, beside what a document of the [`reason`](Self::reason) brings.
    pub fn fields(self) -> impl Iterator<Item = (&'static str, &'static str)> {
        // https://www.rfc-editor.org/rfc/rfc9110#section-15.5.22
        // https://www.rfc-editor.org/rfc/rfc6455#section-4.4
        let wanted = [("upgrade", "websocket"), ("sec-websocket-version", VERSION)];
        let helps = self.reason() == Reason::UpgradeRequired;
        wanted.into_iter().filter(move |_| helps)
    }

    /// One phrase in plain words, fit for the `detail` of the answer.
    pub const fn explain(self) -> &'static str {
        match self {
            Self::NoUpgrade => "WebSocket is spoken here; ask to upgrade to it",
            Self::Method => "the opening handshake is a GET",
            Self::Key => "Sec-WebSocket-Key is not sixteen bytes in base64",
            Self::Version => "version 13 of WebSocket is spoken here",
            Self::Origin => "pages of this origin may not open a socket",
            Self::Protocols => "Sec-WebSocket-Protocol is not a list of different tokens",
            Self::Extensions => "Sec-WebSocket-Extensions is malformed",
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.explain())
    }
}

impl core::error::Error for Refusal {}

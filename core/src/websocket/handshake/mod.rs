//! The opening handshake, both roles: <https://www.rfc-editor.org/rfc/rfc6455#section-4>
//!
//! It works on heads, whoever parsed them. The fields that it gives are complete but for
//! `connection: upgrade` and `host`, which the machines of HTTP/1.1 write themselves.

mod accept;
mod client;
pub(super) mod extension;
mod origin;
mod server;

pub use client::{BadAnswer, ClientHandshake, Opening};
pub use origin::Origins;
pub use server::{Accepted, Refusal, ServerHandshake};

#[cfg(feature = "deflate")]
use super::deflate::Deflate;
use crate::class::Class;
use crate::error::{Error, Misuse, Phase};

/// The version of the protocol: <https://www.rfc-editor.org/rfc/rfc6455#section-4.1>
const VERSION: &str = "13";

/// What both sides agreed on.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Agreed {
    /// The subprotocol, where one was agreed on.
    pub protocol: Option<String>,
    /// How messages may be compressed, if they may.
    #[cfg(feature = "deflate")]
    pub deflate: Option<Deflate>,
}

static TOKEN: Class = Class::alphanumeric_and(b"!#$%&'*+-.^_`|~");

fn is_token(text: &[u8]) -> bool {
    !text.is_empty() && TOKEN.has_all_of(text)
}

/// Elements of a list of tokens: <https://www.rfc-editor.org/rfc/rfc9110#section-5.6.1>
fn list(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii).filter(|element| !element.is_empty())
}

/// Subprotocols are tokens, each named once: <https://www.rfc-editor.org/rfc/rfc6455#section-4.1>
fn check_protocols(protocols: &[String]) -> Result<(), Error> {
    let sound = protocols
        .iter()
        .enumerate()
        .all(|(at, protocol)| is_token(protocol.as_bytes()) && !protocols[..at].contains(protocol));
    if sound { Ok(()) } else { Err(Error::usage(Misuse::Config, Phase::WebSocket)) }
}

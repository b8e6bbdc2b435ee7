//! Compressed messages, permessage-deflate: <https://www.rfc-editor.org/rfc/rfc7692>
//!
//! Compression is never on by itself: beside secrets, a compressed length tells about them.
//!
//! Memory of a connection that compresses and unpacks: some 420 KiB with windows of 15 bits, 300 with
//! 10; nothing before the first compressed message. Without context takeover it is needed while
//! messages pass only, and may come out of a [`Pool`] that connections share.

mod codec;
mod negotiation;
mod pool;

pub(super) use codec::{Codec, Flaw};
pub use pool::Pool;

use crate::error::{Error, Misuse, Phase};

/// Compression as one side wants it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DeflateConfig {
    /// What we compress.
    pub outgoing: Window,
    /// What the peer compresses.
    pub incoming: Window,
    /// How hard it is tried, from 1 (fast) to 9 (small). Default 6.
    pub level: u8,
    /// Messages below this many bytes are sent as they are. Default 256.
    pub threshold: usize,
}

/// How far compression looks back.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Window {
    /// The binary logarithm of the bytes that are looked back over, from 9 to 15. Default 15; a
    /// smaller one takes less memory. (The protocol has 8, which zlib cannot do.)
    pub bits: u8,
    /// What becomes of it between messages. Default [`Takeover::Keep`].
    pub takeover: Takeover,
}

/// What becomes of a window between two messages.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Takeover {
    /// It stays: small messages that resemble each other shrink best, and memory is kept for it.
    #[default]
    Keep,
    /// It is forgotten: no memory is needed between messages.
    Forget,
}

/// What both sides agreed on, and how we go about it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Deflate {
    outgoing: Window,
    incoming: Window,
    level: u8,
    threshold: usize,
}

impl Default for Window {
    fn default() -> Self {
        Self { bits: Self::MAX_BITS, takeover: Takeover::Keep }
    }
}

impl Default for DeflateConfig {
    fn default() -> Self {
        Self { outgoing: Window::default(), incoming: Window::default(), level: 6, threshold: 256 }
    }
}

impl Window {
    const MIN_BITS: u8 = 9;
    const MAX_BITS: u8 = 15;
}

impl DeflateConfig {
    /// Refuses what is out of its range.
    ///
    /// # Errors
    ///
    /// `Usage` for a level or a window that does not exist.
    pub fn check(&self) -> Result<(), Error> {
        let bits = Window::MIN_BITS..=Window::MAX_BITS;
        let sane = bits.contains(&self.outgoing.bits)
            && bits.contains(&self.incoming.bits)
            && (1..=9).contains(&self.level);
        if sane { Ok(()) } else { Err(Error::usage(Misuse::Config, Phase::WebSocket)) }
    }
}

impl Deflate {
    /// How we compress.
    pub const fn outgoing(&self) -> Window {
        self.outgoing
    }

    /// How the peer compresses.
    pub const fn incoming(&self) -> Window {
        self.incoming
    }
}

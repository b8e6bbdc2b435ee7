//! A connection that left HTTP, as the application holds it.

mod carrier;
mod carry;
mod compressors;
mod line;
mod spoken;

use std::fmt;
use std::future::poll_fn;
use std::sync::Arc;

use bytes::Bytes;
use sinew_tls::PeerIdentity;

pub(crate) use self::carrier::Carrier;
pub(crate) use self::carry::{Setup, Unsent};
pub(crate) use self::line::Line;
pub(crate) use self::spoken::Speech;
use crate::error::Error;

/// A connection that left HTTP: after a 101, or after a 2xx to CONNECT. Bytes, both ways, over TLS
/// where HTTP went over TLS, beginning with what the peer sent early.
///
/// Reading and writing take `&self`, so that both can go on at once; what is not read is not taken
/// from the socket for long, and what the peer does not take makes a writer wait. Nothing times out
/// but a peer that takes nothing.
///
/// On a server, dropping it sends what was written and closes in order. A client has nobody who
/// would see to that afterwards: [`shut`](Self::shut), and read to the end, where it matters.
pub struct Upgraded {
    line: Arc<Line>,
    identity: Option<Arc<PeerIdentity>>,
}

impl Upgraded {
    pub(crate) fn new(line: Arc<Line>, identity: Option<Arc<PeerIdentity>>) -> Self {
        Self { line, identity }
    }

    /// The next bytes, as they came; `None` when the peer shut its writing side. Dropping the
    /// future loses nothing.
    ///
    /// # Errors
    ///
    /// A socket or a TLS session that broke, a stream that was cut, a server that was stopped.
    pub async fn read(&self) -> Result<Option<Bytes>, Error> {
        poll_fn(|cx| self.line.poll(cx, |carrier, cx| carrier.poll_read(cx))).await
    }

    /// Writes these bytes; ready when the socket has them all. If the future is dropped, they are
    /// sent as a whole or not at all.
    ///
    /// # Errors
    ///
    /// Those of [`read`](Self::read), a peer that takes nothing for too long, and a writing side
    /// that was shut.
    pub async fn write(&self, bytes: impl Into<Bytes>) -> Result<(), Error> {
        let mut bytes = Some(bytes.into());
        poll_fn(|cx| self.line.poll(cx, |carrier, cx| carrier.poll_write(cx, &mut bytes))).await
    }

    /// Shuts the writing side, behind everything that was written. Reading goes on.
    ///
    /// # Errors
    ///
    /// Those of [`write`](Self::write).
    pub async fn shut(&self) -> Result<(), Error> {
        poll_fn(|cx| self.line.poll(cx, |carrier, cx| carrier.poll_shut(cx))).await
    }

    pub(crate) fn line(&self) -> &Arc<Line> {
        &self.line
    }

    /// Whom the peer's certificate names; `None` without TLS or without a certificate.
    pub fn identity(&self) -> Option<&PeerIdentity> {
        self.identity.as_deref()
    }
}

impl Drop for Upgraded {
    fn drop(&mut self) {
        self.line.close();
    }
}

impl fmt::Debug for Upgraded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Upgraded")
            .field("peer", &self.identity().map(PeerIdentity::name))
            .finish_non_exhaustive()
    }
}

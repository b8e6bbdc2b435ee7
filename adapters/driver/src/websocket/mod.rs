//! WebSocket, both roles, over connections that left HTTP.

use std::fmt;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Poll, ready};
use std::time::Duration;

use sinew_core::error::{Delivery, Phase};
pub use sinew_core::websocket::{
    CloseCode, Closed, Config as WebSocketConfig, HeartbeatConfig, Limits, Message, Side, Text,
};
pub use sinew_core::websocket::{
    handshake, handshake::ClientHandshake, handshake::ServerHandshake,
};
use sinew_tls::PeerIdentity;

use crate::error::{Error, ErrorKind};
use crate::upgraded::{Line, Setup, Upgraded};

/// A connection that speaks WebSocket: messages, both ways.
///
/// Pings are answered, silence is noticed, and a close code is always sent, whether or not somebody
/// receives. One message is read ahead; behind it the peer waits.
///
/// Dropping it sends what is queued and closes with 1000, or with 1011 where it was dropped by a
/// panic; the close goes on without its owner. [`close`](Self::close) says why, and waits.
pub struct WebSocket {
    connection: Arc<Upgraded>,
    protocol: Option<Box<str>>,
}

impl WebSocket {
    /// What both sides agreed on, from here on.
    pub(crate) fn new(upgraded: Upgraded, setup: Setup) -> Self {
        let protocol = setup.agreed.protocol.as_deref().map(Into::into);
        upgraded.line().act(|carrier| carrier.speak(setup));
        Self { connection: Arc::new(upgraded), protocol }
    }

    /// The connection, to be held for longer than by its owner.
    pub(crate) fn connection(&self) -> Arc<Upgraded> {
        Arc::clone(&self.connection)
    }

    fn line(&self) -> &Arc<Line> {
        self.connection.line()
    }

    /// The next message; `None` once both sides have closed: [`closed`](Self::closed) says how.
    /// Dropping the future loses nothing.
    ///
    /// # Errors
    ///
    /// A peer that breaks the protocol or a limit, or is silent for too long (it has been told why),
    /// a socket or a TLS session that broke, a server that was stopped.
    pub async fn recv(&mut self) -> Result<Option<Message>, Error> {
        poll_fn(|cx| self.line().poll(cx, |carrier, cx| carrier.poll_recv(cx))).await
    }

    /// Queues a message; ready when there was room for it. It leaves with all that is queued once this
    /// task waits for something. If the future is dropped, it is sent as a whole or not at all.
    ///
    /// # Errors
    ///
    /// Those of [`recv`](Self::recv), and a connection that has been closed ([`ErrorKind::Gone`]).
    pub async fn send(&self, message: impl Into<Message>) -> Result<(), Error> {
        let mut message = Some(message.into());
        poll_fn(|cx| self.line().poll(cx, |carrier, cx| carrier.poll_send(cx, &mut message))).await
    }

    /// Ready when the socket has everything that was queued.
    ///
    /// # Errors
    ///
    /// Those of [`recv`](Self::recv).
    pub async fn flush(&self) -> Result<(), Error> {
        poll_fn(|cx| self.line().poll(cx, |carrier, cx| carrier.poll_flush(cx))).await
    }

    /// Closes, behind what is queued, and waits for the peer to answer, for 5 s at most unless
    /// [`WebSocketConfig::close_handshake`] says otherwise. What still comes is thrown away.
    ///
    /// # Errors
    ///
    /// A code that must not be sent ([`CloseCode::is_sendable`]), a reason of more than 123 bytes;
    /// those of [`recv`](Self::recv).
    pub async fn close(&mut self, code: CloseCode, reason: &str) -> Result<Closed, Error> {
        if self.closed().is_none() {
            self.line().act(|carrier| carrier.begin_close(code, reason))?;
        }
        poll_fn(|cx| {
            self.line().poll(cx, |carrier, cx| {
                while ready!(carrier.poll_recv(cx))?.is_some() {}
                Poll::Ready(carrier.closed().cloned().ok_or_else(never_closed))
            })
        })
        .await
    }

    /// How the connection ended, once it has: [`CloseCode::ABNORMAL`] where there was no close frame.
    pub fn closed(&self) -> Option<Closed> {
        self.line().act(|carrier| carrier.closed().cloned())
    }

    /// How long the last ping of the heartbeat that was answered took to come back.
    pub fn rtt(&self) -> Option<Duration> {
        self.line().act(|carrier| carrier.websocket()?.rtt())
    }

    /// The subprotocol that both sides agreed on.
    pub fn protocol(&self) -> Option<&str> {
        self.protocol.as_deref()
    }

    /// Whom the peer's certificate names; `None` without TLS or without a certificate.
    pub fn identity(&self) -> Option<&PeerIdentity> {
        self.connection.identity()
    }
}

fn never_closed() -> Error {
    Error::new(ErrorKind::Gone, Phase::WebSocket, Delivery::MaybeProcessed)
}

/// 32 bytes of the operating system, for one connection or one handshake.
pub(crate) fn seed() -> Result<[u8; 32], Error> {
    let mut seed = [0; 32];
    getrandom::fill(&mut seed)
        .map_err(|why| Error::config(format!("the system gives no seed: {why}")))?;
    Ok(seed)
}

impl fmt::Debug for WebSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebSocket")
            .field("peer", &self.identity().map(PeerIdentity::name))
            .field("protocol", &self.protocol)
            .field("closed", &self.closed())
            .finish_non_exhaustive()
    }
}

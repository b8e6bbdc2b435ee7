//! WebSocket, both roles, over connections that left HTTP.
//!
//! A server adds routes with [`ServerBuilder::websocket`](crate::ServerBuilder::websocket), a client
//! opens sockets with [`RestClient::websocket`](crate::RestClient::websocket); both have a
//! [`WebSocket`] then. Limits, timers and codes are those of [`sinew_core::websocket`].

mod half;
mod sockets;
mod stream;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
pub use sinew_core::client::reconnect::{ReconnectPolicy, WhyNever};
#[cfg(feature = "deflate")]
pub use sinew_core::websocket::deflate;
pub use sinew_core::websocket::handshake::{ClientHandshake, Origins, ServerHandshake};
pub use sinew_core::websocket::{
    CloseCode, Closed, Config as WebSocketConfig, HeartbeatConfig, Limits, Message, Overflow, Side,
    Text,
};
use sinew_tls::PeerIdentity;

pub use self::half::{SocketReceiver, SocketSender, TrySendError};
pub(crate) use self::sockets::Seat;
pub use self::sockets::{Broadcast, Sockets};
pub use crate::client::{LastingSocket, SocketEvent};
use crate::error::Error;
use crate::upgraded::{Setup, Upgraded};

/// A connection that speaks WebSocket: messages, both ways.
///
/// Pings are answered, silence is noticed, and a close code is always sent, whether or not somebody
/// receives. One message is read ahead; behind it the peer waits, its pings and its close too. Who
/// never receives lets [`SocketReceiver::ended`] throw away what comes.
///
/// It is a stream and a sink of [`Message`], and can be [split](Self::split) between two tasks.
///
/// Dropping it sends what is queued and closes with 1000, or with 1011 where it was dropped by a
/// panic; the close goes on without its owner. [`close`](Self::close) says why, and waits.
pub struct WebSocket {
    sender: SocketSender,
    receiver: SocketReceiver,
}

impl WebSocket {
    /// What both sides agreed on, from here on.
    pub(crate) fn new(upgraded: Upgraded, setup: Setup) -> Self {
        let protocol = setup.speech.agreed.protocol.as_deref().map(Into::into);
        upgraded.line().act(|carrier| carrier.speak(setup));
        let connection = Arc::new(upgraded);
        Self {
            sender: SocketSender::new(Arc::clone(&connection)),
            receiver: SocketReceiver::new(connection, protocol),
        }
    }

    /// The two halves, for two tasks. The connection is closed when both are dropped, and all clones
    /// of the sender.
    pub fn split(self) -> (SocketSender, SocketReceiver) {
        (self.sender, self.receiver)
    }

    /// Another sender of this socket, for another task.
    pub fn sender(&self) -> SocketSender {
        self.sender.clone()
    }

    /// The next message; `None` once both sides have closed: [`closed`](Self::closed) says how.
    /// Dropping the future loses nothing.
    ///
    /// # Errors
    ///
    /// A peer that breaks the protocol or a limit, or is silent for too long (it has been told why),
    /// a socket or a TLS session that broke, a server that was stopped.
    pub async fn recv(&mut self) -> Result<Option<Message>, Error> {
        self.receiver.recv().await
    }

    /// The next message, text or binary, from JSON.
    ///
    /// # Errors
    ///
    /// Those of [`recv`](Self::recv); [`ErrorKind::Decode`](crate::ErrorKind::Decode) for a message that
    /// is no such JSON. The socket can be used further.
    pub async fn recv_json<T: DeserializeOwned>(&mut self) -> Result<Option<T>, Error> {
        self.receiver.recv_json().await
    }

    /// Queues a message; ready when there was room for it. It leaves with all that is queued once this
    /// task waits for something. If the future is dropped, it is sent as a whole or not at all.
    ///
    /// # Errors
    ///
    /// Those of [`recv`](Self::recv), and a connection that has been closed
    /// ([`ErrorKind::Gone`](crate::ErrorKind::Gone)).
    pub async fn send(&self, message: impl Into<Message>) -> Result<(), Error> {
        self.sender.send(message).await
    }

    /// Queues a value, as JSON in a text.
    ///
    /// # Errors
    ///
    /// Those of [`send`](Self::send); [`ErrorKind::Config`](crate::ErrorKind::Config) for a value that
    /// is no JSON.
    pub async fn send_json(&self, value: &(impl Serialize + ?Sized)) -> Result<(), Error> {
        self.sender.send_json(value).await
    }

    /// Ready when the socket has everything that was queued.
    ///
    /// # Errors
    ///
    /// Those of [`recv`](Self::recv).
    pub async fn flush(&self) -> Result<(), Error> {
        self.sender.flush().await
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
            self.sender.close(code, reason)?;
        }
        self.receiver.ended().await
    }

    /// How the connection ended, once it has: [`CloseCode::ABNORMAL`] where there was no close frame.
    pub fn closed(&self) -> Option<Closed> {
        self.receiver.closed()
    }

    /// How long the last ping of the heartbeat that was answered took to come back.
    pub fn rtt(&self) -> Option<Duration> {
        self.receiver.rtt()
    }

    /// The subprotocol that both sides agreed on.
    pub fn protocol(&self) -> Option<&str> {
        self.receiver.protocol()
    }

    /// Whom the peer's certificate names; `None` without TLS or without a certificate.
    pub fn identity(&self) -> Option<&PeerIdentity> {
        self.receiver.identity()
    }

    /// Whether it was closed from here, before the peer did.
    pub(crate) fn was_left(&self) -> bool {
        self.receiver.was_left()
    }

    /// The connection, to be held for longer than by its owner.
    pub(crate) fn connection(&self) -> Arc<Upgraded> {
        self.sender.connection()
    }
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
        self.receiver.describe(f, "WebSocket")
    }
}

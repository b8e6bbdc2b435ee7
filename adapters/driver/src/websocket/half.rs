//! The two halves of a socket.

use std::fmt;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use sinew_core::error::{Delivery, Phase};
use sinew_core::websocket::{CloseCode, Closed, Message};
use sinew_tls::PeerIdentity;

use crate::error::{Error, ErrorKind};
use crate::upgraded::{Line, Unsent, Upgraded};

/// The half of a [`WebSocket`](super::WebSocket) that sends. Clones send on the same socket.
#[derive(Clone)]
pub struct SocketSender {
    connection: Arc<Upgraded>,
}

/// Why a message was not taken at once.
#[derive(Debug)]
pub enum TrySendError {
    /// There is no room: here it is.
    Full(Message),
    /// Nothing can be sent any more.
    Error(Error),
}

impl SocketSender {
    pub(super) fn new(connection: Arc<Upgraded>) -> Self {
        Self { connection }
    }

    pub(super) fn connection(&self) -> Arc<Upgraded> {
        Arc::clone(&self.connection)
    }

    fn line(&self) -> &Arc<Line> {
        self.connection.line()
    }

    /// Queues a message: see [`WebSocket::send`](super::WebSocket::send).
    ///
    /// # Errors
    ///
    /// A socket that was closed, or broke.
    pub async fn send(&self, message: impl Into<Message>) -> Result<(), Error> {
        let mut message = Some(message.into());
        poll_fn(|cx| self.poll_send(cx, &mut message)).await
    }

    fn poll_send(
        &self,
        cx: &Context<'_>,
        message: &mut Option<Message>,
    ) -> Poll<Result<(), Error>> {
        self.line().poll(cx, |carrier, cx| {
            loop {
                ready!(carrier.poll_room(cx))?;
                let Some(next) = message.take() else { return Poll::Ready(Ok(())) };
                match carrier.send(next) {
                    Ok(()) => return Poll::Ready(Ok(())),
                    Err(Unsent::Full(back)) => *message = Some(back),
                    Err(Unsent::Error(error)) => return Poll::Ready(Err(error)),
                }
            }
        })
    }

    pub(super) fn poll_room(&self, cx: &Context<'_>) -> Poll<Result<(), Error>> {
        self.line().poll(cx, |carrier, cx| carrier.poll_room(cx))
    }

    pub(super) fn poll_flush(&self, cx: &Context<'_>) -> Poll<Result<(), Error>> {
        self.line().poll(cx, |carrier, cx| carrier.poll_flush(cx))
    }

    /// Queues a message if there is room for it now. Where the
    /// [policy](super::WebSocketConfig::overflow) is not to wait there always is, until the socket is
    /// closed for it.
    ///
    /// # Errors
    ///
    /// The message, where there is no room; a socket that was closed, or broke.
    pub fn try_send(&self, message: impl Into<Message>) -> Result<(), TrySendError> {
        self.line().act(|carrier| carrier.send(message.into())).map_err(|unsent| match unsent {
            Unsent::Full(message) => TrySendError::Full(message),
            Unsent::Error(error) => TrySendError::Error(error),
        })
    }

    /// Queues a value, as JSON in a text.
    ///
    /// # Errors
    ///
    /// Those of [`send`](Self::send); [`ErrorKind::Config`] for a value that is no JSON.
    pub async fn send_json(&self, value: &(impl Serialize + ?Sized)) -> Result<(), Error> {
        let text = serde_json::to_string(value)
            .map_err(|why| Error::config("a message that is no JSON").with_source(why))?;
        self.send(Message::text(text)).await
    }

    /// Ready when the socket has everything that was queued.
    ///
    /// # Errors
    ///
    /// A socket that broke.
    pub async fn flush(&self) -> Result<(), Error> {
        poll_fn(|cx| self.poll_flush(cx)).await
    }

    /// Begins to close, behind what is queued; who receives sees the end.
    ///
    /// # Errors
    ///
    /// A code that must not be sent ([`CloseCode::is_sendable`]), a reason of more than 123 bytes; a
    /// socket that is closed, or broke.
    pub fn close(&self, code: CloseCode, reason: &str) -> Result<(), Error> {
        self.line().act(|carrier| carrier.begin_close(code, reason))
    }

    /// Messages that were dropped for newer ones, where the
    /// [policy](super::WebSocketConfig::overflow) is to do that.
    pub fn dropped(&self) -> u64 {
        self.line().act(|carrier| carrier.dropped())
    }
}

/// The half of a [`WebSocket`](super::WebSocket) that receives.
pub struct SocketReceiver {
    connection: Arc<Upgraded>,
    protocol: Option<Box<str>>,
    /// As a stream it is over.
    pub(super) finished: bool,
}

impl SocketReceiver {
    pub(super) fn new(connection: Arc<Upgraded>, protocol: Option<Box<str>>) -> Self {
        Self { connection, protocol, finished: false }
    }

    fn line(&self) -> &Arc<Line> {
        self.connection.line()
    }

    pub(super) fn poll_recv(&self, cx: &Context<'_>) -> Poll<Result<Option<Message>, Error>> {
        self.line().poll(cx, |carrier, cx| carrier.poll_recv(cx))
    }

    /// The next message: see [`WebSocket::recv`](super::WebSocket::recv).
    ///
    /// # Errors
    ///
    /// A peer that breaks the protocol or a limit, or is silent for too long; a socket that broke.
    pub async fn recv(&mut self) -> Result<Option<Message>, Error> {
        poll_fn(|cx| self.poll_recv(cx)).await
    }

    /// The next message, text or binary, from JSON.
    ///
    /// # Errors
    ///
    /// Those of [`recv`](Self::recv); [`ErrorKind::Decode`] for a message that is no such JSON. The
    /// socket can be used further.
    pub async fn recv_json<T: DeserializeOwned>(&mut self) -> Result<Option<T>, Error> {
        let Some(message) = self.recv().await? else { return Ok(None) };
        serde_json::from_slice(message.as_bytes()).map(Some).map_err(|why| {
            Error::new(ErrorKind::Decode, Phase::WebSocket, Delivery::Processed).with_source(why)
        })
    }

    /// Throws away what comes until the connection is over, and says how it ended.
    ///
    /// # Errors
    ///
    /// Those of [`recv`](Self::recv).
    pub async fn ended(&mut self) -> Result<Closed, Error> {
        poll_fn(|cx| self.line().poll(cx, |carrier, cx| carrier.poll_ended(cx))).await
    }

    /// Whether it was closed from here, before the peer did.
    pub(crate) fn was_left(&self) -> bool {
        self.line().act(|carrier| carrier.was_left())
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

    pub(super) fn describe(&self, f: &mut fmt::Formatter<'_>, name: &str) -> fmt::Result {
        f.debug_struct(name)
            .field("peer", &self.identity().map(PeerIdentity::name))
            .field("protocol", &self.protocol)
            .field("closed", &self.closed())
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for SocketReceiver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.describe(f, "SocketReceiver")
    }
}

impl fmt::Debug for SocketSender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SocketSender")
            .field("peer", &self.connection.identity().map(PeerIdentity::name))
            .finish_non_exhaustive()
    }
}

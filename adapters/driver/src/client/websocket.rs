//! Opening a socket.

use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, HeaderValue};
use sinew_core::error::{Delivery, Phase};
use sinew_core::propagation::CallContext;
use sinew_core::websocket::handshake::{BadAnswer, ClientHandshake};
use sinew_core::websocket::{Config, Overflow, Role};

use super::call::Call;
use super::rest_client::RestClient;
use crate::error::{Error, ErrorKind};
use crate::runtime::Runtime;
use crate::upgraded::{Setup, Speech};
use crate::websocket::{WebSocket, seed};

/// A socket that is about to be opened. Nothing happens before [`connect`](Self::connect).
#[derive(Debug)]
#[must_use = "a socket is not opened before it is connected"]
pub struct SocketCall<R: Runtime> {
    call: Call<R>,
    handshake: ClientHandshake,
    config: Config,
    overflow: Overflow,
}

impl<R: Runtime> RestClient<R> {
    /// Opens a socket at `path`, which may have a query: a call like any other, with the client's
    /// TLS, tokens, retries and breakers, up to the switch.
    ///
    /// ```
    /// use sinew_driver::{CloseCode, Error, Message, RestClient, Runtime};
    ///
    /// async fn greet<R: Runtime>(client: RestClient<R>) -> Result<(), Error> {
    ///     let mut socket = client.websocket("/echo").connect().await?;
    ///     socket.send(Message::text("hello")).await?;
    ///     println!("{:?}", socket.recv().await?);
    ///     socket.close(CloseCode::NORMAL, "").await?;
    ///     Ok(())
    /// }
    /// ```
    pub fn websocket(&self, path: &str) -> SocketCall<R> {
        SocketCall {
            call: self.get(path).hedge(false),
            handshake: ClientHandshake::default(),
            config: Config::default(),
            overflow: Overflow::default(),
        }
    }
}

impl<R: Runtime> SocketCall<R> {
    /// Adds a field to the request.
    pub fn header<N, V>(mut self, name: N, value: V) -> Self
    where
        N: TryInto<HeaderName, Error: Into<http::Error>>,
        V: TryInto<HeaderValue, Error: Into<http::Error>>,
    {
        self.call = self.call.header(name, value);
        self
    }

    /// `authorization: Bearer …`: see [`Call::bearer`].
    pub fn bearer(mut self, token: &str) -> Self {
        self.call = self.call.bearer(token);
        self
    }

    /// Opens it on behalf of a request: see [`Call::context`].
    pub fn context(mut self, context: &CallContext) -> Self {
        self.call = self.call.context(context);
        self
    }

    /// The time up to the switch: see [`Call::timeout`].
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.call = self.call.timeout(timeout);
        self
    }

    /// Says what is asked for: subprotocols, compression.
    pub fn handshake(mut self, handshake: ClientHandshake) -> Self {
        self.handshake = handshake;
        self
    }

    /// Sets limits and timers of the socket.
    pub fn config(mut self, config: Config) -> Self {
        self.config = config;
        self
    }

    /// Says what becomes of messages when the server takes less than is sent.
    pub fn overflow(mut self, overflow: Overflow) -> Self {
        self.overflow = overflow;
        self
    }

    /// Opens the socket. A task of the client's looks after it, so that pings are answered and what
    /// is queued leaves, whatever its owner does.
    ///
    /// # Errors
    ///
    /// Those of [`Call::send`]; [`ErrorKind::Status`], where the server answered something else than
    /// 101; [`ErrorKind::Handshake`], where the answer is no answer to what was asked.
    pub async fn connect(self) -> Result<WebSocket, Error> {
        let Self { call, handshake, config, overflow } = self;
        let failed = |why: sinew_core::Error| Error::config("a WebSocket").with_source(why);
        config.check().map_err(failed)?;
        handshake.check().map_err(failed)?;
        let (hub, opening) = (call.hub(), handshake.open(seed()?));
        let call = opening.fields().fold(call, |call, (name, value)| call.header(name, value));
        let response = call.send().await?;
        let agreed = opening.check(response.head()).map_err(|why| {
            let delivery = response.head().delivery();
            match why {
                BadAnswer::Status(status) => {
                    Error::new(ErrorKind::Status(status), Phase::ResponseHead, delivery)
                }
                why => {
                    let kind = ErrorKind::Handshake(why);
                    Error::new(kind, Phase::ResponseHead, Delivery::MaybeProcessed)
                }
            }
        })?;
        let upgraded = response.upgrade()?;
        let line = Arc::clone(upgraded.line());
        let config = Arc::new(config);
        let speech = Speech { role: Role::Client, config, agreed, seed: seed()? };
        let setup = Setup { speech, overflow, expires: None, seat: None };
        let socket = WebSocket::new(upgraded, setup);
        hub.spawn(Box::pin(async move {
            poll_fn(|cx| line.poll(cx, |carrier, cx| carrier.poll_over(cx))).await;
        }));
        Ok(socket)
    }
}

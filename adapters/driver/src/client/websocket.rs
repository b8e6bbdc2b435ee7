//! Opening a socket.

use std::fmt;
use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};
use sinew_core::client::reconnect::ReconnectPolicy;
use sinew_core::error::{Delivery, Phase};
use sinew_core::propagation::CallContext;
use sinew_core::websocket::handshake::{BadAnswer, ClientHandshake};
use sinew_core::websocket::{Config, Role};

use super::base::shown;
use super::builder::field;
use super::lasting::LastingSocket;
use super::rest_client::RestClient;
use crate::error::{Error, ErrorKind};
use crate::runtime::Runtime;
use crate::upgraded::{Setup, Speech};
use crate::websocket::{WebSocket, seed};

/// A socket that is about to be opened. Nothing happens before [`connect`](Self::connect).
#[must_use = "a socket is not opened before it is connected"]
pub struct SocketCall<R: Runtime> {
    client: RestClient<R>,
    path: String,
    fields: HeaderMap,
    bearer: Option<String>,
    context: CallContext,
    timeout: Option<Duration>,
    handshake: ClientHandshake,
    config: Config,
    /// What cannot be sent; told by `connect`.
    refused: Option<String>,
}

impl<R: Runtime> fmt::Debug for SocketCall<R> {
    /// Path without query, names of fields without values: both may hold secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SocketCall")
            .field("client", &self.client)
            .field("path", &shown(&self.path))
            .field("fields", &self.fields.keys().collect::<Vec<_>>())
            .field("handshake", &self.handshake)
            .finish_non_exhaustive()
    }
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
            client: self.clone(),
            path: path.to_owned(),
            fields: HeaderMap::new(),
            bearer: None,
            context: CallContext::default(),
            timeout: None,
            handshake: ClientHandshake::default(),
            config: Config::default(),
            refused: None,
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
        match field(name, value) {
            Ok((name, value)) => {
                self.fields.append(name, value);
            }
            Err(error) => {
                self.refused.get_or_insert_with(|| error.to_string());
            }
        }
        self
    }

    /// `authorization: Bearer …`: see [`Call::bearer`](super::Call::bearer).
    pub fn bearer(mut self, token: &str) -> Self {
        self.bearer = Some(token.to_owned());
        self
    }

    /// Opens it on behalf of a request: see [`Call::context`](super::Call::context).
    pub fn context(mut self, context: &CallContext) -> Self {
        self.context.clone_from(context);
        self
    }

    /// The time up to the switch: see [`Call::timeout`](super::Call::timeout).
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Says what is asked for: subprotocols, compression.
    pub fn handshake(mut self, handshake: ClientHandshake) -> Self {
        self.handshake = handshake;
        self
    }

    /// Sets limits and timers of the socket, and what becomes of messages when the server takes less than
    /// is sent.
    pub fn config(mut self, config: Config) -> Self {
        self.config = config;
        self
    }

    /// A socket that is opened again when it is lost.
    ///
    /// # Errors
    ///
    /// A policy that makes no sense.
    pub fn lasting(self, policy: ReconnectPolicy) -> Result<LastingSocket<R>, Error> {
        let runtime = self.client.runtime().clone();
        LastingSocket::new(self, policy, runtime)
    }

    /// Opens the socket. A task of the client's looks after it, so that pings are answered and what
    /// is queued leaves, whatever its owner does.
    ///
    /// # Errors
    ///
    /// Those of [`Call::send`](super::Call::send); [`ErrorKind::Status`], where the server answered
    /// something else than 101; [`ErrorKind::Handshake`], where the answer is no answer to what was
    /// asked.
    pub async fn connect(self) -> Result<WebSocket, Error> {
        self.open().await
    }

    pub(super) async fn open(&self) -> Result<WebSocket, Error> {
        let Self { client, handshake, config, .. } = self;
        if let Some(why) = &self.refused {
            return Err(Error::config(why.clone()));
        }
        let failed = |why: sinew_core::Error| Error::config("a WebSocket").with_source(why);
        config.check().map_err(failed)?;
        handshake.check().map_err(failed)?;
        let opening = handshake.clone().open(seed()?);
        let mut call = client.get(&self.path).hedge(false).context(&self.context);
        for (name, value) in &self.fields {
            call = call.header(name, value);
        }
        for (name, value) in opening.fields() {
            call = call.header(name, value);
        }
        if let Some(token) = &self.bearer {
            call = call.bearer(token);
        }
        if let Some(timeout) = self.timeout {
            call = call.timeout(timeout);
        }
        let response = call.send().await?;
        let delivery = response.head().delivery();
        let agreed = opening.check(response.head()).map_err(|why| match why {
            BadAnswer::Status(status) => {
                Error::new(ErrorKind::Status(status), Phase::ResponseHead, delivery)
            }
            why => {
                let delivery = Delivery::MaybeProcessed;
                Error::new(ErrorKind::Handshake(why), Phase::ResponseHead, delivery)
            }
        })?;
        let upgraded = response.upgrade()?;
        let line = Arc::clone(upgraded.line());
        let config = Arc::new(*config);
        let speech = Speech { role: Role::Client, config, agreed, seed: seed()? };
        let setup = Setup { speech, expires: None, seat: None };
        let socket = WebSocket::new(upgraded, setup);
        client.shared.hub.spawn(Box::pin(async move {
            poll_fn(|cx| line.poll(cx, |carrier, cx| carrier.poll_over(cx))).await;
        }));
        Ok(socket)
    }
}

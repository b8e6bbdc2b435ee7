//! A call: what is asked, and the way to its answer.

use std::future::{Future as _, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, EXPECT, UPGRADE};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use http_body::Body as _;
use serde::Serialize;
use sinew_core::Wire as _;
use sinew_core::client::Want;
use sinew_core::error::{Delivery, Kind, Phase};
use sinew_core::head::ResponseHead;
use sinew_core::http1::{
    BodySize, Client, ClientConfig, ClientEvent, NO_FIELDS, Rejected, RequestLine,
};
use sinew_core::machine::Layered as _;
use sinew_core::observe::{TraceContext, request_id};
use sinew_core::propagation::CallContext;
use sinew_core::time::Instant;

use super::base::{Base, shown};
use super::builder::{ClientBuilder, field};
use super::config::RestClientConfig;
use super::conn::{Conn, refused};
use super::dial::dial;
use super::lane::{Lanes, Wish};
use super::lease::{Connections, Held, Lease};
use super::response::{ClientResponse, Incoming};
use crate::body::Body;
use crate::drive;
use crate::error::{Error, ErrorKind};
use crate::runtime::Runtime;
use crate::trace::CallSpan;
use crate::wire::AnyWire;

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");
const X_REQUEST_ID: HeaderName = HeaderName::from_static(request_id::FIELD);

/// A client of one service: `client.get("/path").send().await`.
///
/// Cheap to clone; all clones share their connections, which are closed with the last of them. A
/// connection that was idle for too long is closed when the client is used next.
pub struct RestClient<R: Runtime> {
    pub(super) shared: Arc<Shared<R>>,
}

pub(super) struct Shared<R: Runtime> {
    pub(super) config: RestClientConfig,
    pub(super) base: Base,
    pub(super) machine: Arc<ClientConfig>,
    pub(super) connections: Arc<Connections<R>>,
    /// `None` where calls do not share connections.
    pub(super) lanes: Option<Arc<Lanes<R>>>,
}

impl<R: Runtime> Clone for RestClient<R> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

impl<R: Runtime> std::fmt::Debug for RestClient<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RestClient")
            .field("base_url", &shown(&self.shared.config.base_url))
            .field("connections", &self.shared.connections)
            .finish()
    }
}

impl<R: Runtime> RestClient<R> {
    /// Starts building a client for this base URL: `https://host[:port][/prefix]`, `http://…`, or
    /// `unix:/path/of/socket`.
    pub fn builder(base_url: impl Into<String>) -> ClientBuilder<R> {
        ClientBuilder::new(RestClientConfig::new(base_url))
    }

    /// A GET of `path`, which may have a query.
    pub fn get(&self, path: &str) -> Call<R> {
        self.request(Method::GET, path)
    }

    /// A HEAD.
    pub fn head(&self, path: &str) -> Call<R> {
        self.request(Method::HEAD, path)
    }

    /// A POST.
    pub fn post(&self, path: &str) -> Call<R> {
        self.request(Method::POST, path)
    }

    /// A PUT.
    pub fn put(&self, path: &str) -> Call<R> {
        self.request(Method::PUT, path)
    }

    /// A PATCH.
    pub fn patch(&self, path: &str) -> Call<R> {
        self.request(Method::PATCH, path)
    }

    /// A DELETE.
    pub fn delete(&self, path: &str) -> Call<R> {
        self.request(Method::DELETE, path)
    }

    /// Any other method.
    pub fn request(&self, method: Method, path: &str) -> Call<R> {
        let config = &self.shared.config;
        Call {
            shared: Arc::clone(&self.shared),
            method,
            path: path.to_owned(),
            query: String::new(),
            fields: HeaderMap::new(),
            body: Body::empty(),
            timeout: config.timeout,
            context: CallContext::default(),
            between_bytes: config.between_bytes,
            refused: None,
        }
    }

    pub(crate) fn runtime(&self) -> &R {
        &self.shared.connections.runtime
    }

    /// Connections that are open: in use, and kept.
    pub fn connections(&self) -> usize {
        self.shared.connections.counts().0
    }

    /// Connections that are kept for the next call.
    pub fn idle_connections(&self) -> usize {
        self.shared.connections.counts().1
    }
}

/// A call that is being put together. Nothing happens before [`send`](Self::send).
#[must_use = "a call is not made before it is sent"]
pub struct Call<R: Runtime> {
    pub(super) shared: Arc<Shared<R>>,
    pub(super) method: Method,
    path: String,
    query: String,
    pub(super) fields: HeaderMap,
    body: Body,
    timeout: Duration,
    context: CallContext,
    pub(super) between_bytes: Option<Duration>,
    /// What cannot be sent; told by `send`.
    refused: Option<Error>,
}

impl<R: Runtime> std::fmt::Debug for Call<R> {
    /// Path without query, names of fields without values: both may hold secrets.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Call")
            .field("base_url", &shown(&self.shared.config.base_url))
            .field("method", &self.method)
            .field("path", &shown(&self.path))
            .field("fields", &self.fields.keys().collect::<Vec<_>>())
            .field("timeout", &self.timeout)
            .field("refused", &self.refused)
            .finish_non_exhaustive()
    }
}

impl<R: Runtime> Call<R> {
    /// Adds a field. The machine writes `host`, `content-length` and `transfer-encoding` itself.
    pub fn header<N, V>(mut self, name: N, value: V) -> Self
    where
        N: TryInto<HeaderName, Error: Into<http::Error>>,
        V: TryInto<HeaderValue, Error: Into<http::Error>>,
    {
        match field(name, value) {
            Ok((name, value)) => {
                self.fields.append(name, value);
            }
            Err(error) => self.refuse(error),
        }
        self
    }

    /// `authorization: Bearer …`. The token is kept out of debug output.
    pub fn bearer(mut self, token: &str) -> Self {
        match HeaderValue::try_from(format!("Bearer {token}")) {
            Ok(mut value) => {
                value.set_sensitive(true);
                self.fields.insert(AUTHORIZATION, value);
            }
            Err(_) => self.refuse(Error::config("a token that cannot be sent")),
        }
        self
    }

    /// Adds pairs to the query: a struct, a map, a slice of pairs.
    pub fn query(mut self, pairs: &(impl Serialize + ?Sized)) -> Self {
        match serde_urlencoded::to_string(pairs) {
            Ok(text) if self.query.is_empty() => self.query = text,
            Ok(text) if !text.is_empty() => {
                self.query.push('&');
                self.query.push_str(&text);
            }
            Ok(_) => {}
            Err(why) => {
                self.refuse(Error::config("a query that is no list of pairs").with_source(why));
            }
        }
        self
    }

    /// The body, as JSON.
    pub fn json(self, value: &(impl Serialize + ?Sized)) -> Self {
        match serde_json::to_vec(value) {
            Ok(text) => self.typed("application/json", text),
            Err(why) => self.refusing(Error::config("a body that is no JSON").with_source(why)),
        }
    }

    /// The body, as a form.
    pub fn form(self, pairs: &(impl Serialize + ?Sized)) -> Self {
        match serde_urlencoded::to_string(pairs) {
            Ok(text) => self.typed("application/x-www-form-urlencoded", text.into_bytes()),
            Err(why) => self.refusing(Error::config("a body that is no form").with_source(why)),
        }
    }

    /// The body: bytes, text, or [`Body::stream`] and [`Body::wrap`] for one that comes in pieces.
    pub fn body(mut self, body: impl Into<Body>) -> Self {
        self.body = body.into();
        self
    }

    /// Makes the call on behalf of a request: what [`Request::context`](crate::Request::context)
    /// says goes along as `traceparent`, `tracestate` and `x-request-id`, and the call ends no later
    /// than its deadline. A field that is given as well stands.
    /// [`Propagation`](sinew_core::propagation::Propagation) leaves parts out.
    pub fn context(mut self, context: &CallContext) -> Self {
        self.context.clone_from(context);
        self
    }

    /// Sends the head alone, and the body when the server asks for it or after a second.
    /// <https://www.rfc-editor.org/rfc/rfc9110#section-10.1.1>
    pub fn expect_continue(mut self) -> Self {
        self.fields.insert(EXPECT, HeaderValue::from_static("100-continue"));
        self
    }

    /// Offers to leave HTTP for this protocol: with [`ClientResponse::upgrade`] where the server
    /// answers 101. (CONNECT needs no offer; its path is `host:port`.)
    /// <https://www.rfc-editor.org/rfc/rfc9110#section-7.8>
    pub fn upgrade(self, protocol: &str) -> Self {
        self.header(UPGRADE, protocol)
    }

    /// The time of this call: see [`RestClientConfig::timeout`].
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// The time between two pieces of the answer; `None` suits event streams.
    pub fn between_bytes(mut self, limit: Option<Duration>) -> Self {
        self.between_bytes = limit;
        self
    }

    /// Makes the call. Ready when the head of the answer is here.
    ///
    /// Dropping the future closes the connection that it used, unless other calls share it.
    ///
    /// # Errors
    ///
    /// What cannot be sent, and whatever keeps the head of an answer from coming. An answer with an
    /// error status is an answer. The error says how far the request got.
    pub async fn send(mut self) -> Result<ClientResponse, Error> {
        if let Some(error) = self.refused.take() {
            return Err(error);
        }
        let base = &self.shared.base;
        let (span, trace) =
            CallSpan::start(&self.method, &base.authority, self.context.trace.take());
        self.place(trace.as_ref());
        span.follow(self.answered(), ClientResponse::status).await
    }

    /// Says to what the call belongs, unless fields that were given say it.
    fn place(&mut self, trace: Option<&TraceContext>) {
        let id = self.context.request_id.take();
        if let Some(id) = id.filter(|_| !self.fields.contains_key(X_REQUEST_ID))
            && let Ok(id) = HeaderValue::try_from(id.as_str())
        {
            self.fields.insert(X_REQUEST_ID, id);
        }
        let Some(trace) = trace.filter(|_| !self.fields.contains_key(TRACEPARENT)) else { return };
        if let Ok(parent) = HeaderValue::from_bytes(&trace.traceparent()) {
            self.fields.insert(TRACEPARENT, parent);
        }
        if let Some(Ok(state)) = trace.tracestate().map(HeaderValue::from_bytes) {
            self.fields.insert(TRACESTATE, state);
        }
    }

    async fn answered(mut self) -> Result<ClientResponse, Error> {
        let shared = Arc::clone(&self.shared);
        let runtime = &shared.connections.runtime;
        let deadline = runtime.now() + self.timeout;
        let deadline = self.context.deadline.map_or(deadline, |by| deadline.min(by));
        // https://www.rfc-editor.org/rfc/rfc9112#section-3.2.3
        let target = match self.method {
            Method::CONNECT => self.path.clone(),
            _ => shared.base.target(&self.path, &self.query)?,
        };
        self.line(&target).check().map_err(refused)?;
        for (name, value) in &shared.config.default_headers {
            if !self.fields.contains_key(name) {
                self.fields.append(name, value.clone());
            }
        }
        let full = self.body.take_full();
        let mut earlier = Delivery::NotSent;
        let answered = match &shared.lanes {
            Some(lanes) if self.may_share(full.as_ref()) => {
                self.share(lanes, deadline, &target, &mut earlier).await
            }
            _ => self.alone(deadline, &target, full.as_ref(), &mut earlier).await,
        };
        answered.map_err(|error| error.after(earlier))
    }

    /// Makes the call on a connection that it has to itself. `earlier`: how far an attempt got that
    /// was given up for another.
    async fn alone(
        &mut self,
        deadline: Instant,
        target: &str,
        full: Option<&Bytes>,
        earlier: &mut Delivery,
    ) -> Result<ClientResponse, Error> {
        let mut want = Want::Any;
        loop {
            let (lease, kept) = self.lease(deadline, want).await?;
            let (mut conn, reused) = self.conn(kept, deadline).await?;
            conn.deadline = Some(deadline);
            let answer = match self.start(&mut conn, target, full) {
                Ok(()) => answer(|cx| conn.poll_event(cx)).await,
                Err(error) => Err(error),
            };
            match answer {
                Ok((head, body)) => {
                    let identity = conn.wire.identity();
                    if conn.wire.top_ref().is_upgraded() {
                        let upgraded = conn.upgrade(lease);
                        return Ok(ClientResponse::switched(head, identity, upgraded));
                    }
                    let incoming = Incoming::new(Held { conn, lease }, body);
                    let limit = self.shared.config.max_response_size;
                    return Ok(ClientResponse::new(head, identity, incoming, limit));
                }
                Err(error) if reused && full.is_some() && self.is_stale(&error) => {
                    *earlier = error.delivery();
                    want = Want::Fresh;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// A kept connection, if it is still good, or a new one; whether it was kept.
    pub(super) async fn conn(
        &self,
        kept: Option<Conn<R>>,
        deadline: Instant,
    ) -> Result<(Conn<R>, bool), Error> {
        match revive(kept).await {
            Some(conn) => Ok((conn, true)),
            None => Ok((self.connect(deadline).await?, false)),
        }
    }

    /// A connection of its own, or the right to open one.
    pub(super) async fn lease(
        &self,
        deadline: Instant,
        want: Want,
    ) -> Result<(Lease<R>, Option<Conn<R>>), Error> {
        let Shared { connections, lanes, .. } = &*self.shared;
        let mut leased = pin!(connections.lease(deadline, want));
        let mut waiting = None;
        poll_fn(|cx| {
            let polled = leased.as_mut().poll(cx);
            if polled.is_pending() && waiting.is_none() {
                waiting = lanes.as_ref().map(|lanes| lanes.join(Wish::Alone));
            }
            polled
        })
        .await
    }

    /// Whether a kept connection ended under this call, which says nothing about the service: then
    /// the call is made once more, on a new one. Not if the server may have acted on it and acting
    /// twice is not the same: <https://www.rfc-editor.org/rfc/rfc9110#section-9.2.2>
    pub(super) fn is_stale(&self, error: &Error) -> bool {
        let ended = match error.kind() {
            ErrorKind::Io(_) => true,
            ErrorKind::Protocol(error) => matches!(error.kind, Kind::Truncated | Kind::Closed),
            ErrorKind::Tls(failure) => failure.established,
            _ => false,
        };
        ended && (error.delivery() == Delivery::NotSent || self.method.is_idempotent())
    }

    /// The request line. CONNECT names in `Host` whom it asks for, not the proxy that it asks.
    pub(super) fn line<'a>(&'a self, target: &'a str) -> RequestLine<'a> {
        let authority = match self.method {
            Method::CONNECT => target,
            _ => &self.shared.base.authority,
        };
        let (target, authority) = (target.as_bytes(), authority.as_bytes());
        RequestLine { method: &self.method, target, authority }
    }

    async fn connect(&self, by: Instant) -> Result<Conn<R>, Error> {
        let Shared { config, base, machine, connections, .. } = &*self.shared;
        let runtime = &connections.runtime;
        let io = dial(runtime, &base.place, config.connect_timeout, by).await?;
        let client = Client::new(Arc::clone(machine));
        let wire = match &config.mtls_config {
            Some(tls) if base.secure => {
                let name = config.server_name.as_ref().unwrap_or(&base.server_name);
                let tls = tls
                    .connect(name, client, runtime.now())
                    .map_err(|why| Error::config("TLS cannot be started").with_source(why))?;
                AnyWire::Secure(Box::new(tls))
            }
            _ => AnyWire::Plain(Box::new(client)),
        };
        Ok(Conn::new(wire, io, runtime.clone()))
    }

    /// Sends the head, and the body as far as it is here.
    fn start(
        &mut self,
        conn: &mut Conn<R>,
        target: &str,
        full: Option<&Bytes>,
    ) -> Result<(), Error> {
        let now = conn.runtime.now();
        let size = match full {
            Some(bytes) => BodySize::Exact(bytes.len() as u64),
            None => self.body.size_hint().exact().map_or(BodySize::Unknown, BodySize::Exact),
        };
        let line = self.line(target);
        let top = conn.wire.top();
        drive::lend_write_block(top.outbox());
        top.send_request(now, line, &self.fields, size).map_err(refused)?;
        top.set_between_bytes(now, self.between_bytes);
        match full {
            Some(bytes) if bytes.is_empty() => {}
            Some(bytes) if top.can_send() => {
                match top.send_data(now, bytes.clone()) {
                    Ok(()) => {}
                    Err(Rejected::Error(error)) => return Err(refused(error)),
                    Err(Rejected::Full(bytes)) => {
                        conn.outgoing = Some(Body::full(bytes));
                        return Ok(());
                    }
                }
                top.send_end(now, NO_FIELDS).map_err(refused)?;
            }
            Some(bytes) => conn.outgoing = Some(Body::full(bytes.clone())),
            None if size == BodySize::Exact(0) => {}
            None => conn.outgoing = Some(std::mem::take(&mut self.body)),
        }
        Ok(())
    }

    fn typed(mut self, media_type: &'static str, body: Vec<u8>) -> Self {
        if !self.fields.contains_key(CONTENT_TYPE) {
            self.fields.insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
        }
        self.body = Body::full(body);
        self
    }

    fn refusing(mut self, error: Error) -> Self {
        self.refuse(error);
        self
    }

    fn refuse(&mut self, error: Error) {
        self.refused.get_or_insert(error);
    }
}

/// A kept connection, if it is still good.
async fn revive<R: Runtime>(kept: Option<Conn<R>>) -> Option<Conn<R>> {
    let mut conn = kept?;
    let alive = poll_fn(|cx| Poll::Ready(conn.is_alive(cx))).await;
    alive.then_some(conn)
}

/// Takes events until the head of the final answer is here.
pub(super) async fn answer(
    mut poll_event: impl FnMut(&mut Context<'_>) -> Poll<Result<ClientEvent, Error>>,
) -> Result<(ResponseHead, BodySize), Error> {
    loop {
        match poll_fn(&mut poll_event).await? {
            ClientEvent::Response { head, body } => return Ok((head, body)),
            ClientEvent::Informational(_) | ClientEvent::Continue => {}
            // No body comes before its head.
            ClientEvent::Data(_) | ClientEvent::End(_) => {
                let phase = Phase::ResponseHead;
                return Err(Error::new(ErrorKind::Gone, phase, Delivery::MaybeProcessed));
            }
        }
    }
}

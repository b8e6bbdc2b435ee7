//! A call: what is asked, and the way to its answer.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use http::header::{AUTHORIZATION, CONTENT_TYPE, EXPECT, UPGRADE};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use serde::Serialize;
use sinew_core::observe::{TraceContext, request_id};
use sinew_core::policy::Priority;
use sinew_core::propagation::CallContext;
use sinew_core::resilience::RetryPolicy;

use super::base::shown;
use super::builder::{TWO_HOSTS, field, has_two_hosts};
use super::explained::Explaining;
use super::journey::{Journey, Terms};
use super::middleware::pass;
use super::outgoing::{IDEMPOTENCY_KEY, TRACEPARENT};
use super::response::ClientResponse;
use super::rest_client::Shared;
use super::route::RouteName;
use crate::body::Body;
use crate::error::Error;
use crate::runtime::Runtime;
use crate::trace::CallSpan;

const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");
const PRIORITY: HeaderName = HeaderName::from_static(Priority::FIELD);
const X_REQUEST_ID: HeaderName = HeaderName::from_static(request_id::FIELD);

/// A call that is being put together. Nothing happens before [`send`](Self::send).
#[must_use = "a call is not made before it is sent"]
pub struct Call<R: Runtime> {
    /// Boxed: it moves with every word that is said about it.
    draft: Box<Draft<R>>,
}

/// What was said about a call.
struct Draft<R: Runtime> {
    journey: Journey<R>,
    body: Option<Body>,
    timeout: Duration,
    context: CallContext,
    priority: Option<Priority>,
    /// What cannot be sent; told by `send`.
    refused: Option<Error>,
}

impl<R: Runtime> std::fmt::Debug for Call<R> {
    /// Path without query, names of fields without values: both may hold secrets.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Draft { journey: Journey { home, request, .. }, timeout, refused, .. } = &*self.draft;
        f.debug_struct("Call")
            .field("base_url", &shown(&home.config.base_url))
            .field("method", &request.method)
            .field("path", &shown(&request.target))
            .field("fields", &request.fields.keys().collect::<Vec<_>>())
            .field("timeout", timeout)
            .field("refused", refused)
            .finish_non_exhaustive()
    }
}

impl<R: Runtime> Call<R> {
    pub(super) fn new(shared: &Arc<Shared<R>>, method: Method, path: &str) -> Self {
        let config = &shared.config;
        let (target, refused) = match method {
            // https://www.rfc-editor.org/rfc/rfc9112#section-3.2.3
            Method::CONNECT => (path.to_owned(), None),
            _ => match shared.base.target(path) {
                Ok(target) => (target, None),
                Err(why) => (String::new(), Some(why)),
            },
        };
        // Written where it stays: it is large.
        let draft = Box::write(
            Box::new_uninit(),
            Draft {
                journey: Journey::new(shared, method, target),
                body: None,
                timeout: config.timeout,
                context: CallContext::default(),
                priority: None,
                refused,
            },
        );
        Self { draft }
    }

    fn fields(&mut self) -> &mut HeaderMap {
        &mut self.draft.journey.request.fields
    }

    fn terms(&mut self) -> &mut Terms {
        &mut self.draft.journey.terms
    }

    /// Adds a field. The machine writes `host`, `content-length` and `transfer-encoding` itself. A `host`
    /// that is given goes in place of its own, whoever is connected to; two are refused. A
    /// `content-length` must be that of the body, and a `transfer-encoding` cannot be given: either fails
    /// the call when it is sent, as its first attempt.
    pub fn header<N, V>(mut self, name: N, value: V) -> Self
    where
        N: TryInto<HeaderName, Error: Into<http::Error>>,
        V: TryInto<HeaderValue, Error: Into<http::Error>>,
    {
        match field(name, value) {
            Ok((name, value)) => {
                if self.fields().append(name, value) && has_two_hosts(self.fields()) {
                    self.refuse(Error::config(TWO_HOSTS));
                }
            }
            Err(error) => self.refuse(error),
        }
        self
    }

    /// `authorization: Bearer …`, in place of the token that the client [adds](crate::ClientBuilder::tokens).
    /// It is kept out of debug output, and sent over TLS, or over a socket of this machine, alone.
    pub fn bearer(mut self, token: &str) -> Self {
        match HeaderValue::try_from(format!("Bearer {token}")) {
            Ok(mut value) => {
                value.set_sensitive(true);
                self.fields().insert(AUTHORIZATION, value);
            }
            Err(_) => self.refuse(Error::config("a token that cannot be sent")),
        }
        self
    }

    /// Adds pairs to the query: a struct, a map, a slice of pairs.
    pub fn query(mut self, pairs: &(impl Serialize + ?Sized)) -> Self {
        match serde_urlencoded::to_string(pairs) {
            Ok(text) if text.is_empty() => {}
            Ok(text) => {
                let target = &mut self.draft.journey.request.target;
                target.push(if target.contains('?') { '&' } else { '?' });
                target.push_str(&text);
            }
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
        self.draft.body = Some(body.into());
        self
    }

    /// Makes the call on behalf of a request: what [`Request::context`](crate::Request::context)
    /// says goes along as `traceparent`, `tracestate` and `x-request-id`, and the call ends no later
    /// than its deadline. A field that is given as well stands.
    /// [`Propagation`](sinew_core::propagation::Propagation) leaves parts out.
    pub fn context(mut self, context: &CallContext) -> Self {
        self.draft.context.clone_from(context);
        self
    }

    /// Sends the head alone, and the body when the server asks for it or after a second.
    /// <https://www.rfc-editor.org/rfc/rfc9110#section-10.1.1>
    pub fn expect_continue(mut self) -> Self {
        self.fields().insert(EXPECT, HeaderValue::from_static("100-continue"));
        self
    }

    /// Offers to leave HTTP for this protocol: with [`ClientResponse::upgrade`] where the server
    /// answers 101. (CONNECT needs no offer; its path is `host:port`.)
    /// <https://www.rfc-editor.org/rfc/rfc9110#section-7.8>
    pub fn upgrade(self, protocol: &str) -> Self {
        self.header(UPGRADE, protocol)
    }

    /// The time of this call: see [`RestClientConfig::timeout`](super::RestClientConfig::timeout).
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.draft.timeout = timeout;
        self
    }

    /// Whether this call is tried again, instead of what the client says. The budget is the client's
    /// always.
    pub fn retry(mut self, policy: RetryPolicy) -> Self {
        self.terms().retry = Some(policy);
        self
    }

    /// This call is made once.
    pub fn no_retry(self) -> Self {
        let policy = self.draft.journey.retry_policy();
        self.retry(RetryPolicy { attempts: 1, ..policy })
    }

    /// Whether this call may be sent a second time while its first attempt is on its way, where the
    /// client does that. Default: yes.
    pub fn hedge(mut self, allowed: bool) -> Self {
        self.terms().hedge = allowed;
        self
    }

    /// The time of one attempt of this call: see [`RestClientConfig::attempt_timeout`](super::RestClientConfig::attempt_timeout).
    pub fn attempt_timeout(mut self, timeout: Duration) -> Self {
        self.terms().attempt = Some(timeout);
        self
    }

    /// The time that this call waits for a connection: see
    /// [`RestClientConfig::pool_timeout`](super::RestClientConfig::pool_timeout).
    pub fn pool_timeout(mut self, timeout: Duration) -> Self {
        self.terms().pool = Some(timeout);
        self
    }

    /// The route that this call is of, as `GET /orders/{id}`. A route that fails is left alone by a
    /// [breaker](super::RestClientConfig::circuit_breaker) of its own, wherever it is asked, and what else
    /// the service does goes on. Up to [`max_routes`](super::RestClientConfig::max_routes).
    pub fn route(mut self, name: impl Into<RouteName>) -> Self {
        self.terms().route = name.into().name();
        self
    }

    /// Calls with the same key go to the same endpoint, as far as its load allows, where the client
    /// [balances](super::RestClientConfig::balance) by
    /// [`RingHash`](sinew_core::mesh::Algorithm::RingHash); in every client that knows the same endpoints.
    /// Anything will do: the name of a user, a session.
    pub fn hash_key(mut self, key: impl AsRef<[u8]>) -> Self {
        self.terms().hash_key = Some(sinew_core::mesh::hash_key(key.as_ref()));
        self
    }

    /// How much this call matters where not all can be served; default: what its
    /// [context](Self::context) says.
    pub fn priority(mut self, priority: Priority) -> Self {
        self.draft.priority = Some(priority);
        self
    }

    /// `idempotency-key`: the server does what is asked once, however often it is asked with this key.
    /// So the call may be made again even where its method would not allow it. The server has to know
    /// of the field. A field of this name that is given with [`header`](Self::header) is as good.
    /// <https://datatracker.ietf.org/doc/html/draft-ietf-httpapi-idempotency-key-header>
    pub fn idempotency_key(self, key: &str) -> Self {
        // A string of structured fields: https://www.rfc-editor.org/rfc/rfc8941#section-3.3.3
        if key.is_empty()
            || key.bytes().any(|byte| !(0x20..=0x7e).contains(&byte) || b"\"\\".contains(&byte))
        {
            return self.refusing(Error::config("an idempotency key that cannot be sent"));
        }
        self.header(IDEMPOTENCY_KEY, format!("\"{key}\""))
    }

    /// An [`idempotency_key`](Self::idempotency_key) that nobody else has: 128 random bits.
    pub fn mint_idempotency_key(self) -> Self {
        match (getrandom::u64(), getrandom::u64()) {
            (Ok(high), Ok(low)) => self.idempotency_key(&format!("{high:016x}{low:016x}")),
            (Err(why), _) | (_, Err(why)) => {
                self.refusing(Error::config(format!("the system gives no random bits: {why}")))
            }
        }
    }

    /// The time between two pieces of the answer; `None` suits event streams.
    pub fn between_bytes(mut self, limit: Option<Duration>) -> Self {
        self.draft.journey.request.between_bytes = limit;
        self
    }

    /// The time of the body of the answer: see
    /// [`RestClientConfig::body_timeout`](super::RestClientConfig::body_timeout). `None`: any.
    pub fn body_timeout(mut self, limit: Option<Duration>) -> Self {
        self.draft.journey.request.body_timeout = limit;
        self
    }

    /// Keeps what is decided about this call, for [`ClientResponse::explanation`] and
    /// [`Error::explanation`]: each attempt, where it went and what came of it, and why there was no further
    /// one. While such a call is on its way, the other calls of the client cost a little more.
    ///
    /// ```
    /// use sinew_driver::{Error, RestClient, Runtime};
    ///
    /// async fn why<R: Runtime>(client: RestClient<R>) {
    ///     let answered = client.get("/prices").explain().send().await;
    ///     let explanation = match &answered {
    ///         Ok(response) => response.explanation(),
    ///         Err(error) => error.explanation(),
    ///     };
    ///     // attempt 1: 10.0.0.7:80 (cost 900) rather than 10.0.0.8:80 (1200), on a kept connection; 503 after 1.2ms, refused
    ///     // attempt 2, 1.0s later as Retry-After asks: 10.0.0.8:80, on a new connection after 3.1ms; 200 after 0.9ms
    ///     explanation.into_iter().for_each(|explanation| print!("{explanation}"));
    /// }
    /// ```
    pub fn explain(mut self) -> Self {
        self.draft.journey.request.explaining = Some(Explaining::default());
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
    pub async fn send(self) -> Result<ClientResponse, Error> {
        let mut draft = self.draft;
        if let Some(error) = draft.refused.take() {
            return Err(error);
        }
        let Journey { home, request, .. } = &draft.journey;
        let (span, trace) =
            CallSpan::start(&request.method, &home.base.authority, draft.context.trace.take());
        draft.place(trace);
        let answered = pin!(draft.answered());
        span.follow(answered, ClientResponse::status).await
    }

    fn typed(mut self, media_type: &'static str, body: Vec<u8>) -> Self {
        if !self.fields().contains_key(CONTENT_TYPE) {
            self.fields().insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
        }
        self.draft.body = Some(Body::full(body));
        self
    }

    fn refusing(mut self, error: Error) -> Self {
        self.refuse(error);
        self
    }

    fn refuse(&mut self, error: Error) {
        self.draft.refused.get_or_insert(error);
    }
}

impl<R: Runtime> Draft<R> {
    /// Says to what the call belongs, unless fields that were given say it.
    fn place(&mut self, trace: Option<TraceContext>) {
        let Self { journey: Journey { request, terms, .. }, context, .. } = self;
        let fields = &mut request.fields;
        if let Some(id) = context.request_id.take()
            && !fields.contains_key(X_REQUEST_ID)
            && let Ok(id) = HeaderValue::try_from(id.as_str())
        {
            fields.insert(X_REQUEST_ID, id);
        }
        // Where nothing is said, the next hop knows best.
        terms.priority = self.priority.unwrap_or(context.priority);
        if terms.priority != Priority::default() && !fields.contains_key(PRIORITY) {
            fields.insert(PRIORITY, HeaderValue::from_static(terms.priority.field_value()));
        }
        request.trace = trace.filter(|_| !fields.contains_key(TRACEPARENT));
        let state = request.trace.as_ref().and_then(TraceContext::tracestate);
        if let Some(Ok(state)) = state.map(HeaderValue::from_bytes) {
            fields.insert(TRACESTATE, state);
        }
    }

    async fn answered(&mut self) -> Result<ClientResponse, Error> {
        self.check()?;
        let Self { journey, body, timeout, context, .. } = self;
        let home = Arc::clone(&journey.home);
        let deadline = home.hub.runtime.now() + *timeout;
        let deadline = context.deadline.map_or(deadline, |by| deadline.min(by));
        journey.terms.deadline = deadline;
        journey.load(body.take());
        let mut answered = match &*home.layers {
            [] => pin!(journey.run()).await,
            layers => pass(&home.hub.runtime, layers, journey, deadline).await,
        };
        if let Some(explaining) = &journey.request.explaining {
            answered = explaining.end(answered);
        }
        Ok(answered?.at_most(home.config.max_response_size))
    }

    /// Refuses rules that make no sense.
    fn check(&self) -> Result<(), Error> {
        let Terms { attempt, pool, retry, .. } = &self.journey.terms;
        for (time, why) in [
            (attempt, "an attempt of no time"),
            (pool, "no time to wait for a connection"),
            (&self.journey.request.body_timeout, "no time for a body"),
        ] {
            if time.is_some_and(|time| time.is_zero()) {
                return Err(Error::config(why));
            }
        }
        match retry {
            Some(policy) => {
                policy.check().map_err(|why| Error::config(why.to_string()).with_source(why))
            }
            None => Ok(()),
        }
    }
}

//! With the feature `tracing`.

use std::future::Future;
use std::hash::{BuildHasher as _, RandomState};
use std::num::{NonZeroU64, NonZeroU128};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

use http::{Method, StatusCode};
use sinew_core::observe::TraceContext;
use sinew_core::policy::Refused;
use sinew_core::reason::Reason;
use tracing::field::{Empty, display};
use tracing::{Instrument as _, Level, Span, event, info_span};

use super::Asked;
use crate::error::{Error, ErrorKind};
use crate::io::Peer;

/// The span of a request, from the decision of the policies to the end of the answer.
#[derive(Debug)]
pub(crate) struct RequestSpan {
    span: Span,
    answered: bool,
}

impl RequestSpan {
    /// Between requests.
    pub(crate) const fn none() -> Self {
        Self { span: Span::none(), answered: true }
    }

    pub(crate) fn start<'a>(asked: impl FnOnce() -> Asked<'a>) -> Self {
        let span = info_span!(
            target: "sinew::server",
            "request",
            otel.kind = "server",
            otel.name = Empty,
            http.request.method = Empty,
            http.route = Empty,
            http.response.status_code = Empty,
            url.scheme = Empty,
            network.protocol.version = Empty,
            network.peer.address = Empty,
            network.peer.port = Empty,
            error.type = Empty,
            trace_id = Empty,
            span_id = Empty,
            request_id = Empty,
        );
        if !span.is_disabled() {
            describe(&span, &asked());
        }
        Self { span, answered: false }
    }

    /// Works inside of the span.
    pub(crate) fn run<T>(&self, work: impl FnOnce() -> T) -> T {
        self.span.in_scope(work)
    }

    /// A policy refused the request, or would have.
    pub(crate) fn refused(&self, refused: Refused) {
        let Refused { stage, reason, mode } = refused;
        self.run(|| {
            event!(
                target: "sinew::server",
                Level::INFO,
                stage = stage.name(),
                reason = reason.name(),
                enforced = mode.obeys(),
                "refused"
            );
        });
    }

    pub(crate) fn panicked(&self) {
        self.run(|| event!(target: "sinew::server", Level::ERROR, "panicked"));
    }

    pub(crate) fn answered(&mut self, status: StatusCode, reason: Option<Reason>) {
        self.answered = true;
        self.span.record("http.response.status_code", status.as_u16());
        if status.is_server_error() {
            match reason {
                Some(reason) => self.span.record("error.type", reason.name()),
                None => self.span.record("error.type", status.as_str()),
            };
        }
    }

    /// The exchange is over; `error`: why the machine answered by itself, if it did.
    pub(crate) fn end(&mut self, error: Option<sinew_core::Error>) {
        if !self.answered {
            match error.and_then(|error| Some((error.status()?, Reason::of(&error)))) {
                Some((status, reason)) => self.answered(status, Some(reason)),
                None => {
                    self.span.record("error.type", "no_answer");
                }
            }
        }
        *self = Self::none();
    }
}

fn describe(span: &Span, asked: &Asked<'_>) {
    let method = known(asked.method);
    span.record("http.request.method", method);
    match asked.route {
        Some(route) => {
            span.record("http.route", route);
            span.record("otel.name", display(format_args!("{method} {route}")));
        }
        None => {
            span.record("otel.name", method);
        }
    }
    span.record("url.scheme", if asked.secure { "https" } else { "http" });
    span.record("network.protocol.version", "1.1");
    if let Peer::Tcp(address) = asked.peer {
        span.record("network.peer.address", display(address.ip().to_canonical()));
        span.record("network.peer.port", address.port());
    }
    if let Some(trace) = asked.trace {
        place(span, trace);
    }
    if let Some(id) = asked.id {
        span.record("request_id", id.as_str());
    }
}

fn place(span: &Span, trace: &TraceContext) {
    span.record("trace_id", display(format_args!("{:032x}", trace.trace_id())));
    span.record("span_id", display(format_args!("{:016x}", trace.span_id())));
}

/// The method, where it is one of RFC 9110 or RFC 5789: a client can invent others.
fn known(method: &Method) -> &str {
    const KNOWN: [Method; 9] = [
        Method::GET,
        Method::HEAD,
        Method::POST,
        Method::PUT,
        Method::DELETE,
        Method::CONNECT,
        Method::OPTIONS,
        Method::TRACE,
        Method::PATCH,
    ];
    if KNOWN.contains(method) { method.as_str() } else { "_OTHER" }
}

/// The span of a call, up to the head of its answer.
#[derive(Debug)]
pub(crate) struct CallSpan(Span);

impl CallSpan {
    /// The span, and what the call carries: the trace that it belongs to, or a new one.
    pub(crate) fn start(
        method: &Method,
        authority: &str,
        trace: Option<TraceContext>,
    ) -> (Self, Option<TraceContext>) {
        let span = info_span!(
            target: "sinew::client",
            "call",
            otel.kind = "client",
            otel.name = known(method),
            http.request.method = known(method),
            http.response.status_code = Empty,
            server.address = authority,
            error.type = Empty,
            trace_id = Empty,
            span_id = Empty,
        );
        if span.is_disabled() {
            return (Self(span), trace);
        }
        let id = NonZeroU64::new(draw()).unwrap_or(NonZeroU64::MIN);
        let own = match trace {
            Some(caller) => caller.child(id),
            None => {
                let number = u128::from(draw()) << 64 | u128::from(draw());
                let trace = NonZeroU128::new(number).unwrap_or(NonZeroU128::MIN);
                TraceContext::root(trace, id, false, true)
            }
        };
        place(&span, &own);
        (Self(span), Some(own))
    }

    /// Makes the call inside of the span, and notes how it ended.
    pub(crate) async fn follow<T>(
        self,
        call: impl Future<Output = Result<T, Error>>,
        status_of: impl FnOnce(&T) -> StatusCode,
    ) -> Result<T, Error> {
        let Self(span) = self;
        let answer = call.instrument(span.clone()).await;
        match &answer {
            Ok(answer) => note(&span, status_of(answer)),
            Err(error) => {
                span.record("error.type", kind(error));
            }
        }
        answer
    }
}

/// The span of one attempt of a call, up to the head of its answer. It lies in that of the call.
#[derive(Debug)]
pub(crate) struct AttemptSpan(Span);

impl AttemptSpan {
    /// The span, and the place in the trace that the request carries.
    pub(crate) fn start(attempt: u8, trace: Option<&TraceContext>) -> (Self, Option<[u8; 55]>) {
        let span = info_span!(
            target: "sinew::client",
            "attempt",
            otel.kind = "client",
            http.request.resend_count = Empty,
            http.response.status_code = Empty,
            error.type = Empty,
            trace_id = Empty,
            span_id = Empty,
        );
        let Some(call) = trace else { return (Self(span), None) };
        if span.is_disabled() {
            return (Self(span), Some(call.traceparent()));
        }
        // Left out of the first attempt, as the semantic conventions ask.
        if let Some(resent @ 1..) = attempt.checked_sub(1) {
            span.record("http.request.resend_count", resent);
        }
        let own = call.child(NonZeroU64::new(draw()).unwrap_or(NonZeroU64::MIN));
        place(&span, &own);
        (Self(span), Some(own.traceparent()))
    }

    pub(crate) fn answered(&self, status: StatusCode) {
        note(&self.0, status);
    }

    pub(crate) fn failed(&self, error: &Error) {
        self.0.record("error.type", kind(error));
    }

    /// Another attempt of the call was faster.
    pub(crate) fn overtaken(&self) {
        self.0.record("error.type", "overtaken");
    }
}

fn note(span: &Span, status: StatusCode) {
    span.record("http.response.status_code", status.as_u16());
    if status.is_client_error() || status.is_server_error() {
        span.record("error.type", status.as_str());
    }
}

/// A few fixed words: what failed, not with what.
fn kind(error: &Error) -> &'static str {
    match error.kind() {
        _ if error.is_timeout() => "timeout",
        ErrorKind::Config(_) => "config",
        ErrorKind::Resolve => "resolve",
        ErrorKind::Connect(_) => "connect",
        ErrorKind::Tls(_) => "tls",
        ErrorKind::Protocol(_) => "protocol",
        ErrorKind::Io(_) | ErrorKind::Gone => "connection_lost",
        ErrorKind::Body => "request_body",
        ErrorKind::Refused(_) => "refused",
        ErrorKind::Stopped => "stopped",
        _ => "_OTHER",
    }
}

/// A number that is not to be guessed from others.
fn draw() -> u64 {
    static KEYS: LazyLock<RandomState> = LazyLock::new(RandomState::new);
    static DRAWN: AtomicU64 = AtomicU64::new(0);
    KEYS.hash_one(DRAWN.fetch_add(1, Ordering::Relaxed))
}

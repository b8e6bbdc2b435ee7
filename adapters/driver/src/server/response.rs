//! What a handler answers.

use std::any::Any;
use std::cell::Cell;
use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use serde::Serialize;
use sinew_core::error::Misuse;
use sinew_core::head::Lines;
use sinew_core::problem::{Ids, MEDIA_TYPE};
use sinew_core::reason::Reason;
use sinew_core::server::ResponseHead;
use smallvec::SmallVec;

use super::problem::Problem;
use crate::body::Body;
use crate::error::BoxError;

/// Fields that need no memory of their own: the media type, usually.
const INLINE: usize = 1;

/// An answer: a status, a few fields in order, a body.
///
/// The connection writes `date`, `connection`, `content-length` and `transfer-encoding` by itself.
///
/// It is a pointer: moving it about is cheap, and the memory behind it is used again by the next answer
/// of the worker.
pub struct Response(pub(super) Box<Inner>);

/// What an answer consists of.
pub(super) struct Inner {
    pub(super) status: StatusCode,
    pub(super) fields: SmallVec<[(HeaderName, HeaderValue); INLINE]>,
    /// What policies say of it.
    pub(super) lines: Option<Lines>,
    pub(super) body: Body,
    /// Becomes the body when the answer is sent.
    pub(super) problem: Option<Problem>,
    pub(super) trailers: Option<Box<HeaderMap>>,
    pub(super) pulse: Option<Box<Pulse>>,
    /// The first field that was given and cannot be sent.
    pub(super) malformed: Option<Malformed>,
}

thread_local! {
    /// The memory of an answer that was sent, without anything in it.
    static SPARE: Cell<Option<Box<Inner>>> = const { Cell::new(None) };
}

/// What is wrong with a field that cannot be sent.
pub(super) enum Malformed {
    /// Its name.
    Name,
    /// The value of the one that has this name.
    Value(HeaderName),
}

impl Malformed {
    /// What it is to the machine.
    pub(super) const fn misuse(&self) -> Misuse {
        match self {
            Self::Name => Misuse::FieldName,
            Self::Value(_) => Misuse::FieldValue,
        }
    }

    /// Which field it is.
    pub(super) fn field(self) -> Option<HeaderName> {
        match self {
            Self::Name => None,
            Self::Value(name) => Some(name),
        }
    }
}

/// Bytes to send when a streamed body was silent for a while.
#[derive(Debug)]
pub(super) struct Pulse {
    pub(super) every: Duration,
    pub(super) bytes: Bytes,
}

impl Inner {
    fn new() -> Self {
        Self {
            status: StatusCode::OK,
            fields: SmallVec::new(),
            lines: None,
            body: Body::empty(),
            problem: None,
            trailers: None,
            pulse: None,
            malformed: None,
        }
    }
}

impl Response {
    /// An answer with this status, without fields and body.
    pub fn new(status: StatusCode) -> Self {
        // A thread that is about to end keeps none.
        let spare = SPARE.try_with(Cell::take).ok().flatten();
        let mut inner = spare.unwrap_or_else(|| Box::new(Inner::new()));
        inner.status = status;
        Self(inner)
    }

    /// 200 with this body; no `content-type` unless one is given.
    pub fn ok(body: impl Into<Body>) -> Self {
        let mut response = Self::new(StatusCode::OK);
        response.0.body = body.into();
        response
    }

    /// Drops all that it holds, and leaves its memory to the next answer of the worker.
    pub(super) fn leave(mut self) {
        *self.0 = Inner::new();
        let _ = SPARE.try_with(|spare| spare.set(Some(self.0)));
    }

    /// Sets the status.
    pub fn status(mut self, status: StatusCode) -> Self {
        self.0.status = status;
        self
    }

    /// Adds a field; names may repeat. A name or value that cannot stand in a head turns the whole
    /// answer into a 500: it is never sent in part.
    pub fn header<N, V>(mut self, name: N, value: V) -> Self
    where
        N: TryInto<HeaderName>,
        V: TryInto<HeaderValue>,
    {
        let malformed = match (name.try_into(), value.try_into()) {
            (Ok(name), Ok(value)) => {
                self.0.fields.push((name, value));
                return self;
            }
            (Ok(name), Err(_)) => Malformed::Value(name),
            (Err(_), _) => Malformed::Name,
        };
        self.0.malformed.get_or_insert(malformed);
        self
    }

    /// Sets the body.
    pub fn body(mut self, body: impl Into<Body>) -> Self {
        self.0.body = body.into();
        self.0.problem = None;
        self
    }

    /// Sends these trailers behind the body, which is chunked then. They replace those that the
    /// body itself may end with.
    pub fn trailers(mut self, trailers: HeaderMap) -> Self {
        self.0.trailers = Some(Box::new(trailers));
        self
    }

    /// The status.
    pub fn status_code(&self) -> StatusCode {
        self.0.status
    }

    /// Name and value of every field, in order.
    pub fn fields(&self) -> impl Iterator<Item = (&HeaderName, &HeaderValue)> {
        self.0.fields.iter().map(|(name, value)| (name, value))
    }

    /// Takes the body out.
    pub fn into_body(mut self) -> Body {
        self.write_problem(&Ids::default());
        self.0.body
    }

    /// Why it is an error, where that is known.
    pub(super) fn reason(&self) -> Option<Reason> {
        self.0.problem.as_ref().and_then(Problem::reason)
    }

    /// Writes the problem document, if the answer is one.
    #[inline]
    pub(super) fn write_problem(&mut self, ids: &Ids) {
        if let Some(problem) = self.0.problem.take() {
            self.become_problem(&problem, ids);
        }
    }

    #[cold]
    fn become_problem(&mut self, problem: &Problem, ids: &Ids) {
        self.0.body = problem.to_json(self.0.status, ids).into();
        self.0.fields.push((CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE)));
    }

    /// 200 with this body and its type.
    pub(super) fn typed(body: impl Into<Body>, media_type: &'static str) -> Self {
        let mut response = Self::ok(body);
        response.0.fields.push((CONTENT_TYPE, HeaderValue::from_static(media_type)));
        response
    }
}

/// What a handler may return.
pub trait IntoResponse {
    /// The answer.
    fn into_response(self) -> Response;
}

/// An answer, or a request's body, in JSON.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Json<T>(
    /// The value.
    pub T,
);

impl IntoResponse for Response {
    fn into_response(self) -> Response {
        self
    }
}

/// 204.
impl IntoResponse for () {
    fn into_response(self) -> Response {
        Response::new(StatusCode::NO_CONTENT)
    }
}

/// The bare status; an error says what it is, as a [`Problem`].
impl IntoResponse for StatusCode {
    fn into_response(self) -> Response {
        // https://www.rfc-editor.org/rfc/rfc9110#section-15.5
        if self.is_client_error() || self.is_server_error() {
            Problem::new(self).into_response()
        } else {
            Response::new(self)
        }
    }
}

macro_rules! typed {
    ($media_type:literal: $($body:ty),*) => {$(
        #[doc = concat!("200 with `", $media_type, "`.")]
        impl IntoResponse for $body {
            fn into_response(self) -> Response {
                Response::typed(self, $media_type)
            }
        }
    )*};
}

typed!("text/plain; charset=utf-8": &'static str, String);
typed!("application/octet-stream": Bytes, Vec<u8>, &'static [u8], Body);

/// 200 with `application/json`; 500 when the value cannot be written as JSON.
impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        match serde_json::to_vec(&self.0) {
            Ok(json) => Response::typed(json, "application/json"),
            Err(_) => Problem::because(Reason::Internal).into_response(),
        }
    }
}

/// The answer with another status.
impl<T: IntoResponse> IntoResponse for (StatusCode, T) {
    fn into_response(self) -> Response {
        self.1.into_response().status(self.0)
    }
}

/// Either answer.
impl<T: IntoResponse, E: IntoResponse> IntoResponse for Result<T, E> {
    fn into_response(self) -> Response {
        match self {
            Ok(answer) => answer.into_response(),
            Err(error) => error.into_response(),
        }
    }
}

/// The value, or 404.
impl<T: IntoResponse> IntoResponse for Option<T> {
    fn into_response(self) -> Response {
        match self {
            Some(answer) => answer.into_response(),
            None => Problem::because(Reason::NotFound).into_response(),
        }
    }
}

impl<B> IntoResponse for http::Response<B>
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    fn into_response(self) -> Response {
        let (parts, body) = self.into_parts();
        let mut response = Response::new(parts.status);
        let mut last = None;
        for (name, value) in parts.headers {
            // A name comes once, with the first of its values.
            last = name.or(last);
            if let Some(name) = &last {
                response.0.fields.push((name.clone(), value));
            }
        }
        let mut body = Some(body);
        // A body of ours stays what it is: full ones need not be polled.
        let own = (&mut body as &mut dyn Any).downcast_mut::<Option<Body>>().and_then(Option::take);
        response.0.body = match (own, body) {
            (Some(own), _) => own,
            (None, Some(other)) => Body::wrap(other),
            (None, None) => Body::empty(),
        };
        response
    }
}

impl ResponseHead for Response {
    fn status(&self) -> StatusCode {
        self.0.status
    }

    fn contains(&self, name: &HeaderName) -> bool {
        self.0.fields.iter().any(|(known, _)| known == name)
    }

    fn any(&self, name: &HeaderName, test: &mut dyn FnMut(&HeaderValue) -> bool) -> bool {
        self.0.fields.iter().filter(|(known, _)| known == name).any(|(_, value)| test(value))
    }

    fn retain(&mut self, keep: &dyn Fn(&HeaderName) -> bool) {
        self.0.fields.retain(|(name, _)| keep(name));
    }

    fn append(&mut self, name: HeaderName, value: HeaderValue) {
        self.0.fields.push((name, value));
    }

    fn lines(&mut self) -> Option<&mut Lines> {
        self.0.lines.as_mut()
    }
}

impl fmt::Debug for Response {
    /// Names of fields without values: they may be secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Response")
            .field("status", &self.0.status)
            .field("fields", &self.0.fields.iter().map(|(name, _)| name).collect::<Vec<_>>())
            .field("body", &self.0.body)
            .field("problem", &self.0.problem)
            .finish_non_exhaustive()
    }
}

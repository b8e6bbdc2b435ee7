//! Errors as answers: <https://www.rfc-editor.org/rfc/rfc9457>

use std::any::Any;
use std::fmt;

use http::header::CONTENT_TYPE;
use http::{HeaderName, HeaderValue, StatusCode};
use serde::Serialize;
use serde_json::{Map, Value};
use sinew_core::error::Kind;

use super::response::{IntoResponse, Response};
use crate::error::{BoxError, Error, ErrorKind};

/// An answer in `application/problem+json`.
///
/// Any error turns into one by `?`: a [`struct@Error`] of this crate into the status that it
/// stands for, everything else into a plain 500. What the error says stays on this side (see
/// [`source`](Self::source)); the client gets only what is put into `detail` and `with`.
///
/// ```
/// use http::StatusCode;
/// use sinew_driver::{Problem, Request};
///
/// async fn handler(request: Request) -> Result<String, Problem> {
///     let id: u32 = request.path()?;
///     let text = std::fs::read_to_string("/nonexistent")?; // 500, without a word about files
///     if id == 0 {
///         return Err(Problem::new(StatusCode::CONFLICT).detail("zero is taken"));
///     }
///     Ok(text)
/// }
/// ```
pub struct Problem(Box<Inner>);

struct Inner {
    status: StatusCode,
    kind: Option<String>,
    title: Option<String>,
    detail: Option<String>,
    members: Map<String, Value>,
    fields: Vec<(HeaderName, HeaderValue)>,
    source: Option<BoxError>,
}

impl Problem {
    /// A problem with this status, titled by it.
    pub fn new(status: StatusCode) -> Self {
        Self(Box::new(Inner {
            status,
            kind: None,
            title: None,
            detail: None,
            members: Map::new(),
            fields: Vec::new(),
            source: None,
        }))
    }

    /// Names the type of the problem by a URI. Left out it is `about:blank`.
    pub fn kind(mut self, uri: impl Into<String>) -> Self {
        self.0.kind = Some(uri.into());
        self
    }

    /// Replaces the title; it should be the same for every problem of one type.
    pub fn title(mut self, title: impl Into<String>) -> Self {
        self.0.title = Some(title.into());
        self
    }

    /// Says what is wrong with this very request. The client reads it.
    pub fn detail(mut self, detail: impl Into<String>) -> Self {
        self.0.detail = Some(detail.into());
        self
    }

    /// Adds a member of its own. One that cannot be written as JSON is left out.
    pub fn with(mut self, name: impl Into<String>, value: impl Serialize) -> Self {
        if let Ok(value) = serde_json::to_value(value) {
            self.0.members.insert(name.into(), value);
        }
        self
    }

    /// Adds a field to the answer, such as `retry-after`.
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.0.fields.push((name, value));
        self
    }

    /// The status of the answer.
    pub fn status(&self) -> StatusCode {
        self.0.status
    }

    /// The error behind it, which the client does not see.
    pub fn source(&self) -> Option<&(dyn std::error::Error + Send + Sync + 'static)> {
        self.0.source.as_deref()
    }
}

impl<E: std::error::Error + Send + Sync + 'static> From<E> for Problem {
    fn from(error: E) -> Self {
        let own = (&error as &dyn Any).downcast_ref::<Error>();
        let mut problem = own.map_or_else(|| Self::new(StatusCode::INTERNAL_SERVER_ERROR), of_own);
        problem.0.source = Some(error.into());
        problem
    }
}

/// The answer to an error that reading a request ended with.
fn of_own(error: &Error) -> Problem {
    match error.kind() {
        ErrorKind::TooLarge(limit) => Problem::new(StatusCode::PAYLOAD_TOO_LARGE)
            .detail(format!("at most {limit} bytes are taken")),
        ErrorKind::Decode => Problem::new(StatusCode::BAD_REQUEST),
        ErrorKind::Protocol(error) => match (error.kind, error.status()) {
            (Kind::Usage(_), _) | (_, None) => Problem::new(StatusCode::BAD_REQUEST),
            (_, Some(status)) => Problem::new(status),
        },
        _ => Problem::new(StatusCode::INTERNAL_SERVER_ERROR),
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let Inner { status, kind, title, detail, members, fields, .. } = *self.0;
        let mut document = members;
        let mut put = |name: &str, value: Option<Value>| {
            if let Some(value) = value {
                document.insert(name.to_owned(), value);
            }
        };
        let usual = || status.canonical_reason().map(str::to_owned);
        put("type", kind.map(Value::from));
        put("title", title.or_else(usual).map(Value::from));
        put("status", Some(status.as_u16().into()));
        put("detail", detail.map(Value::from));
        let mut response = Response::ok(Value::Object(document).to_string()).status(status);
        let media_type = HeaderValue::from_static("application/problem+json");
        response.fields.push((CONTENT_TYPE, media_type));
        response.fields.extend(fields);
        response
    }
}

impl fmt::Debug for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Problem")
            .field("status", &self.0.status)
            .field("detail", &self.0.detail)
            .field("source", &self.0.source)
            .finish_non_exhaustive()
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.status)?;
        match &self.0.detail {
            Some(detail) => write!(f, ": {detail}"),
            None => Ok(()),
        }
    }
}

//! Errors as answers: <https://www.rfc-editor.org/rfc/rfc9457>

use std::any::Any;
use std::error::Error as _;
use std::fmt;
use std::time::Duration;

use http::header::RETRY_AFTER;
use http::{HeaderName, HeaderValue, StatusCode};
use serde::Serialize;
use sinew_core::error::{Delivery, Kind};
use sinew_core::problem::{Document, Ids};
use sinew_core::reason::Reason;
use sinew_core::time::whole_seconds;

use super::response::{IntoResponse, Response};
use crate::error::{BoxError, Error, ErrorKind, Origin};

/// An answer in `application/problem+json`.
///
/// Any error turns into one by `?`. A [`struct@Error`] of reading the request is answered with the
/// status that it stands for, one of a call that the handler made with 502, 503 or 504, everything
/// else with a plain 500. What the error says stays on this side (see
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
    reason: Option<Reason>,
    kind: Option<String>,
    title: Option<String>,
    detail: Option<String>,
    retry_after: Option<Duration>,
    /// Values that are JSON already.
    members: Vec<(String, String)>,
    fields: Vec<(HeaderName, HeaderValue)>,
    source: Option<BoxError>,
}

impl Problem {
    /// A problem with this status, titled by it.
    pub fn new(status: StatusCode) -> Self {
        Self(Box::new(Inner {
            status,
            reason: None,
            kind: None,
            title: None,
            detail: None,
            retry_after: None,
            members: Vec::new(),
            fields: Vec::new(),
            source: None,
        }))
    }

    /// A problem for this reason, with its status.
    pub fn because(reason: Reason) -> Self {
        let mut problem = Self::new(reason.status());
        problem.0.reason = Some(reason);
        problem
    }

    /// Says when to come again, in `retry-after` and in the document.
    pub fn retry_after(mut self, time: Duration) -> Self {
        self.0.retry_after = Some(time);
        self
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
        if let Ok(value) = serde_json::to_string(&value) {
            self.0.members.push((name.into(), value));
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

    /// Why, for programs, if it is one of the reasons that the server itself knows.
    pub fn reason(&self) -> Option<Reason> {
        self.0.reason
    }

    /// The error behind it, which the client does not see.
    pub fn source(&self) -> Option<&(dyn std::error::Error + Send + Sync + 'static)> {
        self.0.source.as_deref()
    }
}

impl<E: std::error::Error + Send + Sync + 'static> From<E> for Problem {
    fn from(error: E) -> Self {
        let own = (&error as &dyn Any).downcast_ref::<Error>();
        let mut problem = own.map_or_else(|| Self::because(Reason::Internal), of_own);
        problem.0.source = Some(error.into());
        problem
    }
}

fn of_own(error: &Error) -> Problem {
    match error.origin() {
        Origin::Request => of_request(error),
        Origin::Call => of_call(error),
    }
}

/// The answer where a call failed: the client is told that it is not its fault.
fn of_call(error: &Error) -> Problem {
    Problem::because(match error.kind() {
        // What was sent may be the client's own body, which broke.
        ErrorKind::Body => match error.source().and_then(|source| source.downcast_ref()) {
            Some(source) => return of_own(source),
            None => Reason::Internal,
        },
        ErrorKind::Config(_) => Reason::Internal,
        ErrorKind::Protocol(error) if matches!(error.kind, Kind::Usage(_)) => Reason::Internal,
        // https://www.rfc-editor.org/rfc/rfc9110#section-15.6
        ErrorKind::Status(StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) => {
            Reason::UpstreamUnavailable
        }
        ErrorKind::Status(StatusCode::GATEWAY_TIMEOUT) => Reason::GatewayTimeout,
        ErrorKind::Status(_) => Reason::BadGateway,
        ErrorKind::Tls(_) if !error.is_timeout() => Reason::BadGateway,
        _ => match error.delivery() {
            Delivery::NotSent | Delivery::Refused => Reason::UpstreamUnavailable,
            _ if error.is_timeout() => Reason::GatewayTimeout,
            _ => Reason::BadGateway,
        },
    })
}

/// The answer to an error that reading a request ended with.
fn of_request(error: &Error) -> Problem {
    match error.kind() {
        ErrorKind::TooLarge(limit) => Problem::because(Reason::BodyTooLarge)
            .detail(format!("at most {limit} bytes are taken")),
        ErrorKind::Inflated(ratio) => Problem::because(Reason::BodyTooLarge)
            .detail(format!("bodies may unpack to {ratio} times their size")),
        ErrorKind::Coding => Problem::because(Reason::BadEncoding),
        ErrorKind::Protocol(error) => match (error.kind, error.status()) {
            (Kind::Usage(_), _) | (_, None) => Problem::because(Reason::MalformedRequest),
            (_, Some(status)) => {
                let mut problem = Problem::because(Reason::of(error));
                problem.0.status = status;
                problem
            }
        },
        _ => Problem::because(Reason::Internal),
    }
}

impl Problem {
    /// The document, in an answer with this status.
    pub(super) fn to_json(&self, status: StatusCode, ids: &Ids) -> String {
        let Inner { reason, kind, title, detail, retry_after, members, .. } = &*self.0;
        let document = Document {
            status,
            kind: kind.as_deref(),
            title: title.as_deref(),
            reason: *reason,
            detail: detail.as_deref(),
            ids,
            retry_after: *retry_after,
            members,
        };
        document.to_json()
    }
}

/// The document is written when the answer is sent: only then it is known by what it is found again.
impl IntoResponse for Problem {
    fn into_response(mut self) -> Response {
        let mut response = Response::new(self.0.status);
        response.0.fields.extend(self.0.fields.drain(..));
        if let Some(time) = self.0.retry_after {
            response.0.fields.push((RETRY_AFTER, HeaderValue::from(whole_seconds(time))));
        }
        response.0.problem = Some(self);
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

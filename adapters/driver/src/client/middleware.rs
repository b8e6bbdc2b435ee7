//! What an application puts around the calls of a client.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, Method, StatusCode};

use super::outgoing::Outgoing;
use super::response::ClientResponse;
use crate::error::Error;

/// Something that stands around every call of a client: it sees what is asked and what comes of it, may
/// change fields, answer by itself or refuse.
///
/// ```
/// use sinew_driver::client::{AttemptEnd, Answering, Middleware, Next};
///
/// struct Signed(http::HeaderValue);
///
/// impl Middleware for Signed {
///     fn handle<'a>(&'a self, mut next: Next<'a>) -> Answering<'a> {
///         next.headers_mut().insert("x-signature", self.0.clone());
///         Box::pin(async move {
///             let answer = next.run().await?;
///             println!("answered {} in attempt {}", answer.status(), answer.attempts());
///             Ok(answer)
///         })
///     }
///
///     fn on_attempt(&self, attempt: &AttemptEnd<'_>) {
///         println!("attempt {}: {:?}", attempt.attempt, attempt.outcome);
///     }
/// }
/// ```
///
/// Dropped together with the call, what [`handle`](Self::handle) returned ends where it is.
pub trait Middleware: Send + Sync + 'static {
    /// A call. [`Next::run`] makes it; without that, nothing is sent. Default: makes it.
    ///
    /// It counts into the time of the call, and ends with the head of the answer.
    fn handle<'a>(&'a self, next: Next<'a>) -> Answering<'a> {
        next.run()
    }

    /// An attempt that had a connection is over, or has the head of its answer. What follows, such as
    /// another attempt, is decided already. It should be quick, and is not called where a call is
    /// dropped.
    fn on_attempt(&self, attempt: &AttemptEnd<'_>) {
        let _ = attempt;
    }
}

/// An answer to come.
pub type Answering<'a> = Pin<Box<dyn Future<Output = Result<ClientResponse, Error>> + Send + 'a>>;

/// The middleware of a client, the outermost first.
pub(super) type Layers = Arc<[Arc<dyn Middleware>]>;

/// A call that is about to be made, and whatever stands between here and the connection.
pub struct Next<'a> {
    layers: &'a [Arc<dyn Middleware>],
    call: &'a mut dyn Proceed,
}

/// A call that can be made, whatever the runtime.
pub(super) trait Proceed: Send {
    fn request(&self) -> &Outgoing;

    fn request_mut(&mut self) -> &mut Outgoing;

    fn proceed(&mut self) -> Answering<'_>;
}

impl<'a> Next<'a> {
    pub(super) fn new(layers: &'a [Arc<dyn Middleware>], call: &'a mut dyn Proceed) -> Self {
        Self { layers, call }
    }

    /// The method.
    pub fn method(&self) -> &Method {
        &self.call.request().method
    }

    /// Path and query, as they stand in the request line.
    pub fn target(&self) -> &str {
        &self.call.request().target
    }

    /// The fields that were given, by the call and as
    /// [defaults](super::ClientBuilder::default_header). The client adds its own to every attempt:
    /// its token, what is left of the time, the place in the trace.
    pub fn headers(&self) -> &HeaderMap {
        &self.call.request().fields
    }

    /// The same, to be changed. The rules are those of [`Call::header`](super::Call::header): what cannot
    /// be sent fails the call.
    pub fn headers_mut(&mut self) -> &mut HeaderMap {
        &mut self.call.request_mut().fields
    }

    /// Makes the call: all attempts, all redirects.
    pub fn run(self) -> Answering<'a> {
        let Self { layers, call } = self;
        match layers.split_first() {
            Some((first, rest)) => first.handle(Next { layers: rest, call }),
            None => call.proceed(),
        }
    }
}

impl std::fmt::Debug for Next<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Next")
            .field("method", self.method())
            .field("fields", &self.headers().keys().collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}

/// An attempt that is over.
#[derive(Clone, Copy)]
#[non_exhaustive]
pub struct AttemptEnd<'a> {
    /// Its method.
    pub method: &'a Method,
    /// Path and query, as they stood in the request line.
    pub target: &'a str,
    /// Its fields.
    pub headers: &'a HeaderMap,
    /// Which attempt of the call it was, counted from 1, and anew after a redirect.
    pub attempt: u8,
    /// How long it took, to the head of its answer.
    pub took: Duration,
    /// What came of it.
    pub outcome: AttemptOutcome<'a>,
}

/// What came of an attempt.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum AttemptOutcome<'a> {
    /// An answer, which may be another attempt's business yet.
    Answered(StatusCode),
    /// None.
    Failed(&'a Error),
    /// Another attempt of the call was faster.
    Overtaken,
}

impl std::fmt::Debug for AttemptEnd<'_> {
    /// Neither the query nor values of fields: both may hold secrets.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AttemptEnd")
            .field("method", self.method)
            .field("attempt", &self.attempt)
            .field("took", &self.took)
            .field("outcome", &self.outcome)
            .finish_non_exhaustive()
    }
}

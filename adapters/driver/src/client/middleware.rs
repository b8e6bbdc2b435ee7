//! What an application puts around the calls of a client.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::time::Duration;

use http::{HeaderMap, Method, StatusCode};
use sinew_core::error::{Delivery, Phase};
use sinew_core::time::Instant;

use super::outgoing::Outgoing;
use super::response::ClientResponse;
use crate::drive::Alarm;
use crate::error::{Error, ErrorKind};
use crate::runtime::Runtime;

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
    /// It ends with the head of the answer. What it waits for before it makes the call is cut when the
    /// time of the call is over.
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
    /// The call is made: from then on it says itself when its time is over.
    begun: &'a AtomicBool,
}

/// A call that can be made, whatever the runtime.
pub(super) trait Proceed: Send {
    fn request(&self) -> &Outgoing;

    fn request_mut(&mut self) -> &mut Outgoing;

    fn proceed(&mut self) -> Answering<'_>;
}

/// Makes a call through these layers, by this time.
pub(super) async fn pass<R: Runtime>(
    runtime: &R,
    layers: &[Arc<dyn Middleware>],
    call: &mut dyn Proceed,
    by: Instant,
) -> Result<ClientResponse, Error> {
    let begun = AtomicBool::new(false);
    let mut answering = Next { layers, call, begun: &begun }.run();
    let mut alarm = Alarm::<R>::new();
    poll_fn(|cx| {
        let polled = answering.as_mut().poll(cx);
        if polled.is_ready() || begun.load(Ordering::Relaxed) {
            return polled;
        }
        let now = runtime.now();
        if by <= now || alarm.arm(cx, runtime, now, Some(by)).is_ready() {
            let late = Error::new(ErrorKind::Deadline, Phase::Idle, Delivery::NotSent);
            return Poll::Ready(Err(late));
        }
        Poll::Pending
    })
    .await
}

impl<'a> Next<'a> {
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
        let Self { layers, call, begun } = self;
        match layers.split_first() {
            Some((first, rest)) => first.handle(Next { layers: rest, call, begun }),
            None => {
                begun.store(true, Ordering::Relaxed);
                call.proceed()
            }
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

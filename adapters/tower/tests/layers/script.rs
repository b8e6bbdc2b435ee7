//! A client that does what it is told, and a clock that somebody turns.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use sinew_core::time::{Epoch, Instant};
use sinew_driver::BoxError;
use sinew_tower::Clock;
use tower_service::Service;

/// Virtual time; a sleep never wakes anybody: whoever turns the clock polls.
#[derive(Clone, Default)]
pub(crate) struct Hand(Arc<Mutex<Instant>>);

impl Hand {
    pub(crate) fn turn(&self, by: Duration) {
        let mut now = self.0.lock().unwrap();
        *now = *now + by;
    }
}

impl Clock for Hand {
    type Sleep = Sleep;

    fn now(&self) -> Instant {
        *self.0.lock().unwrap()
    }

    fn epoch(&self) -> Epoch {
        // 2026-11-27T00:00:00Z
        Epoch::new(Duration::from_secs(1_795_737_600))
    }

    fn sleep_until(&self, at: Instant) -> Sleep {
        Sleep { hand: self.clone(), at }
    }
}

pub(crate) struct Sleep {
    hand: Hand,
    at: Instant,
}

impl Future for Sleep {
    type Output = ();

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
        if self.hand.now() >= self.at { Poll::Ready(()) } else { Poll::Pending }
    }
}

/// What the client does with an attempt.
pub(crate) enum Step {
    /// It reads the body and answers.
    Answer(StatusCode, &'static [(&'static str, &'static str)]),
    /// It answers without a look at the body.
    Early(StatusCode),
    /// It fails, and took nothing.
    Unsent,
    /// It fails, and nobody knows what it took.
    Lost,
    /// It never answers.
    Hangs,
}

/// What arrived: the method, the fields and the body of each attempt.
type Seen = (Method, HeaderMap, Bytes);

#[derive(Default)]
pub(crate) struct State {
    pub(crate) steps: VecDeque<Step>,
    pub(crate) seen: Vec<Seen>,
    /// Attempts on their way.
    pub(crate) active: usize,
}

/// A client that does these steps, and answers 200 afterwards.
#[derive(Clone, Default)]
pub(crate) struct Script(Arc<Mutex<State>>);

/// An error of the client.
#[derive(Debug)]
pub(crate) struct Broken(pub(crate) bool);

impl std::fmt::Display for Broken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("broken")
    }
}

impl std::error::Error for Broken {}

impl Script {
    pub(crate) fn new(steps: impl IntoIterator<Item = Step>) -> Self {
        let script = Self::default();
        script.state().steps.extend(steps);
        script
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    pub(crate) fn attempts(&self) -> usize {
        self.state().seen.len()
    }
}

struct Active(Script);

impl Drop for Active {
    fn drop(&mut self) {
        self.0.state().active -= 1;
    }
}

impl<B> Service<Request<B>> for Script
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError> + std::fmt::Debug,
{
    type Response = Response<Full<Bytes>>;
    type Error = Broken;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Broken>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let script = self.clone();
        let step = {
            let mut state = script.state();
            state.active += 1;
            state.steps.pop_front().unwrap_or(Step::Answer(StatusCode::OK, &[]))
        };
        let active = Active(script.clone());
        Box::pin(async move {
            let _active = active;
            let (parts, body) = request.into_parts();
            let early = matches!(step, Step::Early(_) | Step::Unsent);
            let bytes = if early {
                Bytes::new()
            } else {
                body.collect().await.map_err(|_| Broken(false))?.to_bytes()
            };
            script.state().seen.push((parts.method, parts.headers, bytes));
            let (status, fields): (_, &[_]) = match step {
                Step::Answer(status, fields) => (status, fields),
                Step::Early(status) => (status, &[]),
                Step::Unsent => return Err(Broken(true)),
                Step::Lost => return Err(Broken(false)),
                Step::Hangs => std::future::pending().await,
            };
            let mut response = Response::builder().status(status);
            for (name, value) in fields {
                response = response.header(*name, *value);
            }
            Ok(response.body(Full::default()).unwrap())
        })
    }
}

pub(crate) fn request(method: Method, body: &'static str) -> Request<Full<Bytes>> {
    Request::builder().method(method).uri("http://a.test/").body(Full::from(body)).unwrap()
}

pub(crate) type Answer = Result<Response<Full<Bytes>>, BoxError>;

/// Starts a call; it does nothing before it is polled.
pub(crate) fn start<S, B>(service: &mut S, request: Request<B>) -> Pin<Box<S::Future>>
where
    S: Service<Request<B>, Error = BoxError>,
{
    let ready = service.poll_ready(&mut Context::from_waker(Waker::noop()));
    assert!(matches!(ready, Poll::Ready(Ok(()))));
    Box::pin(service.call(request))
}

/// Polls once.
pub(crate) fn poll<F: Future>(future: &mut Pin<Box<F>>) -> Option<F::Output> {
    match future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => Some(output),
        Poll::Pending => None,
    }
}

/// Polls to the end, with the clock a little further each time.
pub(crate) fn finish<F: Future>(hand: &Hand, mut future: Pin<Box<F>>) -> F::Output {
    for _ in 0..1_000_000 {
        if let Some(output) = poll(&mut future) {
            return output;
        }
        hand.turn(Duration::from_millis(1));
    }
    unreachable!("it hangs")
}

/// A stream of pieces.
pub(crate) fn pieces(
    pieces: impl IntoIterator<Item = &'static str>,
) -> impl http_body::Body<Data = Bytes, Error = Infallible> + Send + 'static {
    let pieces: Vec<_> = pieces.into_iter().map(|p| Ok(http_body::Frame::data(p.into()))).collect();
    http_body_util::StreamBody::new(futures_util::stream::iter(pieces))
}

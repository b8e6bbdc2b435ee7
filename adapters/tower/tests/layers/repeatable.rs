use std::convert::Infallible;
use std::future::{Future as _, Ready, ready};
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};

use bytes::Bytes;
use futures_util::FutureExt as _;
use futures_util::stream::{self, StreamExt as _};
use http::{HeaderMap, Request, Response, StatusCode};
use http_body::{Body, Frame};
use http_body_util::{BodyExt as _, Full, StreamBody};
use sinew_core::resilience::{BudgetConfig, NoRetry, RetryPolicy};
use sinew_core::time::{Epoch, Instant};
use sinew_tower::{Clock, Repeatable, RetryLayer, Tried, Unrepeatable};
use tower_layer::Layer as _;
use tower_service::Service;

use super::script::{Hand, Sleep, finish, pieces, poll, start};

/// The bodies of all attempts.
type Bodies<B> = Arc<Mutex<Vec<Repeatable<B>>>>;

/// Counts how often it wakes, and looks at all bodies then and when it is dropped.
struct Look<B: Body<Data = Bytes, Error = Infallible>> {
    bodies: Bodies<B>,
    woken: Arc<AtomicUsize>,
}

impl<B: Body<Data = Bytes, Error = Infallible>> Look<B> {
    fn look(&self) {
        for body in &*self.bodies.lock().unwrap() {
            let _ = body.size_hint();
        }
    }
}

impl<B: Body<Data = Bytes, Error = Infallible>> Wake for Look<B> {
    fn wake(self: Arc<Self>) {
        self.woken.fetch_add(1, Ordering::Relaxed);
        self.look();
    }
}

impl<B: Body<Data = Bytes, Error = Infallible>> Drop for Look<B> {
    fn drop(&mut self) {
        self.look();
    }
}

/// Refuses each attempt once it has read some frames of it, and keeps its body.
struct Keeper<B> {
    bodies: Bodies<B>,
    reads: usize,
    woken: Arc<AtomicUsize>,
}

impl<B> Keeper<B> {
    fn new(reads: usize) -> Self {
        Self { bodies: Arc::default(), reads, woken: Arc::default() }
    }
}

impl<B> Clone for Keeper<B> {
    fn clone(&self) -> Self {
        let (bodies, woken) = (Arc::clone(&self.bodies), Arc::clone(&self.woken));
        Self { bodies, reads: self.reads, woken }
    }
}

impl<B> Service<Request<Repeatable<B>>> for Keeper<B>
where
    B: Body<Data = Bytes, Error = Infallible> + Send + 'static,
{
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Repeatable<B>>) -> Self::Future {
        let mut body = request.into_body();
        for _ in 0..self.reads {
            let (bodies, woken) = (Arc::clone(&self.bodies), Arc::clone(&self.woken));
            let waker = Waker::from(Arc::new(Look { bodies, woken }));
            let _ = pin!(body.frame()).poll(&mut Context::from_waker(&waker));
        }
        self.bodies.lock().unwrap().push(body);
        let response = Response::builder().status(StatusCode::TOO_MANY_REQUESTS);
        ready(Ok(response.body(Full::default()).unwrap()))
    }
}

/// The bodies of three attempts, of each of which so many frames were read; and how often a reader was woken.
fn attempts<B>(body: B, reads: usize) -> (Vec<Repeatable<B>>, usize)
where
    B: Body<Data = Bytes, Error = Infallible> + Send + 'static,
{
    let keeper = Keeper::new(reads);
    let hand = Hand::default();
    let layer = RetryLayer::new(hand.clone(), RetryPolicy::default(), BudgetConfig::default());
    let mut service = layer.unwrap().layer(keeper.clone());
    let call = start(&mut service, Request::post("http://a.test/").body(body).unwrap());
    assert!(finish(&hand, call).is_ok());
    let bodies = std::mem::take(&mut *keeper.bodies.lock().unwrap());
    assert_eq!(bodies.len(), 3);
    (bodies, keeper.woken.load(Ordering::Relaxed))
}

fn frames() -> impl Body<Data = Bytes, Error = Infallible> + Send + 'static {
    let trailers = HeaderMap::from_iter([(http::header::ETAG, "\"7\"".parse().unwrap())]);
    let frames = [Frame::data("one ".into()), Frame::data("two".into()), Frame::trailers(trailers)];
    StreamBody::new(stream::iter(frames.map(Ok)))
}

fn collect<B>(body: Repeatable<B>) -> Result<(Bytes, bool), sinew_driver::BoxError>
where
    B: Body<Data = Bytes, Error = Infallible>,
{
    let collected = body.collect().now_or_never().unwrap()?;
    let has_trailers = collected.trailers().is_some_and(|trailers| trailers["etag"] == "\"7\"");
    Ok((collected.to_bytes(), has_trailers))
}

#[test]
fn the_last_attempt_reads_all_of_it_and_the_others_nothing_more() {
    for reads in 0..6 {
        let (mut bodies, _) = attempts(frames(), reads);
        let last = bodies.pop().unwrap();
        for stale in bodies {
            assert!(collect(stale).unwrap_err().is::<Unrepeatable>());
        }
        // What it has read itself is not read twice.
        let rest = [("one two", true), ("two", true), ("", true), ("", false)][reads.min(3)];
        assert_eq!(collect(last).unwrap(), (rest.0.into(), rest.1));
    }
}

#[test]
fn who_reads_on_during_the_wait_takes_nothing_from_the_next_attempt() {
    let (hand, keeper) = (Hand::default(), Keeper::new(1));
    let layer = RetryLayer::new(hand.clone(), RetryPolicy::default(), BudgetConfig::default());
    // The second frame is beyond that.
    let mut service = layer.unwrap().kept_bytes(4).layer(keeper.clone());
    let mut call = start(&mut service, Request::post("http://a.test/").body(frames()).unwrap());
    assert!(poll(&mut call).is_none());
    let stale = keeper.bodies.lock().unwrap().pop().unwrap();
    let read = collect(stale);
    assert!(finish(&hand, call).is_ok());
    // It has read the first frame already.
    let last = keeper.bodies.lock().unwrap().pop().unwrap();
    assert_eq!(collect(last).unwrap(), ("two".into(), true));
    assert!(read.unwrap_err().is::<Unrepeatable>());
}

/// A clock: whoever asks it has taken so long that another frame was read.
struct Meanwhile<B>(Hand, Bodies<B>);

impl<B> Clone for Meanwhile<B> {
    fn clone(&self) -> Self {
        Self(self.0.clone(), Arc::clone(&self.1))
    }
}

impl<B> Clock for Meanwhile<B>
where
    B: Body<Data = Bytes, Error = Infallible> + Send + 'static,
{
    type Sleep = Sleep;

    fn now(&self) -> Instant {
        if let Some(body) = self.1.lock().unwrap().last_mut() {
            let _ = body.frame().now_or_never();
        }
        self.0.now()
    }

    fn epoch(&self) -> Epoch {
        self.0.epoch()
    }

    fn sleep_until(&self, at: Instant) -> Sleep {
        self.0.sleep_until(at)
    }
}

#[test]
fn what_is_spent_at_the_last_moment_is_not_sent_again() {
    // Before the decision, and after it.
    for (kept, rest) in [(0, "23"), (1, "3")] {
        let (hand, keeper) = (Hand::default(), Keeper::new(0));
        let clock = Meanwhile(hand.clone(), Arc::clone(&keeper.bodies));
        let layer = RetryLayer::new(clock, RetryPolicy::default(), BudgetConfig::default());
        let mut service = layer.unwrap().kept_bytes(kept).layer(keeper.clone());
        let body = pieces(["1", "2", "3"]);
        let call = start(&mut service, Request::post("http://a.test/").body(body).unwrap());
        let response = finish(&hand, call).unwrap();
        let spent = Tried { attempts: 1, no_retry: Some(NoRetry::BodySpent) };
        assert_eq!(response.extensions().get(), Some(&spent));
        // Whoever has the answer may still send the rest.
        let only = keeper.bodies.lock().unwrap().pop().unwrap();
        assert_eq!(collect(only).unwrap().0, rest);
    }
}

#[test]
fn a_reader_that_waits_is_told_that_another_attempt_reads() {
    let slow = stream::iter([Ok(Frame::data(Bytes::from("one")))]).chain(stream::pending());
    let (_, woken) = attempts(StreamBody::new(slow), 2);
    // The first two; the third still waits.
    assert_eq!(woken, 2);
}

#[test]
fn its_length_is_that_of_the_body() {
    for reads in [0, 1] {
        let (bodies, _) = attempts(Full::new(Bytes::from("1234")), reads);
        let last = bodies.last().unwrap();
        assert_eq!(last.size_hint().exact(), Some(if reads == 0 { 4 } else { 0 }));
        assert_eq!(last.is_end_stream(), reads == 1);
    }
}

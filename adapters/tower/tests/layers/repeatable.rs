use std::convert::Infallible;
use std::future::{Future as _, Ready, ready};
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};

use bytes::Bytes;
use futures_util::stream::{self, StreamExt as _};
use http::{HeaderMap, Request, Response, StatusCode};
use http_body::{Body, Frame};
use http_body_util::{BodyExt as _, Full, StreamBody};
use sinew_core::resilience::{BudgetConfig, RetryPolicy};
use sinew_tower::{Repeatable, RetryLayer, Unrepeatable};
use tower_layer::Layer as _;
use tower_service::Service;

use super::script::{Hand, finish, start};

/// Counts how often it wakes.
#[derive(Default)]
struct Count(AtomicUsize);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// Refuses each attempt once it has read some frames of it, and keeps its body.
struct Keeper<B> {
    bodies: Arc<Mutex<Vec<Repeatable<B>>>>,
    reads: usize,
    woken: Arc<Count>,
}

impl<B> Clone for Keeper<B> {
    fn clone(&self) -> Self {
        let (bodies, woken) = (Arc::clone(&self.bodies), Arc::clone(&self.woken));
        Self { bodies, reads: self.reads, woken }
    }
}

impl<B> Service<Request<Repeatable<B>>> for Keeper<B>
where
    B: Body<Data = Bytes, Error = Infallible>,
{
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Repeatable<B>>) -> Self::Future {
        let mut body = request.into_body();
        let waker = Waker::from(Arc::clone(&self.woken));
        for _ in 0..self.reads {
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
    let (bodies, woken) = (Arc::default(), Arc::<Count>::default());
    let keeper = Keeper { bodies: Arc::clone(&bodies), reads, woken: Arc::clone(&woken) };
    let hand = Hand::default();
    let layer = RetryLayer::new(hand.clone(), RetryPolicy::default(), BudgetConfig::default());
    let mut service = layer.unwrap().layer(keeper);
    let call = start(&mut service, Request::post("http://a.test/").body(body).unwrap());
    assert!(finish(&hand, call).is_ok());
    drop(service);
    let bodies = std::mem::take(&mut *bodies.lock().unwrap());
    assert_eq!(bodies.len(), 3);
    (bodies, woken.0.load(Ordering::Relaxed))
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
    let collected = futures_util::FutureExt::now_or_never(body.collect()).unwrap()?;
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

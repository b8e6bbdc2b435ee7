//! Bodies both ways: large, in pieces, asked for, cut short.

use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::{self, poll_fn};
use http::{HeaderMap, Method};
use http_body::Frame;
use http_body_util::StreamBody;
use sinew_core::error::{Delivery, Phase};
use sinew_driver::{Body, ErrorKind, Request, Response, RestServer, Threads};

use crate::support::calling::{Calling, OK, calling, failed};
use crate::support::{Sim, Site};

fn plain() -> Calling {
    calling(|builder| builder)
}

/// A client of a server of this crate that echoes what it gets, piece by piece.
fn echoing() -> Calling {
    let world = plain();
    world.sim.site("192.0.2.1:80", Site::Served);
    let server = RestServer::<Sim, Threads>::builder_on(world.sim.clone())
        .listen("127.0.0.1:0")
        .allow_plaintext();
    let server = server.max_request_size(u64::MAX);
    let server = server.route(Method::POST, "/", |request: Request| async move {
        Response::ok(request.into_body())
    });
    let server = server.route(Method::POST, "/early", |_: Request| async { "no, thank you" });
    let server = world.sim.block_on(server.bind()).unwrap();
    world.sim.start(server.serve());
    world
}

/// Pieces that come when the test lets them.
#[derive(Clone, Default)]
struct Producer(Arc<Mutex<(Vec<Bytes>, bool, usize)>>);

impl Producer {
    fn body(&self) -> Body {
        let shared = Arc::clone(&self.0);
        Body::stream(poll_fn(move |_| {
            let mut state = shared.lock().unwrap();
            if state.0.is_empty() {
                return if state.1 { Poll::Ready(None) } else { Poll::Pending };
            }
            state.2 += 1;
            Poll::Ready(Some(Ok::<_, String>(state.0.remove(0))))
        }))
    }

    fn give(&self, piece: &'static str) {
        self.0.lock().unwrap().0.push(Bytes::from_static(piece.as_bytes()));
    }

    fn taken(&self) -> usize {
        self.0.lock().unwrap().2
    }
}

#[test]
fn three_mebibytes_come_back_while_they_are_sent() {
    let world = echoing();
    for round in 0..2 {
        let pieces = (0..48u8).map(|n| Ok::<_, String>(Bytes::from(vec![n; 64 * 1024])));
        let call = world.client.post("/").body(Body::stream(stream::iter(pieces)));
        let echoed = world.sim.block_on(async move {
            let mut response = call.send().await.unwrap();
            let mut echoed = Vec::new();
            while let Some(piece) = response.chunk().await.unwrap() {
                echoed.extend_from_slice(&piece);
            }
            echoed
        });
        assert_eq!(echoed.len(), 3 << 20);
        assert!(
            echoed.chunks(64 * 1024).zip(0u8..).all(|(piece, n)| piece.iter().all(|b| *b == n))
        );
        assert_eq!(world.counts(), (1, 1), "round {round}");
    }
    assert_eq!(world.sim.dials().len(), 1);
}

#[test]
fn one_mebibyte_given_at_once_comes_back() {
    let world = echoing();
    let body: Vec<u8> = (0..=250).cycle().take(1 << 20).collect();
    let call = world.client.post("/").body(body.clone());
    let echoed = world.sim.block_on(async move { call.send().await.unwrap().bytes().await });
    assert!(echoed.unwrap() == body);
    assert_eq!(world.counts(), (1, 1));
}

#[test]
fn an_answer_before_the_end_of_the_request_is_read() {
    let world = echoing();
    let endless = stream::repeat(0u8).map(|n| Ok::<_, String>(Bytes::from(vec![n; 16 * 1024])));
    let call = world.client.post("/early").body(Body::stream(endless));
    let text = world.sim.start(async move { call.send().await.unwrap().text().await });
    world.sim.advance(Duration::from_secs(3));
    assert_eq!(text.take().expect("it waits for ever").unwrap(), "no, thank you");
    assert_eq!(world.counts(), (0, 0), "half a request is no clean connection");
}

#[test]
fn a_server_that_answers_and_stops_reading_is_heard() {
    let world = plain();
    let outcome = world.start(world.client.put("/").body(vec![7; 1 << 20]));
    let server = world.sim.accepted();
    server.window(100_000);
    world.sim.run();
    server.send("HTTP/1.1 413 Too Large\r\nconnection: close\r\ncontent-length: 5\r\n\r\nlarge");
    server.deafen();
    world.sim.run();
    let response = outcome.take().expect("no answer").unwrap();
    assert_eq!(response.status(), 413);
    assert_eq!(world.bytes(response).unwrap(), b"large");
    assert_eq!(world.counts(), (0, 0));
}

#[test]
fn a_body_waits_for_the_word_of_the_server() {
    let world = plain();
    let outcome = world.start(world.client.put("/").expect_continue().body("the body"));
    let server = world.sim.accepted();
    let head = server.received();
    assert!(head.contains("expect: 100-continue\r\n") && head.ends_with("\r\n\r\n"), "{head}");
    server.send("HTTP/1.1 100 Continue\r\n\r\n");
    world.sim.run();
    assert_eq!(server.received(), "the body");
    server.send(OK);
    world.sim.run();
    world.bytes(outcome.take().unwrap().unwrap()).unwrap();
    assert_eq!(world.counts(), (1, 1));
}

#[test]
fn a_body_does_not_wait_for_ever_for_the_word_of_the_server() {
    let world = plain();
    let _outcome = world.start(world.client.put("/").expect_continue().body("the body"));
    let server = world.sim.accepted();
    server.received();
    world.sim.advance(Duration::from_millis(999));
    assert_eq!(server.received(), "");
    world.sim.advance(Duration::from_millis(1));
    assert_eq!(server.received(), "the body");
}

#[test]
fn a_body_that_is_refused_is_not_sent() {
    let world = plain();
    let outcome = world.start(world.client.put("/").expect_continue().body("the body"));
    let server = world.sim.accepted();
    server.received();
    server.send("HTTP/1.1 417 No\r\ncontent-length: 0\r\n\r\n");
    world.sim.run();
    assert_eq!(outcome.take().unwrap().unwrap().status(), 417);
    assert_eq!(server.received(), "");
    assert_eq!((server.is_closed(), world.counts()), (true, (0, 0)));
}

#[test]
fn the_producer_goes_on_while_the_answer_is_read() {
    let world = plain();
    let producer = Producer::default();
    producer.give("one");
    let outcome = world.start(world.client.post("/").body(producer.body()));
    let server = world.sim.accepted();
    assert!(server.received().ends_with("\r\n\r\n3\r\none\r\n"));
    server.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nONE\r\n");
    world.sim.run();
    let mut response = outcome.take().unwrap().unwrap();
    let mut response = world.sim.block_on(async move {
        assert_eq!(response.chunk().await.unwrap().unwrap(), "ONE");
        response
    });
    producer.give("two");
    let second = world.sim.start(async move { response.chunk().await.unwrap() });
    world.sim.run();
    assert_eq!(server.received(), "3\r\ntwo\r\n");
    server.send("3\r\nTWO\r\n");
    world.sim.run();
    assert_eq!(second.take().unwrap().unwrap(), "TWO");
}

#[test]
fn a_producer_is_held_back_by_a_slow_server() {
    let world = plain();
    let (server, response) = world.first(OK);
    world.bytes(response).unwrap();
    server.window(1000);
    let producer = Producer::default();
    for _ in 0..10_000 {
        producer.give("one hundred bytes, one hundred bytes, one hundred bytes, one hundred bytes, one hundred bytes, 1 2 ");
    }
    let _outcome = world.start(world.client.post("/").body(producer.body()));
    let held = producer.taken();
    assert!(held < 1000, "{held} pieces were taken of which 10 were wanted");
    server.window(usize::MAX / 2);
    world.sim.run();
    assert!(producer.taken() > 9_000);
}

#[test]
fn a_producer_that_fails_ends_the_call() {
    let world = plain();
    let pieces = stream::iter([Ok(Bytes::from_static(b"half")), Err("lost")]);
    let outcome = world.start(world.client.put("/").body(Body::stream(pieces)));
    let server = world.sim.accepted();
    let error = failed(&outcome);
    assert_eq!(*error.kind(), ErrorKind::Body);
    assert!(!server.received().contains("0\r\n\r\n"), "the body must not look complete");
    assert!(server.is_closed());
    assert_eq!(world.counts(), (0, 0));
}

#[test]
fn trailers_go_both_ways() {
    let world = echoing();
    let mut trailers = HeaderMap::new();
    trailers.insert("x-sum", "42".parse().unwrap());
    let frames = [Ok::<_, String>(Frame::data(Bytes::from("x"))), Ok(Frame::trailers(trailers))];
    let body = Body::wrap(StreamBody::new(stream::iter(frames)));
    let call = world.client.post("/").body(body);
    let (bytes, trailers) = world.sim.block_on(async move {
        call.send().await.unwrap().into_body().collect_with_trailers(99).await.unwrap()
    });
    assert_eq!(bytes, "x");
    assert_eq!(trailers.unwrap()["x-sum"], "42");
    assert_eq!(world.counts(), (1, 1));
}

#[test]
fn an_answer_that_is_cut_is_an_error() {
    for answer in [
        "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n",
    ] {
        let world = plain();
        let (server, response) = world.first(answer);
        server.shut();
        let error = world.bytes(response).unwrap_err();
        assert_eq!((error.phase(), error.delivery()), (Phase::ResponseBody, Delivery::Processed));
        assert_eq!(world.counts(), (0, 0));
    }
}

#[test]
fn a_collected_answer_has_a_limit() {
    let small = |world: &Calling, answer: &str| {
        let (_server, response) = world.first(answer);
        let error = world.bytes(response).unwrap_err();
        assert_eq!(*error.kind(), ErrorKind::TooLarge(8 << 20));
        assert_eq!(world.counts(), (0, 0));
    };
    small(&plain(), "HTTP/1.1 200 OK\r\ncontent-length: 8388609\r\n\r\n");
    let endless = format!("800001\r\n{}\r\n", "x".repeat((8 << 20) + 1));
    small(&plain(), &format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{endless}"));
}

#[test]
fn a_body_can_move_to_another_task() {
    let world = plain();
    let (server, mut response) = world.first("HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\n");
    let half = world.sim.start(async move {
        let piece = response.chunk().await.unwrap().unwrap();
        (piece, response)
    });
    server.send("one");
    world.sim.run();
    let (piece, mut response) = half.take().unwrap();
    assert_eq!(piece, "one");
    let other = world.sim.start(async move {
        let piece = response.chunk().await.unwrap().unwrap();
        assert!(response.chunk().await.unwrap().is_none());
        piece
    });
    world.sim.run();
    server.send("two");
    world.sim.run();
    assert_eq!(other.take().unwrap(), "two");
    assert_eq!(world.counts(), (1, 1));
}

#[test]
fn text_and_json_are_checked() {
    let world = plain();
    let answer =
        |body: &str| format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    let (server, response) = world.first(&answer("[1,2]"));
    let numbers = world.sim.block_on(async move { response.json::<Vec<u8>>().await });
    assert_eq!(numbers.unwrap(), [1, 2]);
    let response = world.next(&server, &answer("[1,"));
    let error = world.sim.block_on(async move { response.json::<Vec<u8>>().await }).unwrap_err();
    assert_eq!((error.kind(), error.delivery()), (&ErrorKind::Decode, Delivery::Processed));
    let outcome = world.get();
    server.received();
    server.send(b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n\xff");
    world.sim.run();
    let response = outcome.take().unwrap().unwrap();
    let error = world.sim.block_on(async move { response.text().await }).unwrap_err();
    assert_eq!(*error.kind(), ErrorKind::Decode);
    assert_eq!(world.counts(), (1, 1));
}

#[test]
fn calls_can_be_spawned_and_clients_shared() {
    let world = plain();
    assert_send(&world.client.get("/").send());
    assert_send(&world.client);
    assert_sync(&world.client);
}

fn assert_send<T: Send>(_: &T) {}

fn assert_sync<T: Sync>(_: &T) {}

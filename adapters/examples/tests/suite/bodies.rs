//! Bodies that stream: up, down, both at once, with trailers, and too large ones.

use std::convert::Infallible;

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::{HeaderMap, Method};
use http_body_util::StreamBody;
use sinew_core::content_coding::Compression;
use sinew_driver::{Body, Request};
use tokio::sync::mpsc;

use super::app::{Measured, PIECE, is_pattern, pattern, pattern_body, pieces};
use super::site::{Site, client_of};
use super::{both, each};
use crate::rt;

const LARGE: u64 = 8 << 20;

/// The largest piece that a reader is handed: bodies are never collected on the way.
const BOUND: usize = 256 * 1024;

#[test]
fn eight_mebibytes_up() {
    both(async |_, client| {
        let response = client.put("/measure").body(pattern_body(LARGE)).send().await.unwrap();
        let measured: Measured = response.json().await.unwrap();
        assert!(measured.intact);
        assert_eq!(measured.bytes, LARGE);
        assert!(measured.largest_piece <= BOUND, "{measured:?}");
    });
}

#[test]
fn eight_mebibytes_down() {
    both(async |site, client| {
        let path = format!("/download/{LARGE}");
        let mut response = client.get(&path).send().await.unwrap();
        let mut read = 0;
        while let Some(piece) = response.chunk().await.unwrap() {
            assert!(is_pattern(read, &piece), "at {read}");
            assert!(piece.len() <= BOUND);
            read += piece.len() as u64;
        }
        assert_eq!(read, LARGE);
        assert_eq!(client.get("/text").send().await.unwrap().status(), 200);
        assert_eq!(site.handle.connections(), 1);
    });
}

#[test]
fn a_body_of_known_length_says_so() {
    both(async |_, client| {
        let bytes = pattern(0, 3 * PIECE);
        let response = client.post("/echo").body(bytes.clone()).send().await.unwrap();
        assert_eq!(response.header("content-length").unwrap(), "98304");
        assert_eq!(response.bytes().await.unwrap(), bytes);
    });
}

#[test]
fn both_directions_at_once() {
    both(async |_, client| {
        let mut response = client.post("/echo").body(pattern_body(LARGE)).send().await.unwrap();
        let mut read = 0;
        while let Some(piece) = response.chunk().await.unwrap() {
            assert!(is_pattern(read, &piece), "at {read}");
            read += piece.len() as u64;
        }
        assert_eq!(read, LARGE);
    });
}

#[test]
fn a_conversation_over_one_exchange() {
    both(async |_, client| {
        // The next piece is not produced before the echo of the last one is here.
        let (say, said) = mpsc::channel::<Bytes>(1);
        let body = stream::unfold(said, |mut said| async {
            said.recv().await.map(|piece| (Ok::<_, Infallible>(piece), said))
        });
        say.send(Bytes::from_static(b"hello")).await.unwrap();
        let mut response = client.post("/echo").body(Body::stream(body)).send().await.unwrap();
        assert_eq!(response.chunk().await.unwrap().unwrap(), "hello");
        for turn in 0..100 {
            let words = Bytes::from(format!("turn {turn}"));
            say.send(words.clone()).await.unwrap();
            assert_eq!(response.chunk().await.unwrap().unwrap(), words);
        }
        drop(say);
        assert_eq!(response.chunk().await.unwrap(), None);
    });
}

#[test]
fn events_arrive() {
    both(async |_, client| {
        let response = client.get("/events").send().await.unwrap();
        assert_eq!(response.header("content-type").unwrap(), "text/event-stream");
        let text = response.text().await.unwrap();
        let events: Vec<&str> = text.split_terminator("\n\n").collect();
        let wanted: Vec<String> =
            (1..=3).map(|number| format!("event: tick\ndata: tick {number}")).collect();
        assert_eq!(events, wanted);
    });
}

#[test]
fn trailers_go_both_ways() {
    both(async |site, client| {
        let mut trailers = HeaderMap::new();
        trailers.insert("x-sum", "42".parse().unwrap());
        let frames = stream::iter(pieces(100).map(http_body::Frame::data))
            .chain(stream::iter([http_body::Frame::trailers(trailers)]))
            .map(Ok::<_, Infallible>);
        let call = client.post("/trailers").body(Body::wrap(StreamBody::new(frames)));
        let response = call.send().await.unwrap();
        let (bytes, trailers) = response.into_body().collect_with_trailers(1024).await.unwrap();
        assert_eq!(bytes, pattern(0, 100));
        assert_eq!(trailers.unwrap()["x-came"], "42");
        assert_eq!(site.handle.connections(), 1);
    });
}

#[test]
fn a_body_over_the_limit_is_answered_while_it_is_being_sent() {
    both(async |_, client| {
        for body in [pattern_body(LARGE), Body::full(pattern(0, 2 << 20))] {
            let response = client.put("/limited").body(body).send().await.unwrap();
            assert_eq!(response.status(), 413);
            let problem: serde_json::Value = response.json().await.unwrap();
            assert_eq!(problem["status"], 413);
        }
        // The connection is spent, the client is not.
        assert_eq!(client.get("/text").send().await.unwrap().status(), 200);
    });
}

#[test]
fn a_body_that_nobody_reads() {
    both(async |_, client| {
        let response = client.put("/ignored").body(pattern_body(LARGE)).send().await.unwrap();
        assert_eq!(response.status(), 204);
        let response = client.put("/ignored").body("short").send().await.unwrap();
        assert_eq!(response.status(), 204);
        assert_eq!(client.get("/text").send().await.unwrap().status(), 200);
    });
}

#[test]
fn a_collected_body_has_a_limit() {
    both(async |_, client| {
        let response = client.get("/download/100000").send().await.unwrap();
        let error = response.into_body().collect(99_999).await.unwrap_err();
        assert_eq!(*error.kind(), sinew_driver::ErrorKind::TooLarge(99_999));
    });
}

#[test]
fn an_answer_that_could_be_made_anew_has_its_length() {
    each(async |security| {
        let answer = async |_: Request| Body::repeatable(|| Body::full(pattern(0, 98_304)));
        let builder = rt::RestServer::builder().listen("127.0.0.1:0");
        let builder = builder.compress(Compression::default());
        let site = Site::run(security, builder.route(Method::GET, "/", answer)).await;
        let client = client_of(&site);
        let response = client.get("/").send().await.unwrap();
        assert_eq!(response.header("content-length").unwrap(), "98304");
        assert_eq!(response.bytes().await.unwrap(), pattern(0, 98_304));
        assert_eq!(
            client.head("/").send().await.unwrap().header("content-length").unwrap(),
            "98304"
        );
    });
}

//! Handlers that do not do as they should, over sockets: what their clients get, to the byte, and
//! whether the connection goes on.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::stream;
use http::{Method, StatusCode};
use http_body::{Frame, SizeHint};
use serde_json::Value;
use sinew_driver::{Body, BoxError, Request, RouteOptions};

use super::raw::raw;
use super::site::{Builder, Site};
use super::{each, pause};
use crate::rt;

/// A body that says that it has five bytes, whatever it has.
struct Five(Vec<&'static str>);

impl http_body::Body for Five {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let piece = (!self.0.is_empty()).then(|| self.0.remove(0));
        Poll::Ready(piece.map(|piece| Ok(Frame::data(Bytes::from_static(piece.as_bytes())))))
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(5)
    }
}

fn builder() -> Builder {
    let five = |pieces: &[&'static str]| {
        let pieces = pieces.to_vec();
        move |_: Request| std::future::ready(Body::wrap(Five(pieces.clone())))
    };
    let large = || RouteOptions::new().body_limit(1 << 30);
    rt::RestServer::builder()
        .route(Method::GET, "/next", async |_: Request| "next")
        .route_with(Method::PUT, "/unread", large(), async |_: Request| StatusCode::NO_CONTENT)
        .route_with(Method::PUT, "/early", large(), async |mut request: Request| {
            let first = request.body_mut().chunk().await;
            first.map_or("nothing came", |_| "early")
        })
        .route(Method::GET, "/panic", async |_: Request| -> StatusCode { panic!("on purpose") })
        .route(Method::GET, "/panic-later", async |_: Request| {
            let pieces = (0..2).map(|number| match number {
                0 => Ok::<_, BoxError>(Bytes::from_static(b"abc")),
                _ => panic!("on purpose"),
            });
            Body::stream(stream::iter(pieces))
        })
        .route(Method::GET, "/little", five(&["abc"]))
        .route(Method::GET, "/nothing", five(&[]))
        .route(Method::GET, "/much", five(&["abc", "def"]))
        .route(Method::GET, "/much-at-once", five(&["abcdef"]))
        .listen("127.0.0.1:0")
}

const NEXT: &str = "GET /next HTTP/1.1\r\nhost: a\r\n\r\n";

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: a\r\n\r\n")
}

fn put(path: &str, announced: usize, sent: usize) -> String {
    let body = "x".repeat(sent);
    format!("PUT {path} HTTP/1.1\r\nhost: a\r\ncontent-length: {announced}\r\n\r\n{body}")
}

/// All that came, but for what is another each time.
fn heard(bytes: &[u8]) -> String {
    let text = String::from_utf8(bytes.to_vec()).unwrap();
    let lines = text.split_inclusive("\r\n");
    lines
        .filter(|line| !line.starts_with("date: ") && !line.starts_with("x-request-id: "))
        .collect()
}

#[test]
fn a_handler_that_fails_leaves_no_doubt_on_the_wire() {
    let ok = "HTTP/1.1 200 OK\r\ncontent-type: application/octet-stream\r\n";
    let five = format!("{ok}content-length: 5\r\n\r\n");
    let cases = [
        (
            "it panics in its answer",
            get("/panic-later"),
            format!("{ok}transfer-encoding: chunked\r\n\r\n3\r\nabc\r\n"),
        ),
        ("too little", get("/little"), format!("{five}abc")),
        ("nothing", get("/nothing"), five.clone()),
        ("too much", get("/much"), format!("{five}abc")),
        ("too much at once", get("/much-at-once"), five),
        (
            "a large body that it does not read",
            put("/unread", 50_000_000, 1000),
            "HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n".to_owned(),
        ),
        (
            "it answers in the middle of a large body",
            put("/early", 50_000_000, 1000),
            "HTTP/1.1 200 OK\r\ncontent-type: text/plain; charset=utf-8\r\n\
             content-length: 5\r\nconnection: close\r\n\r\nearly"
                .to_owned(),
        ),
    ];
    each(async |security| {
        let site = Site::run(security, builder()).await;
        for (what, request, wanted) in cases.clone() {
            // Another request follows at once; that is never read as anything, and never answered.
            let follows = request.starts_with("GET");
            let all = raw(&site, move |mut socket| {
                socket.send(request + if follows { NEXT } else { "" });
                socket.rest()
            })
            .await;
            assert_eq!(heard(&all), wanted, "{what}");
        }
        while site.handle.connections() > 0 {
            pause().await;
        }
    });
}

#[test]
fn a_panic_is_an_answer_and_the_end_of_the_connection() {
    each(async |security| {
        let site = Site::run(security, builder()).await;
        raw(&site, |mut socket| {
            socket.send(get("/panic") + NEXT);
            let answer = socket.answer().unwrap();
            assert_eq!((answer.status(), answer.field("connection")), (500, Some("close")));
            let document: Value = serde_json::from_slice(&answer.body).unwrap();
            assert_eq!(document["reason"], "internal");
            assert_eq!(document.get("detail"), None, "what it said is nobody else's business");
            assert!(socket.is_closed(), "the next request is not answered");
        })
        .await;
    });
}

/// What is small is read for the handler, so that the connection can go on.
#[test]
fn a_small_body_that_nobody_reads_is_no_request() {
    each(async |security| {
        let site = Site::run(security, builder()).await;
        let inside = get("/panic");
        let request = format!(
            "PUT /unread HTTP/1.1\r\nhost: a\r\ncontent-length: {}\r\n\r\n{inside}{NEXT}",
            inside.len()
        );
        raw(&site, move |mut socket| {
            socket.send(request);
            assert_eq!(socket.answer().unwrap().status(), 204);
            assert_eq!(socket.answer().unwrap().body, b"next");
            // It is answered before its body is here, and the rest is no request either.
            socket.send(put("/unread", 100, 0));
            let early = socket.answer().unwrap();
            assert_eq!((early.status(), early.field("connection")), (204, None));
            socket.send(format!("{}{NEXT}", "x".repeat(100)));
            assert_eq!(socket.answer().unwrap().body, b"next");
        })
        .await;
    });
}

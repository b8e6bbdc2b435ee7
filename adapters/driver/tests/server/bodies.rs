//! The server in memory: request and response bodies.

use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use http_body::{Frame, SizeHint};
use sinew_core::error::{Kind, Misuse};
use sinew_core::limit::LedgerConfig;
use sinew_driver::{
    Body, BoxError, ErrorKind, IntoResponse as _, Notice, Problem, Request, Response, RouteOptions,
    Runtime, Sse, SseEvent,
};

use crate::support::running::{get, seconds, serve, sleep};

async fn echo(request: Request) -> Response {
    Response::ok(request.into_body())
}

/// Whoever reads the notice finds the field in the handler.
#[test]
fn the_field_that_keeps_an_answer_from_being_sent_is_named() {
    fn forbidden() -> HeaderMap {
        HeaderMap::from_iter([(header::AGE, HeaderValue::from_static("1"))])
    }
    fn streamed() -> Body {
        Body::stream(stream::iter([Ok::<_, BoxError>(Bytes::from_static(b"x"))]))
    }
    let server = serve(|builder, _| {
        builder
            .route(Method::GET, "/length", async |_| {
                Response::ok("four").header("content-length", 5)
            })
            .route(Method::GET, "/coding", async |_| {
                Response::ok("x").header("transfer-encoding", "x")
            })
            .route(Method::GET, "/value", async |_| {
                Response::ok("x")
                    .header("x-good", "1")
                    .header("x-bad", "a\nb")
                    .header("x-worse", "\n")
            })
            .route(Method::GET, "/name", async |_| Response::ok("x").header("a b", "c"))
            .route(Method::GET, "/full", async |_| Response::ok("x").trailers(forbidden()))
            .route(Method::GET, "/streamed", async |_| {
                Response::ok(streamed()).trailers(forbidden())
            })
            .route(Method::GET, "/switch", async |request: Request| {
                let answer = Response::new(StatusCode::SWITCHING_PROTOCOLS);
                let answer = answer.header("upgrade", "echo").header("x-bad", "a\nb");
                request.upgrade(answer).await.map(|_| ()).map_err(Problem::from)
            })
            .route(Method::GET, "/short", async |_| Response::ok(Body::wrap(Announced(vec![], 1))))
    });
    for (path, misuse, field) in [
        ("/length", Misuse::ContentLength, Some("content-length")),
        ("/coding", Misuse::TransferEncoding, Some("transfer-encoding")),
        ("/value", Misuse::FieldValue, Some("x-bad")),
        ("/name", Misuse::FieldName, None),
        ("/full", Misuse::Trailer, Some("age")),
        ("/streamed", Misuse::Trailer, Some("age")),
        ("/short", Misuse::BodyTooShort, None),
        ("/switch", Misuse::FieldValue, Some("x-bad")),
    ] {
        let client = server.sim.connect();
        let offer = "connection: upgrade\r\nupgrade: echo\r\n";
        client.send(format!("GET {path} HTTP/1.1\r\nhost: x\r\n{offer}\r\n"));
        server.sim.run();
        let told = std::mem::take(&mut *server.notices.lock().unwrap());
        let told: Vec<_> = told
            .into_iter()
            .filter_map(|notice| match notice {
                Notice::Misused { error, field } => Some((error.kind, field)),
                _ => None,
            })
            .collect();
        let field = field.map(HeaderName::from_static);
        assert_eq!(told, [(Kind::Usage(misuse), field)], "{path}");
    }
}

/// Gives these pieces, and announces this length.
struct Announced(Vec<Result<&'static str, &'static str>>, u64);

impl http_body::Body for Announced {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let piece = (!self.0.is_empty()).then(|| self.0.remove(0));
        Poll::Ready(piece.map(|piece| {
            piece.map(|text| Frame::data(Bytes::from_static(text.as_bytes()))).map_err(Into::into)
        }))
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.1)
    }
}

#[test]
fn an_echo_streams_both_ways_at_once() {
    let server = serve(|b, _| b.max_request_size(u64::MAX).route(Method::POST, "/", echo));
    server.client.send("POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n");
    server.sim.run();
    assert!(server.client.received().starts_with("HTTP/1.1 200 OK\r\n"), "the head comes first");
    for piece in ["5\r\nhello\r\n", "6\r\n world\r\n"] {
        assert_eq!(server.ask(piece), piece, "a piece comes back before the next is sent");
    }
    assert_eq!(server.ask("0\r\nx-sum: 1\r\n\r\n"), "0\r\nx-sum: 1\r\n\r\n");
    assert!(
        server.ask("POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 3\r\n\r\nabc").ends_with("abc")
    );

    // More than all buffers hold, with a client that does not read at first.
    let body = vec![b'x'; 4 << 20];
    server.client.window(10);
    server
        .client
        .send(format!("POST / HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n", body.len()));
    server.client.send(&body);
    server.sim.run();
    assert_eq!(server.client.received().len(), 10);
    let mut answer = 0;
    while answer < body.len() {
        server.client.window(100_000);
        server.sim.run();
        let piece = server.client.received_bytes();
        assert!(!piece.is_empty(), "stalled after {answer} bytes");
        answer += piece.len();
    }
    assert!(!server.client.is_ended());
}

#[test]
fn a_stale_body_handle_fails() {
    let kept: Arc<Mutex<Option<Body>>> = Arc::default();
    let keep = Arc::clone(&kept);
    let server = serve(move |b, _| {
        b.route(Method::POST, "/keep", move |request: Request| {
            *keep.lock().unwrap() = Some(request.into_body());
            std::future::ready("kept")
        })
    });
    let answer = server.ask("POST /keep HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\n\r\nab");
    assert!(answer.ends_with("kept"));
    let mut body = kept.lock().unwrap().take().unwrap();
    let error = server.sim.block_on(async move { body.chunk().await }).unwrap_err();
    assert_eq!(*error.kind(), ErrorKind::Gone);
    // The rest of the unread body does not become a request.
    assert!(server.ask(format!("cde{}", get("/nothing"))).starts_with("HTTP/1.1 404 "));
}

#[test]
fn a_body_moves_to_another_task() {
    let server = serve(|b, sim| {
        b.route(Method::POST, "/", move |request: Request| {
            let reading = sim.start(request.bytes());
            let sim = sim.clone();
            async move {
                loop {
                    if let Some(body) = reading.take() {
                        return body.map(|body| format!("{} bytes", body.len()));
                    }
                    sim.sleep_until(sim.now() + Duration::from_millis(1)).await;
                }
            }
        })
    });
    server.client.send("POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 100000\r\n\r\n");
    for _ in 0..10 {
        server.client.send(vec![b'x'; 10_000]);
        server.sim.run();
    }
    server.sim.advance(Duration::from_millis(2));
    assert!(server.client.received().ends_with("100000 bytes"));
}

#[test]
fn continue_is_sent_when_the_body_is_asked_for() {
    let server = serve(|b, sim| {
        b.route(Method::POST, "/", move |mut request: Request| {
            let sim = sim.clone();
            async move {
                sleep(sim, seconds(1)).await;
                request.body_mut().chunk().await.ok().flatten().unwrap_or_default()
            }
        })
        .route(Method::POST, "/no", async |_| StatusCode::FORBIDDEN)
    });
    let head = |path: &str| {
        format!(
            "POST {path} HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\nexpect: 100-continue\r\n\r\n"
        )
    };
    assert_eq!(server.ask(head("/")), "");
    server.sim.advance(seconds(1));
    assert_eq!(server.client.received(), "HTTP/1.1 100 Continue\r\n\r\n");
    assert!(server.ask("ab").ends_with("\r\n\r\nab"));
    let answer = server.ask(head("/no"));
    assert!(
        answer.starts_with("HTTP/1.1 403 ") && answer.contains("connection: close"),
        "{answer}"
    );
}

#[test]
fn a_cut_upload_is_an_error_for_its_reader() {
    let seen: Arc<Mutex<Vec<ErrorKind>>> = Arc::default();
    let sink = Arc::clone(&seen);
    let server = serve(move |b, _| {
        b.route(Method::POST, "/", move |request: Request| {
            let sink = Arc::clone(&sink);
            async move {
                if let Err(error) = request.into_body().collect(100).await {
                    sink.lock().unwrap().push(error.kind().clone());
                }
            }
        })
    });
    server.client.send("POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\nabc");
    server.client.shut();
    server.sim.run();
    let seen = seen.lock().unwrap();
    assert!(
        matches!(seen[..], [ErrorKind::Protocol(error)] if error.kind == Kind::Truncated),
        "{seen:?}"
    );
    assert!(server.client.is_closed());
}

#[test]
fn an_answer_of_the_wrong_length_shows_on_the_wire() {
    for (pieces, length, wanted) in [
        (vec![Ok("abc")], 5, "abc"),
        (vec![Ok("abc"), Ok("def")], 5, "abc"),
        (vec![Ok("abc"), Err("lost")], 5, "abc"),
    ] {
        let server = serve(|b, _| {
            b.route(Method::GET, "/", move |_| {
                std::future::ready(Response::ok(Body::wrap(Announced(pieces.clone(), length))))
            })
        });
        let answer = server.ask(get("/"));
        assert!(answer.contains("content-length: 5") && answer.ends_with(wanted), "{answer}");
        assert!(server.client.is_ended(), "{wanted}");
    }
    let server = serve(|b, _| {
        b.route(Method::GET, "/", |_| async {
            let pieces = [Ok(Bytes::from_static(b"abc")), Err("lost")];
            Response::ok(Body::stream(stream::iter(pieces)))
        })
    });
    let answer = server.ask(get("/"));
    assert!(answer.ends_with("3\r\nabc\r\n"), "no last chunk: {answer}");
    assert!(server.client.is_ended());
}

#[test]
fn trailers_follow_the_body() {
    let server = serve(|b, _| {
        b.route(Method::GET, "/", async |_| {
            let mut trailers = HeaderMap::new();
            trailers.insert("x-sum", HeaderValue::from_static("7"));
            Response::ok("abc").trailers(trailers)
        })
    });
    let answer = server.ask(get("/"));
    assert!(answer.ends_with("\r\n\r\n3\r\nabc\r\n0\r\nx-sum: 7\r\n\r\n"), "{answer}");
}

#[test]
fn nothing_of_an_answer_is_in_the_next_one() {
    let server = serve(|b, _| {
        let with = |path: &str, answer: fn() -> Response| {
            (path.to_owned(), move |_| std::future::ready(answer()))
        };
        [
            with("/bare", || Response::new(StatusCode::OK)),
            with("/fields", || Response::ok("a").header("x-a", "1").header("x-b", "2")),
            with("/status", || Response::new(StatusCode::IM_A_TEAPOT).body("short and stout")),
            with("/stream", || {
                Response::ok(Body::stream(stream::iter([Ok::<_, BoxError>(Bytes::from("a"))])))
            }),
            with("/trailers", || {
                let trailers = [("x-sum".parse().unwrap(), HeaderValue::from_static("7"))];
                Response::ok("abc").trailers(trailers.into_iter().collect())
            }),
            with("/problem", || Problem::new(StatusCode::CONFLICT).detail("taken").into_response()),
            with("/malformed", || Response::ok("a").header("x-a", "1\n2")),
            with("/events", || {
                Sse::new(stream::iter([Ok::<_, BoxError>(SseEvent::data("a"))])).into_response()
            }),
        ]
        .into_iter()
        .fold(b, |b, (path, handler)| b.route(Method::GET, &path, handler))
    });
    let bare = server.ask(get("/bare"));
    assert!(bare.ends_with("content-length: 0\r\n\r\n"), "{bare}");
    for path in ["fields", "status", "stream", "trailers", "problem", "events", "malformed"] {
        let other = server.ask(get(&format!("/{path}")));
        assert_ne!(other, bare, "{path}");
        if path != "malformed" {
            assert_eq!(server.ask(get("/bare")), bare, "after {path}");
        }
    }
}

#[test]
fn a_producer_that_was_stopped_goes_on_when_there_is_room() {
    let server = serve(|b, _| {
        let pieces = || {
            let piece = Bytes::from(vec![b'x'; 50_000]);
            stream::iter((0..40).map(move |_| Ok::<_, BoxError>(piece.clone())))
        };
        b.route(Method::GET, "/", move |_| async move { Response::ok(Body::stream(pieces())) })
    });
    let polls = server.sim.polls();
    let answer = server.ask(get("/"));
    assert!(server.sim.polls() - polls <= 3, "{} wake-ups", server.sim.polls() - polls);
    assert_eq!(answer.matches('x').count(), 2_000_000);
    assert!(answer.ends_with("\r\n0\r\n\r\n"));
}

#[test]
fn an_upload_that_nobody_reads_is_answered_and_not_swallowed() {
    let server = serve(|b, _| {
        b.max_request_size(u64::MAX).route(Method::POST, "/", async |_| StatusCode::FORBIDDEN)
    });
    server.client.send("POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 50000000\r\n\r\n");
    server.client.send(vec![b'x'; 10_000]);
    server.sim.run();
    let answer = server.client.received();
    assert!(
        answer.starts_with("HTTP/1.1 403 ") && answer.contains("connection: close"),
        "{answer}"
    );
    assert!(server.client.is_ended(), "shut");
    assert!(!server.client.is_closed(), "lingers {:?}", server.notices);
    server.client.send(vec![b'x'; 300_000]);
    server.sim.run();
    assert!(server.client.is_closed(), "more than it lingers for");
}

#[test]
fn a_body_that_comes_slowly_is_a_408_but_where_the_route_bears_with_it() {
    let patient = || RouteOptions::new().handler_timeout(sinew_driver::HandlerTimeout::Never);
    let collect = async |request: Request| request.bytes().await;
    let server = serve(|b, _| {
        b.route_with(Method::POST, "/fast", patient(), collect).route_with(
            Method::POST,
            "/slow",
            patient().slow_body(),
            collect,
        )
    });
    for (path, status) in [("/fast", "408"), ("/slow", "200")] {
        let client = server.sim.connect();
        client.send(format!("POST {path} HTTP/1.1\r\nhost: x\r\ncontent-length: 3\r\n\r\n"));
        for _ in 0..3 {
            server.sim.advance(seconds(20));
            client.send("x");
        }
        server.sim.run();
        let answer = client.received();
        assert!(answer.contains(&format!("HTTP/1.1 {status} ")), "{path}: {answer}");
    }
}

#[test]
fn a_stream_that_holds_nothing_goes_on_when_there_is_room() {
    // No stage is reached, so that nobody is woken but for room.
    let memory =
        LedgerConfig { cap: (1 << 20) + 8_192, stages: [100; 6], ..LedgerConfig::default() };
    let server = serve(|builder, _| {
        let endless = async |_: Request| {
            let piece = Bytes::from(vec![b'a'; 16 * 1024]);
            Body::stream(stream::repeat(Ok::<_, std::convert::Infallible>(piece)))
        };
        let finite = async |_: Request| {
            Body::stream(stream::iter([Ok::<_, std::convert::Infallible>(Bytes::from_static(
                b"room",
            ))]))
        };
        builder.memory(memory).route(Method::GET, "/endless", endless).route(
            Method::GET,
            "/finite",
            finite,
        )
    });
    let taken: Vec<_> = (0..64).map(|_| server.sim.connect()).collect();
    for client in &taken {
        client.window(0);
        client.send(get("/endless"));
    }
    server.sim.run();
    assert_eq!(server.handle.memory().used, 1 << 20);
    let answer = server.ask(get("/finite"));
    assert!(answer.starts_with("HTTP/1.1 200") && !answer.contains("room"), "{answer}");
    taken.iter().for_each(crate::support::Client::reset);
    server.sim.run();
    assert!(server.client.received().contains("room"));
}

//! The server in memory: what a connection does over time.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may fail loudly")]

mod support;

use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use http_body::{Frame, SizeHint};
use sinew_core::time::Instant;
use sinew_driver::server::Gone;
use sinew_driver::{
    Body, BoxError, ErrorKind, HandlerTimeout, Notice, Request, Response, RouteOptions, Runtime,
    ServerBuilder, ServerHandle, Sse, SseEvent, Threads,
};
use support::{Client, Sim};

type Builder = ServerBuilder<Sim, Threads>;

struct Running {
    sim: Sim,
    client: Client,
    handle: ServerHandle<Sim>,
    notices: Arc<Mutex<Vec<Notice>>>,
    served: support::Outcome<()>,
}

fn serve(build: impl FnOnce(Builder, Sim) -> Builder) -> Running {
    let sim = Sim::new();
    let notices = Arc::new(Mutex::new(Vec::new()));
    let sink = Arc::clone(&notices);
    let builder = build(sim.server(), sim.clone())
        .observe(move |_, notice| sink.lock().unwrap().push(notice.clone()));
    let server = sim.block_on(builder.bind()).unwrap();
    let handle = server.handle();
    let served = sim.start(server.serve());
    let client = sim.connect();
    Running { sim, client, handle, notices, served }
}

impl Running {
    fn ask(&self, request: impl AsRef<[u8]>) -> String {
        self.client.send(request);
        self.sim.run();
        self.client.received()
    }

    fn noticed(&self, wanted: &Notice) -> bool {
        self.notices.lock().unwrap().contains(wanted)
    }

    fn stop(&self, deadline: Duration) -> support::Outcome<sinew_driver::StopReport> {
        let handle = self.handle.clone();
        let outcome = self.sim.start(async move { handle.stop(deadline).await });
        self.sim.run();
        outcome
    }
}

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n")
}

fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// A handler that waits.
async fn sleep(sim: Sim, time: Duration) -> &'static str {
    sim.sleep_until(sim.now() + time).await;
    "awake"
}

/// A route that waits for so many seconds.
fn sleepy(builder: Builder, sim: Sim) -> Builder {
    builder.route(Method::GET, "/sleep/{s}", move |request: Request| {
        let sim = sim.clone();
        async move { sleep(sim, seconds(request.path().unwrap_or_default())).await }
    })
}

async fn echo(request: Request) -> Response {
    Response::ok(request.into_body())
}

#[test]
fn an_idle_connection_sleeps_and_its_timer_is_armed_lazily() {
    let server = serve(|b, _| b.route(Method::GET, "/", async |_| "x"));
    server.ask(get("/"));
    let (polls, arms) = (server.sim.polls(), server.sim.arms());
    for _ in 0..100 {
        server.sim.advance(Duration::from_millis(10));
        assert!(server.ask(get("/")).ends_with('x'));
    }
    assert_eq!(server.sim.polls() - polls, 100, "one wake-up a request");
    assert!(server.sim.arms() - arms <= 1, "{} timers armed", server.sim.arms() - arms);

    let polls = server.sim.polls();
    server.sim.advance(seconds(74));
    assert!(!server.client.is_ended());
    server.sim.advance(seconds(2));
    assert!(server.client.is_closed(), "idle for 75 s");
    assert!(server.sim.polls() - polls <= 4);
    assert_eq!(server.handle.connections(), 0);
}

#[test]
fn a_panic_is_a_500_and_the_end_of_the_connection() {
    async fn late(_: Request) -> &'static str {
        std::future::ready(()).await;
        panic!("in the handler")
    }
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let server = serve(|b, _| b.route(Method::GET, "/", late));
    let answer = server.ask(get("/"));
    std::panic::set_hook(hook);
    assert!(answer.starts_with("HTTP/1.1 500 "), "{answer}");
    assert!(answer.contains("connection: close") && !answer.contains("handler"), "{answer}");
    assert!(server.noticed(&Notice::Panicked));
    assert!(server.client.is_ended());
}

#[test]
fn a_handler_that_takes_too_long_is_dropped_with_503() {
    let server = serve(|b, sim| {
        let patient = RouteOptions::new().handler_timeout(HandlerTimeout::Never);
        let hasty = RouteOptions::new().handler_timeout(HandlerTimeout::After(seconds(1)));
        let (a, c) = (sim.clone(), sim.clone());
        sleepy(b, sim)
            .route_with(Method::GET, "/patient", patient, move |_| sleep(a.clone(), seconds(100)))
            .route_with(Method::GET, "/hasty", hasty, move |_| sleep(c.clone(), seconds(2)))
    });
    assert_eq!(server.ask(get("/patient")), "");
    server.sim.advance(seconds(101));
    assert!(server.client.received().ends_with("awake"));
    assert_eq!(server.ask(get("/sleep/29")), "");
    server.sim.advance(seconds(30));
    assert!(server.client.received().ends_with("awake"));
    assert_eq!(server.ask(get("/hasty")), "");
    server.sim.advance(seconds(1));
    let answer = server.client.received();
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    server.sim.advance(seconds(3));
    assert_eq!(server.client.received(), "");
    assert!(server.client.is_closed());
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
fn a_flood_does_not_keep_the_worker() {
    let server = serve(|b, _| {
        let endless = || stream::repeat_with(|| Ok::<_, BoxError>(Bytes::from_static(&[0; 1000])));
        b.route(
            Method::GET,
            "/endless",
            move |_| async move { Response::ok(Body::stream(endless())) },
        )
    });
    let other = server.sim.connect();
    server.client.send(get("/endless"));
    other.send(get("/nothing"));
    for _ in 0..6 {
        assert!(server.sim.run_once());
    }
    assert!(other.received().starts_with("HTTP/1.1 404 "), "the other one got its turn");
    assert!(server.client.received_bytes().len() > 100_000);
    server.client.reset();
    server.sim.run();
    assert!(server.client.is_closed());
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
        matches!(seen[..], [ErrorKind::Protocol(error)] if error.kind == sinew_core::error::Kind::Truncated),
        "{seen:?}"
    );
    assert!(server.client.is_closed());
}

#[test]
fn a_client_that_leaves_is_seen_and_a_half_closed_one_is_answered() {
    let left: Arc<Mutex<Vec<Instant>>> = Arc::default();
    let note = Arc::clone(&left);
    let server = serve(move |b, sim| {
        b.route(Method::GET, "/", move |request: Request| {
            let gone: Gone = request.gone();
            let (sim, note) = (sim.clone(), Arc::clone(&note));
            let clock = sim.clone();
            sim.spawn_watch(gone, move || note.lock().unwrap().push(clock.now()));
            sleep(sim, seconds(5))
        })
    });
    assert_eq!(server.ask(get("/")), "");
    server.sim.advance(seconds(1));
    assert!(left.lock().unwrap().is_empty());
    server.client.shut();
    server.sim.run();
    assert_eq!(left.lock().unwrap().len(), 1);
    server.sim.advance(seconds(4));
    assert!(server.client.received().ends_with("awake"));
    assert!(server.client.is_closed());

    // A reset drops the handler.
    let client = server.sim.connect();
    client.send(get("/"));
    server.sim.run();
    client.reset();
    server.sim.run();
    assert!(client.is_closed());
    assert_eq!((left.lock().unwrap().len(), server.handle.connections()), (2, 0));
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
fn a_silent_event_stream_shows_that_it_lives() {
    let server = serve(|b, sim| {
        b.route(Method::GET, "/events", move |_| {
            let sim = sim.clone();
            let events = stream::unfold(0, move |n| {
                let sim = sim.clone();
                async move {
                    sleep(sim, seconds(40)).await;
                    Some((Ok::<_, BoxError>(SseEvent::data(n.to_string()).event("tick")), n + 1))
                }
            });
            std::future::ready(Sse::new(events))
        })
    });
    let head = server.ask(get("/events"));
    assert!(head.contains("text/event-stream") && head.contains("no-cache"), "{head}");
    server.sim.advance(seconds(39));
    assert_eq!(server.client.received(), "3\r\n:\n\n\r\n3\r\n:\n\n\r\n");
    server.sim.advance(seconds(1));
    assert_eq!(server.client.received(), "15\r\nevent: tick\ndata: 0\n\n\r\n");
    server.sim.advance(seconds(39));
    assert_eq!(server.client.received(), "3\r\n:\n\n\r\n3\r\n:\n\n\r\n");
}

#[test]
fn stop_closes_the_idle_drains_the_busy_and_drops_the_rest() {
    let server = serve(sleepy);
    let (busy, stuck) = (server.sim.connect(), server.sim.connect());
    busy.send(get("/sleep/3"));
    stuck.send(get("/sleep/20"));
    server.sim.run();
    assert_eq!(server.handle.connections(), 3);

    let report = server.stop(seconds(10));
    assert!(server.client.is_ended(), "idle: closed at once");
    server.client.shut();
    server.sim.advance(seconds(4));
    let answer = busy.received();
    assert!(answer.contains("connection: close") && answer.ends_with("awake"), "{answer}");
    assert!(busy.is_ended());
    busy.shut();
    server.sim.advance(seconds(5));
    assert_eq!(server.handle.connections(), 1);
    assert!(report.take().is_none() && server.served.take().is_none());
    server.sim.advance(seconds(1));
    let report = report.take().expect("the deadline is over");
    assert_eq!((report.idle, report.drained, report.aborted), (1, 1, 1));
    assert_eq!(report.took, seconds(10));
    assert!(stuck.is_closed() && stuck.received().is_empty());
    assert!(server.served.take().is_some(), "serve() ended");
}

#[test]
fn connections_beyond_the_cap_wait() {
    let server = serve(|b, _| b.max_connections(1).route(Method::GET, "/", async |_| "x"));
    let waiting = server.sim.connect();
    waiting.send(get("/"));
    server.sim.run();
    assert_eq!((waiting.received(), server.handle.connections()), (String::new(), 1));
    server.client.shut();
    server.sim.run();
    assert!(waiting.received().ends_with('x'));
}

#[test]
fn accepting_pauses_when_files_run_out() {
    let server = serve(|b, _| b.route(Method::GET, "/", async |_| "x"));
    server.sim.fail_accept(std::io::ErrorKind::ConnectionAborted);
    server.sim.fail_accept(std::io::ErrorKind::OutOfMemory);
    let client = server.sim.connect();
    client.send(get("/"));
    server.sim.run();
    assert_eq!(client.received(), "", "paused");
    server.sim.advance(Duration::from_millis(10));
    assert!(client.received().ends_with('x'));
    assert!(server.noticed(&Notice::AcceptFailed(std::io::ErrorKind::OutOfMemory)));
}

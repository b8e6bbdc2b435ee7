//! The server in memory: what a connection does over time.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use http::{Method, StatusCode};
use sinew_core::observe;
use sinew_core::server::drain::{DrainConfig, Ending};
use sinew_core::time::Instant;
use sinew_driver::server::Gone;
use sinew_driver::{
    Body, BoxError, HandlerTimeout, Notice, Request, Response, RouteOptions, Runtime, Sse, SseEvent,
};

use crate::support::Sim;
use crate::support::running::{Builder, get, seconds, serve, sleep};

/// A route that waits for so many seconds.
fn sleepy(builder: Builder, sim: Sim) -> Builder {
    builder.route(Method::GET, "/sleep/{s}", move |request: Request| {
        let sim = sim.clone();
        async move { sleep(sim, seconds(request.path().unwrap_or_default())).await }
    })
}

#[test]
fn an_idle_connection_sleeps_and_its_timer_is_armed_lazily() {
    let server = serve(|b, _| b.route(Method::GET, "/", async |_| "x"));
    server.ask(get("/"));
    let (polls, arms, reads) = (server.sim.polls(), server.sim.arms(), server.client.reads());
    for _ in 0..100 {
        server.sim.advance(Duration::from_millis(10));
        assert!(server.ask(get("/")).ends_with('x'));
    }
    assert_eq!(server.sim.polls() - polls, 100, "one wake-up a request");
    assert_eq!(server.client.reads() - reads, 100, "one read a request");
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
    assert_eq!(
        (
            report.count(Ending::Idle),
            report.count(Ending::Finished),
            report.count(Ending::CutRequest)
        ),
        (1, 1, 1)
    );
    assert_eq!(report.totals.took, seconds(10));
    assert!(stuck.is_closed() && stuck.received().is_empty());
    assert!(server.served.take().is_some(), "serve() ended");
}

#[test]
fn a_shutdown_has_the_time_that_the_configuration_gives_it() {
    let server = serve(|mut builder, sim| {
        builder.config_mut().drain = DrainConfig { deadline: seconds(7), ..DrainConfig::default() };
        sleepy(builder, sim)
    });
    server.client.send(get("/sleep/20"));
    server.sim.run();
    let handle = server.handle.clone();
    let report = server.sim.start(async move { handle.drain().await });
    server.sim.advance(seconds(6));
    assert!(report.take().is_none());
    server.sim.advance(seconds(1));
    let report = report.take().expect("the deadline is over");
    assert_eq!((report.count(Ending::CutRequest), report.totals.took), (1, seconds(7)));
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

#[test]
fn decisions_are_told() {
    let server = serve(|b, _| b.route(Method::GET, "/", async |_| "x"));
    server.ask(get("/"));
    server.client.shut();
    server.sim.run();
    let notices = server.notices.lock().unwrap();
    let decided = |wanted: fn(&observe::Event) -> bool| {
        notices.iter().any(|notice| matches!(notice, Notice::Decided(event) if wanted(event)))
    };
    assert!(decided(
        |event| matches!(event, observe::Event::Responded { status, .. } if *status == StatusCode::OK)
    ));
    assert!(decided(|event| matches!(event, observe::Event::Closed(_))));
}

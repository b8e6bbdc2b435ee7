//! The server in memory: how it leaves, phase by phase.

use std::convert::Infallible;
use std::future::{Future as _, poll_fn};
use std::task::Poll;
use std::time::Duration;

use futures_util::{StreamExt as _, stream};
use http::{Method, StatusCode};
use sinew_core::observe::Event;
use sinew_core::server::drain::{DrainConfig, Ending, Phase, TooLate};
use sinew_driver::{
    DrainReport, HandlerTimeout, Notice, Problem, Request, Response, RouteOptions, Runtime as _,
    Sse, SseEvent, StopSignal,
};

use crate::support::running::{Builder, Running, get, seconds, serve, sleep};
use crate::support::{Outcome, Sim};

/// What a request for `/ws` looks like.
const SWITCH: &str = "GET /ws HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\n";

/// A server for all kinds of exchanges, that leaves like a pod.
fn pod() -> Running {
    serve(|mut builder, sim| {
        builder.config_mut().drain = DrainConfig::kubernetes();
        routes(builder, sim)
    })
}

fn routes(builder: Builder, sim: Sim) -> Builder {
    async fn switch(request: Request) -> Result<(), Problem> {
        let away = request.going_away();
        let answer = Response::new(StatusCode::SWITCHING_PROTOCOLS).header("upgrade", "echo");
        let connection = request.upgrade(answer).await?;
        away.await;
        Ok(connection.write("goodbye").await?)
    }
    let endless = async |_: Request| {
        let first = stream::iter([SseEvent::data("first")]);
        Sse::new(first.chain(stream::pending()).map(Ok::<_, Infallible>)).keep_alive(None)
    };
    let polite = async |request: Request| {
        let away = request.going_away();
        let last = stream::once(async move {
            away.await;
            SseEvent::data("goodbye")
        });
        Sse::new(last.boxed().map(Ok::<_, Infallible>)).keep_alive(None)
    };
    let poll = async |request: Request| {
        request.going_away().await;
        "nothing new"
    };
    builder
        .route(Method::GET, "/", async |_: Request| "here")
        .route(Method::GET, "/sleep", move |_: Request| sleep(sim.clone(), seconds(20)))
        .route(Method::GET, "/endless", endless)
        .route(Method::GET, "/polite", polite)
        .route_with(
            Method::GET,
            "/poll",
            RouteOptions::new().handler_timeout(HandlerTimeout::Never),
            poll,
        )
        .route_with(
            Method::GET,
            "/stuck",
            RouteOptions::new().handler_timeout(HandlerTimeout::Never),
            async |_: Request| std::future::pending::<&'static str>().await,
        )
        .route(Method::GET, "/ws", switch)
}

fn drain(server: &Running) -> Outcome<DrainReport> {
    let handle = server.handle.clone();
    let outcome = server.sim.start(async move { handle.drain().await });
    server.sim.run();
    outcome
}

fn phases(server: &Running) -> Vec<Phase> {
    let notices = server.notices.lock().unwrap();
    let phase = |notice: &Notice| match notice {
        Notice::Decided(Event::Drain(phase)) => Some(*phase),
        _ => None,
    };
    notices.iter().filter_map(phase).collect()
}

#[test]
fn a_pod_serves_on_tells_everybody_and_is_gone_in_time() {
    let server = pod();
    let open = |path: &str| {
        let client = server.sim.connect();
        client.send(get(path));
        server.sim.run();
        client
    };
    let (busy, events, polite, poll, stuck) =
        (open("/sleep"), open("/endless"), open("/polite"), open("/poll"), open("/stuck"));
    let session = server.sim.connect();
    session.send(SWITCH);
    server.sim.run();
    assert!(session.received().starts_with("HTTP/1.1 101 "));
    assert!(events.received().ends_with("data: first\n\n\r\n"));
    polite.received();

    let report = drain(&server);
    // LameDuck: as ever, for whoever does not know yet.
    server.sim.advance(Duration::from_millis(4_999));
    assert!(!server.ask(get("/")).contains("connection: close"));
    assert_eq!((server.handle.phase(), events.received()), (Phase::LameDuck, String::new()));
    // Notify: answers say so, also on new connections, and nobody is closed for being idle.
    server.sim.advance(Duration::from_millis(1));
    assert_eq!(server.handle.phase(), Phase::Notify);
    assert!(server.ask(get("/")).contains("connection: close"));
    server.client.shut();
    let late = open("/");
    assert!(late.received().contains("connection: close") && late.is_ended());
    late.shut();
    let idle = server.sim.connect();
    server.sim.advance(seconds(5));
    assert_eq!(server.handle.phase(), Phase::StopAccept);
    // Streams and sessions were told by now, and ended in order.
    for (client, last) in
        [(&events, "0\r\n\r\n"), (&polite, "data: goodbye\n\n\r\n0\r\n\r\n"), (&session, "goodbye")]
    {
        assert!(client.received().ends_with(last), "{last:?}");
        assert!(client.is_ended());
        client.shut();
    }
    assert!(poll.received().ends_with("nothing new"));
    poll.shut();
    // One late request of who was idle; then it is too late.
    assert!(!idle.is_ended());
    idle.send(get("/"));
    server.sim.run();
    assert!(idle.received().contains("connection: close"));
    idle.shut();
    server.sim.advance(seconds(1));
    assert_eq!(server.handle.phase(), Phase::Grace);
    assert_eq!(server.handle.undrain(), Err(TooLate));
    server.sim.advance(seconds(9));
    assert!(busy.received().ends_with("awake"));
    busy.shut();
    // Force.
    server.sim.advance(Duration::from_millis(4_999));
    assert!(report.take().is_none() && !stuck.is_closed());
    server.sim.advance(Duration::from_millis(1));
    assert!(stuck.is_closed() && server.served.take().is_some());
    let report = report.take().unwrap();
    let counts = [Ending::Finished, Ending::Told, Ending::CutRequest].map(|e| report.count(e));
    assert_eq!((counts, report.lost()), ([5, 3, 1], 1), "{report}");
    assert_eq!(report.connections.len(), 9);
    assert_eq!(report.totals.took, seconds(25));
    assert!(report.to_string().starts_with("9 connections in 25s: 5 finished, 3 told"));
    let all = [
        Phase::LameDuck,
        Phase::Notify,
        Phase::StopAccept,
        Phase::Grace,
        Phase::Force,
        Phase::Over,
    ];
    assert_eq!(phases(&server), all);
    assert!(server.noticed(&Notice::Decided(Event::Drained(Ending::CutRequest))));
}

#[test]
fn a_stream_that_the_server_ends_closes_its_connection() {
    let server = pod();
    server.client.send(get("/endless"));
    let report = drain(&server);
    server.sim.advance(seconds(5));
    assert_eq!(server.handle.phase(), Phase::Notify);
    let tenth = Duration::from_millis(100);
    let ended = (0..50).find(|_| {
        server.sim.advance(tenth);
        server.client.received().ends_with("0\r\n\r\n")
    });
    assert!(ended.is_some_and(|tenths| tenths < 50), "within the phase");
    assert!(server.client.is_ended(), "in the same breath");
    server.client.shut();
    server.sim.run();
    assert_eq!(server.handle.connections(), 0);
    server.sim.advance(seconds(10));
    assert_eq!(report.take().unwrap().count(Ending::Told), 1);
}

#[test]
fn it_can_be_taken_back_until_the_listeners_close() {
    let server = pod();
    let report = drain(&server);
    server.sim.advance(seconds(9));
    assert_eq!(server.handle.phase(), Phase::Notify);
    assert_eq!(server.handle.undrain(), Ok(()));
    server.sim.advance(seconds(60));
    assert_eq!(server.handle.phase(), Phase::Serving);
    let client = server.sim.connect();
    client.send(get("/"));
    server.sim.run();
    assert!(!client.received().contains("connection: close"));
    assert!(report.take().is_none());
    // And then it leaves after all.
    server.handle.advance(Phase::Notify);
    server.sim.advance(seconds(7));
    assert_eq!(report.take().unwrap().count(Ending::Idle), 1);
    assert!(client.is_ended() && server.served.take().is_some());
}

#[test]
fn what_it_is_told_holds_at_once() {
    let server = pod();
    // Its task did not run in between.
    server.handle.advance(Phase::LameDuck);
    assert_eq!(server.handle.phase(), Phase::LameDuck);
    assert_eq!(server.handle.undrain(), Ok(()));
    assert_eq!(server.handle.phase(), Phase::Serving);
}

#[test]
fn force_is_at_once() {
    let server = pod();
    server.client.send(get("/stuck"));
    let report = drain(&server);
    server.handle.advance(Phase::Force);
    server.sim.run();
    let report = report.take().expect("nothing is left");
    assert_eq!((report.count(Ending::CutRequest), report.totals.took), (1, Duration::ZERO));
    assert!(server.client.is_closed());
}

/// It leaves on these signals, each so many seconds behind the one before.
fn signalled(server: &Running, signals: &[(u64, StopSignal)]) -> Outcome<DrainReport> {
    let (handle, sim) = (server.handle.clone(), server.sim.clone());
    let signals = stream::iter(signals.to_vec()).then(move |(after, signal)| {
        let sleep = sim.sleep_until(sim.now() + seconds(after));
        async move {
            sleep.await;
            signal
        }
    });
    let outcome = server.sim.start(async move { handle.drain_on(signals).await });
    server.sim.run();
    outcome
}

#[test]
fn a_first_signal_drains_and_a_second_one_forces() {
    for second in [StopSignal::Terminate, StopSignal::Interrupt] {
        let server = pod();
        server.client.send(get("/stuck"));
        let report = signalled(&server, &[(1, StopSignal::Terminate), (3, second)]);
        assert_eq!(server.handle.phase(), Phase::Serving);
        server.sim.advance(seconds(3));
        assert_eq!(
            (server.handle.phase(), phases(&server)),
            (Phase::LameDuck, vec![Phase::LameDuck])
        );
        server.sim.advance(seconds(1));
        let report = report.take().expect("nothing is left");
        assert_eq!((report.count(Ending::CutRequest), report.totals.took), (1, seconds(3)));
        assert!(server.client.is_closed() && server.served.take().is_some());
    }
}

#[test]
fn at_ctrl_c_nobody_waits_until_everybody_knows() {
    let server = pod();
    let report = signalled(&server, &[(0, StopSignal::Interrupt)]);
    server.sim.advance(Duration::ZERO);
    assert_eq!(phases(&server), [Phase::Notify]);
    // No more signals come, and none is needed.
    server.sim.advance(seconds(10));
    assert_eq!(report.take().unwrap().count(Ending::Idle), 1);
}

#[test]
fn what_waits_in_the_listener_is_let_in_when_it_closes() {
    let server = serve(|builder, sim| routes(builder.max_connections(1), sim));
    let waiting = server.sim.connect();
    waiting.send(get("/"));
    server.sim.run();
    assert_eq!(waiting.received(), "");
    server.handle.advance(Phase::Notify);
    server.client.shut();
    server.sim.run();
    assert!(waiting.received().contains("connection: close"));
}

#[test]
fn who_waits_for_the_farewell_is_told_that_the_exchange_is_over() {
    let server = serve(|builder, sim| {
        builder.route(Method::GET, "/", move |request: Request| {
            let sim = sim.clone();
            async move {
                let mut away = Box::pin(request.going_away());
                let polled = poll_fn(|cx| Poll::Ready(away.as_mut().poll(cx))).await;
                drop(sim.start(away));
                if polled.is_ready() { "ready" } else { "pending" }
            }
        })
    });
    let tasks = server.sim.tasks();
    for _ in 0..2 {
        assert!(server.ask(get("/")).ends_with("pending"));
        assert_eq!(server.sim.tasks(), tasks);
    }
}

#[test]
fn a_server_that_serves_no_more_leaves_all_the_same() {
    let sim = Sim::new();
    let server = sim.block_on(routes(sim.server(), sim.clone()).bind()).unwrap();
    let handle = server.handle();
    drop(server);
    let report = sim.start(async move { handle.drain().await });
    sim.run();
    assert_eq!(report.take().unwrap().totals.total(), 0);
}

#[test]
fn times_that_make_no_sense_are_refused() {
    let sim = Sim::new();
    let mut builder = routes(sim.server(), sim.clone());
    builder.config_mut().drain.force = Duration::ZERO;
    let refused = sim.block_on(builder.bind()).unwrap_err().to_string();
    assert!(refused.contains("drain"), "{refused}");
}

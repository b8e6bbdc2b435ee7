//! The server in memory: what becomes of a handler whose client goes away.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::{Method, StatusCode};
use sinew_core::server::drain::Ending;
use sinew_driver::{
    Cancellation, HandlerTimeout, Notice, Problem, Request, Response, RouteOptions,
};

use crate::support::running::{Running, get, seconds, serve, sleep};

/// What handlers say as they go.
type Diary = Arc<Mutex<Vec<&'static str>>>;

fn read(diary: &Diary) -> Vec<&'static str> {
    std::mem::take(&mut diary.lock().unwrap())
}

/// Says when it is dropped.
struct Dropped(Diary);

impl Drop for Dropped {
    fn drop(&mut self) {
        self.0.lock().unwrap().push("dropped");
    }
}

/// A handler that takes ten seconds, under this policy.
fn slow(options: RouteOptions) -> (Running, Diary) {
    let diary = Diary::default();
    let note = Arc::clone(&diary);
    let server = serve(move |builder, sim| {
        builder.route_with(Method::GET, "/", options, move |_| {
            let (sim, note) = (sim.clone(), Arc::clone(&note));
            async move {
                let guard = Dropped(Arc::clone(&note));
                sleep(sim, seconds(10)).await;
                note.lock().unwrap().push("done");
                std::mem::forget(guard);
            }
        })
    });
    assert_eq!(server.ask(get("/")), "");
    (server, diary)
}

fn policy(policy: Cancellation) -> RouteOptions {
    RouteOptions::new().cancellation(policy)
}

#[test]
fn by_default_a_handler_is_dropped_when_its_client_is_lost_beyond_doubt() {
    for options in [RouteOptions::new(), policy(Cancellation::WhenLost)] {
        let (server, diary) = slow(options.clone());
        server.client.reset();
        server.sim.run();
        assert_eq!(read(&diary), ["dropped"]);
        assert_eq!(server.handle.connections(), 0);

        let (server, diary) = slow(options);
        server.client.shut();
        server.sim.advance(seconds(10));
        assert_eq!(read(&diary), ["done"]);
        assert!(server.client.received().starts_with("HTTP/1.1 204 "));
    }
}

#[test]
fn cancel_drops_the_handler_at_the_end_of_the_stream() {
    let (server, diary) = slow(policy(Cancellation::Cancel));
    server.client.shut();
    server.sim.run();
    assert_eq!(read(&diary), ["dropped"]);
    assert!(server.client.is_closed());
    assert_eq!((server.client.received().as_str(), server.handle.connections()), ("", 0));

    // Who has the answer at once answers, also to a request that came with the end.
    let at_once = policy(Cancellation::Cancel);
    let server = serve(|b, _| b.route_with(Method::GET, "/", at_once, async |_| "at once"));
    server.client.slip(get("/"));
    server.client.shut();
    server.sim.run();
    assert!(server.client.received().ends_with("at once"));
}

#[test]
fn finish_lets_the_handler_go_on_and_drops_its_answer() {
    for policy in [Cancellation::Finish, Cancellation::FinishWithin(seconds(11))] {
        let (server, diary) = slow(RouteOptions::new().cancellation(policy));
        server.client.reset();
        server.sim.advance(seconds(9));
        assert_eq!(read(&diary), [] as [&str; 0], "{policy:?}");
        assert_eq!(server.handle.connections(), 1, "it keeps its place");
        server.sim.advance(seconds(1));
        assert_eq!(read(&diary), ["done"], "{policy:?}");
        assert_eq!((server.client.received().as_str(), server.handle.connections()), ("", 0));
    }
}

#[test]
fn finish_within_a_time_counts_from_the_loss() {
    let (server, diary) = slow(policy(Cancellation::FinishWithin(seconds(3))));
    server.sim.advance(seconds(5));
    server.client.reset();
    server.sim.advance(Duration::from_millis(2999));
    assert_eq!(read(&diary), [] as [&str; 0]);
    server.sim.advance(Duration::from_millis(1));
    assert_eq!(read(&diary), ["dropped"]);
    assert_eq!(server.handle.connections(), 0);
}

#[test]
fn the_handler_timeout_holds_without_a_client_too() {
    let hasty = HandlerTimeout::After(seconds(4));
    let (server, diary) = slow(policy(Cancellation::Finish).handler_timeout(hasty));
    server.client.reset();
    server.sim.advance(Duration::from_millis(3999));
    assert_eq!(read(&diary), [] as [&str; 0]);
    server.sim.advance(Duration::from_millis(1));
    assert_eq!(read(&diary), ["dropped"]);

    let patient = policy(Cancellation::Finish).handler_timeout(HandlerTimeout::Never);
    let server = serve(|b, sim| {
        b.route_with(Method::GET, "/", patient, move |_| sleep(sim.clone(), seconds(1000)))
    });
    server.ask(get("/"));
    server.client.reset();
    server.sim.advance(seconds(999));
    assert_eq!(server.handle.connections(), 1);
    server.sim.advance(seconds(1));
    assert_eq!(server.handle.connections(), 0);
}

#[test]
fn a_stop_counts_what_was_finished_and_waits_for_nobody_beyond_its_deadline() {
    let (server, diary) = slow(policy(Cancellation::Finish));
    server.client.reset();
    let report = server.stop(seconds(20));
    server.sim.advance(seconds(10));
    let report = report.take().unwrap();
    assert_eq!(
        (
            report.count(Ending::Idle),
            report.count(Ending::Finished),
            report.count(Ending::Orphaned),
            report.count(Ending::CutRequest)
        ),
        (0, 0, 1, 0)
    );
    assert_eq!((report.totals.took, read(&diary)), (seconds(10), vec!["done"]));

    let (server, diary) = slow(policy(Cancellation::Finish));
    server.client.reset();
    let report = server.stop(seconds(2));
    server.sim.advance(seconds(2));
    let report = report.take().unwrap();
    assert_eq!(
        (
            report.count(Ending::Idle),
            report.count(Ending::Finished),
            report.count(Ending::Orphaned),
            report.count(Ending::CutRequest)
        ),
        (0, 0, 0, 1)
    );
    assert_eq!((report.totals.took, read(&diary)), (seconds(2), vec!["dropped"]));
}

/// A handler that waits a second, then reads its body.
fn reader(diary: &Diary) -> Running {
    let note = Arc::clone(diary);
    serve(move |builder, sim| {
        let finish = policy(Cancellation::Finish);
        builder.route_with(Method::POST, "/", finish, move |request: Request| {
            let (sim, note) = (sim.clone(), Arc::clone(&note));
            async move {
                sleep(sim, seconds(1)).await;
                let read = request.bytes().await;
                note.lock().unwrap().push(if read.is_ok() { "read" } else { "cut" });
                read.map(drop)
            }
        })
    })
}

#[test]
fn what_came_of_the_body_can_still_be_read() {
    const HEAD: &str = "POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 4\r\n\r\n";
    let diary = Diary::default();
    let server = reader(&diary);
    for (body, seen) in [("body", "read"), ("bo", "cut")] {
        let client = server.sim.connect();
        client.send(format!("{HEAD}{body}"));
        server.sim.run();
        client.reset();
        server.sim.advance(seconds(1));
        assert_eq!(read(&diary), [seen]);
        // A stream that ends in the middle of the body is as good as a failed one.
        let client = server.sim.connect();
        client.send(format!("{HEAD}{body}"));
        client.shut();
        server.sim.advance(seconds(1));
        assert_eq!(read(&diary), [seen]);
    }
    assert_eq!(server.handle.connections(), 1, "the first client, which asks nothing");
}

#[test]
fn a_handler_that_panics_or_wants_the_connection_without_a_client_ends() {
    async fn panics(sim: crate::support::Sim) -> StatusCode {
        sleep(sim, seconds(1)).await;
        panic!("on purpose")
    }
    async fn switch(sim: crate::support::Sim, request: Request) -> Result<(), Problem> {
        sleep(sim, seconds(1)).await;
        let answer = Response::new(StatusCode::SWITCHING_PROTOCOLS).header("upgrade", "echo");
        request.upgrade(answer).await.map(drop).map_err(Problem::from)
    }
    let finish = || policy(Cancellation::Finish).handler_timeout(HandlerTimeout::Never);
    let server = serve(|b, sim| {
        let (a, c) = (sim.clone(), sim);
        b.route_with(Method::GET, "/panic", finish(), move |_| panics(a.clone())).route_with(
            Method::GET,
            "/switch",
            finish(),
            move |request| switch(c.clone(), request),
        )
    });
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    for path in ["/panic", "/switch"] {
        let client = server.sim.connect();
        client.send(format!(
            "GET {path} HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\n"
        ));
        server.sim.run();
        client.reset();
        server.sim.advance(seconds(2));
        assert_eq!(server.handle.connections(), 1, "{path}");
    }
    std::panic::set_hook(hook);
    assert!(server.noticed(&Notice::Panicked));
}

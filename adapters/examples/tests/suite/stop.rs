//! Stopping: running calls are finished, idle connections closed, what is left dropped.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::{join, join_all};
use futures_util::{StreamExt, stream};
use http::Method;
use sinew_core::server::drain::{DrainConfig, Ending, Phase, TooLate};
use sinew_driver::{Body, Request, Response, Sse, SseEvent};
use tokio::sync::Semaphore;

use super::site::{Site, client_of, ended};
use super::{each, pause, run, status_of};
use crate::rt;

/// Handlers that say that they were entered, and wait to be let go.
#[derive(Clone)]
pub(crate) struct Gate {
    entered: Arc<Semaphore>,
    pub(crate) released: Arc<Semaphore>,
}

impl Gate {
    pub(crate) fn closed() -> Self {
        Self { entered: Arc::new(Semaphore::new(0)), released: Arc::new(Semaphore::new(0)) }
    }

    pub(crate) fn enter(&self) {
        self.entered.add_permits(1);
    }

    pub(crate) async fn pass(&self) {
        self.enter();
        let _ = self.released.acquire().await;
    }

    pub(crate) async fn entered(&self, handlers: u32) {
        self.entered.acquire_many(handlers).await.unwrap().forget();
    }
}

async fn gated(security: super::site::Security) -> (Site, Gate) {
    let gate = Gate::closed();
    let at_gate = gate.clone();
    let mut builder = rt::RestServer::builder().listen("127.0.0.1:0").route(
        Method::GET,
        "/gate",
        move |_: Request| {
            let gate = at_gate.clone();
            async move {
                gate.pass().await;
                "through"
            }
        },
    );
    // Nobody is told for 5 s.
    builder.config_mut().drain = DrainConfig::kubernetes();
    (Site::run(security, builder).await, gate)
}

#[test]
fn calls_in_flight_are_answered() {
    each(async |security| {
        let (site, gate) = gated(security).await;
        let client = client_of(&site);
        let calls = join_all((0..3).map(|_| {
            let call = client.get("/gate").send();
            async move {
                let response = call.await.unwrap();
                assert_eq!(response.header("connection").unwrap(), "close");
                response.text().await.unwrap()
            }
        }));
        let stop = async {
            gate.entered(3).await;
            let release = async {
                site.handle.stopping().await;
                // Nobody new gets in.
                assert!(client_of(&site).get("/gate").send().await.is_err());
                gate.released.add_permits(3);
            };
            join(site.stop(), release).await.0
        };
        let (answers, report) = join(calls, stop).await;
        assert_eq!(answers, ["through"; 3]);
        assert_eq!(ended(&report), (0, 3, 0));
        assert_eq!(site.handle.connections(), 0);
    });
}

#[test]
fn idle_connections_are_closed_at_once() {
    each(async |security| {
        let site = Site::start(security).await;
        let clients: Vec<_> = (0..5).map(|_| client_of(&site)).collect();
        for client in &clients {
            assert_eq!(status_of(client.get("/text")).await, 200);
        }
        assert_eq!(site.handle.connections(), 5);
        let report = site.stop().await;
        assert_eq!(ended(&report), (5, 0, 0));
        assert!(report.totals.took < Duration::from_secs(5), "{report:?}");
        assert!(clients[0].get("/text").send().await.is_err());
    });
}

#[test]
fn what_is_left_at_the_deadline_is_dropped() {
    each(async |security| {
        let (site, gate) = gated(security).await;
        let client = client_of(&site);
        let stop = async {
            gate.entered(1).await;
            site.handle.stop(Duration::from_millis(50)).await
        };
        let (answer, report) = join(client.get("/gate").send(), stop).await;
        assert!(answer.is_err());
        assert_eq!(ended(&report), (0, 0, 1));
    });
}

/// Answers without end: one that ends when it is told, one that lets the server end it, one that neither
/// knows how to end.
async fn endless(security: super::site::Security) -> Site {
    let told = async |request: Request| {
        let away = Box::pin(request.going_away());
        let events = stream::iter([SseEvent::data("first")]).chain(stream::pending());
        let events = events.take_until(away).chain(stream::iter([SseEvent::data("last")]));
        Sse::new(events.map(Ok::<_, Infallible>))
    };
    let events = async |_: Request| {
        let events = stream::iter([SseEvent::data("first")]).chain(stream::pending());
        Sse::new(events.map(Ok::<_, Infallible>))
    };
    let bytes = async |_: Request| {
        let pieces = stream::iter(["data: first\n\n"]).chain(stream::pending());
        Response::ok(Body::stream(pieces.map(|piece| Ok::<_, Infallible>(Bytes::from(piece)))))
    };
    let builder = rt::RestServer::builder()
        .listen("127.0.0.1:0")
        .route(Method::GET, "/told", told)
        .route(Method::GET, "/events", events)
        .route(Method::GET, "/bytes", bytes);
    Site::run(security, builder).await
}

#[test]
fn an_endless_answer_ends_with_the_server() {
    each(async |security| {
        let site = endless(security).await;
        let mut told = client_of(&site).get("/told").send().await.unwrap();
        let mut events = client_of(&site).get("/events").send().await.unwrap();
        for response in [&mut told, &mut events] {
            assert_eq!(response.chunk().await.unwrap().unwrap(), "data: first\n\n");
        }
        let read = async {
            assert_eq!(told.chunk().await.unwrap().unwrap(), "data: last\n\n");
            // Whole: they ended as they should.
            assert_eq!(told.chunk().await.unwrap(), None);
            assert_eq!(events.chunk().await.unwrap(), None);
        };
        let (report, ()) = join(site.handle.drain(), read).await;
        assert_eq!(report.count(Ending::Told), 2, "{report}");
        assert_eq!(ended(&report), (0, 2, 0));
    });
}

#[test]
fn an_endless_answer_that_does_not_end_is_cut_and_looks_cut() {
    each(async |security| {
        let site = endless(security).await;
        let mut response = client_of(&site).get("/bytes").send().await.unwrap();
        assert_eq!(response.chunk().await.unwrap().unwrap(), "data: first\n\n");
        let stop = site.handle.stop(Duration::from_millis(20));
        let (report, end) = join(stop, response.chunk()).await;
        assert!(end.is_err(), "{end:?}");
        assert_eq!(ended(&report), (0, 0, 1));
    });
}

#[test]
fn a_server_that_is_taken_back_serves_on() {
    each(async |security| {
        let (site, gate) = gated(security).await;
        let client = client_of(&site);
        let call = async {
            let response = client.get("/gate").send().await.unwrap();
            assert!(response.header("connection").is_none());
            response.text().await.unwrap()
        };
        let back = async {
            gate.entered(1).await;
            site.handle.advance(Phase::LameDuck);
            // Nobody was told yet, and who waits for the end goes on waiting.
            site.handle.undrain().unwrap();
            gate.released.add_permits(1);
        };
        assert_eq!(join(call, back).await.0, "through");
        // Its own task goes from phase to phase, when it has its turn.
        while site.handle.phase() != Phase::Serving {
            pause().await;
        }
        site.handle.advance(Phase::Force);
        assert_eq!(site.handle.undrain(), Err(TooLate));
        site.handle.drained().await;
    });
}

#[test]
fn a_stopped_server_ends_its_future() {
    run(async {
        let builder = rt::RestServer::builder().listen("127.0.0.1:0").allow_plaintext();
        let server = builder.bind().await.unwrap();
        let handle = server.handle();
        let (report, ()) = join(handle.stop(Duration::from_secs(1)), server.serve()).await;
        assert_eq!(ended(&report), (0, 0, 0));
    });
}

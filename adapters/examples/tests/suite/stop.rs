//! Stopping: running calls are finished, idle connections closed, what is left dropped.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::{join, join_all};
use futures_util::{StreamExt, stream};
use http::Method;
use sinew_driver::{Request, ServerHandle, Sse, SseEvent};
use tokio::sync::Semaphore;

use super::site::{Site, client_of};
use super::{each, run, status_of};
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
    let builder = rt::RestServer::builder().listen("127.0.0.1:0").route(
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
        assert_eq!((report.idle, report.drained, report.aborted), (0, 3, 0));
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
        assert_eq!((report.idle, report.drained, report.aborted), (5, 0, 0));
        assert!(report.took < Duration::from_secs(5), "{report:?}");
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
        assert_eq!((report.idle, report.drained, report.aborted), (0, 0, 1));
    });
}

/// An answer without end, unless it is told to stop.
async fn endless(security: super::site::Security, listens: bool) -> Site {
    let slot: Arc<Mutex<Option<ServerHandle<rt::Runtime>>>> = Arc::default();
    let handles = Arc::clone(&slot);
    let builder = rt::RestServer::builder().listen("127.0.0.1:0").route(
        Method::GET,
        "/events",
        move |_: Request| {
            let handle = handles.lock().unwrap().clone().filter(|_| listens);
            let over = async move {
                match handle {
                    Some(handle) => handle.stopping().await,
                    None => std::future::pending().await,
                }
            };
            let first = stream::iter([SseEvent::data("first")]);
            let events = first.chain(stream::pending()).take_until(Box::pin(over));
            std::future::ready(Sse::new(events.map(Ok::<_, Infallible>)))
        },
    );
    let site = Site::run(security, builder).await;
    *slot.lock().unwrap() = Some(site.handle.clone());
    site
}

#[test]
fn an_endless_answer_can_end_with_the_server() {
    each(async |security| {
        let site = endless(security, true).await;
        let mut response = client_of(&site).get("/events").send().await.unwrap();
        assert_eq!(response.chunk().await.unwrap().unwrap(), "data: first\n\n");
        let (report, end) = join(site.stop(), response.chunk()).await;
        assert_eq!(end.unwrap(), None, "whole: it ended as it should");
        assert_eq!((report.idle, report.drained, report.aborted), (0, 1, 0));
    });
}

#[test]
fn an_endless_answer_that_does_not_end_is_cut_and_looks_cut() {
    each(async |security| {
        let site = endless(security, false).await;
        let mut response = client_of(&site).get("/events").send().await.unwrap();
        assert_eq!(response.chunk().await.unwrap().unwrap(), "data: first\n\n");
        let stop = site.handle.stop(Duration::from_millis(20));
        let (report, end) = join(stop, response.chunk()).await;
        assert!(end.is_err(), "{end:?}");
        assert_eq!((report.idle, report.drained, report.aborted), (0, 0, 1));
    });
}

#[test]
fn a_stopped_server_ends_its_future() {
    run(async {
        let builder = rt::RestServer::builder().listen("127.0.0.1:0").allow_plaintext();
        let server = builder.bind().await.unwrap();
        let handle = server.handle();
        let (report, ()) = join(handle.stop(Duration::from_secs(1)), server.serve()).await;
        assert_eq!((report.idle, report.drained, report.aborted), (0, 0, 0));
    });
}

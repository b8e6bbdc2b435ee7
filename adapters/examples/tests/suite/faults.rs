//! What goes wrong on the way: answers and calls that are dropped, handlers that fail, peers that
//! go away.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use http::Method;
use sinew_core::error::Delivery;
use sinew_driver::{Body, ErrorKind, Request, Spawn};
use tokio::sync::oneshot;

use super::site::{Security, Site, client_of, client_to, config};
use super::{both, each, run, status_of};
use crate::rt;

/// Sends a word when it is dropped.
pub(super) struct Tell(Option<oneshot::Sender<()>>);

impl Drop for Tell {
    fn drop(&mut self) {
        if let Some(tell) = self.0.take() {
            let _ = tell.send(());
        }
    }
}

/// A `Tell` that a handler, which may be called again, takes at its first call.
pub(super) fn once() -> (Arc<Mutex<Option<Tell>>>, oneshot::Receiver<()>) {
    let (tell, told) = oneshot::channel();
    (Arc::new(Mutex::new(Some(Tell(Some(tell))))), told)
}

/// Bytes without end, until somebody drops them.
struct Endless {
    _tell: Option<Tell>,
}

impl Stream for Endless {
    type Item = Result<Bytes, Infallible>;

    fn poll_next(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Poll::Ready(Some(Ok(Bytes::from_static(&[7; 16 * 1024]))))
    }
}

#[test]
fn an_answer_dropped_half_way_is_seen_by_the_server_and_spoils_nothing() {
    each(async |security| {
        let (tell, dropped) = once();
        let builder = super::app::routes(rt::RestServer::builder().listen("127.0.0.1:0"));
        let builder = builder.route(Method::GET, "/endless", move |_: Request| {
            let tell = tell.lock().unwrap().take();
            async move { Body::stream(Endless { _tell: tell }) }
        });
        let site = Site::run(security, builder).await;
        let client = client_of(&site);
        let mut response = client.get("/endless").send().await.unwrap();
        assert!(response.chunk().await.unwrap().is_some());
        drop(response);
        // The server's producer goes, and the next call does not read the rest of that answer.
        dropped.await.unwrap();
        assert_eq!(client.get("/text").send().await.unwrap().text().await.unwrap(), "plain words");
    });
}

#[test]
fn a_panic_is_a_500_and_takes_nobody_along() {
    both(async |_, client| {
        for _ in 0..3 {
            let response = client.get("/panic").send().await.unwrap();
            assert_eq!(response.status(), 500);
            assert_eq!(response.header("content-type").unwrap(), "application/problem+json");
            assert!(!response.text().await.unwrap().contains("purpose"));
        }
        assert_eq!(status_of(client.get("/text")).await, 200);
    });
}

#[test]
fn a_handler_over_its_time_is_a_503() {
    both(async |_, client| {
        assert_eq!(status_of(client.get("/never")).await, 503);
        assert_eq!(status_of(client.get("/text")).await, 200);
    });
}

#[test]
fn an_answer_that_breaks_off_is_an_error() {
    each(async |security| {
        let builder = rt::RestServer::builder().listen("127.0.0.1:0").route(
            Method::GET,
            "/breaks",
            async |_: Request| {
                let pieces = [Ok(Bytes::from_static(b"half")), Err("the disk is on fire")];
                Body::stream(stream::iter(pieces))
            },
        );
        let site = Site::run(security, builder).await;
        let mut response = client_of(&site).get("/breaks").send().await.unwrap();
        assert_eq!(response.status(), 200);
        let error = loop {
            match response.chunk().await {
                Ok(Some(piece)) => assert_eq!(piece, "half"),
                Ok(None) => panic!("a cut answer looks complete"),
                Err(error) => break error,
            }
        };
        assert!(!error.to_string().contains("fire"));
    });
}

#[test]
fn a_call_over_its_time_is_a_timeout() {
    each(async |security| {
        let builder = rt::RestServer::builder().listen("127.0.0.1:0").route(
            Method::GET,
            "/waits",
            async |request: Request| request.gone().await,
        );
        let site = Site::run(security, builder).await;
        // The time of a call that comes no further than the handshake on a busy machine is over, too.
        loop {
            let call = client_of(&site).get("/waits").timeout(Duration::from_millis(50));
            let error = call.send().await.unwrap_err();
            assert!(error.is_timeout(), "{error:?}");
            if error.delivery() == Delivery::MaybeProcessed {
                break;
            }
        }
    });
}

#[test]
fn a_refused_connection_was_not_sent() {
    run(async {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        drop(listener);
        let error = client_to(&url).get("/").send().await.unwrap_err();
        assert_eq!(*error.kind(), ErrorKind::Connect(std::io::ErrorKind::ConnectionRefused));
        assert_eq!(error.delivery(), Delivery::NotSent);
    });
}

#[test]
fn a_kept_connection_that_the_server_closed_is_not_used_again() {
    each(async |security| {
        let short = config(|config| config.idle_timeout = Duration::from_millis(20));
        let site = Site::with(security, short).await;
        let client = client_of(&site);
        for _ in 0..5 {
            assert_eq!(status_of(client.get("/text")).await, 200);
            // The server has closed it, and the client has seen that.
            while site.handle.connections() > 0 || client.connections() > 0 {
                super::pause().await;
            }
        }
    });
}

#[test]
fn a_request_body_that_fails_reaches_the_handler_as_a_failure() {
    each(async |security| {
        let (tell, told) = oneshot::channel();
        let tell = Arc::new(Mutex::new(Some(tell)));
        let (enter, entered) = once();
        let builder = rt::RestServer::builder().listen("127.0.0.1:0").route(
            Method::PUT,
            "/collect",
            move |request: Request| {
                let tell = tell.lock().unwrap().take();
                drop(enter.lock().unwrap().take());
                async move {
                    let read = request.into_body().collect(1 << 20).await.map(|bytes| bytes.len());
                    let _ = tell.map(|tell| tell.send(read.map_err(|error| error.to_string())));
                }
            },
        );
        let site = Site::run(security, builder).await;
        // The failure comes when the handler is at work: before that nothing need be sent at all.
        let half = stream::iter([Ok(Bytes::from_static(b"half"))]);
        let failure = stream::once(async move {
            entered.await.unwrap();
            Err("no more")
        });
        let body = Body::stream(half.chain(failure));
        let error = client_of(&site).put("/collect").body(body).send().await.unwrap_err();
        assert_eq!(*error.kind(), ErrorKind::Body);
        assert!(told.await.unwrap().is_err(), "half a body looks complete");
    });
}

#[test]
fn a_client_works_from_many_tasks() {
    run(async {
        let site = Site::start(Security::Plain).await;
        let client = client_of(&site);
        let (tell, mut told) = tokio::sync::mpsc::channel(8);
        for _ in 0..8 {
            let (client, tell) = (client.clone(), tell.clone());
            rt::Runtime::default().spawn(async move {
                for _ in 0..20 {
                    let status = client.get("/text").send().await.unwrap().status();
                    tell.send(status).await.unwrap();
                }
            });
        }
        drop(tell);
        let mut answers = 0;
        while let Some(status) = told.recv().await {
            assert_eq!(status, 200);
            answers += 1;
        }
        assert_eq!(answers, 160);
        assert!(site.handle.connections() <= 8);
    });
}

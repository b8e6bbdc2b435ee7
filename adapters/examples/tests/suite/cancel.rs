//! Clients that go away while their handler is at work, over real sockets.

use std::sync::Arc;
use std::time::Duration;

use http::Method;
use sinew_core::server::drain::Ending;
use sinew_driver::{Cancellation, HandlerTimeout, Request, RouteOptions};

use super::raw::{Raw, blocking, raw};
use super::site::{Security, Site};
use super::stop::Gate;
use super::{each, pause};
use crate::rt;

/// A server whose handlers wait for the end of their client and then at a gate, with a token each;
/// and the token.
async fn gated(security: Security, policy: Cancellation) -> (Site, Gate, Arc<()>) {
    let (gate, token) = (Gate::closed(), Arc::new(()));
    let (at_gate, held) = (gate.clone(), Arc::clone(&token));
    let options = RouteOptions::new().cancellation(policy).handler_timeout(HandlerTimeout::Never);
    let builder = rt::RestServer::builder()
        .listen("127.0.0.1:0")
        .route(Method::GET, "/at-once", async |_: Request| "at once")
        .route_with(Method::GET, "/gate", options, move |request: Request| {
            let (gate, token) = (at_gate.clone(), Arc::clone(&held));
            async move {
                gate.enter();
                request.gone().await;
                gate.pass().await;
                drop(token);
            }
        });
    (Site::run(security, builder).await, gate, token)
}

/// Asks, and leaves when the handler is at work: with a reset, or with an end of stream.
async fn ask_and_leave(site: &Site, gate: &Gate, reset: bool) {
    let mut socket = raw(site, |mut socket: Raw| {
        socket
            .send("GET /at-once HTTP/1.1\r\nhost: a\r\n\r\nGET /gate HTTP/1.1\r\nhost: a\r\n\r\n");
        socket
    })
    .await;
    gate.entered(1).await;
    blocking(move || {
        if reset {
            socket.reset();
        } else {
            socket.half_close();
        }
    })
    .await;
}

#[test]
fn a_client_that_is_lost_takes_its_handler_along() {
    each(async |security| {
        let (site, gate, token) = gated(security, Cancellation::default()).await;
        let idle = Arc::strong_count(&token);
        ask_and_leave(&site, &gate, true).await;
        while site.handle.connections() > 0 {
            pause().await;
        }
        assert_eq!(Arc::strong_count(&token), idle);
    });
}

#[test]
fn a_handler_that_is_to_be_cancelled_ends_with_the_stream() {
    each(async |security| {
        let (site, gate, token) = gated(security, Cancellation::Cancel).await;
        let idle = Arc::strong_count(&token);
        ask_and_leave(&site, &gate, false).await;
        while site.handle.connections() > 0 {
            pause().await;
        }
        assert_eq!(Arc::strong_count(&token), idle);
    });
}

#[test]
fn a_handler_that_is_to_finish_finishes_and_is_counted() {
    each(async |security| {
        let (site, gate, token) = gated(security, Cancellation::Finish).await;
        let idle = Arc::strong_count(&token);
        ask_and_leave(&site, &gate, true).await;
        gate.entered(1).await;
        let (release, handle) = (Arc::clone(&gate.released), site.handle.clone());
        let stop = async {
            handle.stopping().await;
            assert_eq!(Arc::strong_count(&token), idle + 1, "the handler is at work");
            release.add_permits(1);
        };
        let (report, ()) = futures_util::future::join(site.stop(), stop).await;
        assert_eq!((report.count(Ending::Orphaned), report.lost()), (1, 0));
    });
}

#[test]
fn a_handler_that_does_not_finish_holds_no_stop_up() {
    each(async |security| {
        let within = Cancellation::FinishWithin(Duration::from_secs(3600));
        let (site, gate, token) = gated(security, within).await;
        ask_and_leave(&site, &gate, true).await;
        gate.entered(1).await;
        let report = site.handle.stop(Duration::from_millis(20)).await;
        assert_eq!((report.count(Ending::Orphaned), report.lost()), (0, 1));
        while Arc::strong_count(&token) > 1 {
            pause().await;
        }
    });
}

#[test]
fn a_handler_that_may_finish_within_a_time_is_dropped_then() {
    each(async |security| {
        let within = Cancellation::FinishWithin(Duration::from_millis(5));
        let (site, gate, token) = gated(security, within).await;
        let idle = Arc::strong_count(&token);
        ask_and_leave(&site, &gate, true).await;
        while site.handle.connections() > 0 {
            pause().await;
        }
        assert_eq!(Arc::strong_count(&token), idle);
    });
}

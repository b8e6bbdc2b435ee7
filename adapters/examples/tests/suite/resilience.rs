//! Calls that are made again, over real sockets: what the server counts, and what is left afterwards.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use futures_util::future::{self, join_all};
use http::{Method, StatusCode};
use sinew_core::client::dispatcher::{AttemptHistory, Ended, Outcome, Refusal};
use sinew_core::error::{Delivery, Phase};
use sinew_core::policy::Mode;
use sinew_core::resilience::{BreakerConfig, HedgeConfig, RetryPolicy};
use sinew_driver::{Body, ErrorKind, IntoResponse as _, Request, Response};
use socket2::{Domain, Socket, Type};

use super::site::{PATIENCE, Security, Site, client_tls};
use super::{each, pause, run};
use crate::rt;

/// How often a handler ran.
type Count = Arc<AtomicUsize>;

fn ran(count: &Count) -> usize {
    count.load(Ordering::SeqCst)
}

/// A client of this site, which makes calls again.
pub(super) fn retrying(site: &Site) -> rt::ClientBuilder {
    let builder = rt::RestClient::builder(site.url()).connect_timeout(PATIENCE);
    match site.security {
        Security::Plain => builder.allow_plaintext(),
        Security::Mutual => builder.tls(client_tls()),
    }
}

/// A site that answers like this, given how often it was asked before.
async fn answering(
    security: Security,
    answer: impl Fn(usize) -> Response + Clone + Send + Sync + 'static,
) -> (Site, Count) {
    let count = Count::default();
    let counted = Arc::clone(&count);
    let handler = move |_: Request| {
        let answer = answer(counted.fetch_add(1, Ordering::SeqCst));
        async move { answer }
    };
    let builder = rt::RestServer::builder().listen("127.0.0.1:0");
    let builder =
        builder.route(Method::GET, "/", handler.clone()).route(Method::POST, "/", handler);
    (Site::run(security, builder).await, count)
}

fn unavailable(retry_after: Option<&'static str>) -> Response {
    let response = Response::new(StatusCode::SERVICE_UNAVAILABLE);
    match retry_after {
        Some(seconds) => response.header("retry-after", seconds),
        None => response,
    }
}

/// Waits until nothing of any call is left.
pub(super) async fn at_rest(client: &rt::RestClient) {
    loop {
        let left = client.explain();
        let quiet = left.calls == 0 && left.pending == 0 && left.connections == left.idle;
        if quiet && left.endpoints.iter().all(|endpoint| endpoint.in_flight == 0) {
            return;
        }
        pause().await;
    }
}

#[test]
fn a_refusal_is_no_answer_until_the_attempts_are_over() {
    each(async |security| {
        let (site, count) = answering(security, |asked| match asked {
            0 | 1 => unavailable(Some("0")),
            _ => "there you are".into_response(),
        })
        .await;
        let client = retrying(&site).build().unwrap();
        let response = client.post("/").body("order").send().await.unwrap();
        assert_eq!((response.text().await.unwrap().as_str(), ran(&count)), ("there you are", 3));
        at_rest(&client).await;
        assert_eq!(client.connections(), 1);
    });
}

#[test]
fn an_answer_and_an_error_explain_themselves() {
    each(async |security| {
        let (site, _) = answering(security, |asked| match asked {
            0 | 1 => unavailable(Some("0")),
            _ => "there you are".into_response(),
        })
        .await;
        let client = retrying(&site).build().unwrap();
        let response = client.get("/").explain().send().await.unwrap();
        let history = response.explanation().and_then(|explained| explained.history());
        let history = history.expect("it was to be explained");
        let status = |attempt: &AttemptHistory| match attempt.ended {
            Some(Ended::Answered { status, .. }) => status.as_u16(),
            ref other => panic!("{other:?}"),
        };
        assert_eq!(history.attempts.iter().map(status).collect::<Vec<_>>(), [503, 503, 200]);
        assert!(response.text().await.is_ok());
        let plain = client.get("/").send().await.unwrap();
        assert!(plain.explanation().is_none());
        drop(plain);
        client.close(Duration::ZERO).await;
        let error = client.get("/").explain().send().await.unwrap_err();
        let history = error.explanation().and_then(|explained| explained.history());
        assert_eq!(history.unwrap().outcome, Some(Outcome::Refused(Refusal::Draining)));
    });
}

#[test]
fn what_may_have_been_done_is_not_done_twice() {
    each(async |security| {
        let (site, count) = answering(security, |_| unavailable(None)).await;
        let client = retrying(&site).build().unwrap();
        let status = async |call: rt::Call| call.send().await.unwrap().status();
        assert_eq!(status(client.post("/")).await, 503);
        assert_eq!(ran(&count), 1);
        assert_eq!(status(client.post("/").mint_idempotency_key()).await, 503);
        assert_eq!(ran(&count), 4);
        assert_eq!(status(client.get("/").no_retry()).await, 503);
        assert_eq!(ran(&count), 5);
        at_rest(&client).await;
    });
}

#[test]
fn a_body_is_made_anew_for_every_attempt() {
    each(async |security| {
        let count = Count::default();
        let counted = Arc::clone(&count);
        let handler = move |request: Request| {
            let asked = counted.fetch_add(1, Ordering::SeqCst);
            async move {
                let body = request.into_body().collect(1 << 20).await.unwrap();
                match asked {
                    0 => unavailable(Some("0")),
                    _ => Body::full(body).into_response(),
                }
            }
        };
        let builder = rt::RestServer::builder().listen("127.0.0.1:0");
        let site = Site::run(security, builder.route(Method::POST, "/", handler)).await;
        let client = retrying(&site).build().unwrap();
        let body = || {
            let pieces = (0..100).map(|n| Ok::<_, String>(vec![n; 1000].into()));
            Body::stream(futures_util::stream::iter(pieces))
        };
        let response = client.post("/").body(Body::repeatable(body)).send().await.unwrap();
        assert_eq!((response.bytes().await.unwrap().len(), ran(&count)), (100_000, 2));
    });
}

/// An address where nobody listens, for as long as the socket lives.
fn nowhere() -> (Socket, SocketAddr) {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()).unwrap();
    let address = socket.local_addr().unwrap().as_socket().unwrap();
    (socket, address)
}

#[test]
fn an_open_breaker_does_not_even_knock() {
    run(async {
        let breaker = BreakerConfig { consecutive: 3, ..BreakerConfig::default() };
        let (_held, dead) = nowhere();
        let url = format!("http://{dead}");
        let client = rt::RestClient::builder(url).allow_plaintext().breaker(breaker);
        let client = client.build().unwrap();
        // Three attempts, all refused.
        let error = client.get("/").send().await.unwrap_err();
        assert_eq!(error.delivery(), Delivery::NotSent);
        let error = client.get("/").send().await.unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::Refused(Refusal::Breaker { .. })), "{error:?}");
        assert_eq!((error.attempts(), client.explain().connections), (0, 0));
    });
}

#[test]
fn the_budget_ends_before_the_calls_do() {
    run(async {
        let never = BreakerConfig { mode: Mode::Off, ..BreakerConfig::default() };
        let (_held, dead) = nowhere();
        let url = format!("http://{dead}");
        let client = rt::RestClient::builder(url).allow_plaintext().breaker(never);
        let client = client.build().unwrap();
        let calls = join_all((0..100).map(|_| client.get("/").send())).await;
        let attempts: usize =
            calls.into_iter().map(|call| usize::from(call.unwrap_err().attempts())).sum();
        assert!((101..130).contains(&attempts), "{attempts} attempts of 100 calls");
        at_rest(&client).await;
    });
}

#[test]
fn one_of_two_endpoints_is_enough() {
    each(async |security| {
        let (site, count) = answering(security, |_| "here".into_response()).await;
        let (_held, dead) = nowhere();
        let client = retrying(&site).endpoints([site.address().to_string(), dead.to_string()]);
        let client = client.build().unwrap();
        for _ in 0..50 {
            assert_eq!(client.get("/").send().await.unwrap().text().await.unwrap(), "here");
        }
        assert_eq!(ran(&count), 50);
        at_rest(&client).await;
    });
}

#[test]
fn a_slow_endpoint_is_overtaken() {
    each(async |security| {
        let quick = || "quick".into_response();
        let (fast, _) = answering(security, move |_| quick()).await;
        let slow_count = Count::default();
        let counted = Arc::clone(&slow_count);
        let handler = move |_: Request| {
            counted.fetch_add(1, Ordering::SeqCst);
            future::pending::<Response>()
        };
        let builder = rt::RestServer::builder().listen("127.0.0.1:0");
        let slow = Site::run(security, builder.route(Method::GET, "/", handler)).await;
        let hedge =
            HedgeConfig { mode: Mode::Enforce, minimum_samples: 10, ..HedgeConfig::default() };
        let builder = retrying(&fast).hedge(HedgeConfig { percent: 50, ..hedge });
        let client = builder.build().unwrap();
        // Their share of hedges is for the calls behind them.
        for _ in 0..60 {
            let call = client.get("/").hedge(false);
            call.send().await.unwrap().bytes().await.unwrap();
        }
        client.update_endpoints([fast.address().to_string(), slow.address().to_string()]).unwrap();
        while ran(&slow_count) == 0 {
            assert_eq!(client.get("/").send().await.unwrap().text().await.unwrap(), "quick");
        }
        at_rest(&client).await;
    });
}

/// A server that does this with each connection, on a thread of its own.
fn scripted(act: impl Fn(std::net::TcpStream) + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        while let Ok((socket, _)) = listener.accept() {
            act(socket);
        }
    });
    address
}

/// Reads one head.
fn hear(socket: &mut std::net::TcpStream) -> bool {
    let (mut received, mut block) = (Vec::new(), [0; 4096]);
    while !received.ends_with(b"\r\n\r\n") {
        match socket.read(&mut block) {
            Ok(read) if read > 0 => received.extend_from_slice(&block[..read]),
            _ => return false,
        }
    }
    true
}

#[test]
fn an_idle_connection_that_the_server_closes_is_forgotten_at_once() {
    run(async {
        let address = scripted(|mut socket| {
            if hear(&mut socket) {
                socket.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").unwrap();
            }
        });
        let url = format!("http://{address}");
        let client = rt::RestClient::builder(url).allow_plaintext().build().unwrap();
        for _ in 0..3 {
            assert_eq!(client.get("/").send().await.unwrap().status(), 204);
            while client.connections() > 0 {
                pause().await;
            }
        }
    });
}

#[test]
fn a_deadline_says_in_which_phase_it_came() {
    run(async {
        let address = scripted(|mut socket| {
            if hear(&mut socket) {
                // Held until the client has given up.
                let _ = socket.read(&mut [0]);
            }
        });
        let url = format!("http://{address}");
        let client = rt::RestClient::builder(url).allow_plaintext().build().unwrap();
        // A busy machine may take all of the time to connect.
        let waits = async |call: &dyn Fn() -> rt::Call| loop {
            let error = call().send().await.unwrap_err();
            assert!(error.is_timeout(), "{error:?}");
            if error.delivery() != Delivery::NotSent {
                break error;
            }
        };
        let error = waits(&|| client.get("/").timeout(Duration::from_millis(100))).await;
        let told = (error.phase(), error.delivery(), error.attempts());
        assert_eq!(told, (Phase::ResponseHead, Delivery::MaybeProcessed, 1));
        let once = RetryPolicy { attempts: 1, ..RetryPolicy::default() };
        let attempt = || client.get("/").attempt_timeout(Duration::from_millis(50)).retry(once);
        assert_eq!(waits(&attempt).await.phase(), Phase::ResponseHead);
        at_rest(&client).await;
    });
}

//! Whoever is slow holds up whoever is fast: what nobody takes is not produced. Counted at the
//! producer, and where the socket takes nothing more, so that no buffer is overlooked.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures_util::stream;
use http::{Method, StatusCode};
use sinew_driver::{Body, Request, RouteOptions, Spawn as _};
use tokio::sync::Semaphore;

use super::app::{PIECE, is_pattern, pattern};
use super::site::{PATIENCE, Security, Site, client_for, client_of, client_tls, pki, server_tls};
use super::watched::Watched;
use super::{each, pause};
use crate::rt;

/// What may lie between a producer and a reader that stands still: what Linux gives two sockets of
/// the loopback at most, 32 MiB to receive and 4 MiB to send, and less than 1 MiB of ours.
const BETWEEN: u64 = 37 << 20;

/// Bodies without end, and what was taken from them.
#[derive(Default)]
struct Spring {
    drawn: Arc<AtomicU64>,
    /// Each body holds one more.
    held: Arc<()>,
}

impl Spring {
    fn body(self: &Arc<Self>) -> Body {
        let (spring, held) = (Arc::clone(self), Arc::clone(&self.held));
        let pieces = stream::unfold((spring, held, 0), |(spring, held, at)| async move {
            spring.drawn.fetch_add(PIECE as u64, Ordering::Relaxed);
            Some((Ok::<_, Infallible>(pattern(at, PIECE)), (spring, held, at + PIECE as u64)))
        });
        Body::stream(pieces)
    }

    fn drawn(&self) -> u64 {
        self.drawn.load(Ordering::Relaxed)
    }

    /// Bodies that somebody still holds.
    fn bodies(&self) -> usize {
        Arc::strong_count(&self.held) - 1
    }

    async fn dries(&self) {
        while self.bodies() > 0 {
            pause().await;
        }
    }
}

/// Reads on, and sees that nothing was lost.
async fn read_on(body: &mut Body, read: &mut u64, bytes: u64) {
    let until = *read + bytes;
    while *read < until {
        let piece = body.chunk().await.unwrap().unwrap();
        assert!(is_pattern(*read, &piece), "at {read}");
        *read += piece.len() as u64;
    }
}

/// The most that may lie between a producer and its socket.
const OURS: u64 = 1 << 20;

/// What is drawn from a spring by the time that somebody else was served more than may lie between. A
/// producer that nothing holds up comes as far in that time: there is no other work in it.
async fn drawn_meanwhile(spring: &Spring, site: &Site) -> u64 {
    while spring.drawn() == 0 {
        pause().await;
    }
    let mut body = client_of(site).get("/other").send().await.unwrap().into_body();
    read_on(&mut body, &mut 0, BETWEEN).await;
    spring.drawn()
}

async fn serving(security: Security, gate: &Arc<Semaphore>) -> Site {
    let unlimited = || RouteOptions::new().body_limit(u64::MAX).slow_body();
    let other = Arc::<Spring>::default();
    let gate = Arc::clone(gate);
    let builder = rt::RestServer::builder()
        .listen("127.0.0.1:0")
        .route(Method::GET, "/other", move |_: Request| std::future::ready(other.body()))
        .route_with(Method::POST, "/echo", unlimited(), async |request: Request| {
            request.into_body()
        })
        .route_with(Method::PUT, "/slow", unlimited(), move |request: Request| {
            let gate = Arc::clone(&gate);
            async move {
                let mut body = request.into_body();
                let mut read = 0;
                read_on(&mut body, &mut read, 1).await;
                let _ = gate.acquire().await;
                read_on(&mut body, &mut read, BETWEEN).await;
                StatusCode::NO_CONTENT
            }
        });
    Site::run(security, builder).await
}

#[test]
fn an_answer_that_nobody_reads_is_not_produced() {
    each(async |security| {
        let spring = Arc::<Spring>::default();
        let watched = Watched::new(Arc::clone(&spring.drawn));
        let source = Arc::clone(&spring);
        let server = sinew_driver::RestServer::<_, rt::Mode>::builder_on(watched.clone())
            .listen("127.0.0.1:0")
            .route(Method::GET, "/spring", move |_: Request| std::future::ready(source.body()));
        let server = match security {
            Security::Plain => server.allow_plaintext(),
            Security::Mutual => server.tls(server_tls(&pki().server)),
        };
        let server = server.bind().await.unwrap();
        let (address, handle) = (server.local_addrs()[0], server.handle());
        rt::Runtime::default().spawn(server.serve());
        let client = client_for(security, &security.url(address));
        let mut body = client.get("/spring").between_bytes(None).send().await.unwrap().into_body();
        let mut read = 0;
        for _ in 0..3 {
            watched.blocks().await;
            // Past what was there already: the producer goes on.
            let there = spring.drawn() - read;
            read_on(&mut body, &mut read, there + 1).await;
        }
        assert!(watched.ahead() < OURS, "{} bytes ahead", watched.ahead());
        // The reader leaves: everything goes.
        drop(body);
        spring.dries().await;
        while handle.connections() > 0 {
            pause().await;
        }
    });
}

#[test]
fn a_request_that_nobody_reads_is_not_produced() {
    each(async |security| {
        let (spring, gate) = (Arc::<Spring>::default(), Arc::new(Semaphore::new(0)));
        let site = serving(security, &gate).await;
        let watched = Watched::new(Arc::clone(&spring.drawn));
        let client = sinew_driver::RestClient::builder(site.url()).connect_timeout(PATIENCE);
        let client = match security {
            Security::Plain => client.allow_plaintext(),
            Security::Mutual => client.tls(client_tls()),
        };
        let client = client.build_on(watched.clone()).unwrap();
        let watch = async {
            watched.blocks().await;
            gate.add_permits(1);
        };
        let call = client.put("/slow").body(spring.body()).send();
        let (answer, ()) = futures_util::future::join(call, watch).await;
        // Answered early: the rest of an endless body is nobody's.
        assert_eq!(answer.unwrap().status(), 204);
        assert!(spring.drawn() > BETWEEN);
        assert!(watched.ahead() < OURS, "{} bytes ahead", watched.ahead());
        spring.dries().await;
        drop(client);
        while site.handle.connections() > 0 {
            pause().await;
        }
    });
}

#[test]
fn an_echo_that_nobody_reads_stops_at_its_source() {
    each(async |security| {
        let spring = Arc::<Spring>::default();
        let site = serving(security, &Arc::new(Semaphore::new(0))).await;
        let call = client_of(&site).post("/echo").between_bytes(None).body(spring.body());
        let mut body = call.send().await.unwrap().into_body();
        let mut read = 0;
        for _ in 0..2 {
            let ahead = drawn_meanwhile(&spring, &site).await - read;
            // There and back.
            assert!(ahead < 2 * BETWEEN, "{ahead} bytes ahead");
            // Past what was there already: the producer goes on.
            read_on(&mut body, &mut read, ahead + 1).await;
        }
        drop(body);
        spring.dries().await;
        while site.handle.connections() > 0 {
            pause().await;
        }
    });
}

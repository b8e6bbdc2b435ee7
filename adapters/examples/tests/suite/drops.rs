//! Calls that are given up, at every point and at random, over real sockets: afterwards nothing is
//! left (law 8).

use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use futures_util::future::{self, Either, join_all};
use futures_util::stream;
use http::{Method, StatusCode};
use sinew_driver::{Body, IntoResponse, Problem, Request, Response, RouteOptions, Runtime as _};

use super::app::pattern;
use super::dice::Dice;
use super::faults::once;
use super::resilience::{at_rest, retrying};
use super::site::{Site, client_of, ended};
use super::{each, pause, status_of};
use crate::rt;

const SEED: u64 = 0x5eed_0003;

/// Callers side by side, and calls of each.
const CALLERS: u64 = 6;
const CALLS: u32 = 25;

/// Handlers and bodies hold one each for as long as they live.
type Token = Arc<()>;

fn body_of(token: &Token, pieces: u64) -> Body {
    let pieces = stream::unfold((Arc::clone(token), 0), move |(token, at)| async move {
        (at < pieces).then(|| (Ok::<_, Infallible>(pattern(0, 20_000)), (token, at + 1)))
    });
    Body::stream(pieces)
}

async fn session(request: Request) -> Result<(), Problem> {
    let answer = Response::new(StatusCode::SWITCHING_PROTOCOLS).header("upgrade", "echo");
    let connection = request.upgrade(answer).await?;
    while let Some(bytes) = connection.read().await? {
        connection.write(bytes).await?;
    }
    Ok(())
}

fn routes(builder: super::site::Builder, token: &Token) -> super::site::Builder {
    let large = || RouteOptions::new().body_limit(u64::MAX);
    let [down, hold, talk] = [0; 3].map(|_| Arc::clone(token));
    builder
        .route(Method::GET, "/down", move |_: Request| std::future::ready(body_of(&down, 100)))
        .route(Method::GET, "/hold", move |request: Request| {
            let token = Arc::clone(&hold);
            async move {
                request.gone().await;
                drop(token);
            }
        })
        .route_with(Method::POST, "/echo", large(), async |request: Request| request.into_body())
        .route(Method::PUT, "/ignore", async |_: Request| StatusCode::NO_CONTENT)
        .route(Method::GET, "/session", move |request: Request| {
            let token = Arc::clone(&talk);
            async move {
                let ended = session(request).await;
                drop(token);
                ended.map(IntoResponse::into_response)
            }
        })
}

/// Gives a future a number of turns of the others, and drops it then.
async fn for_a_while<F: Future>(turns: u64, future: F) -> Option<F::Output> {
    let patience = async {
        for _ in 0..turns {
            pause().await;
        }
    };
    match future::select(pin!(future), pin!(patience)).await {
        Either::Left((output, _)) => Some(output),
        Either::Right(_) => None,
    }
}

async fn caller(client: rt::RestClient, token: Token, mut dice: Dice) {
    for _ in 0..CALLS {
        let call = match dice.roll(5) {
            0 => client.get("/down"),
            1 => client.get("/hold"),
            2 => client.post("/echo").body(body_of(&token, dice.roll(60))),
            3 => client.put("/ignore").body(body_of(&token, dice.roll(60))),
            _ => client.get("/session").upgrade("echo"),
        };
        let (turns, pieces) = (dice.roll(6), dice.roll(40));
        // What fails, fails: a connection may have been closed under a call.
        let Some(Ok(mut response)) = for_a_while(turns, call.send()).await else { continue };
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            let connection = response.upgrade().unwrap();
            for_a_while(turns, async {
                for _ in 0..pieces {
                    connection.write(pattern(0, 5_000)).await?;
                    connection.read().await?;
                }
                connection.shut().await
            })
            .await;
            continue;
        }
        for _ in 0..pieces {
            match for_a_while(turns + 1, response.chunk()).await {
                Some(Ok(Some(_))) => {}
                _ => break,
            }
        }
    }
}

#[test]
fn nothing_is_left_behind_calls_that_were_given_up() {
    each(async |security| {
        let token = Token::default();
        let builder = routes(rt::RestServer::builder().listen("127.0.0.1:0"), &token);
        let site = Site::run(security, builder).await;
        let client = client_of(&site);
        let idle = Arc::strong_count(&token);
        join_all((0..CALLERS).map(|seed| {
            let dice = Dice(SEED.wrapping_add(seed));
            caller(client.clone(), Arc::clone(&token), dice)
        }))
        .await;
        assert_eq!(client.connections(), client.idle_connections());
        drop(client);
        while site.handle.connections() > 0 || Arc::strong_count(&token) > idle {
            pause().await;
        }
        let report = site.stop().await;
        assert_eq!(ended(&report), (0, 0, 0));
    });
}

/// Polls a future so many times, and drops it when it would be polled once more.
async fn up_to<F: Future>(polls: u32, future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    let mut left = polls;
    poll_fn(|cx| match left.checked_sub(1) {
        None => Poll::Ready(None),
        Some(less) => {
            left = less;
            future.as_mut().poll(cx).map(Some)
        }
    })
    .await
}

/// A body there and back. Whether all of it came.
async fn echoed(client: &rt::RestClient, token: &Token) -> Result<bool, sinew_driver::Error> {
    let (pieces, mut came) = (8, 0);
    let mut response = client.post("/echo").body(body_of(token, pieces)).send().await?;
    while let Some(piece) = response.chunk().await? {
        came += piece.len() as u64;
    }
    Ok(came == pieces * 20_000)
}

#[test]
fn a_call_can_be_dropped_at_every_await() {
    each(async |security| {
        let token = Token::default();
        let builder = routes(rt::RestServer::builder().listen("127.0.0.1:0"), &token);
        let site = Site::run(security, builder).await;
        let client = client_of(&site);
        let idle = Arc::strong_count(&token);
        for polls in 0.. {
            let whole = up_to(polls, echoed(&client, &token)).await;
            // What is kept is between exchanges; what was in the middle of one is gone.
            assert_eq!(client.connections(), client.idle_connections(), "after {polls} polls");
            while Arc::strong_count(&token) > idle
                || site.handle.connections() > client.connections()
            {
                pause().await;
            }
            if let Some(whole) = whole {
                assert!(whole.unwrap());
                break;
            }
            assert!(echoed(&client, &token).await.unwrap(), "after {polls} polls");
        }
        drop(client);
        while site.handle.connections() > 0 {
            pause().await;
        }
    });
}

#[test]
fn a_call_dropped_half_way_is_seen_by_the_handler() {
    each(async |security| {
        let (tell, gone) = once();
        let (enter, entered) = once();
        let builder = super::app::routes(rt::RestServer::builder().listen("127.0.0.1:0"));
        let builder = builder.route(Method::GET, "/waits", move |request: Request| {
            let (tell, enter) = (tell.lock().unwrap().take(), enter.lock().unwrap().take());
            async move {
                drop(enter);
                request.gone().await;
                drop(tell);
            }
        });
        let site = Site::run(security, builder).await;
        let client = client_of(&site);
        let call = Box::pin(client.get("/waits").send());
        match future::select(call, entered).await {
            Either::Left(_) => panic!("answered"),
            Either::Right((entered, call)) => {
                entered.unwrap();
                drop(call);
            }
        }
        gone.await.unwrap();
        assert_eq!(status_of(client.get("/text")).await, 200);
    });
}

#[test]
fn a_call_that_is_dropped_leaves_nothing() {
    each(async |security| {
        let builder = rt::RestServer::builder().listen("127.0.0.1:0");
        let builder = builder.route(Method::GET, "/", |_: Request| future::pending::<Response>());
        let site = Site::run(security, builder).await;
        let client = retrying(&site).max_connections(3).build().unwrap();
        let runtime = rt::Runtime::default();
        for wait in 0..5 {
            let calls = join_all((0..10).map(|_| client.get("/").send()));
            let limit = runtime.sleep_until(runtime.now() + Duration::from_millis(wait));
            let over = match future::select(std::pin::pin!(calls), limit).await {
                Either::Left(_) => true,
                Either::Right(_) => false,
            };
            assert!(!over);
        }
        at_rest(&client).await;
    });
}

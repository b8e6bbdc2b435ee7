//! Calls that are made again, and those that are not, in virtual time.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use sinew_core::client::dispatcher::{Ended, Refusal};
use sinew_core::error::{Delivery, Phase};
use sinew_core::observe::Event;
use sinew_core::policy::Mode;
use sinew_core::resilience::{
    BreakerConfig, BreakerState, Forced, HedgeConfig, NoRetry, RetryPolicy,
};
use sinew_driver::client::{Call, ClientBuilder};
use sinew_driver::{Body, CloseReport, ErrorKind, RestClientConfig, RouteName};

use crate::support::calling::{Answer, Calling, OK, calling, failed, millis};
use crate::support::{Client, Outcome, Sim, Site};

const BUSY: &str = "HTTP/1.1 503 No\r\nretry-after: 2\r\ncontent-length: 4\r\n\r\nbusy";
const BROKEN: &str = "HTTP/1.1 503 No\r\ncontent-length: 0\r\n\r\n";

/// The longest that a first retry waits.
const BACKOFF: Duration = millis(250);

fn retrying() -> Calling {
    calling(|builder| builder.retry(RetryPolicy::default()))
}

/// What a call sent on this connection, or on a new one, and how it is answered.
fn answered(world: &Calling, server: &Client, answer: &str) -> String {
    let request = server.received();
    assert!(!request.is_empty(), "nothing was sent");
    server.send(answer);
    world.sim.run();
    request
}

fn status(outcome: &Outcome<Answer>) -> u16 {
    outcome.take().expect("no answer").unwrap().status().as_u16()
}

/// Nothing of any call is left.
fn at_rest(world: &Calling) {
    let left = world.client.explain();
    assert_eq!((left.calls, left.pending), (0, 0), "{left:?}");
    assert_eq!(left.connections, left.idle, "{left:?}");
    assert!(left.endpoints.iter().all(|endpoint| endpoint.in_flight == 0), "{left:?}");
}

#[test]
fn a_server_that_asks_for_a_wait_gets_it() {
    let world = retrying();
    let outcome = world.start(world.client.post("/").body("once"));
    let server = world.sim.accepted();
    let first = answered(&world, &server, BUSY);
    assert!(!first.contains("sinew-attempt"), "{first}");
    world.sim.advance(millis(1999));
    assert_eq!(server.received(), "");
    world.sim.advance(millis(1));
    let second = answered(&world, &server, OK);
    assert!(
        second.contains("sinew-attempt: 2\r\n") && second.ends_with("\r\n\r\nonce"),
        "{second}"
    );
    assert_eq!(status(&outcome), 200);
    assert_eq!(world.sim.dials().len(), 1, "the answer was small, and the connection is kept");
    at_rest(&world);
}

#[test]
fn a_wait_that_ends_after_the_call_is_not_waited_for() {
    let world = retrying();
    let outcome = world.start(world.client.get("/").timeout(Duration::from_secs(1)));
    answered(&world, &world.sim.accepted(), BUSY);
    let response = outcome.take().expect("it waits").unwrap();
    assert_eq!(world.bytes(response).unwrap(), b"busy");
    at_rest(&world);
}

#[test]
fn what_may_have_been_processed_is_sent_again_only_where_that_does_no_harm() {
    for (method, key, again) in
        [("PUT", None, true), ("POST", None, false), ("POST", Some("a"), true)]
    {
        let world = retrying();
        let call = world.client.request(method.parse().unwrap(), "/").body("x");
        let call = match key {
            Some(key) => call.idempotency_key(key),
            None => call,
        };
        let outcome = world.start(call);
        let server = world.sim.accepted();
        answered(&world, &server, BROKEN);
        world.sim.advance(BACKOFF);
        assert_eq!(outcome.take().is_none(), again, "{method} {key:?}");
        if again {
            let request = answered(&world, &server, OK);
            let keyed = request.contains("idempotency-key: \"a\"\r\n");
            assert_eq!(keyed, key.is_some(), "{request}");
            assert_eq!(status(&outcome), 200);
        }
        at_rest(&world);
    }
}

#[test]
fn a_minted_key_is_the_same_in_every_attempt() {
    let world = retrying();
    let outcome = world.start(world.client.post("/").mint_idempotency_key());
    let server = world.sim.accepted();
    let key = |request: &str| {
        let line = request.lines().find(|line| line.starts_with("idempotency-key: "));
        line.unwrap().to_owned()
    };
    let first = key(&answered(&world, &server, BROKEN));
    world.sim.advance(BACKOFF);
    assert_eq!(key(&answered(&world, &server, OK)), first);
    world.bytes(outcome.take().unwrap().unwrap()).unwrap();
    let other = world.start(world.client.post("/").mint_idempotency_key());
    assert_ne!(key(&answered(&world, &server, OK)), first);
    drop(other);
    let bad = failed(&world.start(world.client.post("/").idempotency_key("a\"b")));
    assert!(matches!(bad.kind(), ErrorKind::Config(_)));
}

#[test]
fn a_body_goes_along_as_often_as_it_can_be_made() {
    let pieces = || futures_util::stream::iter(["one", "two"].map(|p| Ok::<_, String>(p.into())));
    let world = retrying();
    let made = move || Body::stream(pieces());
    let outcome = world.start(world.client.put("/").body(Body::repeatable(made)));
    let server = world.sim.accepted();
    let sent = "\r\n\r\n3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n";
    assert!(answered(&world, &server, BROKEN).ends_with(sent));
    world.sim.advance(BACKOFF);
    assert!(answered(&world, &server, OK).ends_with(sent));
    assert_eq!(status(&outcome), 200);
    world.sim.run();
    at_rest(&world);
}

/// A body in pieces of a kilobyte.
fn kilobytes(pieces: usize) -> Body {
    let piece = || Ok::<_, String>(vec![b'x'; 1024].into());
    Body::stream(futures_util::stream::iter((0..pieces).map(move |_| piece())))
}

#[test]
fn a_stream_is_remembered_as_far_as_that_is_cheap() {
    let mut config = RestClientConfig::new("http://192.0.2.1:80");
    (config.replay_limit, config.replay_memory) = (8 * 1024, 12 * 1024);
    let world = calling(|builder| builder.config(config).allow_plaintext());
    let put = |pieces| world.start(world.client.put("/").body(kilobytes(pieces)));

    let outcome = put(8);
    let server = world.sim.accepted();
    let first = answered(&world, &server, BROKEN);
    world.sim.advance(BACKOFF);
    let second = answered(&world, &server, OK);
    let body = |request: &str| request.split_once("\r\n\r\n").unwrap().1.to_owned();
    assert_eq!(body(&first), body(&second));
    world.bytes(outcome.take().unwrap().unwrap()).unwrap();

    let outcome = put(9);
    answered(&world, &server, BROKEN);
    assert_eq!(status(&outcome), 503, "it was too long");

    // Two calls of eight are more than twelve: one of them is not remembered.
    let calls = [put(8), put(8)];
    let servers = [server, world.sim.accepted()];
    for server in &servers {
        answered(&world, server, BROKEN);
    }
    let given_up = calls.iter().filter(|call| call.take().is_some()).count();
    assert_eq!(given_up, 1);
    world.sim.advance(BACKOFF);
    let again = servers.iter().filter(|server| !server.received().is_empty()).count();
    assert_eq!(again, 1);
}

#[test]
fn one_attempt_has_its_time_and_the_next_goes_elsewhere() {
    let world = retrying();
    let outcome = world.start(world.client.get("/").attempt_timeout(millis(500)));
    let silent = world.sim.accepted();
    world.sim.advance(millis(500));
    assert!(silent.is_closed());
    world.sim.advance(BACKOFF);
    answered(&world, &world.sim.accepted(), OK);
    assert_eq!(status(&outcome), 200);

    let once = world.client.get("/").attempt_timeout(millis(500)).no_retry();
    let outcome = world.start(once);
    world.sim.advance(millis(500));
    let error = failed(&outcome);
    assert_eq!(error.to_string(), "timed out in the response head");
    let told = (error.is_timeout(), error.phase(), error.delivery(), error.attempts());
    assert_eq!(told, (true, Phase::ResponseHead, Delivery::MaybeProcessed, 1));
    at_rest(&world);
}

#[test]
fn a_streamed_body_that_an_attempt_took_is_sent_whole_or_not_at_all() {
    for (length, again) in [(1_000, true), (100_000, false)] {
        let world = retrying();
        let pieces = move || [Ok::<_, String>(bytes::Bytes::from(vec![b'x'; length]))];
        let body = Body::stream(futures_util::stream::iter(pieces()));
        let call = world.client.put("/").body(body).attempt_timeout(millis(500));
        let outcome = world.start(call);
        let silent = world.sim.accepted();
        assert!(silent.received().contains("xxx"), "{length}");
        world.sim.advance(millis(500));
        world.sim.advance(BACKOFF);
        if again {
            let server = world.sim.accepted();
            let text = server.received();
            assert_eq!(text.matches('x').count(), length, "{text}");
            server.send(OK);
            world.sim.run();
            assert_eq!(status(&outcome), 200);
        } else {
            let error = failed(&outcome);
            assert_eq!(error.delivery(), Delivery::MaybeProcessed, "{error:?}");
            assert!(world.sim.try_accepted().is_none_or(|server| server.received().is_empty()));
        }
        at_rest(&world);
    }
}

#[test]
fn the_deadline_is_over_all_attempts() {
    let world = retrying();
    world.sim.site("192.0.2.1:80", Site::Silent);
    let outcome = world.start(world.client.get("/").timeout(millis(1500)));
    world.sim.advance(millis(1499));
    assert!(outcome.take().is_none());
    world.sim.advance(millis(1));
    let error = failed(&outcome);
    assert!(error.is_timeout());
    assert_eq!(error.to_string(), "deadline exceeded in the connect");
    assert_eq!((error.phase(), error.delivery()), (Phase::Connect, Delivery::NotSent));
    assert_eq!(error.attempts(), 1, "the first took a second");
    assert_eq!(error.no_retry(), Some(NoRetry::Deadline));

    let world = retrying();
    let outcome = world.start(world.client.get("/").timeout(millis(300)));
    world.sim.accepted();
    world.sim.advance(millis(300));
    let error = failed(&outcome);
    let told = (error.phase(), error.attempts(), error.no_retry());
    assert_eq!(told, (Phase::ResponseHead, 1, Some(NoRetry::Deadline)));
}

#[test]
fn what_fails_behind_the_head_says_how_often_the_call_was_tried() {
    let world = retrying();
    let outcome = world.get();
    let server = world.sim.accepted();
    answered(&world, &server, BROKEN);
    world.sim.advance(BACKOFF);
    answered(&world, &server, "HTTP/1.1 200 OK\r\ncontent-length: 8\r\n\r\nhalf");
    server.shut();
    let response = outcome.take().unwrap().unwrap();
    let error = world.bytes(response).unwrap_err();
    let told = (error.phase(), error.attempts(), error.no_retry());
    assert_eq!(told, (Phase::ResponseBody, 2, Some(NoRetry::Delivered)));

    for whole in [false, true] {
        let half = "HTTP/1.1 200 OK\r\ncontent-length: 8\r\n\r\nhalf";
        let (server, mut response) = world.first(half);
        server.shut();
        let outcome = world.sim.start(async move {
            if whole {
                return response.into_body().collect(99).await.map(drop);
            }
            while response.chunk().await?.is_some() {}
            Ok(())
        });
        world.sim.run();
        let error = outcome.take().unwrap().unwrap_err();
        assert_eq!((error.attempts(), error.no_retry()), (1, Some(NoRetry::Delivered)), "{whole}");
    }

    let (_, response) = world.first("HTTP/1.1 404 No\r\ncontent-length: 0\r\n\r\n");
    assert_eq!(response.error_for_status().unwrap_err().attempts(), 1);
}

#[test]
fn an_open_breaker_refuses_without_dialling() {
    let world = calling(|builder| {
        builder.breaker(BreakerConfig { consecutive: 2, ..BreakerConfig::default() })
    });
    world.sim.site("192.0.2.1:80", Site::Refusing);
    for _ in 0..2 {
        assert!(matches!(failed(&world.get()).kind(), ErrorKind::Connect(_)));
    }
    let error = failed(&world.get());
    assert!(matches!(error.kind(), ErrorKind::Refused(Refusal::Breaker { .. })), "{error:?}");
    assert_eq!((error.delivery(), error.attempts()), (Delivery::NotSent, 0));
    assert_eq!(world.sim.dials().len(), 2);
    let explained = world.client.explain().endpoints[0];
    assert!(matches!(explained.breaker, BreakerState::Open { .. }));
    // It lets probes through when it has been open for long enough.
    world.sim.site("192.0.2.1:80", Site::Scripted);
    world.sim.advance(Duration::from_secs(10));
    let probe = world.get();
    answered(&world, &world.sim.accepted(), OK);
    assert_eq!(status(&probe), 200);
}

#[test]
fn retries_end_with_their_budget() {
    let never = BreakerConfig { mode: Mode::Off, ..BreakerConfig::default() };
    let world = calling(|builder| builder.retry(RetryPolicy::default()).breaker(never));
    world.sim.site("192.0.2.1:80", Site::Refusing);
    let calls: Vec<_> = (0..50).map(|_| world.get()).collect();
    world.sim.advance(Duration::from_secs(5));
    for call in &calls {
        assert!(matches!(failed(call).kind(), ErrorKind::Connect(_)));
    }
    let dials = world.sim.dials().len();
    assert!((51..=60).contains(&dials), "{dials} attempts of 50 calls");
    at_rest(&world);
}

/// Two endpoints.
fn two(build: impl FnOnce(ClientBuilder<Sim>) -> ClientBuilder<Sim>) -> Calling {
    calling(|builder| build(builder.endpoints(["192.0.2.1", "192.0.2.2:80"])))
}

#[test]
fn a_dead_endpoint_is_not_asked_twice_in_a_row() {
    let world = two(|builder| builder.retry(RetryPolicy::default()));
    world.sim.site("192.0.2.1:80", Site::Refusing);
    for n in 0..20 {
        let outcome = world.get();
        world.sim.advance(BACKOFF);
        while let Some(server) = world.sim.try_accepted() {
            assert!(server.received().contains("host: 192.0.2.1:80\r\n"), "{n}");
            server.send("HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n");
            world.sim.run();
        }
        assert_eq!(status(&outcome), 204, "{n}");
    }
    let dead: Vec<bool> = world.sim.dials().iter().map(|dial| dial.1 == "192.0.2.1:80").collect();
    assert!(dead.contains(&true), "the dead one was never asked");
    assert!(!dead.windows(2).any(|pair| pair == [true, true]), "{dead:?}");
    at_rest(&world);
}

#[test]
fn endpoints_come_and_go() {
    let world = two(|builder| builder);
    world.client.update_endpoints(["192.0.2.3:8080"]).unwrap();
    let (server, response) = world.first(OK);
    world.bytes(response).unwrap();
    assert_eq!(world.sim.dials()[0].1, "192.0.2.3:8080");
    world.client.update_endpoints(["192.0.2.4"]).unwrap();
    world.sim.run();
    assert!(server.is_closed());
    let (_, response) = world.first(OK);
    drop(response);
    assert_eq!(world.sim.dials()[1].1, "192.0.2.4:80");
    for bad in [&[][..], &["a b"], &["unix:x"], &["http://a"]] {
        assert!(world.client.update_endpoints(bad).is_err(), "{bad:?}");
    }
}

#[test]
fn what_takes_long_is_sent_a_second_time() {
    let hedge = HedgeConfig { mode: Mode::Enforce, minimum_samples: 1, ..HedgeConfig::default() };
    let world = two(|builder| builder.hedge(HedgeConfig { percent: 50, ..hedge }));
    // What is usual is learnt from some answers.
    let mut servers = Vec::new();
    for _ in 0..40 {
        let outcome = world.get();
        servers.extend(std::iter::from_fn(|| world.sim.try_accepted()));
        let asked: Vec<_> = servers.iter().filter(|s: &&Client| !s.received().is_empty()).collect();
        assert_eq!(asked.len(), 1);
        world.sim.advance(millis(1));
        asked[0].send(OK);
        world.sim.run();
        world.bytes(outcome.take().unwrap().unwrap()).unwrap();
    }
    let outcome = world.get();
    let asked = |servers: &[Client]| -> Vec<usize> {
        (0..servers.len()).filter(|n| !servers[*n].received().is_empty()).collect()
    };
    let slow = asked(&servers)[0];
    world.sim.advance(Duration::from_secs(1));
    servers.extend(std::iter::from_fn(|| world.sim.try_accepted()));
    let fast = asked(&servers)[0];
    assert_ne!(slow, fast);
    servers[fast].send(OK);
    world.sim.run();
    assert_eq!(status(&outcome), 200);
    assert!(servers[slow].is_closed(), "the loser is cut");
    // A call may say that it wants nothing of that.
    let outcome = world.start(world.client.get("/").hedge(false));
    world.sim.advance(Duration::from_secs(1));
    servers.extend(std::iter::from_fn(|| world.sim.try_accepted()));
    assert_eq!(asked(&servers).len(), 1);
    drop(outcome);
}

#[test]
fn whoever_gives_up_leaves_nothing_behind() {
    // Before the connection is there, before the answer, in its middle, and while it waits to be
    // made again.
    for stage in 0..4 {
        let world = retrying();
        if stage == 0 {
            world.sim.site("192.0.2.1:80", Site::Silent);
        }
        let call = world.get_abortable();
        if stage > 1 {
            let answer = match stage {
                2 => "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf",
                _ => BUSY,
            };
            answered(&world, &world.sim.accepted(), answer);
        }
        call.abort();
        world.sim.advance(Duration::from_secs(5));
        at_rest(&world);
    }
}

#[test]
fn a_server_that_closes_an_idle_connection_is_noticed_at_once() {
    let world = retrying();
    let (server, response) = world.first(OK);
    world.bytes(response).unwrap();
    assert_eq!(world.counts(), (1, 1));
    server.shut();
    world.sim.run();
    assert!(server.is_closed());
    assert_eq!(world.counts(), (0, 0));
    at_rest(&world);
}

#[test]
fn an_idle_connection_is_closed_by_itself() {
    let world = retrying();
    let (server, response) = world.first(OK);
    world.bytes(response).unwrap();
    world.sim.advance(millis(14_999));
    assert!(!server.is_closed());
    world.sim.advance(millis(1));
    assert!(server.is_closed());
    at_rest(&world);
}

#[test]
fn nothing_outlives_the_client() {
    let world = retrying();
    world.sim.site("192.0.2.1:80", Site::Silent);
    let call = world.get_abortable();
    assert_eq!(world.sim.tasks(), 3, "the call, the keeper, and who connects");
    call.abort();
    let Calling { sim, client } = world;
    drop(client);
    sim.run();
    assert_eq!(sim.tasks(), 0);
}

#[test]
fn a_client_that_is_closed_lets_calls_end_and_takes_no_others() {
    let world = retrying();
    let (slow, late) = (world.get(), world.get());
    let servers = [world.sim.accepted(), world.sim.accepted()];
    let client = world.client.clone();
    let closed = world.sim.start(async move { client.close(Duration::from_secs(5)).await });
    world.sim.run();
    let error = failed(&world.get());
    assert_eq!(*error.kind(), ErrorKind::Refused(Refusal::Draining));
    answered(&world, &servers[0], OK);
    let response = slow.take().unwrap().unwrap();
    world.bytes(response).unwrap();
    assert!(servers[0].is_closed(), "nobody needs it any more");
    world.sim.advance(millis(4999));
    assert!(closed.take().is_none());
    world.sim.advance(millis(1));
    assert_eq!(closed.take(), Some(CloseReport { stopped: 1, unread: 0 }));
    let error = failed(&late);
    assert_eq!(*error.kind(), ErrorKind::Stopped);
    assert_eq!(error.delivery(), Delivery::MaybeProcessed);
    assert_eq!(world.counts(), (0, 0));
    at_rest(&world);
    let client = world.client.clone();
    let again = world.sim.block_on(async move { client.close(Duration::ZERO).await });
    assert_eq!(again, CloseReport { stopped: 0, unread: 0 });
}

#[test]
fn whoever_watches_is_told_everything_once() {
    let told = Arc::new(Mutex::new(Vec::new()));
    let sink = Arc::clone(&told);
    let world = calling(|builder| {
        let observed = builder.observe(move |event| sink.lock().unwrap().push(*event));
        observed.retry(RetryPolicy::default())
    });
    let outcome = world.get();
    let server = world.sim.accepted();
    answered(&world, &server, BUSY);
    let explained = world.client.explain_calls();
    assert_eq!((explained.len(), explained[0].attempts), (1, 1));
    assert_eq!(
        (explained[0].retry_in, explained[0].hedge_in),
        (Some(Duration::from_secs(2)), None)
    );
    world.sim.advance(Duration::from_secs(2));
    answered(&world, &server, OK);
    let response = outcome.take().unwrap().unwrap();
    assert_eq!(response.attempts(), 2);
    world.bytes(response).unwrap();
    assert!(world.client.explain_calls().is_empty());
    let told = told.lock().unwrap();
    let told = told.iter().map(|event| match event {
        Event::EndpointsUpdated { all, .. } => format!("{all} there"),
        Event::Picked { pick, .. } => format!("picked {}", pick.chosen.endpoint.0),
        Event::AttemptSent { attempt, .. } => format!("sent {attempt}"),
        Event::RetryScheduled { attempts, after, .. } => {
            format!("again after {attempts}, {after:?}")
        }
        Event::AttemptEnded { attempt, ended: Ended::Answered { status, .. }, .. } => {
            format!("{attempt} answered {}", status.as_u16())
        }
        Event::CallEnded { outcome, attempts, .. } => format!("{outcome:?} after {attempts}"),
        other => format!("{other:?}"),
    });
    let first = ["1 there", "picked 0", "sent 1", "1 answered 503"];
    let second = ["again after 1, 2s", "picked 0", "sent 2", "2 answered 200", "Done after 2"];
    assert_eq!(told.collect::<Vec<_>>(), [&first[..], &second].concat());
}

#[test]
fn a_call_that_is_not_made_again_says_why() {
    let world = retrying();
    let outcome = world.start(world.client.post("/"));
    world.sim.accepted().reset();
    world.sim.run();
    assert_eq!(failed(&outcome).no_retry(), Some(NoRetry::NotRepeatable));
}

#[test]
fn a_service_says_how_it_is() {
    let world = retrying();
    for (answer, healthy) in [(OK, true), (BROKEN, false)] {
        let client = world.client.clone();
        let health = world.sim.start(async move { client.health_check().await });
        world.sim.run();
        let server = world.sim.accepted();
        let asked = answered(&world, &server, answer);
        assert!(asked.starts_with("GET /health "), "{asked}");
        assert_eq!(health.take().unwrap().unwrap().is_healthy(), healthy);
        server.shut();
        world.sim.run();
    }
}

#[test]
fn a_route_that_fails_is_left_alone_and_the_service_is_not() {
    const ROUTE: &str = "GET /reports/{id}";
    let told = Arc::new(Mutex::new(Vec::new()));
    let sink = Arc::clone(&told);
    let world = calling(|builder| {
        let breaker = BreakerConfig { consecutive: 2, ..BreakerConfig::default() };
        let observed = builder.observe(move |event| {
            if let Event::RouteBreaker { route, change } = event {
                sink.lock().unwrap().push((*route, change.name()));
            }
        });
        observed.breaker(breaker)
    });
    let report = |id: u8| world.client.get(&format!("/reports/{id}")).route(ROUTE).no_retry();
    let mut server = None;
    for id in 0..2 {
        let outcome = world.start(report(id));
        let server = server.get_or_insert_with(|| world.sim.accepted());
        let broken = "HTTP/1.1 500 No\r\ncontent-length: 0\r\n\r\n";
        answered(&world, server, broken);
        assert_eq!(status(&outcome), 500);
    }
    let outcome = world.start(report(2));
    let refused = failed(&outcome);
    let ErrorKind::Refused(refusal @ Refusal::Route { .. }) = refused.kind() else {
        panic!("{refused:?}")
    };
    assert_eq!(refusal.name(), "route_breaker_consecutive");
    assert_eq!(*told.lock().unwrap(), [(ROUTE, "opened")]);
    let explained = world.client.explain();
    assert_eq!(explained.endpoints[0].breaker, BreakerState::Closed);
    let [route] = explained.routes[..] else { panic!("{explained:?}") };
    assert_eq!(route.route, ROUTE);
    assert!(matches!(route.breaker, BreakerState::Open { .. }), "{route:?}");
    let outcome = world.start(world.client.get("/orders/1").route("GET /orders/{id}"));
    assert_eq!(world.client.explain_calls()[0].route, Some("GET /orders/{id}"));
    answered(&world, &server.unwrap(), OK);
    assert_eq!(status(&outcome), 200);
}

#[test]
fn a_breaker_is_what_somebody_wants_it_to_be() {
    let world = retrying();
    // As from a configuration: nobody wrote it into the program.
    let route = RouteName::new(&["GET", "/orders/{id}"].join(" "));
    let why = |call: Call<Sim>| match failed(&world.start(call)).kind() {
        ErrorKind::Refused(refusal) => refusal.name(),
        other => panic!("{other:?}"),
    };
    world.client.force_route(route, Some(Forced::Open));
    assert_eq!(why(world.client.get("/orders/1").route(route)), "route_breaker_forced");
    world.client.force_route(route, None);
    world.client.force_endpoint("192.0.2.2:80", Some(Forced::Open)).unwrap();
    let outcome = world.start(world.client.get("/orders/1").route(route));
    answered(&world, &world.sim.accepted(), OK);
    assert_eq!(status(&outcome), 200, "an address that the service does not have");
    world.client.force_endpoint("192.0.2.1:80", Some(Forced::Open)).unwrap();
    assert_eq!(why(world.client.get("/orders/1")), "breaker_forced");
    assert!(world.client.force_endpoint("no address", None).is_err());
}

//! Calls over kept connections, in memory: what is used again, what never is, who waits for whom.

use std::time::Duration;

use http::{Method, StatusCode};
use sinew_core::error::{Delivery, Phase};
use sinew_core::resilience::RetryPolicy;
use sinew_driver::{Body, ErrorKind, RestClient, RestClientConfig};

use crate::support::calling::{Calling, OK, calling, calling_at, failed};
use crate::support::{Client, Sim, Site};

fn plain() -> Calling {
    calling(|builder| builder)
}

#[test]
fn a_connection_is_used_again() {
    let world = plain();
    let (server, response) = world.first(OK);
    assert_eq!(world.counts(), (1, 0), "the body owns it");
    assert_eq!(world.bytes(response).unwrap(), b"ok");
    assert_eq!(world.counts(), (1, 1));
    for _ in 0..3 {
        let response = world.next(&server, OK);
        assert_eq!(world.bytes(response).unwrap(), b"ok");
    }
    assert_eq!(world.sim.dials().len(), 1);
}

#[test]
fn an_answer_without_a_body_gives_the_connection_back_at_once() {
    let world = plain();
    let (server, response) = world.first("HTTP/1.1 204 No Content\r\n\r\n");
    assert_eq!(response.status(), StatusCode::NO_CONTENT);
    assert_eq!(world.counts(), (1, 1));
    let head = world.start(world.client.head("/"));
    server.received();
    server.send("HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n");
    world.sim.run();
    assert!(world.bytes(head.take().unwrap().unwrap()).unwrap().is_empty());
    assert_eq!((world.counts(), world.sim.dials().len()), ((1, 1), 1));
}

#[test]
fn an_answer_dropped_unread_closes_the_connection_unless_all_of_it_is_here() {
    for (answer, closed) in [
        (OK, false),
        ("HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nok", true),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n", true),
        ("HTTP/1.1 200 OK\r\n\r\nto the end", true),
    ] {
        let world = plain();
        let (server, response) = world.first(answer);
        drop(response);
        assert_eq!(server.is_closed(), closed, "{answer}");
        assert_eq!(world.counts(), if closed { (0, 0) } else { (1, 1) });
    }
}

#[test]
fn a_body_dropped_half_way_closes_the_connection() {
    let world = plain();
    let (server, mut response) =
        world.first("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n");
    let left = world.sim.block_on(async move {
        assert_eq!(response.chunk().await.unwrap().unwrap(), "abc");
        response
    });
    assert!(!server.is_closed());
    drop(left);
    assert!(server.is_closed());
    assert_eq!(world.counts(), (0, 0));
}

#[test]
fn a_dropped_call_closes_its_connection() {
    let world = plain();
    let call = world.get_abortable();
    let server = world.sim.accepted();
    assert_eq!(world.counts(), (1, 0));
    call.abort();
    world.sim.run();
    assert!(server.is_closed());
    assert_eq!(world.counts(), (0, 0));
}

type Happen = fn(&Client);

#[test]
fn what_happened_to_a_kept_connection_is_noticed_before_it_is_used() {
    let happenings: [(&str, Happen); 4] = [
        ("stray bytes", |server| server.send("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")),
        ("a 408 of an idle server", |server| server.send("HTTP/1.1 408 Request Timeout\r\n\r\n")),
        ("an end", Client::shut),
        ("a reset", Client::reset),
    ];
    for (what, happen) in happenings {
        let world = plain();
        let (stale, response) = world.first(OK);
        world.bytes(response).unwrap();
        happen(&stale);
        let (_, response) = world.first("HTTP/1.1 201 Created\r\ncontent-length: 0\r\n\r\n");
        assert_eq!(response.status(), StatusCode::CREATED, "{what}");
        assert!(stale.received().is_empty(), "{what}: it was written to");
        assert!(stale.is_closed(), "{what}");
        assert_eq!(world.counts(), (1, 1), "{what}");
    }
}

#[test]
fn when_asking_again_fails_the_first_attempt_is_not_forgotten() {
    let world = calling(|builder| builder.retry(RetryPolicy::default()));
    let (server, response) = world.first(OK);
    world.bytes(response).unwrap();
    let again = world.get();
    assert!(server.received().starts_with("GET"));
    world.sim.site("192.0.2.1:80", Site::Refusing);
    server.shut();
    world.sim.advance(Duration::from_secs(1));
    let error = failed(&again);
    assert!(matches!(error.kind(), ErrorKind::Connect(_)));
    assert_eq!(error.attempts(), 3);
    assert_eq!(error.delivery(), Delivery::MaybeProcessed);
}

#[test]
fn a_server_that_closes_is_not_asked_again() {
    for answer in [
        "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n",
        "HTTP/1.0 200 OK\r\ncontent-length: 0\r\n\r\n",
    ] {
        let world = plain();
        let (server, _response) = world.first(answer);
        assert!(server.is_closed(), "{answer}");
        assert_eq!(world.counts(), (0, 0));
    }
}

#[test]
fn more_than_was_announced_is_not_read_as_the_next_answer() {
    let world = plain();
    let (server, response) =
        world.first(&format!("{OK}HTTP/1.1 500 No\r\ncontent-length: 0\r\n\r\n"));
    assert_eq!(world.bytes(response).unwrap(), b"ok");
    assert!(server.is_closed());
    assert_eq!(world.counts(), (0, 0));
}

#[test]
fn a_kept_connection_that_takes_no_byte_is_replaced_once() {
    let world = plain();
    let (stale, response) = world.first(OK);
    world.bytes(response).unwrap();
    stale.deafen();
    let post = world.start(world.client.post("/x").body("twelve bytes"));
    let fresh = world.sim.accepted();
    assert!(fresh.received().ends_with("\r\n\r\ntwelve bytes"));
    // The fresh one dies too, before it answers: that is told.
    fresh.reset();
    world.sim.run();
    let error = failed(&post);
    assert_eq!(error.delivery(), Delivery::MaybeProcessed, "{error}");
    assert_eq!((world.counts(), world.sim.dials().len()), ((0, 0), 2));
}

#[test]
fn a_request_that_may_have_arrived_is_repeated_only_where_that_does_no_harm() {
    // That the kept connection ended costs no attempt, where the request may be made again.
    for (method, again, attempts) in [(Method::POST, 0, 1), (Method::GET, 3, 3)] {
        let world = calling(|builder| builder.retry(RetryPolicy::default()));
        let (server, response) = world.first(OK);
        world.bytes(response).unwrap();
        let outcome = world.start(world.client.request(method.clone(), "/"));
        assert!(server.received().starts_with(method.as_str()));
        server.shut();
        world.sim.advance(Duration::from_secs(1));
        for attempt in 1..=again {
            let server = world.sim.accepted();
            let says = server.received().contains(&format!("sinew-attempt: {attempt}\r\n"));
            assert_eq!(says, attempt > 1);
            server.shut();
            world.sim.advance(Duration::from_secs(1));
        }
        let error = failed(&outcome);
        let told = (error.phase(), error.delivery(), usize::from(error.attempts()));
        assert_eq!(told, (Phase::ResponseHead, Delivery::MaybeProcessed, attempts), "{method}");
        assert_eq!((world.counts(), world.sim.dials().len()), ((0, 0), 1 + again));
    }
}

#[test]
fn a_body_that_comes_in_pieces_survives_a_stale_connection() {
    let world = plain();
    let (stale, response) = world.first(OK);
    world.bytes(response).unwrap();
    stale.reset();
    let pieces =
        futures_util::stream::iter(["one", "two"].map(|piece| Ok::<_, String>(piece.into())));
    let _put = world.start(world.client.put("/").body(Body::stream(pieces)));
    let text = world.sim.accepted().received();
    assert!(text.ends_with("\r\n\r\n3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n"), "{text}");
}

#[test]
fn calls_wait_at_the_cap_in_their_order() {
    let world = calling(|builder| builder.max_connections(1));
    let first = world.get();
    let server = world.sim.accepted();
    let second = world.get();
    let dropped = world.get_abortable();
    let third = world.get();
    assert_eq!(world.sim.dials().len(), 1);

    let response = world.answer(&server, &first, OK);
    assert!(server.received().is_empty(), "the body is not read yet");
    world.bytes(response).unwrap();
    dropped.abort();
    world.sim.run();
    let response = world.answer(&server, &second, "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n");
    assert!(third.take().is_none());
    // What closes makes room as well.
    drop(response);
    world.sim.run();
    let next = world.sim.accepted();
    let response = world.answer(&next, &third, OK);
    world.bytes(response).unwrap();
    assert_eq!((world.counts(), world.sim.dials().len()), ((1, 1), 2));
}

#[test]
fn a_call_does_not_wait_for_ever_for_a_connection() {
    let world = calling(|builder| builder.max_connections(1));
    let _first = world.get();
    let waits = world.start(world.client.get("/").timeout(Duration::from_secs(3)));
    world.sim.advance(Duration::from_secs(2));
    assert!(waits.take().is_none());
    world.sim.advance(Duration::from_secs(1));
    let error = failed(&waits);
    assert!(error.is_timeout());
    assert_eq!((error.phase(), error.delivery()), (Phase::Pool, Delivery::NotSent));
}

#[test]
fn some_connections_are_open_ahead_of_the_calls_that_need_them() {
    let mut config = RestClientConfig::new("http://192.0.2.1:80");
    config.warm = 2;
    let world = calling(|builder| builder.config(config).allow_plaintext());
    let outcome = world.get();
    let servers = [world.sim.accepted(), world.sim.accepted()];
    assert!(world.sim.try_accepted().is_none());
    let asked: Vec<_> = servers.iter().filter(|server| !server.received().is_empty()).collect();
    assert_eq!(asked.len(), 1);
    asked[0].send(OK);
    world.sim.run();
    world.bytes(outcome.take().unwrap().unwrap()).unwrap();
    assert_eq!(world.counts(), (2, 2));
    // Who loses one opens another.
    servers[0].shut();
    world.sim.run();
    assert!(world.sim.try_accepted().is_some());
    assert_eq!(world.counts().0, 2);
}

#[test]
fn an_idle_connection_grows_old() {
    let world = plain();
    let (server, response) = world.first(OK);
    world.bytes(response).unwrap();
    world.sim.advance(Duration::from_secs(14));
    let response = world.next(&server, OK);
    world.bytes(response).unwrap();
    world.sim.advance(Duration::from_secs(15));
    let (_, response) = world.first(OK);
    assert!(server.is_closed());
    world.bytes(response).unwrap();
    assert_eq!(world.counts(), (1, 1));
}

#[test]
fn the_last_client_closes_what_is_kept() {
    let world = plain();
    let (server, response) = world.first(OK);
    world.bytes(response).unwrap();
    let other = world.client.clone();
    let Calling { sim, client } = world;
    drop(client);
    assert!(!server.is_closed());
    drop(other);
    assert!(server.is_closed());
    drop(sim);
}

#[test]
fn an_answer_outlives_its_client() {
    let world = plain();
    let (server, response) = world.first("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nha");
    let Calling { sim, client } = world;
    drop(client);
    server.send("lf");
    let bytes = sim.block_on(async move { response.bytes().await.unwrap() });
    assert_eq!(bytes, "half");
    assert!(server.is_closed());
}

#[test]
fn what_cannot_be_sent_is_refused_before_anything_is_opened() {
    let world = plain();
    let client = &world.client;
    let calls = [
        client.get("/").header("bad name", "x"),
        client.get("/").header("x", "a\r\nevil: 1"),
        client.get("/").bearer("a\r\nb"),
        client.get("no-slash"),
        client.get("/a b"),
        client.get("/").header("host", "b").header("host", "b"),
        client.get("/\r\nevil: 1"),
        client.get("/#fragment"),
        client.get("/\u{e9}"),
        client.get("/%zz"),
        client.get("/").query("no pairs"),
        client.get("*"),
    ];
    for (n, call) in calls.into_iter().enumerate() {
        let shown = n;
        let error = failed(&world.start(call));
        assert!(matches!(error.kind(), ErrorKind::Config(_)), "{shown}: {error:?}");
        assert_eq!(error.delivery(), Delivery::NotSent);
    }
    assert!(world.sim.dials().is_empty());
    assert_eq!(world.counts(), (0, 0));
}

#[test]
fn a_field_that_lies_about_the_body_is_not_sent() {
    let world = plain();
    for (name, value) in [("transfer-encoding", "gzip"), ("content-length", "3"), ("host", "a b")] {
        let outcome = world.start(world.client.post("/").header(name, value).body("four"));
        assert_eq!(world.sim.accepted().received(), "", "{name}");
        let error = failed(&outcome);
        assert!(matches!(error.kind(), ErrorKind::Config(_)), "{name}: {error:?}");
        assert_eq!(error.delivery(), Delivery::NotSent);
    }
    assert_eq!(world.counts(), (0, 0));
}

#[test]
fn a_call_says_what_it_was_told_to() {
    let world = calling_at("http://[2001:db8::1]:8080/base/", |builder| {
        builder.default_header("x-service", "shop").default_header("accept", "a/b")
    });
    let call = world.client.request(Method::POST, "/items?sort=up");
    let call = call.query(&[("q", "a b"), ("n", "1&2")]).header("accept", "text/plain");
    let _outcome = world.start(call.bearer("secret").json(&[1, 2]));
    let text = world.sim.accepted().received();
    let (line, fields) = text.split_once("\r\n").unwrap();
    assert_eq!(line, "POST /base/items?sort=up&q=a+b&n=1%262 HTTP/1.1");
    for field in [
        "host: [2001:db8::1]:8080",
        "x-service: shop",
        "accept: text/plain",
        "authorization: Bearer secret",
        "content-type: application/json",
        "content-length: 5",
    ] {
        assert!(fields.contains(&format!("{field}\r\n")), "{field} in {text}");
    }
    assert!(!fields.contains("a/b"), "the call's own field takes the place of the default");
    assert!(fields.ends_with("\r\n\r\n[1,2]"));
    assert_eq!(world.sim.dials()[0].1, "[2001:db8::1]:8080");
}

#[test]
fn a_unix_socket_is_a_base_too() {
    let world = calling_at("unix:/run/a.sock", |builder| builder);
    let _outcome = world.get();
    let text = world.sim.accepted().received();
    assert_eq!(text, "GET / HTTP/1.1\r\nsinew-timeout-ms: 30000\r\nhost: localhost\r\n\r\n");
    assert_eq!(world.sim.dials()[0].1, "/run/a.sock");
}

#[test]
fn a_client_that_makes_no_sense_is_not_built() {
    let build = |base: &str| RestClient::<Sim>::builder(base);
    let refused = [
        build("http://a.test"),
        build("https://a.test"),
        build("a.test").allow_plaintext(),
        build("http://user@a.test").allow_plaintext(),
        build("http://a\r\nb/").allow_plaintext(),
        build("http://a b/").allow_plaintext(),
        build("http://a.test").allow_plaintext().max_connections(0),
        build("http://a.test").allow_plaintext().timeout(Duration::ZERO),
        build("http://a.test").allow_plaintext().default_header("a b", "c"),
        build("http://a.test")
            .allow_plaintext()
            .default_header("host", "b")
            .default_header("host", "c"),
        build("http://a.test").allow_plaintext().endpoints([""; 0]),
    ];
    for (n, builder) in refused.into_iter().enumerate() {
        let shown = n;
        let error = builder.build_on(Sim::new()).err().unwrap_or_else(|| panic!("{shown}"));
        assert!(matches!(error.kind(), ErrorKind::Config(_)), "{shown}: {error:?}");
    }
}

#[test]
fn an_error_status_is_an_error_only_when_asked_for() {
    for (answer, delivery) in [
        ("HTTP/1.1 404 No\r\ncontent-length: 0\r\n\r\n", Delivery::Processed),
        ("HTTP/1.1 429 No\r\ncontent-length: 0\r\n\r\n", Delivery::Refused),
        ("HTTP/1.1 503 No\r\nretry-after: 1\r\ncontent-length: 0\r\n\r\n", Delivery::Refused),
        ("HTTP/1.1 503 No\r\ncontent-length: 0\r\n\r\n", Delivery::MaybeProcessed),
    ] {
        let (_, response) = plain().first(answer);
        let status = response.status();
        let error = response.error_for_status().unwrap_err();
        assert_eq!(*error.kind(), ErrorKind::Status(status));
        assert_eq!(error.delivery(), delivery, "{answer}");
    }
}

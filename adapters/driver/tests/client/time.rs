//! How a client finds its server, and what it does not wait for, in virtual time.

use std::time::Duration;

use sinew_core::error::{Delivery, Fault, Kind, Phase};
use sinew_core::time::Timer;
use sinew_driver::client::ClientBuilder;
use sinew_driver::{ErrorKind, RestClient};

use crate::support::calling::{Calling, OK, calling, calling_at, failed, millis};
use crate::support::{Sim, Site};

const NAMED: &str = "http://service.test:8080";

fn named(addresses: &[&str]) -> Calling {
    let world = calling_at(NAMED, |builder| builder);
    world.sim.name("service.test", addresses);
    world
}

#[test]
fn a_name_is_looked_up_and_named() {
    let world = named(&["192.0.2.7"]);
    let outcome = world.get();
    let server = world.sim.accepted();
    assert_eq!(world.sim.dials(), [(millis(0), "192.0.2.7:8080".to_owned())]);
    server.send(OK);
    world.sim.run();
    assert!(outcome.take().unwrap().is_ok());
    assert!(server.received().contains("host: service.test:8080\r\n"));
}

#[test]
fn a_silent_address_does_not_hold_up_the_next_family() {
    let world = named(&["2001:db8::1", "2001:db8::2", "192.0.2.1"]);
    world.sim.site("[2001:db8::1]:8080", Site::Silent);
    let outcome = world.get();
    world.sim.advance(millis(249));
    assert_eq!(world.sim.dials().len(), 1);
    world.sim.advance(millis(1));
    let dials = world.sim.dials();
    assert_eq!(dials[1], (millis(250), "192.0.2.1:8080".to_owned()), "the families take turns");
    world.sim.accepted().send(OK);
    world.sim.run();
    assert!(outcome.take().unwrap().is_ok());
    world.sim.advance(Duration::from_secs(2));
    assert_eq!(world.sim.dials().len(), 2, "the race is over");
}

#[test]
fn a_refusal_brings_the_next_address_at_once() {
    let world = named(&["192.0.2.1", "192.0.2.2"]);
    world.sim.site("192.0.2.1:8080", Site::Refusing);
    let _outcome = world.get();
    assert_eq!(world.sim.dials()[1], (millis(0), "192.0.2.2:8080".to_owned()));
    world.sim.accepted();
}

#[test]
fn when_all_addresses_refuse_the_call_says_so() {
    let world = named(&["192.0.2.1", "2001:db8::1", "192.0.2.2"]);
    for address in ["192.0.2.1:8080", "[2001:db8::1]:8080", "192.0.2.2:8080"] {
        world.sim.site(address, Site::Refusing);
    }
    let error = failed(&world.get());
    assert_eq!(*error.kind(), ErrorKind::Connect(std::io::ErrorKind::ConnectionRefused));
    assert_eq!((error.phase(), error.delivery()), (Phase::Connect, Delivery::NotSent));
    assert_eq!(error.fault(), Fault::Network);
    assert_eq!((world.sim.dials().len(), world.counts()), (3, (0, 0)));
}

#[test]
fn a_name_without_an_address_is_an_error_of_its_own() {
    for world in [named(&[]), calling_at("http://unknown.test", |builder| builder)] {
        let error = failed(&world.get());
        assert_eq!((error.kind(), error.phase()), (&ErrorKind::Resolve, Phase::Resolve));
        assert_eq!((error.delivery(), world.counts()), (Delivery::NotSent, (0, 0)));
    }
}

#[test]
fn every_phase_has_its_time() {
    let resolving = calling_at(NAMED, |builder| builder);
    resolving.sim.unresolved_name("service.test");
    let connecting = calling(|builder| builder);
    connecting.sim.site("192.0.2.1:80", Site::Silent);
    for (world, phase) in [(resolving, Phase::Resolve), (connecting, Phase::Connect)] {
        let outcome = world.get();
        world.sim.advance(millis(999));
        assert!(outcome.take().is_none());
        world.sim.advance(millis(1));
        let error = failed(&outcome);
        assert_eq!(*error.kind(), ErrorKind::Timeout);
        assert_eq!((error.phase(), error.delivery()), (phase, Delivery::NotSent));
        assert_eq!(world.counts(), (0, 0));
    }
}

#[test]
fn a_call_that_is_short_of_time_ends_while_it_connects() {
    let world = calling(|builder| builder);
    world.sim.site("192.0.2.1:80", Site::Silent);
    let outcome = world.start(world.client.get("/").timeout(millis(300)));
    world.sim.advance(millis(300));
    let error = failed(&outcome);
    assert_eq!(*error.kind(), ErrorKind::Deadline);
    assert_eq!((error.phase(), world.counts()), (Phase::Connect, (0, 0)));
}

#[test]
fn an_answer_that_does_not_begin_is_given_up_after_the_time_of_the_call() {
    let world = calling(|builder| builder);
    let outcome = world.get();
    let server = world.sim.accepted();
    world.sim.advance(millis(29_999));
    assert!(outcome.take().is_none());
    world.sim.advance(millis(1));
    let error = failed(&outcome);
    assert_eq!(*error.kind(), ErrorKind::Deadline);
    assert_eq!((error.phase(), error.delivery()), (Phase::ResponseHead, Delivery::MaybeProcessed));
    assert!(server.is_closed());
    assert_eq!(world.counts(), (0, 0));
}

#[test]
fn a_collected_answer_ends_with_the_call() {
    let world = calling(|builder| builder);
    let (server, response) = world.first("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n");
    let collected = world.sim.start(async move { response.bytes().await });
    for _ in 0..5 {
        world.sim.advance(Duration::from_secs(5));
        server.send("x");
        world.sim.run();
    }
    assert!(collected.take().is_none());
    world.sim.advance(Duration::from_secs(5));
    let error = collected.take().unwrap().unwrap_err();
    assert_eq!(*error.kind(), ErrorKind::Deadline);
    assert_eq!((error.phase(), error.delivery()), (Phase::ResponseBody, Delivery::Processed));
    assert_eq!(world.counts(), (0, 0));
}

#[test]
fn a_streamed_answer_may_take_longer_than_the_call() {
    let world = calling(|builder| builder);
    let (server, mut response) = world.first("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n");
    let streamed = world.sim.start(async move {
        let mut pieces = 0;
        while let Some(piece) = response.chunk().await? {
            pieces += piece.len();
        }
        Ok::<_, sinew_driver::Error>(pieces)
    });
    for _ in 0..9 {
        world.sim.advance(Duration::from_secs(14));
        server.send("x");
        world.sim.run();
    }
    assert_eq!(streamed.take().unwrap().unwrap(), 9);
    assert_eq!(world.counts(), (1, 1));
}

/// Whoever reads it, and however often a piece comes.
#[test]
fn a_body_has_a_time_of_its_own_where_it_is_given_one() {
    let five = |builder: ClientBuilder<Sim>| builder.body_timeout(Duration::from_secs(5));
    let head = "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n";
    for streamed in [true, false] {
        let world = calling(five);
        let (server, mut response) = world.first(head);
        let read = world.sim.start(async move {
            if !streamed {
                return response.bytes().await.map(|bytes| bytes.len());
            }
            let mut length = 0;
            while let Some(piece) = response.chunk().await? {
                length += piece.len();
            }
            Ok(length)
        });
        for _ in 0..4 {
            world.sim.advance(Duration::from_secs(1));
            server.send("x");
            world.sim.run();
        }
        world.sim.advance(millis(999));
        assert!(read.take().is_none());
        world.sim.advance(millis(1));
        let error = read.take().unwrap().unwrap_err();
        assert_eq!(*error.kind(), ErrorKind::Timeout);
        assert_eq!((error.phase(), error.delivery()), (Phase::ResponseBody, Delivery::Processed));
        assert_eq!(world.counts(), (0, 0));
    }
    // A call says otherwise.
    let world = calling(five);
    let outcome = world.start(world.client.get("/").body_timeout(None));
    let server = world.sim.accepted();
    let mut response = world.answer(&server, &outcome, head);
    let read = world.sim.start(async move {
        let first = response.chunk().await;
        first.map(|piece| (piece, response))
    });
    world.sim.advance(Duration::from_secs(14));
    assert!(read.take().is_none());
    server.send("123456789");
    world.sim.run();
    assert_eq!(read.take().unwrap().unwrap().0.unwrap(), "123456789");
}

#[test]
fn a_call_waits_for_a_connection_as_long_as_it_may() {
    let world = calling(|builder| builder.max_connections(1).pool_timeout(millis(200)));
    let first = world.get();
    let server = world.sim.accepted();
    let (waits, is_short) =
        (world.get(), world.start(world.client.get("/").pool_timeout(millis(100))));
    for (outcome, after) in [(&is_short, 100), (&waits, 100)] {
        world.sim.advance(millis(after - 1));
        assert!(outcome.take().is_none());
        world.sim.advance(millis(1));
        let error = failed(outcome);
        assert_eq!(*error.kind(), ErrorKind::Timeout);
        assert_eq!((error.phase(), error.delivery()), (Phase::Pool, Delivery::NotSent));
    }
    world.answer(&server, &first, OK);
    // What is being opened is waited for, too, and is what the call fell short of.
    let world = calling(|builder| builder.pool_timeout(millis(200)));
    world.sim.site("192.0.2.1:80", Site::Silent);
    let outcome = world.get();
    world.sim.advance(millis(200));
    let error = failed(&outcome);
    assert_eq!(*error.kind(), ErrorKind::Timeout);
    assert_eq!((error.phase(), error.delivery()), (Phase::Connect, Delivery::NotSent));
}

#[test]
fn a_time_of_nothing_is_refused() {
    let world = calling(|builder| builder);
    for call in [
        world.client.get("/").pool_timeout(Duration::ZERO),
        world.client.get("/").attempt_timeout(Duration::ZERO),
        world.client.get("/").body_timeout(Some(Duration::ZERO)),
    ] {
        let error = failed(&world.start(call));
        assert_eq!((error.fault(), error.delivery()), (Fault::Local, Delivery::NotSent));
    }
    for build in [
        |builder: ClientBuilder<Sim>| builder.pool_timeout(Duration::ZERO),
        |builder: ClientBuilder<Sim>| builder.body_timeout(Duration::ZERO),
        |builder: ClientBuilder<Sim>| builder.attempt_timeout(Duration::ZERO),
    ] {
        let builder = RestClient::builder("http://192.0.2.1").allow_plaintext();
        let error = build(builder).build_on(Sim::new()).unwrap_err();
        assert_eq!(error.fault(), Fault::Local, "{error}");
    }
}

#[test]
fn a_stream_that_stalls_is_given_up_unless_it_may() {
    for limited in [true, false] {
        let world = calling(|builder| builder);
        let call = world.client.get("/");
        let call = if limited { call } else { call.between_bytes(None) };
        let outcome = world.start(call);
        world.sim.accepted().send("HTTP/1.1 200 OK\r\n\r\n");
        world.sim.run();
        let mut body = outcome.take().unwrap().unwrap().into_body();
        let chunk = world.sim.start(async move { body.chunk().await });
        world.sim.advance(millis(14_999));
        assert!(chunk.take().is_none());
        world.sim.advance(if limited { millis(1) } else { Duration::from_secs(3600) });
        match chunk.take() {
            Some(ended) => {
                let error = ended.unwrap_err();
                let ErrorKind::Protocol(why) = error.kind() else { panic!("{error:?}") };
                assert_eq!(why.kind, Kind::Timeout(Timer::BodyRead));
                assert!(limited && error.is_timeout());
                assert_eq!(world.counts(), (0, 0));
            }
            None => assert!(!limited),
        }
    }
}

#[test]
fn a_server_that_takes_nothing_is_given_up() {
    let world = calling(|builder| builder.timeout(Duration::from_secs(600)));
    let outcome = world.get();
    let server = world.sim.accepted();
    server.received();
    server.send(OK);
    world.sim.run();
    world.bytes(outcome.take().unwrap().unwrap()).unwrap();
    server.window(10);
    let outcome = world.start(world.client.put("/").body(vec![0; 100_000]));
    world.sim.advance(Duration::from_secs(61));
    let error = failed(&outcome);
    let ErrorKind::Protocol(why) = error.kind() else { panic!("{error:?}") };
    assert_eq!(why.kind, Kind::Timeout(Timer::WriteStall));
    assert_eq!(error.delivery(), Delivery::MaybeProcessed);
}

#[test]
fn many_calls_in_a_row_share_one_timer() {
    let world = calling(|builder| builder);
    let (server, response) = world.first(OK);
    world.bytes(response).unwrap();
    let (arms, polls) = (world.sim.arms(), world.sim.polls());
    for _ in 0..100 {
        world.sim.advance(millis(10));
        let response = world.next(&server, OK);
        world.bytes(response).unwrap();
    }
    assert!(world.sim.arms() - arms <= 1, "{} timers were armed", world.sim.arms() - arms);
    let polls = world.sim.polls() - polls;
    assert!(polls <= 300, "{polls} polls: start, answer, body");
}

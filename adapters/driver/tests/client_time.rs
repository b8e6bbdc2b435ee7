//! How a client finds its server, and what it does not wait for, in virtual time.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may fail loudly")]

mod support;

use std::time::Duration;

use sinew_core::error::{Delivery, Fault, Kind, Phase};
use sinew_core::time::Timer;
use sinew_driver::ErrorKind;
use support::Site;
use support::calling::{Calling, OK, calling, calling_at, failed, millis};

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
        assert!(error.is_timeout());
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
    assert!(error.is_timeout());
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
    assert!(error.is_timeout());
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
    assert!(error.is_timeout());
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

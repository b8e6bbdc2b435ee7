//! Law 7: nothing is allocated in proportion to what a peer merely declares, and what it sends is
//! bounded.

use http::StatusCode;
use std::sync::Arc;

use sinew_conformance::feed::drain;
use sinew_core::error::{Fault, Kind};
use sinew_core::http1::{BodySize, NO_FIELDS, Server, ServerConfig, ServerEvent};
use sinew_core::machine::{Machine, Wire};
use sinew_core::time::Instant;

const NOW: Instant = Instant::ZERO;

#[test]
fn a_declared_length_allocates_nothing() {
    let mut config = ServerConfig::default();
    config.limits.body = u64::MAX;
    let heads: [&[u8]; 2] = [
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9223372036854775807\r\n\r\nx",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n7fffffffffffffff\r\nx",
    ];
    for head in heads {
        let mut server = Server::new(Arc::new(config.clone()), NOW);
        server.inbox().extend_from_slice(head);
        while let Ok(Some(_)) = server.poll_event(NOW) {}
        assert_eq!(server.error(), None);
        assert!(server.inbox().capacity() < 4096, "{}", server.inbox().capacity());
    }
}

#[test]
fn a_peer_that_does_not_read_is_not_read_for_ever() {
    let mut server = Server::new(Arc::new(ServerConfig::default()), NOW);
    let mut fed = 0;
    for _ in 0..10_000 {
        if !server.wants_read() {
            break;
        }
        server.inbox().extend_from_slice(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        fed += 1;
        while let Ok(Some(ServerEvent::Request { .. })) = server.poll_event(NOW) {
            server.send_response(NOW, StatusCode::OK, NO_FIELDS, BodySize::Empty).unwrap();
        }
    }
    assert!(!server.wants_read(), "after {fed} requests");
    assert_eq!(server.exchange(), u64::from(ServerConfig::default().limits.pipeline));
    // Once the peer reads, the rest is served: bytes that nobody asked for stayed bytes.
    let mut written = Vec::new();
    loop {
        let drained = drain(server.outbox(), &mut written, usize::MAX);
        while let Ok(Some(ServerEvent::Request { .. })) = server.poll_event(NOW) {
            server.send_response(NOW, StatusCode::OK, NO_FIELDS, BodySize::Empty).unwrap();
        }
        if drained == 0 {
            break;
        }
    }
    assert_eq!(server.exchange(), fed);
}

#[test]
fn an_application_that_does_not_pull_stops_the_peer() {
    let config = ServerConfig::default();
    let most = config.limits.inbox + 1000;
    let mut server = Server::new(Arc::new(config), NOW);
    server
        .inbox()
        .extend_from_slice(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n");
    assert!(matches!(server.poll_event(NOW), Ok(Some(ServerEvent::Request { .. }))));
    while server.wants_read() {
        server.inbox().extend_from_slice(&[b'x'; 1000]);
        assert!(server.inbox().len() <= most);
    }
}

#[test]
fn an_edited_inbox_is_an_error_and_nothing_worse() {
    let mut server = Server::new(Arc::new(ServerConfig::default()), NOW);
    server.inbox().extend_from_slice(b"GET / HTTP/1.1\r\nHo");
    assert!(matches!(server.poll_event(NOW), Ok(None)));
    server.inbox().truncate(3);
    let error = server.poll_event(NOW).unwrap_err();
    assert_eq!((error.kind, error.fault()), (Kind::InboxEdited, Fault::Local));
    assert_eq!(server.poll_event(NOW).unwrap_err(), error);
}

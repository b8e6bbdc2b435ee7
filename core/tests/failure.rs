//! The answers that a server connection writes by itself, and what it was told to put on them.

#![expect(clippy::unwrap_used, reason = "outside of `#[test]` too, a test stops where it is wrong")]

use std::sync::Arc;
use std::time::Duration;

use bytes::Buf as _;
use http::StatusCode;
use sinew_core::error::{Kind, Misuse};
use sinew_core::http1::{BodyBytes, BodySize, NO_FIELDS, Server, ServerConfig, ServerEvent};
use sinew_core::observe::RequestId;
use sinew_core::problem::Ids;
use sinew_core::time::Instant;
use sinew_core::{Machine, Wire};

fn server() -> Server {
    Server::new(Arc::new(ServerConfig::default()), Instant::ZERO)
}

fn ask(server: &mut Server, request: &str) {
    server.inbox().extend_from_slice(request.as_bytes());
    assert!(matches!(server.poll_event(Instant::ZERO), Ok(Some(ServerEvent::Request { .. }))));
}

fn written(server: &mut Server) -> String {
    let outbox = server.outbox();
    let bytes = outbox.copy_to_bytes(outbox.remaining());
    String::from_utf8(bytes.into()).unwrap()
}

const GET: &str = "GET / HTTP/1.1\r\nhost: a\r\n\r\n";
const LATE: Duration = Duration::from_secs(31);

#[test]
fn an_answer_of_its_own_has_what_it_was_told() {
    let mut server = server();
    ask(&mut server, GET);
    let ids = Ids { request: Some(RequestId::mint(0xab)), trace: None };
    let fields = [("vary", "origin"), ("Content-Type", "text/html"), ("x-a", "b")];
    server.describe_failure(Instant::ZERO, ids, fields).unwrap();
    assert_eq!(written(&mut server), "", "nothing failed yet");
    server.rest();
    server.handle_timeout(Instant::ZERO + LATE);
    let answer = written(&mut server);
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert_eq!(
        head.lines().collect::<Vec<_>>(),
        [
            "HTTP/1.1 503 Service Unavailable",
            "vary: origin",
            "x-a: b",
            "content-type: application/problem+json",
            "content-length: 119",
            "connection: close",
        ]
    );
    assert_eq!(
        body,
        concat!(
            r#"{"title":"Service Unavailable","status":503,"reason":"handler_timeout","#,
            r#""request_id":"000000000000000000000000000000ab"}"#
        )
    );
}

#[test]
fn the_next_exchange_knows_nothing_of_it() {
    let mut server = server();
    ask(&mut server, GET);
    let ids = Ids { request: Some(RequestId::mint(1)), trace: None };
    server.describe_failure(Instant::ZERO, ids, [("x-a", "b")]).unwrap();
    let none = [("", ""); 0];
    server.send_response(Instant::ZERO, StatusCode::OK, none, BodySize::Empty).unwrap();
    assert!(!written(&mut server).contains("x-a"), "what the application sends is its own");
    ask(&mut server, GET);
    server.handle_timeout(Instant::ZERO + LATE);
    let answer = written(&mut server);
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    assert!(!answer.contains("x-a") && !answer.contains("request_id"), "{answer}");
}

#[test]
fn what_cannot_be_sent_is_refused_and_forgotten() {
    let mut server = server();
    ask(&mut server, GET);
    for (name, value, why) in
        [("x a", "b", Misuse::FieldName), ("x-a", "b\r\nx: y", Misuse::FieldValue)]
    {
        let fields = [("x-sound", "1"), (name, value)];
        let error = server.describe_failure(Instant::ZERO, Ids::default(), fields).unwrap_err();
        assert_eq!(error.kind, Kind::Usage(why));
    }
    server.handle_timeout(Instant::ZERO + LATE);
    assert!(!written(&mut server).contains("x-"));
}

#[test]
fn bodies_are_measured_without_what_frames_them() {
    let mut server = server();
    let now = Instant::ZERO;
    let nothing = BodyBytes::default();
    ask(&mut server, "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n");
    server.inbox().extend_from_slice(b"3;a=b\r\nabc\r\n2\r\nde\r\n0\r\n\r\n");
    while let Ok(Some(_)) = server.poll_event(now) {}
    assert_eq!(server.body_bytes(), BodyBytes { received: 5, sent: 0 });
    server.send_response(now, StatusCode::OK, NO_FIELDS, BodySize::Unknown).unwrap();
    server.send_data(now, "four".into()).unwrap();
    server.send_end(now, NO_FIELDS).unwrap();
    assert_eq!(server.body_bytes(), BodyBytes { received: 5, sent: 4 }, "until the next one");

    // What answers HEAD does not travel.
    ask(&mut server, "HEAD / HTTP/1.1\r\nhost: a\r\n\r\n");
    assert_eq!(server.body_bytes(), nothing);
    server.send_response(now, StatusCode::OK, NO_FIELDS, BodySize::Exact(4)).unwrap();
    server.send_data(now, "four".into()).unwrap();
    server.send_end(now, NO_FIELDS).unwrap();
    assert_eq!(server.body_bytes(), nothing);

    // A body that nobody wants is thrown away, and came all the same.
    ask(&mut server, "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\nabc");
    server.discard_body(now);
    while let Ok(Some(_)) = server.poll_event(now) {}
    assert_eq!(server.body_bytes(), BodyBytes { received: 3, sent: 0 });

    // What the machine answers by itself is an answer like any other.
    written(&mut server);
    server.handle_timeout(now + LATE);
    let answer = written(&mut server);
    let (_, body) = answer.split_once("\r\n\r\n").unwrap();
    assert_eq!(server.body_bytes().sent, body.len() as u64);
}

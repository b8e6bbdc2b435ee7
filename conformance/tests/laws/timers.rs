//! A silent peer or a silent application: every wait has a named timer, and it fires.

use bytes::Bytes;
use http::{Method, StatusCode};
use std::sync::Arc;

use sinew_conformance::feed::drain;
use sinew_core::error::{Error, Kind};
use sinew_core::http1::{
    BodySize, Client, ClientConfig, ClientEvent, NO_FIELDS, RequestLine, Server, ServerConfig,
    ServerEvent,
};
use sinew_core::machine::{CloseReason, Status, Wire};
use sinew_core::time::{Instant, Timer};

/// What happened to a connection that was left alone.
#[derive(PartialEq, Debug)]
struct Life {
    /// The timers that fired, with the second at which they did.
    fired: Vec<(Timer, u64)>,
    end: Option<CloseReason>,
    error: Option<Kind>,
    written: String,
}

/// Lets time pass until the machine ends or waits for nothing; `event` is told of each event.
fn leave_alone<W: Wire<Error = Error>>(
    wire: &mut W,
    reads: bool,
    mut event: impl FnMut(&mut W, W::Event, Instant),
) -> Life {
    let mut now = Instant::ZERO;
    let (mut fired, mut written, mut error) = (Vec::new(), Vec::new(), None);
    for _ in 0..50 {
        loop {
            match wire.poll_event(now) {
                Ok(Some(e)) => event(wire, e, now),
                polled => {
                    error = polled.err().map(|error| error.kind);
                    if !reads || drain(wire.outbox(), &mut written, usize::MAX) == 0 {
                        break;
                    }
                }
            }
        }
        let (Status::Open | Status::HalfClose, Some(deadline)) = (wire.status(), wire.deadline())
        else {
            break;
        };
        assert!(deadline.at > now, "{deadline:?} at {now:?}");
        now = deadline.at;
        fired.push((deadline.why, now.as_nanos() / 1_000_000_000));
        wire.handle_timeout(now);
    }
    let end = match wire.status() {
        Status::Close(reason) => Some(reason),
        Status::Open | Status::HalfClose => None,
    };
    let written = String::from_utf8_lossy(&written).lines().next().unwrap_or_default().to_owned();
    Life { fired, end, error, written }
}

fn server(input: &[u8]) -> Server {
    let mut server = Server::new(Arc::new(ServerConfig::default()), Instant::ZERO);
    server.inbox().extend_from_slice(input);
    server
}

#[expect(clippy::needless_pass_by_value, reason = "it takes what a machine gives")]
fn answer(server: &mut Server, event: ServerEvent, now: Instant) {
    if matches!(event, ServerEvent::Request { .. }) {
        server.send_response(now, StatusCode::OK, NO_FIELDS, BodySize::Empty).unwrap();
    }
}

#[test]
fn a_client_that_says_nothing() {
    let life = leave_alone(&mut server(b""), true, answer);
    assert_eq!(life.fired, [(Timer::FirstByte, 10)]);
    assert_eq!((life.end, life.error, &*life.written), (Some(CloseReason::Idle), None, ""));
}

#[test]
fn a_client_that_stops_in_a_head() {
    let life = leave_alone(&mut server(b"GET / HT"), true, answer);
    assert_eq!(life.fired, [(Timer::HeaderRead, 10), (Timer::Linger, 11)]);
    assert_eq!(life.error, Some(Kind::Timeout(Timer::HeaderRead)));
    assert_eq!(life.written, "HTTP/1.1 408 Request Timeout");
    assert_eq!(life.end, Some(CloseReason::Failed));
}

#[test]
fn a_client_that_stops_in_a_body() {
    let head = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 50\r\n\r\nx";
    let mut silent = server(head);
    let life = leave_alone(&mut silent, true, |_, _, _| {});
    assert_eq!(life.fired.last(), Some(&(Timer::Linger, 11)));
    assert_eq!(life.error, Some(Kind::Timeout(Timer::BodyRead)));
    assert_eq!(life.written, "HTTP/1.1 408 Request Timeout");
}

#[test]
fn a_client_that_asks_no_more() {
    let life = leave_alone(&mut server(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"), true, answer);
    assert_eq!(life.fired, [(Timer::Idle, 75)]);
    assert_eq!((life.end, life.error), (Some(CloseReason::Idle), None));
}

#[test]
fn a_client_that_reads_nothing() {
    let life = leave_alone(&mut server(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"), false, answer);
    assert_eq!(life.fired.last(), Some(&(Timer::WriteStall, 30)));
    assert_eq!(life.error, Some(Kind::Timeout(Timer::WriteStall)));
    assert_eq!(life.end, Some(CloseReason::Failed));
}

#[test]
fn a_client_that_does_not_go() {
    let input = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    let life = leave_alone(&mut server(input), true, answer);
    assert_eq!(life.fired, [(Timer::Linger, 1)]);
    assert_eq!((life.end, life.error), (Some(CloseReason::Done), None));
}

#[test]
fn a_handler_that_does_not_answer() {
    let mut silent = server(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    let life = leave_alone(&mut silent, true, |_, _, _| {});
    assert_eq!(life.fired, [(Timer::Handler, 30), (Timer::Linger, 31)]);
    assert_eq!(life.error, Some(Kind::Timeout(Timer::Handler)));
    assert_eq!(life.written, "HTTP/1.1 503 Service Unavailable");
}

fn client(body: BodySize, fields: &[(&str, &str)], answer: &[u8]) -> Client {
    let config = ClientConfig {
        response_head: Some(core::time::Duration::from_secs(7)),
        ..ClientConfig::default()
    };
    let mut client = Client::new(Arc::new(config));
    let line = RequestLine { method: &Method::POST, target: b"/", authority: b"a" };
    client.send_request(Instant::ZERO, line, fields.iter().copied(), body).unwrap();
    drain(client.outbox(), &mut Vec::new(), usize::MAX);
    client.inbox().extend_from_slice(answer);
    client
}

#[test]
fn a_server_that_does_not_answer() {
    let life = leave_alone(&mut client(BodySize::Empty, &[], b""), true, |_, _, _| {});
    assert_eq!(life.fired, [(Timer::ResponseHead, 7)]);
    assert_eq!(life.error, Some(Kind::Timeout(Timer::ResponseHead)));
}

#[test]
fn a_server_that_stops_in_a_body() {
    let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhe";
    let life = leave_alone(&mut client(BodySize::Empty, &[], answer), true, |_, _, _| {});
    assert_eq!(life.fired, [(Timer::BodyRead, 15)]);
    assert_eq!(life.error, Some(Kind::Timeout(Timer::BodyRead)));
}

#[test]
fn a_server_that_reads_nothing() {
    let mut client = client(BodySize::Exact(5), &[], b"");
    client.set_response_head_timeout(Instant::ZERO, None);
    client.send_data(Instant::ZERO, Bytes::from_static(b"hello")).unwrap();
    client.send_end(Instant::ZERO, NO_FIELDS).unwrap();
    let life = leave_alone(&mut client, false, |_, _, _| {});
    assert_eq!(life.fired.last(), Some(&(Timer::WriteStall, 30)));
    assert_eq!(life.error, Some(Kind::Timeout(Timer::WriteStall)));
}

#[test]
fn a_server_that_does_not_say_continue() {
    let mut client = client(BodySize::Exact(5), &[("expect", "100-continue")], b"");
    let mut asked = Vec::new();
    let life = leave_alone(&mut client, true, |client, event, now| {
        asked.push(matches!(event, ClientEvent::Continue) && client.can_send());
        client.send_data(now, Bytes::from_static(b"hello")).unwrap();
        client.send_end(now, NO_FIELDS).unwrap();
    });
    assert_eq!(asked, [true]);
    assert_eq!(life.fired, [(Timer::Continue, 1), (Timer::ResponseHead, 7)]);
    assert_eq!(life.written, "hello");
}

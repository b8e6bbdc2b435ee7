//! A client connection: its timers, its turns, its ends.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, Bytes};
use http::Method;
use sinew_core::error::{Delivery, Error, Kind, Misuse, Phase};
use sinew_core::http1::{
    BodySize, Client, ClientConfig, ClientEvent, NO_FIELDS, Rejected, Unanswered,
};
use sinew_core::machine::{CloseReason, Machine, Status, Wire};
use sinew_core::observe::Event;
use sinew_core::outbox::HIGH_WATER;
use sinew_core::time::{Deadline, Instant, Timer};

use crate::told::{NOW, drain, line};

const EMPTY: &str = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";

fn later(seconds: u64) -> Instant {
    NOW + Duration::from_secs(seconds)
}

fn due(seconds: u64, why: Timer) -> Option<Deadline> {
    Some(Deadline { at: later(seconds), why })
}

fn send(client: &mut Client, method: &Method, fields: &[(&str, &str)], body: BodySize) {
    client.send_request(NOW, line(method, "/"), fields.iter().copied(), body).unwrap();
}

/// A client whose request without a body is on its way.
fn asking() -> Client {
    asking_with(ClientConfig::default())
}

fn asking_with(config: ClientConfig) -> Client {
    let mut client = Client::new(Arc::new(config));
    send(&mut client, &Method::GET, &[], BodySize::Empty);
    drain(&mut client);
    client
}

fn feed(client: &mut Client, now: Instant, input: &str) -> Result<usize, Error> {
    client.inbox().extend_from_slice(input.as_bytes());
    let mut events = 0;
    while client.poll_event(now)?.is_some() {
        events += 1;
    }
    Ok(events)
}

fn before(at: Instant) -> Instant {
    Instant::from_nanos(at.as_nanos() - 1)
}

#[test]
fn whose_turn_it_is() {
    let mut client = Client::new(Arc::default());
    assert!(client.reusable() && !client.awaits_response() && !client.request_open());
    assert_eq!((client.delivery(), client.exchange()), (Delivery::NotSent, 0));
    send(&mut client, &Method::POST, &[], BodySize::Exact(5));
    assert!(!client.reusable() && client.awaits_response() && client.request_open());
    assert!(client.can_send() && !client.body_open());
    assert_eq!((client.delivery(), client.exchange()), (Delivery::NotSent, 1));
    client.outbox().advance(1);
    assert_eq!(client.delivery(), Delivery::MaybeProcessed);
    let error = client.send_request(NOW, line(&Method::GET, "/"), NO_FIELDS, BodySize::Empty);
    let kind = Kind::Usage(Misuse::OutOfTurn);
    let out_of_turn = Error { kind, phase: Phase::Idle, delivery: Delivery::NotSent };
    assert_eq!(error, Err(out_of_turn));
    let early = client.send_end(NOW, NO_FIELDS).unwrap_err();
    assert_eq!(early, Error::usage(Misuse::BodyTooShort, Phase::RequestBody));
    client.send_data(NOW, Bytes::from_static(b"hello")).unwrap();
    client.send_end(NOW, NO_FIELDS).unwrap();
    assert!(!client.request_open() && !client.can_send());
    let late = client.send_data(NOW, Bytes::new()).unwrap_err();
    assert_eq!(late, Error::usage(Misuse::NoBodyDue, Phase::ResponseHead).into());
    assert!(drain(&mut client).ends_with("\r\n\r\nhello"));
    let answer = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nh";
    assert_eq!(feed(&mut client, NOW, answer), Ok(2));
    assert!(client.body_open() && !client.awaits_response() && !client.reusable());
    assert_eq!(client.delivery(), Delivery::Processed);
    let late = client.send_end(NOW, NO_FIELDS).unwrap_err();
    assert_eq!(late, Error::usage(Misuse::NoBodyDue, Phase::ResponseBody));
    assert_eq!(feed(&mut client, NOW, "i"), Ok(2));
    assert!(client.reusable() && !client.body_open() && client.deadline().is_none());
    let none = client.send_end(NOW, NO_FIELDS).unwrap_err();
    assert_eq!(none, Error::usage(Misuse::NoBodyDue, Phase::Idle));
    client.inbox().extend_from_slice(b"x");
    assert!(!client.reusable(), "the server spoke unasked");
    let refused = client.send_request(NOW, line(&Method::GET, "/"), NO_FIELDS, BodySize::Empty);
    let kind = Kind::Closed;
    assert_eq!(refused, Err(Error { kind, phase: Phase::Idle, delivery: Delivery::NotSent }));
}

#[test]
fn a_head_must_come_in_time_where_a_limit_is_set() {
    assert_eq!(asking().deadline(), None);
    let wait = Some(Duration::from_secs(3));
    let mut client = asking_with(ClientConfig { response_head: wait, ..ClientConfig::default() });
    assert_eq!(client.deadline(), due(3, Timer::ResponseHead));
    client.set_response_head_timeout(later(1), Some(Duration::from_secs(4)));
    assert_eq!(client.deadline(), due(5, Timer::ResponseHead));
    client.handle_timeout(before(later(5)));
    assert_eq!(client.error(), None);
    client.handle_timeout(later(5));
    let kind = Kind::Timeout(Timer::ResponseHead);
    let delivery = Delivery::MaybeProcessed;
    let error = Error { kind, phase: Phase::ResponseHead, delivery };
    assert_eq!(
        (client.error(), client.status()),
        (Some(error), Status::Close(CloseReason::Failed))
    );
    assert!(!client.awaits_response() && !client.wants_read() && client.deadline().is_none());
    let mut client = Client::new(Arc::default());
    client.set_response_head_timeout(NOW, wait);
    assert_eq!(client.deadline(), None, "nothing is awaited");
}

#[test]
fn a_body_must_go_on_in_time() {
    let head = "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n";
    let mut client = asking();
    assert_eq!(feed(&mut client, NOW, head), Ok(1));
    assert_eq!(client.deadline(), due(15, Timer::BodyRead));
    assert_eq!(feed(&mut client, later(10), "x"), Ok(1));
    assert_eq!(client.deadline(), due(25, Timer::BodyRead));
    client.handle_timeout(before(later(25)));
    assert_eq!(client.error(), None);
    // What is there is not late.
    client.inbox().extend_from_slice(b"y");
    client.handle_timeout(later(25));
    assert_eq!((client.error(), client.deadline()), (None, due(40, Timer::BodyRead)));
    assert_eq!(feed(&mut client, later(30), ""), Ok(1));
    assert_eq!(client.deadline(), due(45, Timer::BodyRead));
    client.handle_timeout(later(45));
    let error = client.error().unwrap();
    assert_eq!((error.kind, error.phase), (Kind::Timeout(Timer::BodyRead), Phase::ResponseBody));
    // Nor is what moves without a piece: the size line of a chunk.
    let mut client = asking();
    let chunked = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
    assert_eq!(feed(&mut client, NOW, chunked), Ok(1));
    assert_eq!(feed(&mut client, later(10), "5\r\n"), Ok(0));
    client.handle_timeout(later(15));
    assert_eq!((client.error(), client.deadline()), (None, due(30, Timer::BodyRead)));
    client.handle_timeout(later(30));
    assert!(client.error().is_some());
    // A limit of one's own, or none.
    let mut client = asking();
    client.set_between_bytes(NOW, None);
    assert_eq!((feed(&mut client, NOW, head), client.deadline()), (Ok(1), None));
    client.set_between_bytes(later(1), Some(Duration::from_secs(2)));
    assert_eq!(client.deadline(), due(3, Timer::BodyRead));
}

#[test]
fn a_server_that_takes_nothing_is_given_up() {
    let mut client = Client::new(Arc::default());
    send(&mut client, &Method::GET, &[], BodySize::Empty);
    assert_eq!(client.deadline(), due(30, Timer::WriteStall));
    client.handle_timeout(later(30));
    let error = client.error().unwrap();
    assert_eq!((error.kind, error.delivery), (Kind::Timeout(Timer::WriteStall), Delivery::NotSent));
    assert!(client.outbox().is_empty());
}

#[test]
fn a_body_is_held_back_until_it_is_asked_for() {
    let expecting = || {
        let mut client = Client::new(Arc::default());
        send(&mut client, &Method::POST, &[("expect", "100-continue")], BodySize::Exact(5));
        drain(&mut client);
        assert!(client.request_open() && !client.can_send());
        assert_eq!(client.deadline(), due(1, Timer::Continue));
        client
    };
    let body = Bytes::from_static(b"hello");
    let mut client = expecting();
    assert_eq!(client.send_data(NOW, body.clone()), Err(Rejected::Full(body.clone())));
    assert_eq!(feed(&mut client, NOW, "HTTP/1.1 102 x\r\n\r\n"), Ok(1));
    assert!(!client.can_send());
    client.inbox().extend_from_slice(b"HTTP/1.1 100 x\r\n\r\n");
    assert!(matches!(client.poll_event(NOW), Ok(Some(ClientEvent::Informational(_)))));
    assert!(matches!(client.poll_event(NOW), Ok(Some(ClientEvent::Continue))));
    assert!(matches!(client.poll_event(NOW), Ok(None)));
    assert!(client.can_send() && client.deadline().is_none());
    assert_eq!(feed(&mut client, NOW, "HTTP/1.1 100 x\r\n\r\n"), Ok(1), "told once");
    client.send_data(NOW, body.clone()).unwrap();

    let mut client = expecting();
    client.handle_timeout(before(later(1)));
    assert!(!client.can_send());
    client.handle_timeout(later(1));
    assert!(client.can_send() && client.error().is_none() && client.deadline().is_none());
    assert_eq!(feed(&mut client, later(1), ""), Ok(1), "told to go on");

    // A final answer instead: nothing of the body is sent, and nothing follows.
    let mut client = expecting();
    assert_eq!(feed(&mut client, NOW, EMPTY), Ok(1));
    assert_eq!(client.deadline(), None);
    client.send_data(NOW, body).unwrap();
    client.send_end(NOW, NO_FIELDS).unwrap();
    assert_eq!((drain(&mut client).len(), client.status()), (0, Status::Close(CloseReason::Done)));

    let mut none = Client::new(Arc::default());
    send(&mut none, &Method::GET, &[("expect", "100-continue")], BodySize::Empty);
    drain(&mut none);
    assert_eq!((none.deadline(), none.request_open()), (None, false));
    for name in ["accept", "expert"] {
        let mut other = Client::new(Arc::default());
        send(&mut other, &Method::POST, &[(name, "100-continue")], BodySize::Exact(5));
        assert!(other.can_send(), "another field expects nothing");
    }
}

#[test]
fn a_full_outbox_stops_the_producer() {
    let mut client = Client::new(Arc::default());
    send(&mut client, &Method::POST, &[], BodySize::Unknown);
    client.send_data(NOW, Bytes::from(vec![0; HIGH_WATER])).unwrap();
    assert!(!client.can_send());
    let more = Bytes::from_static(b"more");
    assert_eq!(client.send_data(NOW, more.clone()), Err(Rejected::Full(more)));
    drain(&mut client);
    assert!(client.can_send());
}

#[test]
fn a_request_that_is_given_up_ends_the_connection() {
    let mut client = Client::new(Arc::default());
    send(&mut client, &Method::POST, &[], BodySize::Unknown);
    client.abort(NOW);
    assert_eq!((drain(&mut client).len(), client.status()), (0, Status::Close(CloseReason::Done)));
    let late = client.send_data(NOW, Bytes::new()).unwrap_err();
    let kind = Kind::Closed;
    let closed = Error { kind, phase: Phase::Idle, delivery: Delivery::NotSent };
    assert_eq!(late, closed.into());
    // What is answered already is read to its end.
    let mut client = Client::new(Arc::default());
    send(&mut client, &Method::POST, &[], BodySize::Unknown);
    drain(&mut client);
    assert_eq!(feed(&mut client, NOW, "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nh"), Ok(2));
    client.abort(NOW);
    assert!(!client.request_open() && client.body_open());
    assert_eq!(client.status(), Status::Open);
    assert_eq!(feed(&mut client, NOW, "i"), Ok(2));
    assert_eq!(client.status(), Status::Close(CloseReason::Done));
    // A request that is complete is not given up.
    let mut client = asking();
    client.abort(NOW);
    assert_eq!((client.status(), feed(&mut client, NOW, EMPTY)), (Status::Open, Ok(1)));
}

#[test]
fn closing_finishes_what_runs() {
    let mut client = Client::new(Arc::default());
    client.close(NOW);
    assert_eq!(client.status(), Status::Close(CloseReason::Done));
    let mut client = asking();
    client.close(NOW);
    assert_eq!((client.status(), client.reusable()), (Status::Open, false));
    assert_eq!(feed(&mut client, NOW, EMPTY), Ok(1));
    assert_eq!(client.status(), Status::Close(CloseReason::Done));
    // Until it is written, what is queued stays.
    let mut client = asking();
    send_behind(&mut client);
    client.close(NOW);
    assert_eq!(client.status(), Status::Open);
}

/// Ends the exchange and queues another request.
fn send_behind(client: &mut Client) {
    assert_eq!(feed(client, NOW, EMPTY), Ok(1));
    send(client, &Method::GET, &[], BodySize::Empty);
    assert_eq!(client.exchange(), 2);
    assert_eq!(client.delivery(), Delivery::NotSent);
    let waiting: Vec<Unanswered> = client.unanswered().collect();
    assert_eq!(waiting, [Unanswered { exchange: 2, delivery: Delivery::NotSent }]);
}

#[test]
fn how_a_server_leaves() {
    let mut client = Client::new(Arc::default());
    client.handle_eof(NOW);
    assert!(client.peer_closed() && !client.reusable() && !client.wants_read());
    assert_eq!(feed(&mut client, NOW, ""), Ok(0));
    assert_eq!(client.status(), Status::Close(CloseReason::PeerClosed));
    let mut client = asking();
    client.handle_eof(NOW);
    let error = feed(&mut client, NOW, "").unwrap_err();
    let delivery = Delivery::MaybeProcessed;
    assert_eq!(error, Error { kind: Kind::Truncated, phase: Phase::ResponseHead, delivery });
    let mut client = asking();
    assert!(client.is_self_delimited());
    assert_eq!(feed(&mut client, NOW, "HTTP/1.1 200 OK\r\n\r\n"), Ok(1));
    assert!(!client.is_self_delimited(), "the end of the connection is that of the body");
}

#[test]
fn an_edited_inbox_is_noticed() {
    let mut client = asking();
    assert_eq!(feed(&mut client, NOW, "HTTP/1.1 2"), Ok(0));
    client.inbox()[9] = b'3';
    let error = feed(&mut client, NOW, "00 OK").unwrap_err();
    assert_eq!((error.kind, error.phase), (Kind::InboxEdited, Phase::ResponseHead));
    assert_eq!(client.status(), Status::Close(CloseReason::Failed));
}

#[test]
fn reading_pauses_when_the_inbox_is_full_and_rest_gives_memory_back() {
    let mut client = asking();
    client.inbox().extend_from_slice(&vec![b'x'; 64 * 1024 - 1]);
    assert!(client.wants_read());
    client.inbox().extend_from_slice(b"x");
    assert!(!client.wants_read());
    client.rest();
    assert_eq!(client.inbox().len(), 64 * 1024);
    let mut client = asking();
    client.rest();
    assert_eq!((client.inbox().capacity(), client.outbox().lacks_block()), (0, true));
}

#[test]
fn decisions_are_told_in_order() {
    let mut client = asking_with(ClientConfig { observe: true, ..ClientConfig::default() });
    let answers = format!("HTTP/1.1 103 x\r\n\r\n{EMPTY}");
    assert_eq!(feed(&mut client, NOW, &answers), Ok(2));
    client.close(NOW);
    let told: Vec<Event> = std::iter::from_fn(|| client.poll_observed()).collect();
    let exchange = 1;
    let status = |code: u16| http::StatusCode::from_u16(code).unwrap();
    assert_eq!(
        told,
        [
            Event::RequestStarted { exchange },
            Event::Interim { exchange, status: status(103) },
            Event::Responded { exchange, status: status(200) },
            Event::ExchangeEnded { exchange, reusable: true },
            Event::Closed(CloseReason::Done),
        ]
    );
}

//! A server connection: its timers, its turns, its ends.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use sinew_core::error::{Delivery, Error, Kind, Limit, Misuse, Phase};
use sinew_core::http1::{BodySize, Limits, NO_FIELDS, Rejected, Server, ServerConfig, ServerEvent};
use sinew_core::machine::{CloseReason, Machine, Status, Wire};
use sinew_core::observe::Event;
use sinew_core::outbox::HIGH_WATER;
use sinew_core::time::{Deadline, Instant, Timer};

use crate::sending::{GET, asked, asked_with};
use crate::told::{NOW, drain};

const POST: &str = "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\n";
const CHUNKED: &str = "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n";
const EXPECTS: &str =
    "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\nexpect: 100-continue\r\n\r\n";

fn fresh() -> Server {
    Server::new(Arc::default(), NOW)
}

fn later(seconds: u64) -> Instant {
    NOW + Duration::from_secs(seconds)
}

fn due(seconds: u64, why: Timer) -> Option<Deadline> {
    Some(Deadline { at: later(seconds), why })
}

fn feed(server: &mut Server, input: &str) {
    server.inbox().extend_from_slice(input.as_bytes());
}

/// Pulls until there is nothing.
fn pull(server: &mut Server, now: Instant) -> Result<usize, Error> {
    let mut events = 0;
    while server.poll_event(now)?.is_some() {
        events += 1;
    }
    Ok(events)
}

fn answer(server: &mut Server, now: Instant) {
    server.send_response(now, StatusCode::OK, NO_FIELDS, BodySize::Empty).unwrap();
}

fn usage(misuse: Misuse, phase: Phase) -> Error {
    Error::usage(misuse, phase)
}

/// Nothing happens just before it is due.
fn not_before(server: &mut Server) -> Instant {
    let deadline = server.deadline().unwrap().at;
    let before = Instant::from_nanos(deadline.as_nanos() - 1);
    let status = server.status();
    server.handle_timeout(before);
    assert_eq!((server.status(), server.error()), (status, None));
    assert_eq!(server.deadline().map(|deadline| deadline.at), Some(deadline));
    deadline
}

#[test]
fn a_client_that_says_nothing_is_dropped() {
    let mut server = fresh();
    assert_eq!(server.deadline(), due(10, Timer::FirstByte));
    assert!(server.is_idle() && server.wants_read() && !server.awaits_response());
    let at = not_before(&mut server);
    server.handle_timeout(at);
    assert_eq!(server.status(), Status::Close(CloseReason::Idle));
    assert_eq!((server.deadline(), drain(&mut server).len()), (None, 0));
    assert!(!server.wants_read());
    let error = server.send_response(at, StatusCode::OK, NO_FIELDS, BodySize::Empty).unwrap_err();
    let closed = Error { kind: Kind::Closed, phase: Phase::Idle, delivery: Delivery::Processed };
    assert_eq!(error, closed);
}

#[test]
fn a_head_must_come_in_time_from_its_first_byte() {
    let mut server = fresh();
    feed(&mut server, "\r");
    assert_eq!(pull(&mut server, later(1)), Ok(0));
    assert_eq!(server.deadline(), due(10, Timer::FirstByte), "half an empty line is no head");
    feed(&mut server, "\nG");
    assert_eq!(pull(&mut server, later(2)), Ok(0));
    assert_eq!(server.deadline(), due(12, Timer::HeaderRead));
    assert!(!server.is_idle());
    feed(&mut server, "ET / ");
    assert_eq!(pull(&mut server, later(9)), Ok(0));
    assert_eq!(server.deadline(), due(12, Timer::HeaderRead), "more of it gives no more time");
    let at = not_before(&mut server);
    server.handle_timeout(at);
    let kind = Kind::Timeout(Timer::HeaderRead);
    let error = Error { kind, phase: Phase::RequestHead, delivery: Delivery::Refused };
    assert_eq!((server.error(), server.poll_event(at).err()), (Some(error), Some(error)));
    assert!(drain(&mut server).starts_with("HTTP/1.1 408 "));
}

#[test]
fn what_came_before_the_timer_fired_deserves_a_look() {
    let mut server = fresh();
    feed(&mut server, GET);
    server.handle_timeout(later(10));
    assert_eq!(server.status(), Status::Open);
    assert_eq!(server.deadline(), due(20, Timer::HeaderRead));
    assert_eq!(pull(&mut server, later(10)), Ok(1));
    assert_eq!(server.deadline(), due(40, Timer::Handler));
}

#[test]
fn an_idle_connection_ends_in_silence() {
    let mut server = asked(GET);
    answer(&mut server, later(1));
    drain(&mut server);
    assert_eq!(pull(&mut server, later(2)), Ok(0));
    assert_eq!(server.deadline(), due(76, Timer::Idle), "from the end of the exchange");
    assert!(server.is_idle());
    let at = not_before(&mut server);
    server.handle_timeout(at);
    assert_eq!(server.status(), Status::Close(CloseReason::Idle));
    assert_eq!(drain(&mut server), "");
}

#[test]
fn the_application_answers_in_time_or_is_answered_for() {
    let mut server = asked(GET);
    assert_eq!(server.deadline(), due(30, Timer::Handler));
    server.set_handler_timeout(later(1), Some(Duration::from_secs(5)));
    assert_eq!(server.deadline(), due(6, Timer::Handler));
    server.set_handler_timeout(later(1), None);
    assert_eq!(server.deadline(), None);
    server.set_handler_timeout(later(2), Some(Duration::from_secs(5)));
    let at = not_before(&mut server);
    server.handle_timeout(at);
    let kind = Kind::Timeout(Timer::Handler);
    let error = Error { kind, phase: Phase::ResponseHead, delivery: Delivery::MaybeProcessed };
    assert_eq!(server.error(), Some(error));
    assert!(drain(&mut server).starts_with("HTTP/1.1 503 "));
    assert!(!server.awaits_response() && !server.is_idle());
    // Behind the head of the answer there is nothing to replace.
    let mut server = asked(GET);
    server.send_response(NOW, StatusCode::OK, NO_FIELDS, BodySize::Unknown).unwrap();
    drain(&mut server);
    server.set_handler_timeout(NOW, Some(Duration::from_secs(1)));
    assert_eq!(pull(&mut server, NOW), Ok(0));
    assert_eq!(server.deadline(), None);
    // A limit of the past is due at once.
    let mut server = asked(GET);
    server.set_handler_timeout(NOW, Some(Duration::ZERO));
    server.handle_timeout(NOW);
    assert!(server.error().is_some());
}

#[test]
fn a_client_that_takes_nothing_is_cut() {
    let mut server = asked(GET);
    answer(&mut server, NOW);
    assert_eq!(server.deadline(), due(30, Timer::WriteStall));
    let outbox = server.outbox();
    bytes::Buf::advance(outbox, 1);
    server.handle_timeout(later(30));
    assert_eq!((server.deadline(), server.error()), (due(60, Timer::WriteStall), None));
    server.handle_timeout(later(60));
    let error = server.error().unwrap();
    assert_eq!((error.kind, error.phase), (Kind::Timeout(Timer::WriteStall), Phase::Idle));
    assert_eq!(server.status(), Status::Close(CloseReason::Failed));
    assert!(server.outbox().is_empty());
    // The same behind an error.
    let mut server = fresh();
    feed(&mut server, "(\r\n");
    let first = server.poll_event(NOW).unwrap_err();
    assert_eq!((server.status(), server.deadline()), (Status::Open, due(30, Timer::WriteStall)));
    server.handle_timeout(later(30));
    assert_eq!(server.status(), Status::Close(CloseReason::Failed));
    assert_eq!(server.error(), Some(first));
}

#[test]
fn the_last_answer_can_be_read_before_the_end() {
    let close = "GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
    let last = |input: &str| {
        let mut server = asked(close);
        feed(&mut server, input);
        answer(&mut server, NOW);
        assert_eq!(server.status(), Status::Open, "the answer is queued");
        assert_eq!(server.deadline(), due(30, Timer::WriteStall));
        drain(&mut server);
        assert_eq!(pull(&mut server, NOW), Ok(0));
        server
    };
    let mut server = last("what follows is thrown away");
    assert_eq!((server.status(), server.deadline()), (Status::HalfClose, due(1, Timer::Linger)));
    assert!(server.inbox().is_empty() && server.wants_read());
    feed(&mut server, "and that too");
    assert_eq!(pull(&mut server, later(0)), Ok(0));
    let at = not_before(&mut server);
    server.handle_timeout(at);
    assert_eq!(server.status(), Status::Close(CloseReason::Done));
    assert_eq!((server.deadline(), server.wants_read()), (None, false));

    let mut server = last("");
    server.handle_eof(NOW);
    assert_eq!((server.status(), server.peer_closed()), (Status::Close(CloseReason::Done), true));

    let mut server = last("");
    feed(&mut server, &"x".repeat(256 * 1024 - 1));
    assert_eq!(pull(&mut server, NOW), Ok(0));
    assert_eq!(server.status(), Status::HalfClose);
    feed(&mut server, "x");
    assert_eq!(pull(&mut server, NOW), Ok(0));
    assert_eq!(server.status(), Status::Close(CloseReason::Done));
}

#[test]
fn a_slow_body_is_cut_and_a_steady_one_is_not() {
    // 240 bytes a second over windows of 5 s, the first one free.
    let big = "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 100000\r\n\r\n";
    let run = |bytes: usize| {
        let mut server = asked(big);
        server.set_handler_timeout(NOW, None);
        assert_eq!(pull(&mut server, NOW), Ok(0));
        let mut now = NOW;
        for window in 0..4 {
            assert_eq!(server.deadline(), due(5 * (window + 1), Timer::BodyRead));
            feed(&mut server, &"x".repeat(bytes));
            pull(&mut server, now)?;
            now = not_before(&mut server);
            server.handle_timeout(now);
            pull(&mut server, now)?;
        }
        Ok(server)
    };
    assert!(run(1200).is_ok());
    let error: Error = run(1199).unwrap_err();
    assert_eq!((error.kind, error.phase), (Kind::Timeout(Timer::BodyRead), Phase::RequestBody));

    // Nobody is slow whom nobody asks.
    let mut server = asked(big);
    server.set_handler_timeout(NOW, None);
    for window in 1..5 {
        server.handle_timeout(later(5 * window));
        assert_eq!(server.error(), None);
    }
    // Nor who waits to be told to go on.
    let mut server = asked(EXPECTS);
    server.set_handler_timeout(NOW, None);
    for window in 1..5 {
        assert_eq!(pull(&mut server, later(5 * window)), Ok(0));
    }
    // Nor where the measure was lifted, or there is none.
    let mut server = asked(big);
    server.set_handler_timeout(NOW, None);
    server.lift_body_rate();
    assert_eq!(pull(&mut server, NOW), Ok(0));
    assert_eq!(server.deadline(), None);
    let config = ServerConfig { body_rate: 0, handler: None, ..ServerConfig::default() };
    assert_eq!(asked_with(config, big).deadline(), None);
    // Lifting concerns no other timer.
    let mut server = fresh();
    server.lift_body_rate();
    assert_eq!(server.deadline(), due(10, Timer::FirstByte));
}

#[test]
fn whose_turn_it_is() {
    let mut server = asked(POST);
    let turn = |server: &Server| {
        (server.awaits_response(), server.body_open(), server.response_open(), server.is_idle())
    };
    assert_eq!(turn(&server), (true, true, false, false));
    assert_eq!(server.exchange(), 1);
    let none_due = server.send_data(NOW, Bytes::from_static(b"x"));
    assert_eq!(none_due, Err(Rejected::Error(usage(Misuse::NoBodyDue, Phase::RequestBody))));
    server.send_response(NOW, StatusCode::OK, NO_FIELDS, BodySize::Unknown).unwrap();
    assert_eq!(turn(&server), (false, true, true, false));
    let twice = server.send_response(NOW, StatusCode::OK, NO_FIELDS, BodySize::Empty);
    assert_eq!(twice, Err(usage(Misuse::OutOfTurn, Phase::ResponseBody)));
    let late = server.send_informational(NOW, StatusCode::PROCESSING, NO_FIELDS);
    assert_eq!(late, Err(usage(Misuse::OutOfTurn, Phase::ResponseBody)));
    feed(&mut server, "hello");
    assert_eq!(pull(&mut server, NOW), Ok(2));
    assert_eq!(turn(&server), (false, false, true, false));
    server.send_end(NOW, NO_FIELDS).unwrap();
    assert_eq!(turn(&server), (false, false, false, true));
    let none = server.send_response(NOW, StatusCode::OK, NO_FIELDS, BodySize::Empty);
    assert_eq!(none, Err(usage(Misuse::OutOfTurn, Phase::Idle)));
    feed(&mut server, "GET");
    assert!(!server.is_idle());
    let early = server.send_end(NOW, NO_FIELDS);
    assert_eq!(early, Err(usage(Misuse::NoBodyDue, Phase::RequestHead)));
    feed(&mut server, " / HTTP/1.1\r\nhost: a\r\n\r\n");
    assert_eq!(pull(&mut server, NOW), Ok(1));
    assert_eq!((server.exchange(), turn(&server)), (2, (true, false, false, false)));
    let unsaid = server.send_end(NOW, NO_FIELDS);
    assert_eq!(unsaid, Err(usage(Misuse::NoBodyDue, Phase::ResponseHead)));
}

#[test]
fn requests_wait_while_answers_are_not_read() {
    let config = ServerConfig {
        limits: Limits { pipeline: 3, ..Limits::default() },
        ..ServerConfig::default()
    };
    let mut server = Server::new(Arc::new(config), NOW);
    feed(&mut server, &GET.repeat(5));
    for _ in 0..3 {
        assert!(server.poll_event(NOW).unwrap().is_some());
        answer(&mut server, NOW);
    }
    assert!(server.poll_event(NOW).unwrap().is_none());
    assert_eq!(server.exchange(), 3);
    drain(&mut server);
    assert_eq!(pull(&mut server, NOW), Ok(1));
    // An answer that fills the outbox holds the next request up alone.
    server
        .send_response(NOW, StatusCode::OK, NO_FIELDS, BodySize::Exact(HIGH_WATER as u64))
        .unwrap();
    assert!(server.can_send());
    server.send_data(NOW, Bytes::from(vec![0; HIGH_WATER])).unwrap();
    assert!(!server.can_send());
    let more = Bytes::from_static(b"more");
    assert_eq!(server.send_data(NOW, more.clone()), Err(Rejected::Full(more)));
    server.send_end(NOW, NO_FIELDS).unwrap();
    assert_eq!(pull(&mut server, NOW), Ok(0));
    drain(&mut server);
    assert_eq!(pull(&mut server, NOW), Ok(1));
}

#[test]
fn reading_pauses_when_the_inbox_is_full() {
    let mut server = asked(CHUNKED);
    feed(&mut server, &"x".repeat(64 * 1024 - 1));
    assert!(server.wants_read());
    feed(&mut server, "x");
    assert!(!server.wants_read());
}

#[test]
fn a_body_that_nobody_wants_is_drained_where_it_is_small() {
    let mut server = asked(POST);
    server.discard_body(NOW);
    assert!(!server.body_open());
    answer(&mut server, NOW);
    assert!(!drain(&mut server).contains("close"));
    feed(&mut server, &format!("hello{GET}"));
    assert_eq!(pull(&mut server, NOW), Ok(1));
    assert_eq!(server.exchange(), 2);

    let sized = |len| format!("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: {len}\r\n\r\n");
    for (request, drained) in [
        (sized(65_536), true),
        (sized(65_537), false),
        (CHUNKED.into(), true),
        (EXPECTS.into(), false),
    ] {
        let mut server = asked(&request);
        server.discard_body(NOW);
        answer(&mut server, NOW);
        assert_eq!(drain(&mut server).contains("connection: close"), !drained, "{request:?}");
        assert_eq!(server.status(), if drained { Status::Open } else { Status::HalfClose });
    }
    // A body that does not say how long it is may be so long and no longer.
    for (len, status) in [(65_536, Status::Open), (65_537, Status::HalfClose)] {
        let mut server = asked(CHUNKED);
        server.discard_body(NOW);
        answer(&mut server, NOW);
        drain(&mut server);
        feed(&mut server, &format!("{len:x}\r\n{}\r\n0\r\n\r\n", "x".repeat(len)));
        assert_eq!(pull(&mut server, NOW), Ok(0));
        assert_eq!(server.status(), status, "{len}");
    }
}

#[test]
fn a_body_limit_of_ones_own_holds_for_one_exchange() {
    let mut server = asked(POST);
    server.set_body_limit(NOW, 5).unwrap();
    feed(&mut server, "hello");
    assert_eq!(pull(&mut server, NOW), Ok(2));
    answer(&mut server, NOW);
    feed(&mut server, &POST.replace('5', "1048576"));
    assert_eq!(pull(&mut server, NOW), Ok(1), "the usual limit again");
    let error = server.set_body_limit(NOW, 1_048_575).unwrap_err();
    assert_eq!((error.kind, error.phase), (Kind::Limit(Limit::Body), Phase::RequestBody));
    assert!(drain(&mut server).contains("HTTP/1.1 413 "));
    let mut server = asked(GET);
    assert_eq!(server.set_body_limit(NOW, 0), Ok(()), "no body is no body over the limit");
    let mut server = asked(&POST.replace('5', "1048577"));
    let error = server.poll_event(NOW).unwrap_err();
    assert_eq!(error.kind, Kind::Limit(Limit::Body));
}

#[test]
fn a_client_that_waits_is_told_to_go_on() {
    let mut server = asked(EXPECTS);
    assert!(server.awaits_continue());
    let none = server.send_informational(NOW, StatusCode::PROCESSING, [("a", "b")]);
    assert_eq!((none, server.awaits_continue()), (Ok(()), true));
    assert_eq!(drain(&mut server), "HTTP/1.1 102 Processing\r\na: b\r\n\r\n");
    server.send_informational(NOW, StatusCode::CONTINUE, NO_FIELDS).unwrap();
    assert_eq!(drain(&mut server), "HTTP/1.1 100 Continue\r\n\r\n");
    assert!(!server.awaits_continue());
    feed(&mut server, "hello");
    assert_eq!(pull(&mut server, NOW), Ok(2));
    answer(&mut server, NOW);
    assert!(!drain(&mut server).contains("close"));

    // Who is answered instead may send the body or not: nothing can follow.
    let mut server = asked(EXPECTS);
    answer(&mut server, NOW);
    assert!(drain(&mut server).contains("connection: close"));
    assert_eq!(server.status(), Status::HalfClose);

    // What comes unasked needs no word.
    let mut server = asked(&format!("{EXPECTS}he"));
    assert!(server.awaits_continue());
    assert_eq!(pull(&mut server, NOW), Ok(1));
    assert!(!server.awaits_continue());

    // A body over the limit is not asked for.
    let mut server = asked(&EXPECTS.replace('5', "1048577"));
    assert!(!server.awaits_continue());
    assert!(!asked(POST).awaits_continue());
    assert!(!asked("GET / HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\n\r\n").awaits_continue());
    let error = server.poll_event(NOW).unwrap_err();
    assert_eq!(error.kind, Kind::Limit(Limit::Body));
    assert!(!server.awaits_continue());
}

#[test]
fn interim_answers_are_interim() {
    let mut server = asked(GET);
    for status in [101, 200, 404] {
        let status = StatusCode::from_u16(status).unwrap();
        let refused = server.send_informational(NOW, status, NO_FIELDS);
        assert_eq!(refused, Err(usage(Misuse::Status, Phase::ResponseHead)));
    }
    for (name, value, why) in [
        ("content-length", "0", Misuse::ContentLength),
        ("a b", "c", Misuse::FieldName),
        ("a", "\n", Misuse::FieldValue),
    ] {
        let refused =
            server.send_informational(NOW, StatusCode::EARLY_HINTS, [("x", "y"), (name, value)]);
        assert_eq!(refused, Err(usage(why, Phase::ResponseHead)));
    }
    assert_eq!(drain(&mut server), "");
    let mut old = asked("GET / HTTP/1.0\r\n\r\n");
    let refused = old.send_informational(NOW, StatusCode::PROCESSING, NO_FIELDS);
    assert_eq!(refused, Err(usage(Misuse::Status, Phase::ResponseHead)));
}

#[test]
fn closing_finishes_what_runs() {
    let mut server = fresh();
    server.close(NOW);
    assert_eq!((server.status(), server.deadline()), (Status::HalfClose, due(1, Timer::Linger)));

    let mut server = asked(GET);
    server.close(NOW);
    assert_eq!(server.status(), Status::Open);
    answer(&mut server, NOW);
    assert!(drain(&mut server).contains("connection: close"));
    assert_eq!(server.status(), Status::HalfClose);

    // An answer that has begun cannot say it any more; the connection ends all the same.
    let mut server = asked(GET);
    server.send_response(NOW, StatusCode::OK, NO_FIELDS, BodySize::Unknown).unwrap();
    server.close(NOW);
    server.send_end(NOW, NO_FIELDS).unwrap();
    drain(&mut server);
    assert_eq!(pull(&mut server, NOW), Ok(0));
    assert_eq!(server.status(), Status::HalfClose);

    // What was asked already is answered.
    let mut server = fresh();
    feed(&mut server, GET);
    server.close(NOW);
    assert_eq!((pull(&mut server, NOW), server.status()), (Ok(1), Status::Open));
}

#[test]
fn a_response_that_is_given_up_can_be_told_from_a_whole_one() {
    let mut server = asked(GET);
    server.send_response(NOW, StatusCode::OK, NO_FIELDS, BodySize::Unknown).unwrap();
    server.send_data(NOW, Bytes::from_static(b"x")).unwrap();
    server.abort(NOW);
    assert!(drain(&mut server).ends_with("\r\n\r\n1\r\nx\r\n"));
    assert_eq!(server.status(), Status::HalfClose);
    assert!(!server.response_open());

    let mut server = asked(GET);
    server.abort(NOW);
    assert_eq!((drain(&mut server).len(), server.status()), (0, Status::HalfClose));

    let mut server = asked(GET);
    answer(&mut server, NOW);
    feed(&mut server, GET);
    drain(&mut server);
    assert_eq!((pull(&mut server, NOW), server.status()), (Ok(1), Status::Open));
}

#[test]
fn how_a_client_leaves() {
    let mut server = fresh();
    server.handle_eof(NOW);
    assert!(server.peer_closed() && !server.wants_read());
    assert_eq!(pull(&mut server, NOW), Ok(0));
    assert_eq!(server.status(), Status::Close(CloseReason::PeerClosed));

    let truncated = |phase, delivery| Error { kind: Kind::Truncated, phase, delivery };
    let mut server = fresh();
    feed(&mut server, "GET");
    server.handle_eof(NOW);
    let error = truncated(Phase::RequestHead, Delivery::Refused);
    assert_eq!(pull(&mut server, NOW), Err(error));
    assert_eq!(
        (server.status(), drain(&mut server).len()),
        (Status::Close(CloseReason::Failed), 0)
    );

    let mut server = asked(POST);
    feed(&mut server, "hell");
    server.handle_eof(NOW);
    let error = truncated(Phase::RequestBody, Delivery::MaybeProcessed);
    assert_eq!(pull(&mut server, NOW), Err(error));

    // Half a connection suffices for the answer.
    let mut server = asked(GET);
    server.handle_eof(NOW);
    assert_eq!((pull(&mut server, NOW), server.status()), (Ok(0), Status::Open));
    answer(&mut server, NOW);
    assert!(drain(&mut server).starts_with("HTTP/1.1 200 "));
    assert_eq!(pull(&mut server, NOW), Ok(0));
    assert_eq!(server.status(), Status::Close(CloseReason::PeerClosed));
}

#[test]
fn an_edited_inbox_is_noticed() {
    for edit in [0, 1, 2] {
        let mut server = fresh();
        feed(&mut server, "GET / HT");
        assert_eq!(pull(&mut server, NOW), Ok(0));
        match edit {
            0 => server.inbox().truncate(7),
            1 => server.inbox()[7] = b'X',
            _ => server.inbox()[1] = b'X',
        }
        let error = pull(&mut server, NOW).unwrap_err();
        assert_eq!((error.kind, error.phase), (Kind::InboxEdited, Phase::RequestHead), "{edit}");
        assert_eq!(drain(&mut server), "");
        assert_eq!(server.status(), Status::Close(CloseReason::Failed));
    }
    // Shorter than what is remembered of it.
    let mut server = fresh();
    feed(&mut server, "GE");
    assert_eq!(pull(&mut server, NOW), Ok(0));
    server.inbox()[1] = b'F';
    assert_eq!(pull(&mut server, NOW).unwrap_err().kind, Kind::InboxEdited);
}

#[test]
fn small_pieces_do_not_pin_the_block_they_came_in() {
    // A body that is all there is one piece of its own, whatever its length.
    for (len, declared, copied) in [(255, 300, true), (256, 300, false), (255, 255, false)] {
        let mut server = asked(&POST.replace('5', &declared.to_string()));
        let mut inbox = bytes::BytesMut::with_capacity(4096);
        inbox.extend_from_slice(&vec![b'x'; len]);
        *server.inbox() = inbox;
        let block = server.inbox().as_ptr();
        let Some(ServerEvent::Data(data)) = server.poll_event(NOW).unwrap() else { panic!() };
        assert_eq!((data.len(), data.as_ptr() != block), (len, copied));
    }
}

#[test]
fn a_connection_that_rests_holds_no_memory() {
    let mut server = asked(GET);
    answer(&mut server, NOW);
    server.rest();
    assert!(!server.outbox().is_empty(), "what is queued stays");
    drain(&mut server);
    server.inbox().reserve(1_024);
    server.rest();
    assert_eq!((server.inbox().capacity(), server.outbox().lacks_block()), (0, true));
    feed(&mut server, "GET");
    server.rest();
    assert_eq!(&server.inbox()[..], b"GET");
}

#[test]
fn decisions_are_told_in_order() {
    let config = ServerConfig { observe: true, ..ServerConfig::default() };
    let mut server = asked_with(config, EXPECTS);
    server.send_informational(NOW, StatusCode::CONTINUE, NO_FIELDS).unwrap();
    feed(&mut server, "hello");
    assert_eq!(pull(&mut server, NOW), Ok(2));
    answer(&mut server, NOW);
    drain(&mut server);
    feed(&mut server, "(");
    let error = pull(&mut server, NOW).unwrap_err();
    drain(&mut server);
    server.handle_eof(NOW);
    let told: Vec<Event> = std::iter::from_fn(|| server.poll_observed()).collect();
    let (exchange, status) = (1, StatusCode::OK);
    assert_eq!(
        told,
        [
            Event::RequestStarted { exchange },
            Event::Interim { exchange, status: StatusCode::CONTINUE },
            Event::Responded { exchange, status },
            Event::ExchangeEnded { exchange, reusable: true },
            Event::Failed(error),
            Event::Responded { exchange, status: StatusCode::BAD_REQUEST },
            Event::Closed(CloseReason::Failed),
        ]
    );
    let mut silent = asked(GET);
    answer(&mut silent, NOW);
    assert_eq!(silent.poll_observed(), None);
}

#[test]
fn an_error_to_head_has_no_body() {
    let mut server = asked("HEAD / HTTP/1.1\r\nhost: a\r\n\r\n");
    server.handle_timeout(later(30));
    let sent = drain(&mut server);
    assert!(sent.starts_with("HTTP/1.1 503 ") && sent.ends_with("\r\n\r\n"), "{sent}");
    assert!(sent.contains("content-length: 7"), "{sent}");
    // Behind the start of an answer there is none.
    let mut server = asked(CHUNKED);
    server.send_response(NOW, StatusCode::OK, NO_FIELDS, BodySize::Unknown).unwrap();
    drain(&mut server);
    feed(&mut server, "x\r\n");
    let error = pull(&mut server, NOW).unwrap_err();
    assert_eq!((error.phase, drain(&mut server).len()), (Phase::RequestBody, 0));
    assert_eq!(server.status(), Status::HalfClose);
}

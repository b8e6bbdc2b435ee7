//! How connections end: <https://www.rfc-editor.org/rfc/rfc6455#section-7>

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use sinew_core::error::{Delivery, Error, Kind, Misuse, Phase, Violation};
use sinew_core::machine::{CloseReason, Status, Step};
use sinew_core::outbox::Outbox;
use sinew_core::time::{Deadline, Instant, Timer};
use sinew_core::websocket::handshake::Agreed;
use sinew_core::websocket::{
    CloseCode, Config, Connection, Event, HeartbeatConfig, Message, Rejected, Role, Side,
};
use sinew_core::{Machine, Wire, observe};

use crate::told::{
    NOW, Setup, binary, client, closed, drain, masked, next, plain, sent_frames, server, text,
};

fn at(after: Duration) -> Instant {
    NOW + after
}

fn quiet(setup: Setup) -> Setup {
    let config = Config { heartbeat: None, observe: true, ..setup.config };
    Setup { config, ..setup }
}

fn feed(connection: &mut Connection, bytes: impl AsRef<[u8]>) {
    connection.inbox().extend_from_slice(bytes.as_ref());
}

fn code(code: CloseCode, reason: &str) -> Vec<u8> {
    [&code.as_u16().to_be_bytes()[..], reason.as_bytes()].concat()
}

#[test]
fn the_peer_closes() {
    for (role, frame) in
        [(Role::Server, masked as fn(u8, Vec<u8>) -> Vec<u8>), (Role::Client, plain)]
    {
        let setup = quiet(Setup { role, ..server() });
        let bye = frame(0x88, code(CloseCode::GOING_AWAY, "bye"));
        let told = setup.tell([&frame(0x81, b"x".to_vec())[..], &bye, b"ignored"].concat());
        let expected = [text("x"), closed(CloseCode::GOING_AWAY, "bye", Side::Peer)];
        assert_eq!(told.events, expected);
        // The code goes back, the words do not.
        assert_eq!(sent_frames(&told.written), [(8, code(CloseCode::GOING_AWAY, ""))]);
        let expected = if role == Role::Server { Status::HalfClose } else { Status::Open };
        assert_eq!(told.status, expected);
        let told = setup.tell_to_the_end(&bye);
        assert_eq!(told.status, Status::Close(CloseReason::Done));
        // Without a code there is none in the answer.
        let told = setup.tell(frame(0x88, vec![]));
        assert_eq!(told.events, [closed(CloseCode::NO_STATUS, "", Side::Peer)]);
        assert_eq!(sent_frames(&told.written), [(8, vec![])]);
    }
    for code_given in [1000, 1001, 1003, 1007, 1011, 1012, 1013, 1014, 3000, 4999] {
        let told = server().tell(masked(0x88, code(CloseCode::new(code_given), "")));
        assert_eq!(told.events, [closed(CloseCode::new(code_given), "", Side::Peer)]);
        assert_eq!(told.code(), Some(code_given));
    }
    let reason = "r".repeat(123);
    let told = server().tell(masked(0x88, code(CloseCode::NORMAL, &reason)));
    assert_eq!(told.events, [closed(CloseCode::NORMAL, &reason, Side::Peer)]);
}

#[test]
fn after_the_last_word_a_server_waits_for_its_peer_to_go_and_not_for_long() {
    let mut connection = quiet(server()).open();
    feed(&mut connection, masked(0x88, code(CloseCode::NORMAL, "")));
    assert!(connection.poll_event(NOW).unwrap().is_some());
    assert_eq!(connection.poll_event(NOW), Ok(None));
    assert_eq!(next(&mut connection), Step::Write, "the answer first");
    drain(&mut connection);
    assert_eq!(connection.poll_event(NOW), Ok(None));
    assert_eq!(next(&mut connection), Step::HalfClose);
    let due = Deadline { at: at(Duration::from_secs(1)), why: Timer::Linger };
    assert_eq!(connection.deadline(), Some(due));
    feed(&mut connection, [0; 1000]);
    assert_eq!(connection.poll_event(NOW), Ok(None));
    assert!(connection.inbox().is_empty() && connection.wants_read());
    assert_eq!(connection.poll_event(due.at), Ok(None));
    assert_eq!(next(&mut connection), Step::Close(CloseReason::Done));
    assert_eq!(connection.deadline(), None);
    // Or for much.
    let mut connection = quiet(server()).open();
    feed(&mut connection, masked(0x88, ""));
    assert!(connection.poll_event(NOW).unwrap().is_some());
    drain(&mut connection);
    for _ in 0..4 {
        assert_eq!(connection.status(), Status::HalfClose);
        feed(&mut connection, vec![0; 64 * 1024]);
        assert_eq!(connection.poll_event(NOW), Ok(None));
    }
    assert_eq!(connection.status(), Status::Close(CloseReason::Done));
    assert!(!connection.wants_read());
}

#[test]
fn we_close_and_the_peer_answers() {
    let mut connection = quiet(server()).open();
    connection.send_message(NOW, Message::text("last")).unwrap();
    connection.close(NOW, CloseCode::GOING_AWAY, "stop").unwrap();
    assert!(!connection.is_open() && !connection.can_send());
    connection.close(NOW, CloseCode::NORMAL, "again").unwrap();
    let late = Error::usage(Misuse::OutOfTurn, Phase::WebSocket);
    let sent = connection.send_message(NOW, Message::text("late"));
    assert_eq!(sent, Err(Rejected::Error(late)));
    assert_eq!(connection.send_ping(NOW, b""), Err(late));
    assert_eq!(connection.deadline().map(|due| due.why), Some(Timer::WriteStall));
    let frames = sent_frames(&drain(&mut connection));
    assert_eq!(frames, [(1, b"last".to_vec()), (8, code(CloseCode::GOING_AWAY, "stop"))]);
    // What was on its way is still told; a ping is not answered any more.
    feed(&mut connection, [masked(0x82, [1]), masked(0x89, "?")].concat());
    assert_eq!(connection.poll_event(NOW), Ok(Some(binary([1]))));
    assert_eq!(connection.poll_event(NOW), Ok(Some(Event::Ping(Bytes::from("?")))));
    assert_eq!(connection.status(), Status::Open);
    feed(&mut connection, masked(0x88, code(CloseCode::GOING_AWAY, "")));
    let expected = closed(CloseCode::GOING_AWAY, "", Side::Local);
    assert_eq!(connection.poll_event(NOW), Ok(Some(expected)));
    assert_eq!(connection.poll_event(NOW), Ok(None));
    assert_eq!((drain(&mut connection), connection.status()), (vec![], Status::HalfClose));
    connection.handle_eof(NOW);
    assert_eq!(connection.poll_event(NOW), Ok(None));
    assert_eq!(connection.status(), Status::Close(CloseReason::Done));
    let over =
        Error { kind: Kind::Closed, phase: Phase::WebSocket, delivery: Delivery::MaybeProcessed };
    assert_eq!(connection.close(NOW, CloseCode::NORMAL, ""), Err(over));
    assert_eq!(connection.error(), None, "it is the verb that failed");
}

#[test]
fn a_peer_that_does_not_answer_is_left() {
    let mut connection = quiet(client()).open();
    connection.close(NOW, CloseCode::NORMAL, "").unwrap();
    assert_eq!(connection.poll_event(at(Duration::from_secs(9))), Ok(None), "not written yet");
    drain(&mut connection);
    let written = at(Duration::from_secs(20));
    assert_eq!(connection.poll_event(written), Ok(None));
    let due = Deadline { at: written + Duration::from_secs(5), why: Timer::CloseHandshake };
    assert_eq!(connection.deadline(), Some(due));
    connection.handle_timeout(Instant::from_nanos(due.at.as_nanos() - 1));
    assert_eq!(connection.status(), Status::Open);
    connection.handle_timeout(due.at);
    assert_eq!(connection.status(), Status::Close(CloseReason::Done));
    let expected = closed(CloseCode::ABNORMAL, "", Side::Local);
    assert_eq!(connection.poll_event(due.at), Ok(Some(expected)));
    assert_eq!((connection.poll_event(due.at), connection.deadline()), (Ok(None), None));
    let observed: Vec<_> = std::iter::from_fn(|| connection.poll_observed()).collect();
    let code = CloseCode::ABNORMAL;
    assert_eq!(
        observed,
        [
            observe::Event::WebSocketClosed { code, by: Side::Local },
            observe::Event::Closed(CloseReason::Done),
        ]
    );
}

#[test]
fn an_end_without_a_word_is_1006() {
    for input in [&b""[..], &masked(0x01, "half"), &masked(0x81, "half a frame")[..9]] {
        let told = quiet(server()).tell_to_the_end(input);
        assert_eq!(told.events, [closed(CloseCode::ABNORMAL, "", Side::Peer)]);
        assert_eq!((told.error, told.written), (None, vec![]));
        assert_eq!(told.status, Status::Close(CloseReason::PeerClosed));
    }
    // What was complete is told before.
    let told = quiet(server()).tell_to_the_end(masked(0x81, "x"));
    assert_eq!(told.events, [text("x"), closed(CloseCode::ABNORMAL, "", Side::Peer)]);
    // In answer to our close frame, too.
    let mut connection = quiet(server()).open();
    connection.close(NOW, CloseCode::NORMAL, "").unwrap();
    drain(&mut connection);
    connection.handle_eof(NOW);
    let expected = closed(CloseCode::ABNORMAL, "", Side::Local);
    assert_eq!(connection.poll_event(NOW), Ok(Some(expected)));
}

#[test]
fn only_codes_that_may_be_sent_are_sent() {
    let mut connection = server().open();
    let misuse = Error::usage(Misuse::CloseCode, Phase::WebSocket);
    for code in [0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, u16::MAX] {
        assert_eq!(connection.close(NOW, CloseCode::new(code), ""), Err(misuse), "{code}");
    }
    let long = "r".repeat(124);
    assert_eq!(connection.close(NOW, CloseCode::NORMAL, &long), Err(misuse));
    assert!(connection.is_open(), "nothing was changed");
    connection.close(NOW, CloseCode::new(4401), &long[1..]).unwrap();
    let frames = sent_frames(&drain(&mut connection));
    assert_eq!(frames, [(8, code(CloseCode::new(4401), &long[1..]))]);
}

#[test]
fn a_failure_is_told_once_and_lingers() {
    let mut connection = quiet(client()).open();
    connection.close(NOW, CloseCode::NORMAL, "").unwrap();
    feed(&mut connection, [0xff, 0xff]);
    let error = Error {
        kind: Kind::Peer(Violation::Opcode),
        phase: Phase::WebSocket,
        delivery: Delivery::MaybeProcessed,
    };
    assert_eq!(connection.poll_event(NOW), Err(error));
    assert_eq!(CloseCode::of(&error), Some(CloseCode::PROTOCOL_ERROR));
    assert_eq!(sent_frames(&drain(&mut connection)), [(8, code(CloseCode::NORMAL, ""))]);
    assert_eq!(connection.status(), Status::HalfClose);
    assert_eq!(connection.send_ping(NOW, b""), Err(error));
    assert_eq!(connection.close(NOW, CloseCode::NORMAL, ""), Err(error));
    connection.handle_eof(NOW);
    assert_eq!(connection.poll_event(NOW), Err(error));
    assert_eq!(connection.status(), Status::Close(CloseReason::Failed));
    assert_eq!(connection.deadline(), None);
}

#[test]
fn an_edited_inbox_and_a_peer_that_takes_nothing_are_noticed() {
    let mut connection = quiet(server()).open();
    feed(&mut connection, &masked(0x81, "whole and a half")[..12]);
    assert_eq!(connection.poll_event(NOW), Ok(None));
    connection.inbox().truncate(2);
    assert_eq!(connection.poll_event(NOW).map_err(|error| error.kind), Err(Kind::InboxEdited));
    assert_eq!(sent_frames(&drain(&mut connection)), [(8, code(CloseCode::INTERNAL_ERROR, ""))]);

    let mut connection = quiet(server()).open();
    connection.send_message(NOW, Message::text("x")).unwrap();
    let due = Deadline { at: at(Duration::from_secs(30)), why: Timer::WriteStall };
    assert_eq!(connection.deadline(), Some(due));
    connection.handle_timeout(due.at);
    assert_eq!(connection.status(), Status::Close(CloseReason::Failed));
    let error = connection.error().unwrap();
    assert_eq!((error.kind, CloseCode::of(&error)), (Kind::Timeout(Timer::WriteStall), None));
    assert_eq!(connection.poll_event(due.at), Err(error));
    assert_eq!(connection.deadline(), None);
}

#[test]
fn aborted_it_is_gone_at_once() {
    let mut connection = server().open();
    connection.send_message(NOW, Message::text("x")).unwrap();
    feed(&mut connection, masked(0x81, "unread"));
    connection.abort(NOW);
    assert_eq!(next(&mut connection), Step::Close(CloseReason::Done));
    let expected = closed(CloseCode::ABNORMAL, "", Side::Local);
    assert_eq!(connection.poll_event(NOW), Ok(Some(expected)));
    assert_eq!((connection.poll_event(NOW), connection.deadline()), (Ok(None), None));
    connection.abort(NOW);
    assert_eq!(connection.poll_event(NOW), Ok(None));
    // One that only waits for its peer to go does not wait any longer.
    let mut connection = server().open();
    feed(&mut connection, masked(0x88, ""));
    assert!(connection.poll_event(NOW).unwrap().is_some());
    connection.abort(NOW);
    assert_eq!(next(&mut connection), Step::Close(CloseReason::Done));
    assert_eq!(connection.poll_event(NOW), Ok(None), "its end was told");
}

fn beating() -> Setup {
    let heartbeat = HeartbeatConfig::default();
    Setup { config: Config { heartbeat: Some(heartbeat), ..quiet(server()).config }, ..server() }
}

/// Waits for the next ping, and lets it leave; its payload, and when it left.
fn ping(connection: &mut Connection, since: Instant) -> (Vec<u8>, Instant) {
    assert_eq!(connection.poll_event(since), Ok(None));
    let due = connection.deadline().unwrap();
    assert_eq!(due.why, Timer::Ping);
    let wait = due.at - since;
    assert!(wait <= Duration::from_secs(30) && wait >= Duration::from_secs(24), "{wait:?}");
    connection.handle_timeout(Instant::from_nanos(due.at.as_nanos() - 1));
    assert!(drain(connection).is_empty());
    connection.handle_timeout(due.at);
    let frames = sent_frames(&drain(connection));
    let [(9, payload)] = &frames[..] else { panic!("{frames:?}") };
    assert_eq!(connection.poll_event(due.at), Ok(None));
    (payload.clone(), due.at)
}

#[test]
fn a_peer_that_is_gone_is_noticed_and_told() {
    let mut connection = beating().open();
    let (_, left) = ping(&mut connection, NOW);
    let due = Deadline { at: left + Duration::from_secs(10), why: Timer::Pong };
    assert_eq!(connection.deadline(), Some(due));
    connection.handle_timeout(due.at);
    let error = connection.error().unwrap();
    assert_eq!(error.kind, Kind::Timeout(Timer::Pong));
    assert_eq!(error.fault(), sinew_core::error::Fault::Network);
    assert_eq!(sent_frames(&drain(&mut connection)), [(8, code(CloseCode::INTERNAL_ERROR, ""))]);
    assert_eq!(connection.poll_event(due.at), Err(error));
    assert_eq!(connection.status(), Status::HalfClose);
    let over = connection.deadline().unwrap();
    assert_eq!(over.why, Timer::Linger);
    connection.handle_timeout(over.at);
    assert_eq!(connection.status(), Status::Close(CloseReason::Failed));
    assert_eq!(connection.deadline(), None);
}

#[test]
fn a_pong_gives_the_time_of_the_way_and_back() {
    let mut connection = beating().open();
    assert_eq!(connection.rtt(), None);
    let (first, left) = ping(&mut connection, NOW);
    let back = left + Duration::from_millis(40);
    feed(&mut connection, masked(0x8a, "not ours"));
    assert_eq!(connection.poll_event(back), Ok(Some(Event::Pong(Bytes::from("not ours")))));
    assert_eq!(connection.rtt(), None);
    feed(&mut connection, [masked(0x8a, &first), masked(0x81, "x")].concat());
    assert_eq!(connection.poll_event(back), Ok(Some(text("x"))), "ours are not told");
    assert_eq!(connection.rtt(), Some(Duration::from_millis(40)));
    let rtt = Duration::from_millis(40);
    assert_eq!(connection.poll_observed(), Some(observe::Event::RoundTrip { rtt }));
    // The interval runs from ping to ping.
    let (second, _) = ping(&mut connection, left);
    assert_ne!(first, second);
}

#[test]
fn any_byte_is_a_sign_of_life() {
    let mut connection = beating().open();
    let (_, left) = ping(&mut connection, NOW);
    let late = left + Duration::from_secs(9);
    feed(&mut connection, [0x81]);
    assert_eq!(connection.poll_event(late), Ok(None));
    assert_eq!(connection.deadline().map(|due| due.why), Some(Timer::Ping));
    // Also one that nobody has looked at when the time is over.
    let mut connection = beating().open();
    let (_, left) = ping(&mut connection, NOW);
    feed(&mut connection, [0x81]);
    connection.handle_timeout(left + Duration::from_secs(10));
    assert_eq!(connection.error(), None);
}

#[test]
fn who_does_not_listen_holds_no_silence_against_the_peer() {
    // The application does not pull.
    let mut connection = beating().open();
    feed(&mut connection, masked(0x81, "a"));
    assert_eq!(connection.poll_event(NOW), Ok(Some(text("a"))));
    let due = connection.deadline().unwrap();
    connection.handle_timeout(due.at);
    assert_eq!(sent_frames(&drain(&mut connection)).len(), 1);
    connection.handle_timeout(due.at + Duration::from_secs(100));
    assert_eq!(connection.error(), None);
}

#[test]
fn a_thousand_half_open_connections_are_found_within_a_ping_and_a_pong() {
    let HeartbeatConfig { interval, timeout } = HeartbeatConfig::default();
    let mut pinged = Vec::new();
    for seed in 0..1000u32 {
        let config = std::sync::Arc::new(beating().config);
        let mut bytes = [0; 32];
        bytes[..4].copy_from_slice(&seed.to_le_bytes());
        let upgraded = (BytesMut::new(), Outbox::new());
        let agreed = Agreed::default();
        let mut connection = Connection::new(Role::Server, config, &agreed, bytes, upgraded, NOW);
        assert_eq!(connection.poll_event(NOW), Ok(None));
        // The kernel takes what is written, and nobody answers.
        while connection.error().is_none() {
            let due = connection.deadline().unwrap();
            connection.handle_timeout(due.at);
            drain(&mut connection);
            let _ = connection.poll_event(due.at);
            match due.why {
                Timer::Ping => pinged.push(due.at),
                _ => assert!(due.at <= NOW + interval + timeout, "{due:?}"),
            }
        }
        assert_eq!(connection.error().unwrap().kind, Kind::Timeout(Timer::Pong));
    }
    // One ping each, and not all at once.
    assert_eq!(pinged.len(), 1000);
    pinged.sort();
    pinged.dedup();
    assert!(pinged.len() > 990, "{}", pinged.len());
}

#[test]
fn a_ping_that_cannot_leave_is_no_silence() {
    let mut connection = beating().open();
    assert_eq!(connection.poll_event(NOW), Ok(None));
    let due = connection.deadline().unwrap();
    connection.handle_timeout(due.at);
    assert_eq!(connection.deadline().map(|due| due.why), Some(Timer::WriteStall));
    let late = due.at + Duration::from_secs(20);
    assert_eq!(connection.poll_event(late), Ok(None));
    drain(&mut connection);
    assert_eq!(connection.poll_event(late), Ok(None));
    let gone = Deadline { at: late + Duration::from_secs(10), why: Timer::Pong };
    assert_eq!(connection.deadline(), Some(gone));
}

#[test]
fn a_close_that_was_announced_comes_at_its_time() {
    let mut connection = quiet(server()).open();
    let (soon, late) = (Duration::from_secs(60), Duration::from_secs(90));
    let expired = CloseCode::new(4401);
    connection.close_at(NOW, at(soon), expired, "token expired").unwrap();
    connection.close_at(NOW, at(late), CloseCode::GOING_AWAY, "").unwrap();
    assert_eq!(connection.deadline(), Some(Deadline { at: at(soon), why: Timer::Close }));
    connection.handle_timeout(at(soon.saturating_sub(Duration::from_nanos(1))));
    assert!(connection.is_open() && drain(&mut connection).is_empty());
    connection.handle_timeout(at(soon));
    assert!(!connection.is_open());
    assert_eq!(sent_frames(&drain(&mut connection)), [(8, code(expired, "token expired"))]);
    assert_eq!(connection.poll_event(at(soon)), Ok(None));
    let due = Deadline { at: at(soon + Duration::from_secs(5)), why: Timer::CloseHandshake };
    assert_eq!(connection.deadline(), Some(due));
    // One whose time has come is closed at once; a code that cannot be sent is refused.
    let mut connection = quiet(server()).open();
    let unsendable = connection.close_at(NOW, NOW, CloseCode::NO_STATUS, "");
    assert!(matches!(unsendable, Err(Error { kind: Kind::Usage(_), .. })));
    connection.close_at(NOW, NOW, CloseCode::GOING_AWAY, "").unwrap();
    assert_eq!(sent_frames(&drain(&mut connection)), [(8, code(CloseCode::GOING_AWAY, ""))]);
}

#[test]
fn those_that_close_within_a_time_are_spread_over_it() {
    let within = Duration::from_secs(10);
    let mut thirds = [0; 3];
    for n in 0..90 {
        let setup = quiet(server());
        let mut connection = Connection::new(
            Role::Server,
            std::sync::Arc::new(setup.config),
            &Agreed::default(),
            [n; 32],
            Default::default(),
            NOW,
        );
        connection.close_within(NOW, within, CloseCode::GOING_AWAY, "").unwrap();
        let due = connection.deadline().unwrap();
        assert_eq!(due.why, Timer::Close);
        let after = due.at - NOW;
        assert!(after <= within);
        thirds[(after.as_nanos() * 3 / (within.as_nanos() + 1)) as usize] += 1;
    }
    assert!(thirds.iter().all(|third| *third >= 15), "{thirds:?}");
}

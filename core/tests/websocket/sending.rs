//! What goes out, and what holds it back.

use std::time::Duration;

use bytes::Bytes;
use sinew_core::error::{Error, Kind, Limit, Misuse, Phase};
use sinew_core::machine::{Seen, Step};
use sinew_core::websocket::{Config, Event, Limits, Message, Rejected};
use sinew_core::{Machine, Wire};

use crate::told::{NOW, binary, client, drain, masked, plain, sent_frames, server, text};

#[test]
fn every_length_arrives_in_both_directions() {
    for len in [0, 1, 125, 126, 1023, 1024, 1025, 65_535, 65_536, 200_000] {
        let bytes: Vec<u8> = (0..len).map(|at| (at * 7) as u8).collect();
        for (from, to) in [(client(), server()), (server(), client())] {
            let mut from = from.open();
            let message = Message::binary(bytes.clone());
            let words = "x".repeat(len);
            let mut written = Vec::new();
            // One that somebody else holds, one that nobody does, and a text.
            for sent in
                [message.clone(), Message::binary(bytes.clone()), Message::text(words.clone())]
            {
                from.send_message(NOW, sent).unwrap();
                written.extend(drain(&mut from));
            }
            let told = to.run([&written[..]], false);
            let all = [binary(&bytes), binary(&bytes), text(&words)];
            assert_eq!((told.events, told.error), (all.to_vec(), None), "{len}");
            assert_eq!(message.as_bytes(), bytes, "what others hold stays as it is");
        }
    }
}

#[test]
fn large_messages_go_out_in_frames_that_the_default_takes() {
    let mut from = client().open();
    let bytes = vec![3; 1024 * 1024];
    from.send_message(NOW, Message::binary(bytes.clone())).unwrap();
    let written = drain(&mut from);
    let frames: Vec<_> = sent_frames(&written).iter().map(|(op, p)| (*op, p.len())).collect();
    let quarter = 256 * 1024;
    assert_eq!(frames, [(0x02, quarter), (0x00, quarter), (0x00, quarter), (0, quarter)]);
    assert_eq!(server().run(written.chunks(60_000), false).events, [binary(bytes)]);
}

#[test]
fn masks_differ_from_frame_to_frame() {
    let mut from = client().open();
    for _ in 0..100 {
        from.send_message(NOW, Message::text("a")).unwrap();
    }
    let written = drain(&mut from);
    let masks: std::collections::BTreeSet<_> =
        written.chunks(7).map(|frame| &frame[2..6]).collect();
    assert_eq!((written.len(), masks.len()), (700, 100));
}

#[test]
fn the_queue_has_an_end_and_comes_back() {
    let mut connection = server().open();
    let queued = Config::default().limits.queued;
    connection.send_message(NOW, Message::binary(vec![0; queued - 10])).unwrap();
    assert!(!connection.can_send(), "with the header it is full");
    let more = Message::text("more");
    assert_eq!(connection.send_message(NOW, more.clone()), Err(Rejected::Full(more.clone())));
    let full = Error::usage(Misuse::OutOfTurn, Phase::WebSocket);
    assert_eq!(connection.send_ping(NOW, b""), Err(full));
    let waits =
        Seen { drained: true, write_blocked: true, producer_waits: true, ..Seen::default() };
    assert_eq!(connection.step(waits), Step::Read);
    let outbox = connection.outbox();
    bytes::Buf::advance(outbox, 100);
    assert!(connection.can_send());
    assert_eq!(connection.step(waits), Step::Poll, "whoever waits may go on");
    connection.send_message(NOW, more).unwrap();
}

#[test]
fn pings_wait_for_room_and_are_all_answered() {
    let mut setup = server();
    setup.config.limits = Limits { queued: 10, ..Limits::default() };
    let mut connection = setup.open();
    let input = [masked(0x89, "12345678"), masked(0x89, "1"), masked(0x81, "x")].concat();
    connection.inbox().extend_from_slice(&input);
    assert!(matches!(connection.poll_event(NOW), Ok(Some(Event::Ping(_)))));
    assert_eq!(connection.poll_event(NOW), Ok(None), "the answer fills the queue");
    // The end does not lose what is behind.
    connection.handle_eof(NOW);
    assert_eq!(connection.poll_event(NOW), Ok(None));
    assert_eq!(drain(&mut connection), plain(0x8a, "12345678"));
    assert_eq!(connection.poll_event(NOW), Ok(Some(Event::Ping(Bytes::from("1")))));
    assert_eq!(drain(&mut connection), plain(0x8a, "1"));
    assert_eq!(connection.poll_event(NOW), Ok(Some(text("x"))));
    assert!(matches!(connection.poll_event(NOW), Ok(Some(Event::Closed(_)))));
}

#[test]
fn a_ping_without_a_payload_that_waited_is_answered_with_nothing_behind_it() {
    let mut setup = server();
    setup.config.limits = Limits { queued: 10, ..Limits::default() };
    let mut connection = setup.open();
    let input = [masked(0x89, "12345678"), masked(0x89, "")].concat();
    connection.inbox().extend_from_slice(&input);
    assert!(matches!(connection.poll_event(NOW), Ok(Some(Event::Ping(_)))));
    assert_eq!(connection.poll_event(NOW), Ok(None), "the answer fills the queue");
    connection.handle_timeout(NOW);
    assert_eq!(drain(&mut connection), plain(0x8a, "12345678"));
    connection.handle_timeout(NOW);
    assert_eq!(connection.poll_event(NOW), Ok(Some(Event::Ping(Bytes::new()))));
    assert_eq!(drain(&mut connection), plain(0x8a, ""));
}

#[test]
fn a_flood_of_pings_is_refused() {
    let pings = |count| masked(0x89, "").repeat(count);
    assert_eq!(server().run([&pings(100)[..]], false).error, None);
    let told = server().run([&pings(101)[..]], false);
    assert_eq!((told.kind(), told.code()), (Some(Kind::Limit(Limit::Pings)), Some(1008)));
    assert_eq!(told.events.len(), 100);
    // A second later, a hundred more.
    let mut connection = server().open();
    for second in 0..3 {
        let now = NOW + Duration::from_secs(second);
        connection.inbox().extend_from_slice(&pings(100));
        for _ in 0..100 {
            assert!(matches!(connection.poll_event(now), Ok(Some(Event::Ping(_)))));
        }
        drain(&mut connection);
    }
}

#[test]
fn reading_pauses_above_the_inbox_and_goes_on_for_one_frame() {
    let mut connection = server().open();
    let small = masked(0x82, [1; 1000]);
    while connection.inbox().len() < 64 * 1024 {
        assert!(connection.wants_read());
        connection.inbox().extend_from_slice(&small);
    }
    assert!(!connection.wants_read());
    while connection.poll_event(NOW).unwrap().is_some() {}
    assert!(connection.wants_read());
    // A frame above it is read to its end.
    let large = masked(0x82, vec![1; 200_000]);
    connection.inbox().extend_from_slice(&large[..100_000]);
    assert!(!connection.wants_read(), "nobody knows yet");
    assert_eq!(connection.poll_event(NOW), Ok(None));
    assert!(connection.wants_read());
    connection.inbox().extend_from_slice(&large[100_000..]);
    assert!(!connection.wants_read());
    assert_eq!(connection.poll_event(NOW), Ok(Some(binary(vec![1; 200_000]))));
}

#[test]
fn a_message_in_one_frame_is_a_slice_of_what_was_read() {
    let mut connection = server().open();
    connection.inbox().extend_from_slice(&masked(0x82, [1; 100]));
    let start = connection.inbox().as_ptr() as usize;
    let Ok(Some(Event::Message(mut message))) = connection.poll_event(NOW) else { panic!() };
    assert_eq!(message.as_bytes().as_ptr() as usize, start + 6);
    message.detach();
    assert_ne!(message.as_bytes().as_ptr() as usize, start + 6);
    assert_eq!(message, Message::binary(vec![1; 100]));
}

#[test]
fn what_a_ping_carries_comes_back_and_is_short() {
    let mut connection = client().open();
    let long = Error::usage(Misuse::ControlTooLong, Phase::WebSocket);
    assert_eq!(connection.send_ping(NOW, &[0; 126]), Err(long));
    connection.send_ping(NOW, &[7; 125]).unwrap();
    let written = drain(&mut connection);
    assert_eq!(sent_frames(&written), [(9, vec![7; 125])]);
    let told = server().tell(&written);
    assert_eq!(told.events, [Event::Ping(Bytes::from(vec![7; 125]))]);
    assert_eq!(client().tell(&told.written).events, [Event::Pong(Bytes::from(vec![7; 125]))]);
}

#[test]
fn at_rest_it_holds_no_buffers() {
    let mut connection = server().open();
    connection.inbox().extend_from_slice(&masked(0x81, "x"));
    assert!(connection.poll_event(NOW).unwrap().is_some());
    connection.send_message(NOW, Message::text("y")).unwrap();
    drain(&mut connection);
    connection.rest();
    assert_eq!((connection.inbox().capacity(), connection.outbox().lacks_block()), (0, true));
    assert!(connection.is_self_delimited());
}

#[test]
fn what_contradicts_itself_is_refused() {
    type Change = fn(&mut Config);
    let changes: [Change; 8] = [
        |config| config.limits.frame = 0,
        |config| config.limits.frame = config.limits.message + 1,
        |config| config.limits.fragments = 0,
        |config| config.limits.queued = 0,
        |config| config.limits.pings = 0,
        |config| config.limits.inbox = Config::INBOX_MIN - 1,
        |config| config.frame = 0,
        |config| config.heartbeat.as_mut().unwrap().timeout = Duration::ZERO,
    ];
    assert_eq!(Config::default().check(), Ok(()));
    for change in changes {
        let mut config = Config::default();
        change(&mut config);
        assert_eq!(config.check(), Err(Error::usage(Misuse::Config, Phase::WebSocket)));
    }
}

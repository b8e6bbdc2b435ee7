//! Frames and messages: <https://www.rfc-editor.org/rfc/rfc6455#section-5>

use bytes::Bytes;
use sinew_core::error::{Kind, Limit, Violation};
use sinew_core::machine::{Status, Wire};
use sinew_core::websocket::{CloseCode, Event, Limits};

use crate::told::{MASK, Setup, binary, client, head, masked, plain, sent_frames, server, text};

/// Every example of <https://www.rfc-editor.org/rfc/rfc6455#section-5.7>
#[test]
fn the_examples_of_the_rfc_are_read() {
    let hello = [0x81, 0x05, 0x48, 0x65, 0x6c, 0x6c, 0x6f];
    assert_eq!(client().tell(hello).events, [text("Hello")]);
    let hello = [0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58];
    assert_eq!(server().tell(hello).events, [text("Hello")]);
    let fragments = [0x01, 0x03, 0x48, 0x65, 0x6c, 0x80, 0x02, 0x6c, 0x6f];
    assert_eq!(client().tell(fragments).events, [text("Hello")]);

    let ping = [0x89, 0x05, 0x48, 0x65, 0x6c, 0x6c, 0x6f];
    let told = client().tell(ping);
    assert_eq!(told.events, [Event::Ping(Bytes::from("Hello"))]);
    assert_eq!(sent_frames(&told.written), [(10, b"Hello".to_vec())]);
    assert_eq!(told.written[..2], [0x8a, 0x85], "masked");
    let pong = [0x8a, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58];
    let told = server().tell(pong);
    assert_eq!((told.events, told.written), (vec![Event::Pong(Bytes::from("Hello"))], vec![]));

    let mut kilobyte = vec![0x82, 0x7e, 0x01, 0x00];
    kilobyte.extend([7; 256]);
    assert_eq!(client().tell(kilobyte).events, [binary([7; 256])]);
    let mut large = vec![0x82, 0x7f, 0, 0, 0, 0, 0, 1, 0, 0];
    large.extend(vec![7; 65_536]);
    assert_eq!(client().tell(large).events, [binary(vec![7; 65_536])]);
}

#[test]
fn a_message_comes_in_pieces_with_control_frames_between_them() {
    let input = [
        masked(0x01, "Gr"),
        masked(0x89, "1"),
        masked(0x00, [0xc3]),
        masked(0x8a, "2"),
        masked(0x00, []),
        masked(0x80, [0xbc, b'n']),
        masked(0x82, []),
        masked(0x02, []),
        masked(0x80, []),
        masked(0x81, "x".repeat(126)),
    ];
    let told = server().tell(input.concat());
    assert_eq!(told.error, None);
    assert_eq!(
        told.events,
        [
            Event::Ping(Bytes::from("1")),
            Event::Pong(Bytes::from("2")),
            text("Grün"),
            binary([]),
            binary([]),
            text(&"x".repeat(126)),
        ]
    );
    assert_eq!(told.written, plain(0x8a, "1"));
}

/// Refused with this violation and this code, in both roles where that makes sense, and nothing
/// behind it is read.
fn refused(setup: &Setup, input: &[u8], why: Violation, code: u16) {
    let mut input = input.to_vec();
    input.extend(masked(0x81, "never read"));
    let told = setup.tell(&input);
    assert_eq!(told.kind(), Some(Kind::Peer(why)), "{input:x?}");
    assert_eq!(told.code(), Some(code), "{input:x?}");
    assert_eq!(told.status, Status::HalfClose);
    assert!(!told.events.contains(&text("never read")));
}

#[test]
fn what_breaks_the_protocol_is_told_with_its_code() {
    use Violation::{
        CloseFrame, Continuation, ControlFrame, FrameLength, Mask, Opcode, ReservedBits, Utf8,
    };
    for (input, why) in [
        (masked(0xc1, "a"), ReservedBits),
        (masked(0xa1, "a"), ReservedBits),
        (masked(0x91, "a"), ReservedBits),
        (masked(0x83, "a"), Opcode),
        (masked(0x87, "a"), Opcode),
        (masked(0x8b, "a"), Opcode),
        (masked(0x8f, "a"), Opcode),
        (plain(0x81, "a"), Mask),
        (masked(0x09, "a"), ControlFrame),
        (masked(0x08, ""), ControlFrame),
        (masked(0x89, [0; 126]), ControlFrame),
        (masked(0x88, [0; 126]), ControlFrame),
        (masked(0x80, "a"), Continuation),
        (masked(0x00, "a"), Continuation),
        ([masked(0x01, "a"), masked(0x81, "b")].concat(), Continuation),
        ([masked(0x02, "a"), masked(0x02, "b")].concat(), Continuation),
        ([0x81, 0xfe, 0, 5].to_vec(), FrameLength),
        ([0x82, 0xff, 0, 0, 0, 0, 0, 0, 0, 200].to_vec(), FrameLength),
        ([0x82, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0].to_vec(), FrameLength),
        (masked(0x88, [3]), CloseFrame),
    ] {
        refused(&server(), &input, why, 1002);
    }
    refused(&client(), &masked(0x81, "a"), Mask, 1002);
    for code in [0u16, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65_535] {
        refused(&server(), &masked(0x88, code.to_be_bytes()), CloseFrame, 1002);
    }
    let reason = [&1000u16.to_be_bytes()[..], &[0xce, 0xba, 0xe1]].concat();
    for input in [
        masked(0x81, [0xff]),
        masked(0x81, [0xce]),
        masked(0x88, reason),
        [masked(0x01, [0xe2, 0x82]), masked(0x80, "(")].concat(),
        [masked(0x01, [0xe2]), masked(0x80, [0x82])].concat(),
        // A surrogate, an overlong form, beyond the last character.
        masked(0x81, [0xed, 0xa0, 0x80]),
        masked(0x81, [0xc0, 0xaf]),
        masked(0x81, [0xf4, 0x90, 0x80, 0x80]),
    ] {
        refused(&server(), &input, Utf8, 1007);
    }
}

#[test]
fn text_fails_at_the_byte_that_shows_it_inside_a_frame_too() {
    let kind = |first: u8, payload: &[u8], len: usize| {
        let mut input = head(first, 0x80, len);
        input.extend(MASK);
        input.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
        server().tell(input).kind()
    };
    let bad = Some(Kind::Peer(Violation::Utf8));
    for first in [0x81, 0x01] {
        assert_eq!(kind(first, b"good so far \xf4", 100), None);
        assert_eq!(kind(first, b"good so far \xf4\x8f", 100), None);
        assert_eq!(kind(first, b"good so far \xf4\x90", 100), bad);
        assert_eq!(kind(first, b"\xc0", 100), bad);
    }
    assert_eq!(kind(0x82, b"\xc0", 100), None, "bytes are bytes");
}

#[test]
fn the_limits_are_what_they_say() {
    let mut setup = server();
    setup.config.limits = Limits { frame: 1000, message: 2500, fragments: 4, ..Limits::default() };
    let beyond = |input: &[u8]| {
        let told = setup.tell(input);
        let limit = match told.kind() {
            None => return (told.events.len(), None),
            Some(Kind::Limit(limit)) => limit,
            other => panic!("{other:?}"),
        };
        (told.events.len(), Some((limit, told.code().unwrap())))
    };
    let frame = |first, len| masked(first, vec![b'a'; len]);
    assert_eq!(beyond(&frame(0x81, 1000)), (1, None));
    assert_eq!(beyond(&frame(0x81, 1001)), (0, Some((Limit::Frame, 1009))));
    // Refused by its header, before any of it is there.
    assert_eq!(beyond(&frame(0x82, 70_000)[..14]), (0, Some((Limit::Frame, 1009))));
    let three = |last| {
        let frames = [frame(0x01, 1000), frame(0x00, 1000), frame(0x80, last)];
        beyond(&frames.concat())
    };
    assert_eq!(three(500), (1, None));
    assert_eq!(three(501), (0, Some((Limit::Message, 1009))));
    let pieces = |count: usize| {
        let middle = frame(0x00, 1).repeat(count - 2);
        beyond(&[frame(0x01, 1), middle, frame(0x80, 1)].concat())
    };
    assert_eq!(pieces(4), (1, None));
    assert_eq!(pieces(5), (0, Some((Limit::Fragments, 1008))));
    // A control frame is no data, and has its own limit.
    setup.config.limits = Limits { frame: 10, ..Limits::default() };
    assert_eq!(setup.tell(masked(0x89, [0; 125])).error, None);
}

#[test]
fn as_many_fragments_as_anyone_sends_are_taken() {
    // 4 MiB in pieces of 64 bytes, and an empty one behind them: the Autobahn testsuite does that.
    let middle = masked(0x00, "b").repeat(65_535);
    let input = [masked(0x02, "b"), middle, masked(0x80, "")].concat();
    let told = server().run([&input[..]], false);
    assert_eq!((told.events, told.error), (vec![binary(vec![b'b'; 65_536])], None));
    let input = [masked(0x02, "b"), masked(0x00, "b").repeat(131_072)].concat();
    assert_eq!(server().run([&input[..]], false).kind(), Some(Kind::Limit(Limit::Fragments)));
}

#[test]
fn messages_are_held_back_and_what_stands_in_front_of_them_is_not() {
    use sinew_core::{Machine as _, Wire as _};

    for bad in [masked(0xc1, "rsv"), masked(0x8b, "opcode"), masked(0x82, "fine")] {
        let mut connection = server().open();
        connection.hold_messages(true);
        let input = [masked(0x89, "ping"), bad.clone()].concat();
        connection.inbox().extend_from_slice(&input[..5]);
        assert_eq!(connection.poll_event(crate::told::NOW), Ok(None));
        connection.inbox().extend_from_slice(&input[5..]);
        let ping = connection.poll_event(crate::told::NOW);
        assert_eq!(ping, Ok(Some(Event::Ping("ping".into()))));
        // Not even the end is told before what is held back.
        connection.handle_eof(crate::told::NOW);
        assert_eq!(connection.poll_event(crate::told::NOW), Ok(None));
        assert_eq!(connection.inbox()[..], bad[..]);
        connection.hold_messages(false);
        let told = connection.poll_event(crate::told::NOW);
        assert_eq!(told.is_ok(), bad[0] == 0x82, "{told:?}");
        assert_ne!(told, Ok(None));
    }
    // One that is held back does not keep a connection from closing.
    let mut connection = server().open();
    connection.hold_messages(true);
    connection.inbox().extend_from_slice(&[masked(0x82, "late"), masked(0x88, "")].concat());
    connection.close(crate::told::NOW, CloseCode::NORMAL, "").unwrap();
    while let Ok(Some(event)) = connection.poll_event(crate::told::NOW) {
        if matches!(event, Event::Closed(_)) {
            return;
        }
    }
    panic!("it was not closed");
}

#[test]
fn nothing_is_reserved_because_a_header_announced_it() {
    for first in [0x82, 0x02, 0x01] {
        let mut connection = server().open();
        let mut header = head(first, 0x80, 256 * 1024);
        header.extend(MASK);
        connection.inbox().extend_from_slice(&header);
        assert_eq!(sinew_core::Machine::poll_event(&mut connection, crate::told::NOW), Ok(None));
        assert!(connection.inbox().capacity() < 1000, "{}", connection.inbox().capacity());
        assert!(connection.wants_read());
    }
}

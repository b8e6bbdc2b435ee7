//! Compressed messages: <https://www.rfc-editor.org/rfc/rfc7692>

use sinew_core::Machine;
use sinew_core::Wire;
use sinew_core::error::{Kind, Limit, Violation};
use sinew_core::websocket::deflate::{DeflateConfig, Pool, Takeover, Window};
use sinew_core::websocket::handshake::{
    Agreed, BadAnswer, ClientHandshake, Opening, ServerHandshake,
};
use sinew_core::websocket::{Event, Limits, Message, Role};

use crate::handshake::{checked, request};
use crate::told::{NOW, Setup, client, drain, masked, plain, sent_frames, server, text};

const PLAIN: &str = "permessage-deflate";
const FORGET: Window = Window { bits: 15, takeover: Takeover::Forget };

/// What a server with this configuration makes of an offer: its answer.
fn answer(config: DeflateConfig, offer: &str) -> Option<String> {
    let handshake = ServerHandshake { deflate: Some(config), ..Default::default() };
    handshake.check().unwrap();
    let head = request(&format!("Sec-WebSocket-Extensions: {offer}\r\n"));
    let accepted = handshake.accept(&head).unwrap();
    let mut fields = accepted.fields();
    let field = fields.find(|(name, _)| *name == "sec-websocket-extensions");
    assert_eq!(field.is_some(), accepted.agreed().deflate.is_some());
    field.map(|(_, value)| value.to_owned())
}

/// Both sides as they agree when the client wants this and the server that.
pub(crate) fn agree(wants: DeflateConfig, has: DeflateConfig) -> (Setup, Setup) {
    let asks = ClientHandshake { deflate: Some(wants), ..Default::default() };
    let opening = asks.open([1; 32]);
    let offer = opening.fields().find(|(name, _)| *name == "sec-websocket-extensions").unwrap().1;
    let handshake = ServerHandshake { deflate: Some(has), ..Default::default() };
    let head = request(&format!("Sec-WebSocket-Extensions: {offer}\r\n"));
    let accepted = handshake.accept(&head).unwrap();
    let mut fields = accepted.fields();
    let field = fields.find(|(name, _)| *name == "sec-websocket-extensions").unwrap();
    let agreed = checked_with(&opening, field.1).unwrap();
    drop(fields);
    (Setup { agreed, ..client() }, Setup { agreed: accepted.into_agreed(), ..server() })
}

fn checked_with(opening: &Opening, answer: &str) -> Result<Agreed, BadAnswer> {
    checked(
        opening,
        "101 Switching Protocols",
        &format!(
            "upgrade: websocket\r\nconnection: upgrade\r\nsec-websocket-accept: PROOF\r\n\
             sec-websocket-extensions: {answer}\r\n"
        ),
    )
}

fn packed() -> (Setup, Setup) {
    let config = DeflateConfig { threshold: 0, ..Default::default() };
    agree(config.clone(), config)
}

#[test]
fn a_server_takes_the_first_offer_that_it_can_meet() {
    let all = DeflateConfig::default();
    let small = DeflateConfig {
        outgoing: Window { bits: 10, takeover: Takeover::Forget },
        incoming: Window { bits: 11, takeover: Takeover::Forget },
        ..Default::default()
    };
    for (offer, by_default, by_small) in [
        (
            PLAIN,
            Some(PLAIN),
            Some(
                "permessage-deflate; server_no_context_takeover; server_max_window_bits=10; \
                 client_no_context_takeover",
            ),
        ),
        (
            "permessage-deflate; client_max_window_bits",
            Some(PLAIN),
            Some(
                "permessage-deflate; server_no_context_takeover; server_max_window_bits=10; \
                 client_no_context_takeover; client_max_window_bits=11",
            ),
        ),
        (
            "permessage-deflate; client_max_window_bits=9; server_max_window_bits=\"12\"",
            Some("permessage-deflate; server_max_window_bits=12; client_max_window_bits=9"),
            Some(
                "permessage-deflate; server_no_context_takeover; server_max_window_bits=10; \
                 client_no_context_takeover; client_max_window_bits=9",
            ),
        ),
        (
            "permessage-deflate; server_no_context_takeover; client_no_context_takeover",
            Some("permessage-deflate; server_no_context_takeover; client_no_context_takeover"),
            None,
        ),
        // The example of section 7.1: a fallback.
        ("permessage-deflate; server_max_window_bits=8, permessage-deflate", Some(PLAIN), None),
        ("x-other, permessage-deflate", Some(PLAIN), None),
    ] {
        assert_eq!(answer(all.clone(), offer).as_deref(), by_default, "{offer}");
        if by_small.is_some() {
            assert_eq!(answer(small.clone(), offer).as_deref(), by_small, "{offer}");
        }
    }
    for offer in [
        "permessage-deflate; unknown",
        "permessage-deflate; server_max_window_bits",
        "permessage-deflate; server_max_window_bits=7",
        "permessage-deflate; server_max_window_bits=8",
        "permessage-deflate; server_max_window_bits=16",
        "permessage-deflate; server_max_window_bits=015",
        "permessage-deflate; client_max_window_bits=1",
        "permessage-deflate; client_max_window_bits=19",
        "permessage-deflate; server_no_context_takeover=1",
        "permessage-deflate; client_max_window_bits; client_max_window_bits=10",
        "permessage-bzip2",
        "Permessage-Deflate",
    ] {
        assert_eq!(answer(all.clone(), offer), None, "{offer}");
    }
    for bad in [
        DeflateConfig { level: 0, ..Default::default() },
        DeflateConfig { level: 10, ..Default::default() },
        DeflateConfig { outgoing: Window { bits: 8, ..FORGET }, ..Default::default() },
        DeflateConfig { incoming: Window { bits: 16, ..FORGET }, ..Default::default() },
    ] {
        assert!(bad.check().is_err());
        assert!(
            ServerHandshake { deflate: Some(bad.clone()), ..Default::default() }.check().is_err()
        );
        assert!(ClientHandshake { deflate: Some(bad), ..Default::default() }.check().is_err());
    }
}

#[test]
fn a_client_takes_no_answer_to_what_it_did_not_offer() {
    let confirm = |config: DeflateConfig, answer: &str| {
        let asks = ClientHandshake { deflate: Some(config), ..Default::default() };
        checked_with(&asks.open([1; 32]), answer).map(|agreed| agreed.deflate.unwrap())
    };
    let all = DeflateConfig::default();
    let window = |bits, takeover| Window { bits, takeover };
    let agreed = confirm(
        all.clone(),
        "permessage-deflate; server_max_window_bits=9; client_max_window_bits=10; \
         client_no_context_takeover",
    )
    .unwrap();
    assert_eq!(agreed.incoming(), window(9, Takeover::Keep));
    assert_eq!(agreed.outgoing(), window(10, Takeover::Forget));
    assert!(confirm(all.clone(), "permessage-deflate; server_max_window_bits=8").is_ok());
    for answer in [
        "permessage-deflate; client_max_window_bits",
        "permessage-deflate; server_max_window_bits",
        "permessage-deflate; unknown",
        "permessage-deflate, permessage-deflate",
        "permessage-deflate; server_no_context_takeover; server_no_context_takeover",
        "x-other",
    ] {
        assert_eq!(confirm(all.clone(), answer), Err(BadAnswer::Extension), "{answer}");
    }
    // What was asked for has to be confirmed.
    let forget = DeflateConfig { incoming: FORGET, ..Default::default() };
    let wanted = "permessage-deflate; server_no_context_takeover";
    assert_eq!(confirm(forget.clone(), "permessage-deflate"), Err(BadAnswer::Extension));
    assert!(confirm(forget, wanted).is_ok());
    let narrow =
        DeflateConfig { incoming: Window { bits: 10, ..Default::default() }, ..Default::default() };
    for (answer, good) in [
        ("permessage-deflate", false),
        ("permessage-deflate; server_max_window_bits=11", false),
        ("permessage-deflate; server_max_window_bits=10", true),
        ("permessage-deflate; server_max_window_bits=9", true),
    ] {
        assert_eq!(confirm(narrow.clone(), answer).is_ok(), good, "{answer}");
    }
    // A window that deflate cannot do: messages go out as they are.
    let answer = "permessage-deflate; client_max_window_bits=8";
    let asks = ClientHandshake { deflate: Some(all), ..Default::default() };
    let agreed = checked_with(&asks.open([1; 32]), answer).unwrap();
    let mut connection = Setup { agreed, ..client() }.open();
    connection.send_message(NOW, Message::text("a".repeat(5000))).unwrap();
    assert_eq!(sent_frames(&drain(&mut connection)), [(1, "a".repeat(5000).into_bytes())]);
}

/// Every example of <https://www.rfc-editor.org/rfc/rfc7692#section-7.2.3>
#[test]
fn the_examples_of_the_rfc_are_read() {
    let (client, server) = packed();
    let hello: &[u8] = &[0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00];
    let whole = [&[0xc1, 0x07], hello].concat();
    assert_eq!(client.tell(&whole).events, [text("Hello")]);
    assert_eq!(server.tell(masked(0xc1, hello)).events, [text("Hello")]);
    let fragments = [0x41, 0x03, 0xf2, 0x48, 0xcd, 0x80, 0x04, 0xc9, 0xc9, 0x07, 0x00];
    assert_eq!(client.tell(fragments).events, [text("Hello")]);
    // A second message, by the window of the first.
    let shared = [&whole[..], &[0xc1, 0x05, 0xf2, 0x00, 0x11, 0x00, 0x00]].concat();
    assert_eq!(client.tell(shared).events, [text("Hello"), text("Hello")]);
    // A block without compression.
    let stored = [0xc1, 0x0b, 0x00, 0x05, 0x00, 0xfa, 0xff, 0x48, 0x65, 0x6c, 0x6c, 0x6f, 0x00];
    assert_eq!(client.tell(stored).events, [text("Hello")]);
    // A block that says that it is the last; and a message behind it.
    let last = plain(0xc1, [0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0x00]);
    assert_eq!(client.tell([&last[..], &last, &whole].concat()).events, vec![text("Hello"); 3]);
    // The same without the byte that some senders leave out.
    let bare = plain(0xc1, [0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00]);
    assert_eq!(client.tell([&bare[..], &whole].concat()).events, vec![text("Hello"); 2]);
    // Two blocks in one message.
    let two = plain(0xc1, [0xf2, 0x48, 0x05, 0, 0, 0, 0xff, 0xff, 0xca, 0xc9, 0xc9, 0x07, 0]);
    assert_eq!(client.tell(two).events, [text("Hello")]);
    // An empty message.
    assert_eq!(client.tell(plain(0xc1, [0])).events, [text("")]);
    // And one that is not compressed, between two that are.
    let mixed = [&whole[..], &plain(0x81, "as it is"), &whole].concat();
    assert_eq!(client.tell(mixed).events, [text("Hello"), text("as it is"), text("Hello")]);
}

#[test]
fn what_is_sent_is_what_the_rfc_shows() {
    let (_, server) = packed();
    let mut connection = server.open();
    for _ in 0..2 {
        connection.send_message(NOW, Message::text("Hello")).unwrap();
    }
    connection.send_message(NOW, Message::text("")).unwrap();
    let expected = [
        (0xc1, vec![0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00]),
        (0xc1, vec![0xf2, 0x00, 0x11, 0x00, 0x00]),
        (0xc1, vec![0x00]),
    ];
    assert_eq!(sent_frames(&drain(&mut connection)), expected);
}

/// Text that compresses, and bytes that do not.
fn samples() -> Vec<Message> {
    let mut state = 1u64;
    let mut noise = |len: usize| {
        let mut draw = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 56) as u8
        };
        (0..len).map(|_| draw()).collect::<Vec<u8>>()
    };
    vec![
        Message::text("a"),
        Message::text("Grün ist die Heide. ".repeat(300)),
        Message::binary(noise(100)),
        Message::text(""),
        Message::binary(noise(70_000)),
        Message::binary(vec![0; 1_000_000]),
        Message::text("Grün ist die Heide. ".repeat(3000)),
        Message::binary(vec![]),
    ]
}

#[test]
fn messages_arrive_whatever_was_agreed_on() {
    let window = |bits, takeover| Window { bits, takeover };
    for outgoing in [9, 12, 15].map(|bits| window(bits, Takeover::Keep)).into_iter().chain([FORGET])
    {
        for incoming in [Window::default(), window(9, Takeover::Forget)] {
            for level in [1, 6, 9] {
                let wants = DeflateConfig { outgoing, incoming, level, threshold: 0 };
                let has = DeflateConfig { threshold: 100, level, ..Default::default() };
                let (client, server) = agree(wants, has);
                for (from, to) in [(&client, &server), (&server, &client)] {
                    let mut connection = from.open();
                    let mut written = Vec::new();
                    let mut events = Vec::new();
                    for message in samples() {
                        connection.send_message(NOW, message.clone()).unwrap();
                        written.extend(drain(&mut connection));
                        connection.rest();
                        events.push(Event::Message(message));
                    }
                    assert!(written.len() < 150_000, "{}", written.len());
                    let told = to.run(written.chunks(4096), false);
                    assert_eq!((told.error, told.events), (None, events), "{from:?}");
                }
            }
        }
    }
}

#[test]
fn small_messages_go_out_as_they_are() {
    let (_, server) = agree(DeflateConfig::default(), DeflateConfig::default());
    let mut connection = server.open();
    for len in [255, 256] {
        connection.send_message(NOW, Message::text("a".repeat(len))).unwrap();
    }
    let frames = sent_frames(&drain(&mut connection));
    assert_eq!((frames[0].0, frames[1].0, frames.len()), (0x01, 0xc1, 2));
}

#[test]
fn a_bomb_is_refused_while_it_is_unpacked() {
    let (client, mut server) = packed();
    let mut bomber = client.open();
    bomber.send_message(NOW, Message::binary(vec![0; 30_000_000])).unwrap();
    let bomb = drain(&mut bomber);
    assert!(bomb.len() < 40_000);
    let told = server.tell(&bomb);
    assert_eq!((told.kind(), told.code()), (Some(Kind::Limit(Limit::Message)), Some(1009)));
    // To the byte.
    let mut exact = client.open();
    exact.send_message(NOW, Message::text("a".repeat(10_000))).unwrap();
    let exact = drain(&mut exact);
    for (limit, fits) in [(10_000, true), (9_999, false)] {
        server.config.limits = Limits { message: limit, frame: limit, ..Limits::default() };
        assert_eq!(server.tell(&exact).error.is_none(), fits);
    }
}

#[test]
fn what_does_not_unpack_or_is_no_text_is_1007() {
    let (_, server) = packed();
    for (payload, why) in [
        (&[0x07, 0x01][..], Violation::Deflate),
        (&[0xff, 0xff, 0xff], Violation::Deflate),
        // A stored block of the byte 0xff, and of a character that is cut.
        (&[0, 1, 0, 0xfe, 0xff, 0xff, 0], Violation::Utf8),
        (&[0, 1, 0, 0xfe, 0xff, 0xc3, 0], Violation::Utf8),
    ] {
        let told = server.tell(masked(0xc1, payload));
        assert_eq!((told.kind(), told.code()), (Some(Kind::Peer(why)), Some(1007)), "{payload:x?}");
    }
    // Inside of the frame.
    let part = &masked(0xc1, [0, 100, 0, 155, 255, b'a', 0xff, 0, 0, 0, 0, 0])[..13];
    assert_eq!(server.tell(part).kind(), Some(Kind::Peer(Violation::Utf8)));
}

#[test]
fn nothing_is_compressed_unless_both_want_it() {
    let told = server().tell(masked(0xc1, [0]));
    assert_eq!(told.kind(), Some(Kind::Peer(Violation::ReservedBits)));
    assert_eq!(ServerHandshake::default().deflate, None);
    assert_eq!(ClientHandshake::default().deflate, None);
    let head = request("Sec-WebSocket-Extensions: permessage-deflate\r\n");
    assert_eq!(ServerHandshake::default().accept(&head).unwrap().agreed().deflate, None);
}

#[test]
fn what_unpacks_a_small_window_is_not_lent_to_a_large_one() {
    let with = |bits| {
        let window = Window { bits, takeover: Takeover::Forget };
        let wants = DeflateConfig { outgoing: window, incoming: window, ..Default::default() };
        agree(DeflateConfig { threshold: 0, ..wants.clone() }, wants)
    };
    let mut pool = Pool::new(1);
    let (client, server) = with(9);
    let (mut from, mut to) = (client.open(), server.open());
    from.send_message(NOW, Message::text("small")).unwrap();
    to.inbox().extend_from_slice(&drain(&mut from));
    assert_eq!(to.poll_event(NOW), Ok(Some(text("small"))));
    to.give_back(&mut pool);
    for (bits, left) in [(15, 1), (9, 0)] {
        with(bits).1.open().lend(&mut pool);
        assert_eq!(pool.len().1, left, "{bits} bits");
    }
}

#[test]
fn compressors_are_shared_where_windows_are_forgotten() {
    let forget =
        DeflateConfig { outgoing: FORGET, incoming: FORGET, threshold: 0, ..Default::default() };
    let (client, server) = agree(forget.clone(), forget);
    let mut pool = Pool::new(1);
    assert!(pool.is_empty());
    let mut pairs: Vec<_> = (0..3).map(|_| (client.open(), server.open())).collect();
    for round in 0..3 {
        for (from, to) in &mut pairs {
            let message = Message::text(format!("round {round} ").repeat(50));
            from.lend(&mut pool);
            from.send_message(NOW, message.clone()).unwrap();
            from.give_back(&mut pool);
            let bytes = drain(from);
            // In two pieces, and given back in the middle: it is not.
            to.lend(&mut pool);
            for piece in bytes.chunks(bytes.len() / 2 + 1) {
                to.inbox().extend_from_slice(piece);
                let told = to.poll_event(NOW).unwrap();
                to.give_back(&mut pool);
                to.lend(&mut pool);
                assert!(told.is_none_or(|event| event == Event::Message(message.clone())));
            }
            to.give_back(&mut pool);
            assert_eq!(pool.len(), (1, 1));
        }
    }
    // Where windows are kept there is nothing to share.
    let (keeping, _) = packed();
    let mut connection = keeping.open();
    connection.lend(&mut pool);
    connection.send_message(NOW, Message::text("kept")).unwrap();
    connection.give_back(&mut pool);
    assert_eq!((pool.len(), connection.role()), ((1, 1), Role::Client));
}

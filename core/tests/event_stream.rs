//! Event streams, as the standard says they are read.
//! <https://html.spec.whatwg.org/multipage/server-sent-events.html>

use bytes::Bytes;
use proptest::prelude::*;
use sinew_core::error::{Error, Kind, Limit};
use sinew_core::event_stream::{EventStream, EventStreamLimits, StreamEvent};

/// Type, data and id of every event of a stream that comes in these pieces, and how it ends.
fn read(stream: &mut EventStream, pieces: &[&[u8]]) -> (Vec<StreamEvent>, Option<Error>) {
    let mut events = Vec::new();
    for piece in pieces {
        stream.feed(Bytes::copy_from_slice(piece));
        loop {
            match stream.poll_event() {
                Ok(Some(event)) => events.push(event),
                Ok(None) => break,
                Err(error) => return (events, Some(error)),
            }
        }
    }
    (events, None)
}

/// Whole, byte by byte, and cut in two everywhere: always the same.
fn events(text: impl AsRef<[u8]>) -> Vec<StreamEvent> {
    let text = text.as_ref();
    let (whole, failed) = read(&mut EventStream::default(), &[text]);
    assert_eq!(failed, None);
    let bytes: Vec<_> = text.chunks(1).collect();
    assert_eq!(read(&mut EventStream::default(), &bytes).0, whole, "byte by byte");
    for at in 0..=text.len() {
        let (a, b) = text.split_at(at);
        assert_eq!(read(&mut EventStream::default(), &[a, b]).0, whole, "cut at {at}");
    }
    whole
}

fn event(event: &str, data: &str, id: &str) -> StreamEvent {
    StreamEvent { event: event.into(), data: data.into(), id: id.into() }
}

fn message(data: &str) -> StreamEvent {
    event("message", data, "")
}

#[test]
fn the_examples_of_the_standard() {
    assert_eq!(events("data: YHOO\ndata: +2\ndata: 10\n\n"), [message("YHOO\n+2\n10")]);
    let stream = ": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\n\
                  data:  third event\n";
    assert_eq!(events(stream), [event("message", "first event", "1"), message("second event")]);
    assert_eq!(events("data\n\ndata\ndata\n\ndata:"), [message(""), message("\n")]);
    assert_eq!(events("data:test\n\ndata: test\n\n"), [message("test"), message("test")]);
    let stream =
        "event: add\ndata: 73857293\n\nevent: remove\ndata: 2153\n\nevent: add\ndata: 1\n\n";
    let expected =
        [event("add", "73857293", ""), event("remove", "2153", ""), event("add", "1", "")];
    assert_eq!(events(stream), expected);
}

#[test]
fn every_line_end_is_one() {
    for end in ["\n", "\r", "\r\n"] {
        let stream = ["data: a", "data: b", "", "data: c", "", ""].join(end);
        assert_eq!(events(stream), [message("a\nb"), message("c")], "{end:?}");
    }
    // An LF behind a CR is part of the same end, and not an empty line; two of a kind are one.
    assert_eq!(events("data: a\r\ndata: b\n\rdata: c\r\r"), [message("a\nb"), message("c")]);
}

#[test]
fn one_byte_order_mark_is_skipped() {
    assert_eq!(events("\u{feff}data: a\n\n"), [message("a")]);
    assert_eq!(events("\u{feff}\u{feff}data: a\n\n"), []);
    assert_eq!(events("data: a\n\u{feff}data: b\n\n"), [message("a")]);
}

#[test]
fn what_says_nothing_is_ignored() {
    assert_eq!(events(":\n\n: data: x\n\n"), []);
    assert_eq!(
        events("event: x\n\ndata: a\n\n"),
        [message("a")],
        "a type without data is forgotten"
    );
    assert_eq!(events("Data: x\nDATA: x\nfoo: x\n data: x\n\n"), [], "names are literal");
    assert_eq!(events("data: a"), [], "the end of the stream completes nothing");
    assert_eq!(events("data: a\n"), []);
}

#[test]
fn an_id_holds_until_the_next_one_and_has_no_nul() {
    let stream = "id: 1\ndata: a\n\ndata: b\n\nid: 2\0\ndata: c\n\nid\ndata: d\n\n";
    let expected = [("a", "1"), ("b", "1"), ("c", "1"), ("d", "")];
    assert_eq!(events(stream), expected.map(|(data, id)| event("message", data, id)));
}

#[test]
fn one_comes_back_to_the_last_event_that_was_whole() {
    let mut stream = EventStream::resumed(EventStreamLimits::default(), "0".into());
    assert_eq!(stream.last_event_id(), "0");
    read(&mut stream, &[b"data: a\n\n"]);
    assert_eq!(stream.last_event_id(), "0");
    let (events, _) = read(&mut stream, &[b"id: 7\n\nid: 8\ndata: lost"]);
    assert_eq!((events.len(), stream.last_event_id()), (0, "7"));
}

#[test]
fn the_time_to_wait_is_digits_only() {
    let retry = |text: &str| {
        let mut stream = EventStream::default();
        read(&mut stream, &[text.as_bytes()]);
        stream.retry().map(|time| time.as_millis())
    };
    assert_eq!(retry("retry: 1500\n"), Some(1500));
    assert_eq!(retry("retry: 99999999999999999999999\n"), Some(u64::MAX.into()));
    assert_eq!(retry("retry: 1500\nretry: -1\nretry\nretry: 1s\nretry: 1.5\n"), Some(1500));
    assert_eq!(retry("retry: 1500"), None);
}

#[test]
fn what_is_not_utf8_is_replaced() {
    let stream = b"data: a\xff\xe2\x82\nevent: \xc3\ndata: \xe2\x82\xac\n\n";
    assert_eq!(events(stream), [event("\u{fffd}", "a\u{fffd}\u{fffd}\n€", "")]);
}

#[test]
fn lines_and_events_have_a_limit() {
    let limits = EventStreamLimits { line: 10, event: 8 };
    let ends = |text: &str| {
        let mut kinds = Vec::new();
        for size in [1, 3, text.len()] {
            let mut stream = EventStream::new(limits);
            let pieces: Vec<_> = text.as_bytes().chunks(size).collect();
            let (events, failed) = read(&mut stream, &pieces);
            // It stays at that, whatever comes.
            stream.feed(Bytes::from_static(b"\n\ndata: x\n\n"));
            assert_eq!(stream.poll_event().err(), failed);
            kinds.push((events.len(), failed.map(|error| error.kind)));
        }
        kinds.dedup();
        assert_eq!(kinds.len(), 1, "{text:?}: {kinds:?}");
        kinds.remove(0)
    };
    assert_eq!(ends("data: 4444\n\n"), (1, None));
    let (line, event) = (Some(Kind::Limit(Limit::EventLine)), Some(Kind::Limit(Limit::Event)));
    assert_eq!(ends("data: a\n\ndata: 55555"), (1, line));
    assert_eq!(ends(": a comment counts"), (0, line));
    assert_eq!(ends("data: 123\ndata:1234\n\n"), (1, None));
    assert_eq!(ends("data: 123\ndata:12345\n"), (0, event));
}

#[test]
fn an_endless_event_is_not_kept() {
    let mut stream = EventStream::default();
    let line = Bytes::from(format!("data: {}\n", "x".repeat(60_000)));
    let mut fed = 0;
    loop {
        stream.feed(line.clone());
        fed += line.len();
        match stream.poll_event() {
            Ok(event) => assert_eq!(event, None),
            Err(error) => break assert_eq!(error.kind, Kind::Limit(Limit::Event)),
        }
    }
    assert!(fed < 1_200_000, "{fed}");
}

proptest! {
    #[test]
    fn how_it_is_cut_does_not_matter(
        text in proptest::collection::vec(
            proptest::sample::select(&b"data:eventidretry \r\n\r\n\r\n0\0x\xef\xbb\xbf\xff"[..]), 0..200),
        cuts in proptest::collection::vec(1_usize..9, 1..60),
    ) {
        let limits = EventStreamLimits { line: 40, event: 30 };
        let mut pieces: Vec<&[u8]> = Vec::new();
        let mut rest = &text[..];
        for cut in cuts.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (piece, more) = rest.split_at((*cut).min(rest.len()));
            pieces.push(piece);
            rest = more;
        }
        let (mut whole, mut cut) = (EventStream::new(limits), EventStream::new(limits));
        prop_assert_eq!(read(&mut whole, &[&text]), read(&mut cut, &pieces));
        prop_assert_eq!(whole.last_event_id(), cut.last_event_id());
        prop_assert_eq!(whole.retry(), cut.retry());
    }
}

//! Status lines, interim answers, and answers that nobody asked for.

use http::Method;
use sinew_core::error::{Delivery, Kind, Limit, Phase, Violation};
use sinew_core::http1::{BodySize, ClientConfig, Limits};
use sinew_core::machine::{CloseReason, Status};

use crate::told::{End, Told, fetch, fetch_with};

fn get(input: &str) -> Told {
    fetch(&Method::GET, input, End::Open)
}

/// A status line with an empty answer behind it.
fn answer(line: &str) -> String {
    format!("{line}\r\ncontent-length: 0\r\n\r\n")
}

#[test]
fn sound_lines_are_taken_as_they_stand() {
    for (line, expected) in [
        ("HTTP/1.1 200 OK", "HTTP/1.1 200 OK"),
        ("HTTP/1.1 200 ", "HTTP/1.1 200 "),
        ("HTTP/1.1 200", "HTTP/1.1 200 "),
        ("HTTP/1.0 404 Not Found", "HTTP/1.0 404 Not Found"),
        ("HTTP/1.0 404", "HTTP/1.0 404 "),
        ("HTTP/1.7 200 OK", "HTTP/1.1 200 OK"),
        ("HTTP/1.1 999 x", "HTTP/1.1 999 x"),
        ("HTTP/1.1 200  two  blanks ", "HTTP/1.1 200  two  blanks "),
        ("HTTP/1.1 200 a\tb", "HTTP/1.1 200 a\tb"),
        (
            "HTTP/1.1 200 a long reason, longer than a block",
            "HTTP/1.1 200 a long reason, longer than a block",
        ),
        ("HTTP/1.0 200 \u{e9}", "HTTP/1.0 200 \u{c3}\u{a9}"),
        ("HTTP/1.1 200 \u{e9}", "HTTP/1.1 200 \u{c3}\u{a9}"),
    ] {
        let told = get(&answer(line));
        assert_eq!(told.only().line, expected);
        assert_eq!(told.only().fields, ["content-length: 0"]);
    }
}

#[test]
fn malformed_lines_are_refused() {
    for line in [
        "HTTP/1.1",
        "HTTP/1.1 ",
        "HTTP/1.1 2",
        "HTTP/1.1 20",
        "HTTP/1.1 2000",
        "HTTP/1.1 20x OK",
        "HTTP/1.1 099 OK",
        "HTTP/1.1 200OK",
        "HTTP/1.1  200 OK",
        "HTTP/1.1\t200 OK",
        "HTTP/1.1 200\tOK",
        "HTTP/1.10 200 OK",
        "HTTP/1 200 OK",
        "http/1.1 200 OK",
        " HTTP/1.1 200 OK",
        "HTTP/1.1 200 O\0K",
        "HTTP/1.0 200 O\0K",
        "HTTP/1.0 200 O\x7fK",
        "HTTP/x.1 200 OK",
        "HTTP/1.1 +20 OK",
        "HTTQ/1.1 200 OK",
        "ICY 200 OK",
        "HTTP/1.1 -00 OK",
    ] {
        let told = get(&answer(line));
        assert_eq!(told.kind(), Some(Kind::Peer(Violation::StatusLine)), "{line:?}");
        assert_eq!(told.error.map(|error| error.phase), Some(Phase::ResponseHead));
        assert_eq!(told.status, Status::Close(CloseReason::Failed));
    }
    let told = get(&answer("HTTP/2.0 200 OK"));
    assert_eq!(told.kind(), Some(Kind::Peer(Violation::VersionUnsupported)));
    for input in ["HTTP/1.1 200 OK\n", "HTTP/1.0 200 OK\nx: y\r\n\r\n", "HTTP/1.1 200 OK\r\n\n"] {
        assert_eq!(get(input).kind(), Some(Kind::Peer(Violation::LineEnd)), "{input:?}");
    }
    let told = get("\r\nHTTP/1.1 200 OK\r\n\r\n");
    assert_eq!(told.kind(), Some(Kind::Peer(Violation::StatusLine)), "no empty line before it");
}

#[test]
fn another_protocol_is_told_by_its_first_byte() {
    for input in ["\x15\x03\x01", "X", "HX", "HTTP-", "<html>", "\0"] {
        assert_eq!(get(input).kind(), Some(Kind::Peer(Violation::StatusLine)), "{input:?}");
    }
    for input in ["H", "HTTP", "HTTP/", "HTTP/9", "HTTP/1.1 2", "HTTP/1.1 200 OK\r"] {
        assert_eq!(get(input).error, None, "{input:?}");
    }
}

#[test]
fn interim_answers_come_before_the_final_one() {
    let input =
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Hints\r\nlink: x\r\ncontent-length: 5\r\n\r\n";
    let told = get(&format!("{input}{}", answer("HTTP/1.1 200 OK")));
    assert_eq!(told.lines(), ["HTTP/1.1 100 Continue", "HTTP/1.1 103 Hints", "HTTP/1.1 200 OK"]);
    assert_eq!(told.messages[1].fields, ["link: x", "content-length: 5"]);
    assert_eq!((told.error, told.status), (None, Status::Open));
    let limits = Limits { interim: 2, ..Limits::default() };
    let config = ClientConfig { limits, ..ClientConfig::default() };
    let sound = format!("{input}{}", answer("HTTP/1.1 200 OK"));
    assert_eq!(fetch_with(&config, &Method::GET, sound, End::Open).messages.len(), 3);
    let flood = "HTTP/1.1 102 x\r\n\r\n".repeat(3);
    let told = fetch_with(&config, &Method::GET, flood, End::Open);
    assert_eq!((told.kind(), told.messages.len()), (Some(Kind::Limit(Limit::Interim)), 2));
}

#[test]
fn an_answer_that_nobody_asked_for_ends_the_connection() {
    for input in ["x", "HTTP/1.1 408 x\r\n\r\n"] {
        let told = get(&format!("{}{input}", answer("HTTP/1.1 200 OK")));
        assert_eq!(told.kind(), Some(Kind::Peer(Violation::UnexpectedResponse)), "{input:?}");
        assert_eq!(
            (told.messages.len(), told.error.map(|error| error.phase)),
            (1, Some(Phase::Idle))
        );
    }
    let last = get("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\nrest");
    assert_eq!((last.error, last.left.len()), (None, 0), "nobody looks behind the last answer");
    for status in ["101 x", "101 x\r\nconnection: upgrade\r\nupgrade: x"] {
        let told = get(&format!("HTTP/1.1 {status}\r\n\r\n"));
        assert_eq!(told.kind(), Some(Kind::Peer(Violation::UnexpectedSwitch)), "{status}");
    }
}

#[test]
fn a_body_over_the_limit_is_refused_by_what_it_announces() {
    let limits = Limits { body: 4, ..Limits::default() };
    let config = ClientConfig { limits, ..ClientConfig::default() };
    let get = |input: &str, end| fetch_with(&config, &Method::GET, input, end);
    let sound = get("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\n1234", End::Open);
    assert_eq!((sound.only().size, sound.only().text()), (BodySize::Exact(4), "1234"));
    let declared = get("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n", End::Open);
    assert_eq!((declared.kind(), declared.messages.len()), (Some(Kind::Limit(Limit::Body)), 0));
    let chunk = get("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\n", End::Open);
    assert_eq!((chunk.kind(), chunk.messages.len()), (Some(Kind::Limit(Limit::Body)), 1));
    let sound = get("HTTP/1.1 200 OK\r\n\r\n1234", End::Eof);
    assert_eq!(sound.only().text(), "1234");
    let endless = get("HTTP/1.1 200 OK\r\n\r\n12345", End::Open);
    assert_eq!(
        (endless.kind(), endless.messages[0].text()),
        (Some(Kind::Limit(Limit::Body)), "1234")
    );
}

#[test]
fn an_error_says_what_became_of_the_request() {
    let before = get("x");
    assert_eq!(before.error.map(|error| error.delivery), Some(Delivery::MaybeProcessed));
    let behind = get("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nx\r\n");
    let error = behind.error.unwrap();
    assert_eq!((error.delivery, error.phase), (Delivery::Processed, Phase::ResponseBody));
    assert_eq!(error.kind, Kind::Peer(Violation::ChunkHeader));
}

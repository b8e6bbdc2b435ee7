//! Field lines: <https://www.rfc-editor.org/rfc/rfc9112#section-5>

use http::Method;
use sinew_core::error::{Kind, Limit, Violation};
use sinew_core::http1::{ClientConfig, Limits, ServerConfig};

use crate::told::{End, fetch, fetch_with, head, refused, serve, serve_with};

/// A request with this in front of its empty line.
fn request(lines: &str) -> String {
    format!("GET / HTTP/1.1\r\nhost: a\r\n{lines}\r\n")
}

fn response(lines: &str) -> String {
    format!("HTTP/1.1 204 No Content\r\n{lines}\r\n")
}

#[test]
fn values_lose_the_white_space_round_them_and_nothing_else() {
    for (line, expected) in [
        ("a: b", "a: b"),
        ("a:b", "a: b"),
        ("A-b:  b", "A-b: b"),
        ("a: \t b c\t \t", "a: b c"),
        ("a:\tb", "a: b"),
        ("a: b\tc", "a: b\tc"),
        ("a: b\tc\td", "a: b\tc\td"),
        (
            "a: a value with a tab behind it\tand one more\t.",
            "a: a value with a tab behind it\tand one more\t.",
        ),
        ("a: b ", "a: b"),
        ("a: b\t", "a: b"),
        ("a:", "a: "),
        ("a: ", "a: "),
        ("a: \t ", "a: "),
        ("a: :b: c", "a: :b: c"),
        ("a: \u{ff}", "a: \u{c3}\u{bf}"),
        (
            "a-name-that-is-longer-than-a-word: a value that is longer than one as well",
            "a-name-that-is-longer-than-a-word: a value that is longer than one as well",
        ),
        ("!#$%&'*+-.^_`|~09azAZ: x", "!#$%&'*+-.^_`|~09azAZ: x"),
    ] {
        for behind in ["", "z: 1\r\n"] {
            let lines = request(&format!("{line}\r\n{behind}"));
            let told = serve(lines);
            assert_eq!(told.only().fields[1], expected);
            assert_eq!(told.only().fields.len(), if behind.is_empty() { 2 } else { 3 });
        }
        let told = fetch(&Method::GET, response(&format!("{line}\r\n")), End::Open);
        assert_eq!(told.only().fields, [expected]);
    }
}

#[test]
fn names_of_any_length_are_names() {
    for len in 1..70 {
        let line = format!("{}: b", "h".repeat(len));
        assert_eq!(serve(request(&format!("{line}\r\n"))).only().fields[1], line);
    }
}

#[test]
fn bad_names_are_refused() {
    for line in [
        "a",
        ": b",
        ":",
        "a : b",
        "a\t: b",
        "a b: c",
        "(a): b",
        "a\0: b",
        "\u{e9}: b",
        "\x7f: b",
        "a-name-that-is-longer-than-a-word(: b",
        "=: b",
        "\0",
    ] {
        for lines in [format!("{line}\r\n"), format!("x: y\r\n{line}\r\nz: 1\r\n")] {
            let input = request(&lines);
            assert_eq!(refused(input), Kind::Peer(Violation::FieldName), "{line:?}");
            let told = fetch(&Method::GET, response(&lines), End::Open);
            assert_eq!(told.kind(), Some(Kind::Peer(Violation::FieldName)), "{line:?}");
        }
    }
}

#[test]
fn controls_in_values_are_refused_wherever_they_stand() {
    for byte in (0..0x20u8).chain([0x7f]).filter(|byte| !b"\t\n".contains(byte)) {
        for (before, after) in [("", ""), ("b", ""), ("", "b"), ("a long value comes here", "b")] {
            let line = format!("a: {before}{}{after}\r\n", char::from(byte));
            let input = request(&line);
            assert_eq!(refused(input), Kind::Peer(Violation::FieldValue), "{line:?}");
            let told = fetch(&Method::GET, response(&line), End::Open);
            assert_eq!(told.kind(), Some(Kind::Peer(Violation::FieldValue)), "{line:?}");
        }
    }
}

#[test]
fn a_line_ends_in_cr_lf() {
    for lines in ["a: b\n", "a: b\nc: d\r\n", "x: y\r\na: b\n", "\n", "x: y\r\n\n"] {
        assert_eq!(refused(request(lines)), Kind::Peer(Violation::LineEnd), "{lines:?}");
        let told = fetch(&Method::GET, response(lines), End::Open);
        assert_eq!(told.kind(), Some(Kind::Peer(Violation::LineEnd)), "{lines:?}");
    }
    assert_eq!(refused(request("a: b\r\r\n")), Kind::Peer(Violation::FieldValue));
    assert_eq!(refused(request("\r\r\n")), Kind::Peer(Violation::FieldName));
}

#[test]
fn a_head_is_not_told_before_its_end() {
    for lines in ["", "a: b\r\n", "a: b", "a: b\r", "a"] {
        let whole = request(lines);
        let told = serve(whole.strip_suffix("\r\n").unwrap());
        assert_eq!((told.error, told.messages.len()), (None, 0), "{lines:?}");
    }
}

#[test]
fn folds_are_refused_in_requests() {
    for lines in [" a: b\r\n", "\ta: b\r\n", "a: b\r\n c\r\n", "a: b\r\n\tc\r\n", "a: b\r\n \r\n"] {
        assert_eq!(refused(request(lines)), Kind::Peer(Violation::Fold), "{lines:?}");
    }
    let first = "GET / HTTP/1.1\r\n host: a\r\n\r\n";
    assert_eq!(refused(first), Kind::Peer(Violation::Fold));
}

#[test]
fn folds_in_responses_become_spaces() {
    for (lines, expected) in [
        ("a: b\r\n c\r\n", &["a: b   c"][..]),
        ("a: b\r\n\tc\r\n", &["a: b  \tc"]),
        ("a: b \r\n  c \r\nd: e\r\n", &["a: b     c", "d: e"]),
        ("a: b\r\n c\r\n d\r\n", &["a: b   c   d"]),
        ("a:\r\n b\r\n", &["a: b"]),
        ("a: \r\n b\r\n", &["a: b"]),
        ("a:\r\n \r\n", &["a: "]),
        ("a:\r\n \r\n b\r\n", &["a: b"]),
        ("x: y\r\na: b\r\n c\r\n", &["x: y", "a: b   c"]),
    ] {
        let told = fetch(&Method::GET, response(lines), End::Open);
        assert_eq!(told.only().fields, expected, "{lines:?}");
    }
    // Beyond the lines that a table holds in place.
    let many: String = (0..14).map(|i| format!("x: {i}\r\n")).collect();
    let told = fetch(&Method::GET, response(&format!("{many} and more\r\n")), End::Open);
    assert_eq!(told.only().fields[13], "x: 13   and more");
}

#[test]
fn folds_are_lines_of_the_limit() {
    let limits = Limits { fields: 4, ..Limits::default() };
    let config = ClientConfig { limits, ..ClientConfig::default() };
    let told = fetch_with(&config, &Method::GET, response("a: b\r\n c\r\n d\r\n"), End::Open);
    assert_eq!(told.error, None);
    let folds = format!("a: b\r\n{}", " c\r\n".repeat(4));
    let told = fetch_with(&config, &Method::GET, response(&folds), End::Open);
    assert_eq!(told.kind(), Some(Kind::Limit(Limit::Fields)));
}

#[test]
fn what_decides_framing_is_not_folded() {
    for lines in [
        " a: b\r\n",
        "content-length: 1\r\n 2\r\n",
        "transfer-encoding:\r\n chunked\r\n",
        "connection: close\r\n , x\r\n",
        "upgrade: a\r\n b\r\n",
        "a: b\r\nconnection: x\r\n y\r\n",
    ] {
        let told = fetch(&Method::GET, response(lines), End::Open);
        assert!(told.messages.is_empty(), "{lines:?}");
        let why = told.kind();
        let refused =
            matches!(why, Some(Kind::Peer(Violation::Fold | Violation::TransferEncoding)));
        assert!(refused, "{lines:?}: {why:?}");
    }
    // An answer before it leaves nothing to fold on.
    let first = format!("{}HTTP/1.1 200 OK\r\n a: b\r\n\r\n", "HTTP/1.1 103 x\r\na: b\r\n\r\n");
    let told = fetch(&Method::GET, first, End::Open);
    assert_eq!(told.kind(), Some(Kind::Peer(Violation::Fold)));
    let control = fetch(&Method::GET, response("a: b\r\n c\0\r\n"), End::Open);
    assert_eq!(control.kind(), Some(Kind::Peer(Violation::FieldValue)));
}

#[test]
fn fields_are_found_by_name_in_any_case() {
    let lines: String = (0..20).map(|i| format!("X-{i}: {i}\r\nSame: {i}\r\n")).collect();
    let head = head(request(&lines));
    assert_eq!(head.header("x-0"), Some(&b"0"[..]));
    assert_eq!(head.header("x-19"), Some(&b"19"[..]));
    assert_eq!(head.header("x-20"), None);
    assert_eq!(head.fields().get_all("sAME").count(), 20);
    assert_eq!(head.fields().len(), 41);
}

#[test]
fn as_many_lines_as_the_limit_are_taken() {
    let limits = Limits { fields: 3, ..Limits::default() };
    let config = ServerConfig { limits, ..ServerConfig::default() };
    let told = serve_with(&config, request("a: b\r\nc: d\r\n").repeat(2));
    assert_eq!((told.error, told.messages.len()), (None, 2), "each head has its own");
    let told = serve_with(&config, request("a: b\r\nc: d\r\ne: f\r\n"));
    assert_eq!(told.kind(), Some(Kind::Limit(Limit::Fields)));
    assert!(told.written.starts_with("HTTP/1.1 431 "), "{}", told.written);
}

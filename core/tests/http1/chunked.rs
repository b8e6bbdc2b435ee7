//! The chunked transfer coding: <https://www.rfc-editor.org/rfc/rfc9112#section-7.1>

use http::Method;
use sinew_core::error::{Kind, Limit, Violation};
use sinew_core::http1::{Limits, ServerConfig};

use crate::told::{End, Told, fetch, serve, serve_with};

fn post(body: &str) -> String {
    format!("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n{body}")
}

fn limited(limits: Limits, body: &str) -> Told {
    serve_with(&ServerConfig { limits, ..ServerConfig::default() }, post(body))
}

#[test]
fn chunks_are_put_together() {
    let long = "0123456789abcdef".repeat(20);
    for (body, expected) in [
        ("0\r\n\r\n", ""),
        ("1\r\nx\r\n0\r\n\r\n", "x"),
        ("5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n", "hello world"),
        ("A\r\n0123456789\r\n0\r\n\r\n", "0123456789"),
        ("a\r\n0123456789\r\n0\r\n\r\n", "0123456789"),
        ("0000000000000002\r\nhi\r\n0\r\n\r\n", "hi"),
        ("2\r\n\r\n\r\n000\r\n\r\n", "\r\n"),
        ("10\r\n0123456789abcdef\r\n0\r\n\r\n", "0123456789abcdef"),
        (&format!("140\r\n{long}\r\n0\r\n\r\n"), &long),
    ] {
        let told = serve(post(body));
        assert_eq!((told.only().text(), told.left.len()), (expected, 0), "{body:?}");
        let answer = format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{body}");
        assert_eq!(fetch(&Method::GET, answer, End::Open).only().text(), expected);
    }
}

#[test]
fn extensions_are_read_over() {
    for extensions in [
        ";a",
        ";a=b",
        ";a=\"b\"",
        ";a=\"\"",
        ";a=\"b c;d\\\"e\\\\\"",
        ";a=\"\t\u{e9}\"",
        ";a=\"b\";c;d=e",
        ";a;b",
        ";!#$%&'*+-.^_`|~09azAZ=x",
    ] {
        let told = serve(post(&format!("2{extensions}\r\nhi\r\n0{extensions}\r\n\r\n")));
        assert_eq!(told.only().text(), "hi", "{extensions:?}");
    }
}

#[test]
fn bad_size_lines_are_refused() {
    for line in [
        "",
        "x",
        "-1",
        "+1",
        " 1",
        "1 ",
        "1\t",
        "0x1",
        "1h",
        "g",
        "1,",
        "1_0",
        "\u{b2}",
        "00000000000000001",
        "fffffffffffffffff",
        "1\0",
        "1;",
        "1; a",
        "1;a;",
        "1;;a",
        "1;a ",
        "1 ;a",
        "1;a=",
        "1;a= b",
        "1;a =b",
        "1;a=b c",
        "1;a=\"",
        "1;a=\"b",
        "1;a=\"b\\",
        "1;a=\"b\"c",
        "1;a=\"\0\"",
        "1;a=\"\x08\"",
        "1;a=\"\x0b\"",
        "1;a=\"\x1f\"",
        "1;a=\"\x7f\"",
        "1;a=\"\\\x01\"",
        "1;a=\"\\\"",
        "1;=b",
        "1;(",
        "1;a=b;",
        "1=b",
        "1\"",
        "1\r",
        ";a",
    ] {
        let told = serve(post(&format!("{line}\r\nx\r\n0\r\n\r\n")));
        assert_eq!(told.kind(), Some(Kind::Peer(Violation::ChunkHeader)), "{line:?}");
        assert_eq!(told.messages[0].text(), "");
    }
    for line in ["1\n", "\n", "1;a\n"] {
        let told = serve(post(&format!("{line}x\r\n0\r\n\r\n")));
        assert_eq!(told.kind(), Some(Kind::Peer(Violation::ChunkHeader)), "{line:?}");
    }
    let second = serve(post("1\r\nx\r\n1;\r\ny\r\n0\r\n\r\n"));
    assert_eq!(second.kind(), Some(Kind::Peer(Violation::ChunkHeader)));
    assert_eq!(second.messages[0].text(), "x");
}

#[test]
fn data_ends_in_cr_lf() {
    for body in
        ["1\r\nxy", "1\r\nx\n", "1\r\nx\rx", "1\r\nx\r\r\n", "2\r\nhi0\r\n\r\n", "1\r\nx \r\n"]
    {
        let told = serve(post(body));
        assert_eq!(told.kind(), Some(Kind::Peer(Violation::ChunkEnd)), "{body:?}");
    }
    let told = serve(post("1\r\nx\r"));
    assert_eq!((told.error, told.messages[0].text()), (None, "x"));
}

#[test]
fn half_a_chunk_is_given_out_and_waited_for() {
    for (body, expected) in
        [("", ""), ("5", ""), ("5\r\n", ""), ("5\r\nhel", "hel"), ("5\r\nhello\r\n", "hello")]
    {
        let told = serve(post(body));
        assert_eq!((told.error, told.messages[0].text()), (None, expected), "{body:?}");
        assert_eq!(told.messages[0].end, None);
    }
}

#[test]
fn all_sizes_that_fit_64_bits_are_understood() {
    let unlimited = || Limits { body: u64::MAX, ..Limits::default() };
    for size in ["ffffffffffffffff", "FFFFFFFFFFFFFFFF", "8000000000000000", "123456789abcdef0"] {
        let told = limited(unlimited(), &format!("{size}\r\nx"));
        assert_eq!((told.error, told.messages[0].text()), (None, "x"), "{size}");
    }
    // Two of them are more than any limit but the last.
    let limits = || Limits { body: u64::MAX - 1, ..Limits::default() };
    let told = limited(limits(), "1\r\nx\r\nfffffffffffffffe\r\n");
    assert_eq!(told.kind(), Some(Kind::Limit(Limit::Body)));
    let told = limited(limits(), "1\r\nx\r\nfffffffffffffffd\r\ny");
    assert_eq!((told.error, told.messages[0].text()), (None, "xy"));
}

#[test]
fn a_chunk_over_the_limit_is_refused_before_its_data() {
    let limits = || Limits { body: 10, ..Limits::default() };
    let sound = limited(limits(), "4\r\n0123\r\n6\r\n456789\r\n0\r\n\r\n");
    assert_eq!(sound.only().text(), "0123456789");
    for (body, before) in
        [("b\r\n0", ""), ("4\r\n0123\r\n7\r\n4", "0123"), ("ffffffffffffffff\r\n", "")]
    {
        let told = limited(limits(), body);
        assert_eq!(told.kind(), Some(Kind::Limit(Limit::Body)), "{body:?}");
        assert_eq!(told.messages[0].text(), before);
        assert!(told.written.starts_with("HTTP/1.1 413 "));
    }
}

#[test]
fn a_size_line_of_the_limit_is_taken() {
    let limits = || Limits { chunk_line: 20, ..Limits::default() };
    let line = |len: usize| format!("1;{}\r\n", "a".repeat(len - 4));
    let told = limited(limits(), &format!("{}x\r\n0\r\n\r\n", line(20)));
    assert_eq!(told.only().text(), "x");
    for body in [line(21), line(30), "1".repeat(20), format!("1\r\nx\r\n{}", line(21))] {
        let told = limited(limits(), &body);
        assert_eq!(told.kind(), Some(Kind::Limit(Limit::ChunkLine)), "{body:?}");
    }
    let waiting = limited(limits(), &"1".repeat(19));
    assert_eq!(waiting.error, None);
}

#[test]
fn the_extensions_of_all_chunks_count_together() {
    let limits = || Limits { chunk_extensions: 6, ..Limits::default() };
    let sound = limited(limits(), "1;a\r\nx\r\n1;a\r\ny\r\n0;a\r\n\r\n");
    assert_eq!(sound.only().text(), "xy");
    for body in ["1;aaaaaa\r\n", "1;a\r\nx\r\n1;aa\r\ny\r\n0;a\r\n\r\n", "1;a\r\nx\r\n0;aaaa\r\n"] {
        let told = limited(limits(), body);
        assert_eq!(told.kind(), Some(Kind::Limit(Limit::ChunkExtensions)), "{body:?}");
    }
    // Each body has its own.
    let one = post("0;aaaaa\r\n\r\n");
    let config = ServerConfig { limits: limits(), ..ServerConfig::default() };
    assert_eq!(serve_with(&config, one.repeat(2)).messages.len(), 2);
}

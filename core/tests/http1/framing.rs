//! Where a message ends: <https://www.rfc-editor.org/rfc/rfc9112#section-6>

use http::Method;
use sinew_core::error::{Kind, Violation};
use sinew_core::http1::BodySize::{Empty, Exact, Unknown};
use sinew_core::machine::{CloseReason, Status};

use crate::told::{End, fetch, head, refused, serve};

fn post(lines: &str, behind: &str) -> String {
    format!("POST / HTTP/1.1\r\nhost: a\r\n{lines}\r\n{behind}")
}

/// Whether another request may follow one with these lines.
fn goes_on(version: &str, lines: &str) -> bool {
    let told = serve(format!("GET / HTTP/{version}\r\nhost: a\r\n{lines}\r\n"));
    assert_eq!((told.error, told.messages.len()), (None, 1));
    told.status == Status::Open
}

#[test]
fn a_length_is_a_number_that_stands_once() {
    for (length, body) in [("0", ""), ("1", "x"), ("005", "hello"), ("16", "0123456789abcdef")] {
        for name in ["content-length", "Content-Length", "CONTENT-LENGTH"] {
            let told = serve(post(&format!("{name}: {length}\r\n"), body));
            let size = if body.is_empty() { Empty } else { Exact(body.len() as u64) };
            assert_eq!((told.only().size, told.only().text()), (size, body));
            assert_eq!(told.status, Status::Open);
        }
    }
    for value in
        ["", "+1", "-1", "1 1", "1,1", "1, 1", "0x1", "1.0", "18446744073709551616", "\u{b2}"]
    {
        let input = post(&format!("content-length: {value}\r\n"), "x");
        assert_eq!(refused(input), Kind::Peer(Violation::ContentLength), "{value}");
    }
    for second in ["1", "2", "x"] {
        let input = post(&format!("content-length: 1\r\nContent-length: {second}\r\n"), "x");
        assert_eq!(refused(input), Kind::Peer(Violation::ContentLength), "{second}");
    }
}

#[test]
fn what_follows_a_body_is_the_next_request() {
    let bodies = [
        post("content-length: 5\r\n", "hello"),
        post("transfer-encoding: chunked\r\n", "5\r\nhello\r\n0\r\n\r\n"),
    ];
    let next = "GET /next HTTP/1.1\r\nhost: a\r\n\r\n";
    for body in bodies {
        let told = serve(format!("{body}{next}"));
        assert_eq!(told.lines(), ["POST / HTTP/1.1", "GET /next HTTP/1.1"]);
        assert_eq!((told.messages[0].text(), told.left.len()), ("hello", 0));
        assert_eq!(told.written.matches("HTTP/1.1 204 ").count(), 2);
    }
}

#[test]
fn chunked_is_the_only_coding_and_stands_alone() {
    for value in ["chunked", "Chunked", "CHUNKED"] {
        let lines = format!("Transfer-Encoding: {value}\r\n");
        let told = serve(post(&lines, "1\r\nx\r\n0\r\n\r\n"));
        assert_eq!((told.only().size, told.only().text()), (Unknown, "x"));
    }
    for (value, violation) in [
        ("gzip", Violation::TransferCoding),
        ("identity", Violation::TransferCoding),
        ("gzip, deflate", Violation::TransferCoding),
        ("gzip, chunked", Violation::TransferCoding),
        ("gzip,Chunked", Violation::TransferCoding),
        ("chunkee", Violation::TransferCoding),
        ("xchunked", Violation::TransferCoding),
        ("chunked, gzip", Violation::TransferEncoding),
        ("chunked, chunked", Violation::TransferEncoding),
        ("chunked, gzip, chunked", Violation::TransferEncoding),
        ("chunked,", Violation::TransferEncoding),
        (",chunked", Violation::TransferEncoding),
        ("", Violation::TransferEncoding),
        ("\"chunked\"", Violation::TransferEncoding),
        ("chunked;q=1", Violation::TransferEncoding),
        ("gzip;q=1", Violation::TransferEncoding),
        ("chun ked", Violation::TransferEncoding),
        ("gzip;q=1, chunked", Violation::TransferEncoding),
    ] {
        let input = post(&format!("transfer-encoding: {value}\r\n"), "0\r\n\r\n");
        assert_eq!(refused(&input), Kind::Peer(violation), "{value:?}");
        let status = if violation == Violation::TransferCoding { "501" } else { "400" };
        assert_eq!(&serve(input).written[9..12], status);
    }
    let twice = "transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n";
    assert_eq!(refused(post(twice, "")), Kind::Peer(Violation::TransferEncoding));
}

#[test]
fn a_length_beside_a_coding_is_refused() {
    let (length, coding) = ("content-length: 5\r\n", "transfer-encoding: chunked\r\n");
    for lines in [format!("{length}{coding}"), format!("{coding}{length}")] {
        assert_eq!(refused(post(&lines, "0\r\n\r\n")), Kind::Peer(Violation::LengthAndCoding));
        let told = fetch(&Method::GET, format!("HTTP/1.1 200 OK\r\n{lines}\r\n"), End::Open);
        assert_eq!(told.kind(), Some(Kind::Peer(Violation::LengthAndCoding)));
    }
    let old = format!("POST / HTTP/1.0\r\n{coding}\r\n");
    assert_eq!(refused(old), Kind::Peer(Violation::TransferEncoding));
    let told = fetch(&Method::GET, format!("HTTP/1.0 200 OK\r\n{coding}\r\n"), End::Open);
    assert_eq!(told.kind(), Some(Kind::Peer(Violation::TransferEncoding)));
}

#[test]
fn a_request_has_one_host() {
    assert_eq!(refused("GET / HTTP/1.1\r\n\r\n"), Kind::Peer(Violation::Host));
    assert_eq!(refused("GET / HTTP/1.1\r\nhosy: a\r\n\r\n"), Kind::Peer(Violation::Host));
    assert_eq!(refused("GET / HTTP/1.7\r\n\r\n"), Kind::Peer(Violation::Host));
    let twice = "GET / HTTP/1.1\r\nHost: a\r\nHOST: a\r\n\r\n";
    assert_eq!(refused(twice), Kind::Peer(Violation::Host));
    let twice = "GET / HTTP/1.0\r\nHost: a\r\nhost: b\r\n\r\n";
    assert_eq!(refused(twice), Kind::Peer(Violation::Host));
    assert_eq!(serve("GET / HTTP/1.0\r\n\r\n").only().fields, [""; 0]);
    assert_eq!(head("GET / HTTP/1.0\r\n\r\n").authority(), None);
    assert_eq!(head("GET / HTTP/1.1\r\nx: y\r\nHoSt: \t b:1 \r\n\r\n").authority(), Some("b:1"));
}

#[test]
fn a_name_of_the_same_length_decides_nothing() {
    // With another letter at one end, each twice, with values that the known one may not have.
    for name in ["host", "expect", "upgrade", "connection", "content-length", "transfer-encoding"] {
        let rest = &name[1..name.len() - 1];
        let (first, last) = (&name[..1], &name[name.len() - 1..]);
        for other in [format!("{first}{rest}q"), format!("q{rest}{last}"), format!("{name}s")] {
            let told = serve(post(&format!("{other}: close, ?\r\n{other}: close\r\n"), ""));
            assert_eq!((told.only().size, told.status), (Empty, Status::Open), "{other}");
            assert_eq!(told.only().fields.len(), 3);
        }
    }
    // In a response these two are like any other.
    let lines = "host: ?\r\nhost: ?\r\nexpect: x\r\n";
    let told = fetch(&Method::GET, format!("HTTP/1.1 204 x\r\n{lines}\r\n"), End::Open);
    assert_eq!(told.only().fields, ["host: ?", "host: ?", "expect: x"]);
}

#[test]
fn the_only_expectation_is_100_continue() {
    let length = "content-length: 1\r\n";
    for (version, expectation, expects) in [
        ("1.1", "100-continue", true),
        ("1.1", "100-Continue", true),
        ("1.0", "100-continue", false),
    ] {
        let lines = format!("host: a\r\n{length}Expect: {expectation}\r\n");
        let head = head(format!("POST / HTTP/{version}\r\n{lines}\r\n"));
        assert_eq!(head.expects_continue(), expects);
    }
    assert!(!head(post(length, "")).expects_continue());
    for bad in ["", "100-continu", "100-continues", "200-ok", "100-continue, x"] {
        let input = post(&format!("expect: {bad}\r\n"), "");
        assert_eq!(refused(&input), Kind::Peer(Violation::Expectation), "{bad}");
        assert!(serve(input).written.starts_with("HTTP/1.1 417 "));
    }
}

#[test]
fn connection_says_whether_another_request_may_follow() {
    for (version, lines, expected) in [
        ("1.1", "", true),
        ("1.1", "connection: close\r\n", false),
        ("1.1", "Connection: CLOSE\r\n", false),
        ("1.1", "connection: x, close , y\r\n", false),
        ("1.1", "connection: x\r\nconnection: close\r\n", false),
        ("1.1", "connection: close\r\nconnection: keep-alive\r\n", false),
        ("1.1", "connection: keep-alive\r\n", true),
        ("1.1", "connection: clost\r\n", true),
        ("1.1", "connection: closed\r\n", true),
        ("1.1", "connection: xclose\r\n", true),
        ("1.1", "keep-alive: x\r\n", true),
        ("1.0", "", false),
        ("1.0", "connection: keep-alive\r\n", true),
        ("1.0", "connection: Keep-Alive, x\r\n", true),
        ("1.0", "connection: keep-alive, close\r\n", false),
        ("1.0", "connection: keep-alivf\r\n", false),
    ] {
        assert_eq!(goes_on(version, lines), expected, "{version} {lines:?}");
        let answer = format!("HTTP/{version} 200 OK\r\n{lines}content-length: 0\r\n\r\n");
        let told = fetch(&Method::GET, answer, End::Open);
        assert_eq!(told.only().size, Empty);
        let status = if expected { Status::Open } else { Status::Close(CloseReason::Done) };
        assert_eq!(told.status, status, "{version} {lines:?}");
    }
    let kept = serve("GET / HTTP/1.0\r\nconnection: keep-alive\r\n\r\n");
    assert!(kept.written.contains("\r\nconnection: keep-alive\r\n"));
    let ended = serve("GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
    assert!(ended.written.contains("\r\nconnection: close\r\n"));
}

#[test]
fn an_answer_is_framed_by_its_status_and_what_was_asked() {
    let (length, chunked) = ("content-length: 2\r\n", "transfer-encoding: chunked\r\n");
    for (method, status, lines, behind, size) in [
        (Method::GET, 200, length, "hi", Exact(2)),
        (Method::GET, 200, chunked, "2\r\nhi\r\n0\r\n\r\n", Unknown),
        (Method::GET, 200, "content-length: 0\r\n", "", Empty),
        (Method::GET, 206, length, "hi", Exact(2)),
        (Method::GET, 205, length, "hi", Exact(2)),
        (Method::GET, 305, length, "hi", Exact(2)),
        (Method::GET, 404, length, "hi", Exact(2)),
        (Method::GET, 204, length, "", Empty),
        (Method::GET, 204, chunked, "", Empty),
        (Method::GET, 304, length, "", Empty),
        (Method::GET, 304, "", "", Empty),
        (Method::HEAD, 200, length, "", Empty),
        (Method::HEAD, 200, chunked, "", Empty),
        (Method::HEAD, 200, "", "", Empty),
        (Method::HEAD, 404, length, "", Empty),
        (Method::CONNECT, 404, length, "hi", Exact(2)),
        (Method::CONNECT, 302, length, "hi", Exact(2)),
        (Method::POST, 201, length, "hi", Exact(2)),
    ] {
        let input = format!("HTTP/1.1 {status} x\r\n{lines}\r\n{behind}");
        let told = fetch(&method, input, End::Open);
        assert_eq!(told.only().size, size, "{method} {status} {lines}");
        assert_eq!(told.only().text(), if size == Empty { "" } else { "hi" });
        assert_eq!((told.status, told.left.len()), (Status::Open, 0));
    }
}

#[test]
fn an_answer_without_a_length_ends_with_the_connection() {
    let input = "HTTP/1.1 200 OK\r\n\r\nuntil the end";
    let told = fetch(&Method::GET, input, End::Eof);
    assert_eq!((told.only().size, told.only().text()), (Unknown, "until the end"));
    assert_eq!(told.status, Status::Close(CloseReason::Done));
    let empty = fetch(&Method::GET, "HTTP/1.0 200 OK\r\n\r\n", End::Eof);
    assert_eq!(empty.only().text(), "");
    let open = fetch(&Method::GET, input, End::Open);
    assert_eq!((open.messages[0].end.as_ref(), open.status), (None, Status::Open));
}

#[test]
fn a_tunnel_takes_everything_behind_the_head() {
    for status in [200, 204, 299] {
        let input = format!("HTTP/1.1 {status} x\r\ncontent-length: 2\r\n\r\nrest");
        let told = fetch(&Method::CONNECT, input, End::Open);
        assert_eq!((told.only().size, &told.left[..]), (Empty, &b"rest"[..]), "{status}");
    }
}

#[test]
fn a_body_that_is_cut_is_told_from_one_that_ends() {
    for input in [
        "HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nhi",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nhi",
        "HTTP/1.1 200 OK\r\n",
    ] {
        let told = fetch(&Method::GET, input, End::Eof);
        assert_eq!(told.kind(), Some(Kind::Truncated), "{input:?}");
    }
}

//! What the machines write, and what they refuse to: nothing unchecked leaves.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, StatusCode};
use sinew_core::error::{Error, Kind, Misuse, Phase};
use sinew_core::http1::{
    BodySize, Client, NO_FIELDS, Rejected, RequestLine, Server, ServerConfig, ServerEvent,
    StatusLine,
};
use sinew_core::machine::{Machine, Status, Wire};
use sinew_core::outbox::HIGH_WATER;
use sinew_core::time::{Epoch, Instant};

use crate::told::{NOW, drain, line};

type Sent = Result<String, Misuse>;

/// A server that was asked this.
pub(crate) fn asked(request: &str) -> Server {
    asked_with(ServerConfig::default(), request)
}

pub(crate) fn asked_with(config: ServerConfig, request: &str) -> Server {
    let mut server = Server::new(Arc::new(config), NOW);
    server.inbox().extend_from_slice(request.as_bytes());
    server.poll_event(NOW).unwrap().unwrap();
    server
}

pub(crate) const GET: &str = "GET / HTTP/1.1\r\nhost: a\r\n\r\n";
const OLD: &str = "GET / HTTP/1.0\r\nconnection: keep-alive\r\n\r\n";
const HEAD: &str = "HEAD / HTTP/1.1\r\nhost: a\r\n\r\n";
const CONNECT: &str = "CONNECT a:1 HTTP/1.1\r\nhost: a\r\n\r\n";

/// The head that is sent, or why none is; then nothing is written, and another may be sent.
fn respond(request: &str, status: u16, fields: &[(&str, &str)], body: BodySize) -> Sent {
    let mut server = asked(request);
    let status = StatusCode::from_u16(status).unwrap();
    let sent = server.send_response(NOW, status, fields.iter().copied(), body);
    let written = drain(&mut server);
    outcome(sent, written, || server.awaits_response())
}

fn request(line: RequestLine<'_>, fields: &[(&str, &str)], body: BodySize) -> Sent {
    let mut client = Client::new(Arc::default());
    let sent = client.send_request(NOW, line, fields.iter().copied(), body);
    let written = drain(&mut client);
    outcome(sent, written, || client.reusable())
}

fn outcome(sent: Result<(), Error>, written: String, unchanged: impl Fn() -> bool) -> Sent {
    let Err(error) = sent else { return Ok(written) };
    let Kind::Usage(misuse) = error.kind else { panic!("{error:?}") };
    assert!(written.is_empty() && unchanged() && !error.is_fatal(), "{error:?}: {written:?}");
    Err(misuse)
}

#[test]
fn a_response_says_how_it_is_framed() {
    use BodySize::{Empty, Exact, Unknown};
    for (request, status, fields, body, expected) in [
        (GET, 200, &[][..], Empty, "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"),
        (GET, 200, &[], Exact(0), "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"),
        (GET, 404, &[], Exact(12), "HTTP/1.1 404 Not Found\r\ncontent-length: 12\r\n\r\n"),
        (GET, 299, &[], Empty, "HTTP/1.1 299 \r\ncontent-length: 0\r\n\r\n"),
        (
            GET,
            200,
            &[],
            Exact(u64::MAX),
            "HTTP/1.1 200 OK\r\ncontent-length: 18446744073709551615\r\n\r\n",
        ),
        (
            GET,
            200,
            &[("a", "b"), ("C", "")],
            Empty,
            "HTTP/1.1 200 OK\r\na: b\r\nC: \r\ncontent-length: 0\r\n\r\n",
        ),
        (GET, 200, &[], Unknown, "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"),
        (
            GET,
            200,
            &[("content-length", "5")],
            Exact(5),
            "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n",
        ),
        (
            GET,
            200,
            &[("Content-Length", " 0 ")],
            Empty,
            "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
        ),
        (
            GET,
            200,
            &[("connection", "close")],
            Empty,
            "HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
        ),
        (
            GET,
            200,
            &[("Connection", "x, Close")],
            Empty,
            "HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
        ),
        (
            GET,
            200,
            &[("connection", "keep-alive")],
            Empty,
            "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
        ),
        (
            GET,
            200,
            &[("t-seventeen-bytes", "a")],
            Empty,
            "HTTP/1.1 200 OK\r\nt-seventeen-bytes: a\r\ncontent-length: 0\r\n\r\n",
        ),
        (GET, 204, &[], Empty, "HTTP/1.1 204 No Content\r\n\r\n"),
        (GET, 304, &[], Empty, "HTTP/1.1 304 Not Modified\r\n\r\n"),
        (
            GET,
            304,
            &[("content-length", "9")],
            Empty,
            "HTTP/1.1 304 Not Modified\r\ncontent-length: 9\r\n\r\n",
        ),
        (GET, 205, &[], Empty, "HTTP/1.1 205 Reset Content\r\ncontent-length: 0\r\n\r\n"),
        (HEAD, 200, &[], Empty, "HTTP/1.1 200 OK\r\n\r\n"),
        (
            HEAD,
            200,
            &[("content-length", "9")],
            Empty,
            "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n",
        ),
        (HEAD, 200, &[], Exact(9), "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n"),
        (HEAD, 200, &[], Unknown, "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"),
        (
            OLD,
            200,
            &[],
            Exact(1),
            "HTTP/1.1 200 OK\r\ncontent-length: 1\r\nconnection: keep-alive\r\n\r\n",
        ),
        (OLD, 200, &[], Unknown, "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n"),
        (
            "HEAD / HTTP/1.0\r\nconnection: keep-alive\r\n\r\n",
            200,
            &[],
            Unknown,
            "HTTP/1.1 200 OK\r\nconnection: keep-alive\r\n\r\n",
        ),
        (
            "GET / HTTP/1.0\r\n\r\n",
            200,
            &[],
            Empty,
            "HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
        ),
        (CONNECT, 200, &[], Empty, "HTTP/1.1 200 OK\r\nconnection: upgrade\r\n\r\n"),
        (CONNECT, 403, &[], Empty, "HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n"),
        (CONNECT, 403, &[], Exact(1), "HTTP/1.1 403 Forbidden\r\ncontent-length: 1\r\n\r\n"),
    ] {
        assert_eq!(respond(request, status, fields, body).as_deref(), Ok(expected));
    }
}

#[test]
fn a_response_that_contradicts_itself_is_refused() {
    use BodySize::{Empty, Exact, Unknown};
    for (request, status, fields, body, misuse) in [
        (GET, 200, &[("content-length", "5")][..], Exact(6), Misuse::ContentLength),
        (GET, 200, &[("content-length", "5")], Empty, Misuse::ContentLength),
        (GET, 200, &[("content-length", "5")], Unknown, Misuse::ContentLength),
        (GET, 200, &[("content-length", "x")], Exact(5), Misuse::ContentLength),
        (
            GET,
            200,
            &[("content-length", "5"), ("content-length", "5")],
            Exact(5),
            Misuse::ContentLength,
        ),
        (GET, 200, &[("Transfer-Encoding", "chunked")], Unknown, Misuse::TransferEncoding),
        (GET, 204, &[("content-length", "0")], Empty, Misuse::ContentLength),
        (CONNECT, 200, &[("content-length", "0")], Empty, Misuse::ContentLength),
        (GET, 200, &[("host", "a"), ("host", "a")], Empty, Misuse::Host),
        (GET, 204, &[], Exact(1), Misuse::BodyForbidden),
        (GET, 204, &[], Unknown, Misuse::BodyForbidden),
        (GET, 205, &[], Exact(1), Misuse::BodyForbidden),
        (GET, 304, &[], Exact(1), Misuse::BodyForbidden),
        (CONNECT, 200, &[], Exact(1), Misuse::BodyForbidden),
        (GET, 100, &[], Empty, Misuse::Status),
        (GET, 103, &[], Empty, Misuse::Status),
        (GET, 101, &[("upgrade", "x")], Empty, Misuse::Upgrade),
        (GET, 200, &[("a b", "c")], Empty, Misuse::FieldName),
        (GET, 200, &[("", "c")], Empty, Misuse::FieldName),
        (GET, 200, &[("a:", "c")], Empty, Misuse::FieldName),
        (GET, 200, &[("sound", "1"), ("a", "b\r\nc: d")], Empty, Misuse::FieldValue),
        (GET, 200, &[("a", "b\0")], Empty, Misuse::FieldValue),
        (GET, 200, &[("a", "a value of more than a block\n")], Empty, Misuse::FieldValue),
    ] {
        assert_eq!(respond(request, status, fields, body), Err(misuse), "{status} {fields:?}");
    }
}

#[test]
fn a_reason_of_ones_own_is_checked() {
    let send = |reason: &'static [u8], status| {
        let mut server = asked(GET);
        let line = StatusLine { reason: Some(reason), ..StatusLine::from(status) };
        let sent = server.send_response(NOW, line, NO_FIELDS, BodySize::Empty);
        outcome(sent, drain(&mut server), || server.awaits_response())
    };
    for status in [StatusCode::OK, StatusCode::NOT_FOUND] {
        let sent = send(b"Fine \xe9", status).unwrap();
        assert!(sent.starts_with(&format!("HTTP/1.1 {} Fine \u{e9}\r\n", status.as_u16())));
        for bad in [&b"a\r\nb: c"[..], b"\0", b"\n"] {
            assert_eq!(send(bad, status), Err(Misuse::Reason));
        }
    }
}

#[test]
fn a_request_says_how_it_is_framed() {
    use BodySize::{Empty, Exact, Unknown};
    let (get, post, connect) = (Method::GET, Method::POST, Method::CONNECT);
    for (method, target, fields, body, expected) in [
        (&get, "/", &[][..], Empty, "GET / HTTP/1.1\r\nhost: a\r\n\r\n"),
        (&get, "/x?y", &[("a", "b")], Empty, "GET /x?y HTTP/1.1\r\na: b\r\nhost: a\r\n\r\n"),
        (&get, "/", &[("Host", "b:2")], Empty, "GET / HTTP/1.1\r\nHost: b:2\r\n\r\n"),
        (
            &get,
            "/",
            &[("content-length", "0")],
            Empty,
            "GET / HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n",
        ),
        (
            &get,
            "/",
            &[("connection", "close")],
            Empty,
            "GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n",
        ),
        (&get, "/", &[("connection", "x")], Empty, "GET / HTTP/1.1\r\nhost: a\r\n\r\n"),
        (
            &get,
            "/",
            &[("upgrade", "x"), ("upgrade", "y")],
            Empty,
            "GET / HTTP/1.1\r\nupgrade: x\r\nupgrade: y\r\nhost: a\r\nconnection: upgrade\r\n\r\n",
        ),
        (&get, "/", &[], Exact(10), "GET / HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\n"),
        (&post, "/", &[], Empty, "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n"),
        (&post, "/", &[], Exact(0), "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n"),
        (&Method::PUT, "/", &[], Empty, "PUT / HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n"),
        (
            &Method::PATCH,
            "/",
            &[],
            Empty,
            "PATCH / HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n",
        ),
        (&Method::DELETE, "/", &[], Empty, "DELETE / HTTP/1.1\r\nhost: a\r\n\r\n"),
        (
            &post,
            "/",
            &[],
            Unknown,
            "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n",
        ),
        (
            &post,
            "/",
            &[("content-length", "7")],
            Exact(7),
            "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 7\r\n\r\n",
        ),
        (&connect, "b:1", &[], Empty, "CONNECT b:1 HTTP/1.1\r\nhost: a\r\n\r\n"),
        (&Method::OPTIONS, "*", &[], Empty, "OPTIONS * HTTP/1.1\r\nhost: a\r\n\r\n"),
        (&get, "http://b/", &[], Empty, "GET http://b/ HTTP/1.1\r\nhost: a\r\n\r\n"),
    ] {
        assert_eq!(request(line(method, target), fields, body).as_deref(), Ok(expected));
    }
}

#[test]
fn a_request_that_contradicts_itself_is_refused() {
    use BodySize::{Empty, Exact, Unknown};
    for (target, fields, body, misuse) in [
        ("", &[][..], Empty, Misuse::Target),
        ("x", &[], Empty, Misuse::Target),
        ("*", &[], Empty, Misuse::Target),
        ("/ HTTP/1.1\r\nx: y", &[], Empty, Misuse::Target),
        ("/\u{e9}", &[], Empty, Misuse::Target),
        ("/", &[("host", "")], Empty, Misuse::Host),
        ("/", &[("host", "a"), ("host", "a")], Empty, Misuse::Host),
        ("/", &[("content-length", "1")], Empty, Misuse::ContentLength),
        ("/", &[("content-length", "1")], Exact(2), Misuse::ContentLength),
        ("/", &[("content-length", "1")], Unknown, Misuse::ContentLength),
        ("/", &[("transfer-encoding", "chunked")], Unknown, Misuse::TransferEncoding),
        ("/", &[("a\n", "b")], Empty, Misuse::FieldName),
        ("/", &[("a", "b\n")], Empty, Misuse::FieldValue),
    ] {
        assert_eq!(request(line(&Method::GET, target), fields, body), Err(misuse), "{target:?}");
    }
    for authority in ["", "a b", "u@a", "a/", "a:99999"] {
        let line = RequestLine { authority: authority.as_bytes(), ..line(&Method::GET, "/") };
        assert_eq!(request(line, &[], Empty), Err(Misuse::Host), "{authority}");
        let refused = Error::usage(Misuse::Host, Phase::Idle);
        assert_eq!(line.check(), Err(refused));
        assert!(request(line, &[("host", "b")], Empty).is_ok(), "the field takes precedence");
    }
    assert_eq!(line(&Method::GET, "/").check(), Ok(()));
    let refused = Error::usage(Misuse::Target, Phase::Idle);
    assert_eq!(line(&Method::GET, "x").check(), Err(refused));
    let long = format!("/{}", "x".repeat(65_534));
    assert_eq!(line(&Method::GET, &long).check(), Ok(()));
    assert_eq!(line(&Method::GET, &format!("{long}x")).check(), Err(refused));
}

#[test]
fn every_authority_is_checked_whatever_was_sent_before() {
    let mut client = Client::new(Arc::default());
    let to = |authority| RequestLine { authority, ..line(&Method::GET, "/") };
    for (authority, sound) in [("a:80", true), ("a:80", true), ("a b", false), ("b", true)] {
        let sent = client.send_request(NOW, to(authority.as_bytes()), NO_FIELDS, BodySize::Empty);
        assert_eq!(sent.is_ok(), sound, "{authority}");
        let written = drain(&mut client);
        assert_eq!(written.contains(&format!("host: {authority}\r\n")), sound);
        if sound {
            client.inbox().extend_from_slice(b"HTTP/1.1 204 No Content\r\n\r\n");
            while client.poll_event(NOW).unwrap().is_some() {}
        }
    }
}

/// What a body of these pieces looks like behind its head, and why the last step was refused.
fn body(
    request: &str,
    size: BodySize,
    pieces: &[&'static str],
) -> (String, Option<Misuse>, Status) {
    let mut server = asked(request);
    server.send_response(NOW, StatusCode::OK, NO_FIELDS, size).unwrap();
    drain(&mut server);
    for piece in pieces {
        if let Err(rejected) = server.send_data(NOW, Bytes::from_static(piece.as_bytes())) {
            let Rejected::Error(error) = rejected else { panic!("{rejected:?}") };
            let Kind::Usage(misuse) = error.kind else { panic!("{error:?}") };
            return (drain(&mut server), Some(misuse), server.status());
        }
    }
    let refused = server.send_end(NOW, NO_FIELDS).err().map(|error| match error.kind {
        Kind::Usage(misuse) => misuse,
        kind => panic!("{kind:?}"),
    });
    (drain(&mut server), refused, server.status())
}

#[test]
fn a_response_in_one_go_is_the_same_as_in_parts() {
    let close = [("connection", "close")];
    let wrong = [("content-length", "4")];
    let long = "x".repeat(3000);
    let statuses = [StatusCode::OK, StatusCode::NOT_FOUND, StatusCode::NO_CONTENT];
    for request in [GET, OLD, HEAD, &GET.repeat(2)] {
        for (status, body) in statuses.iter().flat_map(|s| ["", "hello", &long].map(|b| (*s, b))) {
            for fields in [&[][..], &close, &wrong] {
                let (mut one, mut other) = (asked(request), asked(request));
                let bytes = Bytes::copy_from_slice(body.as_bytes());
                let whole = one.send_whole(NOW, status, fields.iter().copied(), bytes.clone());
                let size = BodySize::Exact(body.len() as u64);
                let head = other.send_response(NOW, status, fields.iter().copied(), size);
                assert_eq!(whole, head, "{status} {body:.5}");
                if head.is_ok() && !body.is_empty() {
                    other.send_data(NOW, bytes).unwrap();
                    other.send_end(NOW, NO_FIELDS).unwrap();
                }
                assert_eq!(one.body_bytes(), other.body_bytes());
                assert_eq!(one.awaits_response(), other.awaits_response());
                assert_eq!(one.deadline(), other.deadline());
                assert_eq!(drain(&mut one), drain(&mut other));
                assert_eq!(one.status(), other.status());
                let another = one.poll_event(NOW).unwrap().is_some();
                assert_eq!(another, other.poll_event(NOW).unwrap().is_some());
            }
        }
    }
}

#[test]
fn a_response_in_one_go_is_taken_above_the_mark() {
    let mut server = asked(&GET.repeat(2));
    let head = "HTTP/1.1 200 OK\r\ncontent-length: 65000\r\n\r\n".len();
    // The next head alone fills the outbox.
    let first = Bytes::from(vec![b'x'; HIGH_WATER - head - 1]);
    server.send_whole(NOW, StatusCode::OK, NO_FIELDS, first).unwrap();
    assert_eq!(server.outbox().len(), HIGH_WATER - 1);
    assert!(matches!(server.poll_event(NOW), Ok(Some(ServerEvent::Request { .. }))));
    server.send_whole(NOW, StatusCode::OK, NO_FIELDS, Bytes::from_static(b"more")).unwrap();
    assert!(!server.can_send() && server.is_idle());
    assert!(drain(&mut server).ends_with("\r\n\r\nmore"));
}

#[test]
fn a_body_is_as_long_as_was_said() {
    use BodySize::{Empty, Exact, Unknown};
    for (request, size, pieces, expected, refused) in [
        (GET, Exact(5), &["he", "", "llo"][..], "hello", None),
        (GET, Exact(5), &["hell"], "hell", Some(Misuse::BodyTooShort)),
        (GET, Exact(5), &["hello!"], "", Some(Misuse::BodyTooLong)),
        (GET, Exact(5), &["hello", "!"], "hello", Some(Misuse::BodyTooLong)),
        (GET, Empty, &["x"], "", Some(Misuse::NoBodyDue)),
        (GET, Empty, &[], "", Some(Misuse::NoBodyDue)),
        (GET, Unknown, &["hello", "", " "], "5\r\nhello\r\n1\r\n \r\n0\r\n\r\n", None),
        (GET, Unknown, &["0123456789abcdefg"], "11\r\n0123456789abcdefg\r\n0\r\n\r\n", None),
        (GET, Unknown, &[], "0\r\n\r\n", None),
        (OLD, Unknown, &["hello", ""], "hello", None),
        (HEAD, Unknown, &["hello"], "", None),
        (HEAD, Exact(5), &["anything"], "", None),
    ] {
        let (sent, why, status) = body(request, size, pieces);
        assert_eq!((&sent[..], why), (expected, refused), "{size:?} {pieces:?}");
        let closes = request == OLD && size == Unknown;
        assert_eq!(status, if closes { Status::HalfClose } else { Status::Open });
    }
}

#[test]
fn the_date_is_that_of_the_second() {
    let epoch = Some(Epoch::new(Duration::from_secs(784_111_777)));
    let mut server = Server::new(Arc::new(ServerConfig { epoch, ..ServerConfig::default() }), NOW);
    for (nanos, seconds) in
        [(1, "37"), (999_999_999, "37"), (1_000_000_000, "38"), (1_500_000_000, "38")]
    {
        let now = Instant::from_nanos(nanos);
        server.inbox().extend_from_slice(GET.as_bytes());
        server.poll_event(now).unwrap().unwrap();
        server.send_response(now, StatusCode::OK, NO_FIELDS, BodySize::Empty).unwrap();
        let date = format!(
            "HTTP/1.1 200 OK\r\ndate: Sun, 06 Nov 1994 08:49:{seconds} GMT\r\ncontent-length: 0\r\n\r\n"
        );
        assert_eq!(drain(&mut server), date);
    }
    server.inbox().extend_from_slice(GET.as_bytes());
    server.poll_event(NOW).unwrap().unwrap();
    server.send_response(NOW, StatusCode::OK, [("Date", "mine")], BodySize::Empty).unwrap();
    assert_eq!(drain(&mut server), "HTTP/1.1 200 OK\r\nDate: mine\r\ncontent-length: 0\r\n\r\n");
}

#[test]
fn the_date_is_that_of_the_epoch_that_holds() {
    let at = |seconds| {
        let epoch = Some(Epoch::new(Duration::from_secs(seconds)));
        Arc::new(ServerConfig { epoch, ..ServerConfig::default() })
    };
    let mut server = Server::new(at(784_111_777), NOW);
    for (config, seconds) in [(at(784_111_777), "37"), (at(784_111_779), "39")] {
        server.reconfigure(config).unwrap();
        server.inbox().extend_from_slice(GET.as_bytes());
        server.poll_event(NOW).unwrap().unwrap();
        server.send_response(NOW, StatusCode::OK, NO_FIELDS, BodySize::Empty).unwrap();
        let sent = drain(&mut server);
        assert!(sent.contains(&format!("date: Sun, 06 Nov 1994 08:49:{seconds} GMT")), "{sent}");
    }
}

#[test]
fn dates_are_those_of_the_calendar() {
    // Seconds since 1970 at the end of a day, and the date; both ends of months and leap years.
    for (days, expected) in [
        (0, "Thu, 01 Jan 1970"),
        (30, "Sat, 31 Jan 1970"),
        (31, "Sun, 01 Feb 1970"),
        (58, "Sat, 28 Feb 1970"),
        (59, "Sun, 01 Mar 1970"),
        (364, "Thu, 31 Dec 1970"),
        (365, "Fri, 01 Jan 1971"),
        (789, "Tue, 29 Feb 1972"),
        (10_956, "Fri, 31 Dec 1999"),
        (10_957, "Sat, 01 Jan 2000"),
        (11_015, "Mon, 28 Feb 2000"),
        (11_016, "Tue, 29 Feb 2000"),
        (11_017, "Wed, 01 Mar 2000"),
        (11_169, "Mon, 31 Jul 2000"),
        (11_170, "Tue, 01 Aug 2000"),
        (11_322, "Sun, 31 Dec 2000"),
        (11_382, "Thu, 01 Mar 2001"),
        (47_540, "Sun, 28 Feb 2100"),
        (47_541, "Mon, 01 Mar 2100"),
        (157_113, "Tue, 29 Feb 2400"),
        (157_114, "Wed, 01 Mar 2400"),
    ] {
        let epoch = Some(Epoch::new(Duration::from_secs(days * 86_400 + 86_399)));
        let config = ServerConfig { epoch, ..ServerConfig::default() };
        let mut server = asked_with(config, GET);
        server.send_response(NOW, StatusCode::OK, NO_FIELDS, BodySize::Empty).unwrap();
        let sent = drain(&mut server);
        assert!(sent.contains(&format!("\r\ndate: {expected} 23:59:59 GMT\r\n")), "{sent}");
    }
}

//! The request line: <https://www.rfc-editor.org/rfc/rfc9112#section-3>

use sinew_core::error::{Kind, Limit, Violation};
use sinew_core::http1::{Limits, ServerConfig};

use crate::told::{head, refused, serve, serve_with};

fn with_host(line: &str) -> String {
    format!("{line}\r\nhost: a\r\n\r\n")
}

#[test]
fn sound_lines_are_taken_as_they_stand() {
    for (input, expected) in [
        ("GET / HTTP/1.1", "GET / HTTP/1.1"),
        ("GET / HTTP/1.0", "GET / HTTP/1.0"),
        ("GET / HTTP/1.2", "GET / HTTP/1.1"),
        ("GET / HTTP/1.9", "GET / HTTP/1.1"),
        ("POST /a/b?c=d HTTP/1.0", "POST /a/b?c=d HTTP/1.0"),
        ("get / HTTP/1.1", "get / HTTP/1.1"),
        ("M-SEARCH / HTTP/1.1", "M-SEARCH / HTTP/1.1"),
        ("!#$%&'*+-.^_`|~09azAZ / HTTP/1.1", "!#$%&'*+-.^_`|~09azAZ / HTTP/1.1"),
        ("OPTIONS * HTTP/1.1", "OPTIONS * HTTP/1.1"),
        ("CONNECT a:443 HTTP/1.1", "CONNECT a:443 HTTP/1.1"),
        ("CONNECT a:443 HTTP/1.0", "CONNECT a:443 HTTP/1.0"),
        ("GET http://a/b HTTP/1.1", "GET http://a/b HTTP/1.1"),
    ] {
        assert_eq!(serve(with_host(input)).only().line, expected);
    }
}

#[test]
fn every_byte_that_is_no_token_ends_a_method() {
    for byte in (0..=255u8).filter(|byte| *byte != b'\r' && *byte != b'\n') {
        for at in [0, 1, 17] {
            let mut method = vec![b'A'; 18];
            method[at] = byte;
            let mut input = method.clone();
            input.extend_from_slice(b" / HTTP/1.1\r\nhost: a\r\n\r\n");
            let sound = byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
            if sound {
                assert_eq!(head(&input).method().as_str().as_bytes(), method);
            } else if byte == b' ' {
                // Too many blanks, or a target of `A`.
                assert!(matches!(refused(&input), Kind::Peer(Violation::RequestLine)));
            } else {
                assert_eq!(refused(&input), Kind::Peer(Violation::Method), "{byte:#x} at {at}");
            }
        }
    }
}

#[test]
fn malformed_lines_are_refused() {
    for (line, violation) in [
        ("GET", Violation::RequestLine),
        ("GET /", Violation::RequestLine),
        ("GET / ", Violation::RequestLine),
        ("GET  HTTP/1.1", Violation::RequestLine),
        ("GET  / HTTP/1.1", Violation::RequestLine),
        (" GET / HTTP/1.1", Violation::RequestLine),
        (" / HTTP/1.1", Violation::RequestLine),
        ("GET / HTTP/1.1 ", Violation::RequestLine),
        ("GET /  HTTP/1.1", Violation::RequestLine),
        ("GET / x HTTP/1.1", Violation::RequestLine),
        ("GET / http/1.1", Violation::RequestLine),
        ("GET / HTTP/1", Violation::RequestLine),
        ("GET / HTTP/1.", Violation::RequestLine),
        ("GET / HTTP/1.10", Violation::RequestLine),
        ("GET / HTTP/1,1", Violation::RequestLine),
        ("GET / HTTP-1.1", Violation::RequestLine),
        ("GET / HTTP/1.x", Violation::RequestLine),
        ("GET / HTTP/x.1", Violation::RequestLine),
        ("GET / HTTQ/1.1", Violation::RequestLine),
        ("GET / HTTP/0.9", Violation::VersionUnsupported),
        ("GET / HTTP/2.0", Violation::VersionUnsupported),
        ("GET / HTTP/3.1", Violation::VersionUnsupported),
        ("PRI * HTTP/2.0", Violation::VersionUnsupported),
        ("GET \x7f HTTP/2.0", Violation::VersionUnsupported),
        ("GET\t/ HTTP/1.1", Violation::Method),
        ("GET\0 / HTTP/1.1", Violation::Method),
        ("G\u{e9}T / HTTP/1.1", Violation::Method),
        ("\"GET\" / HTTP/1.1", Violation::Method),
        ("GET x HTTP/1.1", Violation::Target),
        ("GET /\x7f HTTP/1.1", Violation::Target),
        ("GET /\tx HTTP/1.1", Violation::Target),
        ("GET /#x HTTP/1.1", Violation::Target),
        ("GET * HTTP/1.1", Violation::Target),
        ("CONNECT / HTTP/1.1", Violation::Target),
    ] {
        assert_eq!(refused(with_host(line)), Kind::Peer(violation), "{line:?}");
    }
}

#[test]
fn one_empty_line_before_it_is_skipped_and_no_second() {
    assert_eq!(serve("\r\nGET / HTTP/1.1\r\nhost: a\r\n\r\n").only().line, "GET / HTTP/1.1");
    assert_eq!(serve("\r\nGET /x HTTP/1.0\r\n\r\n").only().fields, [""; 0]);
    assert_eq!(refused("\r\n\r\nGET / HTTP/1.1\r\nhost: a\r\n\r\n"), request_line());
    let request = |target| format!("GET {target} HTTP/1.1\r\nhost: a\r\n\r\n");
    let told = serve([request("/1"), request("/2"), request("/3")].join("\r\n"));
    assert_eq!(told.error, None);
    assert_eq!(told.lines(), ["GET /1 HTTP/1.1", "GET /2 HTTP/1.1", "GET /3 HTTP/1.1"]);
    assert_eq!(serve([request("/1"), request("/2")].join("\r\n\r\n")).kind(), Some(request_line()));
}

fn request_line() -> Kind {
    Kind::Peer(Violation::RequestLine)
}

#[test]
fn a_line_ends_in_cr_lf_and_nothing_else() {
    for input in [
        "\nGET / HTTP/1.1\r\nhost: a\r\n\r\n",
        "\r\n\nGET / HTTP/1.1\r\nhost: a\r\n\r\n",
        "GET / HTTP/1.1\nhost: a\r\n\r\n",
        "GET / HTTP/1.0\n\r\n",
        "GET\n",
    ] {
        assert_eq!(refused(input), Kind::Peer(Violation::LineEnd), "{input:?}");
    }
    // What can be said of the line before its end comes is said first.
    assert_eq!(refused("G(T / HTTP/1.1\n"), Kind::Peer(Violation::Method));
    assert_eq!(refused("GET\r / HTTP/1.1\r\n"), Kind::Peer(Violation::Method));
    assert_eq!(refused("GET / HTTP/1.1\r\r\n"), request_line());
    assert_eq!(refused("GET /\r HTTP/1.1\r\n"), Kind::Peer(Violation::Target));
}

#[test]
fn what_is_wrong_is_said_before_the_line_ends() {
    assert_eq!(refused("\x16\x03\x01"), Kind::Peer(Violation::Method));
    assert_eq!(refused("(GET"), Kind::Peer(Violation::Method));
    assert_eq!(serve("GET").error, None);
    assert_eq!(serve("GET / HTTP/9").error, None);
    let limits = Limits { target: 5, ..Limits::default() };
    let config = ServerConfig { limits, ..ServerConfig::default() };
    assert_eq!(serve_with(&config, "GET /1234").error, None);
    assert_eq!(serve_with(&config, "GET /1234 HTTP").error, None);
    let over = serve_with(&config, "GET /12345");
    assert_eq!(over.kind(), Some(Kind::Limit(Limit::Target)));
    assert!(over.written.starts_with("HTTP/1.1 414 "), "{}", over.written);
}

#[test]
fn a_target_of_the_limit_is_taken_and_one_byte_more_is_not() {
    let limits = Limits { target: 5, ..Limits::default() };
    let config = ServerConfig { limits, ..ServerConfig::default() };
    // Both minor versions: one line of the usual kind, and one of the other.
    for version in ["1.0", "1.1"] {
        let sound = with_host(&format!("GET /1234 HTTP/{version}"));
        assert!(serve_with(&config, sound).only().line.contains("/1234"));
        for target in ["/12345", "/12345678901234567890"] {
            let over = with_host(&format!("GET {target} HTTP/{version}"));
            let told = serve_with(&config, over);
            assert_eq!(told.kind(), Some(Kind::Limit(Limit::Target)), "{target}");
        }
    }
}

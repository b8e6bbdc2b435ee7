//! Trailer sections: <https://www.rfc-editor.org/rfc/rfc9112#section-7.1.2>

use bytes::Bytes;
use http::{Method, StatusCode};
use sinew_core::error::{Kind, Limit, Misuse, Violation};
use sinew_core::http1::{BodySize, Client, Limits, NO_FIELDS, Server, ServerConfig};
use sinew_core::machine::{Machine, Wire};

use crate::told::{End, NOW, Told, drain, fetch, line, serve, serve_with};

const FORBIDDEN: [&str; 26] = [
    "age",
    "authorization",
    "cache-control",
    "connection",
    "content-encoding",
    "content-length",
    "content-range",
    "content-type",
    "cookie",
    "date",
    "expect",
    "expires",
    "host",
    "keep-alive",
    "location",
    "max-forwards",
    "pragma",
    "proxy-authenticate",
    "proxy-authorization",
    "range",
    "retry-after",
    "set-cookie",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

fn post(trailers: &str) -> String {
    format!(
        "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n{trailers}"
    )
}

fn limited(limits: Limits, trailers: &str) -> Told {
    serve_with(&ServerConfig { limits, ..ServerConfig::default() }, post(trailers))
}

#[test]
fn trailers_are_told_with_the_end() {
    for (trailers, expected) in [
        ("\r\n", &[][..]),
        ("a: b\r\n\r\n", &["a: b"]),
        ("a:b\r\nC: \td \r\n\r\n", &["a: b", "C: d"]),
        ("a:\r\n\r\n", &["a: "]),
    ] {
        let told = serve(post(trailers));
        assert_eq!(told.only().end.as_deref().unwrap(), expected);
        assert_eq!(told.only().fields.len(), 2, "those of the head stay as they are");
        assert!(told.left.is_empty());
        let answer =
            format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n{trailers}");
        let told = fetch(&Method::GET, answer, End::Open);
        assert_eq!(told.only().end.as_deref().unwrap(), expected);
    }
    let next = "GET /next HTTP/1.1\r\nhost: a\r\n\r\n";
    let told = serve(format!("{}{next}{}{next}", post("a: b\r\n\r\n"), post("c: d\r\n\r\n")));
    assert_eq!(told.messages.len(), 4);
    assert_eq!(told.messages[2].end.as_deref().unwrap(), ["c: d"]);
}

#[test]
fn what_decides_about_the_message_is_left_out() {
    for name in FORBIDDEN {
        for name in [name.to_owned(), name.to_uppercase()] {
            let told = serve(post(&format!("{name}: 1\r\nx: y\r\n{name}: 2\r\n\r\n")));
            assert_eq!(told.only().end.as_deref().unwrap(), ["x: y"], "{name}");
        }
        let told = serve(post(&format!("{name}x: 1\r\n\r\n")));
        assert_eq!(told.only().end.as_deref().unwrap().len(), 1, "{name}x");
    }
    // All the same: it is none.
    assert_eq!(serve(post("te: x\r\n\r\n")).only().end.as_deref().unwrap(), [""; 0]);
}

#[test]
fn what_must_not_be_sent_as_a_trailer_is_refused() {
    let mut server = Server::new(std::sync::Arc::default(), NOW);
    server.inbox().extend_from_slice(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n");
    server.poll_event(NOW).unwrap();
    server.send_response(NOW, StatusCode::OK, NO_FIELDS, BodySize::Unknown).unwrap();
    let mut client = Client::new(std::sync::Arc::default());
    client.send_request(NOW, line(&Method::POST, "/"), NO_FIELDS, BodySize::Unknown).unwrap();
    drain(&mut server);
    drain(&mut client);
    let bad = FORBIDDEN.iter().map(|name| (*name, "x", Misuse::Trailer)).chain([
        ("Content-Length", "1", Misuse::Trailer),
        ("a b", "x", Misuse::FieldName),
        ("", "x", Misuse::FieldName),
        ("a", "b\r\nc: d", Misuse::FieldValue),
    ]);
    for (name, value, why) in bad {
        for trailers in [vec![(name, value)], vec![("sound", "1"), (name, value)]] {
            let error = server.send_end(NOW, trailers.clone()).unwrap_err();
            assert_eq!(error.kind, Kind::Usage(why), "{name}");
            let error = client.send_end(NOW, trailers).unwrap_err();
            assert_eq!(error.kind, Kind::Usage(why), "{name}");
        }
    }
    // Nothing of them was written, and the body can still end.
    server.send_data(NOW, Bytes::from_static(b"hi")).unwrap();
    server.send_end(NOW, [("a", "b"), ("c", "d")]).unwrap();
    assert_eq!(drain(&mut server), "2\r\nhi\r\n0\r\na: b\r\nc: d\r\n\r\n");
    client.send_end(NOW, [("a", "b")]).unwrap();
    assert_eq!(drain(&mut client), "0\r\na: b\r\n\r\n");
}

#[test]
fn a_malformed_section_is_refused() {
    for trailers in [
        " \r\n\r\n",
        "a\r\n\r\n",
        "a : b\r\n\r\n",
        ": b\r\n\r\n",
        "a: b\r\n c\r\n\r\n",
        "a: \0\r\n\r\n",
        "a: b\n\r\n",
        "\n",
        "a: b\r\n\n",
        "a: b\rc",
        "\r\r",
        "\rx",
        "a: b\r\n\rx",
        "te: x\r\n y\r\n",
    ] {
        let told = serve(post(trailers));
        assert_eq!(told.kind(), Some(Kind::Peer(Violation::Trailer)), "{trailers:?}");
        assert_eq!(told.messages[0].end, None);
    }
    for trailers in ["", "\r", "a", "a: b", "a: b\r", "a: b\r\n", "a: b\r\n\r"] {
        let told = serve(post(trailers));
        assert_eq!((told.error, told.messages[0].text()), (None, "x"), "{trailers:?}");
        assert_eq!(told.messages[0].end, None);
    }
}

#[test]
fn a_section_of_the_limits_is_taken() {
    let limits = || Limits { trailer_bytes: 20, trailers: 2, ..Limits::default() };
    // Eighteen bytes and the empty line.
    for sound in ["a: 4567890123456\r\n\r\n", "a: b\r\nc: d\r\n\r\n", "te: b\r\nc: d\r\n\r\n"] {
        let told = limited(limits(), sound);
        assert!(told.only().end.is_some(), "{sound:?}");
    }
    let told = limited(limits(), "a: 45678901234567\r\n\r\n");
    assert_eq!(told.kind(), Some(Kind::Limit(Limit::TrailerBytes)));
    assert!(told.written.starts_with("HTTP/1.1 431 "));
    let told = limited(limits(), "a: 45678901234567890123456789");
    assert_eq!(told.kind(), Some(Kind::Limit(Limit::TrailerBytes)));
    let waiting = limited(limits(), "a: 4567890123456789");
    assert_eq!(waiting.error, None);
    for trailers in ["a:b\r\nc:d\r\ne:f\r\n\r\n", "te:b\r\nte:d\r\nte:f\r\n"] {
        let told = limited(limits(), trailers);
        assert_eq!(told.kind(), Some(Kind::Limit(Limit::Trailers)), "dropped ones count");
    }
    // A lone CR is said before the limit.
    let told = limited(limits(), "a: b\rc\r\n56789012345678901234");
    assert_eq!(told.kind(), Some(Kind::Peer(Violation::Trailer)));
}

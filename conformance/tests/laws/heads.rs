//! Heads beside httparse and the types of the `http` crate.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use sinew_conformance::laws::{check_request_head, check_response_head};

use crate::config;

fn lines(first: &'static [&'static str]) -> impl Strategy<Value = Vec<u8>> {
    let field = select(vec![
        "Content-Length: 3",
        "Accept: */*, text/plain;q=0.5",
        "x-empty:",
        "x-spaces: \t both  sides\t ",
        "Connection: keep-alive, upgrade",
        "X-Latin: caf\u{e9}",
        "Date: Mon, 23 Nov 2026 06:00:00 GMT",
    ]);
    (select(first), vec(field, 0..6)).prop_map(|(first, fields)| {
        let fields = fields.join("\r\n");
        format!("{first}\r\nHost: a\r\n{fields}\r\n\r\nabc").into_bytes()
    })
}

/// Some bytes replaced by others that mean something to a parser.
fn altered(lines: impl Strategy<Value = Vec<u8>>) -> impl Strategy<Value = Vec<u8>> {
    let byte = prop_oneof![select(b"\r\n\t :;,/%?@\0\x7f\x80\xff0aZ".to_vec()), any::<u8>()];
    (lines, vec((any::<Index>(), byte), 0..3)).prop_map(|(mut bytes, changes)| {
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        bytes
    })
}

const REQUESTS: &[&str] = &[
    "GET / HTTP/1.1",
    "POST /a/b%20c?d=e&f HTTP/1.1",
    "OPTIONS * HTTP/1.0",
    "GET http://a.test:8080/x HTTP/1.1",
    "GET http://a.test?x HTTP/1.1",
    "CONNECT a.test:443 HTTP/1.1",
    "M-SEARCH /~!$&'()*+,;=:@ HTTP/1.1",
];

const RESPONSES: &[&str] =
    &["HTTP/1.1 200 OK", "HTTP/1.0 404 Not Found", "HTTP/1.1 204 ", "HTTP/1.1 103 Early Hints"];

proptest! {
    #![proptest_config(config(20_000))]

    #[test]
    fn requests_read_the_same(bytes in altered(lines(REQUESTS))) {
        check_request_head(&bytes).map_err(|breach| TestCaseError::fail(breach.0))?;
    }

    #[test]
    fn responses_read_the_same(bytes in altered(lines(RESPONSES))) {
        check_response_head(&bytes).map_err(|breach| TestCaseError::fail(breach.0))?;
    }
}

#[test]
fn the_comparison_takes_place() {
    let request = b"POST /a?b HTTP/1.1\r\nHost: a\r\nx-spaces: \t b  c\t \r\nx-empty:\r\n\r\n";
    assert!(check_request_head(request).unwrap());
    let response = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nx-spaces: \t b  c\t \r\n\r\n";
    assert!(check_response_head(response).unwrap());
}

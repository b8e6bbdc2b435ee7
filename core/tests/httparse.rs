//! What our parser takes, httparse takes, and reads the same. (Not the other way round: it is the
//! laxer of the two.)

use std::sync::Arc;

use http::Method;
use httparse::{EMPTY_HEADER, ParserConfig, Status};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use sinew_core::head::Fields;
use sinew_core::http1::{
    BodySize, Client, ClientConfig, ClientEvent, NO_FIELDS, RequestLine, Server, ServerConfig,
    ServerEvent,
};
use sinew_core::time::Instant;
use sinew_core::{Machine, Wire};

const NOW: Instant = Instant::ZERO;

fn same_fields(ours: &Fields, theirs: &[httparse::Header<'_>]) {
    let theirs: Vec<_> = theirs.iter().map(|field| (field.name, field.value)).collect();
    assert_eq!(ours.iter().collect::<Vec<_>>(), theirs);
}

/// Whether httparse read the head. It knows no minor version above 1, which we read as 1:
/// <https://www.rfc-editor.org/rfc/rfc9110#section-2.5>
fn taken(parsed: httparse::Result<usize>, bytes: &[u8]) -> bool {
    match parsed {
        Ok(Status::Complete(_)) => true,
        Err(httparse::Error::Version) => false,
        other => panic!("we take what httparse does not, {other:?}: {}", bytes.escape_ascii()),
    }
}

/// `None`: refused, or not complete, or not comparable.
fn read_request(bytes: &[u8]) -> Option<()> {
    let mut server = Server::new(Arc::new(ServerConfig::default()), NOW);
    server.inbox().extend_from_slice(bytes);
    let Ok(Some(ServerEvent::Request { head, .. })) = server.poll_event(NOW) else { return None };
    let mut fields = [EMPTY_HEADER; 128];
    let mut theirs = httparse::Request::new(&mut fields);
    if !taken(theirs.parse(bytes), bytes) {
        return None;
    }
    assert_eq!(Some(head.method().as_str()), theirs.method);
    assert_eq!(Some(head.target()), theirs.path);
    same_fields(head.fields(), theirs.headers);
    Some(())
}

/// `None`: refused, or not complete, or not comparable.
fn read_response(bytes: &[u8]) -> Option<()> {
    let mut client = Client::new(Arc::new(ClientConfig::default()));
    let line = RequestLine { method: &Method::GET, target: b"/", authority: b"a" };
    client.send_request(NOW, line, NO_FIELDS, BodySize::Empty).ok()?;
    client.inbox().extend_from_slice(bytes);
    let Ok(Some(ClientEvent::Response { head, .. } | ClientEvent::Informational(head))) =
        client.poll_event(NOW)
    else {
        return None;
    };
    let mut fields = [EMPTY_HEADER; 128];
    let mut theirs = httparse::Response::new(&mut fields);
    let mut lax = ParserConfig::default();
    lax.allow_obsolete_multiline_headers_in_responses(true);
    if !taken(lax.parse_response(&mut theirs, bytes), bytes) {
        return None;
    }
    assert_eq!(Some(head.status().as_u16()), theirs.code);
    // We unfold a folded value; httparse leaves the fold in it.
    if !theirs.headers.iter().any(|field| field.value.contains(&b'\n')) {
        same_fields(head.fields(), theirs.headers);
    }
    Some(())
}

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
    let byte = prop_oneof![select(b"\r\n\t :;,/%\0\x7f\x80\xff0aZ".to_vec()), any::<u8>()];
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
    "M-SEARCH /~!$&'()*+,;=:@ HTTP/1.1",
];

const RESPONSES: &[&str] =
    &["HTTP/1.1 200 OK", "HTTP/1.0 404 Not Found", "HTTP/1.1 204 ", "HTTP/1.1 103 Early Hints"];

proptest! {
    #![proptest_config(ProptestConfig { cases: 20_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn requests_read_the_same(bytes in altered(lines(REQUESTS))) {
        let _ = read_request(&bytes);
    }

    #[test]
    fn responses_read_the_same(bytes in altered(lines(RESPONSES))) {
        let _ = read_response(&bytes);
    }
}

#[test]
fn the_comparison_takes_place() {
    let request = b"POST /a?b HTTP/1.1\r\nHost: a\r\nx-spaces: \t b  c\t \r\nx-empty:\r\n\r\n";
    assert!(read_request(request).is_some());
    let response = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nx-spaces: \t b  c\t \r\n\r\n";
    assert!(read_response(response).is_some());
}

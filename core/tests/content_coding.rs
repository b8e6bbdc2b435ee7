//! Which coding a body has, and which one an answer gets.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;

use http::Response;
use http::header::{CONTENT_ENCODING, ETAG, VARY};
use sinew_core::content_coding::{Coding, Compression, Decompression, FREE, Preference};
use sinew_core::head::RequestHead;
use sinew_core::http1::{Server, ServerConfig, ServerEvent};
use sinew_core::reason::Reason;
use sinew_core::time::Instant;
use sinew_core::{Machine, Wire};

fn head(fields: &[(&str, &str)]) -> RequestHead {
    let mut server = Server::new(Arc::new(ServerConfig::default()), Instant::ZERO);
    let mut text = String::from("GET / HTTP/1.1\r\nhost: a\r\n");
    for (name, value) in fields {
        text.extend([name, ": ", value, "\r\n"]);
    }
    server.inbox().extend_from_slice((text + "\r\n").as_bytes());
    match server.poll_event(Instant::ZERO) {
        Ok(Some(ServerEvent::Request { head, .. })) => head,
        other => panic!("{other:?}"),
    }
}

fn preference(lines: &[&str]) -> Preference {
    let fields: Vec<_> = lines.iter().map(|line| ("accept-encoding", *line)).collect();
    Preference::of(head(&fields).fields())
}

#[test]
fn accept_encoding_is_weighed() {
    use Coding::{Deflate, Gzip};
    use Preference::{Coded, Identity, Only};
    for (value, wanted) in [
        ("", Identity),
        ("gzip", Coded(Gzip)),
        ("x-gzip", Coded(Gzip)),
        ("GZip", Coded(Gzip)),
        ("deflate", Coded(Deflate)),
        ("deflate, gzip", Coded(Gzip)),
        ("gzip;q=0.5, deflate", Coded(Deflate)),
        ("gzip;q=0.5, deflate;q=0.501", Coded(Deflate)),
        ("gzip ; q=1.000 , br", Coded(Gzip)),
        ("gzip;Q=0.3", Coded(Gzip)),
        ("br, zstd", Identity),
        ("*", Coded(Gzip)),
        ("*, gzip;q=0", Coded(Deflate)),
        ("gzip;q=0", Identity),
        ("gzip;q=0.0, deflate;q=0.000", Identity),
        ("identity", Identity),
        ("identity;q=1, gzip;q=0.5", Identity),
        ("identity;q=0.5, gzip;q=0.5", Coded(Gzip)),
        ("identity;q=0, gzip;q=0.001", Only(Gzip)),
        ("*;q=0, deflate", Only(Deflate)),
        ("*;q=0, identity, gzip;q=0.1", Identity),
        // Nothing that is offered is acceptable: the answer goes as it is.
        ("identity;q=0", Identity),
        ("*;q=0", Identity),
        // Malformed elements count for nothing.
        ("gzip;q=2", Identity),
        ("gzip;q=1.001", Identity),
        ("gzip;q=0.1234", Identity),
        ("gzip;q=.5", Identity),
        ("gzip;q=-1", Identity),
        ("gzip;level=9", Identity),
        ("gzip;q=, deflate", Coded(Deflate)),
        (",, ,gzip,,", Coded(Gzip)),
        // What is said first holds.
        ("gzip;q=0, gzip", Identity),
    ] {
        assert_eq!(preference(&[value]), wanted, "{value:?}");
    }
    assert_eq!(preference(&[]), Identity);
    assert_eq!(preference(&["br", "deflate;q=0.2", "gzip;q=0.1"]), Coded(Deflate));
}

fn answer(status: u16, fields: &[(&'static str, &'static str)]) -> Response<()> {
    let mut answer = Response::builder().status(status);
    for (name, value) in fields {
        answer = answer.header(*name, *value);
    }
    answer.body(()).unwrap()
}

const JSON: (&str, &str) = ("content-type", "application/json");
const GZIP: Preference = Preference::Coded(Coding::Gzip);

fn choose(preference: Preference, size: Option<u64>, answer: &mut Response<()>) -> Option<Coding> {
    Compression::default().choose(preference, size, answer)
}

#[test]
fn what_is_coded_says_so() {
    let mut coded = answer(
        200,
        &[JSON, ("etag", "\"v1\""), ("accept-ranges", "bytes"), ("content-length", "5000")],
    );
    assert_eq!(choose(GZIP, None, &mut coded), Some(Coding::Gzip));
    let fields = coded.headers();
    assert_eq!(
        (&fields[CONTENT_ENCODING], &fields[VARY]),
        (&"gzip".parse().unwrap(), &"accept-encoding".parse().unwrap())
    );
    assert_eq!(fields[ETAG], "W/\"v1\"");
    assert!(!fields.contains_key("accept-ranges") && !fields.contains_key("content-length"));

    // What could have been coded, and is not, depends on the request as well.
    let mut plain = answer(200, &[JSON, ("etag", "\"v1\"")]);
    assert_eq!(choose(Preference::Identity, Some(5000), &mut plain), None);
    assert_eq!(
        (&plain.headers()[ETAG], &plain.headers()[VARY]),
        (&"\"v1\"".parse().unwrap(), &"accept-encoding".parse().unwrap())
    );

    for known in ["Accept-Encoding", "origin, accept-encoding", "*"] {
        let mut said = answer(200, &[JSON, ("vary", known)]);
        choose(GZIP, None, &mut said);
        assert_eq!(said.headers().get_all(VARY).iter().count(), 1, "{known}");
    }
    let mut weak = answer(200, &[JSON, ("etag", "W/\"v1\"")]);
    choose(GZIP, None, &mut weak);
    assert_eq!(weak.headers()[ETAG], "W/\"v1\"");
}

#[test]
fn an_answer_stands_for_the_one_that_is_not_modified() {
    let mut same = answer(304, &[("etag", "\"v1\"")]);
    assert_eq!(choose(GZIP, None, &mut same), None);
    assert_eq!(same.headers()[ETAG], "W/\"v1\"");
    assert_eq!(same.headers()[VARY], "accept-encoding");
    assert!(!same.headers().contains_key(CONTENT_ENCODING));
}

#[test]
fn what_is_not_worth_it_is_left_alone() {
    type Case<'a> = (u16, &'a [(&'static str, &'static str)], Option<u64>);
    let cases: [Case<'_>; 18] = [
        (200, &[JSON], Some(1023)),
        (200, &[JSON], Some(0)),
        (200, &[], None),
        (204, &[JSON], None),
        (205, &[JSON], None),
        (206, &[JSON], None),
        (200, &[JSON, ("content-range", "bytes 0-1/2")], None),
        (200, &[JSON, ("content-encoding", "br")], None),
        (200, &[JSON, ("cache-control", "private, No-Transform")], None),
        (200, &[JSON, ("content-digest", "sha-256=:AA==:")], None),
        (200, &[JSON, ("repr-digest", "sha-256=:AA==:")], None),
        (200, &[JSON, ("digest", "md5=AA==")], None),
        (200, &[JSON, ("content-md5", "AA==")], None),
        (200, &[("content-type", "text/event-stream")], None),
        (200, &[("content-type", "Text/Event-Stream; charset=utf-8")], None),
        (200, &[("content-type", "image/png")], None),
        (200, &[("content-type", "application/zip")], None),
        (200, &[("content-type", "application/octet-stream")], None),
    ];
    for (status, fields, size) in cases {
        let before = answer(status, fields);
        let mut after = answer(status, fields);
        assert_eq!(choose(GZIP, size, &mut after), None, "{status} {fields:?}");
        assert_eq!(before.headers(), after.headers(), "{status} {fields:?}");
    }
    for worth in [
        "text/html; charset=utf-8",
        "TEXT/plain",
        "application/problem+json",
        "application/xml",
        "application/atom+xml",
        "image/svg+xml",
        "application/javascript",
        "application/wasm",
    ] {
        let mut after = answer(200, &[("content-type", worth)]);
        assert_eq!(choose(GZIP, Some(1024), &mut after), Some(Coding::Gzip), "{worth}");
    }
}

#[test]
fn a_client_that_takes_nothing_plain_gets_small_answers_coded_too() {
    let mut small = answer(200, &[JSON]);
    assert_eq!(
        choose(Preference::Only(Coding::Deflate), Some(2), &mut small),
        Some(Coding::Deflate)
    );
    let mut empty = answer(200, &[JSON]);
    assert_eq!(choose(Preference::Only(Coding::Deflate), Some(0), &mut empty), None);
}

#[test]
fn codings_of_a_body_are_known_and_few() {
    let admit = |codings: usize, lines: &[&str]| {
        let fields: Vec<_> = lines.iter().map(|line| ("content-encoding", *line)).collect();
        let policy = Decompression { max_codings: codings, ..Decompression::default() };
        policy.admit(head(&fields).fields())
    };
    let refused = Err(Reason::UnsupportedMediaType);
    assert_eq!(admit(1, &[]), Ok(vec![]));
    assert_eq!(admit(1, &["identity"]), Ok(vec![]));
    assert_eq!(admit(1, &["X-GZIP"]), Ok(vec![Coding::Gzip]));
    assert_eq!(admit(1, &["br"]), refused);
    assert_eq!(admit(1, &["gzip, gzip"]), refused);
    assert_eq!(admit(1, &["gzip", "deflate"]), refused);
    assert_eq!(admit(2, &["gzip", "deflate"]), Ok(vec![Coding::Gzip, Coding::Deflate]));
    assert_eq!(admit(2, &["gzip, br"]), refused);
}

#[test]
fn a_bomb_is_told_by_what_it_grows_to() {
    let policy = Decompression::default();
    assert!(policy.tolerates(1, FREE));
    assert!(!policy.tolerates(1, FREE + 1));
    assert!(policy.tolerates(10_000, 1_000_000));
    assert!(!policy.tolerates(10_000, 1_000_001));
    assert!(policy.tolerates(u64::MAX, u64::MAX));
}

#[test]
fn a_field_that_no_longer_holds_is_taken_out() {
    let many: Vec<_> = (0..20).map(|_| ("x-many", "1")).collect();
    let mut fields = vec![("content-encoding", "gzip"), ("x-last", "2")];
    fields.splice(1..1, many);
    let mut head = head(&fields);
    head.remove_field("Content-Encoding");
    assert_eq!(head.header("content-encoding"), None);
    assert_eq!((head.fields().len(), head.header("x-last")), (22, Some(&b"2"[..])));
    head.remove_field("x-many");
    assert_eq!((head.fields().len(), head.header("x-last")), (2, Some(&b"2"[..])));
    assert_eq!(head.authority(), Some("a"));
}

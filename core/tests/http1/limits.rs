//! Every limit of a head at its boundary, and what is counted in it.

use http::Method;
use sinew_core::error::{Error, Kind, Limit, Misuse, Phase};
use sinew_core::http1::{ClientConfig, Limits, ServerConfig};

use crate::told::{End, Told, fetch_with, serve_with};

fn limits(head: usize) -> Limits {
    Limits { head, target: head, inbox: 70_000, ..Limits::default() }
}

fn serve_up_to(head: usize, input: &str) -> Told {
    serve_with(&ServerConfig { limits: limits(head), ..ServerConfig::default() }, input)
}

fn fetch_up_to(head: usize, input: &str) -> Told {
    let config = ClientConfig { limits: limits(head), ..ClientConfig::default() };
    fetch_with(&config, &Method::GET, input, End::Open)
}

#[test]
fn a_head_of_the_limit_is_taken_and_one_byte_more_is_not() {
    let request = "GET /12345 HTTP/1.1\r\nhost: a\r\nb: c\r\n\r\n";
    let response = "HTTP/1.1 200 OK\r\nb: c\r\ncontent-length: 0\r\n\r\n";
    let len = request.len();
    assert_eq!(serve_up_to(len, &request.repeat(3)).messages.len(), 3);
    assert_eq!(fetch_up_to(response.len(), response).only().fields.len(), 2);
    for less in 1..=len - 7 {
        let told = serve_up_to(len - less, request);
        let kind = told.kind();
        let limit = matches!(kind, Some(Kind::Limit(Limit::HeadBytes | Limit::Target)));
        assert!(limit && told.messages.is_empty(), "{less}: {kind:?}");
        assert!(told.written.starts_with("HTTP/1.1 4"));
    }
    for less in 1..=response.len() - 7 {
        let told = fetch_up_to(response.len() - less, response);
        assert_eq!(told.kind(), Some(Kind::Limit(Limit::HeadBytes)), "{less}");
    }
}

#[test]
fn a_head_without_an_end_is_cut_at_the_limit() {
    for input in ["GET / HTTP/1.1\r\nhost: a\r\nx: ", "GET / HTTP/1.1\r\nhost: a\r\nx"] {
        let padded = format!("{input}{}", "y".repeat(40 - input.len()));
        let told = serve_up_to(40, &padded);
        assert_eq!(told.kind(), Some(Kind::Limit(Limit::HeadBytes)), "{input:?}");
        assert!(told.written.starts_with("HTTP/1.1 431 "));
        assert_eq!(serve_up_to(41, &padded).error, None);
    }
    let line = "M".repeat(40);
    assert_eq!(serve_up_to(40, &line).kind(), Some(Kind::Limit(Limit::HeadBytes)));
    assert_eq!(serve_up_to(41, &line).error, None);
}

#[test]
fn the_largest_head_is_indexed_to_its_end() {
    let head = |filler: usize| {
        let filler = "f".repeat(filler);
        format!("GET / HTTP/1.1\r\nhost: a\r\nx: {filler}\r\nlast: one\r\n\r\n")
    };
    let rest = head(0).len();
    let told = serve_up_to(65_000, &head(65_000 - rest));
    assert_eq!(told.only().fields[2], "last: one");
    let over = serve_up_to(65_000, &head(65_001 - rest));
    assert_eq!(over.kind(), Some(Kind::Limit(Limit::HeadBytes)));
    // Where a limit was set that spans cannot hold, that of the spans holds.
    let head = format!("GET / HTTP/1.1\r\nhost: a\r\nx: {}\r\n\r\n", "f".repeat(65_535));
    assert_eq!(serve_up_to(70_000, &head).kind(), Some(Kind::Limit(Limit::HeadBytes)));
}

#[test]
fn limits_that_contradict_each_other_are_refused() {
    let sound = Limits::default;
    assert_eq!(sound().check(), Ok(()));
    let refused = Err(Error::usage(Misuse::Config, Phase::Idle));
    for (limits, expected) in [
        (Limits { head: 65_000, inbox: 65_000, ..sound() }, Ok(())),
        (Limits { head: 65_001, inbox: 70_000, ..sound() }, refused),
        (Limits { head: 0, target: 0, ..sound() }, refused),
        (Limits { head: 1, target: 1, ..sound() }, Ok(())),
        (Limits { head: 100, target: 100, ..sound() }, Ok(())),
        (Limits { head: 100, target: 101, ..sound() }, refused),
        (Limits { trailer_bytes: 65_000, ..sound() }, Ok(())),
        (Limits { trailer_bytes: 65_001, ..sound() }, refused),
        (Limits { inbox: 16 * 1024, ..sound() }, Ok(())),
        (Limits { inbox: 16 * 1024 - 1, ..sound() }, refused),
        (Limits { fields: 1, pipeline: 1, chunk_line: 18, ..sound() }, Ok(())),
        (Limits { fields: 0, ..sound() }, refused),
        (Limits { pipeline: 0, ..sound() }, refused),
        (Limits { chunk_line: 17, ..sound() }, refused),
    ] {
        assert_eq!(limits.check(), expected, "{limits:?}");
    }
}

#[test]
fn the_defaults_are_the_documented_ones() {
    let limits = Limits {
        head: 16 * 1024,
        fields: 100,
        target: 8 * 1024,
        body: 1 << 20,
        chunk_line: 4 * 1024,
        chunk_extensions: 16 * 1024,
        trailer_bytes: 8 * 1024,
        trailers: 64,
        interim: 16,
        pipeline: 16,
        inbox: 64 * 1024,
    };
    assert_eq!(Limits::default(), limits);
    let server = ServerConfig::default();
    assert_eq!((server.linger_bytes, server.drain_bytes), (256 * 1024, 64 * 1024));
    assert_eq!(ClientConfig::default().limits, Limits { body: u64::MAX, ..limits });
}

//! The HTTP/1.1 machines under TLS: commands reach them, and a cut never passes for an end.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod common;

use std::sync::Arc;

use common::certs::Mesh;
use common::{Pair, Toy};
use http::{Method, StatusCode};
use sinew_core::error::{Kind, Phase};
use sinew_core::http1::{
    BodySize, Client, ClientConfig, ClientEvent, NO_FIELDS, RequestLine, Server, ServerConfig,
    ServerEvent,
};
use sinew_core::machine::CloseReason;
use sinew_core::time::Instant;
use sinew_core::{Layered, Wire};
use sinew_tls::{Error, Reason, Tls};

const NOW: Instant = Instant::ZERO;

/// Drives bare and TLS wires alike.
fn ask<W>(wire: &mut W)
where
    W: Layered<Top = Client>,
    W::Error: Into<Error>,
{
    let line = RequestLine { method: &Method::GET, target: b"/", authority: b"billing.acme.org" };
    wire.top().send_request(NOW, line, NO_FIELDS, BodySize::Empty).unwrap();
}

fn under_tls<S>(server: S) -> Pair<Tls<Client>, Tls<S>>
where
    S: Wire<Error = sinew_core::Error>,
{
    let mesh = Mesh::new();
    let client = Client::new(Arc::new(ClientConfig::default()));
    let client = mesh.mtls_client().build().unwrap().connect("billing.acme.org", client, NOW);
    let server = mesh.mtls_server().build().unwrap().accept(server, NOW);
    let mut pair = Pair::new(client.unwrap(), server.unwrap());
    ask(&mut pair.client.wire);
    pair.settle();
    pair
}

fn body(events: &[ClientEvent]) -> Vec<u8> {
    let pieces = events.iter().filter_map(|event| match event {
        ClientEvent::Data(data) => Some(&data[..]),
        _ => None,
    });
    pieces.flatten().copied().collect()
}

fn ended(events: &[ClientEvent]) -> bool {
    events.iter().any(|event| matches!(event, ClientEvent::End(_)))
}

/// A server that answers with these bytes; then `close_notify` if `orderly`, and the end.
fn answered(with: &'static str, orderly: bool) -> Pair<Tls<Client>, Tls<Toy>> {
    let mut pair = under_tls(Toy::default());
    pair.server.wire.top().send(with);
    if orderly {
        pair.server.wire.top().close();
    }
    pair.nudge();
    pair.settle();
    pair.down.shut = true;
    pair.settle();
    pair
}

#[test]
fn an_exchange() {
    let mut pair = under_tls(Server::new(Arc::new(ServerConfig::default()), NOW));
    assert!(matches!(&pair.server.events[..], [ServerEvent::Request { .. }]));
    let server = pair.server.wire.top();
    server.send_response(NOW, StatusCode::OK, NO_FIELDS, BodySize::Exact(5)).unwrap();
    server.send_data(NOW, "hello".into()).unwrap();
    server.send_end(NOW, NO_FIELDS).unwrap();
    pair.nudge();
    pair.settle();
    assert_eq!(body(&pair.client.events), b"hello");
    assert!(pair.client.wire.top_ref().reusable() && pair.server.wire.top_ref().is_idle());
    // The client leaves without a word: between requests that is nobody's fault.
    pair.up.shut = true;
    pair.settle();
    assert!(pair.server.error.is_none());
    assert!(matches!(pair.server.closed, Some(CloseReason::PeerClosed | CloseReason::Done)));
}

#[test]
fn a_body_that_ends_with_the_connection_needs_a_close_notify() {
    let answer = "HTTP/1.1 200 OK\r\n\r\npay 100 to Bob";
    let whole = answered(answer, true);
    assert_eq!(body(&whole.client.events), b"pay 100 to Bob");
    assert!(ended(&whole.client.events) && whole.client.error.is_none());
    let cut = answered(answer, false);
    assert!(!ended(&cut.client.events), "a cut body must not look complete");
    let failure = cut.client.error.as_ref().and_then(Error::tls).expect("a failure of TLS");
    assert_eq!(failure.reason, Reason::Truncated);
}

#[test]
fn a_body_with_a_length_says_itself_that_it_was_cut() {
    let cut = answered("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf", false);
    assert!(!ended(&cut.client.events));
    let error = cut.client.error.as_ref().and_then(Error::wire).expect("the client's own error");
    assert_eq!((error.kind, error.phase), (Kind::Truncated, Phase::ResponseBody));
}

#[test]
fn an_idle_client_is_not_hurt_by_a_cut() {
    let idle = answered("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok", false);
    assert!(ended(&idle.client.events));
    assert!(idle.client.error.is_none());
    assert_eq!(idle.client.closed, Some(CloseReason::PeerClosed));
}

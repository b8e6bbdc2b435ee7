//! Changes of protocol: <https://www.rfc-editor.org/rfc/rfc9110#section-7.8>

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, StatusCode};
use sinew_core::error::{Delivery, Error, Kind, Misuse, Phase, Violation};
use sinew_core::http1::{
    BodySize, Client, ClientConfig, ClientEvent, Limits, NO_FIELDS, Tunnel, TunnelConfig,
    TunnelEvent,
};
use sinew_core::machine::{CloseReason, Machine, Status, Wire};
use sinew_core::time::{Deadline, Timer};

use crate::sending::{GET, asked};
use crate::told::{NOW, drain, head, line, refused};

fn offer(version: &str, lines: &str) -> String {
    format!("GET / HTTP/{version}\r\nhost: a\r\n{lines}\r\n")
}

#[test]
fn an_offer_stands_where_connection_names_it() {
    for (version, lines, expected) in [
        ("1.1", "upgrade: x\r\nconnection: upgrade\r\n", Some("x")),
        ("1.1", "Connection: a, Upgrade\r\nUPGRADE: x/1, y\r\n", Some("x/1, y")),
        ("1.1", "connection: upgrade\r\nconnection: a\r\nupgrade: x\r\nupgrade: y\r\n", Some("x")),
        ("1.1", "upgrade: x\r\n", None),
        ("1.1", "upgrade: x\r\nconnection: upgradf\r\n", None),
        ("1.1", "connection: upgrade\r\n", None),
        ("1.1", "upgradq: x\r\nconnection: upgrade\r\n", None),
        ("1.0", "upgrade: x\r\nconnection: upgrade\r\n", None),
    ] {
        let head = head(offer(version, lines));
        assert_eq!(head.upgrade(), expected.map(str::as_bytes), "{version} {lines:?}");
        assert_eq!(head.offers_switch(), expected.is_some());
    }
    assert!(head("CONNECT a:1 HTTP/1.1\r\nhost: a\r\n\r\n").offers_switch());
}

#[test]
fn an_opening_handshake_of_websocket_is_sound_or_refused() {
    let key = |key: &str| {
        let lines = format!("upgrade: WebSocket\r\nconnection: upgrade\r\n{key}");
        offer("1.1", &lines)
    };
    let field = |value: &str| format!("sec-websocket-key: {value}\r\n");
    for sound in
        ["dGhlIHNhbXBsZSBub25jZQ==", "AAAAAAAAAAAAAAAAAAAAAA==", "+/+/+/+/+/+/+/+/+/+/+w=="]
    {
        assert_eq!(head(key(&field(sound))).upgrade(), Some(&b"WebSocket"[..]));
    }
    for bad in [
        "",
        "AAAAAAAAAAAAAAAAAAAAAA=",
        "AAAAAAAAAAAAAAAAAAAAAAA=",
        "AAAAAAAAAAAAAAAAAAAAAB==",
        "AAAAAAAAAAAAAAAAAAAA-A==",
        "AAAAAAAAAAAAAAAAAAAAAAAAAA==",
        "=AAAAAAAAAAAAAAAAAAAAA==",
    ] {
        assert_eq!(refused(key(&field(bad))), Kind::Peer(Violation::Upgrade), "{bad:?}");
    }
    let twice = field("AAAAAAAAAAAAAAAAAAAAAA==").repeat(2);
    assert_eq!(refused(key(&twice)), Kind::Peer(Violation::Upgrade));
    assert_eq!(refused(key("")), Kind::Peer(Violation::Upgrade));
    let post = key(&field("AAAAAAAAAAAAAAAAAAAAAA==")).replacen("GET", "PUT", 1);
    assert_eq!(refused(post), Kind::Peer(Violation::Upgrade));
}

#[test]
fn a_server_switches_to_what_was_offered() {
    let offered = offer("1.1", "upgrade: x/1, y\r\nconnection: upgrade\r\n");
    let switch = |request: &str, chosen: Option<&str>| {
        let mut server = asked(request);
        let fields = chosen.map(|chosen| ("upgrade", chosen));
        let status = StatusCode::SWITCHING_PROTOCOLS;
        let sent = server.send_response(NOW, status, fields, BodySize::Empty);
        (sent.map_err(|error| error.kind), server)
    };
    for chosen in ["y", "X/1", "x/1, y"] {
        let (sent, mut server) = switch(&offered, Some(chosen));
        assert_eq!((sent, server.is_upgraded()), (Ok(()), true));
        server.inbox().extend_from_slice(b"rest");
        assert!(!server.wants_read() && !server.is_self_delimited());
        assert!(server.poll_event(NOW).unwrap().is_none());
        let (left, mut outbox) = server.into_upgraded().unwrap();
        let expected = format!(
            "HTTP/1.1 101 Switching Protocols\r\nupgrade: {chosen}\r\nconnection: upgrade\r\n\r\n"
        );
        assert_eq!(&left[..], b"rest");
        assert_eq!(bytes::Buf::copy_to_bytes(&mut outbox, expected.len()), expected);
    }
    for chosen in [None, Some("z"), Some("x"), Some("y, z"), Some("")] {
        let (sent, server) = switch(&offered, chosen);
        assert_eq!(sent, Err(Kind::Usage(Misuse::Upgrade)), "{chosen:?}");
        assert!(!server.is_upgraded() && server.into_upgraded().is_err());
    }
    assert_eq!(switch(GET, Some("x")).0, Err(Kind::Usage(Misuse::Upgrade)));
    // Not before the request is there to its end.
    let body = offered.replace("host", "content-length: 1\r\nhost");
    assert_eq!(switch(&body, Some("y")).0, Err(Kind::Usage(Misuse::OutOfTurn)));
    // Whoever does not switch goes on as before.
    let mut server = asked(&offered);
    server.send_response(NOW, StatusCode::OK, NO_FIELDS, BodySize::Empty).unwrap();
    assert_eq!(drain(&mut server), "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
    assert!(!server.is_upgraded() && server.is_self_delimited());
    assert_eq!(server.status(), Status::Open);
}

#[test]
fn an_end_in_front_of_the_switch_is_told_behind_it() {
    let mut server = asked(&offer("1.1", "upgrade: x\r\nconnection: upgrade\r\n"));
    server.inbox().extend_from_slice(b"early");
    server.handle_eof(NOW);
    let fields = [("upgrade", "x")];
    server.send_response(NOW, StatusCode::SWITCHING_PROTOCOLS, fields, BodySize::Empty).unwrap();
    let mut tunnel = server.into_tunnel(NOW).unwrap();
    assert!(tunnel.peer_closed() && !tunnel.wants_read());
    let early = TunnelEvent::Data(Bytes::from_static(b"early"));
    assert_eq!(tunnel.poll_event(NOW), Ok(Some(early)));
    assert_eq!(tunnel.poll_event(NOW), Ok(Some(TunnelEvent::End)));
}

#[test]
fn a_client_switches_to_what_it_offered() {
    let switched = |answer: &str| {
        let mut client = Client::new(Arc::default());
        let fields = [("upgrade", "x/1"), ("upgrade", "y")];
        client.send_request(NOW, line(&Method::GET, "/"), fields, BodySize::Empty).unwrap();
        drain(&mut client);
        let answer = format!("HTTP/1.1 101 Switching Protocols\r\n{answer}\r\nrest");
        client.inbox().extend_from_slice(answer.as_bytes());
        match client.poll_event(NOW) {
            Ok(Some(ClientEvent::Response { body: BodySize::Empty, .. })) => Ok(client),
            Ok(other) => panic!("{other:?}"),
            Err(error) => Err(error.kind),
        }
    };
    for chosen in ["y", "Y", "x/1"] {
        let client = switched(&format!("connection: upgrade\r\nupgrade: {chosen}\r\n")).unwrap();
        assert!(client.is_upgraded() && !client.wants_read() && !client.is_self_delimited());
        let (left, _) = client.into_upgraded().unwrap();
        assert_eq!(&left[..], b"rest");
    }
    for lines in
        ["", "upgrade: y\r\n", "connection: upgrade\r\n", "connection: upgrade\r\nupgrade: z\r\n"]
    {
        let why = switched(lines).map(|_| ());
        assert_eq!(why, Err(Kind::Peer(Violation::UnexpectedSwitch)), "{lines:?}");
    }
}

#[test]
fn a_tunnel_carries_on_with_the_limits_of_its_connection() {
    let server = asked("CONNECT a:1 HTTP/1.1\r\nhost: a\r\n\r\nearly");
    assert!(server.into_tunnel(NOW).is_err());
    let mut server = asked("CONNECT a:1 HTTP/1.1\r\nhost: a\r\n\r\nearly");
    server.send_response(NOW, StatusCode::OK, NO_FIELDS, BodySize::Empty).unwrap();
    let mut tunnel = server.into_tunnel(NOW).unwrap();
    let early = TunnelEvent::Data(Bytes::from_static(b"early"));
    assert_eq!(tunnel.poll_event(NOW), Ok(Some(early)));
    assert!(drain(&mut tunnel).starts_with("HTTP/1.1 200 OK\r\n"));

    let config = ClientConfig { write_stall: Duration::from_secs(7), ..ClientConfig::default() };
    let mut client = Client::new(Arc::new(config.clone()));
    client.send_request(NOW, line(&Method::CONNECT, "a:1"), NO_FIELDS, BodySize::Empty).unwrap();
    drain(&mut client);
    client.inbox().extend_from_slice(b"HTTP/1.1 204 x\r\n\r\n");
    assert!(client.poll_event(NOW).unwrap().is_some());
    let mut tunnel = client.into_tunnel(NOW).unwrap();
    tunnel.send(NOW, Bytes::from_static(b"x")).unwrap();
    let at = NOW + Duration::from_secs(7);
    assert_eq!(tunnel.deadline(), Some(Deadline { at, why: Timer::WriteStall }));
    let limits = Limits { inbox: 1234, ..Limits::default() };
    let inherited = TunnelConfig::from(&ClientConfig { limits, observe: true, ..config });
    let write_stall = Duration::from_secs(7);
    let expected =
        TunnelConfig { inbox: 1234, write_stall, observe: true, ..TunnelConfig::default() };
    assert_eq!(inherited, expected);
    assert!(Client::new(Arc::default()).into_tunnel(NOW).is_err());
}

#[test]
fn a_tunnel_ends_with_both_its_sides() {
    let config = TunnelConfig::default();
    let open =
        || Tunnel::new(config, bytes::BytesMut::new(), sinew_core::outbox::Outbox::new(), NOW);
    let mut tunnel = open();
    assert!(tunnel.wants_read() && tunnel.can_send() && tunnel.error().is_none());
    tunnel.shut(NOW);
    assert!(!tunnel.can_send() && tunnel.wants_read());
    assert_eq!((tunnel.status(), tunnel.deadline()), (Status::HalfClose, None));
    tunnel.handle_eof(NOW);
    assert!(!tunnel.wants_read());
    assert_eq!(tunnel.status(), Status::HalfClose, "the application does not know yet");
    assert_eq!(tunnel.poll_event(NOW), Ok(Some(TunnelEvent::End)));
    assert_eq!(tunnel.status(), Status::Close(CloseReason::Done));
    let closed =
        Error { kind: Kind::Closed, phase: Phase::Tunnel, delivery: Delivery::MaybeProcessed };
    assert_eq!(tunnel.send(NOW, Bytes::new()), Err(closed.into()));

    // After `close`, a peer that leaves ends it at once; one that stays, in time and not before.
    let mut tunnel = open();
    tunnel.close(NOW);
    tunnel.handle_eof(NOW);
    assert_eq!(tunnel.poll_event(NOW), Ok(None));
    assert_eq!((tunnel.status(), tunnel.deadline()), (Status::Close(CloseReason::Done), None));
    let mut tunnel = open();
    tunnel.close(NOW);
    let at = tunnel.deadline().unwrap().at;
    tunnel.handle_timeout(sinew_core::time::Instant::from_nanos(at.as_nanos() - 1));
    assert_eq!(tunnel.status(), Status::HalfClose);
    tunnel.handle_timeout(at);
    assert_eq!(tunnel.status(), Status::Close(CloseReason::Done));
    tunnel.rest();
    assert_eq!((tunnel.inbox().capacity(), tunnel.outbox().lacks_block()), (0, true));
}

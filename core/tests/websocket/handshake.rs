//! The opening handshake: <https://www.rfc-editor.org/rfc/rfc6455#section-4>

use std::sync::Arc;

use bytes::Buf as _;
use http::{Method, StatusCode};
use sinew_core::head::{RequestHead, ResponseHead};
use sinew_core::http1::{BodySize, Client, ClientEvent, RequestLine, Server, ServerEvent};
use sinew_core::reason::Reason;
use sinew_core::security::{Cors, CorsConfig};
use sinew_core::time::Instant;
use sinew_core::websocket::handshake::{
    Agreed, BadAnswer, ClientHandshake, Opening, Origins, Refusal, ServerHandshake,
};
use sinew_core::{Machine, Wire};

const NOW: Instant = Instant::from_nanos(1);
const SEED: [u8; 32] = [7; 32];

/// The example of section 1.2, and further lines.
pub(crate) fn request(lines: &str) -> RequestHead {
    asked(&format!(
        "GET /chat HTTP/1.1\r\nHost: server.example.com\r\nUpgrade: websocket\r\n\
         Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
         Sec-WebSocket-Version: 13\r\n{lines}\r\n"
    ))
}

fn asked(request: &str) -> RequestHead {
    let mut server = Server::new(Arc::default(), NOW);
    server.inbox().extend_from_slice(request.as_bytes());
    match server.poll_event(NOW) {
        Ok(Some(ServerEvent::Request { head, .. })) => head,
        other => panic!("{other:?}"),
    }
}

fn refused(handshake: &ServerHandshake, head: &RequestHead) -> Refusal {
    handshake.accept(head).unwrap_err()
}

#[test]
fn the_example_of_the_rfc_is_accepted() {
    let lines = "Origin: http://server.example.com\r\nSec-WebSocket-Protocol: chat, superchat\r\n";
    let handshake = ServerHandshake { protocols: vec!["chat".into()], ..Default::default() };
    let accepted = handshake.accept(&request(lines)).unwrap();
    let fields: Vec<_> = accepted.fields().collect();
    assert_eq!(
        fields,
        [
            ("upgrade", "websocket"),
            ("sec-websocket-accept", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="),
            ("sec-websocket-protocol", "chat"),
        ]
    );
    assert_eq!(accepted.agreed().protocol.as_deref(), Some("chat"));
}

#[test]
fn what_is_no_handshake_is_refused_with_help() {
    let plain = asked("GET /chat HTTP/1.1\r\nhost: a\r\n\r\n");
    let other = asked("GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: h2c\r\n\r\n");
    let old = asked(
        "GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
         sec-websocket-version: 8\r\nsec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n",
    );
    let handshake = ServerHandshake::default();
    for (head, why) in
        [(&plain, Refusal::NoUpgrade), (&other, Refusal::NoUpgrade), (&old, Refusal::Version)]
    {
        let refusal = refused(&handshake, head);
        assert_eq!(refusal, why);
        assert_eq!(refusal.status(), StatusCode::UPGRADE_REQUIRED);
        let fields: Vec<_> = refusal.fields().collect();
        assert_eq!(fields, [("upgrade", "websocket"), ("sec-websocket-version", "13")]);
    }
    for (lines, why) in [
        ("Sec-WebSocket-Version: 13\r\n", Refusal::Version),
        ("Sec-WebSocket-Protocol: a b\r\n", Refusal::Protocols),
        ("Sec-WebSocket-Protocol: a\r\nSec-WebSocket-Protocol: b, a\r\n", Refusal::Protocols),
        ("Sec-WebSocket-Extensions: a=\r\n", Refusal::Extensions),
        ("Sec-WebSocket-Extensions: a; b=\"c d\"\r\n", Refusal::Extensions),
        ("Sec-WebSocket-Extensions: a;\r\n", Refusal::Extensions),
    ] {
        assert_eq!(refused(&handshake, &request(lines)), why, "{lines:?}");
    }
    assert_eq!(Refusal::Protocols.status(), StatusCode::BAD_REQUEST);
    assert_eq!(Refusal::Protocols.fields().count(), 0);
    assert_eq!(Refusal::Key.reason(), Reason::BadUpgrade);
}

#[test]
fn pages_of_other_origins_are_refused_unless_they_are_meant() {
    let open = |origins: &Origins, lines: &str| {
        ServerHandshake { origins: origins.clone(), ..Default::default() }
            .accept(&request(lines))
            .is_ok()
    };
    let listed = CorsConfig { origins: vec!["https://app.test".into()], ..Default::default() };
    let also = Origins::Also(Cors::new(listed).unwrap());
    for (lines, same, listed) in [
        ("", true, true),
        ("Origin: http://server.example.com\r\n", true, true),
        ("Origin: https://SERVER.example.com\r\n", true, true),
        ("Origin: https://app.test\r\n", false, true),
        ("Origin: https://evil.test\r\n", false, false),
        ("Origin: null\r\n", false, false),
        ("Origin: http://server.example.com:8080\r\n", false, false),
        ("Origin: http://server.example.com.evil.test\r\n", false, false),
        ("Origin: ws://server.example.com\r\n", false, false),
        ("Origin: https://app.test\r\nOrigin: https://app.test\r\n", false, false),
    ] {
        assert_eq!(open(&Origins::Same, lines), same, "{lines:?}");
        assert_eq!(open(&also, lines), listed, "{lines:?}");
        assert!(open(&Origins::Any, lines));
    }
    let refusal = refused(&ServerHandshake::default(), &request("Origin: https://evil.test\r\n"));
    assert_eq!((refusal, refusal.status()), (Refusal::Origin, StatusCode::FORBIDDEN));
    // The default port may be written.
    let with_port = |port: &str, origin: &str| {
        let head = asked(&format!(
            "GET / HTTP/1.1\r\nhost: a.test:{port}\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
             sec-websocket-version: 13\r\nsec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\
             origin: {origin}\r\n\r\n"
        ));
        ServerHandshake::default().accept(&head).is_ok()
    };
    assert!(with_port("443", "https://a.test") && with_port("80", "http://a.test"));
    assert!(with_port("8443", "https://a.test:8443") && !with_port("80", "https://a.test"));
}

#[test]
fn the_servers_preference_decides_about_the_subprotocol() {
    let choose = |ours: &[&str], lines: &str| {
        let protocols = ours.iter().map(ToString::to_string).collect();
        let handshake = ServerHandshake { protocols, ..Default::default() };
        handshake.check().unwrap();
        handshake.accept(&request(lines)).unwrap().into_agreed().protocol
    };
    let asked = "Sec-WebSocket-Protocol: a, b\r\nSec-WebSocket-Protocol: c\r\n";
    assert_eq!(choose(&["c", "a"], asked).as_deref(), Some("c"));
    assert_eq!(choose(&["x", "b"], asked).as_deref(), Some("b"));
    assert_eq!(choose(&["A"], asked), None);
    assert_eq!(choose(&["a"], ""), None);
    for bad in [vec!["a b".to_owned()], vec![String::new()], vec!["a".into(), "a".into()]] {
        let server = ServerHandshake { protocols: bad.clone(), ..Default::default() };
        let client = ClientHandshake { protocols: bad, ..Default::default() };
        assert!(server.check().is_err() && client.check().is_err());
    }
}

/// The request of a client machine, with these fields.
fn send(client: &mut Client, opening: &Opening) -> String {
    let line = RequestLine { method: &Method::GET, target: b"/chat", authority: b"a.test" };
    client.send_request(NOW, line, opening.fields(), BodySize::Empty).unwrap();
    let outbox = client.outbox();
    String::from_utf8(outbox.copy_to_bytes(outbox.remaining()).to_vec()).unwrap()
}

fn answer(client: &mut Client, answer: &str) -> ResponseHead {
    client.inbox().extend_from_slice(answer.as_bytes());
    match client.poll_event(NOW) {
        Ok(Some(ClientEvent::Response { head, .. })) => head,
        other => panic!("{other:?}"),
    }
}

#[test]
fn both_halves_agree_over_both_machines() {
    let asks = ClientHandshake { protocols: vec!["b".into(), "a".into()], ..Default::default() };
    let opening = asks.open(SEED);
    let mut client = Client::new(Arc::default());
    let sent = send(&mut client, &opening);
    assert!(sent.contains("\r\nconnection: upgrade\r\n"), "{sent}");

    let mut server = Server::new(Arc::default(), NOW);
    server.inbox().extend_from_slice(sent.as_bytes());
    let Ok(Some(ServerEvent::Request { head, .. })) = server.poll_event(NOW) else { panic!() };
    let offers = ServerHandshake { protocols: vec!["a".into()], ..Default::default() };
    let accepted = offers.accept(&head).unwrap();
    let status = StatusCode::SWITCHING_PROTOCOLS;
    server.send_response(NOW, status, accepted.fields(), BodySize::Empty).unwrap();
    let outbox = server.outbox();
    let bytes = outbox.copy_to_bytes(outbox.remaining());

    let head = answer(&mut client, std::str::from_utf8(&bytes).unwrap());
    let agreed = opening.check(&head).unwrap();
    assert_eq!(&agreed, accepted.agreed());
    assert_eq!(agreed.protocol.as_deref(), Some("a"));
    assert!(client.is_upgraded() && server.is_upgraded());
}

#[test]
fn keys_are_new_for_every_seed() {
    let key = |seed| {
        let opening = ClientHandshake::default().open([seed; 32]);
        let key = opening.fields().find(|(name, _)| *name == "sec-websocket-key").unwrap();
        key.1.to_owned()
    };
    assert_eq!(key(1), key(1));
    assert_ne!(key(1), key(2));
}

/// What a client makes of an answer; `PROOF` in it is the right one.
pub(crate) fn checked(opening: &Opening, status: &str, lines: &str) -> Result<Agreed, BadAnswer> {
    let mut client = Client::new(Arc::default());
    let sent = send(&mut client, opening);
    let offers = ServerHandshake::default();
    let accepted = offers.accept(&asked(&sent)).unwrap();
    let proof = accepted.fields().find(|(name, _)| *name == "sec-websocket-accept").unwrap().1;
    let lines = lines.replace("PROOF", proof);
    let head = answer(&mut client, &format!("HTTP/1.1 {status}\r\n{lines}\r\n"));
    opening.check(&head)
}

#[test]
fn an_answer_is_checked_to_the_last_field() {
    const SWITCH: &str = "101 Switching Protocols";
    let asks = ClientHandshake { protocols: vec!["a".into()], ..Default::default() };
    let opening = asks.open(SEED);
    let checked = |status: &str, lines: &str| checked(&opening, status, lines);
    let good = "upgrade: WebSocket\r\nconnection: keep-alive, Upgrade\r\n";
    let proof = "sec-websocket-accept: PROOF\r\n";
    assert_eq!(checked(SWITCH, &format!("{good}{proof}")), Ok(Agreed::default()));
    let with_protocol = format!("{good}{proof}sec-websocket-protocol: a\r\n");
    assert_eq!(checked(SWITCH, &with_protocol).unwrap().protocol.as_deref(), Some("a"));
    for (lines, why) in [
        (good.to_owned(), BadAnswer::Accept),
        (
            format!("{good}sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"),
            BadAnswer::Accept,
        ),
        (format!("{good}{proof}{proof}"), BadAnswer::Accept),
        (format!("{good}{proof}sec-websocket-protocol: b\r\n"), BadAnswer::Protocol),
        (format!("{good}{proof}sec-websocket-protocol: a, b\r\n"), BadAnswer::Protocol),
        (format!("{with_protocol}sec-websocket-protocol: a\r\n"), BadAnswer::Protocol),
        (format!("{good}{proof}sec-websocket-extensions: x\r\n"), BadAnswer::Extension),
        (format!("{good}{proof}sec-websocket-extensions: x=\r\n"), BadAnswer::Extension),
    ] {
        assert_eq!(checked(SWITCH, &lines), Err(why), "{lines:?}");
    }
    let length = "content-length: 0\r\n";
    let unauthorized = BadAnswer::Status(StatusCode::UNAUTHORIZED);
    assert_eq!(checked("401 Unauthorized", length), Err(unauthorized));
}

//! WebSocket through both adapters: messages, the end, and what refuses.

use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::future::{join, join_all};
use http::Method;
use serde::{Deserialize, Serialize};
use sinew_core::resilience::Backoff;
use sinew_core::server::drain::Ending;
use sinew_core::websocket::deflate::DeflateConfig;
use sinew_driver::websocket::{
    ClientHandshake, Limits, Overflow, ReconnectPolicy, ServerHandshake, Side, SocketEvent,
    WebSocketConfig, WhyNever,
};
use sinew_driver::{
    CloseCode, Error, ErrorKind, Message, Request, Spawn as _, WebSocket, WebSocketOptions,
};

use super::raw::raw;
use super::site::{CLIENT, Security, Site, client_of};
use super::{each, pause, status_of};
use crate::rt;

async fn echo(_: Request, mut socket: WebSocket) -> Result<(), Error> {
    while let Some(message) = socket.recv().await? {
        socket.send(message).await?;
    }
    Ok(())
}

/// Whom the certificate of the other side names, and then nothing.
async fn name(request: Request, socket: WebSocket) -> Result<(), Error> {
    let named = request.identity().map(|identity| identity.name().to_string());
    socket.send(Message::text(named.unwrap_or_default())).await
}

async fn fails(_: Request, mut socket: WebSocket) -> Result<(), &'static str> {
    let _ = socket.recv().await;
    Err("a handler that fails, on purpose")
}

async fn panics(_: Request, mut socket: WebSocket) {
    let _ = socket.recv().await;
    panic!("a handler that panics, on purpose")
}

fn packed() -> WebSocketOptions {
    let handshake = ServerHandshake {
        protocols: vec!["chat.v2".into(), "chat.v1".into()],
        deflate: Some(DeflateConfig::default()),
        ..ServerHandshake::default()
    };
    WebSocketOptions::new().handshake(handshake)
}

fn narrow() -> WebSocketOptions {
    let limits = Limits { frame: 1000, message: 1000, ..Limits::default() };
    WebSocketOptions::new().config(WebSocketConfig { limits, ..WebSocketConfig::default() })
}

async fn site_of(security: Security) -> Site {
    let builder = rt::RestServer::builder()
        .listen("127.0.0.1:0")
        .websocket("/echo", echo)
        .websocket("/name", name)
        .websocket("/fails", fails)
        .websocket("/panics", panics)
        .websocket_with("/packed", packed(), echo)
        .websocket_with("/narrow", narrow(), echo)
        .route(Method::GET, "/plain", async |_: Request| "no socket");
    Site::run(security, builder).await
}

async fn open(client: &rt::RestClient, path: &str) -> WebSocket {
    client.websocket(path).connect().await.unwrap()
}

async fn gone(site: &Site) {
    while site.handle.connections() > 0 {
        pause().await;
    }
}

#[test]
fn messages_come_back_as_they_were_sent() {
    each(async |security| {
        let site = site_of(security).await;
        let client = client_of(&site);
        let mut socket = open(&client, "/echo").await;
        let large = Message::binary(vec![7; 1 << 20]);
        for message in [Message::text("hello"), Message::text(""), Message::binary("x"), large] {
            socket.send(message.clone()).await.unwrap();
            assert_eq!(socket.recv().await.unwrap(), Some(message));
        }
        let closed = socket.close(CloseCode::NORMAL, "enough").await.unwrap();
        assert_eq!((closed.code, closed.by), (CloseCode::NORMAL, Side::Local));
        assert_eq!(socket.recv().await.unwrap(), None);
        let late = socket.send(Message::text("late")).await.unwrap_err();
        assert_eq!(*late.kind(), ErrorKind::Gone);
        gone(&site).await;
    });
}

#[test]
fn many_messages_on_their_way_keep_their_order() {
    each(async |security| {
        let site = site_of(security).await;
        let mut socket = open(&client_of(&site), "/echo").await;
        for round in 0..50_u32 {
            for n in 0..40 {
                socket.send(Message::text(format!("{round} {n}"))).await.unwrap();
            }
            for n in 0..40 {
                let expected = Message::text(format!("{round} {n}"));
                assert_eq!(socket.recv().await.unwrap(), Some(expected));
            }
        }
    });
}

#[test]
fn what_was_agreed_on_is_used() {
    each(async |security| {
        let site = site_of(security).await;
        let client = client_of(&site);
        let handshake = ClientHandshake {
            protocols: vec!["chat.v1".into(), "chat.v2".into()],
            deflate: Some(DeflateConfig::default()),
        };
        let call = client.websocket("/packed").handshake(handshake.clone());
        let mut socket = call.connect().await.unwrap();
        assert_eq!(socket.protocol(), Some("chat.v2"));
        for length in [0, 100, 10_000, 1 << 20] {
            let message = Message::text("a word. ".repeat(length / 8));
            socket.send(message.clone()).await.unwrap();
            assert_eq!(socket.recv().await.unwrap(), Some(message));
        }
        // A place that offers nothing of it is no mistake.
        let plain = client.websocket("/echo").handshake(handshake).connect().await.unwrap();
        assert_eq!(plain.protocol(), None);
    });
}

#[test]
fn each_side_knows_the_other() {
    each(async |security| {
        let site = site_of(security).await;
        let mut socket = open(&client_of(&site), "/name").await;
        let named = if security == Security::Mutual { CLIENT } else { "" };
        assert_eq!(socket.recv().await.unwrap(), Some(Message::text(named)));
        assert_eq!(socket.identity().is_some(), security == Security::Mutual);
        assert_eq!(socket.recv().await.unwrap(), None);
        let closed = socket.closed().unwrap();
        assert_eq!((closed.code, closed.by), (CloseCode::NORMAL, Side::Peer));
    });
}

#[test]
fn a_handler_that_fails_says_so() {
    each(async |security| {
        let site = site_of(security).await;
        let client = client_of(&site);
        for path in ["/fails", "/panics"] {
            let mut socket = open(&client, path).await;
            socket.send(Message::text("go on")).await.unwrap();
            assert_eq!(socket.recv().await.unwrap(), None, "{path}");
            assert_eq!(socket.closed().unwrap().code, CloseCode::INTERNAL_ERROR, "{path}");
        }
        gone(&site).await;
    });
}

#[test]
fn what_is_too_large_is_refused_with_a_code() {
    each(async |security| {
        let site = site_of(security).await;
        let mut socket = open(&client_of(&site), "/narrow").await;
        socket.send(Message::binary(vec![0; 1001])).await.unwrap();
        assert_eq!(socket.recv().await.unwrap(), None);
        assert_eq!(socket.closed().unwrap().code, CloseCode::TOO_BIG);
        gone(&site).await;
    });
}

#[test]
fn a_socket_that_is_dropped_closes_in_order() {
    each(async |security| {
        let site = site_of(security).await;
        let client = client_of(&site);
        drop(open(&client, "/echo").await);
        gone(&site).await;
        while client.connections() > 0 {
            pause().await;
        }
    });
}

#[test]
fn both_sides_may_close_at_once() {
    each(async |security| {
        let site = site_of(security).await;
        let client = client_of(&site);
        let (mut one, mut other) = (open(&client, "/echo").await, open(&client, "/name").await);
        let close = join(
            one.close(CloseCode::GOING_AWAY, ""),
            other.close(CloseCode::new(4000), "a reason of our own"),
        );
        let (one, other) = close.await;
        assert_eq!(one.unwrap().code, CloseCode::GOING_AWAY);
        assert!(other.is_ok());
    });
}

#[test]
fn what_is_no_handshake_gets_an_answer_that_helps() {
    each(async |security| {
        let site = site_of(security).await;
        let client = client_of(&site);
        let answer = client.get("/echo").send().await.unwrap();
        assert_eq!(answer.status(), 426);
        assert_eq!(answer.header("upgrade").unwrap(), "websocket");
        assert_eq!(answer.header("connection").unwrap(), "upgrade");
        assert_eq!(answer.header("sec-websocket-version").unwrap(), "13");
        let foreign = client.websocket("/echo").header("origin", "https://elsewhere.test");
        let refused = foreign.connect().await.unwrap_err();
        assert_eq!(*refused.kind(), ErrorKind::Status(http::StatusCode::FORBIDDEN));
        let refused = client.websocket("/plain").connect().await.unwrap_err();
        assert_eq!(*refused.kind(), ErrorKind::Status(http::StatusCode::OK));
        assert_eq!(status_of(client.get("/plain")).await, 200);
    });
}

#[test]
fn what_comes_with_the_request_is_read_first() {
    each(async |security| {
        let site = site_of(security).await;
        raw(&site, |mut socket| {
            let request = "GET /echo HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\n\
                upgrade: websocket\r\nsec-websocket-version: 13\r\n\
                sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
            // A masked text, a ping and a close, all at once.
            let mut bytes = request.as_bytes().to_vec();
            bytes.extend_from_slice(b"\x81\x82\0\0\0\0hi\x89\x81\0\0\0\0p\x88\x80\0\0\0\0");
            socket.send(bytes);
            assert_eq!(socket.answer().unwrap().status(), 101);
            assert_eq!(socket.exactly(9), b"\x81\x02hi\x8a\x01p\x88\x00");
            assert!(socket.is_closed());
        })
        .await;
        gone(&site).await;
    });
}

/// A value that goes over as JSON.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
struct Note {
    number: u32,
    text: String,
}

#[test]
fn values_go_over_as_json() {
    each(async |security| {
        let site = site_of(security).await;
        let mut socket = open(&client_of(&site), "/echo").await;
        let note = Note { number: 7, text: "grüße".into() };
        socket.send_json(&note).await.unwrap();
        assert_eq!(socket.recv_json().await.unwrap(), Some(note.clone()));
        socket.send(Message::text("{")).await.unwrap();
        let wrong = socket.recv_json::<Note>().await.unwrap_err();
        assert_eq!(*wrong.kind(), ErrorKind::Decode);
        socket.send_json(&note).await.unwrap();
        assert_eq!(socket.recv_json().await.unwrap(), Some(note), "it can be used further");
    });
}

#[test]
fn the_halves_may_be_two_tasks() {
    each(async |security| {
        let site = site_of(security).await;
        let (sender, receiver) = open(&client_of(&site), "/echo").await.split();
        rt::Runtime::default().spawn(async move {
            for n in 0..2000_u32 {
                sender.send(Message::text(n.to_string())).await.unwrap();
            }
            sender.close(CloseCode::NORMAL, "").unwrap();
        });
        let came: Vec<Message> = receiver.map(Result::unwrap).collect().await;
        let expected: Vec<Message> = (0..2000).map(|n| Message::text(n.to_string())).collect();
        assert_eq!(came, expected);
    });
}

#[test]
fn a_lasting_socket_is_opened_again_and_not_where_it_is_refused() {
    each(async |security| {
        // Sockets are closed as the path says, after one message.
        let closes = async |request: Request, mut socket: WebSocket| {
            let code = request.path::<u16>().unwrap();
            socket.send(Message::text("once")).await?;
            socket.close(CloseCode::new(code), "").await.map(drop)
        };
        let builder =
            rt::RestServer::builder().listen("127.0.0.1:0").websocket("/closes/{code}", closes);
        let site = Site::run(security, builder).await;
        let client = client_of(&site);
        let policy = ReconnectPolicy {
            backoff: Backoff { base: Duration::from_millis(1), cap: Duration::from_millis(2) },
            attempts: 3,
            refill: Duration::from_secs(3600),
        };
        let (exhausted, refused) = (Some(WhyNever::Exhausted), Some(WhyNever::Refused));
        for (code, opened, why) in [
            (1001, 4, exhausted),
            (1012, 4, exhausted),
            (4401, 4, exhausted),
            (1008, 1, refused),
            (1000, 1, None),
        ] {
            let path = format!("/closes/{code}");
            let mut socket = client.websocket(&path).lasting(policy).unwrap();
            let mut counts = (0, 0, 0);
            let over = loop {
                match socket.next().await {
                    Ok(Some(SocketEvent::Opened(_))) => counts.0 += 1,
                    Ok(Some(SocketEvent::Message(_))) => counts.1 += 1,
                    Ok(Some(SocketEvent::Lost { .. })) => counts.2 += 1,
                    Ok(None) => break None,
                    Err(error) => break Some(error.kind().clone()),
                }
            };
            assert_eq!(counts, (opened, opened, opened - 1), "{code}");
            assert_eq!(over, why.map(ErrorKind::Lost), "{code}");
            assert!(socket.next().await.unwrap().is_none());
            assert_eq!(socket.closed().unwrap().code, CloseCode::new(code));
        }
        let mut nowhere = client.websocket("/nowhere").lasting(policy).unwrap();
        let refused = nowhere.next().await.unwrap_err();
        assert_eq!(*refused.kind(), ErrorKind::Status(http::StatusCode::NOT_FOUND));
        assert!(nowhere.next().await.unwrap().is_none());
    });
}

#[test]
fn a_lasting_socket_goes_on_where_its_server_is_too_slow_and_not_where_it_was_left() {
    each(async |security| {
        let site = site_of(security).await;
        let limits = Limits { queued: 65_536, ..Limits::default() };
        let overflow = Overflow::Close;
        let config = WebSocketConfig { limits, overflow, ..WebSocketConfig::default() };
        let call = client_of(&site).websocket("/echo").config(config);
        let mut socket = call.lasting(ReconnectPolicy::default()).unwrap();
        let Some(SocketEvent::Opened(sender)) = socket.next().await.unwrap() else { panic!() };
        // What comes back is not read, so that the server takes nothing more at some point.
        while sender.try_send(Message::binary(vec![0; 65_536])).is_ok() {
            pause().await;
        }
        drop(sender);
        let mut lost = 0;
        let sender = loop {
            match socket.next().await.unwrap() {
                Some(SocketEvent::Opened(sender)) => break sender,
                Some(SocketEvent::Lost { .. }) => lost += 1,
                Some(SocketEvent::Message(_)) => {}
                None => panic!("it was not left"),
            }
        };
        assert_eq!(lost, 1);
        sender.close(CloseCode::new(4000), "").unwrap();
        assert!(socket.next().await.unwrap().is_none());
        assert_eq!(socket.closed().unwrap().by, Side::Local);
    });
}

#[test]
fn sockets_are_told_that_the_server_stops() {
    each(async |security| {
        let site = site_of(security).await;
        let client = client_of(&site);
        let mut sockets = Vec::new();
        for _ in 0..5 {
            sockets.push(open(&client, "/echo").await);
        }
        let stop = site.handle.stop(Duration::from_secs(2));
        let listen = join_all(sockets.iter_mut().map(WebSocket::recv));
        let (report, heard) = join(stop, listen).await;
        for (heard, socket) in heard.into_iter().zip(&sockets) {
            assert_eq!(heard.unwrap(), None);
            assert_eq!(socket.closed().unwrap().code, CloseCode::GOING_AWAY);
        }
        assert_eq!((report.count(Ending::Told), report.lost()), (5, 0));
    });
}

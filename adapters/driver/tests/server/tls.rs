//! The server under TLS, in memory: who the client is, and an end that cannot be mistaken.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use http::{Method, StatusCode};
use sinew_core::http1::{
    self, BodySize, ClientConfig, ClientEvent, NO_FIELDS, RequestLine, Tunnel, TunnelConfig,
};
use sinew_core::machine::{Layered, Machine, Status, Wire};
use sinew_core::outbox::Outbox;
use sinew_core::server::drain::Ending;
use sinew_driver::{Request, Response, RestServer, Runtime, ServerBuilder, Threads};
use sinew_tls::Tls;

use crate::support::certificates::Certificates;
use crate::support::{Client, Sim};

/// Carries bytes between the client's machine and the server until neither has more.
fn carry(sim: &Sim, wire: &mut Tls<http1::Client>, socket: &Client) -> Vec<ClientEvent> {
    let mut events = Vec::new();
    for _ in 0..1000 {
        let mut moved = false;
        while let Some(event) = wire.poll_event(sim.now()).unwrap() {
            events.push(event);
        }
        while wire.outbox().has_remaining() {
            let chunk = wire.outbox().chunk().to_vec();
            wire.outbox().advance(chunk.len());
            socket.send(chunk);
            moved = true;
        }
        sim.run();
        let received = socket.received_bytes();
        moved |= !received.is_empty();
        wire.inbox().extend_from_slice(&received);
        if !moved {
            return events;
        }
    }
    panic!("the two do not come to rest");
}

fn ask(sim: &Sim, wire: &mut Tls<http1::Client>, socket: &Client, body: &[u8]) -> Vec<u8> {
    let line = RequestLine { method: &Method::POST, target: b"/", authority: b"server.test" };
    let size = BodySize::Exact(body.len() as u64);
    wire.top().send_request(sim.now(), line, NO_FIELDS, size).unwrap();
    let mut answer = Vec::new();
    let mut pieces = body.chunks(30_000).peekable();
    loop {
        for event in carry(sim, wire, socket) {
            match event {
                ClientEvent::Response { head, .. } => assert_eq!(head.status(), StatusCode::OK),
                ClientEvent::Data(data) => answer.extend_from_slice(&data),
                ClientEvent::End(_) => return answer,
                event => panic!("{event:?}"),
            }
        }
        let piece = pieces.next().expect("no answer");
        let piece = bytes::Bytes::copy_from_slice(piece);
        wire.top().send_data(sim.now(), piece).unwrap();
        if pieces.peek().is_none() {
            wire.top().send_end(sim.now(), NO_FIELDS).unwrap();
        }
    }
}

async fn echo(request: Request) -> Response {
    let name = request.identity().map(|identity| identity.name().to_owned());
    assert_eq!(name.as_deref(), Some("client.test"));
    Response::ok(request.into_body())
}

#[test]
fn mutual_tls_echoes_and_ends_in_order() {
    let certificates = Certificates::new();
    let (server_tls, client_tls) = (certificates.server(), certificates.client());
    let sim = Sim::new();
    let builder: ServerBuilder<Sim, Threads> = RestServer::builder_on(sim.clone());
    let builder = builder.listen("127.0.0.1:0").tls(server_tls).max_request_size(u64::MAX);
    let server = sim.block_on(builder.route(Method::POST, "/", echo).bind()).unwrap();
    let handle = server.handle();
    sim.start(server.serve());

    let socket = sim.connect();
    let config = Arc::new(ClientConfig::default());
    let machine = http1::Client::new(config);
    let mut wire = client_tls.connect("server.test", machine, sim.now()).unwrap();
    for size in [1, 300_000] {
        let body: Vec<u8> = (0..=250).cycle().take(size).collect();
        assert!(ask(&sim, &mut wire, &socket, &body) == body, "{size} bytes");
    }

    let stopped = sim.start(async move { handle.stop(Duration::from_secs(5)).await });
    carry(&sim, &mut wire, &socket);
    assert!(socket.is_closed(), "both said close_notify");
    wire.handle_eof(sim.now());
    carry(&sim, &mut wire, &socket);
    assert!(matches!(wire.status(), Status::Close(_)), "an orderly end");
    let report = stopped.take().expect("stopped");
    assert_eq!(
        (
            report.count(Ending::Idle),
            report.count(Ending::Finished),
            report.count(Ending::CutRequest)
        ),
        (1, 0, 0)
    );
}

fn take(outbox: &mut Outbox) -> Vec<u8> {
    outbox.copy_to_bytes(outbox.remaining()).to_vec()
}

#[test]
fn an_end_that_comes_before_the_switch_is_read_behind_it() {
    let certificates = Certificates::new();
    let (server_tls, client_tls) = (certificates.server(), certificates.client());
    let sim = Sim::new();
    let (clock, read) = (sim.clone(), Arc::new(Mutex::new(Vec::new())));
    let sink = Arc::clone(&read);
    let late = move |request: Request| {
        let (clock, sink) = (clock.clone(), Arc::clone(&sink));
        async move {
            clock.sleep_until(clock.now() + Duration::from_secs(1)).await;
            let answer = Response::new(StatusCode::SWITCHING_PROTOCOLS).header("upgrade", "x");
            let upgraded = request.upgrade(answer).await.unwrap();
            let came = upgraded.read().await.unwrap();
            sink.lock().unwrap().push(came);
            Response::new(StatusCode::OK)
        }
    };
    let builder: ServerBuilder<Sim, Threads> = RestServer::builder_on(sim.clone());
    let builder = builder.listen("127.0.0.1:0").tls(server_tls);
    let server = sim.block_on(builder.route(Method::GET, "/", late).bind()).unwrap();
    sim.start(server.serve());

    let socket = sim.connect();
    let machine = http1::Client::new(Arc::default());
    let mut wire = client_tls.connect("server.test", machine, sim.now()).unwrap();
    carry(&sim, &mut wire, &socket);
    let line = RequestLine { method: &Method::GET, target: b"/", authority: b"server.test" };
    wire.top().send_request(sim.now(), line, [("upgrade", "x")], BodySize::Empty).unwrap();
    let mut sent = take(wire.outbox());
    // Its close_notify, and not the end of the socket.
    let mut wire = wire.map_inner(|_| {
        Tunnel::new(TunnelConfig::default(), BytesMut::new(), Outbox::new(), sim.now())
    });
    wire.top().shut(sim.now());
    sent.extend(take(wire.outbox()));
    socket.send(sent);
    sim.run();
    sim.advance(Duration::from_secs(2));
    assert_eq!(*read.lock().unwrap(), [None]);
}

#[test]
fn plaintext_to_a_tls_port_ends_the_connection() {
    let server_tls = Certificates::new().server();
    let sim = Sim::new();
    let builder: ServerBuilder<Sim, Threads> = RestServer::builder_on(sim.clone());
    let builder = builder.listen("127.0.0.1:0").tls(server_tls);
    let server = sim.block_on(builder.route(Method::POST, "/", echo).bind()).unwrap();
    let handle = server.handle();
    sim.start(server.serve());
    let socket = sim.connect();
    socket.send("GET / HTTP/1.1\r\nhost: x\r\n\r\n");
    sim.run();
    assert!(!socket.received_bytes().starts_with(b"HTTP"));
    sim.advance(Duration::from_secs(5));
    assert!(socket.is_closed());
    assert_eq!(handle.connections(), 0);
}

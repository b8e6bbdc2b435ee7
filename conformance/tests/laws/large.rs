//! Bodies longer than 32 bits can say: they arrive, and nothing grows while they pass.

use std::sync::Arc;

use bytes::Bytes;
use http::{Method, StatusCode};
use sinew_conformance::end::{Activity, Application};
use sinew_conformance::pair::Pair;
use sinew_conformance::weather::Weather;
use sinew_core::http1::{
    BodySize, Client, ClientConfig, ClientEvent, Limits, NO_FIELDS, RequestLine, Server,
    ServerConfig, ServerEvent,
};
use sinew_core::machine::{CloseReason, Machine, Wire};
use sinew_core::outbox::HIGH_WATER;
use sinew_core::time::Instant;

/// 4 GiB and a little, so that a length cut to 32 bits is a small one.
const LENGTH: u64 = (1 << 32) + 77;

static PIECE: [u8; 64 * 1024] = [7; 64 * 1024];

/// What a machine may hold: the inbox and one read more, the outbox's mark and one piece more, and
/// what allocators round up to.
const BOUND: usize = 4 * (HIGH_WATER + PIECE.len());

/// One side's body on its way out, and the other side's on its way in.
#[derive(Debug)]
struct Body {
    size: BodySize,
    left: u64,
    received: u64,
    complete: bool,
}

impl Body {
    fn new(size: BodySize) -> Self {
        Self { size, left: LENGTH, received: 0, complete: false }
    }

    fn next(&mut self) -> Option<Bytes> {
        let n = usize::try_from(self.left).map_or(PIECE.len(), |left| left.min(PIECE.len()));
        self.left -= n as u64;
        (n > 0).then(|| Bytes::from_static(&PIECE[..n]))
    }

    fn take(&mut self, wire: &mut impl Wire, data: &Bytes) {
        self.received += data.len() as u64;
        assert!(wire.inbox().capacity() <= BOUND, "inbox of {}", wire.inbox().capacity());
        assert!(wire.outbox().len() <= BOUND, "outbox of {}", wire.outbox().len());
    }
}

impl Application<Client> for Body {
    fn event(&mut self, client: &mut Client, event: ClientEvent, now: Instant) {
        match event {
            ClientEvent::Response { body, .. } => assert_eq!(self.size, body),
            ClientEvent::Data(data) => self.take(client, &data),
            ClientEvent::End(_) => {
                self.complete = true;
                client.close(now);
            }
            ClientEvent::Informational(_) | ClientEvent::Continue => {}
        }
    }

    fn act(&mut self, client: &mut Client, now: Instant) -> Activity {
        if client.exchange() == 0 {
            let line = RequestLine { method: &Method::POST, target: b"/", authority: b"pair.test" };
            client.send_request(now, line, NO_FIELDS, self.size).unwrap();
            return Activity::Acted;
        }
        if !client.request_open() {
            return Activity::Idle;
        }
        if !client.can_send() {
            return Activity::Waits;
        }
        match self.next() {
            Some(piece) => client.send_data(now, piece).unwrap(),
            None => client.send_end(now, NO_FIELDS).unwrap(),
        }
        Activity::Acted
    }
}

impl Application<Server> for Body {
    fn event(&mut self, server: &mut Server, event: ServerEvent, now: Instant) {
        match event {
            // Answered at once, so that both bodies are under way together.
            ServerEvent::Request { body, .. } => {
                assert_eq!(self.size, body);
                server.send_response(now, StatusCode::OK, NO_FIELDS, self.size).unwrap();
            }
            ServerEvent::Data(data) => self.take(server, &data),
            ServerEvent::End(_) => self.complete = true,
        }
    }

    fn act(&mut self, server: &mut Server, now: Instant) -> Activity {
        if !server.response_open() {
            return Activity::Idle;
        }
        if !server.can_send() {
            return Activity::Waits;
        }
        match self.next() {
            Some(piece) => server.send_data(now, piece).unwrap(),
            None => server.send_end(now, NO_FIELDS).unwrap(),
        }
        Activity::Acted
    }
}

fn both_ways(size: BodySize) {
    let client = ClientConfig { limits: unlimited(), ..ClientConfig::default() };
    let server = ServerConfig { limits: unlimited(), ..ServerConfig::default() };
    let mut pair = Pair::new(
        (Client::new(Arc::new(client)), Body::new(size)),
        (Server::new(Arc::new(server), Instant::ZERO), Body::new(size)),
        Weather::default(),
        Weather::default(),
    );
    pair.run().unwrap();
    assert_eq!((pair.client.error, pair.server.error), (None, None));
    assert_eq!(pair.client.over, Some(CloseReason::Done));
    for body in [&pair.client.app, &pair.server.app] {
        assert_eq!((body.received, body.complete), (LENGTH, true));
    }
}

fn unlimited() -> Limits {
    Limits { body: u64::MAX, ..Limits::default() }
}

#[test]
fn more_than_32_bits_of_announced_length_pass_both_ways() {
    both_ways(BodySize::Exact(LENGTH));
}

#[test]
fn more_than_32_bits_in_chunks_pass_both_ways() {
    both_ways(BodySize::Unknown);
}

#[test]
fn one_chunk_of_more_than_32_bits_passes() {
    let config = ServerConfig { limits: unlimited(), ..ServerConfig::default() };
    let mut server = Server::new(Arc::new(config), Instant::ZERO);
    let head = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    server.inbox().extend_from_slice(head);
    server.inbox().extend_from_slice(format!("{LENGTH:x}\r\n").as_bytes());
    let mut sent = Body::new(BodySize::Unknown);
    let mut received = 0;
    loop {
        match server.poll_event(Instant::ZERO).unwrap() {
            Some(ServerEvent::Request { .. }) => {}
            Some(ServerEvent::Data(data)) => received += data.len() as u64,
            Some(ServerEvent::End(_)) => break,
            None => match sent.next() {
                Some(piece) => server.inbox().extend_from_slice(&piece),
                None => server.inbox().extend_from_slice(b"\r\n0\r\n\r\n"),
            },
        }
        assert!(server.inbox().capacity() <= BOUND, "{}", server.inbox().capacity());
    }
    assert_eq!(received, LENGTH);
}

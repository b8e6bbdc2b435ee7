//! The machines in memory: a driver without a socket, doing per wake-up what a real one does.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, Bytes};
use http::{Method, StatusCode};
use sinew_core::http1::{
    BodySize, Client, ClientConfig, ClientEvent, RequestLine, Server, ServerConfig, ServerEvent,
};
use sinew_core::machine::{Machine, Seen, Step, Wire};
use sinew_core::time::{Epoch, Instant};

use crate::Result;
use crate::traffic::{CLIENT_FIELDS, HELLO, REQUEST, RESPONSE};

/// A loop over one machine, and what one of its requests may cost.
pub(crate) struct Case {
    /// Its name on the command line and in the table.
    pub(crate) name: &'static str,
    /// Instructions per request that the design aims at.
    pub(crate) budget: u64,
    /// Instructions per request above which a change is refused: what was reached, and a few
    /// percent, because another compiler or C library moves figures by as much. It only goes down.
    pub(crate) limit: u64,
    /// Allocations per request that are allowed.
    pub(crate) allocations: u64,
    /// Requests of the shorter of the two runs.
    pub(crate) requests: u64,
    /// Runs it for so many requests.
    pub(crate) run: fn(u64) -> Result<()>,
}

/// Every case, in the order of the table.
pub(crate) const CASES: [Case; 10] = [
    Case {
        name: "server",
        budget: 4_000,
        limit: 2_960,
        allocations: 0,
        requests: 4_000,
        run: |n| server(n, 1),
    },
    Case {
        name: "server-pipelined-16",
        budget: 4_000,
        limit: 2_590,
        allocations: 0,
        requests: 4_000,
        run: |n| server(n, 16),
    },
    Case {
        name: "server-full-stack",
        budget: 6_000,
        limit: 6_000,
        allocations: 0,
        requests: 4_000,
        run: |n| crate::stack::server(n),
    },
    Case {
        name: "client",
        budget: 3_000,
        limit: 2_670,
        allocations: 0,
        requests: 4_000,
        run: |n| client(n, 1),
    },
    Case {
        name: "client-pipelined-16",
        budget: 3_000,
        limit: 2_590,
        allocations: 0,
        requests: 4_000,
        run: |n| client(n, 16),
    },
    Case {
        name: "websocket-echo-128",
        budget: 600,
        limit: 600,
        allocations: 0,
        requests: 16_000,
        run: |n| crate::websocket::echo(n, 1),
    },
    Case {
        name: "websocket-echo-128-x16",
        budget: 600,
        limit: 475,
        allocations: 0,
        requests: 16_000,
        run: |n| crate::websocket::echo(n, 16),
    },
    Case {
        name: "dispatcher",
        budget: 1_500,
        limit: 1_500,
        allocations: 0,
        requests: 4_000,
        run: crate::dispatcher::calls,
    },
    Case {
        name: "rest-client",
        budget: 10_000,
        limit: 9_900,
        allocations: 6,
        requests: 4_000,
        run: |n| crate::caller::calls(n, 0),
    },
    Case {
        name: "rest-client-5-fields",
        budget: 15_000,
        limit: 15_000,
        allocations: 15,
        requests: 4_000,
        run: |n| crate::caller::calls(n, 5),
    },
];

/// The case of that name.
pub(crate) fn find(name: &str) -> Option<&'static Case> {
    CASES.iter().find(|case| case.name == name)
}

/// The clock: a tenth of a millisecond per wake-up, so that `date` is formatted anew at times.
pub(crate) fn tick(now: &mut Instant) -> Instant {
    *now = *now + Duration::from_micros(100);
    *now
}

/// Requests come `depth` at a time; each is answered with 200 and 13 bytes.
fn server(requests: u64, depth: usize) -> Result<()> {
    let mut now = Instant::ZERO;
    let config = ServerConfig {
        epoch: Some(Epoch::new(Duration::from_secs(1_795_413_600))),
        ..ServerConfig::default()
    };
    let mut server = Server::new(Arc::new(config), now);
    let arriving = REQUEST.repeat(depth);
    let mut answered = 0;
    while answered < requests {
        let now = tick(&mut now);
        server.inbox().extend_from_slice(black_box(&arriving));
        let mut seen = Seen::default();
        loop {
            match server.step(seen) {
                Step::Poll => match server.poll_event(now) {
                    Ok(Some(ServerEvent::Request { head, .. })) => {
                        black_box((head.method(), head.path(), head.header("authorization")));
                        answer(&mut server, now)?;
                        answered += 1;
                    }
                    Ok(Some(_)) => return Err("a body that nobody sent".into()),
                    Ok(None) => seen.drained = true,
                    Err(error) => return Err(error.into()),
                },
                Step::Write => drain(&mut server, &mut seen),
                Step::Read => seen.read_blocked = true,
                Step::Wait(deadline) => {
                    black_box(deadline);
                    break;
                }
                Step::HalfClose | Step::Close(_) => return Err("the server closed".into()),
            }
        }
    }
    Ok(())
}

fn answer(server: &mut Server, now: Instant) -> Result<()> {
    let body = Bytes::from_static(HELLO);
    server.send_whole(now, StatusCode::OK, [("content-type", "text/plain")], body)?;
    Ok(())
}

/// Requests over one connection, at most `depth` on their way; each answer is read to its end.
fn client(requests: u64, depth: u32) -> Result<()> {
    let mut now = Instant::ZERO;
    let config = ClientConfig { pipelining: depth, ..ClientConfig::default() };
    let mut client = Client::new(Arc::new(config));
    let mut asked = 0;
    while asked < requests {
        let now = tick(&mut now);
        let line = RequestLine {
            method: &Method::GET,
            target: black_box(b"/plain?page=2&size=50"),
            authority: b"inventory.mesh.local:8080",
        };
        let mut sent = 0;
        while sent == 0 || (sent < depth && client.can_pipeline(line.method)) {
            client.send_request(now, line, CLIENT_FIELDS, BodySize::Empty)?;
            sent += 1;
        }
        asked += u64::from(sent);
        let mut seen = Seen::default();
        let mut body = 0;
        loop {
            match client.step(seen) {
                Step::Poll => match client.poll_event(now) {
                    Ok(Some(ClientEvent::Response { head, .. })) => {
                        black_box((head.status(), head.header("content-type")));
                    }
                    Ok(Some(ClientEvent::Data(data))) => body += data.len(),
                    Ok(Some(_)) => {}
                    Ok(None) => seen.drained = true,
                    Err(error) => return Err(error.into()),
                },
                Step::Write => {
                    drain(&mut client, &mut seen);
                    for _ in 0..sent {
                        client.inbox().extend_from_slice(black_box(RESPONSE));
                    }
                }
                Step::Read => seen.read_blocked = true,
                Step::Wait(deadline) => {
                    black_box(deadline);
                    break;
                }
                Step::HalfClose | Step::Close(_) => return Err("the client closed".into()),
            }
        }
        if body != sent as usize * HELLO.len() || !client.reusable() {
            return Err("the exchange did not complete".into());
        }
    }
    Ok(())
}

/// The socket takes everything at once.
pub(crate) fn drain(wire: &mut impl Wire, seen: &mut Seen) {
    let outbox = wire.outbox();
    black_box(outbox.chunk());
    outbox.advance(outbox.remaining());
    seen.drained = false;
}

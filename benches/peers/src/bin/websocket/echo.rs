//! The same echo in each library, as its own documentation writes it.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::{Buf, BytesMut};
use fastwebsockets::{Frame, OpCode, WebSocket};
use futures_util::{SinkExt, StreamExt};
use sinew_core::machine::{Machine, Seen, Step, Wire};
use sinew_core::outbox::Outbox;
use sinew_core::time::Instant;
use sinew_core::websocket::handshake::Agreed;
use sinew_core::websocket::{Config, Connection, Event, Role};
use tokio_websockets::ServerBuilder;

use crate::Result;
use crate::memory::Memory;

/// A library, and its echo: from the first message to the end of the input.
pub(crate) struct Library {
    pub(crate) name: &'static str,
    pub(crate) echo: fn(Memory) -> Result<Memory>,
}

pub(crate) const LIBRARIES: [Library; 4] = [
    Library { name: "sinew", echo: sinew },
    Library { name: "fastwebsockets", echo: |memory| at_once(fastwebsockets(memory)) },
    Library { name: "tokio-websockets", echo: |memory| at_once(tokio_websockets(memory)) },
    Library { name: "tungstenite", echo: tungstenite },
];

impl Library {
    pub(crate) fn named(name: &str) -> Result<&'static Self> {
        let found = LIBRARIES.iter().find(|library| library.name == name);
        found.ok_or_else(|| format!("no library {name}").into())
    }
}

/// Memory is always ready.
fn at_once<T>(work: impl Future<Output = T>) -> T {
    let mut work = pin!(work);
    let mut context = Context::from_waker(Waker::noop());
    loop {
        if let Poll::Ready(done) = work.as_mut().poll(&mut context) {
            return done;
        }
    }
}

/// As a driver obeys the sleep rule.
fn sinew(mut memory: Memory) -> Result<Memory> {
    /// What the others read at most.
    const READ: usize = 64 * 1024;
    let now = Instant::ZERO;
    let upgraded = (BytesMut::with_capacity(READ), Outbox::new());
    let config = Arc::new(Config::default());
    let mut server =
        Connection::new(Role::Server, config, &Agreed::default(), [7; 32], upgraded, now);
    let mut seen = Seen::default();
    loop {
        match server.step(seen) {
            Step::Poll => match server.poll_event(now)? {
                Some(Event::Message(message)) => {
                    server.send_message(now, message).map_err(|_| "the queue is full")?;
                }
                Some(_) => return Ok(memory),
                None => seen.drained = true,
            },
            Step::Write => {
                let outbox = server.outbox();
                memory.put(outbox.remaining());
                outbox.advance(outbox.remaining());
                seen.drained = false;
            }
            Step::Read => {
                let piece = memory.take(READ);
                server.inbox().extend_from_slice(piece);
                if piece.is_empty() {
                    server.handle_eof(now);
                }
                seen.drained = false;
            }
            Step::Wait(_) | Step::HalfClose | Step::Close(_) => return Ok(memory),
        }
    }
}

async fn fastwebsockets(memory: Memory) -> Result<Memory> {
    let mut socket = WebSocket::after_handshake(memory, fastwebsockets::Role::Server);
    while let Ok(frame) = socket.read_frame().await {
        if matches!(frame.opcode, OpCode::Text | OpCode::Binary) {
            // As it came, it would have a mask.
            let answer = Frame::new(true, frame.opcode, None, frame.payload);
            socket.write_frame(answer).await?;
        }
    }
    Ok(socket.into_inner())
}

async fn tokio_websockets(memory: Memory) -> Result<Memory> {
    let mut memory = memory;
    {
        let mut socket = ServerBuilder::new().serve(&mut memory);
        while let Some(Ok(message)) = socket.next().await {
            socket.send(message).await?;
        }
    }
    Ok(memory)
}

fn tungstenite(memory: Memory) -> Result<Memory> {
    use tungstenite::protocol::{Role, WebSocket};

    let mut memory = memory;
    let mut socket = WebSocket::from_raw_socket(&mut memory, Role::Server, None);
    while let Ok(message) = socket.read() {
        socket.send(message)?;
    }
    drop(socket);
    Ok(memory)
}

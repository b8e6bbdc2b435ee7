//! WebSocket (RFC 6455), both roles, with compressed messages (RFC 7692).
//!
//! | file | subject |
//! |---|---|
//! | `handshake` | how HTTP is left: requests and answers, checked on both sides; origins, subprotocols |
//! | `connection` | the machine behind it |
//! | `frame`, `mask`, `utf8` | what frames are made of |
//! | `message` | what is sent and received |
//! | `queue` | what becomes of messages for which there is no room |
//! | `close` | codes, and how connections end |
//! | `heartbeat` | whether the peer is still there |
//! | `deflate` | compressed messages; feature `deflate` |
//! | `config` | every limit and every timer, with defaults |
//!
//! # From a request to messages
//!
//! A server [accepts](handshake::ServerHandshake::accept) a request, or gets a
//! [refusal](handshake::Refusal) that knows its answer. Behind a 101, what
//! [`into_upgraded`](crate::http1::Server::into_upgraded) gives becomes a [`Connection`]; bytes that
//! came early are read first. A client [opens](handshake::ClientHandshake::open) a handshake, sends
//! its fields with a GET, and [checks](handshake::Opening::check) the answer.
//!
//! ```
//! use std::sync::Arc;
//!
//! use bytes::{Buf, BytesMut};
//! use sinew_core::outbox::Outbox;
//! use sinew_core::time::Instant;
//! use sinew_core::websocket::handshake::Agreed;
//! use sinew_core::websocket::{CloseCode, Config, Connection, Event, Message, Role, Side};
//! use sinew_core::{Machine, Wire};
//!
//! /// Moves what `from` wants written into `to`: the network.
//! fn carry(from: &mut Connection, to: &mut Connection) {
//!     while from.outbox().has_remaining() {
//!         let outbox = from.outbox();
//!         let n = outbox.chunk().len();
//!         to.inbox().extend_from_slice(outbox.chunk());
//!         outbox.advance(n);
//!     }
//! }
//!
//! let now = Instant::ZERO;
//! let open = |role, seed| {
//!     let upgraded = (BytesMut::new(), Outbox::new());
//!     Connection::new(role, Arc::new(Config::default()), &Agreed::default(), seed, upgraded, now)
//! };
//! // Seeds come from the operating system.
//! let (mut client, mut server) = (open(Role::Client, [1; 32]), open(Role::Server, [2; 32]));
//!
//! client.send_message(now, Message::text("hello")).map_err(|_| "full")?;
//! carry(&mut client, &mut server);
//! let Some(Event::Message(message)) = server.poll_event(now)? else { panic!() };
//! server.send_message(now, message).map_err(|_| "full")?;
//! server.close(now, CloseCode::NORMAL, "that was all")?;
//! carry(&mut server, &mut client);
//!
//! assert_eq!(client.poll_event(now)?, Some(Event::Message(Message::text("hello"))));
//! let Some(Event::Closed(closed)) = client.poll_event(now)? else { panic!() };
//! assert_eq!((closed.code, closed.reason.as_str()), (CloseCode::NORMAL, "that was all"));
//! carry(&mut client, &mut server);
//! let Some(Event::Closed(closed)) = server.poll_event(now)? else { panic!() };
//! assert_eq!(closed.by, Side::Local);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # How a connection ends
//!
//! In one of two ways, once. [`Event::Closed`] comes where somebody closed, in order or not: its code
//! is that of the peer's close frame, 1005 where the frame has none, 1006 where there was no frame. An
//! error comes where the peer broke the protocol or a limit, or is gone; the machine has told the peer
//! why by then ([`CloseCode::of`]):
//!
//! | code | for |
//! |---|---|
//! | 1002 | frames that break the protocol, malformed close frames |
//! | 1007 | texts that are not UTF-8, messages that do not unpack |
//! | 1008 | too many frames in a message, too many pings |
//! | 1009 | frames and messages that are too large |
//! | 1011 | silence after a ping; an inbox that was edited |
//!
//! 1005, 1006 and 1015 are never sent. Behind the last close frame a server shuts its writing side,
//! and both throw away what still comes, so that the peer can read to the end, for
//! [`linger`](Config::linger) and [`linger_bytes`](Config::linger_bytes) at most. A server that stops
//! closes with [`CloseCode::GOING_AWAY`], one whose handler failed with
//! [`CloseCode::INTERNAL_ERROR`].
//!
//! # Back-pressure
//!
//! Messages that nobody pulls stay bytes, and reading pauses. Where the queue is full
//! ([`Limits::queued`]), messages come back, and pings wait to be answered. While the application does
//! not pull, silence is not held against the peer.

mod close;
mod config;
mod connection;
#[cfg(feature = "deflate")]
pub mod deflate;
mod frame;
pub mod handshake;
mod heartbeat;
mod mask;
mod message;
mod queue;
mod utf8;

pub use close::{CloseCode, Closed, Side};
pub use config::{Config, Limits};
pub use connection::{Connection, Event, Rejected, Role};
pub use heartbeat::HeartbeatConfig;
pub use message::{Message, Text};
pub use queue::{Overflow, SendQueue};

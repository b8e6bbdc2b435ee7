//! The machines of sinew: HTTP/1.1 and WebSocket decided without IO, without a clock, without a runtime.
//!
//! A machine is fed bytes and time and answers with events, bytes and a deadline. Who reads and
//! writes the bytes, and what o'clock it is, is the embedder's business: a runtime, a poll loop, a
//! simulation. [`machine`] has the vocabulary and the laws that every machine obeys.
//!
//! | module | subject |
//! |---|---|
//! | [`machine`] | [`Machine`], [`Wire`], [`Layered`], and the rule that says when to sleep |
//! | [`time`] | instants, deadlines, the names of all timers |
//! | [`outbox`] | outgoing bytes |
//! | [`origin`] | whom a request goes to: scheme, host and port |
//! | [`error`] | whose fault, which status, how far the request got |
//! | [`head`] | request and response heads, indexed over one block |
//! | [`http1`] | HTTP/1.1, both roles |
//! | `websocket` | WebSocket, both roles; feature `websocket`, on by default, and `deflate` for compressed messages |
//! | [`event_stream`] | server-sent events, as they are read |
//! | [`content_coding`] | what is done to bodies that are packed, and which ones are |
//! | [`client`] | what a client decides above one connection: the dispatcher, redirects, when a token is fetched |
//! | [`resilience`] | what a client does when things go wrong: retries, breakers, hedges, deadlines |
//! | [`mesh`] | which of several endpoints a call is sent to |
//! | [`jitter`] | spread from a seed |
//! | [`server`] | what a server decides above one connection: the route, the stack of policies, how it leaves, whether it is well |
//! | [`policy`] | what all policies share |
//! | [`reason`] | why a request was refused, and with which status |
//! | [`problem`] | the document that says so |
//! | [`propagation`] | what a call inherits from the request that causes it |
//! | [`security`] | who may do what: CORS, access rules, identity, tokens; who proxies speak for; where clients may go |
//! | [`limit`] | how much of it: token buckets, for one, for many, and on lease between replicas; calls at once; admission by priority; bytes |
//! | [`observe`] | decisions as events; audit records; trace and request ids |
//!
//! # A whole exchange
//!
//! Two machines wired in memory, driven as a socket would be driven: [`Wire::step`] says what to do
//! next. Replace the two copies by `read` and `write` and this is a server and a client.
//!
//! ```
//! use std::sync::Arc;
//! use std::time::Duration;
//!
//! use bytes::{Buf, Bytes};
//! use http::{Method, StatusCode};
//! use sinew_core::http1::{
//!     BodySize, Client, ClientConfig, ClientEvent, NO_FIELDS, RequestLine, Server, ServerConfig,
//!     ServerEvent,
//! };
//! use sinew_core::machine::{Seen, Step};
//! use sinew_core::time::Instant;
//! use sinew_core::{Machine, Wire};
//!
//! let mut now = Instant::ZERO;
//! let mut client = Client::new(Arc::new(ClientConfig::default()));
//! let mut server = Server::new(Arc::new(ServerConfig::default()), now);
//!
//! /// Moves what `from` wants written into `to`: the network.
//! fn carry(from: &mut impl Wire, to: &mut impl Wire) {
//!     while from.outbox().has_remaining() {
//!         let outbox = from.outbox();
//!         let n = outbox.chunk().len();
//!         to.inbox().extend_from_slice(outbox.chunk());
//!         outbox.advance(n);
//!     }
//! }
//!
//! // The client asks.
//! let line = RequestLine { method: &Method::POST, target: b"/greet?loud", authority: b"a.test" };
//! client.send_request(now, line, [("accept", "text/plain")], BodySize::Exact(5))?;
//! client.send_data(now, Bytes::from("sinew")).map_err(|_| "full")?;
//! client.send_end(now, NO_FIELDS)?;
//! carry(&mut client, &mut server);
//!
//! // The server pulls: a head, then the body, piece by piece, as fast as it likes.
//! let Some(ServerEvent::Request { head, body }) = server.poll_event(now)? else { panic!() };
//! assert_eq!((head.method(), head.path(), head.query()), (&Method::POST, "/greet", Some("loud")));
//! assert_eq!(body, BodySize::Exact(5));
//! let Some(ServerEvent::Data(name)) = server.poll_event(now)? else { panic!() };
//! let Some(ServerEvent::End(None)) = server.poll_event(now)? else { panic!() };
//!
//! // Until it answers, a timer runs; the machine says when it wants to be woken, and why.
//! assert_eq!(server.deadline().map(|d| d.at), Some(now + Duration::from_secs(30)));
//! now = now + Duration::from_millis(3);
//! server.send_response(now, StatusCode::OK, [("x-served-by", "doc")], BodySize::Unknown)?;
//! server.send_data(now, Bytes::from("HELLO ")).map_err(|_| "full")?;
//! server.send_data(now, name).map_err(|_| "full")?;
//! server.send_end(now, [("x-checksum", "none")])?;
//!
//! // There is something to write, and then nothing more to do but wait.
//! let mut seen = Seen { drained: true, read_blocked: true, ..Seen::default() };
//! assert_eq!(server.step(seen), Step::Write);
//! carry(&mut server, &mut client);
//! assert!(matches!(server.step(seen), Step::Wait(Some(_))));
//!
//! // The client pulls the answer.
//! let mut text = Vec::new();
//! while let Some(event) = client.poll_event(now)? {
//!     match event {
//!         ClientEvent::Response { head, .. } => assert_eq!(head.status(), StatusCode::OK),
//!         ClientEvent::Data(data) => text.extend_from_slice(&data),
//!         ClientEvent::End(trailers) => {
//!             assert_eq!(trailers.as_ref().and_then(|t| t.get("X-Checksum")), Some(&b"none"[..]));
//!         }
//!         ClientEvent::Informational(_) | ClientEvent::Continue => {}
//!     }
//! }
//! assert_eq!(text, b"HELLO sinew");
//! assert!(client.reusable() && server.is_idle());
//!
//! // The client leaves; the server's connection ends in order.
//! server.handle_eof(now);
//! assert!(server.poll_event(now)?.is_none());
//! seen.drained = true;
//! assert!(matches!(server.step(seen), Step::Close(_)));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod block;
mod class;
pub mod client;
pub mod content_coding;
mod date;
mod decimal;
pub mod error;
pub mod event_stream;
pub mod head;
pub mod http1;
mod inbox;
pub mod jitter;
mod json;
pub mod limit;
pub mod machine;
pub mod mesh;
pub mod observe;
pub mod origin;
pub mod outbox;
pub mod policy;
mod priority_field;
pub mod problem;
pub mod propagation;
pub mod reason;
pub mod resilience;
pub mod security;
pub mod server;
mod table;
pub mod time;
#[cfg(feature = "websocket")]
pub mod websocket;

pub use error::Error;
pub use machine::{Layered, Machine, Wire};

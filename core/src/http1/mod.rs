//! HTTP/1.1 (RFC 9112), both roles.
//!
//! | file | subject |
//! |---|---|
//! | `server`, `client` | the two machines |
//! | `state` | every transition of an exchange, role-blind |
//! | `parse` | heads and trailer sections, line by line |
//! | `framing` | RFC 9112 section 6.3, and nothing else decides it |
//! | `chunked`, `body` | bodies in and out |
//! | `encode` | heads out; nothing unchecked leaves |
//! | `field` | names and values to send, and which are sound by their type |
//! | `upgrade` | what a request to switch protocols must look like |
//! | `tunnel` | the bytes behind a switch of protocols, or behind CONNECT |
//! | `limits` | every limit and every timer, with defaults |
//!
//! # States
//!
//! Every state that an exchange can be in: how far the request got, how far the response; whether it
//! is the last exchange of its connection; whether the protocol is to change. Both roles go through
//! the same ones.
//!
#![doc = include_str!("state.md")]

mod body;
mod chunked;
mod client;
mod date;
mod encode;
mod field;
mod framing;
mod grammar;
mod limits;
mod message;
mod parse;
mod server;
mod state;
mod tunnel;
mod upgrade;

pub use client::{Client, ClientEvent, Unanswered};
pub use field::{FieldName, FieldValue};
pub use framing::is_forbidden_in_trailers;
pub use limits::{ClientConfig, Limits, ServerConfig};
pub use message::{BodyBytes, BodySize, NO_FIELDS, Rejected, RequestLine, StatusLine};
pub use server::{Server, ServerEvent};
pub use tunnel::{Tunnel, TunnelConfig, TunnelEvent};

//! HTTP/1.1 (RFC 9112), both roles.

mod client;
mod limits;
mod message;
mod server;

pub use client::{Client, ClientEvent};
pub use limits::{ClientConfig, Limits, ServerConfig};
pub use message::{BodySize, NO_FIELDS, Rejected, RequestLine, StatusLine};
pub use server::{Server, ServerEvent};

//! WebSocket (RFC 6455), both roles, with compressed messages (RFC 7692).

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
mod utf8;

pub use close::{CloseCode, Closed, Side};
pub use config::{Config, Limits};
pub use connection::{Connection, Event, Rejected, Role};
pub use heartbeat::HeartbeatConfig;
pub use message::{Message, Text};

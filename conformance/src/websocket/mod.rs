//! WebSocket cases: handshakes and frames, and what a recipient makes of them.

pub mod case;
pub mod door;
pub mod echo;
pub mod frame;
mod judge;
pub mod run;

pub use case::WebSocketCase;
pub use judge::{Spoken, judge};

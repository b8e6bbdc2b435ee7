//! Examples of sinew, and the integration tests that run on every adapter.
//!
//! What several of them need stands here; start reading at [`quickstart`].

pub mod certs;
pub mod chat;
pub mod client;
pub mod memory;
pub mod mesh;
pub mod pattern;
pub mod quickstart;
pub mod server;
pub mod shared_limits;
pub mod transcript;

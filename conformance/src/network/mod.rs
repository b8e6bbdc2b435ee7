//! Cases over sockets: what real servers and clients make of them.

pub mod adapter;
pub mod certificate;
pub mod client;
pub mod conversation;
pub mod cors;
pub mod foreign;
pub mod line;
pub mod ours;
pub mod server;
pub mod websocket;

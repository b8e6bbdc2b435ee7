//! Cases over sockets: what a real server or client makes of them.

pub mod conversation;
pub mod foreign;

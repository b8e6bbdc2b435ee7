//! What a client decides above one connection: which connection carries a call, which endpoint it goes
//! to, whether it is tried again, with which token, where an answer sends it
//! next, and when a connection that is meant to last is opened again.

pub mod dispatcher;
pub mod reconnect;
pub mod redirect;
pub mod refresh;

pub use dispatcher::Dispatcher;

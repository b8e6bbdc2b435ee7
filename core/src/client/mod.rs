//! What a client decides above one connection: which connection carries a call, which endpoint it goes
//! to, and whether it is tried again.

pub mod dispatcher;

pub use dispatcher::Dispatcher;

//! What a client decides above one connection: which connection carries a call, which endpoint it goes
//! to, whether it is tried again, with which token, and where an answer sends it next.

pub mod dispatcher;
pub mod redirect;
pub mod refresh;

pub use dispatcher::Dispatcher;

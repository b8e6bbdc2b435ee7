//! What a client decides above one connection: which connection carries a call, which endpoint it goes
//! to, whether it is tried again, with which token, and where an answer sends it next.

pub mod dispatcher;
mod pool;
pub mod redirect;
pub mod refresh;

pub use dispatcher::Dispatcher;
pub use pool::{Action, ConnId, Destination, Pool, PoolConfig, Verdict, WaiterId, Want};

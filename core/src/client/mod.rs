//! What a client decides above one connection: which connection carries a call, which endpoint it goes
//! to, and whether it is tried again.

pub mod dispatcher;
mod pool;

pub use dispatcher::Dispatcher;
pub use pool::{Action, ConnId, Destination, Pool, PoolConfig, Verdict, WaiterId, Want};

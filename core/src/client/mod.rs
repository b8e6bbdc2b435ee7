//! What a client decides above one connection: which connection carries a call.

mod pool;

pub use pool::{Action, ConnId, Destination, Pool, PoolConfig, Verdict, WaiterId, Want};

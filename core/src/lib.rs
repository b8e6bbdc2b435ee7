//! The machines of sinew.

pub mod client;
pub mod error;
pub mod head;
pub mod http1;
pub mod machine;
pub mod observe;
pub mod outbox;
pub mod time;

pub use error::Error;
pub use machine::{Layered, Machine, Wire};

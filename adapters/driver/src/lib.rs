//! The one driver of sinew: `RestServer` and `RestClient` over any runtime.

pub mod io;
pub mod runtime;

pub use io::{Io, Listener, Peer};
pub use runtime::{Runtime, Spawn, StdListener};

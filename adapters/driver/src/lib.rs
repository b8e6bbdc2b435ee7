//! The one driver of sinew: `RestServer` and `RestClient` over any runtime.

pub mod body;
mod drive;
pub mod error;
pub mod io;
pub mod runtime;

pub use body::Body;
pub use error::{BoxError, Error, ErrorKind};
pub use io::{Io, Listener, Peer};
pub use runtime::{Runtime, Spawn, StdListener};

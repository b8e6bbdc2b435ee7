//! The one driver of sinew: `RestServer` over any runtime.

pub mod body;
mod drive;
pub mod error;
pub mod io;
pub mod runtime;
pub mod server;

pub use body::Body;
pub use error::{BoxError, Error, ErrorKind};
pub use io::{Io, Listener, Peer};
pub use runtime::{Runtime, Spawn, StdListener};
pub use server::{
    Handler, HandlerTimeout, IntoResponse, Json, Local, Mode, Notice, Problem, Request, Response,
    RestServer, RestServerConfig, RouteOptions, ServerBuilder, ServerHandle, Sse, SseEvent,
    StopReport, Threads,
};

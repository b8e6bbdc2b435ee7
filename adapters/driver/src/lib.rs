//! The one driver of sinew: `RestServer` and `RestClient` over any runtime.

pub mod body;
pub mod client;
mod coding;
mod drive;
pub mod error;
pub mod io;
mod progress;
pub mod runtime;
pub mod server;
mod trace;
mod upgraded;
mod wire;

pub use body::Body;
pub use client::{
    Call, ClientBuilder, ClientResponse, CloseReport, Events, Health, RestClient, RestClientConfig,
    Token, TokenSource, Tokens,
};
pub use error::{BoxError, Error, ErrorKind};
pub use io::{Io, Listener, Peer};
pub use progress::Progress;
pub use runtime::{Runtime, Spawn, StdListener, Task};
pub use server::{
    Admin, Audit, Cancellation, Explain, Handler, HandlerTimeout, IntoResponse, Json, JwksEndpoint,
    KeysError, LeaseStore, Local, MemoryStore, Mode, Notice, Override, Problem, Request, Response,
    RestServer, RestServerConfig, RouteOptions, SecurityPolicy, ServerBuilder, ServerHandle,
    SharedQuota, Sse, SseEvent, StopReport, Threads,
};
pub use upgraded::Upgraded;

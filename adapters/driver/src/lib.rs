//! The one driver of sinew: `RestServer` and `RestClient` over any runtime.

pub mod body;
pub mod client;
mod coding;
mod drive;
pub mod error;
pub mod io;
mod progress;
mod relay;
pub mod runtime;
pub mod server;
mod trace;
mod upgraded;
pub mod websocket;
mod wire;

pub use body::Body;
pub use client::{
    ActiveChecks, Answering, AttemptEnd, AttemptOutcome, Call, CheckMethod, ClientBuilder,
    ClientResponse, CloseReport, ConnectTo, Connection, Events, Explained, ExplainedRequest,
    Health, Middleware, Next, Proxy, RestClient, RestClientConfig, RouteName, ServiceEndpoint,
    SocketCall, Token, TokenSource, Tokens,
};
pub use error::{BoxError, Error, ErrorKind};
pub use io::{Datagram, Io, Listener, Peer};
pub use progress::Progress;
pub use runtime::{Datagrams, Runtime, Spawn, StdListener, Task, udp_socket};
pub use server::{
    Admin, Audit, Cancellation, Departed, DrainReport, Explain, GoingAway, Handler, HandlerTimeout,
    HealthChecks, IntoResponse, Json, JwksEndpoint, KeysError, LeaseStore, Local, MemoryReport,
    MemoryStore, Mode, Notice, Override, Problem, Reloader, Request, Response, RestServer,
    RestServerConfig, RouteOptions, SecurityPolicy, ServerBuilder, ServerHandle, SharedQuota,
    SocketHandler, SocketOutcome, Sse, SseEvent, StopSignal, Threads, WebSocketOptions,
};
#[cfg(all(unix, feature = "signals"))]
pub use server::{Hangups, Signals};
pub use upgraded::Upgraded;
pub use websocket::{CloseCode, Message, Sockets, WebSocket};

//! `RestServer`: routes, handlers, listeners, and the loop of a connection.

mod builder;
mod config;
mod conn;
mod control;
mod exchange;
mod extract;
mod handle;
mod http1;
mod link;
mod listen;
mod mode;
mod pairs;
mod policies;
mod problem;
mod request;
mod response;
mod rest_server;
mod service;
mod session;
mod sse;
mod stream;
mod switch;

pub use builder::ServerBuilder;
pub use config::RestServerConfig;
pub use conn::Conn;
pub use handle::{ServerHandle, StopReport};
pub use http1::ServerWire;
pub use link::Gone;
pub use mode::{Handler, Local, Mode, Threads};
pub use policies::SecurityPolicy;
pub use problem::Problem;
pub use request::Request;
pub use response::{IntoResponse, Json, Response};
pub use rest_server::RestServer;
pub use service::{HandlerTimeout, Notice, RouteOptions};
pub use sse::{Sse, SseEvent};

//! The client: calls over connections that are kept, each driven by its caller.
//!
//! Which connection carries a call, which endpoint it goes to and whether it is made again is decided by
//! one machine, [`Dispatcher`](sinew_core::client::Dispatcher), behind one lock: the hub. A call owns
//! its connection while it lasts: no task, no channel. The answer's body owns it afterwards, drives it
//! when it is polled, and gives it back at its end. What is dropped half-way closes its connection.
//! One task a client, the keeper, opens connections and looks after those that nobody uses.
//!
//! Where [`pipelining`](RestClientConfig::pipelining) is on, calls that may be repeated share
//! connections; still there is no task, and whoever is polled drives for all.

mod base;
mod bell;
mod builder;
mod call;
mod carrier;
mod check;
mod config;
mod conn;
mod connection;
mod dial;
mod events;
mod explained;
mod flight;
mod held;
mod hub;
mod journey;
mod keeper;
mod lane;
mod lasting;
mod middleware;
mod outgoing;
mod proxy;
mod replay;
mod response;
mod rest_client;
mod route;
mod seats;
mod service_endpoint;
mod table;
mod tokens;
mod websocket;

pub use builder::ClientBuilder;
pub use call::Call;
pub use check::{ActiveChecks, CheckMethod};
pub use config::RestClientConfig;
pub use connection::{ConnectTo, Connection};
pub use events::Events;
pub use explained::{Explained, ExplainedRequest};
pub use lasting::{LastingSocket, SocketEvent};
pub use middleware::{Answering, AttemptEnd, AttemptOutcome, Middleware, Next};
pub use proxy::Proxy;
pub use response::ClientResponse;
pub use rest_client::{CloseReport, Health, RestClient};
pub use route::RouteName;
pub use service_endpoint::ServiceEndpoint;
pub use tokens::{Token, TokenSource, Tokens};
pub use websocket::SocketCall;

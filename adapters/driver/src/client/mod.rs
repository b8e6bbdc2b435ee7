//! The client: calls over connections that are kept, each driven by its caller.
//!
//! A call owns its connection while it lasts: no task, no channel. The answer's body owns it
//! afterwards, drives it when it is polled, and gives it back at its end. What is dropped half-way
//! closes its connection.
//!
//! Where [`pipelining`](RestClientConfig::pipelining) is on, calls that may be repeated share
//! connections; still there is no task, and whoever is polled drives for all.

mod base;
mod builder;
mod call;
mod config;
mod conn;
mod dial;
mod events;
mod lane;
mod lease;
mod response;
mod share;

pub use builder::ClientBuilder;
pub use call::{Call, RestClient};
pub use config::RestClientConfig;
pub use events::Events;
pub use response::ClientResponse;

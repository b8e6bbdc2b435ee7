//! The tests that every runtime passes. Each test file of this folder's parent names one runtime in
//! its module `rt` and includes these.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]
#![allow(
    clippy::clone_on_copy,
    clippy::default_constructed_unit_structs,
    clippy::needless_pass_by_value,
    reason = "runtimes differ in that"
)]

mod access;
mod admin;
mod app;
mod audited;
mod bodies;
mod broken;
mod calls;
mod cancel;
mod checks;
mod clock;
mod codings;
mod counted;
mod dice;
mod drops;
mod faults;
mod flow;
mod handlers;
#[cfg(unix)]
mod handover;
mod harness;
mod health;
mod hops;
mod in_force;
mod issuer;
mod layers;
mod memory;
mod overload;
mod pipeline;
mod places;
mod policies;
mod proxied;
mod proxies;
mod raw;
mod reload;
mod replicas;
mod resilience;
mod site;
mod sockets;
mod stale;
mod stop;
mod tls;
mod tokens;
mod upgrade;
mod watched;
mod websocket;
mod wire;

use harness::{both, each, pause, run, settled, status_of};

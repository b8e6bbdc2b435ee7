//! `RestServer` in memory, asked by clients that write what they like.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may fail loudly")]

mod audit;
mod bodies;
mod cancel;
mod coding;
mod conn;
mod deadline;
mod drain;
mod ends;
mod keys;
mod memory;
mod proxy;
mod reload;
mod routes;
mod shared_quota;
mod tls;
mod upstream;

#[path = "../support/mod.rs"]
mod support;

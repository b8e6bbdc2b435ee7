//! `RestClient` in memory, over sockets that the test holds the other end of.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may fail loudly")]

mod body;
mod connection;
mod context;
mod events;
mod explained;
mod kept;
mod mesh;
mod pipeline;
mod retry;
mod stack;
mod time;
mod tls;

#[path = "../support/mod.rs"]
mod support;

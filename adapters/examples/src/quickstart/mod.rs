//! The quickstart: a server and a client that trust each other by certificates, in one process.
//!
//! `app.rs` is the service, `steps.rs` what a client does with it, `serve.rs` keeps it running for
//! others. The three files `on_*.rs` name a runtime and nothing else; `steps.rs` and `serve.rs` are
//! compiled once for each.

#![allow(clippy::duplicate_mod, reason = "two files are compiled once for each runtime")]

pub mod app;
pub mod on_async_std;
pub mod on_smol;
pub mod on_tokio;

/// What to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Task {
    /// Walk through the steps and end.
    Walk,
    /// Serve on 127.0.0.1:8443 until a signal comes.
    Serve,
}

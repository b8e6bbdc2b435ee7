//! Layers over a client that is scripted, in virtual time.
#![allow(clippy::unwrap_used, reason = "a test may fail loudly")]

mod breaker;
mod limits;
mod repeatable;
mod retry;
mod script;

//! Examples of sinew, and the integration tests that run on every adapter.
//!
//! What several of them need stands here.

pub mod certs;

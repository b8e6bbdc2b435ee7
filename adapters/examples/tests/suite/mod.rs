//! The tests that every runtime passes. Each test file of this folder's parent names one runtime in
//! its module `rt` and includes these.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]
#![allow(
    clippy::clone_on_copy,
    clippy::default_constructed_unit_structs,
    reason = "runtimes differ in that"
)]

mod sockets;

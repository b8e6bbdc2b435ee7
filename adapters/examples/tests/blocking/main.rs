//! The tests of the suite that are a client's, on the client whose calls block: all but `drops` and
//! `pipeline`, whose calls are given up on their way. One that blocks is not.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]
#![allow(
    dead_code,
    unused_imports,
    clippy::clone_on_copy,
    clippy::default_constructed_unit_structs,
    clippy::needless_pass_by_value,
    reason = "it is a part of the suite, and runtimes differ"
)]

mod rt;

#[path = "../suite"]
mod suite {
    mod app;
    mod bodies;
    mod broken;
    mod calls;
    mod codings;
    mod dice;
    mod faults;
    mod harness;
    mod hops;
    mod layers;
    mod places;
    mod proxies;
    mod raw;
    mod reload;
    mod resilience;
    mod site;
    mod stale;
    mod tls;

    use harness::{both, each, pause, run, settled, status_of};
}

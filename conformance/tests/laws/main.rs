//! The laws of the machines, tried at random.

#![expect(clippy::unwrap_used, reason = "outside of `#[test]` too, a test stops where it is wrong")]

mod bounds;
mod client_methods;
mod exchanges;
mod heads;
mod inputs;
mod large;
mod methods;
mod sending;
mod server_methods;
mod timers;

use proptest::prelude::ProptestConfig;

/// `PROPTEST_CASES` overrides the number of cases.
fn config(cases: u32) -> ProptestConfig {
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

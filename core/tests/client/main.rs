//! What a client decides beside its connections: redirects, tokens, whom it talks to.

#![expect(clippy::unwrap_used, reason = "outside of `#[test]` too, a test stops where it is wrong")]

mod egress;
mod redirect;
mod refresh;

use sinew_core::time::Instant;

/// So many milliseconds after the start.
const fn at(millis: u64) -> Instant {
    Instant::from_nanos(millis * 1_000_000)
}

//! `sinew_core::{resilience, limit::Concurrency, jitter}` through their public interfaces.

#![expect(clippy::unwrap_used, reason = "outside of `#[test]` too, a test stops where it is wrong")]

mod breaker;
mod breaker_space;
mod budget;
mod concurrency;
mod deadline;
mod hedge;
mod retry;

use std::time::Duration;

use sinew_core::time::Instant;

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

const fn at(millis: u64) -> Instant {
    Instant::from_nanos(millis * 1_000_000)
}

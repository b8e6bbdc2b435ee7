//! What keeps a server alive and lets it leave, through public interfaces.

#![expect(clippy::unwrap_used, reason = "outside of `#[test]` too, a test stops where it is wrong")]

mod audit;
mod drain;
mod expiry;
mod health;
mod ledger;
mod overload;

use sinew_core::time::Instant;

const fn at(millis: u64) -> Instant {
    Instant::from_nanos(millis * 1_000_000)
}

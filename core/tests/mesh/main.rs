//! Which of several endpoints a call is sent to.

#![expect(clippy::unwrap_used, reason = "outside of `#[test]` too, a test stops where it is wrong")]

mod balance;
mod endpoint_set;
mod outlier;
mod panic;
mod probes;
mod ring;
mod turns;
mod zones;

use std::time::Duration;

use sinew_core::Machine;
use sinew_core::time::Instant;

const fn at(millis: u64) -> Instant {
    Instant::from_nanos(millis * 1_000_000)
}

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Everything that the machine has to say.
fn events<M: Machine<Error = core::convert::Infallible>>(
    machine: &mut M,
    now: Instant,
) -> Vec<M::Event> {
    core::iter::from_fn(|| {
        let Ok(event) = machine.poll_event(now);
        event
    })
    .collect()
}

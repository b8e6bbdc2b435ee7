//! A quota that three server processes share over a real Redis, as a transcript: how exactly it holds, what
//! it costs, and what becomes of requests when Redis is killed.

mod load;
mod redis;
mod replica;
mod steps;

pub use replica::serve;
pub use steps::run;

use std::time::Duration;

use sinew_core::limit::{BadQuota, LeaseConfig, Quota, WithoutStore};

/// Requests a second that a client has, at all replicas together.
const RATE: u32 = 100;

/// Requests at once that a client has.
const BURST: u32 = 50;

/// What each of three replicas gives to a client while nobody counts for all.
const SHARE: u32 = RATE / 3;

/// How replicas lease: as by default, but for some patience with a machine that does other things, too.
fn leases(without_store: WithoutStore) -> LeaseConfig {
    LeaseConfig { patience: Duration::from_secs(1), without_store, ..LeaseConfig::default() }
}

fn quota() -> Result<Quota, BadQuota> {
    Quota::new(RATE, Duration::from_secs(1), BURST)
}

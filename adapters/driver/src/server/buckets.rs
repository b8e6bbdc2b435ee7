//! What guards the limiter that all connections share.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sinew_core::limit::{Charge, Outcome, RateLimiter};
use sinew_core::server::Buckets;
use sinew_core::time::Instant;

/// The limiter of all connections; clones are the same one. It is held for the time of one check, and
/// nothing waits in it.
#[derive(Clone, Debug)]
pub(super) struct Guarded(Arc<Mutex<RateLimiter>>);

impl Guarded {
    pub(super) fn new(limiter: RateLimiter) -> Self {
        Self(Arc::new(Mutex::new(limiter)))
    }

    fn lock(&self) -> MutexGuard<'_, RateLimiter> {
        // Nothing panics under this lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Buckets for Guarded {
    fn check(&self, now: Instant, cost: u32, charges: &[Charge]) -> Outcome {
        self.lock().check(now, cost, charges)
    }

    fn peek(&self, now: Instant, cost: u32, charges: &[Charge]) -> Outcome {
        self.lock().peek(now, cost, charges)
    }

    fn is_idle(&self, now: Instant) -> bool {
        self.lock().is_idle(now)
    }
}

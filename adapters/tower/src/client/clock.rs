//! Where time comes from.

use std::future::Future;

use sinew_core::time::{Epoch, Instant};
use sinew_driver::Runtime;

/// A clock with timers: of a [`Runtime`] all that layers need. Cheap to clone.
pub trait Clock: Clone + Send + Sync + 'static {
    /// A timer, armed for one instant. Ready at or after it.
    type Sleep: Future<Output = ()> + Unpin + Send + 'static;

    /// What time it is. Never goes back.
    fn now(&self) -> Instant;

    /// Wall time at the origin of [`now`](Self::now).
    fn epoch(&self) -> Epoch;

    /// Arms a timer.
    fn sleep_until(&self, at: Instant) -> Self::Sleep;
}

impl<R: Runtime> Clock for R {
    type Sleep = R::Sleep;

    fn now(&self) -> Instant {
        Runtime::now(self)
    }

    fn epoch(&self) -> Epoch {
        Runtime::epoch(self)
    }

    fn sleep_until(&self, at: Instant) -> Self::Sleep {
        Runtime::sleep_until(self, at)
    }
}

//! Layers over a client that somebody else wrote.

mod breaker;
mod clock;
mod concurrency;
mod delivery;
mod rate;
mod refused;
mod repeatable;
mod retry;

use std::future::Future;
use std::pin::Pin;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::header::RETRY_AFTER;
use sinew_core::resilience::RetryAfter;
use sinew_core::time::Instant;
use sinew_driver::BoxError;

pub use breaker::{Breaker, BreakerLayer};
pub use clock::Clock;
pub use concurrency::{Concurrency, ConcurrencyLayer};
pub use delivery::{Deliveries, UnknownDelivery};
pub use rate::{Rate, RateLayer};
pub use refused::Refused;
pub use repeatable::{Repeatable, Unrepeatable};
pub use retry::{BadRetryLayer, Expired, Failed, Retry, RetryLayer, Tried};

/// What a layer's service gives: an answer, or an error of the client or of a layer.
type Answering<B> = Pin<Box<dyn Future<Output = Result<http::Response<B>, BoxError>> + Send>>;

/// What all services of a layer share. It is never held across an await, and each critical section leaves it
/// whole.
fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How long the destination asks to be left alone.
fn retry_after<B>(
    clock: &impl Clock,
    now: Instant,
    response: &http::Response<B>,
) -> Option<Duration> {
    let value = response.headers().get(RETRY_AFTER)?;
    let epoch = clock.epoch();
    RetryAfter::parse(value.as_bytes(), now, &epoch).map(|after| after.wait(now, &epoch))
}

//! A circuit breaker.

use std::fmt;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use http::{Request, Response};
use sinew_core::resilience::{
    self, BadBreaker, BreakerConfig, BreakerState, Forced, Outcome, Permit, Report,
};
use sinew_driver::BoxError;
use tower_layer::Layer;
use tower_service::Service;

use super::{Answering, Clock, Refused, lock, retry_after};

type Shared = Arc<Mutex<resilience::Breaker>>;

/// Leaves a destination alone that fails: [`resilience::Breaker`] around a service. Clones, and all services that
/// they make, are one breaker.
///
/// An attempt counts when the head of its answer is there. 500, 502, 503, 504 and errors of the client are
/// failures, and 429 counts in the rate; an attempt that is dropped before says nothing, and gives back the place
/// of its probe. So a timeout has to be below the breaker: there it is an error, and further out it only drops the
/// attempt, and a destination that hangs counts as nothing. While the breaker is open a call ends at once with
/// [`Refused::Breaker`].
#[derive(Clone)]
pub struct BreakerLayer<C> {
    clock: C,
    shared: Shared,
}

impl<C: Clock> BreakerLayer<C> {
    /// A closed breaker.
    ///
    /// # Errors
    ///
    /// The configuration makes no sense.
    pub fn new(clock: C, config: BreakerConfig) -> Result<Self, BadBreaker> {
        // It spreads moments; nobody who guesses it gains anything.
        let seed = getrandom::u64().unwrap_or_default();
        let breaker = resilience::Breaker::new(config, seed)?;
        Ok(Self { clock, shared: Arc::new(Mutex::new(breaker)) })
    }
}

impl<C> BreakerLayer<C> {
    /// What the breaker is.
    pub fn state(&self) -> BreakerState {
        lock(&self.shared).state()
    }

    /// Makes it what somebody wants; `None`: it is left to itself again.
    pub fn force(&self, forced: Option<Forced>) {
        lock(&self.shared).force(forced);
    }
}

impl<C> fmt::Debug for BreakerLayer<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BreakerLayer").field("state", &self.state()).finish_non_exhaustive()
    }
}

impl<C: Clone, S> Layer<S> for BreakerLayer<C> {
    type Service = Breaker<S, C>;

    fn layer(&self, inner: S) -> Self::Service {
        Breaker { inner, layer: self.clone() }
    }
}

/// A service behind a breaker: see [`BreakerLayer`].
#[derive(Clone, Debug)]
pub struct Breaker<S, C> {
    inner: S,
    layer: BreakerLayer<C>,
}

impl<S, C, A, B> Service<Request<A>> for Breaker<S, C>
where
    C: Clock,
    S: Service<Request<A>, Response = Response<B>>,
    S::Future: Send + 'static,
    S::Error: Into<BoxError>,
{
    type Response = Response<B>;
    type Error = BoxError;
    type Future = Answering<B>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, request: Request<A>) -> Self::Future {
        let BreakerLayer { clock, shared } = &self.layer;
        let asked = clock.now();
        let held = match acquire(clock, shared) {
            Ok(held) => held,
            Err(refused) => return Box::pin(async move { Err(refused.into()) }),
        };
        let (clock, answer) = (clock.clone(), self.inner.call(request));
        Box::pin(async move {
            let answer = answer.await.map_err(Into::<BoxError>::into);
            let now = clock.now();
            let (outcome, after) = match &answer {
                Ok(response) => {
                    (Outcome::of_status(response.status()), retry_after(&clock, now, response))
                }
                // It never went out; dropped, the permit says nothing.
                Err(error) if error.is::<Refused>() => return answer,
                Err(_) => (Outcome::Failure, None),
            };
            if let Some(held) = held {
                let latency = now - asked;
                held.settle(&clock, Report { outcome, latency, retry_after: after });
            }
            answer
        })
    }
}

/// `None`: an attempt that goes on without a permit, in shadow or with the breaker off.
fn acquire<C: Clock>(clock: &C, shared: &Shared) -> Result<Option<Held>, Refused> {
    let mut breaker = lock(shared);
    let mode = breaker.config().mode;
    if !mode.asks() {
        return Ok(None);
    }
    match breaker.acquire(clock.now()) {
        Ok(permit) => Ok(Some(Held { shared: Arc::clone(shared), permit: Some(permit) })),
        Err(open) if mode.obeys() => Err(Refused::Breaker(open)),
        Err(_) => Ok(None),
    }
}

/// A permit that is given back, whatever becomes of the attempt.
struct Held {
    shared: Shared,
    permit: Option<Permit>,
}

impl Held {
    fn settle(mut self, clock: &impl Clock, report: Report) {
        if let Some(permit) = self.permit.take() {
            // Nobody is told of a change; `BreakerLayer::state` has it.
            let _ = lock(&self.shared).settle(clock.now(), permit, report);
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Some(permit) = self.permit.take() {
            lock(&self.shared).release(permit);
        }
    }
}

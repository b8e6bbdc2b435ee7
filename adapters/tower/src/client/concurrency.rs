//! How many calls at once.

use std::fmt;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use http::{Request, Response};
use sinew_core::limit::{self, BadConcurrency, ConcurrencyConfig, Load, Place};
use sinew_driver::BoxError;
use tower_layer::Layer;
use tower_service::Service;

use super::{Answering, Clock, Refused, lock};

type Shared = Arc<Mutex<limit::Concurrency>>;

/// As many calls at once as the destination turns out to bear: [`limit::Concurrency`] around a service. Clones,
/// and all services that they make, share the places.
///
/// A call has its place until the head of its answer is there, or until it is dropped. Who finds none ends at
/// once with [`Refused::Concurrency`]; nobody waits here, so there is no queue. 429, 503 and errors of the
/// client lower the limit, as do answers that all come late; a call that is dropped says nothing. So a timeout has
/// to be below this layer, where it is an error.
#[derive(Clone)]
pub struct ConcurrencyLayer<C> {
    clock: C,
    shared: Shared,
}

impl<C: Clock> ConcurrencyLayer<C> {
    /// Nothing is on its way yet.
    ///
    /// # Errors
    ///
    /// The configuration makes no sense.
    pub fn new(clock: C, config: ConcurrencyConfig) -> Result<Self, BadConcurrency> {
        Ok(Self { clock, shared: Arc::new(Mutex::new(limit::Concurrency::new(config)?)) })
    }
}

impl<C> ConcurrencyLayer<C> {
    /// Calls at once, at most, as of now.
    pub fn limit(&self) -> u32 {
        lock(&self.shared).limit()
    }

    /// Calls on their way.
    pub fn in_flight(&self) -> u32 {
        lock(&self.shared).in_flight()
    }
}

impl<C> fmt::Debug for ConcurrencyLayer<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConcurrencyLayer")
            .field("limit", &self.limit())
            .field("in_flight", &self.in_flight())
            .finish_non_exhaustive()
    }
}

impl<C: Clone, S> Layer<S> for ConcurrencyLayer<C> {
    type Service = Concurrency<S, C>;

    fn layer(&self, inner: S) -> Self::Service {
        Concurrency { inner, layer: self.clone() }
    }
}

/// A service with so many places: see [`ConcurrencyLayer`].
#[derive(Clone, Debug)]
pub struct Concurrency<S, C> {
    inner: S,
    layer: ConcurrencyLayer<C>,
}

impl<S, C, A, B> Service<Request<A>> for Concurrency<S, C>
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
        let ConcurrencyLayer { clock, shared } = &self.layer;
        let asked = clock.now();
        let held = match acquire(shared) {
            Ok(held) => held,
            Err(refused) => return Box::pin(async move { Err(refused.into()) }),
        };
        let (clock, answer) = (clock.clone(), self.inner.call(request));
        Box::pin(async move {
            let answer = answer.await.map_err(Into::<BoxError>::into);
            let took = clock.now() - asked;
            let load = match &answer {
                Ok(response) => Load::of_status(response.status(), took),
                // It never went out; dropped, the place says nothing.
                Err(error) if error.is::<Refused>() => return answer,
                Err(_) => Load::Overload,
            };
            if let Some(held) = held {
                held.settle(&clock, load);
            }
            answer
        })
    }
}

/// `None`: a call that goes on without a place, in shadow or with the limit off.
fn acquire(shared: &Shared) -> Result<Option<Held>, Refused> {
    let mut concurrency = lock(shared);
    let mode = concurrency.config().mode;
    if !mode.asks() {
        return Ok(None);
    }
    match concurrency.acquire() {
        Ok(place) => Ok(Some(Held { shared: Arc::clone(shared), place: Some(place) })),
        Err(full) if mode.obeys() => Err(Refused::Concurrency(full)),
        Err(_) => Ok(None),
    }
}

/// A place that is given back, whatever becomes of the call.
struct Held {
    shared: Shared,
    place: Option<Place>,
}

impl Held {
    fn settle(mut self, clock: &impl Clock, load: Load) {
        if let Some(place) = self.place.take() {
            lock(&self.shared).settle(clock.now(), place, load);
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Some(place) = self.place.take() {
            lock(&self.shared).release(place);
        }
    }
}

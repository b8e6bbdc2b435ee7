//! How often a destination is asked.

use std::fmt;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use http::{Request, Response};
use sinew_core::limit::{Quota, TokenBucket, Wait};
use sinew_driver::BoxError;
use tower_layer::Layer;
use tower_service::Service;

use super::{Answering, Clock, Refused, lock};

/// So many calls in so much time: a [`TokenBucket`] in front of a service. Clones, and all services that they
/// make, share the bucket.
///
/// A call that finds no token waits for one, unless that would take longer than the `patience`: then it
/// ends at once with [`Refused::Rate`]. A call that is dropped while it waits takes nothing; one that went out has
/// used its token. Those who wait are not served in the order in which they came.
///
/// With a patience it belongs outside of a [`BreakerLayer`](crate::BreakerLayer) and of a
/// [`ConcurrencyLayer`](crate::ConcurrencyLayer): to a layer around it, the wait for a token is an answer that
/// comes late. What one of the two then refuses has used its token.
#[derive(Clone)]
pub struct RateLayer<C> {
    clock: C,
    quota: Quota,
    patience: Duration,
    bucket: Arc<Mutex<TokenBucket>>,
}

impl<C: Clock> RateLayer<C> {
    /// A full bucket; nobody waits.
    pub fn new(clock: C, quota: Quota) -> Self {
        let bucket = Arc::new(Mutex::new(TokenBucket::new()));
        Self { clock, quota, patience: Duration::ZERO, bucket }
    }

    /// How long a call waits for its token, at most. Default: not at all.
    #[must_use]
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Calls that could go out now.
    pub fn remaining(&self) -> u32 {
        lock(&self.bucket).remaining(self.clock.now(), &self.quota)
    }

    /// Takes a token, however long that takes within the patience.
    async fn take(self) -> Result<(), Refused> {
        let until = self.clock.now() + self.patience;
        loop {
            let now = self.clock.now();
            let wait = lock(&self.bucket).take(now, &self.quota, 1);
            match wait {
                Wait::No => return Ok(()),
                Wait::For(time) if now + time <= until => self.clock.sleep_until(now + time).await,
                Wait::For(time) => return Err(Refused::Rate(Some(time))),
                Wait::Forever => return Err(Refused::Rate(None)),
            }
        }
    }
}

impl<C> fmt::Debug for RateLayer<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RateLayer")
            .field("quota", &self.quota)
            .field("patience", &self.patience)
            .finish_non_exhaustive()
    }
}

impl<C: Clone, S> Layer<S> for RateLayer<C> {
    type Service = Rate<S, C>;

    fn layer(&self, inner: S) -> Self::Service {
        Rate { inner, layer: self.clone() }
    }
}

/// A service behind a quota: see [`RateLayer`].
#[derive(Clone, Debug)]
pub struct Rate<S, C> {
    inner: S,
    layer: RateLayer<C>,
}

impl<S, C, A, B> Service<Request<A>> for Rate<S, C>
where
    C: Clock,
    A: Send + 'static,
    S: Service<Request<A>, Response = Response<B>> + Clone + Send + 'static,
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
        // It is this one that is ready, and not its clone.
        let unready = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, unready);
        let layer = self.layer.clone();
        Box::pin(async move {
            layer.take().await?;
            inner.call(request).await.map_err(Into::into)
        })
    }
}

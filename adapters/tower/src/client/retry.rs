//! Another attempt.

use std::error::Error;
use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::RETRY_AFTER;
use http::{Request, Response};
use http_body::Body;
use sinew_core::error::Delivery;
use sinew_core::jitter::Jitter;
use sinew_core::policy::Mode;
use sinew_core::resilience::{
    Attempt, BadBudget, BadRetry, Budget, BudgetConfig, NoRetry, Outcome, RetryFacts, RetryPolicy,
    RetryVerdict, Safety,
};
use sinew_core::time::Instant;
use sinew_driver::BoxError;
use tower_layer::Layer;
use tower_service::Service;

use super::repeatable::{Repeatable, Source};
use super::{Answering, Clock, Deliveries, Refused, UnknownDelivery, lock, retry_after};

/// The time of a call, unless said otherwise.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Bytes of a body that are kept for another attempt, unless said otherwise.
const KEPT: usize = 64 * 1024;

/// Makes calls again that failed, as [`RetryPolicy`] decides by delivery and safety of the method, within a
/// [`Budget`]. Clones, and all services that they make, share the budget.
///
/// An `Idempotency-Key` makes any method repeatable, and a `Retry-After` is waited for if that ends within the
/// time of the call. What an attempt was refused for by a layer behind this one, an open breaker say, is not tried
/// again. A call holds nothing of the client while it waits for its next attempt, and one that is dropped is over.
///
/// The client gets requests with a body that can be [sent again](Repeatable). An answer has [`Tried`] in its
/// extensions; an error of the client comes as [`Failed`], and one of a layer that let not even one attempt
/// through as it is.
#[derive(Clone)]
pub struct RetryLayer<C, D = UnknownDelivery> {
    clock: C,
    deliveries: D,
    policy: RetryPolicy,
    timeout: Duration,
    kept: usize,
    shared: Arc<Mutex<Shared>>,
}

struct Shared {
    budget: Budget,
    mode: Mode,
    jitter: Jitter,
}

/// Why a [`RetryLayer`] makes no sense.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum BadRetryLayer {
    /// The policy makes no sense.
    Policy(BadRetry),
    /// The budget makes no sense.
    Budget(BadBudget),
}

/// What was tried for a call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Tried {
    /// Attempts that were made.
    pub attempts: u8,
    /// Why there was no further one; `None`: none was needed.
    pub no_retry: Option<NoRetry>,
}

/// A call that ended with an error.
#[derive(Debug)]
pub struct Failed {
    /// What was tried.
    pub tried: Tried,
    source: BoxError,
}

/// The time of a call is over; its last attempt was given up.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Expired;

impl<C: Clock> RetryLayer<C> {
    /// A full budget. What fails without an answer counts as maybe processed: see
    /// [`deliveries`](Self::deliveries).
    ///
    /// # Errors
    ///
    /// The policy or the budget makes no sense.
    pub fn new(clock: C, policy: RetryPolicy, budget: BudgetConfig) -> Result<Self, BadRetryLayer> {
        policy.check().map_err(BadRetryLayer::Policy)?;
        let mode = budget.mode;
        let budget = Budget::new(budget).map_err(BadRetryLayer::Budget)?;
        // It spreads moments; nobody who guesses it gains anything.
        let jitter = Jitter::new(getrandom::u64().unwrap_or_default());
        Ok(Self {
            clock,
            deliveries: UnknownDelivery,
            policy,
            timeout: TIMEOUT,
            kept: KEPT,
            shared: Arc::new(Mutex::new(Shared { budget, mode, jitter })),
        })
    }
}

impl<C, D> RetryLayer<C, D> {
    /// Who knows how far a request got that failed without an answer: a connection that could not be opened
    /// took nothing, so that any method may be sent again.
    #[must_use]
    pub fn deliveries<E: Deliveries>(self, deliveries: E) -> RetryLayer<C, E> {
        let Self { clock, policy, timeout, kept, shared, .. } = self;
        RetryLayer { clock, deliveries, policy, timeout, kept, shared }
    }

    /// From the start of a call to the head of its answer, all attempts and the waits between them included;
    /// then it ends with [`Failed`], whose source is [`Expired`]. Default 30 s.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Bytes of a body that are kept for another attempt; a call whose body was read beyond that is not made
    /// again. Default 64 KiB.
    #[must_use]
    pub fn kept_bytes(mut self, bytes: usize) -> Self {
        self.kept = bytes;
        self
    }
}

impl<C: Clock, D> RetryLayer<C, D> {
    /// Whether there is another attempt, and after which wait. Takes it out of the budget.
    fn decide(&self, facts: &RetryFacts) -> Result<Duration, NoRetry> {
        let Shared { budget, mode, jitter } = &mut *lock(&self.shared);
        let policy = self.policy.mode;
        if !policy.asks() {
            return Err(if facts.attempt.is_final() { NoRetry::Final } else { NoRetry::Off });
        }
        let after = match self.policy.decide(facts, jitter) {
            RetryVerdict::Retry { after } => after,
            RetryVerdict::GiveUp(why) => return Err(why),
        };
        if !policy.obeys() {
            // What is not made spends nothing.
            return Err(NoRetry::Off);
        }
        match budget.withdraw(self.clock.now()) {
            Err(reason) if mode.obeys() => Err(NoRetry::Budget(reason)),
            _ => Ok(after),
        }
    }
}

impl<C, D> fmt::Debug for RetryLayer<C, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RetryLayer")
            .field("policy", &self.policy)
            .field("timeout", &self.timeout)
            .field("kept", &self.kept)
            .finish_non_exhaustive()
    }
}

impl<C: Clone, D: Clone, S> Layer<S> for RetryLayer<C, D> {
    type Service = Retry<S, C, D>;

    fn layer(&self, inner: S) -> Self::Service {
        Retry { inner, layer: self.clone() }
    }
}

/// A service that is asked again: see [`RetryLayer`].
#[derive(Clone, Debug)]
pub struct Retry<S, C, D = UnknownDelivery> {
    inner: S,
    layer: RetryLayer<C, D>,
}

impl<S, C, D, A, B> Service<Request<A>> for Retry<S, C, D>
where
    C: Clock,
    D: Deliveries,
    A: Body<Data = Bytes> + Send + 'static,
    A::Error: Into<BoxError>,
    S: Service<Request<Repeatable<A>>, Response = Response<B>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Into<BoxError>,
    B: Send + 'static,
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
        let inner = std::mem::replace(&mut self.inner, unready);
        Box::pin(self.layer.clone().follow(inner, request))
    }
}

impl<C: Clock, D: Deliveries> RetryLayer<C, D> {
    /// A call, from its first attempt to its last.
    async fn follow<S, A, B>(
        self,
        mut inner: S,
        request: Request<A>,
    ) -> Result<Response<B>, BoxError>
    where
        S: Service<Request<Repeatable<A>>, Response = Response<B>>,
        S::Error: Into<BoxError>,
        A: Body<Data = Bytes>,
        A::Error: Into<BoxError>,
    {
        let clock = self.clock.clone();
        let deadline = clock.now() + self.timeout;
        let (parts, body) = request.into_parts();
        let keyed = parts.headers.contains_key("idempotency-key");
        let safety = Safety::of(&parts.method);
        let safety = if keyed { safety.keyed() } else { safety };
        let (source, mut body) = Source::new(body, self.kept);
        lock(&self.shared).budget.call(clock.now());
        let mut attempts = 0;
        loop {
            let attempt = Request::from_parts(parts.clone(), body);
            let answer = within(&clock, deadline, async {
                // The first time it is ready already, and says so again.
                poll_fn(|cx| inner.poll_ready(cx)).await.map_err(Into::into)?;
                inner.call(attempt).await.map_err(Into::into)
            });
            let answer = answer.await.unwrap_or_else(|| Err(Expired.into()));
            let now = clock.now();
            let (ended, outcome) = self.read(now, &answer);
            attempts += u8::from(ended != Attempt::NotAdmitted);
            if let Some(outcome) = outcome {
                lock(&self.shared).budget.settle(outcome);
            }
            let facts = RetryFacts {
                attempts,
                attempt: ended,
                safety,
                replay: source.replay(),
                remaining: deadline - now,
            };
            // Until the body is the next attempt's, the client reads on, and may pass what is kept.
            let next = self.decide(&facts).and_then(|after| {
                let body = source.again().ok_or(NoRetry::BodySpent)?;
                Ok((after, body))
            });
            let no_retry = match next {
                Ok((after, whole)) => {
                    body = whole;
                    // What the attempt held of the client goes before the wait.
                    drop(answer);
                    clock.sleep_until(now + after).await;
                    continue;
                }
                Err(why) => why,
            };
            let well = matches!(outcome, Some(Outcome::Success)) && no_retry == NoRetry::Final;
            let tried = Tried { attempts, no_retry: (!well).then_some(no_retry) };
            return match answer {
                Ok(mut response) => {
                    response.extensions_mut().insert(tried);
                    Ok(response)
                }
                Err(refused) if attempts == 0 => Err(refused),
                Err(source) => Err(Failed { tried, source }.into()),
            };
        }
    }

    /// How an attempt ended, and what that says about the destination.
    fn read<B>(
        &self,
        now: Instant,
        answer: &Result<Response<B>, BoxError>,
    ) -> (Attempt, Option<Outcome>) {
        match answer {
            Ok(response) => {
                let status = response.status();
                let retry_after = retry_after(&self.clock, now, response);
                let fields = response.headers();
                let delivery = Delivery::of_answer(status, || fields.contains_key(RETRY_AFTER));
                let attempt = Attempt::Answered { status, delivery, retry_after };
                (attempt, Some(Outcome::of_status(status)))
            }
            Err(error) if error.is::<Refused>() => (Attempt::NotAdmitted, None),
            Err(error) if error.is::<Expired>() => {
                (Attempt::Failed(Delivery::MaybeProcessed), Some(Outcome::Failure))
            }
            Err(error) => {
                let delivery = self.deliveries.delivery(&**error);
                (Attempt::Failed(delivery), Some(Outcome::Failure))
            }
        }
    }
}

/// Waits for a future until a time; `None`: it was not there.
async fn within<T>(
    clock: &impl Clock,
    until: Instant,
    future: impl Future<Output = T>,
) -> Option<T> {
    let mut future = std::pin::pin!(future);
    let mut sleep = clock.sleep_until(until);
    poll_fn(|cx| {
        if let Poll::Ready(output) = future.as_mut().poll(cx) {
            return Poll::Ready(Some(output));
        }
        Pin::new(&mut sleep).poll(cx).map(|()| None)
    })
    .await
}

impl Failed {
    /// How the last attempt ended.
    pub fn error(&self) -> &(dyn Error + Send + Sync + 'static) {
        &*self.source
    }
}

impl fmt::Display for BadRetryLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Policy(bad) => bad.fmt(f),
            Self::Budget(bad) => bad.fmt(f),
        }
    }
}

impl Error for BadRetryLayer {}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Tried { attempts, no_retry } = self.tried;
        let reason = no_retry.map_or("", NoRetry::name);
        write!(f, "failed in {attempts} attempts ({reason})")
    }
}

impl Error for Failed {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&*self.source)
    }
}

impl fmt::Display for Expired {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no answer in the time of the call")
    }
}

impl Error for Expired {}

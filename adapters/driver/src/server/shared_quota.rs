//! A quota that replicas share: leases on it, and who carries their asks to the store.

use std::fmt;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use sinew_core::Machine as _;
use sinew_core::limit::{
    Answer, Ask, AskId, BadLease, BadLimiter, Charge, KeyGroup, KeyHash, LeaseConfig, LeaseVerdict,
    Leases, Quota, QuotaId, RateLimiter, RateLimiterConfig, Verdict,
};
use sinew_core::observe::Event;
use sinew_core::server::Lessor;
use sinew_core::time::Instant;

use super::link::remember;
use crate::drive::Alarm;
use crate::runtime::Runtime;

/// Keeps the buckets of all clients, for all replicas.
///
/// It is not asked for every request: each replica takes some tokens at a time on lease, and asks for
/// the next ones in the task that [serves](super::RestServer::serve), while requests are answered.
pub trait LeaseStore: Send + Sync + 'static {
    /// What each client has, of all replicas together.
    fn quota(&self) -> Quota;

    /// Takes tokens out of the bucket of a client, in one step: as many as there are, up to `tokens`.
    /// It is dropped when the answer is no longer waited for.
    fn take(&self, client: KeyHash, tokens: u32) -> impl Future<Output = Answer> + Send;
}

impl<S: LeaseStore> LeaseStore for Arc<S> {
    fn quota(&self) -> Quota {
        (**self).quota()
    }

    fn take(&self, client: KeyHash, tokens: u32) -> impl Future<Output = Answer> + Send {
        (**self).take(client, tokens)
    }
}

/// A quota that replicas share, for
/// [`ServerBuilder::shared_quota`](super::ServerBuilder::shared_quota).
#[derive(Clone)]
pub struct SharedQuota<S> {
    store: Arc<S>,
    secret: [u8; 16],
    leases: LeaseConfig,
}

impl<S: LeaseStore> SharedQuota<S> {
    /// `secret` hides who the clients are from the store, and is the same at all replicas.
    pub fn new(store: S, secret: [u8; 16]) -> Self {
        Self { store: Arc::new(store), secret, leases: LeaseConfig::default() }
    }

    /// How much is taken on lease, and what becomes of requests when the store is silent.
    #[must_use]
    pub fn leases(mut self, leases: LeaseConfig) -> Self {
        self.leases = leases;
        self
    }

    /// What each client has.
    pub(super) fn quota(&self) -> Quota {
        self.store.quota()
    }

    /// What clients have the same names by at all replicas.
    pub(super) const fn secret(&self) -> [u8; 16] {
        self.secret
    }

    /// Who gives tokens to requests, and who carries asks.
    pub(super) fn split<R: Runtime>(
        self,
        runtime: R,
    ) -> Result<(Desk<R>, Carrier<R, S>), BadLease> {
        let patience = self.leases.patience;
        let leases = Leases::new(LeaseConfig { observe: true, ..self.leases })?;
        let ledger = Mutex::new(Ledger { leases, carrier: None, sleeps_until: Instant::MAX });
        let desk = Arc::new(Shared { runtime, ledger });
        let carrier =
            Carrier { shared: Arc::clone(&desk), store: self.store, patience, asked: Vec::new() };
        Ok((Desk(desk), carrier))
    }
}

/// What requests and the carrier share. The lock is held for a look only.
struct Shared<R> {
    runtime: R,
    ledger: Mutex<Ledger>,
}

struct Ledger {
    leases: Leases,
    carrier: Option<Waker>,
    /// When the carrier looks by itself.
    sleeps_until: Instant,
}

impl Ledger {
    /// The carrier, if there is something for it to do before it would look.
    fn stirred(&mut self) -> Option<Waker> {
        let due = || self.leases.deadline().is_some_and(|next| next.at < self.sleeps_until);
        if self.leases.has_asks() || due() { self.carrier.take() } else { None }
    }
}

impl<R> Shared<R> {
    fn lock(&self) -> MutexGuard<'_, Ledger> {
        // Nothing panics under this lock.
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Gives tokens to requests.
pub(super) struct Desk<R>(Arc<Shared<R>>);

impl<R: Runtime> Lessor for Desk<R> {
    fn check(&self, now: Instant, cost: u32, key: KeyHash, prefix: KeyGroup) -> LeaseVerdict {
        let mut ledger = self.0.lock();
        let verdict = ledger.leases.check(now, cost, key, prefix);
        let carrier = ledger.stirred();
        drop(ledger);
        carrier.into_iter().for_each(Waker::wake);
        verdict
    }
}

/// Carries asks to the store, and answers back, for as long as it is polled.
pub(super) struct Carrier<R, S> {
    shared: Arc<Shared<R>>,
    store: Arc<S>,
    patience: Duration,
    /// No more than [`LeaseConfig::asks`].
    asked: Vec<Asked>,
}

/// An ask on its way.
struct Asked {
    id: AskId,
    /// When nobody waits for its answer any more.
    until: Instant,
    answer: Pin<Box<dyn Future<Output = Answer> + Send>>,
}

impl<R: Runtime, S: LeaseStore> Carrier<R, S> {
    /// Never ends. `tell` hears what came of every ask.
    pub(super) async fn run(mut self, tell: impl Fn(Event) + Send) {
        let mut alarm = Alarm::new();
        poll_fn(|cx| self.poll(cx, &mut alarm, &tell)).await;
    }

    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        alarm: &mut Alarm<R>,
        tell: &impl Fn(Event),
    ) -> Poll<()> {
        loop {
            let now = self.shared.runtime.now();
            let answers = self.answers(cx, now);
            let mut ledger = self.shared.lock();
            for (id, answer) in answers {
                ledger.leases.handle_answer(now, id, answer);
            }
            let before = self.asked.len();
            while let Ok(Some(Ask { id, key, tokens })) = ledger.leases.poll_event(now) {
                let store = Arc::clone(&self.store);
                let answer = Box::pin(async move { store.take(key, tokens).await });
                self.asked.push(Asked { id, until: now + self.patience, answer });
            }
            let told: Vec<Event> = std::iter::from_fn(|| ledger.leases.poll_observed()).collect();
            let old = remember(&mut ledger.carrier, cx.waker());
            let deadline = ledger.leases.deadline().map(|deadline| deadline.at);
            ledger.sleeps_until = deadline.unwrap_or(Instant::MAX);
            drop(ledger);
            drop(old);
            told.into_iter().for_each(tell);
            if self.asked.len() > before {
                // They have not been polled yet.
                continue;
            }
            if alarm.arm(cx, &self.shared.runtime, now, deadline).is_pending() {
                return Poll::Pending;
            }
        }
    }

    /// Those that are here. What nobody waits for is dropped.
    fn answers(&mut self, cx: &mut Context<'_>, now: Instant) -> Vec<(AskId, Answer)> {
        let mut answers = Vec::new();
        self.asked.retain_mut(|asked| {
            match catch_unwind(AssertUnwindSafe(|| asked.answer.as_mut().poll(cx))) {
                Ok(Poll::Pending) => return asked.until > now,
                Ok(Poll::Ready(answer)) => answers.push((asked.id, answer)),
                Err(_) => answers.push((asked.id, Answer::Failed)),
            }
            false
        });
        answers
    }
}

/// A [`LeaseStore`] in the memory of this process, for servers that live in it together: one for each
/// core, or in tests. In a fixed number of bytes; see [`RateLimiter`].
pub struct MemoryStore<R> {
    runtime: R,
    quota: Quota,
    buckets: Mutex<RateLimiter>,
}

impl<R: Runtime> MemoryStore<R> {
    /// Every bucket is full.
    ///
    /// # Errors
    ///
    /// See [`BadLimiter`].
    pub fn new(runtime: R, quota: Quota, config: &RateLimiterConfig) -> Result<Self, BadLimiter> {
        let buckets = Mutex::new(RateLimiter::new(config, [(quota, true)])?);
        Ok(Self { runtime, quota, buckets })
    }
}

impl<R: Runtime> LeaseStore for MemoryStore<R> {
    fn quota(&self) -> Quota {
        self.quota
    }

    async fn take(&self, client: KeyHash, tokens: u32) -> Answer {
        let now = self.runtime.now();
        let charge = [Charge::Keyed { quota: QuotaId(0), key: client, prefix: client.into() }];
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        let there = buckets.peek(now, 0, &charge).remaining.min(tokens);
        let _ = buckets.check(now, there, &charge);
        let retry_after = match buckets.peek(now, 1, &charge).verdict {
            Verdict::Limited { retry_after } => retry_after.unwrap_or_default(),
            Verdict::Allowed => Duration::ZERO,
        };
        Answer::Granted { tokens: there, retry_after }
    }
}

impl<S> fmt::Debug for SharedQuota<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedQuota").field("leases", &self.leases).finish_non_exhaustive()
    }
}

impl<R> fmt::Debug for MemoryStore<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryStore").field("quota", &self.quota).finish_non_exhaustive()
    }
}

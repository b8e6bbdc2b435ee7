//! Whether the server is well: the checks of the application, and the answers to probes.

use std::fmt;
use std::future::{Future, poll_fn};
use std::net::IpAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use http::Method;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use sinew_core::Machine as _;
use sinew_core::head::RequestHead;
use sinew_core::limit::{
    Charge, KeyHasher, Quota, QuotaId, RateLimiter, RateLimiterConfig, Stage, Verdict,
};
use sinew_core::observe::Event;
use sinew_core::policy::Priority;
use sinew_core::reason::Reason;
use sinew_core::security::{ClientKey, SecurityContext};
use sinew_core::server::drain::Phase;
use sinew_core::server::health::{
    Check, Detail, Finding, Health, HealthConfig, HealthEvent, MEDIA_TYPE, Probe, Run, Saturation,
};
use sinew_core::time::Instant;

use super::control::Control;
use super::gate::Gate;
use super::numbers;
use super::problem::Problem;
use super::response::{IntoResponse as _, Response};
use super::service::{Notice, Observer};
use crate::error::Error;
use crate::io::Peer;
use crate::runtime::Runtime;

/// Probes of one address a second, and as many at once.
const RATE: u32 = 100;

/// Bytes for what is remembered of those who probe.
const RATE_BYTES: usize = 64 * 1024;

type Running = Pin<Box<dyn Future<Output = Finding> + Send>>;

/// What a server's health depends on, beside what it knows of itself: whether it leaves, whether its
/// certificate is valid, whether it can take more.
///
/// The answers are given at `/livez`, `/readyz`, `/startupz` and `/health`, on the listeners for clients
/// and on the [admin surface](super::Admin). No policy stands in front of them but a limit of 100 a second
/// and address, and no probe waits: it is answered from what the last runs found. See
/// [`sinew_core::server::health`] for what each says.
///
/// ```
/// # use sinew_driver::{HealthChecks, Runtime, ServerBuilder, Threads};
/// use sinew_core::server::health::{Check, Probe};
/// # async fn ping() -> Result<(), std::io::Error> { Ok(()) }
/// # fn build<R: Runtime>(builder: ServerBuilder<R, Threads>) -> ServerBuilder<R, Threads> {
/// let checks = HealthChecks::new().check(Check::new("database", Probe::Ready), ping);
/// builder.health(checks)
/// # }
/// ```
#[must_use = "it does nothing until a server is given it"]
#[derive(Default)]
pub struct HealthChecks {
    config: HealthConfig,
    runners: Vec<Box<dyn Fn() -> Running + Send>>,
    clients: Detail,
}

impl HealthChecks {
    /// Nothing but what the server knows of itself.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a check. It runs in the task that [serves](super::RestServer::serve), so it must not block;
    /// one that takes longer than its timeout is dropped, and one that panics has failed.
    pub fn check<F>(mut self, check: Check, run: impl Fn() -> F + Send + 'static) -> Self
    where
        F: Future<Output: Into<Finding>> + Send + 'static,
    {
        self.config.checks.push(check);
        self.runners.push(Box::new(move || {
            let found = run();
            Box::pin(async move { found.await.into() })
        }));
        self
    }

    /// From this phase of its [drain](sinew_core::server::drain) on the server is not ready. Default
    /// `LameDuck`.
    pub fn not_ready_from(mut self, phase: Phase) -> Self {
        self.config.not_ready_from = phase;
        self
    }

    /// For so long before its end the certificate is warned about. Default 24 h.
    pub fn certificate_warning(mut self, time: Duration) -> Self {
        self.config.certificate_warning = time;
        self
    }

    /// Tells clients of every check by name where they ask `?verbose`; unless this is said, operators
    /// alone are told.
    pub fn verbose(mut self) -> Self {
        self.clients = Detail::Verbose;
        self
    }

    /// What answers, and what runs the checks.
    pub(super) fn split(self, known: Known) -> Result<(Arc<Probes>, Checker), Error> {
        let Self { config, runners, clients } = self;
        // It spreads moments; nobody who guesses it gains anything.
        let seed = getrandom::u64().unwrap_or_default();
        let bad = |error: &dyn fmt::Display| Error::config(error.to_string());
        let mut health = Health::new(config, seed).map_err(|error| bad(&error))?;
        health.handle_certificate(known.certificate);
        let rate = Quota::new(RATE, Duration::from_secs(1), RATE).map_err(|error| bad(&error))?;
        let config = RateLimiterConfig { bytes: RATE_BYTES };
        let limiter = RateLimiter::new(&config, [(rate, true)]).map_err(|error| bad(&error))?;
        let probes = Arc::new(Probes {
            health: Mutex::new(health),
            limiter: Mutex::new(limiter),
            hasher: KeyHasher::new(numbers::seed()),
            known,
            clients,
        });
        let checker = Checker { probes: Arc::clone(&probes), runners, running: Vec::new() };
        Ok((probes, checker))
    }
}

impl fmt::Debug for HealthChecks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { config, clients, .. } = self;
        f.debug_struct("HealthChecks").field("config", config).field("clients", clients).finish()
    }
}

/// What the server knows of itself.
pub(super) struct Known {
    pub(super) control: Arc<Control>,
    pub(super) gate: Option<Arc<Gate>>,
    /// When the first certificate that the server shows ends.
    pub(super) certificate: Option<Instant>,
}

/// What is known, and answers from it.
pub(super) struct Probes {
    health: Mutex<Health>,
    limiter: Mutex<RateLimiter>,
    hasher: KeyHasher,
    known: Known,
    /// What clients may be told.
    clients: Detail,
}

/// Who asks.
#[derive(Clone, Copy, Debug)]
pub(super) enum Prober<'p> {
    Client(&'p Peer),
    Operator,
}

/// What a request asks about health, if it does.
pub(super) fn asked(head: &RequestHead) -> Option<(Probe, Detail)> {
    if !matches!(*head.method(), Method::GET | Method::HEAD) {
        return None;
    }
    Some((Probe::of_path(head.path_bytes())?, Detail::of_query(head.query())))
}

impl Probes {
    fn health(&self) -> MutexGuard<'_, Health> {
        // Nothing panics under this lock.
        self.health.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The answer to a probe.
    pub(super) fn answer(
        &self,
        now: Instant,
        prober: Prober<'_>,
        (probe, detail): (Probe, Detail),
    ) -> Response {
        let detail = match prober {
            Prober::Operator => detail,
            Prober::Client(peer) => {
                if let Err(wait) = self.limit(now, peer) {
                    let mut problem = Problem::because(Reason::RateLimited);
                    if let Some(wait) = wait {
                        problem = problem.retry_after(wait);
                    }
                    return problem.into_response();
                }
                if self.clients == Detail::Verbose { detail } else { Detail::Brief }
            }
        };
        let (phase, saturation) = (self.known.phase(), self.known.saturation());
        let mut health = self.health();
        health.handle_phase(phase);
        health.handle_saturation(saturation);
        let answer = health.answer(now, probe, detail);
        drop(health);
        Response::new(answer.status)
            .header(CONTENT_TYPE, MEDIA_TYPE)
            .header(CACHE_CONTROL, "no-store")
            .body(answer.body)
    }

    fn limit(&self, now: Instant, peer: &Peer) -> Result<(), Option<Duration>> {
        // Whoever reaches a Unix socket has the same machine.
        let Peer::Tcp(address) = peer else { return Ok(()) };
        let client = SecurityContext {
            client_address: Some(IpAddr::to_canonical(&address.ip())),
            ..SecurityContext::default()
        };
        let (prefix, key) = match client.address_key() {
            ClientKey::Network(network) => self.hasher.hash_within((), network),
            _ => return Ok(()),
        };
        let charge = Charge::Keyed { quota: QuotaId(0), key, prefix };
        let mut limiter = self.limiter.lock().unwrap_or_else(PoisonError::into_inner);
        match limiter.check(now, 1, &[charge]).verdict {
            Verdict::Allowed => Ok(()),
            Verdict::Limited { retry_after } => Err(retry_after),
        }
    }
}

impl Known {
    fn phase(&self) -> Phase {
        self.control.phase()
    }

    fn saturation(&self) -> Saturation {
        if self.control.is_full() {
            return Saturation::Full;
        }
        let memory = match self.control.memory.stage() {
            Stage::Calm | Stage::ShortenIdle => Saturation::Free,
            Stage::NoConnections | Stage::Shed(Priority::Bulk | Priority::Low) => Saturation::Busy,
            Stage::Shed(_) => Saturation::Full,
        };
        let gate = self.gate.as_ref().map(|gate| gate.saturation());
        gate.unwrap_or_default().max(memory)
    }
}

/// Runs the checks when they are due.
pub(super) struct Checker {
    probes: Arc<Probes>,
    runners: Vec<Box<dyn Fn() -> Running + Send>>,
    running: Vec<(Run, Running)>,
}

impl Checker {
    /// Never ready.
    pub(super) async fn run<R: Runtime>(mut self, runtime: R, observer: Option<Observer>) {
        let mut sleep: Option<R::Sleep> = None;
        poll_fn(|cx: &mut Context<'_>| {
            loop {
                let now = runtime.now();
                let deadline = self.step(cx, now, observer.as_ref());
                let Some(at) = deadline else { return Poll::<()>::Pending };
                let sleep = match &mut sleep {
                    Some(sleep) => {
                        runtime.reset(sleep, at);
                        sleep
                    }
                    none => none.insert(runtime.sleep_until(at)),
                };
                if Pin::new(sleep).poll(cx).is_pending() {
                    return Poll::Pending;
                }
            }
        })
        .await;
    }

    /// Starts, drops and polls runs until nothing changes. When something is due next.
    fn step(
        &mut self,
        cx: &mut Context<'_>,
        now: Instant,
        observer: Option<&Observer>,
    ) -> Option<Instant> {
        loop {
            let event = self.probes.health().poll_event(now);
            match event {
                Ok(Some(HealthEvent::Run(run))) => {
                    let start = self.runners.get(run.check().index());
                    let start = AssertUnwindSafe(|| start.map(|start| start()));
                    match catch_unwind(start) {
                        Ok(started) => self.running.extend(started.map(|found| (run, found))),
                        Err(_) => self.panicked(now, run, observer),
                    }
                }
                Ok(Some(HealthEvent::Cancel(run))) => {
                    self.running.retain(|(known, _)| *known != run);
                }
                Ok(Some(HealthEvent::Changed(check, state))) => {
                    if let Some(observer) = observer {
                        observer(None, &Notice::Decided(Event::Health { check, state }));
                    }
                }
                Ok(None) => {
                    let Some((run, finding)) = self.poll_runs(cx) else {
                        return self.probes.health().deadline().map(|deadline| deadline.at);
                    };
                    match finding {
                        Ok(finding) => self.probes.health().handle_finding(now, run, finding),
                        Err(Panicked) => self.panicked(now, run, observer),
                    }
                }
            }
        }
    }

    /// A run that has ended, if there is one.
    fn poll_runs(&mut self, cx: &mut Context<'_>) -> Option<(Run, Result<Finding, Panicked>)> {
        for at in 0..self.running.len() {
            let Some((run, found)) = self.running.get_mut(at) else { break };
            let run = *run;
            let ended = match catch_unwind(AssertUnwindSafe(|| found.as_mut().poll(cx))) {
                Ok(Poll::Pending) => continue,
                Ok(Poll::Ready(finding)) => Ok(finding),
                Err(_) => Err(Panicked),
            };
            drop(self.running.swap_remove(at));
            return Some((run, ended));
        }
        None
    }

    fn panicked(&self, now: Instant, run: Run, observer: Option<&Observer>) {
        self.probes.health().handle_finding(now, run, Finding::Fail);
        if let Some(observer) = observer {
            observer(None, &Notice::Panicked);
        }
    }
}

/// A check did.
struct Panicked;

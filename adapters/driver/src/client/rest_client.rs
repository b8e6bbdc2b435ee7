//! A client of one service.

use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::Duration;

use http::header::AUTHORIZATION;
use http::{HeaderMap, Method, StatusCode};
use sinew_core::client::Dispatcher;
use sinew_core::client::dispatcher::{CallExplanation, Endpoint, Explanation};
use sinew_core::origin::Origin;
use sinew_core::policy::Priority;
use sinew_core::resilience::Forced;
use sinew_tls::ClientTls;

use super::base::{Base, Site, shown};
use super::builder::ClientBuilder;
use super::call::Call;
use super::check::Check;
use super::config::RestClientConfig;
use super::dial::Plan;
use super::hub::{Hub, Observer};
use super::middleware::Layers;
use super::replay::ReplayMemory;
use super::route::RouteName;
use super::service_endpoint::ServiceEndpoint;
use crate::drive::Alarm;
use crate::error::Error;
use crate::runtime::Runtime;

/// A client of one service: `client.get("/path").send().await`.
///
/// Cheap to clone; all clones share their connections, retries, breakers and everything that was
/// learnt of the service. The first call starts a task that looks after them; it ends, and what is
/// kept is closed, with the last clone and the last answer.
pub struct RestClient<R: Runtime> {
    pub(super) shared: Arc<Shared<R>>,
}

pub(super) struct Shared<R: Runtime> {
    pub(super) config: RestClientConfig,
    pub(super) base: Base,
    /// Whom the base URL names.
    pub(super) origin: Origin,
    pub(super) layers: Layers,
    pub(super) hub: Arc<Hub<R>>,
    pub(super) memory: Arc<ReplayMemory>,
    /// Clients of other origins, for calls that were sent there; the last one used comes last.
    elsewhere: Mutex<Vec<RestClient<R>>>,
}

/// Other origins whose connections are kept while no call is on them.
const ELSEWHERE: usize = 8;

/// Why a token is not sent.
pub(super) const NO_TOKENS: &str =
    "a token is sent over TLS alone: give an https URL, or say .allow_plaintext_tokens()";

impl<R: Runtime> Shared<R> {
    /// Checks a configuration, and makes what the calls of a client share.
    pub(super) fn new(
        mut config: RestClientConfig,
        runtime: R,
        observer: Option<Observer>,
    ) -> Result<Self, Error> {
        config.check().map_err(Error::config)?;
        let base = Base::parse(&config.base_url, config.mtls_config.is_some())?;
        let unix = matches!(base.site, Site::Unix(_));
        if base.secure && config.mtls_config.is_none() {
            return Err(Error::config("https needs .tls(…)"));
        }
        if !base.secure && !unix && !config.allow_plaintext {
            return Err(Error::config(match config.mtls_config {
                Some(_) => "the base URL is http, and .tls(…) is given: write https",
                None => "http needs .allow_plaintext()",
            }));
        }
        let origin = base.origin()?;
        if let Some(tokens) = &config.tokens {
            tokens.check(&origin)?;
        }
        let upstreams = if config.endpoints.is_empty() {
            vec![base.upstream()]
        } else {
            base.upstreams(config.endpoints.iter().cloned(), config.is_open())?
        };
        let check = config.health_checks.as_ref().map(|checks| Check::new(&checks.method, &base));
        let seed = getrandom::u64()
            .map_err(|why| Error::config(format!("the system gives no seed: {why}")))?;
        let dispatcher = Dispatcher::new(config.policy(), seed)
            .map_err(|why| Error::config(why.to_string()).with_source(why))?;
        let name = config.server_name.as_ref().unwrap_or(&base.server_name);
        let plan = Plan {
            limit: config.connect_timeout,
            // From here on a reload replaces it.
            tls: config.mtls_config.take(),
            server_name: base.secure.then(|| name.clone()),
            machine: Arc::new(config.machine()),
            proxy: config.proxy.clone(),
            egress: Arc::new(config.security_policy.clone()),
            check: check.transpose()?,
        };
        let hub = Hub::new(runtime, plan, observer, dispatcher, upstreams);
        let memory = ReplayMemory::new(config.replay_limit, config.replay_memory);
        let elsewhere = Mutex::default();
        let layers = config.middleware.as_slice().into();
        let shared = Self { config, base, origin, layers, hub, memory, elsewhere };
        let tokens = shared.config.tokens.is_some()
            || shared.config.default_headers.contains_key(AUTHORIZATION);
        if tokens && !shared.may_carry_tokens() {
            return Err(Error::config(NO_TOKENS));
        }
        Ok(shared)
    }

    /// Whether nobody reads along.
    pub(super) fn may_carry_tokens(&self) -> bool {
        let unix = matches!(self.base.site, Site::Unix(_));
        self.base.secure || unix || self.config.allow_plaintext_tokens
    }

    /// What calls to another origin share: the same configuration, but for what is the base URL's
    /// alone.
    pub(super) fn elsewhere(&self, origin: &Origin) -> Result<Arc<Self>, Error> {
        let mut known = self.lock_elsewhere();
        let at = known.iter().position(|client| client.shared.origin == *origin);
        let client = match at {
            Some(at) => known.remove(at),
            None => {
                let config = RestClientConfig {
                    base_url: origin.to_string(),
                    mtls_config: self.hub.tls(),
                    endpoints: Vec::new(),
                    zone: None,
                    health_checks: None,
                    server_name: None,
                    tokens: None,
                    default_headers: HeaderMap::new(),
                    ..self.config.clone()
                };
                let hub = &self.hub;
                let runtime = hub.runtime.clone();
                let shared = Self::new(config, runtime, hub.observer())?;
                if hub.is_draining() {
                    shared.hub.drain();
                }
                RestClient { shared: Arc::new(shared) }
            }
        };
        let shared = Arc::clone(&client.shared);
        known.push(client);
        let excess = known.len() > ELSEWHERE;
        let unused = known.iter().position(|client| client.shared.hub.is_drained());
        let unused = unused.filter(|_| excess).map(|at| known.remove(at));
        drop(known);
        drop(unused);
        Ok(shared)
    }

    fn lock_elsewhere(&self) -> MutexGuard<'_, Vec<RestClient<R>>> {
        self.elsewhere.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<R: Runtime> Clone for RestClient<R> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

impl<R: Runtime> std::fmt::Debug for RestClient<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RestClient")
            .field("base_url", &shown(&self.shared.config.base_url))
            .field("hub", &self.shared.hub)
            .finish()
    }
}

impl<R: Runtime> RestClient<R> {
    /// Starts building a client for this base URL: `https://host[:port][/prefix]`, `http://…`, or
    /// `unix:/path/of/socket`.
    pub fn builder(base_url: impl Into<String>) -> ClientBuilder<R> {
        ClientBuilder::new(RestClientConfig::new(base_url))
    }

    /// A GET of `path`, which may have a query.
    pub fn get(&self, path: &str) -> Call<R> {
        self.request(Method::GET, path)
    }

    /// A HEAD.
    pub fn head(&self, path: &str) -> Call<R> {
        self.request(Method::HEAD, path)
    }

    /// A POST.
    pub fn post(&self, path: &str) -> Call<R> {
        self.request(Method::POST, path)
    }

    /// A PUT.
    pub fn put(&self, path: &str) -> Call<R> {
        self.request(Method::PUT, path)
    }

    /// A PATCH.
    pub fn patch(&self, path: &str) -> Call<R> {
        self.request(Method::PATCH, path)
    }

    /// A DELETE.
    pub fn delete(&self, path: &str) -> Call<R> {
        self.request(Method::DELETE, path)
    }

    /// Any other method.
    pub fn request(&self, method: Method, path: &str) -> Call<R> {
        Call::new(&self.shared, method, path)
    }

    pub(crate) fn runtime(&self) -> &R {
        &self.shared.hub.runtime
    }

    /// Connections that are open: in use, and kept.
    pub fn connections(&self) -> usize {
        self.shared.hub.counts().0
    }

    /// Connections that are kept for the next call.
    pub fn idle_connections(&self) -> usize {
        self.shared.hub.counts().1
    }

    /// The instances of the service from now on, or their addresses, in place of those before:
    /// `host[:port]` or `unix:/path`. Connections to others finish what they carry; what was learnt of
    /// those that stay is kept. Of an address that is there twice the first counts. One with another
    /// [`identity`](ServiceEndpoint::identity) than before is another endpoint, to which connections are
    /// opened anew.
    ///
    /// # Errors
    ///
    /// No address at all, or one that is none, and an identity that is none; one of TCP, where the base
    /// URL is a socket without TLS, and neither plaintext nor tokens in it are allowed; an identity,
    /// where TLS is not spoken.
    pub fn update_endpoints<E: Into<ServiceEndpoint>>(
        &self,
        endpoints: impl IntoIterator<Item = E>,
    ) -> Result<(), Error> {
        let upstreams = self.shared.base.upstreams(endpoints, self.shared.config.is_open())?;
        self.shared.hub.update(upstreams);
        Ok(())
    }

    /// The instances of the service, each with the number that it has in [`explain`](Self::explain) and
    /// in what is observed.
    pub fn endpoints(&self) -> Vec<(Endpoint, ServiceEndpoint)> {
        self.shared.hub.endpoints()
    }

    /// There are no endpoints until [`update_endpoints`](Self::update_endpoints) names some: what is on
    /// its way goes on, and calls are refused.
    pub fn forget_endpoints(&self) {
        self.shared.hub.update(Vec::new());
    }

    /// Whom to trust and what to show from now on, in place of what was given before. Nothing more is sent
    /// on connections from before, nor on those that are being opened, and their sessions are not
    /// resumed. What is on its way goes on, and so do connections that left HTTP. Of two reloads at once,
    /// one is in force everywhere when both are done.
    pub fn reload_tls(&self, tls: &ClientTls) {
        self.shared.hub.reload_tls(tls);
        loop {
            let plan = self.shared.hub.plan();
            let elsewhere = self.shared.lock_elsewhere().clone();
            for client in elsewhere {
                client.reload_tls(plan.tls.as_ref().unwrap_or(tls));
            }
            // Whoever reloads meanwhile may have been overtaken in what it tells the others.
            if Arc::ptr_eq(&plan, &self.shared.hub.plan()) {
                return;
            }
        }
    }

    /// What there is, and what has been learnt: calls, connections, budget, the breaker of each
    /// endpoint. An endpoint's number is its place in the order in which they came; see
    /// [`endpoints`](Self::endpoints).
    pub fn explain(&self) -> Explanation {
        self.shared.hub.explain()
    }

    /// Each call whose answer is not complete: where it is, what it reached, what is left of its time.
    pub fn explain_calls(&self) -> Vec<CallExplanation> {
        self.shared.hub.explain_calls()
    }

    /// Wants the breaker of a route open or closed, whatever it finds; `None` leaves it to itself again.
    /// A route that no call named yet is known from then on, up to
    /// [`max_routes`](RestClientConfig::max_routes). Calls to other origins are not meant.
    pub fn force_route(&self, route: impl Into<RouteName>, forced: Option<Forced>) {
        if let Some(route) = route.into().name() {
            self.shared.hub.force_route(route, forced);
        }
    }

    /// Wants the breaker of one of the service's addresses open or closed, whatever it finds; `None` leaves
    /// it to itself again. An address that the service does not have changes nothing.
    ///
    /// # Errors
    ///
    /// It is no address: see [`update_endpoints`](Self::update_endpoints).
    pub fn force_endpoint(&self, address: &str, forced: Option<Forced>) -> Result<(), Error> {
        let site = self.shared.base.endpoint(address)?;
        self.shared.hub.force_endpoint(&site, forced);
        Ok(())
    }

    /// Asks the service how it is, by a GET of [`health_path`](RestClientConfig::health_path), once and
    /// for 5 s at most.
    ///
    /// # Errors
    ///
    /// It cannot be asked; among others, as its breaker is open.
    pub async fn health_check(&self) -> Result<Health, Error> {
        let began = self.runtime().now();
        let call = self.get(&self.shared.config.health_path).timeout(HEALTH_TIMEOUT).no_retry();
        let status = call.hedge(false).priority(Priority::Critical).send().await?.status();
        Ok(Health { status, took: self.runtime().now() - began })
    }

    /// Takes no more calls, and waits until those on their way are over, their answers read to the end,
    /// for `patience` at most. Then calls whose answer has not begun fail as
    /// [stopped](crate::ErrorKind::Stopped); an answer is left to whoever reads it.
    pub async fn close(&self, patience: Duration) -> CloseReport {
        let runtime = self.runtime();
        let until = runtime.now() + patience;
        // First its own: what is opened to other origins from then on takes no calls either.
        self.shared.hub.drain();
        let elsewhere = self.shared.lock_elsewhere().clone();
        for client in &elsewhere {
            client.shared.hub.drain();
        }
        let all: Vec<_> = [self].into_iter().chain(&elsewhere).map(|one| &one.shared.hub).collect();
        let mut alarm = Alarm::<R>::new();
        poll_fn(|cx| {
            // Each is asked, so that each wakes.
            if all.iter().filter(|hub| hub.poll_drained(cx).is_pending()).count() == 0 {
                return Poll::Ready(());
            }
            let now = runtime.now();
            let late = until <= now || alarm.arm(cx, runtime, now, Some(until)).is_ready();
            if late { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
        all.iter().map(|hub| hub.stop()).fold(CloseReport::default(), |sum, one| CloseReport {
            stopped: sum.stopped + one.stopped,
            unread: sum.unread + one.unread,
        })
    }
}

/// How long a service has to say how it is.
const HEALTH_TIMEOUT: Duration = Duration::from_secs(5);

/// How a service is, as it says itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Health {
    /// What it answered.
    pub status: StatusCode,
    /// How long that took.
    pub took: Duration,
}

impl Health {
    /// Whether it can be asked for more.
    pub fn is_healthy(&self) -> bool {
        self.status.is_success()
    }
}

/// What was left when a client was closed.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct CloseReport {
    /// Calls that were given up.
    pub stopped: usize,
    /// Answers that somebody still reads.
    pub unread: usize,
}

//! Building a client.

use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, HeaderValue};
use sinew_core::client::Dispatcher;
use sinew_core::limit::ConcurrencyConfig;
use sinew_core::observe::Event;
use sinew_core::resilience::{BreakerConfig, BudgetConfig, HedgeConfig, RetryPolicy};
use sinew_tls::ClientTls;

use super::base::{Base, Site};
use super::config::RestClientConfig;
use super::dial::Plan;
use super::hub::{Hub, Observer};
use super::replay::ReplayMemory;
use super::rest_client::{RestClient, Shared};
use crate::error::Error;
use crate::runtime::{Runtime, Spawn, Task};

/// Builds a [`RestClient`].
pub struct ClientBuilder<R> {
    config: RestClientConfig,
    observer: Option<Observer>,
    refused: Option<Error>,
    runtime: PhantomData<fn() -> R>,
}

impl<R: Runtime> ClientBuilder<R> {
    pub(super) fn new(config: RestClientConfig) -> Self {
        Self { config, observer: None, refused: None, runtime: PhantomData }
    }

    /// Whom to trust and what to show.
    #[must_use]
    pub fn tls(mut self, tls: ClientTls) -> Self {
        self.config.mtls_config = Some(tls);
        self
    }

    /// Allows `http://`: nobody reads along in this network, and nobody pretends to be the server.
    #[must_use]
    pub fn allow_plaintext(mut self) -> Self {
        self.config.allow_plaintext = true;
        self
    }

    /// Whom the server's certificate must name, where that is not the host of the URL.
    #[must_use]
    pub fn server_name(mut self, name: impl Into<String>) -> Self {
        self.config.server_name = Some(name.into());
        self
    }

    /// The time of a call: see [`RestClientConfig::timeout`].
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.config.timeout = timeout;
        self
    }

    /// The time to resolve, and to connect: see [`RestClientConfig::connect_timeout`].
    #[must_use]
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.config.connect_timeout = timeout;
        self
    }

    /// The time of one attempt: see [`RestClientConfig::attempt_timeout`].
    #[must_use]
    pub fn attempt_timeout(mut self, timeout: Duration) -> Self {
        self.config.attempt_timeout = Some(timeout);
        self
    }

    /// The addresses of the service: see [`RestClientConfig::endpoints`].
    #[must_use]
    pub fn endpoints<A: Into<String>>(mut self, addresses: impl IntoIterator<Item = A>) -> Self {
        self.config.endpoints = addresses.into_iter().map(Into::into).collect();
        self
    }

    /// Whether a call is tried again.
    #[must_use]
    pub fn retry(mut self, policy: RetryPolicy) -> Self {
        self.config.retry_policy = policy;
        self
    }

    /// How many calls are tried again in all.
    #[must_use]
    pub fn budget(mut self, budget: BudgetConfig) -> Self {
        self.config.budget = budget;
        self
    }

    /// How many calls are on their way at once.
    #[must_use]
    pub fn admission(mut self, admission: ConcurrencyConfig) -> Self {
        self.config.admission = admission;
        self
    }

    /// Which endpoints are left alone for a while.
    #[must_use]
    pub fn breaker(mut self, breaker: BreakerConfig) -> Self {
        self.config.circuit_breaker = breaker;
        self
    }

    /// Whether a call that waits for its answer is sent a second time.
    #[must_use]
    pub fn hedge(mut self, hedge: HedgeConfig) -> Self {
        self.config.hedge = hedge;
        self
    }

    /// Connections in all.
    #[must_use]
    pub fn max_connections(mut self, connections: usize) -> Self {
        self.config.max_connections = connections;
        self
    }

    /// How long an unused connection is kept.
    #[must_use]
    pub fn idle_timeout(mut self, timeout: Duration) -> Self {
        self.config.idle_timeout = timeout;
        self
    }

    /// Calls that may share a connection: see [`RestClientConfig::pipelining`].
    #[must_use]
    pub fn pipelining(mut self, depth: u32) -> Self {
        self.config.pipelining = depth;
        self
    }

    /// A field of every call.
    #[must_use]
    pub fn default_header<N, V>(mut self, name: N, value: V) -> Self
    where
        N: TryInto<HeaderName, Error: Into<http::Error>>,
        V: TryInto<HeaderValue, Error: Into<http::Error>>,
    {
        match field(name, value) {
            Ok((name, value)) => {
                self.config.default_headers.append(name, value);
            }
            Err(error) => self.refused = Some(error),
        }
        self
    }

    /// The whole configuration, in place of what was said before.
    #[must_use]
    pub fn config(mut self, config: RestClientConfig) -> Self {
        self.config = config;
        self
    }

    /// Tells `observer` what is decided about calls: attempts, retries and why there is none, hedges,
    /// breakers, how calls end. It is called by whoever makes a call, and should be quick.
    #[must_use]
    pub fn observe(mut self, observer: impl Fn(&Event) + Send + Sync + 'static) -> Self {
        self.observer = Some(Box::new(observer));
        self
    }

    /// Checks the configuration. Connects to nobody yet.
    ///
    /// # Errors
    ///
    /// A URL that is none, `https` without TLS, `http` that was not allowed, limits and policies that
    /// make no sense.
    pub fn build(self) -> Result<RestClient<R>, Error>
    where
        R: Default + Spawn<Task>,
    {
        self.build_on(R::default())
    }

    /// Like [`build`](Self::build), on this runtime.
    ///
    /// # Errors
    ///
    /// As with [`build`](Self::build).
    pub fn build_on(self, runtime: R) -> Result<RestClient<R>, Error>
    where
        R: Spawn<Task>,
    {
        if let Some(error) = self.refused {
            return Err(error);
        }
        let config = self.config;
        config.check().map_err(Error::config)?;
        let base = Base::parse(&config.base_url, config.mtls_config.is_some())?;
        let unix = matches!(base.site, Site::Unix(_));
        if base.secure && config.mtls_config.is_none() {
            return Err(Error::config("https needs .tls(…)"));
        }
        if !base.secure && !unix && !config.allow_plaintext {
            return Err(Error::config("http needs .allow_plaintext()"));
        }
        let sites = if config.endpoints.is_empty() {
            vec![base.site.clone()]
        } else {
            base.sites(&config.endpoints)?
        };
        let seed = getrandom::u64()
            .map_err(|why| Error::config(format!("the system gives no seed: {why}")))?;
        let dispatcher = Dispatcher::new(config.policy(), seed)
            .map_err(|why| Error::config(why.to_string()).with_source(why))?;
        let tls = config.mtls_config.clone().filter(|_| base.secure).map(|tls| {
            let name = config.server_name.as_ref().unwrap_or(&base.server_name);
            (tls, name.clone())
        });
        let machine = Arc::new(config.machine());
        let plan = Plan { limit: config.connect_timeout, tls, machine };
        let spawn = |runtime: &R, task| runtime.spawn(task);
        let hub = Hub::new(runtime, spawn, plan, self.observer, dispatcher, &sites);
        let memory = ReplayMemory::new(config.replay_limit, config.replay_memory);
        Ok(RestClient { shared: Arc::new(Shared { config, base, hub, memory }) })
    }
}

impl<R> std::fmt::Debug for ClientBuilder<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ClientBuilder")
            .field("config", &self.config)
            .field("observed", &self.observer.is_some())
            .field("refused", &self.refused)
            .finish()
    }
}

/// A name and a value that can be sent.
pub(super) fn field<N, V>(name: N, value: V) -> Result<(HeaderName, HeaderValue), Error>
where
    N: TryInto<HeaderName, Error: Into<http::Error>>,
    V: TryInto<HeaderValue, Error: Into<http::Error>>,
{
    let refuse = |why: http::Error| Error::config("a field that cannot be sent").with_source(why);
    let name = name.try_into().map_err(|why| refuse(why.into()))?;
    let value = value.try_into().map_err(|why| refuse(why.into()))?;
    Ok((name, value))
}

//! Building a client.

use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use http::header::HOST;
use http::{HeaderMap, HeaderName, HeaderValue};
use sinew_core::client::redirect::RedirectPolicy;
use sinew_core::content_coding::Decompression;
use sinew_core::limit::ConcurrencyConfig;
use sinew_core::mesh::{BalancePolicy, OutlierConfig};
use sinew_core::observe::Event;
use sinew_core::resilience::{
    BreakerConfig, BudgetConfig, DeadlineConfig, HedgeConfig, RetryPolicy,
};
use sinew_core::security::EgressPolicy;
use sinew_tls::ClientTls;

use super::base::NO_ENDPOINT;
use super::check::ActiveChecks;
use super::config::RestClientConfig;
use super::hub::Observer;
use super::middleware::Middleware;
use super::proxy::Proxy;
use super::rest_client::{RestClient, Shared};
use super::service_endpoint::ServiceEndpoint;
use super::tokens::Tokens;
use crate::error::Error;
use crate::runtime::Runtime;

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

    /// The time that a call waits for a connection: see [`RestClientConfig::pool_timeout`].
    #[must_use]
    pub fn pool_timeout(mut self, timeout: Duration) -> Self {
        self.config.pool_timeout = Some(timeout);
        self
    }

    /// The time of the body of an answer: see [`RestClientConfig::body_timeout`].
    #[must_use]
    pub fn body_timeout(mut self, timeout: Duration) -> Self {
        self.config.body_timeout = Some(timeout);
        self
    }

    /// The instances of the service, or their addresses: see [`RestClientConfig::endpoints`]. None are
    /// refused: a service without instances is one of
    /// [`forget_endpoints`](super::RestClient::forget_endpoints).
    #[must_use]
    pub fn endpoints<E: Into<ServiceEndpoint>>(
        mut self,
        endpoints: impl IntoIterator<Item = E>,
    ) -> Self {
        self.config.endpoints = endpoints.into_iter().map(Into::into).collect();
        if self.config.endpoints.is_empty() {
            self.refused = Some(Error::config(NO_ENDPOINT));
        }
        self
    }

    /// How calls are spread over the endpoints: see [`RestClientConfig::balance`].
    #[must_use]
    pub fn balance(mut self, policy: BalancePolicy) -> Self {
        self.config.balance = policy;
        self
    }

    /// Where the client runs: see [`RestClientConfig::zone`].
    #[must_use]
    pub fn zone(mut self, zone: impl Into<String>) -> Self {
        self.config.zone = Some(zone.into());
        self
    }

    /// Which endpoints are left alone for a while, as they are worse than the others.
    #[must_use]
    pub fn outlier_detection(mut self, outliers: OutlierConfig) -> Self {
        self.config.outlier_detection = outliers;
        self
    }

    /// How endpoints are asked whether they are well.
    #[must_use]
    pub fn health_checks(mut self, checks: ActiveChecks) -> Self {
        self.config.health_checks = Some(checks);
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

    /// Which endpoints are left alone for a while, and which [routes](super::Call::route).
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

    /// A field of every call that has none of this name. It may be `host`: see
    /// [`Call::header`](super::Call::header).
    #[must_use]
    pub fn default_header<N, V>(mut self, name: N, value: V) -> Self
    where
        N: TryInto<HeaderName, Error: Into<http::Error>>,
        V: TryInto<HeaderValue, Error: Into<http::Error>>,
    {
        match field(name, value) {
            Ok((name, value)) => {
                let fields = &mut self.config.default_headers;
                if fields.append(name, value) && has_two_hosts(fields) {
                    self.refused = Some(Error::config(TWO_HOSTS));
                }
            }
            Err(error) => self.refused = Some(error),
        }
        self
    }

    /// The tokens that calls carry which bring none of their own.
    #[must_use]
    pub fn tokens(mut self, tokens: Tokens) -> Self {
        self.config.tokens = Some(tokens);
        self
    }

    /// Allows tokens over `http://`: whoever reads along can use them.
    #[must_use]
    pub fn allow_plaintext_tokens(mut self) -> Self {
        self.config.allow_plaintext_tokens = true;
        self
    }

    /// Follows redirects.
    #[must_use]
    pub fn redirects(mut self, policy: RedirectPolicy) -> Self {
        self.config.redirects = Some(policy);
        self
    }

    /// Asks for packed answers, and unpacks them.
    #[must_use]
    pub fn decompress(mut self, policy: Decompression) -> Self {
        self.config.decompression = Some(policy);
        self
    }

    /// How the service learns how long calls wait.
    #[must_use]
    pub fn deadlines(mut self, config: DeadlineConfig) -> Self {
        self.config.deadlines = config;
        self
    }

    /// Puts this around every call, within what was given before.
    #[must_use]
    pub fn middleware(mut self, middleware: impl Middleware) -> Self {
        self.config.middleware.push(Arc::new(middleware));
        self
    }

    /// Connections go through this proxy.
    #[must_use]
    pub fn proxy(mut self, proxy: Proxy) -> Self {
        self.config.proxy = Some(proxy);
        self
    }

    /// Where connections may go, and who may answer.
    #[must_use]
    pub fn security(mut self, policy: EgressPolicy) -> Self {
        self.config.security_policy = policy;
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
        self.observer = Some(Arc::new(observer));
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
        R: Default,
    {
        self.build_on(R::default())
    }

    /// Like [`build`](Self::build), on this runtime.
    ///
    /// # Errors
    ///
    /// As with [`build`](Self::build).
    pub fn build_on(self, runtime: R) -> Result<RestClient<R>, Error> {
        if let Some(error) = self.refused {
            return Err(error);
        }
        let shared = Shared::new(self.config, runtime, self.observer)?;
        Ok(RestClient { shared: Arc::new(shared) })
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

/// Why fields cannot be sent.
pub(super) const TWO_HOSTS: &str = "two host fields: a request has one";

/// <https://www.rfc-editor.org/rfc/rfc9112#section-3.2>
#[cold]
pub(super) fn has_two_hosts(fields: &HeaderMap) -> bool {
    fields.get_all(HOST).iter().nth(1).is_some()
}

/// A name and a value that can be sent.
pub(super) fn field<N, V>(name: N, value: V) -> Result<(HeaderName, HeaderValue), Error>
where
    N: TryInto<HeaderName, Error: Into<http::Error>>,
    V: TryInto<HeaderValue, Error: Into<http::Error>>,
{
    let refuse = |why: http::Error| Error::config("a field that cannot be sent").with_source(why);
    let name: HeaderName = name.try_into().map_err(|why| refuse(why.into()))?;
    let value = value.try_into().map_err(|why| {
        Error::config(format!("the field {name} cannot be sent")).with_source(why.into())
    })?;
    Ok((name, value))
}

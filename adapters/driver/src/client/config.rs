//! What a client can be told.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;
use sinew_core::client::dispatcher::{Policy, PoolPolicy};
use sinew_core::client::redirect::RedirectPolicy;
use sinew_core::content_coding::Decompression;
use sinew_core::http1::ClientConfig;
use sinew_core::limit::ConcurrencyConfig;
use sinew_core::mesh::{BalancePolicy, OutlierConfig, ProbeConfig};
use sinew_core::policy::Mode;
use sinew_core::resilience::{
    BreakerConfig, BudgetConfig, DeadlineConfig, HedgeConfig, RetryPolicy, Timeouts,
};
use sinew_core::security::EgressPolicy;
use sinew_tls::ClientTls;

use super::base::{shown, zone};
use super::check::ActiveChecks;
use super::middleware::Middleware;
use super::proxy::Proxy;
use super::service_endpoint::ServiceEndpoint;
use super::tokens::Tokens;
use crate::coding;

/// The configuration of a [`RestClient`](super::RestClient). The builder writes it.
#[derive(Clone)]
pub struct RestClientConfig {
    /// `https://host[:port][/prefix]`, `http://…` or `unix:/path`. No default.
    pub base_url: String,
    /// A call, to the head of an answer that is streamed, to the last byte of one that is
    /// collected. Default 30 s.
    pub timeout: Duration,
    /// Resolving the name and opening a connection, each. Default 1 s.
    pub connect_timeout: Duration,
    /// Between two pieces of an answer; `None` suits event streams. Default 15 s.
    pub between_bytes: Option<Duration>,
    /// One attempt, to the head of its answer. Default: as long as the call has.
    pub attempt_timeout: Option<Duration>,
    /// Waiting for a connection, one that is being opened included, at a time. Default: as long as the call has.
    pub pool_timeout: Option<Duration>,
    /// The body of an answer, from its head to its last byte, however it is read. Default: any time,
    /// where it is streamed.
    pub body_timeout: Option<Duration>,
    /// The instances of the service, where they are not at the address of the URL. Calls are spread over
    /// them. Where the URL is a socket without TLS, one of TCP needs plaintext and tokens in it to be
    /// allowed. Default: the one of the URL.
    pub endpoints: Vec<ServiceEndpoint>,
    /// How calls are spread over the endpoints. Its zone is that of [`zone`](Self::zone), if that is
    /// given. Default: to the one of two that costs less, by its latency and what is on its way.
    pub balance: BalancePolicy,
    /// Where the client runs: endpoints in the same zone come first, as far as they are well. Default:
    /// nobody knows, zones do not count.
    pub zone: Option<String>,
    /// Which endpoints are left alone for a while, as they are worse than the others. Default: off; what
    /// [`OutlierConfig::default`] says is enforced where it is asked for.
    pub outlier_detection: OutlierConfig,
    /// How endpoints are asked whether they are well. Default: they are not.
    pub health_checks: Option<ActiveChecks>,
    /// Connections in all. Default 100.
    pub max_connections: usize,
    /// Connections to one endpoint. Default 100.
    pub max_connections_per_host: usize,
    /// Calls that may wait for a connection; the next one is refused. Default 1024.
    pub max_pending: usize,
    /// A connection unused for this long is closed. Default 15 s.
    pub idle_timeout: Duration,
    /// A connection opened this long ago, give or take 10 %, is not used again. Default 5 min.
    pub max_age: Duration,
    /// Calls of one connection, after which it is not used again. Default: any number.
    pub max_requests: Option<u32>,
    /// Connections that are kept open, or opened ahead, at each endpoint. Default 0.
    pub warm: usize,
    /// Whether a call is tried again. Default: twice at most, where that does no harm.
    pub retry_policy: RetryPolicy,
    /// Bytes of a request body in pieces that are remembered, so that it can be sent once more; a longer
    /// one cannot. Default 64 KiB.
    pub replay_limit: usize,
    /// The same, of all calls together. Default 16 MiB.
    pub replay_memory: usize,
    /// How many calls are tried again in all.
    pub budget: BudgetConfig,
    /// How many calls are on their way at once: as many as the service proves to bear.
    pub admission: ConcurrencyConfig,
    /// Which endpoints are left alone for a while, and which [routes](super::Call::route).
    pub circuit_breaker: BreakerConfig,
    /// Routes with a breaker of their own; any more have that of the endpoint alone. Default 64.
    pub max_routes: usize,
    /// Whether a call that waits for its answer is sent a second time. Default: off.
    pub hedge: HedgeConfig,
    /// Calls that may share a connection, each sent before the one ahead of it is answered; how many
    /// of them do depends on how fast answers come. Only idempotent ones without a body share; an
    /// answer that is not read holds up those behind it. Default 1: none.
    pub pipelining: u32,
    /// What [`health_check`](super::RestClient::health_check) asks for. Default `/health`.
    pub health_path: String,
    /// Bytes of an answer that is collected. Default 8 MiB.
    pub max_response_size: u64,
    /// Fields of every call; a call's own of the same name take their place.
    pub default_headers: HeaderMap,
    /// The tokens that calls carry which bring none of their own. Default: none.
    pub tokens: Option<Tokens>,
    /// Whether tokens go over `http`, to whoever reads along. Default no.
    pub allow_plaintext_tokens: bool,
    /// Which redirects are followed. Default: none, they are answers.
    pub redirects: Option<RedirectPolicy>,
    /// Packed answers are asked for, where a call does not say what it takes, and unpacked. Default:
    /// answers are as they come.
    pub decompression: Option<Decompression>,
    /// How the service learns how long a call waits. Default: in `sinew-timeout-ms`.
    pub deadlines: DeadlineConfig,
    /// What stands around every call, the outermost first. Default: nothing.
    pub middleware: Vec<Arc<dyn Middleware>>,
    /// A proxy that connections go through. Default: none, whatever the environment says.
    pub proxy: Option<Proxy>,
    /// Where connections may go, and who may answer. Default: wherever the URL leads, and whom the
    /// handshake accepts.
    pub security_policy: EgressPolicy,
    /// Whom to trust and what to show. Needed for `https`.
    pub mtls_config: Option<ClientTls>,
    /// Whom the server's certificate must name, where that is not the host of the URL.
    pub server_name: Option<String>,
    /// Whether `http` may be spoken. Default no.
    pub allow_plaintext: bool,
}

impl RestClientConfig {
    /// The defaults, for this base URL.
    pub fn new(base_url: impl Into<String>) -> Self {
        let policy = Policy::default();
        let Policy { pool, retry, budget, admission, breaker, balance, .. } = policy;
        let Policy { outlier, hedge, attempt_timeout, .. } = policy;
        let Timeouts { call, connect, pool: wait, body, .. } = Timeouts::default();
        Self {
            base_url: base_url.into(),
            timeout: call,
            connect_timeout: connect.unwrap_or(call),
            between_bytes: ClientConfig::default().between_bytes,
            attempt_timeout,
            pool_timeout: wait,
            body_timeout: body,
            endpoints: Vec::new(),
            balance,
            zone: None,
            outlier_detection: outlier,
            health_checks: None,
            max_connections: pool.max_connections as usize,
            max_connections_per_host: pool.max_per_endpoint as usize,
            max_pending: pool.max_pending as usize,
            idle_timeout: pool.idle,
            max_age: pool.max_age,
            max_requests: pool.max_requests,
            warm: pool.warm as usize,
            retry_policy: retry,
            replay_limit: 64 * 1024,
            replay_memory: 16 * 1024 * 1024,
            budget,
            admission,
            circuit_breaker: breaker,
            max_routes: policy.max_routes as usize,
            hedge,
            pipelining: ClientConfig::default().pipelining,
            health_path: "/health".to_owned(),
            max_response_size: 8 * 1024 * 1024,
            default_headers: HeaderMap::new(),
            tokens: None,
            allow_plaintext_tokens: false,
            redirects: None,
            decompression: None,
            deadlines: DeadlineConfig::default(),
            middleware: Vec::new(),
            proxy: None,
            security_policy: EgressPolicy::default(),
            mtls_config: None,
            server_name: None,
            allow_plaintext: false,
        }
    }

    /// Says what makes no sense, but for what the dispatcher [checks](Policy::check).
    pub(super) fn check(&self) -> Result<(), String> {
        for (name, limit) in [
            ("timeout", Some(self.timeout)),
            ("connect_timeout", Some(self.connect_timeout)),
            ("between_bytes", self.between_bytes),
            ("body_timeout", self.body_timeout),
        ] {
            if limit == Some(Duration::ZERO) {
                return Err(format!("{name} is zero: nothing could be in time"));
            }
        }
        self.deadlines.check().map_err(|why| why.to_string())?;
        match coding::check(self.decompression, None) {
            Some((setting, why)) => Err(format!("{setting} {why}")),
            None => Ok(()),
        }
    }

    /// Whether the network may see whatever a call carries.
    pub(super) const fn is_open(&self) -> bool {
        self.allow_plaintext && self.allow_plaintext_tokens
    }

    /// What the dispatcher is told.
    pub(super) fn policy(&self) -> Policy {
        let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        let max_connections = count(self.max_connections);
        let max_per_endpoint = count(self.max_connections_per_host).min(max_connections);
        let max_pending = count(self.max_pending);
        let pool = PoolPolicy {
            max_connections,
            max_per_endpoint,
            max_pending,
            wait: self.pool_timeout,
            idle: self.idle_timeout,
            max_age: self.max_age,
            max_requests: self.max_requests,
            warm: count(self.warm).min(max_per_endpoint),
            ..PoolPolicy::default()
        };
        Policy {
            pool: PoolPolicy {
                max_calls: pool.max_calls.max(max_pending),
                // Each phase has its own time, and says that it is over; none is longer than a call.
                connect: self.timeout,
                ..pool
            },
            retry: self.retry_policy,
            budget: self.budget,
            admission: self.admission,
            breaker: self.circuit_breaker,
            max_routes: count(self.max_routes),
            hedge: self.hedge,
            attempt_timeout: self.attempt_timeout,
            balance: BalancePolicy {
                zone: self.zone.as_deref().map_or(self.balance.zone, |name| Some(zone(name))),
                ..self.balance
            },
            outlier: self.outlier_detection,
            health: self.health_checks.as_ref().map_or_else(
                || ProbeConfig { mode: Mode::Off, ..ProbeConfig::default() },
                |checks| checks.timing,
            ),
        }
    }

    pub(super) fn machine(&self) -> ClientConfig {
        ClientConfig {
            between_bytes: self.between_bytes,
            pipelining: self.pipelining,
            ..ClientConfig::default()
        }
    }
}

impl fmt::Debug for RestClientConfig {
    /// Names of fields without values: they may be secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RestClientConfig")
            .field("base_url", &shown(&self.base_url))
            .field("timeout", &self.timeout)
            .field("connect_timeout", &self.connect_timeout)
            .field("between_bytes", &self.between_bytes)
            .field("attempt_timeout", &self.attempt_timeout)
            .field("pool_timeout", &self.pool_timeout)
            .field("body_timeout", &self.body_timeout)
            .field(
                "endpoints",
                &self.endpoints.iter().map(|one| shown(&one.address)).collect::<Vec<_>>(),
            )
            .field("balance", &self.balance)
            .field("zone", &self.zone)
            .field("outlier_detection", &self.outlier_detection)
            .field("health_checks", &self.health_checks)
            .field("max_connections", &self.max_connections)
            .field("max_connections_per_host", &self.max_connections_per_host)
            .field("max_pending", &self.max_pending)
            .field("idle_timeout", &self.idle_timeout)
            .field("max_age", &self.max_age)
            .field("max_requests", &self.max_requests)
            .field("warm", &self.warm)
            .field("retry_policy", &self.retry_policy)
            .field("replay_limit", &self.replay_limit)
            .field("replay_memory", &self.replay_memory)
            .field("budget", &self.budget)
            .field("admission", &self.admission)
            .field("circuit_breaker", &self.circuit_breaker)
            .field("max_routes", &self.max_routes)
            .field("hedge", &self.hedge)
            .field("pipelining", &self.pipelining)
            .field("health_path", &shown(&self.health_path))
            .field("max_response_size", &self.max_response_size)
            .field("default_headers", &self.default_headers.keys().collect::<Vec<_>>())
            .field("tokens", &self.tokens)
            .field("allow_plaintext_tokens", &self.allow_plaintext_tokens)
            .field("redirects", &self.redirects)
            .field("decompression", &self.decompression)
            .field("deadlines", &self.deadlines)
            .field("middleware", &self.middleware.len())
            .field("proxy", &self.proxy)
            .field("security_policy", &self.security_policy)
            .field("mtls_config", &self.mtls_config)
            .field("server_name", &self.server_name)
            .field("allow_plaintext", &self.allow_plaintext)
            .finish()
    }
}

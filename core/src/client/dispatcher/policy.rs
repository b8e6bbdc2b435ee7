//! How a client treats one destination.

use core::fmt;
use core::time::Duration;

use crate::limit::{BadConcurrency, ConcurrencyConfig};
use crate::mesh::{
    BadBalancePolicy, BadOutlier, BadProbe, BalancePolicy, OutlierConfig, ProbeConfig,
};
use crate::policy::Mode;
use crate::resilience::{
    BadBreaker, BadBudget, BadHedge, BadRetry, BreakerConfig, BudgetConfig, HedgeConfig,
    RetryPolicy,
};

/// How a client treats one destination. Plain values; [`check`](Self::check) says whether they make
/// sense together.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Policy {
    /// Connections, and who waits for them.
    pub pool: PoolPolicy,
    /// Whether a call is tried again.
    pub retry: RetryPolicy,
    /// How many are tried again in all.
    pub budget: BudgetConfig,
    /// How many attempts may be on their way at once.
    pub admission: ConcurrencyConfig,
    /// Which endpoints are left alone, and which routes.
    pub breaker: BreakerConfig,
    /// Routes with a breaker of their own; any more have that of the endpoint alone. Default 64.
    pub max_routes: u32,
    /// How calls are spread over the endpoints.
    pub balance: BalancePolicy,
    /// Which endpoints are left alone as they are worse than the others. Default: off.
    pub outlier: OutlierConfig,
    /// How endpoints are asked whether they are well. Default: off.
    pub health: ProbeConfig,
    /// Whether a call that waits for its head is sent a second time. Default: off.
    pub hedge: HedgeConfig,
    /// How long one attempt has for its head. Default: as long as the call has.
    pub attempt_timeout: Option<Duration>,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            pool: PoolPolicy::default(),
            retry: RetryPolicy::default(),
            budget: BudgetConfig::default(),
            admission: ConcurrencyConfig::default(),
            breaker: BreakerConfig::default(),
            max_routes: 64,
            balance: BalancePolicy::default(),
            outlier: OutlierConfig { mode: Mode::Off, ..OutlierConfig::default() },
            health: ProbeConfig { mode: Mode::Off, ..ProbeConfig::default() },
            hedge: HedgeConfig::default(),
            attempt_timeout: None,
        }
    }
}

/// The caps and times of the connections to one destination.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PoolPolicy {
    /// Connections in all, those being dialled included. Default 100.
    pub max_connections: u32,
    /// Connections to one endpoint. Default 100.
    pub max_per_endpoint: u32,
    /// Calls that may wait for a connection; the next one is refused. Default 1024.
    pub max_pending: u32,
    /// Calls in all, those that wait to be tried again included. Default 16,384.
    pub max_calls: u32,
    /// A connection unused for this long is closed. Default 15 s.
    pub idle: Duration,
    /// A connection dialled this long ago, give or take 10 %, is not used again. Default 5 min.
    pub max_age: Duration,
    /// Exchanges of one connection, after which it is not used again. Default: any number.
    pub max_requests: Option<u32>,
    /// A connection that is not open after this long, TLS included, is given up. Default 3 s.
    pub connect: Duration,
    /// A call that has waited this long at a time for a connection is given up; each attempt may wait as long.
    /// What was being opened for it is opened all the same, for whoever is there then. Until it is open nobody
    /// else counts on it, and its endpoint gets another one only where no other endpoint has a connection, or
    /// opens one; never while two are given up. Default: as long as the call has.
    pub wait: Option<Duration>,
    /// Connections that are kept open, or opened ahead, at each endpoint. Default 0.
    pub warm: u32,
}

impl Default for PoolPolicy {
    fn default() -> Self {
        Self {
            max_connections: 100,
            max_per_endpoint: 100,
            max_pending: 1024,
            max_calls: 16_384,
            idle: Duration::from_secs(15),
            max_age: Duration::from_secs(300),
            max_requests: None,
            connect: Duration::from_secs(3),
            wait: None,
            warm: 0,
        }
    }
}

/// Why a [`Policy`] makes no sense.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum BadPolicy {
    /// A cap of no connections, or one for an endpoint above the one for all.
    Connections,
    /// Fewer calls in all than may wait.
    Calls,
    /// A time of nothing: idle, age, connect, wait, or that of an attempt.
    ZeroTime,
    /// A connection for no request.
    ZeroRequests,
    /// More connections ahead than an endpoint may have.
    Warm,
    /// The rules for retries.
    Retry(BadRetry),
    /// The budget for retries.
    Budget(BadBudget),
    /// The limit of attempts at once.
    Admission(BadConcurrency),
    /// The breaker.
    Breaker(BadBreaker),
    /// The hedges.
    Hedge(BadHedge),
    /// How calls are spread.
    Balance(BadBalancePolicy),
    /// The ejections.
    Outlier(BadOutlier),
    /// The probes of endpoints.
    Health(BadProbe),
}

impl Policy {
    /// Refuses what makes no sense.
    pub fn check(&self) -> Result<(), BadPolicy> {
        let pool = &self.pool;
        if pool.max_per_endpoint == 0 || pool.max_per_endpoint > pool.max_connections {
            return Err(BadPolicy::Connections);
        }
        if pool.max_calls == 0 || pool.max_calls < pool.max_pending {
            return Err(BadPolicy::Calls);
        }
        let times = [pool.idle, pool.max_age, pool.connect];
        let some = [self.attempt_timeout, pool.wait].into_iter().flatten();
        if times.into_iter().chain(some).any(|time| time.is_zero()) {
            return Err(BadPolicy::ZeroTime);
        }
        if pool.max_requests == Some(0) {
            return Err(BadPolicy::ZeroRequests);
        }
        if pool.warm > pool.max_per_endpoint {
            return Err(BadPolicy::Warm);
        }
        self.retry.check().map_err(BadPolicy::Retry)?;
        self.budget.check().map_err(BadPolicy::Budget)?;
        self.admission.check().map_err(BadPolicy::Admission)?;
        self.breaker.check().map_err(BadPolicy::Breaker)?;
        self.hedge.check().map_err(BadPolicy::Hedge)?;
        self.balance.check().map_err(BadPolicy::Balance)?;
        self.outlier.check().map_err(BadPolicy::Outlier)?;
        self.health.check().map_err(BadPolicy::Health)
    }
}

impl fmt::Display for BadPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Connections => {
                "at least one connection to an endpoint, and not more than to all of them"
            }
            Self::Calls => "at least one call, and not fewer than may wait",
            Self::ZeroTime => "a time of nothing",
            Self::ZeroRequests => "a connection for no request",
            Self::Warm => "more connections ahead than an endpoint may have",
            Self::Retry(why) => return why.fmt(f),
            Self::Budget(why) => return why.fmt(f),
            Self::Admission(why) => return why.fmt(f),
            Self::Breaker(why) => return why.fmt(f),
            Self::Hedge(why) => return why.fmt(f),
            Self::Balance(why) => return why.fmt(f),
            Self::Outlier(why) => return why.fmt(f),
            Self::Health(why) => return why.fmt(f),
        })
    }
}

impl core::error::Error for BadPolicy {}

//! When a breaker opens, and for how long.

use core::fmt;
use core::time::Duration;

use super::MAX_PROBES;
use crate::policy::Mode;

/// When a breaker opens, and for how long.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct BreakerConfig {
    /// What becomes of a refusal. Default: it is enforced. In shadow, a call goes on without a permit
    /// and settles nothing.
    pub mode: Mode,
    /// Failures in a row that open it; at least 1. Default 5.
    pub consecutive: u32,
    /// How far back the rates look: 1 s to 10 min. Default 10 s.
    pub window: Duration,
    /// Calls of the window below which the rates say nothing; at least 1. Default 20.
    pub minimum_calls: u32,
    /// Failures, and 429s, in a hundred calls that open it; 1 to 100. Default 50.
    pub failure_percent: u32,
    /// A call whose head takes this long is slow. Default 20 s.
    pub slow: Duration,
    /// Slow calls in a hundred that open it; 1 to 100. Default 80.
    pub slow_percent: u32,
    /// It stays open for this long to twice as long, and for twice as long after each probe that fails.
    /// Default 1 s.
    pub open_min: Duration,
    /// It stays open for at most this long, unless the endpoint asks for more. Once it has grown so far, it
    /// stays open for half of that to all of it. Default 10 s.
    pub open_max: Duration,
    /// What the endpoint asks for with `Retry-After` counts up to here. Default 60 s.
    pub retry_after_max: Duration,
    /// Probes at once, and successes of them that close it; 1 to 8. Default 3.
    pub probes: u8,
    /// A probe that is not settled by then gives its place back. Not below the time that a call may
    /// take, or slow endpoints are never found well again. Default 30 s.
    pub lease: Duration,
}

impl Default for BreakerConfig {
    fn default() -> Self {
        Self {
            mode: Mode::Enforce,
            consecutive: 5,
            window: Duration::from_secs(10),
            minimum_calls: 20,
            failure_percent: 50,
            slow: Duration::from_secs(20),
            slow_percent: 80,
            open_min: Duration::from_secs(1),
            open_max: Duration::from_secs(10),
            retry_after_max: Duration::from_secs(60),
            probes: 3,
            lease: Duration::from_secs(30),
        }
    }
}

/// Why a [`BreakerConfig`] makes no sense.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum BadBreaker {
    /// No failure at all would open it.
    ZeroConsecutive,
    /// A window below a second or above ten minutes.
    Window,
    /// The rate of no calls.
    ZeroMinimum,
    /// A share that is not one.
    Percent,
    /// Every call would be slow.
    ZeroSlow,
    /// Never open, or a minimum above its maximum.
    OpenTime,
    /// No probes, or more than eight.
    Probes,
    /// A probe that is over before it begins.
    ZeroLease,
}

impl BreakerConfig {
    /// Refuses what makes no sense.
    pub fn check(&self) -> Result<(), BadBreaker> {
        let percent = 1..=100;
        if self.consecutive == 0 {
            return Err(BadBreaker::ZeroConsecutive);
        }
        if !(Duration::from_secs(1)..=Duration::from_secs(600)).contains(&self.window) {
            return Err(BadBreaker::Window);
        }
        if self.minimum_calls == 0 {
            return Err(BadBreaker::ZeroMinimum);
        }
        if !percent.contains(&self.failure_percent) || !percent.contains(&self.slow_percent) {
            return Err(BadBreaker::Percent);
        }
        if self.slow.is_zero() {
            return Err(BadBreaker::ZeroSlow);
        }
        if self.open_min.is_zero() || self.open_max < self.open_min {
            return Err(BadBreaker::OpenTime);
        }
        if !(1..=MAX_PROBES).contains(&usize::from(self.probes)) {
            return Err(BadBreaker::Probes);
        }
        if self.lease.is_zero() {
            return Err(BadBreaker::ZeroLease);
        }
        Ok(())
    }
}

impl fmt::Display for BadBreaker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ZeroConsecutive => "a breaker opens after at least one failure",
            Self::Window => "the window of a breaker is 1 s to 10 min",
            Self::ZeroMinimum => "the rates of a breaker need at least one call",
            Self::Percent => "the shares that open a breaker are 1 to 100 in 100 calls",
            Self::ZeroSlow => "a breaker whose every call is slow is always open",
            Self::OpenTime => {
                "an open breaker stays so for some time; the minimum is not above the maximum"
            }
            Self::Probes => "a half-open breaker has 1 to 8 probes",
            Self::ZeroLease => "the lease of a probe lasts some time",
        })
    }
}

impl core::error::Error for BadBreaker {}

//! How fast, and in which bursts.

use core::fmt;
use core::time::Duration;

use crate::time::Instant;

/// Time is counted in ticks of so many nanoseconds.
const TICK: u64 = 1_000;

/// The most units that a tick may have: with it 64 bits last for more than five years.
const MAX_PER_TICK: u64 = 100_000;

/// So many requests in so much time on the average, and so many at once.
///
/// Counted in units: each tick of a microsecond brings `per_tick` of them, and a token is `token` of
/// them, both integers, so that nothing is ever rounded.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Quota {
    count: u32,
    period: Duration,
    burst: u32,
    per_tick: u64,
    token: u64,
    /// A burst of tokens.
    full: u64,
}

/// Why a quota makes no sense.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum BadQuota {
    /// Nothing would ever be let through.
    ZeroCount,
    /// No time at all, or no whole number of microseconds.
    Period,
    /// Not even one at once.
    ZeroBurst,
    /// More than can be counted: an odd number of requests in a very short time, or a burst that
    /// takes thousands of years to fill up.
    Range,
}

impl Quota {
    /// `count` requests in each `period` on the average, `burst` of them at once.
    ///
    /// # Errors
    ///
    /// See [`BadQuota`].
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use sinew_core::limit::Quota;
    ///
    /// let quota = Quota::new(100, Duration::from_secs(60), 20)?;
    /// # assert_eq!(quota.burst(), 20);
    /// # Ok::<(), sinew_core::limit::BadQuota>(())
    /// ```
    pub fn new(count: u32, period: Duration, burst: u32) -> Result<Self, BadQuota> {
        if count == 0 {
            return Err(BadQuota::ZeroCount);
        }
        if burst == 0 {
            return Err(BadQuota::ZeroBurst);
        }
        let nanos = u64::try_from(period.as_nanos()).map_err(|_| BadQuota::Range)?;
        if nanos == 0 || nanos % TICK != 0 {
            return Err(BadQuota::Period);
        }
        let ticks = nanos / TICK;
        let common = gcd(u64::from(count), ticks);
        let (per_tick, token) = (u64::from(count) / common, ticks / common);
        let full = token.checked_mul(u64::from(burst)).ok_or(BadQuota::Range)?;
        if per_tick > MAX_PER_TICK || full > u64::MAX / 4 {
            return Err(BadQuota::Range);
        }
        Ok(Self { count, period, burst, per_tick, token, full })
    }

    /// Requests in each [`period`](Self::period).
    pub const fn count(&self) -> u32 {
        self.count
    }

    /// The time in which they may come.
    pub const fn period(&self) -> Duration {
        self.period
    }

    /// Requests at once.
    pub const fn burst(&self) -> u32 {
        self.burst
    }

    /// A moment in units.
    pub(super) const fn units_at(&self, now: Instant) -> u64 {
        (now.as_nanos() / TICK).saturating_mul(self.per_tick)
    }

    /// So many tokens in units; `None` for more than fit.
    pub(super) fn units(&self, tokens: u32) -> Option<u64> {
        (tokens <= self.burst).then(|| self.token * u64::from(tokens))
    }

    /// Whole tokens in so many units.
    pub(super) fn tokens(&self, units: u64) -> u32 {
        u32::try_from(units / self.token).unwrap_or(u32::MAX)
    }

    /// What fits.
    pub(super) const fn full(&self) -> u64 {
        self.full
    }

    /// How long so many units take to come; never less.
    pub(super) const fn time(&self, units: u64) -> Duration {
        Duration::from_nanos(units.div_ceil(self.per_tick).saturating_mul(TICK))
    }
}

const fn gcd(mut a: u64, mut b: u64) -> u64 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

impl fmt::Display for Quota {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} in {:?}, {} at once", self.count, self.period, self.burst)
    }
}

impl fmt::Display for BadQuota {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ZeroCount => "a quota of no requests lets nothing through",
            Self::Period => "the period of a quota is a whole number of microseconds, at least one",
            Self::ZeroBurst => "a quota without a burst lets nothing through",
            Self::Range => "the quota is more than can be counted: take rounder numbers",
        })
    }
}

impl core::error::Error for BadQuota {}

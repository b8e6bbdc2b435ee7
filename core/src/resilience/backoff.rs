//! How long to wait before the next attempt.

use core::fmt;
use core::time::Duration;

use crate::jitter::Jitter;

/// Full jitter: before retry `n`, counted from 0, any time from nothing to `min(cap, base * 2^n)`.
///
/// <https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/>
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Backoff {
    /// The longest wait before the first retry. Default 25 ms.
    pub base: Duration,
    /// The longest wait at all, at least `base`. Default 250 ms.
    pub cap: Duration,
}

/// Why a [`Backoff`] makes no sense.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum BadBackoff {
    /// Without a base there is never a wait.
    ZeroBase,
    /// The cap lies below the base.
    CapBelowBase,
}

impl Backoff {
    /// Between services that are near each other: 25 ms, 250 ms.
    pub const MESH: Self =
        Self { base: Duration::from_millis(25), cap: Duration::from_millis(250) };

    /// Across the internet: 50 ms, 20 s.
    pub const WAN: Self = Self { base: Duration::from_millis(50), cap: Duration::from_secs(20) };

    /// Refuses what makes no sense.
    pub fn check(&self) -> Result<(), BadBackoff> {
        if self.base.is_zero() {
            return Err(BadBackoff::ZeroBase);
        }
        if self.cap < self.base {
            return Err(BadBackoff::CapBelowBase);
        }
        Ok(())
    }

    /// The longest wait before this retry, counted from 0.
    pub fn longest(&self, retry: u32) -> Duration {
        let factor = 1_u32.checked_shl(retry).unwrap_or(u32::MAX);
        self.base.saturating_mul(factor).min(self.cap)
    }

    /// The wait before this retry, counted from 0.
    pub fn delay(&self, retry: u32, jitter: &mut Jitter) -> Duration {
        jitter.between(Duration::ZERO, self.longest(retry))
    }
}

impl Default for Backoff {
    /// [`Backoff::MESH`]
    fn default() -> Self {
        Self::MESH
    }
}

impl fmt::Display for BadBackoff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ZeroBase => "a backoff without a base never waits",
            Self::CapBelowBase => "the cap of a backoff lies below its base",
        })
    }
}

impl core::error::Error for BadBackoff {}

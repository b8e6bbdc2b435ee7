//! Whether, and when, a second attempt joins one that takes long.

use core::fmt;
use core::time::Duration;

use super::window::Window;
use super::{Latencies, Safety};
use crate::policy::Mode;
use crate::time::Instant;

/// Samples after which the delay is found anew.
const REFRESH: u32 = 32;

/// The counters of the window.
const CALLS: usize = 0;
const HEDGES: usize = 1;

/// Whether, and when, a call that waits for its head is sent a second time.
/// <https://doi.org/10.1145/2408776.2408794>
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct HedgeConfig {
    /// Default: off.
    pub mode: Mode,
    /// The share of heads, in thousandths, that come before a hedge is sent: 500 to 999. Default 950.
    pub permille: u32,
    /// Hedges in a hundred calls of the window; 1 to 50. Default 5.
    pub percent: u32,
    /// How far back calls and hedges count: 1 s to 10 min. Default 10 s.
    pub window: Duration,
    /// Heads without which nobody knows what takes long; 1 to 1,000. Default 50.
    pub minimum_samples: u32,
    /// A hedge is never sent sooner. Default 1 ms.
    pub delay_min: Duration,
}

impl Default for HedgeConfig {
    fn default() -> Self {
        Self {
            mode: Mode::Off,
            permille: 950,
            percent: 5,
            window: Duration::from_secs(10),
            minimum_samples: 50,
            delay_min: Duration::from_millis(1),
        }
    }
}

/// Why a [`HedgeConfig`] makes no sense.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum BadHedge {
    /// More than half of the calls, or none, would be late.
    Permille,
    /// No share, or more than half.
    Percent,
    /// A window below a second or above ten minutes.
    Window,
    /// None, or more than are remembered.
    Samples,
    /// Every call would be sent twice at once.
    ZeroDelay,
}

impl HedgeConfig {
    /// Refuses what makes no sense.
    pub fn check(&self) -> Result<(), BadHedge> {
        if !(500..=999).contains(&self.permille) {
            return Err(BadHedge::Permille);
        }
        if !(1..=50).contains(&self.percent) {
            return Err(BadHedge::Percent);
        }
        if !(Duration::from_secs(1)..=Duration::from_secs(600)).contains(&self.window) {
            return Err(BadHedge::Window);
        }
        if !(1..=1_000).contains(&self.minimum_samples) {
            return Err(BadHedge::Samples);
        }
        if self.delay_min.is_zero() {
            return Err(BadHedge::ZeroDelay);
        }
        Ok(())
    }
}

/// Why a call is not sent twice.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[non_exhaustive]
pub enum NoHedge {
    /// The method is not safe.
    NotSafe,
    /// Too little is known about what takes long.
    Samples,
    /// The calls of the last while have had their share.
    Share,
}

impl NoHedge {
    /// A fixed, lower-case name, fit for logs and metric labels.
    pub const fn name(self) -> &'static str {
        match self {
            Self::NotSafe => "hedge_not_safe",
            Self::Samples => "hedge_samples",
            Self::Share => "hedge_share",
        }
    }
}

/// When calls to one destination are hedged. It has no timers.
///
/// A call that starts asks for its [`delay`](Self::delay); if no head came by then, for a
/// [`withdraw`](Self::withdraw)al. While the retry budget [is throttled](super::Budget::is_throttled)
/// there should be no hedge either.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Hedge {
    config: HedgeConfig,
    latencies: Latencies,
    /// Samples since the delay was found.
    since: u32,
    delay: Option<Duration>,
    /// Calls and hedges.
    window: Window<2>,
}

impl Hedge {
    /// One that knows nothing yet.
    ///
    /// # Errors
    ///
    /// See [`BadHedge`].
    pub fn new(config: HedgeConfig) -> Result<Self, BadHedge> {
        config.check()?;
        Ok(Self {
            config,
            latencies: Latencies::new(),
            since: 0,
            delay: None,
            window: Window::new(config.window),
        })
    }

    /// A call starts; not an attempt.
    pub fn call(&mut self, now: Instant) {
        self.window.add(now, CALLS);
    }

    /// A head came after this time. An attempt that lost against its hedge is told with the time that
    /// it had: what takes long would be forgotten otherwise, and the delay shrink.
    pub fn record(&mut self, now: Instant, latency: Duration) {
        self.latencies.record(now, latency);
        self.since += 1;
        if self.latencies.samples() < self.config.minimum_samples {
            self.delay = None;
        } else if self.delay.is_none() || self.since >= REFRESH {
            self.since = 0;
            let quantile = self.latencies.quantile(self.config.permille);
            self.delay = quantile.map(|found| found.max(self.config.delay_min));
        }
    }

    /// How long a call waits for its head before it is sent once more.
    ///
    /// # Errors
    ///
    /// Why it is not.
    pub const fn delay(&self, safety: Safety) -> Result<Duration, NoHedge> {
        match (safety, self.delay) {
            (Safety::Safe, Some(delay)) => Ok(delay),
            (Safety::Safe, None) => Err(NoHedge::Samples),
            (Safety::Idempotent | Safety::Keyed | Safety::Unsafe, _) => Err(NoHedge::NotSafe),
        }
    }

    /// Takes a hedge, if there is one left of the share.
    ///
    /// # Errors
    ///
    /// [`NoHedge::Share`], and nothing is taken.
    pub fn withdraw(&mut self, now: Instant) -> Result<(), NoHedge> {
        let [calls, hedges] = self.window.sums(now).map(u64::from);
        if hedges >= calls * u64::from(self.config.percent) / 100 {
            return Err(NoHedge::Share);
        }
        self.window.add(now, HEDGES);
        Ok(())
    }

    /// What it was built from.
    pub const fn config(&self) -> &HedgeConfig {
        &self.config
    }
}

impl fmt::Display for BadHedge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Permille => "hedges wait for 500 to 999 of 1,000 heads",
            Self::Percent => "the share of hedges is 1 to 50 in 100 calls",
            Self::Window => "the window of hedges is 1 s to 10 min",
            Self::Samples => "hedges need 1 to 1,000 samples",
            Self::ZeroDelay => "a hedge is sent some time after the call",
        })
    }
}

impl core::error::Error for BadHedge {}

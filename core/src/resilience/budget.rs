//! How many retries a destination gets, whatever the calls would like.

use core::fmt;
use core::time::Duration;

use super::Outcome;
use super::window::Window;
use crate::policy::Mode;
use crate::time::Instant;

/// Thousandths of a token.
const TOKEN: u32 = 1_000;

/// What a successful attempt gives back to the throttle: a tenth of a token.
const REFILL: u32 = TOKEN / 10;

/// The most tokens of a throttle.
const MAX_TOKENS: u32 = 1_000;

/// The counters of the window.
const CALLS: usize = 0;
const RETRIES: usize = 1;

/// How many retries one destination gets. Two limits, and both must agree: a share of the calls, for
/// when most go well, and a throttle, for when nothing does. The share alone leaves room for its
/// reserve, which in a mesh of a thousand small clients is most of the traffic.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct BudgetConfig {
    /// What becomes of a refusal. Default: it is enforced.
    pub mode: Mode,
    /// Retries in a hundred calls of the window; 1 to 100. Default 20.
    pub percent: u32,
    /// Retries a second beside them; at most 1,000. Default 1.
    pub per_second: u32,
    /// How far back calls and retries count: 1 s to 10 min. Default 10 s.
    pub window: Duration,
    /// Tokens of the throttle when all is well: 2 to 1,000. A failed attempt takes one, a successful
    /// one gives back a tenth; there are retries while more than half are left. Default 10.
    pub tokens: u32,
}

impl Default for BudgetConfig {
    fn default() -> Self {
        Self {
            mode: Mode::Enforce,
            percent: 20,
            per_second: 1,
            window: Duration::from_secs(10),
            tokens: 10,
        }
    }
}

/// Why a [`BudgetConfig`] makes no sense.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum BadBudget {
    /// No share, or more than one retry a call.
    Percent,
    /// A reserve that is no reserve any more.
    PerSecond,
    /// A window below a second or above ten minutes.
    Window,
    /// A throttle that cannot be half empty, or never is.
    Tokens,
}

impl BudgetConfig {
    /// Refuses what makes no sense.
    pub fn check(&self) -> Result<(), BadBudget> {
        if !(1..=100).contains(&self.percent) {
            return Err(BadBudget::Percent);
        }
        if self.per_second > 1_000 {
            return Err(BadBudget::PerSecond);
        }
        if !(Duration::from_secs(1)..=Duration::from_secs(600)).contains(&self.window) {
            return Err(BadBudget::Window);
        }
        if !(2..=MAX_TOKENS).contains(&self.tokens) {
            return Err(BadBudget::Tokens);
        }
        Ok(())
    }
}

/// Why there is no retry.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[non_exhaustive]
pub enum BudgetReason {
    /// The calls of the last while have had their share.
    Share,
    /// Too many attempts fail.
    Throttle,
}

impl BudgetReason {
    /// A fixed, lower-case name, fit for logs and metric labels.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Share => "budget_share",
            Self::Throttle => "budget_throttle",
        }
    }
}

/// What is left for retries to one destination. It has no timers.
///
/// Tell it of every [call](Self::call) and of every [attempt](Self::settle), then ask.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Budget {
    config: BudgetConfig,
    /// Calls and retries.
    window: Window<2>,
    /// Thousandths of a token.
    tokens: u32,
}

impl Budget {
    /// A full budget.
    ///
    /// # Errors
    ///
    /// See [`BadBudget`].
    pub fn new(config: BudgetConfig) -> Result<Self, BadBudget> {
        config.check()?;
        Ok(Self { config, window: Window::new(config.window), tokens: config.tokens * TOKEN })
    }

    /// A call starts; not an attempt.
    pub fn call(&mut self, now: Instant) {
        self.window.add(now, CALLS);
    }

    /// An attempt ended, the first ones of calls included. Those that were given up by their caller
    /// are not told.
    pub fn settle(&mut self, outcome: Outcome) {
        // https://github.com/grpc/proposal/blob/master/A6-client-retries.md#throttling-retry-attempts-and-hedged-rpcs
        self.tokens = match outcome {
            Outcome::Success => (self.tokens + REFILL).min(self.config.tokens * TOKEN),
            Outcome::Failure | Outcome::Limited => self.tokens.saturating_sub(TOKEN),
        };
    }

    /// Takes a retry, if both limits agree; else nothing is taken.
    ///
    /// # Errors
    ///
    /// Which of the two refuses; the throttle, if both do.
    pub fn withdraw(&mut self, now: Instant) -> Result<(), BudgetReason> {
        self.check(now)?;
        self.window.add(now, RETRIES);
        Ok(())
    }

    /// Whether there is a retry to [withdraw](Self::withdraw).
    ///
    /// # Errors
    ///
    /// As with [`withdraw`](Self::withdraw).
    pub fn check(&mut self, now: Instant) -> Result<(), BudgetReason> {
        if self.is_throttled() {
            return Err(BudgetReason::Throttle);
        }
        if self.remaining(now) == 0 {
            return Err(BudgetReason::Share);
        }
        Ok(())
    }

    /// Whether so many attempts failed that nothing is to be sent twice, hedges included.
    pub const fn is_throttled(&self) -> bool {
        self.tokens <= self.config.tokens * TOKEN / 2
    }

    /// Retries that the share has left.
    pub fn remaining(&mut self, now: Instant) -> u32 {
        let [calls, retries] = self.window.sums(now);
        let share = u64::from(calls) * u64::from(self.config.percent) / 100;
        let millis = u64::try_from(self.config.window.as_millis()).unwrap_or(u64::MAX);
        let reserve = millis.saturating_mul(u64::from(self.config.per_second)) / 1_000;
        let left = (share + reserve).saturating_sub(u64::from(retries));
        u32::try_from(left).unwrap_or(u32::MAX)
    }

    /// Tokens of the throttle, in thousandths.
    pub const fn millitokens(&self) -> u32 {
        self.tokens
    }

    /// What it was built from.
    pub const fn config(&self) -> &BudgetConfig {
        &self.config
    }
}

impl fmt::Display for BadBudget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Percent => "the share of a retry budget is 1 to 100 retries in 100 calls",
            Self::PerSecond => "the reserve of a retry budget is at most 1,000 retries a second",
            Self::Window => "the window of a retry budget is 1 s to 10 min",
            Self::Tokens => "the throttle of a retry budget has 2 to 1,000 tokens",
        })
    }
}

impl core::error::Error for BadBudget {}

//! How much is served at once, how much waits, and who is sure of what.

use core::fmt;
use core::time::Duration;

use crate::limit::{BadConcurrency, ConcurrencyConfig};
use crate::policy::Priority;

/// How a server chooses when it cannot serve all.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct AdmissionConfig {
    /// How many requests at once.
    pub concurrency: ConcurrencyConfig,
    /// What each [`Priority`] is sure of, in percent of the places and of the queue, the least first; 100
    /// in all at most. Default 5, 10, 30, 25, 30.
    pub shares: [u8; Priority::ALL.len()],
    /// Requests that wait, at most. Default 1,000.
    pub queue: usize,
    /// Who waits for longer is turned away, once nobody left its line sooner for the `interval`. Below the
    /// time that a request takes, divided by how many are served at once, nobody is ever in time. Default
    /// 5 ms.
    pub target: Duration,
    /// For so long everybody in a line may wait for longer than the `target`: a burst is no overload.
    /// Default 100 ms.
    pub interval: Duration,
    /// Nobody waits for longer, crowded or not. Default 1 s.
    pub patience: Duration,
    /// What `Retry-After` says to those who are turned away. Default 1 s.
    pub retry_after: Duration,
}

impl Default for AdmissionConfig {
    fn default() -> Self {
        Self {
            concurrency: ConcurrencyConfig::default(),
            shares: [5, 10, 30, 25, 30],
            queue: 1_000,
            target: Duration::from_millis(5),
            interval: Duration::from_millis(100),
            patience: Duration::from_secs(1),
            retry_after: Duration::from_secs(1),
        }
    }
}

/// Why an [`AdmissionConfig`] makes no sense.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum BadAdmission {
    /// How many at once makes no sense.
    Concurrency(BadConcurrency),
    /// More than everything is promised.
    Shares,
    /// More wait than can be counted: 1,000,000 at most.
    Queue,
    /// Times get longer: `target`, `interval`, `patience`; none is zero.
    Times,
}

impl AdmissionConfig {
    /// Refuses what makes no sense.
    pub fn check(&self) -> Result<(), BadAdmission> {
        self.concurrency.check().map_err(BadAdmission::Concurrency)?;
        if self.shares.iter().map(|share| u32::from(*share)).sum::<u32>() > 100 {
            return Err(BadAdmission::Shares);
        }
        if self.queue > 1_000_000 {
            return Err(BadAdmission::Queue);
        }
        let grows = self.target <= self.interval && self.interval <= self.patience;
        if self.target.is_zero() || !grows {
            return Err(BadAdmission::Times);
        }
        Ok(())
    }

    /// Whether so many are less than a priority is sure of, out of so many.
    pub(super) fn is_below_share(&self, priority: Priority, held: usize, all: usize) -> bool {
        let share = self.shares.get(priority as usize).copied().unwrap_or_default();
        held * 100 < usize::from(share) * all
    }
}

impl fmt::Display for BadAdmission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Concurrency(bad) => bad.fmt(f),
            Self::Shares => f.write_str("the shares of all priorities are 100 percent at most"),
            Self::Queue => f.write_str("at most 1,000,000 requests wait"),
            Self::Times => f.write_str(
                "target, interval and patience are above zero, and none is below the last",
            ),
        }
    }
}

impl core::error::Error for BadAdmission {}

//! What is left of a quota.

use core::time::Duration;

use super::Quota;
use crate::time::Instant;

/// A bucket of tokens that fills up as time passes: 8 bytes, to be read with its [`Quota`].
///
/// It remembers one thing, the moment at which it will be full again, and so needs no timer. A
/// fresh one is full. A clock that goes back finds it as it was, and never fuller.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct TokenBucket {
    /// In units of the quota.
    full_at: u64,
}

/// How long until there are enough tokens.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Wait {
    /// They are there.
    No,
    /// This long, if nobody else takes them.
    For(Duration),
    /// More are asked for than the bucket holds.
    Forever,
}

impl TokenBucket {
    /// A full bucket.
    pub const fn new() -> Self {
        Self { full_at: 0 }
    }

    /// How long until `cost` tokens can be taken. Takes nothing.
    pub fn wait(self, now: Instant, quota: &Quota, cost: u32) -> Wait {
        let Some(cost) = quota.units(cost) else { return Wait::Forever };
        let short = (self.owed(now, quota) + cost).saturating_sub(quota.full());
        if short == 0 { Wait::No } else { Wait::For(quota.time(short)) }
    }

    /// Takes `cost` tokens, all or none.
    pub fn take(&mut self, now: Instant, quota: &Quota, cost: u32) -> Wait {
        let wait = self.wait(now, quota, cost);
        if wait == Wait::No {
            self.charge(now, quota, cost);
        }
        wait
    }

    /// Takes tokens that are known to be there.
    pub(super) fn charge(&mut self, now: Instant, quota: &Quota, cost: u32) {
        let owed = self.owed(now, quota) + quota.units(cost).unwrap_or_default();
        self.full_at = quota.units_at(now).saturating_add(owed);
    }

    /// Puts `cost` tokens back; what does not fit is lost.
    pub fn refund(&mut self, now: Instant, quota: &Quota, cost: u32) {
        let units = quota.units(cost).unwrap_or_else(|| quota.full());
        let owed = self.owed(now, quota).saturating_sub(units);
        self.full_at = quota.units_at(now).saturating_add(owed);
    }

    /// Whole tokens that are there.
    pub fn remaining(self, now: Instant, quota: &Quota) -> u32 {
        quota.tokens(quota.full().saturating_sub(self.owed(now, quota)))
    }

    /// How long until it is full again.
    pub fn reset(self, now: Instant, quota: &Quota) -> Duration {
        quota.time(self.owed(now, quota))
    }

    /// What is missing, in units; never more than fits.
    fn owed(self, now: Instant, quota: &Quota) -> u64 {
        self.full_at.saturating_sub(quota.units_at(now)).min(quota.full())
    }

    pub(super) const fn from_full_at(full_at: u64) -> Self {
        Self { full_at }
    }

    pub(super) const fn full_at(self) -> u64 {
        self.full_at
    }
}

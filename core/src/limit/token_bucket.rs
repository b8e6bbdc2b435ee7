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
        self.wait_at(quota.units_at(now), quota, cost)
    }

    /// Takes `cost` tokens, all or none.
    pub fn take(&mut self, now: Instant, quota: &Quota, cost: u32) -> Wait {
        let at = quota.units_at(now);
        let wait = self.wait_at(at, quota, cost);
        if wait == Wait::No {
            self.charge_at(at, quota, cost);
        }
        wait
    }

    /// Puts `cost` tokens back; what does not fit is lost.
    pub fn refund(&mut self, now: Instant, quota: &Quota, cost: u32) {
        self.refund_at(quota.units_at(now), quota, cost);
    }

    /// Whole tokens that are there.
    pub fn remaining(self, now: Instant, quota: &Quota) -> u32 {
        self.remaining_at(quota.units_at(now), quota)
    }

    /// How long until it is full again.
    pub fn reset(self, now: Instant, quota: &Quota) -> Duration {
        self.reset_at(quota.units_at(now), quota)
    }

    /// The same as [`wait`](Self::wait), at a moment in units of the quota.
    #[inline]
    pub(super) fn wait_at(self, at: u64, quota: &Quota, cost: u32) -> Wait {
        let Some(cost) = quota.units(cost) else { return Wait::Forever };
        let short = (self.owed(at, quota) + cost).saturating_sub(quota.full());
        if short == 0 { Wait::No } else { Wait::For(quota.time(short)) }
    }

    /// Takes tokens that are known to be there.
    #[inline]
    pub(super) fn charge_at(&mut self, at: u64, quota: &Quota, cost: u32) {
        let owed = self.owed(at, quota) + quota.units(cost).unwrap_or_default();
        self.full_at = at.saturating_add(owed);
    }

    pub(super) fn refund_at(&mut self, at: u64, quota: &Quota, cost: u32) {
        let units = quota.units(cost).unwrap_or_else(|| quota.full());
        let owed = self.owed(at, quota).saturating_sub(units);
        self.full_at = at.saturating_add(owed);
    }

    #[inline]
    pub(super) fn remaining_at(self, at: u64, quota: &Quota) -> u32 {
        quota.tokens(quota.full().saturating_sub(self.owed(at, quota)))
    }

    #[inline]
    pub(super) fn reset_at(self, at: u64, quota: &Quota) -> Duration {
        quota.time(self.owed(at, quota))
    }

    /// What is missing, in units; never more than fits.
    #[inline]
    fn owed(self, at: u64, quota: &Quota) -> u64 {
        self.full_at.saturating_sub(at).min(quota.full())
    }

    pub(super) const fn from_full_at(full_at: u64) -> Self {
        Self { full_at }
    }

    pub(super) const fn full_at(self) -> u64 {
        self.full_at
    }
}

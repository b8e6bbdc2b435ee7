//! Many quotas, many clients, one check.

use core::fmt;
use core::time::Duration;

use super::table::{Slot, Table};
use super::{KeyGroup, KeyHash, Quota, TokenBucket, Wait};
use crate::time::Instant;

/// Quotas that one request may meet.
const CHARGES: usize = 4;

/// Bytes for a quota whose clients have buckets of their own, at least.
const LEAST: usize = 16 << 10;

/// One byte in so many is for the buckets that newcomers share.
const PREFIXES: usize = 64;

/// What a [`RateLimiter`] is built from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RateLimiterConfig {
    /// Bytes for the buckets of clients, all in all; some 14.2 a client that asked lately. At least
    /// 16 KiB. Default 8 MiB: 590,000 clients.
    pub bytes: usize,
}

impl Default for RateLimiterConfig {
    fn default() -> Self {
        Self { bytes: 8 << 20 }
    }
}

impl RateLimiterConfig {
    /// Whether a limiter of these quotas, each of them shared or for every key, can be built.
    ///
    /// # Errors
    ///
    /// See [`BadLimiter`].
    pub fn check(&self, quotas: impl IntoIterator<Item = (Quota, bool)>) -> Result<(), BadLimiter> {
        let (mut all, mut keyed) = (0, 0);
        for (_, is_keyed) in quotas {
            all += 1;
            keyed += usize::from(is_keyed);
        }
        match all {
            0 => Err(BadLimiter::NoQuota),
            _ if self.bytes / LEAST < keyed => Err(BadLimiter::Bytes),
            _ => Ok(()),
        }
    }
}

/// Why a [`RateLimiter`] cannot be built.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum BadLimiter {
    /// Too few bytes for any client.
    Bytes,
    /// There is no quota.
    NoQuota,
}

/// A quota of a [`RateLimiter`], by its place.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct QuotaId(pub usize);

/// One of the quotas that a request is held to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Charge {
    /// Everyone takes from the same bucket.
    Shared(QuotaId),
    /// Each key has a bucket of its own.
    Keyed {
        /// How much it holds.
        quota: QuotaId,
        /// Whose it is.
        key: KeyHash,
        /// Whose it is together with others, while there is no room for more keys: a network, say.
        prefix: KeyGroup,
    },
}

/// What a request may do.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Verdict {
    /// Every quota has enough; all are charged.
    Allowed,
    /// One has not; none is charged.
    Limited {
        /// When it will have enough, if nobody else takes it; `None`: it costs more than fits.
        retry_after: Option<Duration>,
    },
}

/// What [`RateLimiter::check`] found.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[must_use]
pub struct Outcome {
    /// Whether it may go on.
    pub verdict: Verdict,
    /// The quota that refuses for the longest; else the one with the least left.
    pub quota: QuotaId,
    /// Whole tokens that are left of it.
    pub remaining: u32,
    /// How long until it is full again.
    pub reset: Duration,
}

/// Quotas and their buckets, in a fixed number of bytes.
///
/// A client whose bucket is full again is forgotten, which changes nothing. Where there is no room
/// for another client, because so many asked lately, new ones share a bucket by
/// [prefix](Charge::Keyed); those that are known keep theirs. Where there is no room for another
/// prefix either, what is new shares one.
#[derive(Clone, Debug)]
pub struct RateLimiter {
    quotas: Box<[Account]>,
}

/// A quota and its buckets: they count in its units, and so do not mix with those of another one.
#[derive(Clone, Debug)]
struct Account {
    quota: Quota,
    /// Of everyone; else of those for whom there is room nowhere.
    shared: TokenBucket,
    clients: Table,
    prefixes: Table,
    /// When the last one of all buckets is full again.
    full_at: u64,
}

/// Where a bucket is.
#[derive(Clone, Copy, Debug)]
enum Place {
    Shared,
    Own(Slot),
    Prefix(Slot),
}

/// A bucket that a request would take from.
#[derive(Clone, Copy, Debug)]
struct Found {
    quota: usize,
    place: Place,
    bucket: TokenBucket,
    /// The moment, in units of the quota.
    at: u64,
}

impl Found {
    const NONE: Self =
        Self { quota: usize::MAX, place: Place::Shared, bucket: TokenBucket::new(), at: 0 };
}

impl RateLimiter {
    /// `quotas`, and whether clients have buckets of their own; those that are only ever
    /// [shared](Charge::Shared) need no memory.
    ///
    /// Half of the bytes is split evenly, so that nobody can crowd out the clients of another quota.
    /// The rest goes where it is needed: to each quota by the time that an empty bucket takes to fill
    /// up, for as long as that it cannot be forgotten.
    ///
    /// # Errors
    ///
    /// See [`BadLimiter`].
    pub fn new(
        config: &RateLimiterConfig,
        quotas: impl IntoIterator<Item = (Quota, bool)>,
    ) -> Result<Self, BadLimiter> {
        let quotas: Vec<(Quota, bool)> = quotas.into_iter().collect();
        config.check(quotas.iter().copied())?;
        let fill = |quota: &Quota| quota.time(quota.full()).as_micros().max(1);
        let keyed = || quotas.iter().filter(|(_, keyed)| *keyed).map(|(quota, _)| quota);
        let (count, fills) = (keyed().count(), keyed().map(fill).sum::<u128>());
        let half = config.bytes / 2;
        // Clients that are known at once are those that come in a while, times how long the while is.
        // https://doi.org/10.1287/opre.9.3.383
        let share = |quota: &Quota| {
            let needed = half as u128 * fill(quota) / fills;
            half / count + usize::try_from(needed).unwrap_or(half)
        };
        let account = |(quota, keyed): &(Quota, bool)| {
            let bytes = if *keyed { share(quota) } else { 0 };
            Account {
                quota: *quota,
                shared: TokenBucket::new(),
                clients: Table::new(bytes - bytes / PREFIXES),
                prefixes: Table::new(bytes / PREFIXES),
                full_at: 0,
            }
        };
        Ok(Self { quotas: quotas.iter().map(account).collect() })
    }

    /// Takes `cost` tokens of every quota, or of none. At most four charges are looked at, and of
    /// several of one quota the first; a quota that is not there lets through. Allocates nothing.
    pub fn check(&mut self, now: Instant, cost: u32, charges: &[Charge]) -> Outcome {
        self.decide(now, cost, charges, |bucket, at, quota| bucket.charge_at(at, quota, cost))
    }

    /// What [`check`](Self::check) would say. Takes nothing.
    pub fn peek(&mut self, now: Instant, cost: u32, charges: &[Charge]) -> Outcome {
        self.decide(now, cost, charges, |_, _, _| {})
    }

    /// Gives `cost` tokens back to every quota.
    pub fn refund(&mut self, now: Instant, cost: u32, charges: &[Charge]) {
        let _ = self.decide(now, 0, charges, |bucket, at, quota| bucket.refund_at(at, quota, cost));
    }

    /// A quota by its place.
    pub fn quota(&self, id: QuotaId) -> Option<&Quota> {
        self.quotas.get(id.0).map(|account| &account.quota)
    }

    /// Whether every bucket is full: nobody owes anything, and whoever asks for no more than a burst
    /// will get it. Known at once, before anyone hashes a key.
    pub fn is_idle(&self, now: Instant) -> bool {
        self.quotas.iter().all(|account| account.full_at <= account.quota.units_at(now))
    }

    /// Clients for which there is room.
    pub fn capacity(&self) -> usize {
        self.quotas.iter().map(|account| account.clients.len()).sum()
    }

    /// Clients whose buckets are not full. Looks at all of them.
    pub fn in_use(&self, now: Instant) -> usize {
        let accounts = self.quotas.iter();
        accounts.map(|account| account.clients.in_use(account.quota.units_at(now))).sum()
    }

    /// Looks at every bucket, and changes them if each has as much.
    #[inline]
    fn decide(
        &mut self,
        now: Instant,
        cost: u32,
        charges: &[Charge],
        change: impl Fn(&mut TokenBucket, u64, &Quota),
    ) -> Outcome {
        // One quota is the usual case, and nothing has to be compared.
        match charges {
            [charge] => self.decide_one(now, cost, charge, change),
            _ => self.decide_all(now, cost, charges, change),
        }
    }

    #[inline]
    fn decide_one(
        &mut self,
        now: Instant,
        cost: u32,
        charge: &Charge,
        change: impl Fn(&mut TokenBucket, u64, &Quota),
    ) -> Outcome {
        let (quota, Some(account)) = (charge.quota(), self.quotas.get_mut(charge.quota().0)) else {
            return Outcome::FREE;
        };
        let at = account.quota.units_at(now);
        let (place, mut bucket) = account.meet(at, charge);
        let wait = bucket.wait_at(at, &account.quota, cost);
        if wait == Wait::No {
            change(&mut bucket, at, &account.quota);
            account.keep(place, bucket);
        }
        Outcome {
            verdict: wait.into(),
            quota,
            remaining: bucket.remaining_at(at, &account.quota),
            reset: bucket.reset_at(at, &account.quota),
        }
    }

    fn decide_all(
        &mut self,
        now: Instant,
        cost: u32,
        charges: &[Charge],
        change: impl Fn(&mut TokenBucket, u64, &Quota),
    ) -> Outcome {
        let mut all = [Found::NONE; CHARGES];
        let mut count = 0;
        // Which says the most: that which refuses for the longest, else that with the least left.
        let (mut worst, mut longest) = (0, Wait::No);
        for charge in charges.iter().take(CHARGES) {
            let QuotaId(quota) = charge.quota();
            let Some(account) = self.quotas.get_mut(quota) else { continue };
            if all[..count].iter().any(|found| found.quota == quota) {
                continue;
            }
            let at = account.quota.units_at(now);
            let (place, bucket) = account.meet(at, charge);
            let wait = bucket.wait_at(at, &account.quota, cost);
            let found = Found { quota, place, bucket, at };
            // Each look at what is left is a division: where there is one quota, none is needed.
            if count == 0
                || wait > longest
                || (wait == longest && self.remaining(&found) < self.remaining(&all[worst]))
            {
                (worst, longest) = (count, wait);
            }
            all[count] = found;
            count += 1;
        }
        let mut outcome =
            Outcome { verdict: longest.into(), quota: QuotaId(all[worst].quota), ..Outcome::FREE };
        for (i, found) in all.iter().take(count).enumerate() {
            let Some(account) = self.quotas.get_mut(found.quota) else { continue };
            let Found { place, mut bucket, at, .. } = *found;
            if longest == Wait::No {
                change(&mut bucket, at, &account.quota);
                account.keep(place, bucket);
            }
            if i == worst {
                outcome.remaining = bucket.remaining_at(at, &account.quota);
                outcome.reset = bucket.reset_at(at, &account.quota);
            }
        }
        outcome
    }

    /// Whole tokens of a bucket that was found.
    fn remaining(&self, found: &Found) -> u32 {
        let Found { quota, bucket, at, .. } = found;
        let account = self.quotas.get(*quota);
        account.map_or(u32::MAX, |account| bucket.remaining_at(*at, &account.quota))
    }
}

impl Charge {
    #[inline]
    const fn quota(&self) -> QuotaId {
        match self {
            Self::Shared(quota) | Self::Keyed { quota, .. } => *quota,
        }
    }
}

impl From<Wait> for Verdict {
    fn from(wait: Wait) -> Self {
        match wait {
            Wait::No => Self::Allowed,
            Wait::For(time) => Self::Limited { retry_after: Some(time) },
            Wait::Forever => Self::Limited { retry_after: None },
        }
    }
}

impl Outcome {
    /// Of what meets no quota.
    const FREE: Self = Self {
        verdict: Verdict::Allowed,
        quota: QuotaId(usize::MAX),
        remaining: u32::MAX,
        reset: Duration::ZERO,
    };
}

impl Account {
    /// The bucket that a charge is taken from.
    #[expect(clippy::inline_always, reason = "every check is one, and what it gives is large")]
    #[inline(always)]
    fn meet(&mut self, at: u64, charge: &Charge) -> (Place, TokenBucket) {
        match *charge {
            Charge::Shared(_) => (Place::Shared, self.shared),
            Charge::Keyed { key, prefix, .. } => self.find(at, key, prefix),
        }
    }

    #[inline]
    fn find(&mut self, at: u64, key: KeyHash, prefix: KeyGroup) -> (Place, TokenBucket) {
        if let Some((slot, full_at)) = self.clients.find(key.0, at) {
            return (Place::Own(slot), TokenBucket::from_full_at(full_at));
        }
        self.find_shared(at, prefix)
    }

    /// The bucket of someone for whom there is no room.
    #[cold]
    fn find_shared(&mut self, at: u64, prefix: KeyGroup) -> (Place, TokenBucket) {
        match self.prefixes.find(prefix.hash().0, at) {
            Some((slot, full_at)) => (Place::Prefix(slot), TokenBucket::from_full_at(full_at)),
            None => (Place::Shared, self.shared),
        }
    }

    #[inline]
    fn keep(&mut self, place: Place, bucket: TokenBucket) {
        self.full_at = self.full_at.max(bucket.full_at());
        match place {
            Place::Shared => self.shared = bucket,
            Place::Own(slot) => self.clients.set(slot, bucket.full_at()),
            Place::Prefix(slot) => self.prefixes.set(slot, bucket.full_at()),
        }
    }
}

impl fmt::Display for BadLimiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Bytes => "a rate limiter needs some 16 KiB for each of its quotas",
            Self::NoQuota => "a rate limiter without a quota limits nothing: leave it out",
        })
    }
}

impl core::error::Error for BadLimiter {}

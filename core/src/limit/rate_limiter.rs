//! Many quotas, many clients, one check.

use core::fmt;
use core::hash::{Hash, Hasher};
use core::time::Duration;

use super::table::{SLOT, Slot, Table};
use super::{Quota, TokenBucket, Wait};
use crate::time::Instant;

/// Quotas that one request may meet.
const CHARGES: usize = 4;

/// Buckets for clients that the table has no room for.
const SPARE: usize = 1024;

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

/// Who pays, hashed with a secret key: nobody can look for two clients that share a bucket.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct KeyHash(u64);

/// Makes [`KeyHash`]es.
#[derive(Clone)]
pub struct KeyHasher {
    keys: (u64, u64),
}

impl KeyHasher {
    /// `seed` is a secret.
    pub fn new(seed: [u8; 16]) -> Self {
        let (high, low) = seed.split_at(8);
        let word = |half: &[u8]| half.iter().fold(0, |word, byte| word << 8 | u64::from(*byte));
        Self { keys: (word(high), word(low)) }
    }

    /// The hash of a key, whatever it consists of.
    pub fn hash(&self, key: impl Hash) -> KeyHash {
        #[expect(
            deprecated,
            reason = "the one keyed hash of std that takes its key as an argument"
        )]
        let mut hasher = core::hash::SipHasher::new_with_keys(self.keys.0, self.keys.1);
        key.hash(&mut hasher);
        KeyHash(hasher.finish())
    }
}

impl fmt::Debug for KeyHasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyHasher(..)")
    }
}

/// One of the quotas that a request is held to.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
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
        prefix: KeyHash,
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
/// [prefix](Charge::Keyed); those that are known keep theirs.
#[derive(Clone, Debug)]
pub struct RateLimiter {
    quotas: Box<[Quota]>,
    shared: Box<[TokenBucket]>,
    /// For each quota one, so that their units do not mix.
    tables: Box<[Table]>,
    spare: Box<[TokenBucket]>,
}

/// Where the bucket of a charge is.
#[derive(Clone, Copy, Debug)]
enum Place {
    Shared(usize),
    Own(usize, Slot, u64),
    Spare(usize),
}

impl RateLimiter {
    /// `quotas` with their shares of the memory: those that are only ever [shared](Charge::Shared)
    /// need none.
    ///
    /// # Errors
    ///
    /// See [`BadLimiter`].
    pub fn new(
        config: &RateLimiterConfig,
        quotas: impl IntoIterator<Item = (Quota, bool)>,
    ) -> Result<Self, BadLimiter> {
        let quotas: Vec<(Quota, bool)> = quotas.into_iter().collect();
        if quotas.is_empty() {
            return Err(BadLimiter::NoQuota);
        }
        let keyed = quotas.iter().filter(|(_, keyed)| *keyed).count();
        let spare = keyed * SPARE * size_of::<TokenBucket>();
        let share = config.bytes.saturating_sub(spare).checked_div(keyed).unwrap_or_default();
        if keyed > 0 && share < 16 * SLOT {
            return Err(BadLimiter::Bytes);
        }
        let table = |(_, keyed): &(Quota, bool)| Table::new(if *keyed { share } else { 0 });
        Ok(Self {
            shared: vec![TokenBucket::new(); quotas.len()].into(),
            tables: quotas.iter().map(table).collect(),
            spare: vec![TokenBucket::new(); quotas.len() * SPARE].into(),
            quotas: quotas.into_iter().map(|(quota, _)| quota).collect(),
        })
    }

    /// Takes `cost` tokens of every quota, or of none. At most four quotas are looked at; one that
    /// is not there lets through. Allocates nothing.
    pub fn check(&mut self, now: Instant, cost: u32, charges: &[Charge]) -> Outcome {
        self.decide(now, cost, charges, true)
    }

    /// What [`check`](Self::check) would say. Takes nothing.
    pub fn peek(&mut self, now: Instant, cost: u32, charges: &[Charge]) -> Outcome {
        self.decide(now, cost, charges, false)
    }

    fn decide(&mut self, now: Instant, cost: u32, charges: &[Charge], take: bool) -> Outcome {
        let mut places: [Option<(QuotaId, Place)>; CHARGES] = [None; CHARGES];
        let mut worst: Option<(Wait, QuotaId, TokenBucket)> = None;
        for (i, charge) in charges.iter().take(CHARGES).enumerate() {
            let Some((id, place)) = self.place(now, charge, &places) else { continue };
            let Some(quota) = self.quotas.get(id.0) else { continue };
            let bucket = self.bucket(place);
            if let Some(found) = places.get_mut(i) {
                *found = Some((id, place));
            }
            let wait = bucket.wait(now, quota, cost);
            let nearer = match worst {
                None => true,
                Some((longest, ..)) if wait != longest => wait > longest,
                Some((_, other, least)) => self
                    .quotas
                    .get(other.0)
                    .is_some_and(|of| bucket.remaining(now, quota) < least.remaining(now, of)),
            };
            if nearer {
                worst = Some((wait, id, bucket));
            }
        }
        let Some((wait, id, mut bucket)) = worst else {
            let reset = Duration::ZERO;
            let quota = QuotaId(0);
            return Outcome { verdict: Verdict::Allowed, quota, remaining: u32::MAX, reset };
        };
        let verdict = match wait {
            Wait::No if !take => Verdict::Allowed,
            Wait::No => {
                for (quota, place) in places.into_iter().flatten() {
                    self.charge(now, quota, place, cost);
                }
                Verdict::Allowed
            }
            Wait::For(time) => Verdict::Limited { retry_after: Some(time) },
            Wait::Forever => Verdict::Limited { retry_after: None },
        };
        let Some(quota) = self.quotas.get(id.0) else {
            return Outcome { verdict, quota: id, remaining: 0, reset: Duration::ZERO };
        };
        if verdict == Verdict::Allowed && take {
            bucket.charge(now, quota, cost);
        }
        let (remaining, reset) = (bucket.remaining(now, quota), bucket.reset(now, quota));
        Outcome { verdict, quota: id, remaining, reset }
    }

    /// Gives `cost` tokens back to every quota.
    pub fn refund(&mut self, now: Instant, cost: u32, charges: &[Charge]) {
        for charge in charges.iter().take(CHARGES) {
            let Some((id, place)) = self.place(now, charge, &[]) else { continue };
            let Some(quota) = self.quotas.get(id.0).copied() else { continue };
            let mut bucket = self.bucket(place);
            bucket.refund(now, &quota, cost);
            self.keep(place, bucket);
        }
    }

    /// A quota by its place.
    pub fn quota(&self, id: QuotaId) -> Option<&Quota> {
        self.quotas.get(id.0)
    }

    /// Clients for which there is room.
    pub fn capacity(&self) -> usize {
        self.tables.iter().map(Table::len).sum()
    }

    /// Clients whose buckets are not full. Looks at all of them.
    pub fn in_use(&self, now: Instant) -> usize {
        let tables = self.tables.iter().zip(&self.quotas);
        tables.map(|(table, quota)| table.in_use(quota.units_at(now))).sum()
    }

    fn place(
        &mut self,
        now: Instant,
        charge: &Charge,
        taken: &[Option<(QuotaId, Place)>],
    ) -> Option<(QuotaId, Place)> {
        match *charge {
            Charge::Shared(id) => self.quotas.get(id.0).map(|_| (id, Place::Shared(id.0))),
            Charge::Keyed { quota: id, key, prefix } => {
                let (quota, table) = (self.quotas.get(id.0)?, self.tables.get_mut(id.0)?);
                let mut slots = [None; CHARGES];
                for (slot, place) in slots.iter_mut().zip(taken) {
                    *slot = match place {
                        Some((_, Place::Own(of, slot, _))) if *of == id.0 => Some(*slot),
                        _ => None,
                    };
                }
                let place = match table.find(key.0, quota.units_at(now), &slots) {
                    Some(slot) => Place::Own(id.0, slot, key.0),
                    None => Place::Spare(id.0 * SPARE + (prefix.0 % SPARE as u64) as usize),
                };
                Some((id, place))
            }
        }
    }

    fn bucket(&self, place: Place) -> TokenBucket {
        match place {
            Place::Shared(at) => self.shared.get(at).copied().unwrap_or_default(),
            Place::Spare(at) => self.spare.get(at).copied().unwrap_or_default(),
            Place::Own(table, slot, hash) => self
                .tables
                .get(table)
                .map(|table| TokenBucket::from_full_at(table.get(slot, hash)))
                .unwrap_or_default(),
        }
    }

    fn keep(&mut self, place: Place, bucket: TokenBucket) {
        let known = match place {
            Place::Shared(at) => self.shared.get_mut(at),
            Place::Spare(at) => self.spare.get_mut(at),
            Place::Own(table, slot, hash) => {
                if let Some(table) = self.tables.get_mut(table) {
                    table.set(slot, hash, bucket.full_at());
                }
                return;
            }
        };
        if let Some(known) = known {
            *known = bucket;
        }
    }

    fn charge(&mut self, now: Instant, id: QuotaId, place: Place, cost: u32) {
        let Some(quota) = self.quotas.get(id.0).copied() else { return };
        let mut bucket = self.bucket(place);
        bucket.charge(now, &quota, cost);
        self.keep(place, bucket);
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

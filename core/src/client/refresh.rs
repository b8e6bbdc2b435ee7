//! Keeps a value that ends, such as a token, without fetching it.

use core::fmt;
use core::time::Duration;

use crate::jitter::Jitter;
use crate::resilience::{Backoff, BadBackoff};
use crate::time::Instant;

/// When a value is fetched again.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct RefreshPolicy {
    /// How long before its end a value is fetched again, give or take a tenth; half of its life, if
    /// that is less. Default 60 s.
    pub ahead: Duration,
    /// What a request may take to arrive: a value that ends within this time is not used any more; a
    /// tenth of its life, if that is less. Default 5 s.
    pub margin: Duration,
    /// A value that was refused is fetched again, unless it is younger than this: then the next one
    /// would be refused, too. Default 10 s.
    pub rejection: Duration,
    /// Between fetches that fail: half of the longest wait and up to half of it more. Default 1 s, up
    /// to 60 s.
    pub backoff: Backoff,
}

impl Default for RefreshPolicy {
    fn default() -> Self {
        Self {
            ahead: Duration::from_secs(60),
            margin: Duration::from_secs(5),
            rejection: Duration::from_secs(10),
            backoff: Backoff { base: Duration::from_secs(1), cap: Duration::from_secs(60) },
        }
    }
}

/// Why a [`RefreshPolicy`] makes no sense.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum BadRefresh {
    /// A value would be at its end before it is fetched again.
    Ahead,
    /// The backoff makes no sense.
    Backoff(BadBackoff),
}

impl RefreshPolicy {
    /// Refuses what makes no sense.
    pub fn check(&self) -> Result<(), BadRefresh> {
        // It is fetched a tenth later, at the latest.
        if self.ahead / 10 * 9 < self.margin {
            return Err(BadRefresh::Ahead);
        }
        self.backoff.check().map_err(BadRefresh::Backoff)
    }
}

/// Which value: those that are fetched one after another differ.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Edition(u64);

/// What whoever needs the value does.
#[derive(Clone, PartialEq, Eq, Debug)]
#[must_use]
pub enum Lookup<T> {
    /// It is good.
    Use(T, Edition),
    /// Fetch it, and say what came of that with [`fetched`](Refresh::fetched),
    /// [`failed`](Refresh::failed) or [`abandoned`](Refresh::abandoned). Nobody else is told so
    /// meanwhile. The old one, where there is one, is still good.
    Fetch(Option<(T, Edition)>),
    /// Somebody fetches it: look again when that is over.
    Wait,
    /// The last fetch failed, and it is too early for another one.
    Failed {
        /// Not before.
        until: Instant,
    },
}

/// What follows from a value that was refused.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[must_use]
pub enum Rejected {
    /// There is another one, or will be: look again, and ask once more with it.
    Again,
    /// It was fetched just now: another one would be refused, too.
    Fresh,
}

/// A value, and who fetches the next one.
///
/// One fetch runs at a time. Where the value is good while the next one is fetched, or cannot be
/// fetched, it is used on.
#[derive(Clone)]
pub struct Refresh<T> {
    policy: RefreshPolicy,
    jitter: Jitter,
    held: Option<Held<T>>,
    /// Somebody fetches the next one.
    is_fetching: bool,
    /// Fetches that failed since the last one that did not.
    failures: u32,
    not_before: Instant,
    editions: u64,
}

#[derive(Clone)]
struct Held<T> {
    value: T,
    edition: Edition,
    since: Instant,
    /// When it is to be fetched again, and when it is not used any more; `None`: never.
    times: Option<(Instant, Instant)>,
    is_rejected: bool,
}

impl<T> Held<T> {
    fn is_good(&self, now: Instant) -> bool {
        !self.is_rejected && self.times.is_none_or(|(_, until)| now < until)
    }

    fn is_due(&self, now: Instant) -> bool {
        self.is_rejected || self.times.is_some_and(|(again, _)| now >= again)
    }
}

impl<T: Clone> Refresh<T> {
    /// Nothing was fetched yet.
    ///
    /// # Errors
    ///
    /// See [`BadRefresh`].
    pub fn new(policy: RefreshPolicy, seed: u64) -> Result<Self, BadRefresh> {
        policy.check()?;
        Ok(Self {
            policy,
            jitter: Jitter::new(seed),
            held: None,
            is_fetching: false,
            failures: 0,
            not_before: Instant::ZERO,
            editions: 0,
        })
    }

    /// Somebody needs the value.
    pub fn look(&mut self, now: Instant) -> Lookup<T> {
        let good = self.held.as_ref().filter(|held| held.is_good(now));
        let good_one = good.map(|held| (held.value.clone(), held.edition));
        let is_due = self.held.as_ref().is_none_or(|held| held.is_due(now));
        let may_fetch = !self.is_fetching && now >= self.not_before;
        match good_one {
            Some((value, edition)) if !is_due || !may_fetch => Lookup::Use(value, edition),
            None if self.is_fetching => Lookup::Wait,
            None if !may_fetch => Lookup::Failed { until: self.not_before },
            good_one => {
                self.is_fetching = true;
                Lookup::Fetch(good_one)
            }
        }
    }

    /// A fetch brought a value that lives for this long; `None`: for ever.
    pub fn fetched(&mut self, now: Instant, value: T, life: Option<Duration>) {
        self.editions += 1;
        let times = life.map(|life| {
            let ahead = self.policy.ahead.min(life / 2);
            let ahead = self.jitter.between(ahead / 10 * 9, ahead / 10 * 11);
            let margin = self.policy.margin.min(life / 10);
            (now + life.saturating_sub(ahead), now + life.saturating_sub(margin))
        });
        let edition = Edition(self.editions);
        self.held = Some(Held { value, edition, since: now, times, is_rejected: false });
        self.is_fetching = false;
        self.failures = 0;
        self.not_before = Instant::ZERO;
    }

    /// A fetch failed.
    pub fn failed(&mut self, now: Instant) {
        let longest = self.policy.backoff.longest(self.failures);
        self.not_before = now + self.jitter.between(longest / 2, longest);
        self.failures = self.failures.saturating_add(1);
        self.is_fetching = false;
    }

    /// Whoever fetched gave up, which says nothing about the source: the next one fetches.
    pub fn abandoned(&mut self) {
        self.is_fetching = false;
    }

    /// A value was refused by whoever it is for.
    pub fn rejected(&mut self, now: Instant, edition: Edition) -> Rejected {
        match &mut self.held {
            Some(held) if held.edition == edition => {
                if held.is_rejected {
                    return Rejected::Again;
                }
                if now.saturating_since(held.since) < self.policy.rejection {
                    return Rejected::Fresh;
                }
                held.is_rejected = true;
                Rejected::Again
            }
            _ => Rejected::Again,
        }
    }
}

impl<T> fmt::Debug for Refresh<T> {
    /// Without the value: it may be a secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Refresh")
            .field("policy", &self.policy)
            .field("is_fetching", &self.is_fetching)
            .field("failures", &self.failures)
            .field("not_before", &self.not_before)
            .finish_non_exhaustive()
    }
}

impl fmt::Display for BadRefresh {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ahead => f.write_str("a value would be at its end before it is fetched again"),
            Self::Backoff(why) => why.fmt(f),
        }
    }
}

impl core::error::Error for BadRefresh {}

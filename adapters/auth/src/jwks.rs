//! Keeps the keys of an issuer fresh, without fetching them.

use core::convert::Infallible;
use core::fmt;
use core::time::Duration;
use std::collections::VecDeque;
use std::sync::Arc;

use sinew_core::Machine;
use sinew_core::time::{Deadline, Instant, Timer};

use crate::algorithm::Algorithm;
use crate::jwk::{Find, KeySet};

/// Bytes of a key id that is remembered as unknown; a longer one is unknown without a question.
const KID_BYTES: usize = 128;

/// When keys are fetched, and how long they may be used.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct JwksPolicy {
    /// Fetched keys are fetched again after this time. Default 5 min.
    pub refresh: Duration,
    /// Between two fetches, at least, whatever tokens ask for. Default 30 s.
    pub interval: Duration,
    /// A fetch that takes longer has failed. Default 10 s.
    pub timeout: Duration,
    /// Without a successful fetch, keys are used for this time. Default 1 h.
    pub stale: Duration,
    /// How long a key id that a fresh set did not have is not asked for again. Default 5 min.
    pub negative: Duration,
    /// Key ids remembered as unknown, at most; the oldest is forgotten. Default 256.
    pub negative_entries: usize,
}

impl Default for JwksPolicy {
    fn default() -> Self {
        Self {
            refresh: Duration::from_secs(300),
            interval: Duration::from_secs(30),
            timeout: Duration::from_secs(10),
            stale: Duration::from_secs(3600),
            negative: Duration::from_secs(300),
            negative_entries: 256,
        }
    }
}

/// Why a [`JwksPolicy`] is refused.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum BadJwksPolicy {
    /// One of its times is zero.
    Zero,
    /// Keys would be stale before they are fetched again.
    Stale,
}

impl fmt::Display for BadJwksPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Zero => "when keys are fetched: a time is zero",
            Self::Stale => "keys would be stale before they are fetched again",
        })
    }
}

impl core::error::Error for BadJwksPolicy {}

/// The keys of one issuer as a machine: it says when to fetch, and is told what came.
#[derive(Debug)]
pub struct Jwks {
    policy: JwksPolicy,
    keys: Arc<KeySet>,
    /// When the keys were fetched.
    fetched: Option<Instant>,
    /// When the last fetch began.
    asked: Option<Instant>,
    running: bool,
    /// A fetch is due from then on.
    due: Instant,
    /// Ids that a fetch was asked for, and when.
    unknown: VecDeque<(Box<str>, Instant)>,
}

impl JwksPolicy {
    /// Refuses what makes no sense.
    ///
    /// # Errors
    ///
    /// See [`BadJwksPolicy`].
    pub fn check(&self) -> Result<(), BadJwksPolicy> {
        let Self { refresh, interval, timeout, stale, negative, .. } = *self;
        if [refresh, interval, timeout, stale, negative].contains(&Duration::ZERO) {
            return Err(BadJwksPolicy::Zero);
        }
        if stale <= refresh.max(interval) {
            return Err(BadJwksPolicy::Stale);
        }
        Ok(())
    }
}

/// Fetch the keys, then call [`Jwks::handle_keys`] or [`Jwks::handle_failure`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Fetch;

/// What is known of a key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Lookup<'a> {
    /// The keys to check the token with. They can be taken out from under a lock.
    Keys(&'a Arc<KeySet>),
    /// No key has this id, and none will have before the next fetch.
    Unknown,
    /// No key has this id; a fetch that may bring it is due or under way. A caller may wait for it.
    Pending,
    /// There are no keys that may be used.
    Stale,
}

impl Jwks {
    /// No keys yet: the first fetch is due at `now`.
    ///
    /// # Errors
    ///
    /// See [`BadJwksPolicy`].
    pub fn new(policy: JwksPolicy, now: Instant) -> Result<Self, BadJwksPolicy> {
        policy.check()?;
        Ok(Self {
            policy,
            keys: Arc::default(),
            fetched: None,
            asked: None,
            running: false,
            due: now,
            unknown: VecDeque::new(),
        })
    }

    /// The keys for a token with this id and algorithm. An id that is not known asks for a fetch,
    /// as often as the policy allows.
    pub fn find(&mut self, now: Instant, id: Option<&str>, algorithm: Algorithm) -> Lookup<'_> {
        self.handle_timeout(now);
        let Some(fetched) = self.fetched.filter(|at| now - *at < self.policy.stale) else {
            return if self.running || self.due <= now { Lookup::Pending } else { Lookup::Stale };
        };
        if !matches!(self.keys.find(id, algorithm), Find::Unknown) {
            return Lookup::Keys(&self.keys);
        }
        let Some(id) = id.filter(|id| id.len() <= KID_BYTES) else { return Lookup::Unknown };
        if self.running {
            return Lookup::Pending;
        }
        // A set that came after the question did not have it.
        let answered = |(known, asked): &(Box<str>, Instant)| {
            **known == *id && fetched >= *asked && now - *asked < self.policy.negative
        };
        let allowed = self.asked.map_or(now, |asked| asked + self.policy.interval);
        if allowed > now || self.unknown.iter().any(answered) {
            return Lookup::Unknown;
        }
        self.remember(now, id);
        self.due = now;
        Lookup::Pending
    }

    /// A fetch brought this set. Ids asked for that it does not have stay unknown for a while.
    pub fn handle_keys(&mut self, now: Instant, keys: KeySet) {
        self.keys = Arc::new(keys);
        self.fetched = Some(now);
        self.running = false;
        self.due = now + self.policy.refresh.max(self.policy.interval);
    }

    /// The fetch failed, or brought no set that can be used; the keys before it stay. The next one is due when the interval allows it.
    pub fn handle_failure(&mut self, now: Instant) {
        if self.running {
            self.running = false;
            self.due = self.asked.map_or(now, |asked| asked + self.policy.interval).max(now);
        }
    }

    /// When the keys in use were fetched.
    pub fn fetched(&self) -> Option<Instant> {
        self.fetched
    }

    fn remember(&mut self, now: Instant, id: &str) {
        let negative = self.policy.negative;
        self.unknown.retain(|(known, asked)| **known != *id && now - *asked < negative);
        if self.policy.negative_entries == 0 {
            return;
        }
        if self.unknown.len() >= self.policy.negative_entries {
            self.unknown.pop_front();
        }
        self.unknown.push_back((id.into(), now));
    }
}

impl Machine for Jwks {
    type Event = Fetch;
    type Error = Infallible;

    fn poll_event(&mut self, now: Instant) -> Result<Option<Fetch>, Infallible> {
        self.handle_timeout(now);
        if self.running || now < self.due {
            return Ok(None);
        }
        self.running = true;
        self.asked = Some(now);
        self.due = now + self.policy.timeout;
        Ok(Some(Fetch))
    }

    fn handle_timeout(&mut self, now: Instant) {
        if self.running && now >= self.due {
            self.handle_failure(now);
        }
    }

    fn deadline(&self) -> Option<Deadline> {
        let why = if self.running { Timer::KeyFetch } else { Timer::KeyRefresh };
        Some(Deadline { at: self.due, why })
    }
}

//! Quotas that several replicas share, as questions to whoever keeps the count.
//!
//! A replica cannot ask for every request. It takes tokens on lease, some at a time, and gives them to
//! its clients; [`Leases`] says when to ask for more, and what to do while nobody answers. Whoever
//! embeds it carries each [`Ask`] to the store, whatever that is, and brings the [`Answer`] back.
//!
//! An ask takes tokens from a bucket at the store: as many as there are, up to those that are asked
//! for. No clock of one is compared with a clock of another: all that is said is durations, and each
//! counts from when it was asked or heard.
//!
//! In any span of time all replicas together let through no more than the store has, plus, for each
//! replica and each client, one lease and what may be [owed](LeaseConfig::ahead); and where nobody can
//! count, what [`WithoutStore`] says.

use core::convert::Infallible;
use core::fmt;
use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::{
    BadLimiter, Charge, KeyGroup, KeyHash, Quota, QuotaId, RateLimiter, RateLimiterConfig, Verdict,
};
use crate::machine::Machine;
use crate::observe::{Event, Log};
use crate::time::{Deadline, Instant, Timer};

/// What [`Leases`] are built from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LeaseConfig {
    /// Tokens that a replica takes for one client at a time. Default 10.
    pub tokens: u32,
    /// What is left of them after this long is given up. Default 1 s.
    pub lifetime: Duration,
    /// Tokens that a client may have before the store was heard; they are owed, and paid first. With
    /// none the first request of every client is refused. Default 5.
    pub ahead: u32,
    /// How long an answer may take. Default 100 ms.
    pub patience: Duration,
    /// How long a store that did not answer is left alone; then it gets one ask at a time. Default
    /// 1 s.
    pub pause: Duration,
    /// Asks without an answer, at most. Default 64.
    pub asks: usize,
    /// Clients with leases or debts, at most. Default 10,000, some 2 MiB.
    pub clients: usize,
    /// Where no store answers, or there is no room for another client. Default
    /// [`Closed`](WithoutStore::Closed).
    pub without_store: WithoutStore,
    /// Keep a log of what came of asks for the driver. Default off.
    pub observe: bool,
}

/// What becomes of requests that nobody can count.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum WithoutStore {
    /// They are refused, once what is on lease is spent.
    Closed,
    /// Each replica holds each client to this quota by itself.
    Local(Quota),
    /// They go on, as many as there are.
    Open,
}

impl Default for LeaseConfig {
    fn default() -> Self {
        Self {
            tokens: 10,
            lifetime: Duration::from_secs(1),
            ahead: 5,
            patience: Duration::from_millis(100),
            pause: Duration::from_secs(1),
            asks: 64,
            clients: 10_000,
            without_store: WithoutStore::Closed,
            observe: false,
        }
    }
}

/// Why a [`LeaseConfig`] is refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum BadLease {
    /// A lease of no tokens, or for no time.
    Lease,
    /// No time to answer in, or none to recover.
    Time,
    /// No ask at once, or no client.
    Room,
    /// The local quota cannot be kept.
    Limiter(BadLimiter),
}

/// A question of a replica to the store. The replicas hash keys with the same seed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ask {
    /// Goes back with the answer.
    pub id: AskId,
    /// Whose bucket.
    pub key: KeyHash,
    /// So many, or as many as there are.
    pub tokens: u32,
}

/// Which [`Ask`]. Never given twice.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct AskId(u64);

/// What became of an [`Ask`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Answer {
    /// So many tokens are taken from the bucket.
    Granted {
        /// Never more than asked for; what is more is not counted.
        tokens: u32,
        /// If they are fewer: when there will be another one.
        retry_after: Duration,
    },
    /// Nobody knows.
    Failed,
}

/// What came of an [`Ask`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum AskOutcome {
    /// All tokens.
    Granted,
    /// Fewer than were asked for.
    Short,
    /// The store said that it does not know, or whoever carried the ask.
    Failed,
    /// There was no answer in time.
    Unanswered,
}

impl AskOutcome {
    /// A fixed, lower-case name, fit for logs and metric labels.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Granted => "granted",
            Self::Short => "short",
            Self::Failed => "failed",
            Self::Unanswered => "unanswered",
        }
    }
}

/// Whether a request may go on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub enum LeaseVerdict {
    /// It may.
    Allowed(Basis),
    /// It may not.
    Refused {
        /// Why.
        reason: Shortage,
        /// When asking again makes sense; `None`: it costs more than fits.
        retry_after: Option<Duration>,
    },
}

/// By which tokens a request goes on.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Basis {
    /// Those on lease.
    Lease,
    /// Owed ones: the store was not heard yet.
    Ahead,
    /// Those of this replica alone: there is no store.
    Local,
    /// None: there is no store, and nobody counts.
    Uncounted,
}

/// Why there are no tokens.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Shortage {
    /// The store has no more.
    Spent,
    /// The store has not answered yet.
    Unanswered,
    /// The store does not answer.
    NoStore,
    /// There are too many clients.
    NoRoom,
    /// The client's own quota at this replica is spent.
    Local,
}

/// The leases of one replica on one quota.
#[derive(Debug)]
pub struct Leases {
    config: LeaseConfig,
    local: Option<RateLimiter>,
    clients: BTreeMap<u64, Client>,
    /// When which client has to be looked at without being asked.
    due: BTreeSet<(Instant, u64)>,
    /// By age: all have the same time.
    pending: BTreeMap<AskId, Pending>,
    unsent: VecDeque<Ask>,
    /// Nobody answered: not to be asked before then.
    down: Option<Instant>,
    asked: u64,
    log: Log,
}

#[derive(Clone, Copy, Debug)]
struct Client {
    /// Tokens at hand; owed ones below zero.
    balance: i64,
    /// When those at hand are given up.
    ends: Instant,
    /// The store has no more until then.
    spent_until: Instant,
    asking: bool,
    due: Option<Instant>,
}

#[derive(Clone, Copy, Debug)]
struct Pending {
    key: u64,
    tokens: u32,
    at: Instant,
}

impl Leases {
    /// Nothing on lease, and nobody asked.
    ///
    /// # Errors
    ///
    /// See [`BadLease`].
    pub fn new(config: LeaseConfig) -> Result<Self, BadLease> {
        if config.tokens == 0 || config.lifetime.is_zero() {
            return Err(BadLease::Lease);
        }
        if config.patience.is_zero() || config.pause.is_zero() {
            return Err(BadLease::Time);
        }
        if config.asks == 0 || config.clients == 0 {
            return Err(BadLease::Room);
        }
        let local = match config.without_store {
            WithoutStore::Closed | WithoutStore::Open => None,
            WithoutStore::Local(quota) => {
                let limiter = RateLimiter::new(&RateLimiterConfig::default(), [(quota, true)]);
                Some(limiter.map_err(BadLease::Limiter)?)
            }
        };
        let mut log = Log::new();
        log.enable(config.observe);
        Ok(Self {
            config,
            local,
            clients: BTreeMap::new(),
            due: BTreeSet::new(),
            pending: BTreeMap::new(),
            unsent: VecDeque::new(),
            down: None,
            asked: 0,
            log,
        })
    }

    /// Takes `cost` tokens of a client, or none. `prefix` as in [`Charge::Keyed`]. Drain
    /// [`poll_event`](Machine::poll_event) afterwards.
    pub fn check(
        &mut self,
        now: Instant,
        cost: u32,
        key: KeyHash,
        prefix: KeyGroup,
    ) -> LeaseVerdict {
        self.handle_timeout(now);
        if !self.clients.contains_key(&key.0) {
            if self.clients.len() >= self.config.clients {
                return self.without_store(now, cost, key, prefix, Shortage::NoRoom);
            }
            self.clients.insert(key.0, Client::new(now));
        }
        let Some(client) = self.clients.get_mut(&key.0) else {
            return self.without_store(now, cost, key, prefix, Shortage::NoRoom);
        };
        client.expire(now);
        let is_spent = client.spent_until > now;
        let ahead = if is_spent || self.down.is_some() { 0 } else { self.config.ahead };
        let verdict = if client.balance >= i64::from(cost) {
            client.balance -= i64::from(cost);
            LeaseVerdict::Allowed(Basis::Lease)
        } else if client.balance + i64::from(ahead) >= i64::from(cost) {
            client.balance -= i64::from(cost);
            LeaseVerdict::Allowed(Basis::Ahead)
        } else if is_spent {
            let retry_after = Some(client.spent_until - now);
            LeaseVerdict::Refused { reason: Shortage::Spent, retry_after }
        } else if self.down.is_some() {
            self.without_store(now, cost, key, prefix, Shortage::NoStore)
        } else {
            let retry_after = Some(self.config.patience);
            LeaseVerdict::Refused { reason: Shortage::Unanswered, retry_after }
        };
        self.ask(now, key.0, cost);
        self.arm(now, key.0);
        verdict
    }

    /// What the store said. An answer that comes too late changes nothing: its tokens are lost.
    pub fn handle_answer(&mut self, now: Instant, id: AskId, answer: Answer) {
        self.handle_timeout(now);
        let Some(pending) = self.pending.remove(&id) else { return };
        self.log.record(Event::Asked(match answer {
            Answer::Granted { tokens, .. } if tokens < pending.tokens => AskOutcome::Short,
            Answer::Granted { .. } => AskOutcome::Granted,
            Answer::Failed => AskOutcome::Failed,
        }));
        match answer {
            Answer::Granted { tokens, retry_after } => {
                self.down = None;
                if let Some(client) = self.clients.get_mut(&pending.key) {
                    client.balance += i64::from(tokens.min(pending.tokens));
                    // Since the ask: the store may have taken them at once.
                    client.ends = pending.at + self.config.lifetime;
                    if tokens < pending.tokens {
                        client.spent_until = now + retry_after.max(Duration::from_nanos(1));
                    }
                }
            }
            Answer::Failed => self.down = Some(now + self.config.pause),
        }
        self.answered(now, pending.key);
    }

    /// Clients with leases or debts.
    pub fn clients(&self) -> usize {
        self.clients.len()
    }

    /// Whether [`poll_event`](Machine::poll_event) has an ask to give.
    pub fn has_asks(&self) -> bool {
        !self.unsent.is_empty()
    }

    /// Asks without an answer.
    pub fn pending(&self) -> usize {
        self.pending.len()
    }

    fn without_store(
        &mut self,
        now: Instant,
        cost: u32,
        key: KeyHash,
        prefix: KeyGroup,
        reason: Shortage,
    ) -> LeaseVerdict {
        if self.config.without_store == WithoutStore::Open {
            return LeaseVerdict::Allowed(Basis::Uncounted);
        }
        let Some(local) = &mut self.local else {
            let wait = self.down.map_or(self.config.patience, |until| until - now);
            return LeaseVerdict::Refused { reason, retry_after: Some(wait) };
        };
        match local.check(now, cost, &[Charge::Keyed { quota: QuotaId(0), key, prefix }]).verdict {
            Verdict::Allowed => LeaseVerdict::Allowed(Basis::Local),
            Verdict::Limited { retry_after } => {
                LeaseVerdict::Refused { reason: Shortage::Local, retry_after }
            }
        }
    }

    /// Asks for more tokens, if there are few, and if it may be asked.
    fn ask(&mut self, now: Instant, key: u64, cost: u32) {
        let Some(client) = self.clients.get_mut(&key) else { return };
        let plenty = client.balance * 2 >= i64::from(self.config.tokens)
            && client.balance >= i64::from(cost);
        let waits = client.asking || client.spent_until > now;
        let left_alone = self.down.is_some_and(|until| until > now);
        if plenty || waits || left_alone || self.pending.len() >= self.config.asks {
            return;
        }
        let wanted = i64::from(self.config.tokens.max(cost)) - client.balance;
        let tokens = u32::try_from(wanted).unwrap_or(u32::MAX);
        client.asking = true;
        self.asked += 1;
        let id = AskId(self.asked);
        self.pending.insert(id, Pending { key, tokens, at: now });
        self.unsent.push_back(Ask { id, key: KeyHash(key), tokens });
        if self.down.is_some() {
            // One at a time.
            self.down = Some(now + self.config.pause);
        }
    }

    fn answered(&mut self, now: Instant, key: u64) {
        if let Some(client) = self.clients.get_mut(&key) {
            client.asking = false;
        }
        self.arm(now, key);
    }

    /// Notes when a client is to be looked at next, or forgets it.
    fn arm(&mut self, now: Instant, key: u64) {
        let Some(client) = self.clients.get_mut(&key) else { return };
        client.expire(now);
        // Whoever may not be asked now may be later.
        let later = self.down.filter(|until| *until > now).unwrap_or(now + self.config.patience);
        let at = match client.balance {
            _ if client.asking => None,
            1.. => Some(client.ends),
            // To be forgotten, but not that the store has no more.
            0 => Some(client.spent_until),
            // To be paid.
            _ if client.spent_until > now => Some(client.spent_until),
            _ => Some(later),
        };
        if let Some(old) = client.due.take() {
            self.due.remove(&(old, key));
        }
        match at {
            Some(at) if client.balance == 0 && at <= now => {
                self.clients.remove(&key);
            }
            Some(at) => {
                client.due = Some(at);
                self.due.insert((at, key));
            }
            None => {}
        }
    }
}

impl Client {
    const fn new(now: Instant) -> Self {
        Self { balance: 0, ends: now, spent_until: Instant::ZERO, asking: false, due: None }
    }

    fn expire(&mut self, now: Instant) {
        if self.balance > 0 && self.ends <= now {
            self.balance = 0;
        }
    }
}

impl Machine for Leases {
    type Event = Ask;
    type Error = Infallible;

    fn poll_event(&mut self, now: Instant) -> Result<Option<Ask>, Infallible> {
        self.handle_timeout(now);
        Ok(self.unsent.pop_front())
    }

    fn handle_timeout(&mut self, now: Instant) {
        while let Some((&id, pending)) = self.pending.first_key_value() {
            if pending.at + self.config.patience > now {
                break;
            }
            let key = pending.key;
            self.pending.remove(&id);
            self.unsent.retain(|ask| ask.id != id);
            self.down = Some(now + self.config.pause);
            self.log.record(Event::Asked(AskOutcome::Unanswered));
            self.answered(now, key);
        }
        while let Some(&(at, key)) = self.due.first() {
            // At the end of the clock nothing can be put off any more.
            if at > now || now == Instant::MAX {
                break;
            }
            if self.clients.get(&key).is_some_and(|client| client.balance < 0) {
                self.ask(now, key, 0);
            }
            self.arm(now, key);
        }
    }

    fn deadline(&self) -> Option<Deadline> {
        let answer = self.pending.first_key_value();
        let answer = answer.map(|(_, pending)| pending.at + self.config.patience);
        let at = match (answer, self.due.first()) {
            (Some(answer), Some((due, _))) => answer.min(*due),
            (answer, due) => answer.or_else(|| due.map(|(at, _)| *at))?,
        };
        Some(Deadline { at, why: Timer::Lease })
    }

    fn poll_observed(&mut self) -> Option<Event> {
        self.log.pop()
    }
}

impl fmt::Display for BadLease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Lease => "a lease of no tokens, or for no time, leaves nothing to give",
            Self::Time => "a store needs some time to answer, and some to recover",
            Self::Room => "leases without room for an ask and a client let nobody through",
            Self::Limiter(why) => return why.fmt(f),
        })
    }
}

impl core::error::Error for BadLease {}

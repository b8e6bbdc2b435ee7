//! The keep-alive pool, as decisions over ids: it holds no sockets.
//!
//! A call asks with [`Pool::check_out`] and is told to use a kept connection, to dial a new one, or
//! to wait. Whoever got a connection brings it back with [`Pool::check_in`] or says with
//! [`Pool::discard`] that it is gone; whoever waits hears through [`Machine::poll_event`], or leaves
//! with [`Pool::abandon`]. Drain `poll_event` after every input.

use core::convert::Infallible;
use core::time::Duration;
use std::collections::{BTreeMap, VecDeque};

use crate::error::{Error, Misuse, Phase};
use crate::jitter::Jitter;
use crate::machine::Machine;
use crate::time::{Deadline, Instant, Timer};

/// Where connections lead; a number that the embedder gives to each of its destinations.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Destination(pub u64);

/// A connection, or the right to dial one. Its number of use makes a stale id harmless.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ConnId {
    index: u32,
    generation: u32,
}

impl ConnId {
    /// The place in a table of connections; below the highest number ever open at once.
    pub fn index(self) -> usize {
        self.index as usize
    }
}

/// A call that waits. Never given twice.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct WaiterId {
    destination: Destination,
    ticket: u64,
}

/// The caps and times of a pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolConfig {
    /// Connections in all, those being dialled included. Default 100.
    pub max_connections: usize,
    /// Connections to one destination. Default 100.
    pub max_per_destination: usize,
    /// Calls that may wait; the next one is refused. Default 1024.
    pub max_waiting: usize,
    /// A connection unused for this long is closed. Default 15 s.
    pub idle: Duration,
    /// A connection dialled this long ago, give or take 10 %, is not used again. Default 5 min.
    pub max_age: Duration,
}

impl Default for PoolConfig {
    fn default() -> Self {
        Self {
            max_connections: 100,
            max_per_destination: 100,
            max_waiting: 1024,
            idle: Duration::from_secs(15),
            max_age: Duration::from_secs(300),
        }
    }
}

impl PoolConfig {
    /// Refuses caps that allow nothing.
    pub fn check(&self) -> Result<(), Error> {
        let sane = (1..=u32::MAX as usize).contains(&self.max_connections)
            && (1..=self.max_connections).contains(&self.max_per_destination);
        if sane { Ok(()) } else { Err(Error::usage(Misuse::Config, Phase::Pool)) }
    }
}

/// What kind of connection a call takes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Want {
    /// A kept one if there is one.
    Any,
    /// A new one: kept ones have just proved stale.
    Fresh,
}

/// What a call that asks is told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub enum Verdict {
    /// Take this kept connection.
    Use(ConnId),
    /// Dial; the new connection has this id.
    Dial(ConnId),
    /// Wait for an [`Action`] with this id.
    Wait(WaiterId),
    /// Too many wait already.
    Full,
}

/// What the pool decided after something changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Action {
    /// This waiter takes this kept connection.
    Use {
        /// Who waited.
        waiter: WaiterId,
        /// What it gets.
        conn: ConnId,
    },
    /// This waiter dials; the new connection has this id.
    Dial {
        /// Who waited.
        waiter: WaiterId,
        /// What it gets.
        conn: ConnId,
    },
    /// The kept connection with this id is to be closed. Its id is stale already, its place in the
    /// caps already given away: a driver that is slow to close may exceed them for a moment.
    Close(ConnId),
    /// This waiter waited until its deadline.
    Expired(WaiterId),
}

#[derive(Debug)]
struct Slot {
    generation: u32,
    state: State,
}

#[derive(Clone, Copy, Debug)]
enum State {
    Free,
    /// With a call, that dials it or uses it.
    Out {
        destination: Destination,
        retire_at: Instant,
    },
    Idle {
        destination: Destination,
        retire_at: Instant,
        since: Instant,
        until: Instant,
    },
}

#[derive(Debug)]
struct Waiter {
    ticket: u64,
    by: Instant,
    want: Want,
}

/// What leads to one destination.
#[derive(Debug, Default)]
struct Host {
    /// Connections, idle or out.
    open: usize,
    /// Slots of the idle ones; the one used last at the back.
    idle: VecDeque<u32>,
    /// In the order of their tickets.
    waiters: VecDeque<Waiter>,
}

/// The keep-alive pool of a client, for any number of destinations.
///
/// It is bounded by its caps: a slot of some 48 bytes a connection, a waiter of 24 bytes a call.
#[derive(Debug)]
pub struct Pool {
    config: PoolConfig,
    slots: Vec<Slot>,
    free: Vec<u32>,
    hosts: BTreeMap<Destination, Host>,
    open: usize,
    idle: usize,
    waiting: usize,
    next_ticket: u64,
    /// Nothing is due before this. Only ever too early: found late is never possible.
    due: Instant,
    closing: VecDeque<ConnId>,
    expired: VecDeque<WaiterId>,
    jitter: Jitter,
}

impl Pool {
    /// An empty pool. `seed` spreads the ages at which connections are retired, nothing else.
    pub fn new(config: PoolConfig, seed: u64) -> Result<Self, Error> {
        config.check()?;
        Ok(Self {
            config,
            slots: Vec::new(),
            free: Vec::new(),
            hosts: BTreeMap::new(),
            open: 0,
            idle: 0,
            waiting: 0,
            next_ticket: 0,
            due: Instant::MAX,
            closing: VecDeque::new(),
            expired: VecDeque::new(),
            jitter: Jitter::new(seed),
        })
    }

    /// A call to `destination` asks for a connection and would wait for one until `by`.
    pub fn check_out(
        &mut self,
        now: Instant,
        destination: Destination,
        by: Instant,
        want: Want,
    ) -> Verdict {
        self.handle_timeout(now);
        // Nobody overtakes those who wait for the same destination.
        let first = self.hosts.get(&destination).is_none_or(|host| host.waiters.is_empty());
        if first && let Some(found) = self.place(now, destination, want) {
            return match found {
                Placed::Kept(conn) => Verdict::Use(conn),
                Placed::New(conn) => Verdict::Dial(conn),
            };
        }
        if self.waiting >= self.config.max_waiting {
            return Verdict::Full;
        }
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        self.waiting += 1;
        self.due = self.due.min(by);
        let host = self.hosts.entry(destination).or_default();
        host.waiters.push_back(Waiter { ticket, by, want });
        Verdict::Wait(WaiterId { destination, ticket })
    }

    /// The connection can carry another exchange: the oldest waiter takes it, or it is kept.
    pub fn check_in(&mut self, now: Instant, conn: ConnId) {
        self.handle_timeout(now);
        let Some(State::Out { destination, retire_at }) = self.state(conn) else { return };
        let until = (now + self.config.idle).min(retire_at);
        if until <= now {
            self.release(conn, destination);
            self.closing.push_back(conn);
            return;
        }
        self.set(conn, State::Idle { destination, retire_at, since: now, until });
        self.hosts.entry(destination).or_default().idle.push_back(conn.index);
        self.idle += 1;
        self.due = self.due.min(until);
    }

    /// The connection is gone, or was never made: its place is free.
    pub fn discard(&mut self, now: Instant, conn: ConnId) {
        self.handle_timeout(now);
        match self.state(conn) {
            Some(State::Out { destination, .. }) => self.release(conn, destination),
            Some(State::Idle { destination, .. }) => {
                self.unlist(conn.index, destination);
                self.release(conn, destination);
            }
            Some(State::Free) | None => {}
        }
    }

    /// The waiter gives up.
    pub fn abandon(&mut self, now: Instant, waiter: WaiterId) {
        self.handle_timeout(now);
        self.expired.retain(|expired| *expired != waiter);
        let Some(host) = self.hosts.get_mut(&waiter.destination) else { return };
        if let Ok(at) = host.waiters.binary_search_by_key(&waiter.ticket, |w| w.ticket) {
            host.waiters.remove(at);
            self.waiting -= 1;
            self.forget_if_unused(waiter.destination);
        }
    }

    /// Connections, idle or with a call.
    pub fn open(&self) -> usize {
        self.open
    }

    /// Connections that nobody uses.
    pub fn idle(&self) -> usize {
        self.idle
    }

    /// Calls that wait.
    pub fn waiting(&self) -> usize {
        self.waiting
    }

    /// Finds a connection for a call, or the room for a new one.
    fn place(&mut self, now: Instant, destination: Destination, want: Want) -> Option<Placed> {
        let (open_here, last) = self
            .hosts
            .get(&destination)
            .map_or((0, None), |host| (host.open, host.idle.back().copied()));
        if want == Want::Any
            && let Some(index) = last
        {
            return Some(Placed::Kept(self.take(index, destination)));
        }
        if open_here >= self.config.max_per_destination {
            // Only a call that refuses kept connections gets here while one is idle.
            let oldest = self.hosts.get(&destination)?.idle.front().copied()?;
            self.evict(oldest, destination);
        } else if self.open >= self.config.max_connections {
            let (oldest, of) = self.oldest_idle()?;
            self.evict(oldest, of);
        }
        Some(Placed::New(self.occupy(now, destination)))
    }

    /// The connection that has been idle for longest, of any destination.
    fn oldest_idle(&self) -> Option<(u32, Destination)> {
        let fronts = self.hosts.iter().filter_map(|(of, host)| Some((*host.idle.front()?, *of)));
        fronts.min_by_key(|(index, _)| match self.slots.get(*index as usize).map(|s| s.state) {
            Some(State::Idle { since, .. }) => since,
            _ => Instant::MAX,
        })
    }

    fn take(&mut self, index: u32, destination: Destination) -> ConnId {
        self.unlist(index, destination);
        let conn = self.id(index);
        if let Some(State::Idle { retire_at, .. }) = self.state(conn) {
            self.set(conn, State::Out { destination, retire_at });
        }
        conn
    }

    fn evict(&mut self, index: u32, destination: Destination) {
        let conn = self.id(index);
        self.unlist(index, destination);
        self.release(conn, destination);
        self.closing.push_back(conn);
    }

    fn occupy(&mut self, now: Instant, destination: Destination) -> ConnId {
        let index = self.free.pop().unwrap_or_else(|| {
            let index = u32::try_from(self.slots.len()).unwrap_or(u32::MAX);
            self.slots.push(Slot { generation: 0, state: State::Free });
            index
        });
        let retire_at = now + self.spread_age();
        let conn = self.id(index);
        self.set(conn, State::Out { destination, retire_at });
        self.hosts.entry(destination).or_default().open += 1;
        self.open += 1;
        conn
    }

    fn release(&mut self, conn: ConnId, destination: Destination) {
        if let Some(slot) = self.slots.get_mut(conn.index()) {
            slot.generation = slot.generation.wrapping_add(1);
            slot.state = State::Free;
        }
        self.free.push(conn.index);
        self.open -= 1;
        if let Some(host) = self.hosts.get_mut(&destination) {
            host.open -= 1;
        }
        self.forget_if_unused(destination);
    }

    /// Takes a connection off the list of idle ones.
    fn unlist(&mut self, index: u32, destination: Destination) {
        let Some(host) = self.hosts.get_mut(&destination) else { return };
        if let Some(at) = host.idle.iter().rposition(|listed| *listed == index) {
            host.idle.remove(at);
            self.idle -= 1;
        }
    }

    fn forget_if_unused(&mut self, destination: Destination) {
        let unused = |host: &Host| host.open == 0 && host.waiters.is_empty();
        if self.hosts.get(&destination).is_some_and(unused) {
            self.hosts.remove(&destination);
        }
    }

    fn id(&self, index: u32) -> ConnId {
        let generation = self.slots.get(index as usize).map_or(0, |slot| slot.generation);
        ConnId { index, generation }
    }

    /// `None` for an id that is stale or foreign.
    fn state(&self, conn: ConnId) -> Option<State> {
        let slot = self.slots.get(conn.index())?;
        (slot.generation == conn.generation).then_some(slot.state)
    }

    fn set(&mut self, conn: ConnId, state: State) {
        if let Some(slot) = self.slots.get_mut(conn.index()) {
            slot.state = state;
        }
    }

    /// The configured age, give or take 10 %, so that connections dialled together do not end
    /// together.
    fn spread_age(&mut self) -> Duration {
        let tenth = self.config.max_age / 10;
        let (low, high) =
            (self.config.max_age.saturating_sub(tenth), self.config.max_age.saturating_add(tenth));
        self.jitter.between(low, high)
    }

    /// The idle connections that are due, and the next time one of the others is.
    fn expire_idle(&mut self, now: Instant) -> Instant {
        let mut next = Instant::MAX;
        let mut over = Vec::new();
        for (index, slot) in (0u32..).zip(&self.slots) {
            match slot.state {
                State::Idle { destination, until, .. } if until <= now => {
                    over.push((index, destination));
                }
                State::Idle { until, .. } => next = next.min(until),
                State::Free | State::Out { .. } => {}
            }
        }
        for (index, destination) in over {
            self.evict(index, destination);
        }
        next
    }

    /// The same for the waiters.
    fn expire_waiters(&mut self, now: Instant) -> Instant {
        let mut next = Instant::MAX;
        let Self { hosts, expired, waiting, .. } = self;
        hosts.retain(|destination, host| {
            host.waiters.retain(|waiter| {
                let over = waiter.by <= now;
                if over {
                    let ticket = waiter.ticket;
                    expired.push_back(WaiterId { destination: *destination, ticket });
                    *waiting -= 1;
                } else {
                    next = next.min(waiter.by);
                }
                !over
            });
            host.open > 0 || !host.waiters.is_empty()
        });
        next
    }

    /// Serves the oldest waiter that can be served.
    fn serve(&mut self, now: Instant) -> Option<Action> {
        if self.waiting == 0 {
            return None;
        }
        let room = self.open < self.config.max_connections || self.idle > 0;
        let servable = |host: &Host| {
            !host.idle.is_empty() || (room && host.open < self.config.max_per_destination)
        };
        let (ticket, want, destination) = self
            .hosts
            .iter()
            .filter(|(_, host)| servable(host))
            .filter_map(|(of, host)| host.waiters.front().map(|w| (w.ticket, w.want, *of)))
            .min_by_key(|(ticket, ..)| *ticket)?;
        let placed = self.place(now, destination, want)?;
        if let Some(host) = self.hosts.get_mut(&destination) {
            host.waiters.pop_front();
            self.waiting -= 1;
        }
        let waiter = WaiterId { destination, ticket };
        Some(match placed {
            Placed::Kept(conn) => Action::Use { waiter, conn },
            Placed::New(conn) => Action::Dial { waiter, conn },
        })
    }
}

enum Placed {
    Kept(ConnId),
    New(ConnId),
}

impl Machine for Pool {
    type Event = Action;
    type Error = Infallible;

    fn poll_event(&mut self, now: Instant) -> Result<Option<Action>, Infallible> {
        self.handle_timeout(now);
        if let Some(conn) = self.closing.pop_front() {
            return Ok(Some(Action::Close(conn)));
        }
        if let Some(waiter) = self.expired.pop_front() {
            return Ok(Some(Action::Expired(waiter)));
        }
        Ok(self.serve(now))
    }

    fn handle_timeout(&mut self, now: Instant) {
        if now < self.due {
            return;
        }
        self.due = self.expire_idle(now).min(self.expire_waiters(now));
    }

    /// Walks all connections and waiters: a driver that lets connections expire when it next looks
    /// at the pool need not ask.
    fn deadline(&self) -> Option<Deadline> {
        let idle = self.slots.iter().filter_map(|slot| match slot.state {
            State::Idle { until, .. } => Some(Deadline { at: until, why: Timer::Idle }),
            State::Free | State::Out { .. } => None,
        });
        let waiters = self.hosts.values().flat_map(|host| &host.waiters);
        let waiters = waiters.map(|waiter| Deadline { at: waiter.by, why: Timer::PoolWait });
        idle.chain(waiters).min_by_key(|deadline| deadline.at)
    }
}

//! Who is connected, and how all leave: the core's machines, and what is shared to obey them.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use sinew_core::Machine as _;
use sinew_core::limit::Stage;
use sinew_core::observe::Event;
use sinew_core::server::drain::{ConnectionId, Drain, DrainEvent, Phase, Report, TooLate};
use sinew_core::server::{Connections, ConnectionsConfig};
use sinew_core::time::Instant;

use super::config::RestServerConfig;
use super::memory::{Change, Memory};
use super::observed::Observed;
use super::report::{Departed, DrainReport};
use super::seat::{Orders, Seat};
use super::service::{Notice, Observer};
use super::ticket::Ticket;
use crate::error::Error;
use crate::io::Peer;
use crate::runtime::Runtime;

/// Shared by the server, its handles and its connections.
pub(super) struct Control {
    clock: Box<dyn Fn() -> Instant + Send + Sync>,
    observed: Observed,
    pub(super) memory: Memory,
    state: Mutex<State>,
}

/// What changes. Others look into it under the lock.
pub(super) struct State {
    pub(super) drain: Drain,
    /// The phase that connections and listeners heed: the machine's, once the server saw it.
    entered: Phase,
    pub(super) connections: Connections,
    pub(super) seats: BTreeMap<ConnectionId, Arc<Seat>>,
    /// Somebody serves, who heeds phases and timers.
    pub(super) served: bool,
    /// Who waits for a change, by the number of its [`Wait`].
    pub(super) waiting: Vec<(u64, Waker)>,
    waits: u64,
    pub(super) departed: Vec<Departed>,
    ended: Option<Report>,
}

impl Control {
    /// Of a server that serves. `caps`: how many connections it has at most.
    pub(super) fn of<R: Runtime>(
        runtime: R,
        config: &RestServerConfig,
        caps: ConnectionsConfig,
        observer: Option<Observer>,
    ) -> Result<Self, Error> {
        // It spreads moments; nobody who guesses it gains anything.
        let seed = getrandom::u64().unwrap_or_default();
        let drain = Drain::new(config.drain, seed);
        let connections = Connections::new(caps);
        let state = State {
            drain: drain.map_err(|bad| Error::config(bad.to_string()))?,
            entered: Phase::Serving,
            connections: connections.map_err(|bad| Error::config(bad.to_string()))?,
            seats: BTreeMap::new(),
            served: false,
            waiting: Vec::new(),
            waits: 0,
            departed: Vec::new(),
            ended: None,
        };
        let clock = Box::new(move || runtime.now());
        let memory = Memory::new(config.memory).map_err(|bad| Error::config(bad.to_string()))?;
        let observed = Observed::by(observer);
        Ok(Self { clock, observed, memory, state: Mutex::new(state) })
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics under this lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> Instant {
        (self.clock)()
    }

    /// How far the machine has gone.
    pub(super) fn phase(&self) -> Phase {
        self.lock().drain.phase()
    }

    /// Whether there are as many connections as there may be.
    pub(super) fn is_full(&self) -> bool {
        !self.lock().connections.has_room(Stage::Calm)
    }

    pub(super) fn connections(&self) -> usize {
        self.lock().connections.total()
    }

    /// Tells the server how to leave, or to stay.
    pub(super) fn command<T>(&self, command: impl FnOnce(&mut Drain, Instant) -> T) -> T {
        let now = self.now();
        let mut state = self.lock();
        let answer = command(&mut state.drain, now);
        let woken = std::mem::take(&mut state.waiting);
        drop(state);
        wake(woken);
        answer
    }

    /// What the server goes by was replaced. `urgent`: connections that wait look at once, and not when
    /// something comes.
    pub(super) fn renew(&self, urgent: bool) {
        let state = self.lock();
        let woken = state.seats.values().filter_map(|seat| seat.order(Orders::RENEW));
        // A waker may own what it wakes: none is dropped under the lock.
        let woken: Vec<Waker> = woken.collect();
        drop(state);
        if urgent {
            woken.into_iter().for_each(Waker::wake);
        }
    }

    /// Takes it back.
    pub(super) fn resume(&self) -> Result<(), TooLate> {
        self.command(Drain::resume)
    }

    /// Obeys the machine as far as it is due, and one phase at most: who accepts has to see each. When
    /// there is more to do; who waits was woken where that is now.
    pub(super) fn drive(&self, now: Instant) -> Option<Instant> {
        let mut woken = Vec::new();
        let mut entered = None;
        let mut state = self.lock();
        while entered.is_none() {
            let Ok(event) = state.drain.poll_event(now);
            match event {
                None => break,
                Some(DrainEvent::Entered(phase)) => {
                    if phase == Phase::Serving {
                        state.departed.clear();
                    }
                    state.entered = phase;
                    entered = Some(phase);
                    for seat in state.seats.values() {
                        woken.extend(seat.enter(phase));
                    }
                }
                Some(DrainEvent::Tell(id)) => woken.extend(state.order(id, Orders::TELL)),
                Some(DrainEvent::Close(id)) => woken.extend(state.order(id, Orders::CLOSE)),
                Some(DrainEvent::Reset(id)) => woken.extend(state.order(id, Orders::RESET)),
                Some(DrainEvent::Ended(report)) => state.ended = Some(report),
            }
        }
        let deadline = state.drain.deadline().map(|deadline| deadline.at);
        let is_over = state.ended.is_some();
        let waiting =
            if entered.is_some() || is_over { std::mem::take(&mut state.waiting) } else { vec![] };
        drop(state);
        woken.into_iter().for_each(Waker::wake);
        wake(waiting);
        if let Some(phase) = entered {
            self.tell(None, Event::Drain(phase));
        }
        deadline
    }

    /// A connection does something else, or is gone.
    pub(super) fn hear<T>(
        &self,
        state: &mut State,
        input: impl FnOnce(&mut State, Instant) -> T,
    ) -> (T, bool) {
        let was = state.drain.deadline();
        let output = input(state, self.now());
        let is = state.drain.deadline();
        let is_sooner = is.is_some_and(|is| was.is_none_or(|was| is.at < was.at));
        let is_empty = state.entered > Phase::Serving && state.drain.connections() == 0;
        (output, is_sooner || is_empty)
    }

    /// Does what follows from a change of the ledger.
    pub(super) fn heed(&self, change: Change) {
        let Change { stage, woken } = change;
        woken.into_iter().for_each(Waker::wake);
        let Some(stage) = stage else { return };
        let mut state = self.lock();
        let waiting = std::mem::take(&mut state.waiting);
        let connections: Vec<Waker> =
            state.seats.values().filter_map(|seat| seat.waker()).collect();
        drop(state);
        wake(waiting);
        connections.into_iter().for_each(Waker::wake);
        self.tell(None, Event::Pressure(stage));
    }

    pub(super) fn tell(&self, peer: Option<&Peer>, event: Event) {
        self.observed.tell(peer, &Notice::Decided(event));
    }

    /// Whom connections, phases and memory are told to from now on.
    pub(super) fn observe(&self, observer: Option<Observer>) {
        self.observed.replace(observer);
    }

    /// Somebody who waits for this server.
    pub(super) fn wait(self: &Arc<Self>) -> Wait {
        let mut state = self.lock();
        state.waits += 1;
        Wait { control: Arc::clone(self), id: state.waits }
    }

    /// Takes a place for a connection. `counts`: it is one of those that its address may have. `None`: it
    /// is dropped, because there are too many, or because the server is about to be gone.
    pub(super) fn admit(self: &Arc<Self>, peer: Peer, counts: bool) -> Option<Ticket> {
        let address = peer.address().filter(|_| counts);
        let mut state = self.lock();
        let admitted = state.connections.admit(address, self.memory.stage());
        let place = match admitted {
            Ok(place) => place,
            Err(refused) => {
                drop(state);
                self.tell(Some(&peer), Event::ConnectionRefused(refused));
                return None;
            }
        };
        let Some(id) = state.drain.admit() else {
            state.connections.leave(place);
            return None;
        };
        let seat = Arc::new(Seat::new(state.entered));
        state.seats.insert(id, Arc::clone(&seat));
        drop(state);
        Some(Ticket::new(self, id, place, peer, seat))
    }
}

impl State {
    fn order(&self, id: ConnectionId, orders: Orders) -> Option<Waker> {
        self.seats.get(&id)?.order(orders)
    }
}

pub(super) fn wake(waiting: Vec<(u64, Waker)>) {
    for (_, waker) in waiting {
        waker.wake();
    }
}

/// Waits for a change. Dropping it leaves nothing behind.
#[derive(Debug)]
pub(super) struct Wait {
    control: Arc<Control>,
    id: u64,
}

impl Wait {
    /// Ready when there is room for a connection.
    pub(super) fn poll_room(&self, cx: &Context<'_>) -> Poll<()> {
        // Looked at under the lock, so that no change of it passes unseen.
        let stage = || self.control.memory.stage();
        self.poll(cx, |state| state.connections.has_room(stage()).then_some(()))
    }

    /// Ready when the listeners are to close.
    pub(super) fn poll_closing(&self, cx: &Context<'_>) -> Poll<()> {
        self.poll(cx, |state| (!state.entered.accepts()).then_some(()))
    }

    /// Ready when the server was told to leave.
    pub(super) fn poll_told(&self, cx: &Context<'_>) -> Poll<()> {
        self.poll(cx, |state| (state.entered != Phase::Serving).then_some(()))
    }

    /// Ready when clients are told that the server leaves.
    pub(super) fn poll_leaving(&self, cx: &Context<'_>) -> Poll<()> {
        self.poll(cx, |state| state.entered.closes().then_some(()))
    }

    /// Ready when nothing is left.
    pub(super) fn poll_over(&self, cx: &Context<'_>) -> Poll<DrainReport> {
        self.poll(cx, |state| {
            let totals = state.ended?;
            Some(DrainReport { totals, connections: state.departed.clone() })
        })
    }

    fn poll<T>(&self, cx: &Context<'_>, ready: impl FnOnce(&State) -> Option<T>) -> Poll<T> {
        let mut state = self.control.lock();
        if let Some(value) = ready(&state) {
            return Poll::Ready(value);
        }
        // A waker may own what it wakes: none is dropped under the lock.
        let old = match state.waiting.iter_mut().find(|(id, _)| *id == self.id) {
            Some((_, known)) if known.will_wake(cx.waker()) => None,
            Some((_, known)) => Some(std::mem::replace(known, cx.waker().clone())),
            None => {
                state.waiting.push((self.id, cx.waker().clone()));
                None
            }
        };
        drop(state);
        drop(old);
        Poll::Pending
    }
}

impl Drop for Wait {
    fn drop(&mut self) {
        let mut state = self.control.lock();
        let place = state.waiting.iter().position(|(id, _)| *id == self.id);
        let own = place.map(|place| state.waiting.swap_remove(place));
        drop(state);
        drop(own);
    }
}

impl fmt::Debug for Control {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.lock();
        f.debug_struct("Control")
            .field("phase", &state.drain.phase())
            .field("connections", &state.connections.total())
            .finish_non_exhaustive()
    }
}

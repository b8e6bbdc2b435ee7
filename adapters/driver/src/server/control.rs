//! Who is connected, and how they are told to stop.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

/// How far a server's life has come.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[repr(u8)]
pub(super) enum Phase {
    /// Accepting and answering.
    Serving = 0,
    /// No new connections; running exchanges are finished.
    Draining = 1,
    /// What is left is dropped.
    Aborting = 2,
}

/// How a connection ended while the server was stopping.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Ending {
    /// It carried no exchange when the server stopped.
    Idle,
    /// Its exchange was finished.
    Drained,
    /// Its client left, and its handler was finished all the same.
    Finished,
    /// It was dropped.
    Aborted,
}

/// Shared by the server, its handles and its connections.
#[derive(Debug)]
pub(super) struct Control {
    phase: AtomicU8,
    /// From the start of the drain to its end, in milliseconds.
    patience: AtomicU64,
    cap: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// One place per connection; a free one holds none.
    wakers: Vec<Option<Waker>>,
    free: Vec<usize>,
    live: usize,
    /// Who waits for a connection to end or for the phase to change, by the number of its [`Wait`].
    waiting: Vec<(u64, Waker)>,
    waits: u64,
    counts: Counts,
}

/// Connections that ended since the server was told to stop.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Counts {
    pub(super) idle: usize,
    pub(super) drained: usize,
    pub(super) finished: usize,
    pub(super) aborted: usize,
}

impl Control {
    pub(super) fn new(cap: usize) -> Self {
        Self {
            phase: AtomicU8::new(Phase::Serving as u8),
            patience: AtomicU64::new(0),
            cap,
            state: Mutex::default(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics under this lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn phase(&self) -> Phase {
        match self.phase.load(Ordering::Acquire) {
            0 => Phase::Serving,
            1 => Phase::Draining,
            _ => Phase::Aborting,
        }
    }

    /// Moves on to a later phase and wakes everyone; never back.
    pub(super) fn advance(&self, phase: Phase) {
        let mut state = self.lock();
        if phase <= self.phase() {
            return;
        }
        self.phase.store(phase as u8, Ordering::Release);
        let connections: Vec<Waker> = state.wakers.iter().flatten().cloned().collect();
        let waiting = std::mem::take(&mut state.waiting);
        drop(state);
        connections.into_iter().for_each(Waker::wake);
        for (_, waker) in waiting {
            waker.wake();
        }
    }

    /// Stops accepting, and lets what runs finish within this time.
    pub(super) fn drain(&self, patience: Duration) {
        let millis = u64::try_from(patience.as_millis()).unwrap_or(u64::MAX);
        self.patience.store(millis, Ordering::Release);
        self.advance(Phase::Draining);
    }

    pub(super) fn connections(&self) -> usize {
        self.lock().live
    }

    /// Somebody who waits for this server.
    pub(super) fn wait(self: &Arc<Self>) -> Wait {
        let mut state = self.lock();
        state.waits += 1;
        Wait { control: Arc::clone(self), id: state.waits }
    }

    /// Takes a place for a connection.
    pub(super) fn admit(self: &Arc<Self>) -> Ticket {
        let mut state = self.lock();
        state.live += 1;
        let id = state.free.pop().unwrap_or_else(|| {
            state.wakers.push(None);
            state.wakers.len() - 1
        });
        drop(state);
        Ticket { control: Arc::clone(self), id, waker: None, ending: Ending::Aborted }
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
        self.poll(cx, |state, _| (state.live < self.control.cap).then_some(()))
    }

    /// Ready when the server is stopping.
    pub(super) fn poll_stopping(&self, cx: &Context<'_>) -> Poll<()> {
        self.poll(cx, |_, phase| (phase > Phase::Serving).then_some(()))
    }

    /// Ready with the counts when the server is stopping and no connection is left.
    pub(super) fn poll_empty(&self, cx: &Context<'_>) -> Poll<Counts> {
        self.poll(cx, |state, phase| {
            (state.live == 0 && phase > Phase::Serving).then_some(state.counts)
        })
    }

    fn poll<T>(&self, cx: &Context<'_>, ready: impl FnOnce(&State, Phase) -> Option<T>) -> Poll<T> {
        let mut state = self.control.lock();
        if let Some(value) = ready(&state, self.control.phase()) {
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

/// A connection's place; dropping it gives the place back.
#[derive(Debug)]
pub(super) struct Ticket {
    control: Arc<Control>,
    id: usize,
    waker: Option<Waker>,
    ending: Ending,
}

impl Ticket {
    /// Looks at the phase, and makes sure that a change of it wakes this task.
    pub(super) fn phase(&mut self, cx: &Context<'_>) -> Phase {
        if !self.waker.as_ref().is_some_and(|known| known.will_wake(cx.waker())) {
            let waker = cx.waker().clone();
            let mut state = self.control.lock();
            let old = state.wakers.get_mut(self.id).and_then(|place| place.replace(waker.clone()));
            drop(state);
            drop(old);
            self.waker = Some(waker);
        }
        self.control.phase()
    }

    /// Whether the server was told to stop.
    pub(super) fn is_stopping(&self) -> bool {
        self.control.phase() > Phase::Serving
    }

    /// How long a server that stops waits for what runs.
    pub(super) fn patience(&self) -> Duration {
        Duration::from_millis(self.control.patience.load(Ordering::Acquire))
    }

    /// Says how the connection ended, for the report.
    pub(super) fn ends(&mut self, ending: Ending) {
        self.ending = ending;
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let mut state = self.control.lock();
        // A waker may own what it wakes: none is dropped under the lock.
        let own = state.wakers.get_mut(self.id).and_then(Option::take);
        let id = self.id;
        state.free.push(id);
        state.live = state.live.saturating_sub(1);
        let stopping = self.control.phase() > Phase::Serving;
        if stopping {
            match self.ending {
                Ending::Idle => state.counts.idle += 1,
                Ending::Drained => state.counts.drained += 1,
                Ending::Finished => state.counts.finished += 1,
                Ending::Aborted => state.counts.aborted += 1,
            }
        }
        let freed = state.live + 1 >= self.control.cap;
        let woken = if freed || stopping { std::mem::take(&mut state.waiting) } else { Vec::new() };
        drop(state);
        drop(own);
        for (_, waker) in woken {
            waker.wake();
        }
    }
}

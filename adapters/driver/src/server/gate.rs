//! Who is served when not all can be: the admission that all connections share.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use sinew_core::Machine as _;
use sinew_core::limit::{
    Admission, AdmissionConfig, AdmissionEvent, BadAdmission, Entry, Load, Permit, Shed, Ticket,
};
use sinew_core::policy::{Mode, Priority};
use sinew_core::server::health::Saturation;
use sinew_core::time::Instant;

use super::link::remember;

/// The way to the handlers. Whoever waits in front of it is no task, but a seat in its list.
#[derive(Debug)]
pub(super) struct Gate {
    mode: Mode,
    retry_after: Duration,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// Owners are places in `seats`.
    admission: Admission<usize>,
    seats: Vec<Option<Seat>>,
    free: Vec<usize>,
    /// The last time that anybody told.
    now: Instant,
    /// What the observer was told last.
    limit: u32,
    /// Who looks after those that wait for too long, and when it is awake again.
    keeper: Option<Waker>,
    awake: Instant,
}

/// A request that waits, or that has not heard yet what became of it.
#[derive(Debug)]
enum Seat {
    Waiting { ticket: Ticket, since: Instant, waker: Option<Waker> },
    Admitted(Permit, Instant, Duration),
    Shed(Shed),
}

/// What becomes of a request that came.
#[derive(Debug)]
pub(super) enum Entrance {
    Admitted(Place),
    Waits(Turn),
    Shed(Shed),
}

/// The place of a request that is served; dropped, it says nothing about how that went.
#[derive(Debug)]
pub(super) struct Place {
    gate: Arc<Gate>,
    permit: Option<Permit>,
    since: Instant,
}

/// The turn of a request that waits; dropped, it waits no more.
#[derive(Debug)]
pub(super) struct Turn {
    gate: Arc<Gate>,
    /// `None` once it is known what became of the request.
    seat: Option<usize>,
}

impl Gate {
    pub(super) fn new(config: AdmissionConfig) -> Result<Self, BadAdmission> {
        let admission = Admission::new(config)?;
        let state = State {
            limit: admission.limit(),
            admission,
            seats: Vec::new(),
            free: Vec::new(),
            now: Instant::ZERO,
            keeper: None,
            awake: Instant::MAX,
        };
        let mode = config.concurrency.mode;
        Ok(Self { mode, retry_after: config.retry_after, state: Mutex::new(state) })
    }

    /// Whether its verdicts are obeyed.
    pub(super) fn mode(&self) -> Mode {
        self.mode
    }

    /// When those who are turned away may come again.
    pub(super) fn retry_after(&self) -> Duration {
        self.retry_after
    }

    /// How much more can be taken up.
    pub(super) fn saturation(&self) -> Saturation {
        let admission = &self.lock().admission;
        let sum = |of: fn(&Admission<usize>, Priority) -> usize| -> usize {
            Priority::ALL.into_iter().map(|priority| of(admission, priority)).sum()
        };
        let limit = usize::try_from(admission.limit()).unwrap_or(usize::MAX);
        if sum(Admission::running) >= limit && admission.is_full() {
            Saturation::Full
        } else if sum(Admission::waiting) > 0 {
            Saturation::Busy
        } else {
            Saturation::Free
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics under this lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A request came.
    pub(super) fn arrive(self: &Arc<Self>, now: Instant, priority: Priority) -> Entrance {
        let mut woken = Vec::new();
        let mut state = self.lock();
        state.now = state.now.max(now);
        let seat = state.free.last().copied().unwrap_or(state.seats.len());
        let entrance = match state.admission.arrive(now, priority, seat) {
            Entry::Admitted(_, permit) => {
                let gate = Arc::clone(self);
                Entrance::Admitted(Place { gate, permit: Some(permit), since: now })
            }
            Entry::Shed(_, why) => Entrance::Shed(why),
            Entry::Waiting { ticket, .. } if !self.mode.obeys() => {
                state.admission.abandon(ticket);
                Entrance::Shed(Shed::Full)
            }
            Entry::Waiting { ticket, evicted } => {
                state.sit(seat, Seat::Waiting { ticket, since: now, waker: None });
                if let Some(victim) = evicted {
                    woken.extend(state.tell(victim, Seat::Shed(Shed::Full)));
                }
                state.pump(now, &mut woken);
                if state.admission.deadline().is_some_and(|due| due.at < state.awake) {
                    woken.extend(state.keeper.take());
                }
                Entrance::Waits(Turn { gate: Arc::clone(self), seat: Some(seat) })
            }
        };
        drop(state);
        woken.into_iter().for_each(Waker::wake);
        entrance
    }

    /// Gives a place back. The limit of requests at once, if this changed it.
    fn give_back(&self, permit: Permit, settled: Option<(Instant, Load)>) -> Option<u32> {
        let mut woken = Vec::new();
        let mut state = self.lock();
        match settled {
            Some((now, load)) => {
                state.now = state.now.max(now);
                state.admission.finish(now, permit, load);
            }
            None => state.admission.release(permit),
        }
        let (now, limit) = (state.now, state.admission.limit());
        state.pump(now, &mut woken);
        let changed = std::mem::replace(&mut state.limit, limit) != limit;
        drop(state);
        woken.into_iter().for_each(Waker::wake);
        changed.then_some(limit)
    }

    /// Looks after those that wait for too long. When somebody else will have; `keeper` is woken where
    /// that turns out to be sooner.
    pub(super) fn keep_time(&self, now: Instant, keeper: &Waker) -> Option<Instant> {
        let mut woken = Vec::new();
        let mut state = self.lock();
        state.now = state.now.max(now);
        state.pump(now, &mut woken);
        let due = state.admission.deadline().map(|due| due.at);
        state.awake = due.unwrap_or(Instant::MAX);
        let old = remember(&mut state.keeper, keeper);
        drop(state);
        drop(old);
        woken.into_iter().for_each(Waker::wake);
        due
    }
}

impl State {
    /// Takes a seat that is free, or the next new one.
    fn sit(&mut self, seat: usize, with: Seat) {
        match self.seats.get_mut(seat) {
            Some(place) => {
                self.free.pop();
                *place = Some(with);
            }
            None => self.seats.push(Some(with)),
        }
    }

    fn leave(&mut self, seat: usize) -> Option<Seat> {
        let left = self.seats.get_mut(seat)?.take()?;
        self.free.push(seat);
        Some(left)
    }

    /// Says what became of a request that waits. Whoever waits for that is to be woken.
    fn tell(&mut self, seat: usize, what: Seat) -> Option<Waker> {
        let place = self.seats.get_mut(seat)?.as_mut()?;
        match std::mem::replace(place, what) {
            Seat::Waiting { waker, .. } => waker,
            Seat::Admitted(..) | Seat::Shed(_) => None,
        }
    }

    /// Does what is due.
    fn pump(&mut self, now: Instant, woken: &mut Vec<Waker>) {
        while let Ok(Some(event)) = self.admission.poll_event(now) {
            let (seat, what) = match event {
                AdmissionEvent::Admitted(seat, permit) => {
                    let waited = match self.seats.get(seat) {
                        Some(Some(Seat::Waiting { since, .. })) => now.saturating_since(*since),
                        _ => Duration::ZERO,
                    };
                    (seat, Seat::Admitted(permit, now, waited))
                }
                AdmissionEvent::Shed(seat, why) => (seat, Seat::Shed(why)),
            };
            woken.extend(self.tell(seat, what));
        }
    }
}

impl Place {
    /// The request was answered, after what time and how. The limit of requests at once, if this
    /// changed it.
    pub(super) fn settle(
        mut self,
        now: Instant,
        load: impl FnOnce(Duration) -> Load,
    ) -> Option<u32> {
        let load = load(now.saturating_since(self.since));
        let permit = self.permit.take()?;
        self.gate.give_back(permit, Some((now, load)))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(permit) = self.permit.take() {
            self.gate.give_back(permit, None);
        }
    }
}

impl Turn {
    /// What became of the request, and how long it waited; else its task is woken when that is known.
    pub(super) fn poll(&mut self, cx: &Context<'_>) -> Poll<Result<(Place, Duration), Shed>> {
        let Some(seat) = self.seat else { return Poll::Ready(Err(Shed::Gone)) };
        let mut state = self.gate.lock();
        if let Some(Some(Seat::Waiting { waker, .. })) = state.seats.get_mut(seat) {
            let old = remember(waker, cx.waker());
            drop(state);
            drop(old);
            return Poll::Pending;
        }
        let left = state.leave(seat);
        drop(state);
        self.seat = None;
        Poll::Ready(match left {
            Some(Seat::Admitted(permit, since, waited)) => {
                let gate = Arc::clone(&self.gate);
                Ok((Place { gate, permit: Some(permit), since }, waited))
            }
            Some(Seat::Shed(why)) => Err(why),
            Some(Seat::Waiting { .. }) | None => Err(Shed::Gone),
        })
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let Some(seat) = self.seat else { return };
        let mut state = self.gate.lock();
        match state.leave(seat) {
            Some(Seat::Waiting { ticket, waker, .. }) => {
                state.admission.abandon(ticket);
                drop(state);
                // A waker may own what it wakes: none is dropped under the lock.
                drop(waker);
            }
            Some(Seat::Admitted(permit, ..)) => {
                drop(state);
                self.gate.give_back(permit, None);
            }
            Some(Seat::Shed(_)) | None => {}
        }
    }
}

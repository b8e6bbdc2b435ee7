//! The bytes of the whole server, and what is done when they run short.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Waker};
use std::time::Duration;

use sinew_core::limit::{Account, BadLedger, Ledger, LedgerConfig, Owner, Stage};

use super::control::Control;

/// The ledger that all connections share, and those who wait for room in it.
#[derive(Debug)]
pub(super) struct Memory {
    /// [`Stage::ALL`], counted from 1; 0 is calm.
    stage: AtomicU8,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    ledger: Ledger,
    /// Who waits for room, the first to come the first to be woken.
    starved: BTreeMap<u64, Waker>,
    came: u64,
    /// The last of those who waited when there was more room last: what one of them leaves goes to the
    /// next one.
    until: u64,
}

/// The bytes of a server, by who holds them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct MemoryReport {
    /// Bytes that are booked.
    pub used: u64,
    /// The most that ever were, at once.
    pub peak: u64,
    /// The same, by owner: the place of each in [`Owner::ALL`].
    pub by_owner: [u64; Owner::ALL.len()],
    /// What is done about them.
    pub stage: Stage,
}

/// What one connection holds. Dropped, it holds nothing.
#[derive(Debug)]
pub(super) struct Holdings {
    control: Arc<Control>,
    inbox: Account,
    outbox: Account,
    /// Its place among those who wait for room.
    waits: Option<u64>,
    /// The largest piece of an answer so far.
    piece: u64,
}

/// Bytes of one owner, until this is dropped.
#[derive(Debug)]
pub(super) struct Booked {
    control: Arc<Control>,
    owner: Owner,
    bytes: u64,
}

/// There is no room.
#[derive(Debug)]
pub(super) struct Short;

/// What a change of the ledger makes others do, once nothing is locked any more.
#[derive(Debug, Default)]
#[must_use]
pub(super) struct Change {
    pub(super) stage: Option<Stage>,
    pub(super) woken: Vec<Waker>,
}

impl Memory {
    pub(super) fn new(config: LedgerConfig) -> Result<Self, BadLedger> {
        let ledger = Ledger::new(config)?;
        let state = State { ledger, starved: BTreeMap::new(), came: 0, until: 0 };
        Ok(Self { stage: AtomicU8::new(0), state: Mutex::new(state) })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics under this lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is done now.
    pub(super) fn stage(&self) -> Stage {
        let place = usize::from(self.stage.load(Ordering::Relaxed));
        place.checked_sub(1).and_then(|place| Stage::ALL.get(place).copied()).unwrap_or_default()
    }

    pub(super) fn report(&self) -> MemoryReport {
        let state = self.lock();
        let ledger = &state.ledger;
        MemoryReport {
            used: ledger.used(),
            peak: ledger.peak(),
            by_owner: Owner::ALL.map(|owner| ledger.held(owner)),
            stage: ledger.stage(),
        }
    }

    /// Changes the ledger. `waited`: the place of somebody who waited for that, and may have been woken.
    fn change<T>(
        &self,
        waited: Option<u64>,
        change: impl FnOnce(&mut State) -> (T, Option<Stage>),
    ) -> (T, Change) {
        let mut state = self.lock();
        let before = state.ledger.left();
        let passes_on = waited.is_some_and(|place| !state.starved.contains_key(&place));
        let (done, stage) = change(&mut state);
        if let Some(stage) = stage {
            let place = Stage::ALL.iter().position(|known| *known == stage);
            let place = place.and_then(|place| u8::try_from(place + 1).ok()).unwrap_or_default();
            self.stage.store(place, Ordering::Relaxed);
        }
        let mut woken = Vec::new();
        let mut left = state.ledger.left();
        if left > before {
            state.until = state.came;
        }
        // Who is woken in vain waits behind all of these: each is woken once for what there is.
        while (left > before || passes_on)
            && left >= Account::STEP
            && state.starved.first_key_value().is_some_and(|(place, _)| *place <= state.until)
            && let Some((_, waker)) = state.starved.pop_first()
        {
            woken.push(waker);
            left -= Account::STEP;
        }
        (done, Change { stage, woken })
    }
}

impl State {
    /// Wakes this when there is room. Who was woken already, and in vain, is the last one.
    fn wait(&mut self, place: &mut Option<u64>, waker: &Waker) -> Option<Waker> {
        let known = place.filter(|place| self.starved.contains_key(place));
        let known = known.unwrap_or_else(|| {
            self.came += 1;
            self.came
        });
        *place = Some(known);
        self.starved.insert(known, waker.clone())
    }
}

impl Holdings {
    pub(super) fn new(control: &Arc<Control>) -> Self {
        let control = Arc::clone(control);
        let (inbox, outbox) = (Account::new(Owner::Inbox), Account::new(Owner::Outbox));
        Self { control, inbox, outbox, waits: None, piece: 0 }
    }

    /// What is done about memory now.
    pub(super) fn stage(&self) -> Stage {
        self.control.memory.stage()
    }

    /// How long the connection may do nothing.
    pub(super) fn idle(&self, configured: Duration) -> Duration {
        self.control.memory.lock().ledger.idle(configured)
    }

    /// How long its client may take nothing of what waits for it.
    pub(super) fn stall(&self, configured: Duration) -> Duration {
        self.control.memory.lock().ledger.stall(configured, &self.outbox)
    }

    /// Whether there is nothing to give back, and nobody waits.
    fn is_unbooked(&self) -> bool {
        self.inbox.booked() | self.outbox.booked() == 0 && self.waits.is_none()
    }

    /// Settles what is held now. `Err`: some of it is not booked, as there is no room; its task is woken
    /// when there is. `held_up`: a piece of an answer waits for room, and goes on doing so.
    pub(super) fn settle(
        &mut self,
        cx: &Context<'_>,
        (inbox, outbox): (usize, usize),
        held_up: bool,
    ) -> Result<(), Short> {
        let (inbox, outbox) = (inbox as u64, outbox as u64);
        // Who holds nothing has nothing booked.
        if self.is_unbooked() && inbox | outbox == 0 {
            return Ok(());
        }
        let is_due =
            |account: &Account, held| account.is_due(held) || (held == 0 && account.booked() > 0);
        let waits = self.waits.is_some() && !held_up;
        if is_due(&self.inbox, inbox) || is_due(&self.outbox, outbox) || waits {
            return self.settle_all(inbox, outbox, Some(cx.waker()), held_up);
        }
        Ok(())
    }

    /// Where that fails, `waker` is woken when there is room. `keeps`: who waits already goes on waiting.
    fn settle_all(
        &mut self,
        inbox: u64,
        outbox: u64,
        waker: Option<&Waker>,
        keeps: bool,
    ) -> Result<(), Short> {
        let ((settled, old), change) = self.control.memory.change(self.waits, |state| {
            let was = state.ledger.stage();
            // What gives something back goes first.
            let out = self.outbox.settle(&mut state.ledger, outbox);
            let into = self.inbox.settle(&mut state.ledger, inbox);
            let settled = if out.is_ok() && into.is_ok() { Ok(()) } else { Err(Short) };
            // Under the same lock, so that nothing is given back unseen.
            let old = match waker.filter(|_| settled.is_err()) {
                Some(waker) => state.wait(&mut self.waits, waker),
                None if keeps => None,
                None => self.waits.take().and_then(|place| state.starved.remove(&place)),
            };
            let is = state.ledger.stage();
            ((settled, old), (is != was).then_some(is))
        });
        self.control.heed(change);
        // A waker may own what it wakes: none is dropped under the lock.
        drop(old);
        settled
    }

    /// Books room for the next piece of an answer, beside what is queued. `Err`: there is none, and its
    /// task is woken when there is, or when what is queued has gone out.
    pub(super) fn make_room(&mut self, cx: &Context<'_>, queued: usize) -> Result<(), Short> {
        // Early, so that there is room for what others need: each has no more than one piece.
        if queued > 0 && self.stage() >= Stage::ShortenIdle {
            if self.waits.is_some() {
                let ((), change) = self.control.memory.change(self.waits, |_| ((), None));
                self.control.heed(change);
            }
            return Err(Short);
        }
        let wanted = queued as u64 + self.piece.max(Account::STEP);
        if !self.outbox.is_due(wanted) && self.waits.is_none() {
            return Ok(());
        }
        // Whatever is in the inbox stays booked as it is.
        self.settle_all(self.inbox.booked(), wanted, Some(cx.waker()), false)
    }

    /// A piece of an answer was as large as this.
    pub(super) fn note_piece(&mut self, bytes: usize) {
        self.piece = self.piece.max(bytes as u64);
    }

    /// Books a whole answer, beside what is queued.
    pub(super) fn take_answer(&mut self, queued: usize, bytes: usize) -> Result<(), Short> {
        self.settle_all(self.inbox.booked(), (queued + bytes) as u64, None, false)
    }
}

impl Drop for Holdings {
    fn drop(&mut self) {
        if !self.is_unbooked() {
            let _ = self.settle_all(0, 0, None, false);
        }
    }
}

impl Booked {
    /// Books bytes for as long as this lives.
    pub(super) fn new(control: &Arc<Control>, owner: Owner, bytes: usize) -> Result<Self, Short> {
        let bytes = bytes as u64;
        let (taken, change) =
            control.memory.change(None, |state| match state.ledger.take(owner, bytes) {
                Ok(stage) => (Ok(()), stage),
                Err(_) => (Err(Short), None),
            });
        control.heed(change);
        taken.map(|()| Self { control: Arc::clone(control), owner, bytes })
    }
}

impl Booked {
    /// So many.
    pub(super) fn bytes(&self) -> usize {
        usize::try_from(self.bytes).unwrap_or(usize::MAX)
    }
}

impl Drop for Booked {
    fn drop(&mut self) {
        let ((), change) = self
            .control
            .memory
            .change(None, |state| ((), state.ledger.give(self.owner, self.bytes)));
        self.control.heed(change);
    }
}

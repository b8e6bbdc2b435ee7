//! How the socket wakes the calls of a lane.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Wake, Waker};

/// Wakes the calls of a lane.
#[derive(Default)]
pub(super) struct Signal {
    /// Something may have happened since the connection was driven.
    news: AtomicBool,
    waiting: Mutex<Waiting>,
}

#[derive(Default)]
struct Waiting {
    calls: Vec<(u64, Waker)>,
    /// Somebody drives the connection, and holds the lock of the lane. Whom that wakes may need the lock
    /// at once, and is woken when it is released.
    driven: bool,
    late: bool,
}

impl Signal {
    /// Something happened, of which whoever is polled next finds out.
    pub(super) fn note(&self) {
        self.news.store(true, Ordering::Release);
    }

    /// Whether something may have happened since this was asked last.
    pub(super) fn take_news(&self) -> bool {
        self.news.swap(false, Ordering::AcqRel)
    }

    /// Who is to be woken. A waker that it replaces is dropped when the lock is not held: it may be
    /// the last that holds a task.
    pub(super) fn wait(&self, number: u64, waker: &Waker) {
        let mut waiting = self.lock();
        let calls = &mut waiting.calls;
        let replaced = match calls.iter_mut().find(|(waits, _)| *waits == number) {
            Some((_, known)) if known.will_wake(waker) => None,
            Some((_, known)) => Some(std::mem::replace(known, waker.clone())),
            None => {
                calls.push((number, waker.clone()));
                None
            }
        };
        drop(waiting);
        drop(replaced);
    }

    /// Whom it is to wake no more.
    pub(super) fn take(&self, number: u64) -> Option<Waker> {
        let calls = &mut self.lock().calls;
        let at = calls.iter().position(|(waits, _)| *waits == number)?;
        Some(calls.swap_remove(at).1)
    }

    /// Wakes nobody before [`release`](Self::release). The lane is locked from here to there.
    pub(super) fn hold(&self) {
        self.lock().driven = true;
    }

    /// Whether all are to be called once the lane is not locked any more.
    pub(super) fn release(&self) -> bool {
        let mut waiting = self.lock();
        waiting.driven = false;
        std::mem::take(&mut waiting.late)
    }

    pub(super) fn call_all(&self) {
        let mut waiting = self.lock();
        if waiting.driven {
            waiting.late = true;
            return;
        }
        let calls = std::mem::take(&mut waiting.calls);
        drop(waiting);
        for (_, waker) in calls {
            waker.wake();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Wake for Signal {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.note();
        self.call_all();
    }
}

//! How the socket wakes the calls of a lane.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Wake, Waker};

/// Wakes the calls of a lane.
#[derive(Default)]
pub(super) struct Signal {
    /// Something may have happened since the connection was driven.
    news: AtomicBool,
    waiting: Mutex<Vec<(u64, Waker)>>,
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
        let replaced = match waiting.iter_mut().find(|(waits, _)| *waits == number) {
            Some((_, known)) if known.will_wake(waker) => None,
            Some((_, known)) => Some(std::mem::replace(known, waker.clone())),
            None => {
                waiting.push((number, waker.clone()));
                None
            }
        };
        drop(waiting);
        drop(replaced);
    }

    /// Whom it is to wake no more.
    pub(super) fn take(&self, number: u64) -> Option<Waker> {
        let mut waiting = self.lock();
        let at = waiting.iter().position(|(waits, _)| *waits == number)?;
        Some(waiting.swap_remove(at).1)
    }

    pub(super) fn call_all(&self) {
        let waiting = std::mem::take(&mut *self.lock());
        for (_, waker) in waiting {
            waker.wake();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<(u64, Waker)>> {
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

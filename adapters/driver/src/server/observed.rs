//! Who observes a server at this moment: a reload may bring somebody else.

use std::sync::{Mutex, MutexGuard, PoisonError};

use super::service::{Notice, Observer};
use crate::io::Peer;

/// The observer of what outlives a reload.
pub(super) struct Observed(Mutex<Option<Observer>>);

impl Observed {
    pub(super) fn by(observer: Option<Observer>) -> Self {
        Self(Mutex::new(observer))
    }

    /// From now on this one is told.
    pub(super) fn replace(&self, next: Option<Observer>) {
        let before = std::mem::replace(&mut *self.lock(), next);
        // It is the application's: it is not dropped under the lock.
        drop(before);
    }

    pub(super) fn tell(&self, peer: Option<&Peer>, notice: &Notice) {
        let observer = self.lock().clone();
        if let Some(observer) = observer {
            observer(peer, notice);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Observer>> {
        // Nothing panics under this lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

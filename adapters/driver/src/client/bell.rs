//! How a kept connection says that something happened on it: it was closed, or spoke unasked.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Wake, Waker};

use sinew_core::client::dispatcher::ConnectionId;

/// The keeper's ear.
#[derive(Default)]
pub(super) struct Bells {
    heard: Mutex<Heard>,
}

#[derive(Default)]
struct Heard {
    rang: Vec<ConnectionId>,
    keeper: Option<Waker>,
}

impl Bells {
    /// A waker for the socket of this connection.
    pub(super) fn bell(self: &Arc<Self>, connection: ConnectionId) -> Waker {
        Waker::from(Arc::new(Bell { connection, bells: Arc::clone(self) }))
    }

    /// Whom the next bell wakes. The waker that it replaces is dropped when nothing is locked.
    pub(super) fn wait(&self, keeper: &Waker) {
        let mut heard = self.lock();
        let replaced = match &heard.keeper {
            Some(known) if known.will_wake(keeper) => None,
            _ => heard.keeper.replace(keeper.clone()),
        };
        drop(heard);
        drop(replaced);
    }

    /// The connections that rang since this was asked last.
    pub(super) fn take(&self) -> Vec<ConnectionId> {
        std::mem::take(&mut self.lock().rang)
    }

    /// Something happened on this connection.
    pub(super) fn ring(&self, connection: ConnectionId) {
        let mut heard = self.lock();
        if !heard.rang.contains(&connection) {
            heard.rang.push(connection);
        }
        drop(heard);
        self.call();
    }

    /// Wakes the keeper.
    pub(super) fn call(&self) {
        let keeper = self.lock().keeper.take();
        keeper.into_iter().for_each(Waker::wake);
    }

    fn lock(&self) -> MutexGuard<'_, Heard> {
        // Nothing panics under this lock.
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Bell {
    connection: ConnectionId,
    bells: Arc<Bells>,
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.bells.ring(self.connection);
    }
}

//! What a server goes by at this moment.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Waker};

use super::background::Tasks;
use super::gate::Gate;
use super::link::remember;
use super::mode::Mode;
use super::serial::Serial;
use super::service::Service;

/// What is in force, and who runs beside it.
pub(super) struct Current<M: Mode> {
    /// Those who replace it.
    pub(super) reloads: Serial,
    service: Mutex<Arc<Service<M>>>,
    beside: Mutex<Beside>,
}

#[derive(Default)]
struct Beside {
    /// What is to run from now on, instead of what did.
    next: Option<Tasks>,
    /// Where requests may wait: the gates of all that came into force since the server looked last.
    gates: Vec<Weak<Gate>>,
    server: Option<Waker>,
}

/// What a server is to look after from now on.
pub(super) struct Next {
    /// What is to run instead of what did, if that changed.
    pub(super) tasks: Option<Tasks>,
    /// Gates that came into force.
    pub(super) gates: Vec<Weak<Gate>>,
}

impl<M: Mode> Current<M> {
    pub(super) fn new(service: Service<M>) -> Self {
        let gates = service.gate.iter().map(Arc::downgrade).collect();
        let beside = Mutex::new(Beside { gates, ..Beside::default() });
        let service = Mutex::new(Arc::new(service));
        Self { reloads: Serial::default(), service, beside }
    }

    /// What is in force.
    pub(super) fn get(&self) -> Arc<Service<M>> {
        Arc::clone(&self.lock())
    }

    /// Puts something else in force; its number.
    pub(super) fn replace(&self, mut next: Service<M>) -> u64 {
        // Before anybody can wait there: what is replaced before the server looks is known to it, too.
        let mut beside = self.beside();
        beside.gates.retain(|gate| gate.strong_count() > 0);
        beside.gates.extend(next.gate.iter().map(Arc::downgrade));
        drop(beside);
        let mut service = self.lock();
        next.epoch = service.epoch + 1;
        let epoch = next.epoch;
        let before = std::mem::replace(&mut *service, Arc::new(next));
        drop(service);
        // Handlers are the application's: they are not dropped under the lock.
        drop(before);
        epoch
    }

    /// Lets this run beside the connections, instead of what did.
    pub(super) fn run(&self, tasks: Tasks) {
        let mut beside = self.beside();
        let before = beside.next.replace(tasks);
        let server = beside.server.take();
        drop(beside);
        drop(before);
        server.into_iter().for_each(Waker::wake);
    }

    /// What is to be looked after from now on; the task is woken when there is more.
    pub(super) fn poll_next(&self, cx: &Context<'_>) -> Next {
        let mut beside = self.beside();
        let old = remember(&mut beside.server, cx.waker());
        let (tasks, gates) = (beside.next.take(), std::mem::take(&mut beside.gates));
        drop(beside);
        drop(old);
        Next { tasks, gates }
    }

    fn lock(&self) -> MutexGuard<'_, Arc<Service<M>>> {
        // Nothing panics under this lock.
        self.service.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn beside(&self) -> MutexGuard<'_, Beside> {
        // Nothing panics under this lock.
        self.beside.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<M: Mode> fmt::Debug for Current<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Current").field("service", &self.get()).finish_non_exhaustive()
    }
}

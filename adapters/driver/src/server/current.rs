//! What a server goes by at this moment.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Waker};

use super::background::Tasks;
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
    server: Option<Waker>,
}

impl<M: Mode> Current<M> {
    pub(super) fn new(service: Service<M>) -> Self {
        let service = Mutex::new(Arc::new(service));
        Self { reloads: Serial::default(), service, beside: Mutex::default() }
    }

    /// What is in force.
    pub(super) fn get(&self) -> Arc<Service<M>> {
        Arc::clone(&self.lock())
    }

    /// Puts something else in force; its number.
    pub(super) fn replace(&self, mut next: Service<M>) -> u64 {
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

    /// What is to run from now on, if that changed; if not, the task is woken when it does.
    pub(super) fn poll_tasks(&self, cx: &Context<'_>) -> Option<Tasks> {
        let mut beside = self.beside();
        let old = remember(&mut beside.server, cx.waker());
        let next = beside.next.take();
        drop(beside);
        drop(old);
        next
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

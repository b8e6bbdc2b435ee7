//! The lanes of a client, and who waits for room on one.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::Waker;

use super::Lane;
use crate::runtime::Runtime;

/// The connections that calls share.
pub(in crate::client) struct Lanes<R: Runtime> {
    table: Mutex<Table<R>>,
}

struct Table<R: Runtime> {
    open: Vec<Weak<Lane<R>>>,
    /// Calls that would take room on a lane, in the order in which they came; without a waker those
    /// that were told of room and have not looked yet.
    waiting: BTreeMap<u64, Option<Waker>>,
    next: u64,
    /// Calls that need a connection of their own, and wait for one: until they have it nobody gets
    /// on any more.
    alone: usize,
}

/// What a call waits for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::client) enum Wish {
    /// Room on any connection.
    Room,
    /// A connection of its own.
    Alone,
}

impl<R: Runtime> Lanes<R> {
    pub(in crate::client) fn new() -> Self {
        let table = Table { open: Vec::new(), waiting: BTreeMap::new(), next: 0, alone: 0 };
        Self { table: Mutex::new(table) }
    }

    pub(super) fn open(&self, lane: &Arc<Lane<R>>) {
        let mut table = self.lock();
        table.open.retain(|known| known.strong_count() > 0);
        table.open.push(Arc::downgrade(lane));
    }

    pub(super) fn close(&self, lane: &Arc<Lane<R>>) {
        self.lock().open.retain(|known| !std::ptr::eq(known.as_ptr(), Arc::as_ptr(lane)));
    }

    /// A lane may have room: who has waited for longest and was not told looks.
    pub(super) fn room(&self) {
        let mut table = self.lock();
        let first = match table.alone {
            0 => table.waiting.values_mut().find_map(Option::take),
            _ => None,
        };
        drop(table);
        first.into_iter().for_each(Waker::wake);
    }

    /// Gets on the first lane that takes this call.
    pub(in crate::client) fn board<T>(
        &self,
        on: impl FnMut(Arc<Lane<R>>) -> Option<T>,
    ) -> Option<T> {
        let table = self.lock();
        if table.alone > 0 {
            return None;
        }
        let open: Vec<_> = table.open.iter().filter_map(Weak::upgrade).collect();
        drop(table);
        open.into_iter().find_map(on)
    }

    /// Whether somebody waits for room. Nobody overtakes those.
    pub(in crate::client) fn is_crowded(&self) -> bool {
        !self.lock().waiting.is_empty()
    }

    /// Joins those who wait.
    pub(in crate::client) fn join(&self, wish: Wish) -> Waiting<'_, R> {
        let mut table = self.lock();
        let number = table.next;
        table.next += 1;
        table.alone += usize::from(wish == Wish::Alone);
        Waiting { lanes: self, number, wish }
    }

    fn lock(&self) -> MutexGuard<'_, Table<R>> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A place among those who wait; it is left when this is dropped.
pub(in crate::client) struct Waiting<'a, R: Runtime> {
    lanes: &'a Lanes<R>,
    number: u64,
    wish: Wish,
}

impl<R: Runtime> Waiting<'_, R> {
    /// Waits on with this waker; whether it may look for room now: it was told of some, or nobody
    /// has waited for longer.
    pub(in crate::client) fn wait(&self, waker: &Waker) -> bool {
        if self.wish == Wish::Alone {
            return false;
        }
        let mut table = self.lanes.lock();
        let replaced = table.waiting.insert(self.number, Some(waker.clone()));
        let first = table.waiting.keys().next() == Some(&self.number);
        drop(table);
        first || matches!(replaced, Some(None))
    }
}

impl<R: Runtime> Drop for Waiting<'_, R> {
    fn drop(&mut self) {
        let mut table = self.lanes.lock();
        let own = table.waiting.remove(&self.number);
        table.alone -= usize::from(self.wish == Wish::Alone);
        drop(table);
        // Told of room, it may not have taken it, or more is left.
        if !matches!(own, Some(Some(_))) {
            self.lanes.room();
        }
    }
}

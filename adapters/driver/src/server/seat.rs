//! What a connection is to do while its server leaves, as both sides see it.

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Mutex, PoisonError};
use std::task::Waker;

use sinew_core::server::drain::Phase;

/// What a connection is to do. Orders stay: they are obeyed as often as they are seen.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Orders(u8);

impl Orders {
    const LAST_ANSWER: u8 = 1;
    /// Whoever answers without end, or speaks another protocol, is to come to an end.
    pub(super) const TELL: Self = Self(2);
    /// To close, if it is idle.
    pub(super) const CLOSE: Self = Self(4);
    /// To be dropped, whatever it does.
    pub(super) const RESET: Self = Self(8);

    /// To go by what is in force now.
    pub(super) const RENEW: Self = Self(16);

    /// Whether there is any.
    pub(super) fn is_any(self) -> bool {
        self.0 != 0
    }

    /// Whether every answer is the last one of its connection.
    pub(super) fn closes(self) -> bool {
        self.0 & Self::LAST_ANSWER != 0
    }

    pub(super) fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

/// One per connection, shared with the server's own task.
#[derive(Debug)]
pub(super) struct Seat {
    orders: AtomicU8,
    waker: Mutex<Option<Waker>>,
}

impl Seat {
    pub(super) fn new(phase: Phase) -> Self {
        let orders = if phase.closes() { Orders::LAST_ANSWER } else { 0 };
        Self { orders: AtomicU8::new(orders), waker: Mutex::new(None) }
    }

    pub(super) fn orders(&self) -> Orders {
        Orders(self.orders.load(Ordering::Acquire))
    }

    /// The server went on. Whoever is returned has to be woken.
    pub(super) fn enter(&self, phase: Phase) -> Option<Waker> {
        if phase.closes() {
            return self.order(Orders(Orders::LAST_ANSWER));
        }
        self.orders.fetch_and(!Orders::LAST_ANSWER, Ordering::AcqRel);
        None
    }

    /// Gives orders. Whoever is returned has to be woken.
    pub(super) fn order(&self, orders: Orders) -> Option<Waker> {
        let before = self.orders.fetch_or(orders.0, Ordering::AcqRel);
        (before & orders.0 != orders.0).then(|| self.waker()).flatten()
    }

    /// Whom to wake when something else changes.
    pub(super) fn waker(&self) -> Option<Waker> {
        self.waker.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// An order was obeyed, and does not stay.
    pub(super) fn obeyed(&self, orders: Orders) {
        self.orders.fetch_and(!orders.0, Ordering::AcqRel);
    }

    /// Whom a change wakes.
    pub(super) fn remember(&self, waker: Waker) {
        let old = self.waker.lock().unwrap_or_else(PoisonError::into_inner).replace(waker);
        drop(old);
    }
}

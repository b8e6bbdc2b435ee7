//! The timers of a dispatcher, of all its tables.

use crate::table::Timers;
use crate::time::Instant;

/// Whose timers; of those that are due, in this order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Whose {
    /// What is found about all endpoints, and each endpoint.
    Endpoints,
    Connections,
    Calls,
}

impl Whose {
    const ALL: [Self; 3] = [Self::Endpoints, Self::Connections, Self::Calls];
}

/// One timer for each place of each table, and the first of them all.
#[derive(Clone, Debug)]
pub(super) struct Alarms {
    /// [`Instant::MAX`]: there is none.
    first: Instant,
    timers: [Timers; Whose::ALL.len()],
}

impl Alarms {
    pub(super) const fn new() -> Self {
        Self { first: Instant::MAX, timers: [const { Timers::new() }; Whose::ALL.len()] }
    }

    /// The earliest time of all.
    #[inline]
    pub(super) fn first(&self) -> Option<Instant> {
        (self.first < Instant::MAX).then_some(self.first)
    }

    /// Whether a time has come.
    #[inline]
    pub(super) fn is_due(&self, now: Instant) -> bool {
        self.first <= now
    }

    /// Makes sure that `place` fires at `at` or earlier.
    #[inline]
    pub(super) fn arm(&mut self, whose: Whose, place: u32, at: Instant) {
        if self.timers[whose as usize].arm(place, at) {
            self.first = self.first.min(at);
        }
    }

    /// A place whose time has come; it is armed no more.
    pub(super) fn pop_due(&mut self, now: Instant) -> Option<(Whose, u32)> {
        let mut pop = |whose: Whose| Some((whose, self.timers[whose as usize].pop_due(now)?));
        let due = Whose::ALL.into_iter().find_map(&mut pop);
        self.first = self.timers.iter().filter_map(Timers::first).min().unwrap_or(Instant::MAX);
        due
    }

    /// The place whose time this is, if it is the first of these.
    #[inline]
    pub(super) fn first_place(&self, whose: Whose, at: Instant) -> Option<u32> {
        self.timers[whose as usize].first_place(at)
    }

    /// When `place` fires.
    #[cfg(test)]
    pub(super) fn armed(&self, whose: Whose, place: u32) -> Option<Instant> {
        self.timers[whose as usize].armed(place)
    }
}
